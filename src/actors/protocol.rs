//! What a protocol offers to the door: the messages that its actor takes, and
//! what can be read without one.

use std::time::Duration;

use actix::Message;
use tokio::sync::oneshot;

use super::service::Permit;
use crate::kv::{Answer, Key, Listed, Refusal, Scope, Submission};
use crate::raft::{ChangeError, Changed, MemberChange, ReplicaId};

/// A command for the protocol actor. It carries its own way back, so that a
/// client that goes away cancels nothing, and the permit it was let in with.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    /// The key.
    pub key: Key,
    /// The command, and the name of the request.
    pub submission: Submission,
    /// How long the client waits.
    pub patience: Duration,
    /// The way back.
    pub answer: oneshot::Sender<Result<Answer, Refusal>>,
    /// Held until the command is answered.
    pub permit: Permit,
}

/// A listing for the protocol actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct List {
    /// What the keys begin with.
    pub prefix: String,
    /// Every record, or whether there is one.
    pub scope: Scope,
    /// How long the client waits while nothing of it comes.
    pub patience: Duration,
    /// The way back.
    pub answer: oneshot::Sender<Result<Listed, Refusal>>,
    /// Held until the listing is answered.
    pub permit: Permit,
}

/// A change of members for a protocol actor that can make one.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChangeMembers {
    /// How to change them.
    pub change: MemberChange,
    /// How long the client waits.
    pub patience: Duration,
    /// The way back.
    pub answer: oneshot::Sender<Result<Changed, ChangeError>>,
    /// Held until the change is answered.
    pub permit: Permit,
}

/// What this node has applied by itself: no other node is asked, so an answer
/// may be old.
pub trait LocalReads: Send + Sync {
    /// Reads a key, as [`Command::Get`](crate::kv::Command::Get) would. Runs on a thread that serves
    /// HTTP: it must not wait for anything but the store.
    fn get(&self, key: &Key) -> Result<Answer, Refusal>;

    /// Lists the live records under a prefix. [`Scope::All`] runs on a thread
    /// that may block, [`Scope::Any`] on one that serves HTTP.
    fn list(&self, prefix: &str, scope: Scope) -> Result<Listed, Refusal>;
}

/// Who belongs to the cluster, as far as this node knows.
pub trait MemberList: Send + Sync {
    /// The members, in the order of their ids.
    fn members(&self) -> Vec<MemberView>;
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// Its id.
    pub id: ReplicaId,
    /// The name of its node; empty until it has started once.
    pub name: String,
    /// The base URL of its peer listener.
    pub peer_url: String,
    /// The base URL of its client listener, once it is known.
    pub client_url: Option<String>,
    /// False while it only learns.
    pub is_voter: bool,
    /// True for at most one.
    pub is_leader: bool,
}

/// What an operator may look at.
pub trait Inspect: Send + Sync {
    /// The state of the protocol on this node. Must not wait.
    fn state(&self) -> serde_json::Value;

    /// A hash over all keys, to compare nodes by. It may take its time: it
    /// runs on a thread that may block.
    fn hash(&self) -> Result<serde_json::Value, Refusal>;
}
