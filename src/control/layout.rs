//! What the cluster file says: where the acceptors and the proposers are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ControlError;
use crate::caspaxos::AcceptorId;
use crate::client::Operator;
use crate::config::{AcceptorPlace, Cluster};

/// A proposer, as an operator reaches it.
#[derive(Clone)]
pub struct ProposerAt {
    /// Its name in the cluster file.
    pub name: String,
    /// The admin listener of its node.
    pub admin: Operator,
}

/// Where the acceptors and the proposers of a cluster are.
pub struct Layout {
    file: PathBuf,
    /// As the nodes want it: `{"id", "peer"}` or `{"id", "host", "port"}`.
    acceptors: BTreeMap<AcceptorId, Value>,
    /// In the order of their names; at least one.
    pub proposers: Vec<ProposerAt>,
}

impl Layout {
    /// Reads a cluster file. It belongs to an actix system.
    pub fn load(file: &Path) -> Result<Layout, ControlError> {
        let cluster = Cluster::load(file)?;
        let bad = |why: String| ControlError::Arguments(format!("{}: {why}", file.display()));
        let mut acceptors = BTreeMap::new();
        for (id, place) in cluster.acceptors() {
            acceptors.insert(id.clone(), place_of(&cluster, id, place).map_err(bad)?);
        }
        let mut proposers = Vec::new();
        for (name, node) in cluster.proposers() {
            let url = cluster.deployments()[node].admin_url().ok_or_else(|| {
                bad(format!(
                    "nodes.{node}.listen.admin is missing; this tool speaks to proposer {name} \
                     there; add \"admin\": \"IP:PORT\" and start the node anew"
                ))
            })?;
            let admin = Operator::new(&url.to_string());
            proposers.push(ProposerAt { name: name.clone(), admin });
        }
        if proposers.is_empty() {
            let why = "proposers: there is none; acceptors are changed through proposers";
            return Err(bad(why.into()));
        }
        Ok(Layout { file: file.to_path_buf(), acceptors, proposers })
    }

    /// The acceptor of this name, as the nodes want it.
    pub fn acceptor(&self, name: &str) -> Result<(AcceptorId, Value), ControlError> {
        let id = AcceptorId::from(name);
        match self.acceptors.get(&id) {
            Some(place) => Ok((id, place.clone())),
            None => Err(ControlError::Arguments(format!(
                "{}: acceptors: there is no {name:?}; there are {}; add it, with its node or its \
                 Redis server",
                self.file.display(),
                self.names()
            ))),
        }
    }

    /// How the nodes are told of an acceptor: by its place, where that is known.
    pub fn describe(&self, id: &AcceptorId) -> Value {
        self.acceptors.get(id).cloned().unwrap_or_else(|| json!({ "id": id }))
    }

    /// All acceptors of the file.
    pub fn acceptors(&self) -> impl Iterator<Item = (&AcceptorId, &Value)> {
        self.acceptors.iter()
    }

    /// The proposer of this name.
    pub fn proposer(&self, name: &str) -> Result<&ProposerAt, ControlError> {
        self.proposers.iter().find(|proposer| proposer.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.proposers.iter().map(|each| each.name.as_str()).collect();
            ControlError::Arguments(format!(
                "{}: proposers: there is no {name:?}; there are {}; or say all",
                self.file.display(),
                known.join(", ")
            ))
        })
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.acceptors.keys().map(ToString::to_string).collect();
        names.join(", ")
    }
}

fn place_of(cluster: &Cluster, id: &AcceptorId, place: &AcceptorPlace) -> Result<Value, String> {
    match place {
        AcceptorPlace::Redis { storage, is_transient } => Ok(json!({
            "id": id,
            "host": storage.host,
            "port": storage.port,
            "isTransient": is_transient,
        })),
        AcceptorPlace::Node { node } => {
            let peer = cluster.deployments()[node].listen.peer;
            match peer {
                Some(peer) => Ok(json!({ "id": id, "peer": format!("http://{peer}") })),
                // Alone on its node, an acceptor needs no peer listener.
                None if cluster.deployments().len() == 1 => Ok(json!({ "id": id })),
                None => Err(format!(
                    "nodes.{node}.listen.peer is missing; proposers reach {id} there; add IP:PORT"
                )),
            }
        }
    }
}
