//! What the nodes of a cluster file must say together.

use std::fmt::Write;
use std::path::Path;

use super::deployment::{Deployment, ProposerActor};
use super::error::{Problem, listed};
use super::expand::{Nodes, Paths};

/// All proposers start with the same acceptors and quorums: what one writes to a
/// quorum of its own, another one need not find in its. The acceptors refuse a
/// proposer that was started with others than they know; this is told before.
pub(super) fn check_proposers(nodes: &Nodes, paths: &Paths) -> Result<(), Problem> {
    let mut proposers =
        nodes.values().filter_map(|node| Some((node, node.actors.proposer.as_ref()?)));
    let Some((first_node, first)) = proposers.next() else { return Ok(()) };
    let digest = first.configuration().digest();
    match proposers.find(|(_, other)| other.configuration().digest() != digest) {
        None => Ok(()),
        Some((node, other)) => {
            let path = |node| paths.in_cluster(node, "actors.proposer");
            let message = format!(
                "{}, but {} {}: what one writes the other need not find; give all proposers the \
                 same acceptors and quorum",
                asks(other),
                path(first_node),
                asks(first),
            );
            Err(Problem::at(path(node), message))
        }
    }
}

/// Says whom a proposer asks.
fn asks(proposer: &ProposerActor) -> String {
    let ids = listed(proposer.acceptors.iter().map(|acceptor| &acceptor.id));
    format!("asks {ids} with read {} and write {}", proposer.quorum.read, proposer.quorum.write)
}

/// No two nodes of one machine keep their data in one directory, or in one that is
/// inside the other's. Relative paths count from one working directory.
pub(super) fn check_directories(nodes: &Nodes, paths: &Paths) -> Result<(), Problem> {
    let all: Vec<_> = nodes.values().flat_map(directories).collect();
    for (index, (node, field, path)) in all.iter().enumerate() {
        for (other, other_field, other_path) in &all[..index] {
            let is_inside = path.starts_with(other_path);
            if node.node == other.node
                || !is_inside && !other_path.starts_with(path)
                || !share_a_machine(node, other)
            {
                continue;
            }
            let mut message = format!("{} ", path.display());
            let other_field = paths.in_cluster(other, other_field);
            let _ = match (path == other_path, is_inside) {
                (true, _) => write!(message, "is also {other_field}"),
                (false, true) => {
                    write!(message, "is inside {other_field}, {}", other_path.display())
                }
                (false, false) => write!(message, "holds {other_field}, {}", other_path.display()),
            };
            message.push_str("; give each a directory of its own");
            return Err(Problem::at(paths.in_cluster(node, field), message));
        }
    }
    Ok(())
}

/// Where a node keeps what it must not lose, with the fields that say so.
fn directories(node: &Deployment) -> Vec<(&Deployment, &'static str, &Path)> {
    let actors = &node.actors;
    let keeps_data =
        actors.acceptor.is_some() || actors.proposer.is_some() || actors.raft.is_some();
    let data = keeps_data.then_some((node, "data_dir", node.data_dir.as_path()));
    let snapshots = actors.raft.as_ref();
    let snapshots =
        snapshots.map(|raft| (node, "actors.raft.snapshot_dir", raft.snapshot_dir.as_path()));
    data.into_iter().chain(snapshots).collect()
}

/// Whether two nodes are on one machine for certain. Those that listen on every
/// interface may be on different ones, each with the same directories.
fn share_a_machine(one: &Deployment, other: &Deployment) -> bool {
    let ip = |node: &Deployment| node.listen.peer.or(node.listen.client).map(|at| at.ip());
    match (ip(one), ip(other)) {
        (Some(one), Some(other)) if one == other => !one.is_unspecified(),
        (Some(one), Some(other)) => one.is_loopback() && other.is_loopback(),
        (None, _) | (_, None) => false,
    }
}
