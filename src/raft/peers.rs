//! The way to the other replicas, as a replica sees it. Actors and HTTP stand
//! behind it in a node, a seeded network in the simulator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use super::message::{Call, Lane, Message, Reply};
use super::types::ReplicaId;
use crate::identity::{ClusterId, OwnCluster};

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It certainly never reached the other replica.
    #[error("{0}")]
    NotSent(String),
    /// It may have reached it, and may have been served.
    #[error("{0}")]
    Lost(String),
}

/// The way to the other replicas.
pub trait Peers: Send + Sync + 'static {
    /// Sends a message to the replica `to`, whose peer listener is at `url`, and
    /// waits for its reply no longer than `patience`; on [`Lane::Control`] the
    /// way may give up sooner, so that nothing there waits behind a dead
    /// connection.
    fn call(
        &self,
        to: ReplicaId,
        url: &str,
        lane: Lane,
        message: Message,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unanswered>>;
}

/// The way to the other replicas in the name of a cluster. A replica that the
/// others do not know to have all its data asks nothing over it that counts.
#[derive(Clone)]
pub struct OwnPeers {
    peers: Arc<dyn Peers>,
    cluster: OwnCluster,
    is_admitted: Arc<AtomicBool>,
}

impl OwnPeers {
    /// The way of a replica of this cluster.
    pub fn new(peers: Arc<dyn Peers>, cluster: OwnCluster) -> Self {
        OwnPeers { peers, cluster, is_admitted: Arc::default() }
    }

    /// Whether enough of the others know this replica to have all its data.
    pub fn is_admitted(&self) -> bool {
        self.is_admitted.load(Ordering::Relaxed)
    }

    /// Enough of the others know it, or one knows better.
    pub fn set_admitted(&self, is_admitted: bool) {
        self.is_admitted.store(is_admitted, Ordering::Relaxed);
    }

    /// The cluster of this replica, once it is known.
    pub fn cluster(&self) -> &OwnCluster {
        &self.cluster
    }

    /// As [`Peers::call`]; nothing is sent that must not be yet.
    pub fn call(
        &self,
        to: ReplicaId,
        url: &str,
        lane: Lane,
        call: Call,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unanswered>> {
        self.call_in(self.cluster.get(), (to, url), lane, call, patience)
    }

    /// As [`Self::call`], in the name of another cluster than its own.
    pub fn call_in(
        &self,
        cluster: Option<ClusterId>,
        (to, url): (ReplicaId, &str),
        lane: Lane,
        call: Call,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Reply, Unanswered>> {
        if !self.is_admitted() && !call.is_preliminary() {
            let why = "this replica waits until the others know that it is back".to_owned();
            return Box::pin(std::future::ready(Err(Unanswered::NotSent(why))));
        }
        let message = Message { cluster, call };
        self.peers.call(to, url, lane, message, patience)
    }
}
