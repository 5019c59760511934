//! From the replicas of a cluster file to those of its nodes.

use std::collections::BTreeMap;

use super::address::HttpUrl;
use super::cluster_file::ReplicaFields;
use super::error::Problem;
use super::expand::{Nodes, Paths, known_node};
use super::raft::{RaftActor, RaftSettings, parse_replica_id};
use crate::raft::ReplicaId;

/// A replica as the others know it.
struct Member {
    name: String,
    url: HttpUrl,
    joins: bool,
}

/// Puts each replica on its node. It knows those that found the cluster, and
/// itself.
pub(super) fn place_replicas(
    replicas: BTreeMap<String, ReplicaFields>,
    shared: RaftSettings,
    nodes: &mut Nodes,
    paths: &mut Paths,
) -> Result<(), Problem> {
    let all = members(&replicas, nodes)?;
    for (name, replica) in replicas {
        let id = replica_id(&name, &replica)?;
        let ReplicaFields { node, id: _, join, snapshot_dir, settings } = replica;
        let known = all.iter().filter(|(other, member)| **other == id || !member.joins);
        let members = known.map(|(id, member)| (*id, member.url.clone())).collect();
        let settings = settings.over(shared);
        let actor = RaftActor { id, members, join, snapshot_dir, settings };
        let path = format!("replicas.{name}.node");
        let deployment = known_node(nodes, path.clone(), &node)?;
        if deployment.actors.raft.replace(actor).is_some() {
            let other = &paths.replica[&node];
            return Err(Problem::at(
                path,
                format!("{node} has replica {other} already; a node has one replica"),
            ));
        }
        paths.replica.insert(node, name);
    }
    Ok(())
}

fn members(
    replicas: &BTreeMap<String, ReplicaFields>,
    nodes: &mut Nodes,
) -> Result<BTreeMap<ReplicaId, Member>, Problem> {
    let mut members = BTreeMap::new();
    for (name, replica) in replicas {
        let node = &replica.node;
        let listen = &known_node(nodes, format!("replicas.{name}.node"), node)?.listen;
        let refused = |message| Problem::at(format!("nodes.{node}.listen.peer"), message);
        let address = listen.peer.ok_or_else(|| {
            refused(format!("is missing, and replica {name} is reached there; add IP:PORT"))
        })?;
        if address.ip().is_unspecified() {
            let message = format!("nobody can reach replica {name} at {address}");
            return Err(refused(format!("{message}; use an address that the others can")));
        }
        let id = replica_id(name, replica)?;
        let member = Member { name: name.clone(), url: address.into(), joins: replica.join };
        if let Some(Member { name: other, .. }) = members.insert(id, member) {
            return Err(Problem::at(
                format!("replicas.{name}.id"),
                format!("{id} is also the id of replicas.{other}; give each its own"),
            ));
        }
    }
    Ok(members)
}

/// A replica's id: the one it is given, or else the number that ends its name.
fn replica_id(name: &str, replica: &ReplicaFields) -> Result<ReplicaId, Problem> {
    if let Some(id) = replica.id {
        return Ok(id.get());
    }
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    parse_replica_id(&name[word.len()..]).map_err(|_| {
        let message = "the name does not end in a number from 1; give it an \"id\"";
        Problem::at(format!("replicas.{name}"), message)
    })
}
