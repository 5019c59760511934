//! Where acceptors keep their registers, and replicas their log and state.
//!
//! A store of an acceptor runs the pure steps of [`caspaxos::acceptor`](crate::caspaxos::acceptor)
//! on what it holds. It does not know who asks, nor when.
//!
//! | store | where | a reply is durable because |
//! |---|---|---|
//! | [`EmbeddedStore`] | files of the node, through fjall | the batch was fsynced before `serve` returned |
//! | [`RedisStore`] | a Redis server, one Lua script per step | `appendfsync always` is demanded of the server |
//! | [`MemoryStore`] | nowhere | it is not: for tests only |
//!
//! `tests/store_contract/` holds all three to the same promises.
//!
//! A replica works on a [`Disk`]: ordered maps that change together.
//!
//! | disk | where | what a crash leaves |
//! |---|---|---|
//! | [`FjallDisk`] | files of the node, through fjall | all commits up to the last durable one, perhaps some more |
//! | [`MemoryDisk`] | nowhere | the same, as a simulation chooses |
//!
//! `tests/disk_contract.rs` holds both to the same promises. What a replica
//! sends to one that fell behind is a file of its own: [`SnapshotWriter`],
//! [`SnapshotReceiver`], [`SnapshotReader`].

mod configuration_file;
mod database;
mod disk;
mod embedded;
mod embedded_batch;
mod embedded_open;
mod encoding;
mod fjall_disk;
mod manifest;
mod memory;
mod memory_disk;
mod page;
mod redis;
mod snapshot_file;
mod snapshot_receiver;

pub use self::redis::{OriginalAcceptor, OriginalBallot, OriginalRegister, RedisError, RedisStore};
pub use configuration_file::{
    ConfigurationFileError, Kept, read_configuration, write_configuration,
};
pub use database::{Database, open_database};
pub use disk::{Disk, Durability, Pair, Space, View, Writes};
pub use embedded::EmbeddedStore;
pub use embedded_open::{Identity, OpenError, ReplicaIdentity};
pub use encoding::{decode, encode};
pub use fjall_disk::{FjallDisk, FjallView};
pub use memory::MemoryStore;
pub use memory_disk::{MemoryDisk, MemoryView};
pub use snapshot_file::{
    SnapshotError, SnapshotFile, SnapshotLock, SnapshotReader, SnapshotWriter, prepare_snapshots,
};
pub use snapshot_receiver::{Received, SnapshotReceiver};

use std::fmt::Display;

use crate::caspaxos::{Ballot, Call, Reply};
use crate::kv::Key;

/// The memory of one acceptor.
pub trait AcceptorStore: Send {
    /// Serves the calls in order, one reply each. When it returns, whatever
    /// the replies tell is durable (rules 3 and 4). Calls on one key
    /// within the batch see each other.
    fn serve(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError>;
}

/// Why a store gave no replies. The calls may have been served or not.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk failed or its content is damaged. Nothing may be answered any
    /// more: the process must end, since a failed fsync cannot be retried.
    #[error("{path}: {why}")]
    Broken {
        /// The file or directory.
        path: String,
        /// What the operation was and how it failed.
        why: String,
    },
    /// The server of the store did not answer; a later call may succeed.
    #[error("{server}: {why}")]
    Unreachable {
        /// The address of the server.
        server: String,
        /// How it failed.
        why: String,
    },
}

/// Tells the operator that two values came under one ballot (rule 2).
fn log_alarm(key: &Key, ballot: Ballot, store: &dyn Display) {
    log::error!(
        "ALARM: {store}: two values under ballot {ballot:?} of key {key:?}: a proposer broke the \
         protocol; the second value was refused"
    );
}
