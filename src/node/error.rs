//! Why a node does not start.

use std::io;
use std::net::SocketAddr;

use crate::caspaxos::AcceptorId;
use crate::raft::{self, ReplicaId};
use crate::store::{ConfigurationFileError, OpenError, RedisError, SnapshotError, StoreError};

/// Why a node does not start. Its text names what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be used.
    #[error("listen.{listener}: {address} cannot be used: {error}; {}", remedy(.error))]
    Listen {
        /// Which one.
        listener: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The store of an acceptor cannot be opened.
    #[error("acceptor {acceptor}: {error}")]
    Store {
        /// The acceptor.
        acceptor: AcceptorId,
        /// What is wrong with it.
        error: OpenError,
    },
    /// The Redis server of an acceptor may forget what it acknowledges.
    #[error("acceptor {acceptor}: {error}")]
    Redis {
        /// The acceptor.
        acceptor: AcceptorId,
        /// What is wrong with it.
        error: RedisError,
    },
    /// The configuration that a proposer kept cannot be read.
    #[error(transparent)]
    Configuration(ConfigurationFileError),
    /// A storage thread cannot be started.
    #[error("the storage thread of {of} cannot be started: {error}")]
    Thread {
        /// Whose.
        of: String,
        /// What the system says.
        error: io::Error,
    },
    /// The store of a replica cannot be opened.
    #[error("replica {id}: {error}")]
    ReplicaStore {
        /// The replica.
        id: ReplicaId,
        /// What is wrong with it.
        error: OpenError,
    },
    /// The data of a replica is damaged.
    #[error(
        "replica {id}: {error}; its data cannot be trusted any more: remove it from the cluster \
         (curl -X DELETE http://ANOTHER-MEMBER/{id}), then add a new member with an id that was \
         never used and no data, which gets everything from its peers"
    )]
    ReplicaData {
        /// The replica.
        id: ReplicaId,
        /// What is wrong with it.
        error: StoreError,
    },
    /// The snapshots of a replica cannot be used.
    #[error("actors.raft.snapshot_dir: {0}")]
    Snapshots(SnapshotError),
    /// A replica can be of no cluster.
    #[error("the replica can be of no cluster: {0}")]
    Stranger(String),
    /// A replica does not start.
    #[error("replica {id}: {error}")]
    Replica {
        /// The replica.
        id: ReplicaId,
        /// What keeps it from it.
        error: raft::StartError,
    },
}

/// What helps a listener that the system refuses.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or choose another address",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose one that `ip address` shows, or 0.0.0.0 for \
             all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "the user who runs the node may not use it: choose a port from 1024"
        }
        _ => "choose another address",
    }
}
