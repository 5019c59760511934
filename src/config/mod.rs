//! Cluster files and deployment files: what they say, and whether it holds
//! together.
//!
//! Two kinds of file, both JSON:
//!
//! - A **deployment file** is one node: its listeners, its peers, its actors.
//!   A node needs nothing else ([`Deployment`]). The original proposer's flat
//!   file is read as one too.
//! - A **cluster file** is all of them: nodes, acceptors, proposers, replicas,
//!   loads ([`Cluster`]). `gryadkactl deploy` turns it into deployment files, and
//!   into a `redis.conf` for each acceptor that lives in Redis
//!   ([`write_deployment`]).
//!
//! A file is checked in three passes, and each error ([`ConfigError`]) names
//! the file, the path inside it, the value and the remedy:
//!
//! 1. *shape*: it is JSON, not too large, and no object has a key twice;
//! 2. *fields*: each field has its type, and leaves such as addresses and
//!    names are well formed; no field is unknown;
//! 3. *sense*: what the fields say together. Quorums meet, names refer to
//!    something, no two things claim one address. The rules of one node are in
//!    `check.rs` and `check_raft.rs`; a cluster is expanded into its nodes,
//!    which obey the same rules, in `expand.rs` and `replicas.rs`.
//!
//! So a [`Deployment`] or [`Cluster`] in hand has passed all three. The command
//! line of `raftkvd` becomes a deployment by the same rules ([`raftkv`]).
//!
//! This layer knows the names and numbers of [`crate::caspaxos`] and
//! [`crate::raft`]; it must not know what the actors do with them, and does no
//! IO but reading and writing these files.

mod address;
mod chaos;
mod check;
mod check_cluster;
mod check_raft;
mod cluster;
mod cluster_file;
mod collection;
mod deploy;
mod deployment;
mod error;
mod expand;
mod json;
mod load;
mod names;
mod original;
mod raft;
pub mod raftkv;
mod redis_conf;
mod replicas;
#[cfg(test)]
mod tests;

pub use address::{BadUrl, HttpUrl, RedisAddress};
pub use chaos::ChaosAccess;
pub use cluster::Cluster;
pub use collection::CollectionSettings;
pub use deploy::{DeployError, write_deployment};
pub use deployment::{
    AcceptorActor, AcceptorPlace, AcceptorRef, Actors, Deployment, Listen, LoadActor, LoadFormat,
    LocalStorage, ProposerActor, QuorumSizes, Serving,
};
pub use error::{ConfigError, EXIT_BAD_CONFIG};
pub use json::wrong_beginning;
pub use names::parse_acceptor_id;
pub use raft::{ElectionTimes, RaftActor, RaftSettings, ReadDefault};
