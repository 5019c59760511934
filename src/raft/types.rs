//! What openraft is told about our log.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::message::{Publication, Published};
use super::runtime::Runtime;
use crate::identity::Nonce;
use crate::kv::{Command, Key, Outcome, RequestId, Submission};

/// The name of a replica, unique in its cluster for all time: the id of a
/// member that was removed is never used again.
pub type ReplicaId = u64;

openraft::declare_raft_types!(
    /// The types of our log.
    pub Types:
        D = Request,
        R = Response,
        NodeId = ReplicaId,
        Node = Member,
        // One leader per term, as in the paper (§5.2).
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = Runtime,
);

/// Where a log ends, or a position in it.
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
/// Whom a replica has voted for.
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
/// An entry of the log.
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
/// The members, and the entry that made them so.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
/// What a snapshot holds.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// A member of the cluster as the log knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    /// The base URL of its peer listener, such as `http://10.0.0.1:12379`.
    pub peer_url: String,
    /// The nonce of a founder.
    pub nonce: Option<Nonce>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_url)
    }
}

/// What the log carries besides the changes of members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// A client's command without a name.
    Command {
        /// The key.
        key: Key,
        /// What to do with it.
        command: Command,
    },
    /// A member begins, and tells how clients know and reach it.
    Publish(Publication),
    /// A client's command that is to take effect once, however often it comes.
    Once {
        /// The key.
        key: Key,
        /// What to do with it.
        command: Command,
        /// What names the request.
        id: RequestId,
    },
    /// Several commands, one after the other.
    Several(Vec<(Key, Submission)>),
}

impl Request {
    /// The request to do several things, in order.
    pub fn of(mut commands: Vec<(Key, Submission)>) -> Self {
        match commands.pop() {
            Some((key, submission)) if commands.is_empty() => Request::new(key, submission),
            last => {
                commands.extend(last);
                Request::Several(commands)
            }
        }
    }

    /// The request to do something with a key.
    pub fn new(key: Key, submission: Submission) -> Self {
        let Submission { command, request_id } = submission;
        match request_id {
            None => Request::Command { key, command },
            Some(id) => Request::Once { key, command, id },
        }
    }
}

/// What a member tells the others about itself when it starts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Profile {
    /// The node's name.
    pub name: String,
    /// The base URL of its client listener; empty when it has none.
    pub client_url: String,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Command { key, .. } | Request::Once { key, .. } => {
                write!(f, "a command for {key:?}")
            }
            Request::Publish(Publication { id, .. }) => write!(f, "the profile of {id}"),
            Request::Several(commands) => write!(f, "{} commands", commands.len()),
        }
    }
}

/// What applying an entry gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// Of each command what it found and left, and the number of changes then,
    /// which is the modified index of the newest of them.
    Applied(Vec<(Outcome, u64)>),
    /// Of a publication what became of it.
    Published(Published),
    /// The entry carried no command.
    Nothing,
}
