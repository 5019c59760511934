//! How a replica is set up.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use super::planted::Bug;
use super::types::{Profile, ReplicaId};

/// How a replica is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id.
    pub id: ReplicaId,
    /// The peer listeners of the first members, this one among them, or those
    /// that are known of a cluster that it joins.
    pub members: BTreeMap<ReplicaId, String>,
    /// Whether it waits for a running cluster to add it, instead of founding
    /// one, when it has no data.
    pub joins: bool,
    /// What it tells the others about itself.
    pub profile: Profile,
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// How long a follower waits for that, at least and at most.
    pub election: (Duration, Duration),
    /// A snapshot is made after so many entries.
    pub snapshot_entries: u64,
    /// A snapshot is made when the log has grown by so much, in bytes.
    pub snapshot_bytes: u64,
    /// How many entries stay behind a snapshot, for members that are slow.
    pub keep_entries: u64,
    /// What election times are drawn from.
    pub seed: u64,
    /// A bug that a test has planted.
    pub bug: Option<Bug>,
}

/// The same, for openraft.
pub fn config(settings: &Settings) -> Result<Config, String> {
    let (election_min, election_max) = settings.election;
    let config = Config {
        cluster_name: String::new(),
        heartbeat_interval: settings.heartbeat.as_millis() as u64,
        election_timeout_min: election_min.as_millis() as u64,
        election_timeout_max: election_max.as_millis() as u64,
        enable_pre_vote: Some(true),
        // A leader that restarts must be elected: its state may be older than
        // what it answered before.
        enable_leader_restore: Some(false),
        // Entries go out while this replica's disk still writes them.
        broadcast_submitted_on_append: Some(true),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_entries),
        max_in_snapshot_log_to_keep: settings.keep_entries,
        // Whose next entry is still in the log gets entries.
        replication_lag_threshold: u64::MAX,
        // What one message holds is bounded in bytes by the log.
        max_payload_entries: 4096,
        install_snapshot_timeout: Duration::from_secs(3600).as_millis() as u64,
        ..Config::default()
    };
    config.validate().map_err(|error| error.to_string())
}
