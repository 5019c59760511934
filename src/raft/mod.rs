//! Raft: a log that a leader replicates, on openraft.

pub mod message;
mod peers;
mod types;

pub use message::{
    Call, ChangeError, Changed, Lane, MemberChange, Reply, SnapshotChunk, SnapshotReply,
};
pub use peers::{Peers, Unanswered};
pub use types::{
    Entry, LogId, Member, Profile, ReplicaId, Request, Response, Runtime, SnapshotMeta,
    StoredMembership, Types, Vote,
};
