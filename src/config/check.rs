//! What the fields of a deployment must say together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::NonZeroU32;

use super::deployment::{
    AcceptorPlace, AcceptorRef, Deployment, LoadActor, ProposerActor, QuorumSizes, Serving,
};
use super::error::{Problem, listed};
use super::names;
use crate::caspaxos::{Configuration, MAX_ACCEPTORS, UnsafeConfiguration};

impl Deployment {
    /// The third pass over a deployment. Paths in the problems are those of a
    /// deployment file.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_actors()?;
        self.check_serves()?;
        self.check_listeners()?;
        self.check_peers()?;
        if let Some(proposer) = &self.actors.proposer {
            check_acceptors("actors.proposer.acceptors", &proposer.acceptors)?;
            check_quorum("actors.proposer.quorum", &proposer.configuration(), proposer.quorum)?;
            check_shards("actors.proposer.shards", proposer.shards)?;
            self.check_places(proposer)?;
        }
        if let Some(raft) = &self.actors.raft {
            self.check_replica(raft)?;
        }
        match &self.actors.load {
            Some(load) => check_load(load),
            None => Ok(()),
        }
    }

    fn check_actors(&self) -> Result<(), Problem> {
        let actors = &self.actors;
        if actors.acceptor.is_some() || actors.proposer.is_some() || actors.raft.is_some() {
            return Ok(());
        }
        if actors.load.is_none() {
            return Err(Problem::at(
                "actors",
                "the node runs nothing; give it an acceptor, a proposer, a raft replica or a load",
            ));
        }
        match self.listen.each().next() {
            None => Ok(()),
            Some((name, address)) => Err(Problem::at(
                format!("listen.{name}"),
                format!("{address} would serve nothing on a node with only a load; remove it"),
            )),
        }
    }

    fn check_serves(&self) -> Result<(), Problem> {
        let message = match (self.serves, &self.actors.proposer, &self.actors.raft) {
            (None, Some(_), Some(_)) => {
                "is missing, and both the proposer and the raft replica could serve clients; add \
                 \"proposer\" or \"raft\""
            }
            (Some(Serving::Proposer), None, _) => {
                "is \"proposer\", and the node has none; remove it"
            }
            (Some(Serving::Raft), _, None) => {
                "is \"raft\", and the node has no raft replica; remove it"
            }
            (None | Some(Serving::Proposer | Serving::Raft), _, _) => return Ok(()),
        };
        Err(Problem::at("serves", message))
    }

    fn check_listeners(&self) -> Result<(), Problem> {
        let mut taken = BTreeMap::new();
        for (name, address) in self.listen.each() {
            claim(&mut taken, &address, format!("listen.{name}"))?;
        }
        if let (Some(serving), None) = (self.serving(), self.listen.client) {
            let who = match serving {
                Serving::Proposer => "proposer",
                Serving::Raft => "raft replica",
            };
            return Err(Problem::at(
                "listen.client",
                format!("is missing, and the node's {who} serves clients there; add IP:PORT"),
            ));
        }
        let reached = self.actors.acceptor.is_some() && !self.peers.is_empty();
        if reached && self.listen.peer.is_none() {
            return Err(Problem::at(
                "listen.peer",
                "is missing, and the peers reach the node's acceptor there; add IP:PORT",
            ));
        }
        Ok(())
    }

    fn check_peers(&self) -> Result<(), Problem> {
        names::check_keys("peers", self.peers.keys())?;
        let mut taken = BTreeMap::new();
        for (peer, url) in &self.peers {
            let path = format!("peers.{peer}");
            if *peer == self.node {
                return Err(Problem::at(path, "is this node itself; list only the others"));
            }
            claim(&mut taken, url, path)?;
        }
        Ok(())
    }

    /// Each acceptor that a proposer lists is where the rest of the file says.
    fn check_places(&self, proposer: &ProposerActor) -> Result<(), Problem> {
        let own = self.actors.acceptor.as_ref().map(|acceptor| &acceptor.id);
        let this = &self.node;
        for (index, AcceptorRef { id, place }) in proposer.acceptors.iter().enumerate() {
            let wrong = |message: String| {
                Err(Problem::at(format!("actors.proposer.acceptors[{index}]"), message))
            };
            match place {
                AcceptorPlace::Node { node } if node == this && own == Some(id) => (),
                AcceptorPlace::Node { node } if node == this => {
                    let runs = listed(own);
                    return wrong(format!(
                        "acceptor {id} should be on this node, {this}, whose acceptor is: {runs}; \
                         make actors.acceptor.id {id}, or name the node that has it"
                    ));
                }
                _ if own == Some(id) => {
                    return wrong(format!(
                        "acceptor {id} is this node's own; write \"node\": {this:?} there, or \
                         give one of the two another id"
                    ));
                }
                AcceptorPlace::Node { node } if self.peers.contains_key(node) => (),
                AcceptorPlace::Node { node } => {
                    let known = listed(self.peers.keys());
                    return wrong(format!(
                        "node {node:?} of acceptor {id} is not among the peers ({known}); add it \
                         to peers, or name this node, {this}"
                    ));
                }
                AcceptorPlace::Redis { .. } => (),
            }
        }
        Ok(())
    }
}

