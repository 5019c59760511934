//! What the fields of a raft replica must say together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::deployment::Deployment;
use super::error::Problem;
use super::raft::{ElectionTimes, RaftActor, RaftSettings};

impl Deployment {
    pub(super) fn check_replica(&self, raft: &RaftActor) -> Result<(), Problem> {
        check_members(raft)?;
        self.check_own_url(raft)?;
        self.check_snapshot_dir(raft)?;
        check_settings("actors.raft.settings", raft.settings)
    }

    /// The others are told to reach this replica where it listens.
    fn check_own_url(&self, raft: &RaftActor) -> Result<(), Problem> {
        let Some(listener) = self.listen.peer else {
            return Err(Problem::at(
                "listen.peer",
                "is missing, and the other members reach the raft replica there; add IP:PORT",
            ));
        };
        let id = raft.id;
        let Some(own) = raft.members.get(&id) else {
            return Err(Problem::at(
                "actors.raft.members",
                format!("lack {id}, this replica itself; add where the others reach it"),
            ));
        };
        // A name, or a listener on every interface, may stand behind a router
        // that changes the port.
        let is_direct = own.ip().is_some() && !listener.ip().is_unspecified();
        if is_direct && own.port() != listener.port() {
            return Err(Problem::at(
                format!("actors.raft.members.{id}"),
                format!("{own} is this replica, and listen.peer is {listener}; use one port"),
            ));
        }
        Ok(())
    }

    fn check_snapshot_dir(&self, raft: &RaftActor) -> Result<(), Problem> {
        if raft.snapshot_dir.as_os_str().is_empty() {
            let message = "has no last name to put -snap after for the snapshots; end it in one";
            return Err(Problem::at("data_dir", format!("{} {message}", self.data_dir.display())));
        }
        if raft.snapshot_dir == self.data_dir {
            let message = "is also data_dir; give the snapshots a directory of their own";
            return Err(Problem::at("actors.raft.snapshot_dir", message));
        }
        Ok(())
    }
}

/// Far more members than a majority of them could still be fast.
const MAX_MEMBERS: usize = 100;

fn check_members(raft: &RaftActor) -> Result<(), Problem> {
    let path = "actors.raft.members";
    let count = raft.members.len();
    if count > MAX_MEMBERS {
        return Err(Problem::at(path, format!("are {count}; use at most {MAX_MEMBERS}")));
    }
    let mut taken = BTreeMap::new();
    for (id, url) in &raft.members {
        let path = format!("{path}.{id}");
        if url.ip().is_some_and(|ip| ip.is_unspecified()) {
            let message = format!("nobody can reach {url}; use an address that the others can");
            return Err(Problem::at(path, message));
        }
        if let Some(other) = taken.insert(url, id) {
            return Err(Problem::at(
                path,
                format!("{url} is both member {other} and member {id}; give each its own"),
            ));
        }
    }
    if raft.join && raft.members.keys().all(|id| *id == raft.id) {
        let message = "there is nobody whose cluster could be joined; add a member that is running";
        return Err(Problem::at(path, message));
    }
    Ok(())
}

const HEARTBEAT_MS: RangeInclusive<u64> = 1..=60_000;
const MAX_ELECTION_MS: u64 = 600_000;

/// The settings at `path` let a leader stay one and another be elected.
pub(super) fn check_settings(path: &str, settings: RaftSettings) -> Result<(), Problem> {
    let RaftSettings { heartbeat_ms, election_ms: ElectionTimes { min, max }, .. } = settings;
    let (field, message) = if !HEARTBEAT_MS.contains(&heartbeat_ms) {
        let (least, most) = (HEARTBEAT_MS.start(), HEARTBEAT_MS.end());
        ("heartbeat_ms", format!("{heartbeat_ms} is out of bounds; use {least} to {most}"))
    } else if min < 2 * heartbeat_ms {
        let least = 2 * heartbeat_ms;
        let why = "one late heartbeat would start an election";
        (
            "election_ms.min",
            format!("{min} is less than two heartbeats: {why}; use {least} or more"),
        )
    } else if max <= min {
        let why = "replicas would stand for election together";
        ("election_ms.max", format!("{max} is not more than min, {min}: {why}; use twice min"))
    } else if max > MAX_ELECTION_MS {
        ("election_ms.max", format!("{max} is out of bounds; use at most {MAX_ELECTION_MS}"))
    } else {
        return Ok(());
    };
    Err(Problem::at(format!("{path}.{field}"), message))
}
