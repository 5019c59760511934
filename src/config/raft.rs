//! A raft replica's part of a deployment file.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::address::HttpUrl;
use crate::raft::ReplicaId;

/// A raft replica and the members of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with id and members")]
pub struct RaftActor {
    /// Its name among the members: 1 or more, never used by another one.
    #[serde(deserialize_with = "replica_id")]
    pub id: ReplicaId,
    /// The peer listeners of the first members, by id; of one that joins,
    /// those that it knows. This replica is among them. What its data says of
    /// the members counts for more.
    #[serde(deserialize_with = "members")]
    pub members: BTreeMap<ReplicaId, HttpUrl>,
    /// Whether a replica without data waits for a running cluster to add it
    /// instead of founding one.
    #[serde(default)]
    pub join: bool,
    /// Where its snapshots are; the data directory's path with `-snap` after it
    /// unless given.
    #[serde(default)]
    pub snapshot_dir: PathBuf,
    /// Times, sizes and the like.
    #[serde(default)]
    pub settings: RaftSettings,
}

impl RaftActor {
    /// Where the other members reach this one.
    pub fn peer_url(&self) -> &HttpUrl {
        &self.members[&self.id]
    }
}

/// For `deserialize_with`: a replica's id.
fn replica_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ReplicaId, D::Error> {
    NonZeroU64::deserialize(deserializer).map(NonZeroU64::get)
}

/// For `deserialize_with`: the members by id. JSON has them as text.
fn members<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<ReplicaId, HttpUrl>, D::Error> {
    let by_text = BTreeMap::<String, HttpUrl>::deserialize(deserializer)?;
    let by_id = by_text.into_iter().map(|(text, url)| Ok((parse_replica_id(&text)?, url)));
    by_id.collect::<Result<_, String>>().map_err(D::Error::custom)
}

/// Reads an id that is written as text, in its only form: `7`, not `07`.
pub(super) fn parse_replica_id(text: &str) -> Result<ReplicaId, String> {
    match text.parse() {
        Ok(id) if id > 0 && ReplicaId::to_string(&id) == text => Ok(id),
        _ => Err(format!("{text:?} is not a member's id; use whole numbers from 1, such as \"1\"")),
    }
}

/// How a replica goes about its work. Replicas may differ in all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RaftSettingsFields")]
pub struct RaftSettings {
    /// How often a leader says that it lives, in milliseconds; 50 unless given.
    pub heartbeat_ms: u64,
    /// How long a follower hears of no leader before it stands for election,
    /// in milliseconds; 150 to 300 unless given.
    pub election_ms: ElectionTimes,
    /// A snapshot is made after so many entries; 100,000 unless given.
    pub snapshot_entries: NonZeroU64,
    /// A snapshot is made after so many bytes of log; 64 MiB unless given.
    pub snapshot_bytes: NonZeroU64,
    /// So many entries before a snapshot are kept for members that are behind;
    /// 5,000 unless given.
    pub keep_entries: u64,
    /// What a v2 GET does that does not say `quorum=`; it is linearizable
    /// unless given.
    pub v2_default: ReadDefault,
}

impl Default for RaftSettings {
    fn default() -> Self {
        let not_zero = |number| NonZeroU64::new(number).expect("not zero");
        RaftSettings {
            heartbeat_ms: 50,
            election_ms: ElectionTimes { min: 150, max: 300 },
            snapshot_entries: not_zero(100_000),
            snapshot_bytes: not_zero(64 << 20),
            keep_entries: 5_000,
            v2_default: ReadDefault::Linearizable,
        }
    }
}

/// The bounds between which each election time is drawn, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with min and max")]
pub struct ElectionTimes {
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
}

/// What a read is when the client does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadDefault {
    /// It sees every write that was acknowledged before it began.
    Linearizable,
    /// It sees what this replica has applied.
    Stale,
}

/// The settings that a file gives.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with settings of raft replicas")]
pub(super) struct RaftSettingsFields {
    heartbeat_ms: Option<u64>,
    election_ms: Option<ElectionTimes>,
    snapshot_entries: Option<NonZeroU64>,
    snapshot_bytes: Option<NonZeroU64>,
    keep_entries: Option<u64>,
    v2_default: Option<ReadDefault>,
}

impl RaftSettingsFields {
    /// The settings that are given here, and otherwise those of `base`.
    pub fn over(self, base: RaftSettings) -> RaftSettings {
        RaftSettings {
            heartbeat_ms: self.heartbeat_ms.unwrap_or(base.heartbeat_ms),
            election_ms: self.election_ms.unwrap_or(base.election_ms),
            snapshot_entries: self.snapshot_entries.unwrap_or(base.snapshot_entries),
            snapshot_bytes: self.snapshot_bytes.unwrap_or(base.snapshot_bytes),
            keep_entries: self.keep_entries.unwrap_or(base.keep_entries),
            v2_default: self.v2_default.unwrap_or(base.v2_default),
        }
    }
}

impl From<RaftSettingsFields> for RaftSettings {
    fn from(fields: RaftSettingsFields) -> Self {
        fields.over(RaftSettings::default())
    }
}