/// Notes that what stands at `path` uses `address`, unless something does.
pub(super) fn claim(
    taken: &mut BTreeMap<String, String>,
    address: &impl Display,
    path: String,
) -> Result<(), Problem> {
    let address = address.to_string();
    if let Some(other) = taken.get(&address) {
        let message = format!("{address} is also {other}; give each an address of its own");
        return Err(Problem::at(path, message));
    }
    taken.insert(address, path);
    Ok(())
}

/// Each acceptor of a list, at `path`, is another one: no id, node or Redis
/// server stands there twice.
pub(super) fn check_acceptors(path: &str, acceptors: &[AcceptorRef]) -> Result<(), Problem> {
    if acceptors.is_empty() {
        return Err(Problem::at(path, "is empty; list at least one acceptor"));
    }
    if acceptors.len() > MAX_ACCEPTORS {
        let count = acceptors.len();
        return Err(Problem::at(path, format!("lists {count}; use at most {MAX_ACCEPTORS}")));
    }
    for (index, AcceptorRef { id, place }) in acceptors.iter().enumerate() {
        for (earlier, other) in acceptors[..index].iter().enumerate() {
            let message = match (place, &other.place) {
                _ if *id == other.id => {
                    format!("acceptor {id} is also acceptors[{earlier}]; list it once")
                }
                (AcceptorPlace::Node { node }, AcceptorPlace::Node { node: same })
                    if node == same =>
                {
                    format!(
                        "node {node} is also that of acceptors[{earlier}]; a node has one acceptor"
                    )
                }
                (
                    AcceptorPlace::Redis { storage, .. },
                    AcceptorPlace::Redis { storage: same, .. },
                ) if storage == same => format!(
                    "Redis at {storage} is also acceptors[{earlier}]; give each acceptor a server \
                     of its own"
                ),
                _ => continue,
            };
            return Err(Problem::at(format!("{path}[{index}]"), message));
        }
    }
    Ok(())
}

/// The quorums, at `path`, are possible and meet (rule 11).
pub(super) fn check_quorum(
    path: &str,
    configuration: &Configuration,
    QuorumSizes { read, write }: QuorumSizes,
) -> Result<(), Problem> {
    let problem = match configuration.validate() {
        Ok(()) => return Ok(()),
        Err(problem) => problem,
    };
    Err(match problem {
        UnsafeConfiguration::Size { size, count, .. } => {
            let field = if size == read { "read" } else { "write" };
            let excess = match size {
                0 => "0 is not a quorum".to_owned(),
                _ => format!("{size} is more than the {count} acceptors"),
            };
            Problem::at(format!("{path}.{field}"), format!("{excess}; use 1 to {count}"))
        }
        UnsafeConfiguration::NeedNotMeet { count, .. } => Problem::at(
            path,
            format!(
                "read {read} and write {write} need not meet among {count} acceptors; \
                 read + write must be greater than {count}"
            ),
        ),
        UnsafeConfiguration::Twice(_)
        | UnsafeConfiguration::Mismatch { .. }
        | UnsafeConfiguration::TooMany { .. }
        | UnsafeConfiguration::Hidden { .. } => Problem::at(path, problem.to_string()),
    })
}

pub(super) fn check_shards(path: &str, shards: NonZeroU32) -> Result<(), Problem> {
    let most = ProposerActor::MOST_SHARDS;
    match shards.get() <= most {
        true => Ok(()),
        false => {
            Err(Problem::at(path, format!("{shards} event loops are too many; use 1 to {most}")))
        }
    }
}

fn check_load(load: &LoadActor) -> Result<(), Problem> {
    let path = "actors.load.endpoints";
    if load.endpoints.is_empty() {
        return Err(Problem::at(
            path,
            "is empty; give at least one \"NODE\": \"http://HOST:PORT\"",
        ));
    }
    names::check_keys(path, load.endpoints.keys())
}
