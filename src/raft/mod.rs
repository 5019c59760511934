//! Raft: a log that a leader replicates, on openraft.

mod log_store;
mod log_tail;
mod members;
pub mod message;
mod network;
mod peers;
mod planted;
mod reads;
mod replica;
mod runtime;
mod snapshot;
mod state;
mod state_machine;
mod store;
mod types;
mod watch;

pub use log_store::{Jobs, LogStore};
pub use message::{
    Call, ChangeError, Changed, Lane, MemberChange, Reply, SnapshotChunk, SnapshotReply,
};
pub use peers::{Peers, Unanswered};
pub use planted::Bug;
pub use replica::{Replica, Settings, StartError, Unled};
pub use runtime::Runtime;
pub use snapshot::{Blocking, Snapshots};
pub use state::{Applied, Members, State, StateHash};
pub use state_machine::{SnapshotBuilder, StateMachine};
pub use store::{Job, SharedLog, Store};
pub use types::{
    Entry, LogId, Member, Profile, ReplicaId, Request, Response, SnapshotMeta, StoredMembership,
    Types, Vote,
};
