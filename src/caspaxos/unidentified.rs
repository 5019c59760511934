//! Why a proposer does not know its cluster, as people read it.

use std::fmt;

use super::AcceptorId;
use crate::identity::ClusterId;

/// Why a proposer does not know its cluster.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unidentified {
    /// Not everybody has answered who must.
    #[error(
        "a cluster is founded by all of its acceptors together, and there is no answer from {}; \
         start what is not running",
        Names(.0)
    )]
    Silent(Vec<AcceptorId>),
    /// Two acceptors belong to different clusters.
    #[error(
        "acceptor {} belongs to cluster {} and acceptor {} to cluster {}; one of them has the data \
         of another cluster: stop it, remove its data directory (or flush its Redis) if that data \
         may go, and add it as a new acceptor",
        .0.0, .0.1, .1.0, .1.1
    )]
    TwoClusters((AcceptorId, ClusterId), (AcceptorId, ClusterId)),
    /// A quorum belongs to another cluster than the proposer was of before.
    #[error(
        "this node belongs to cluster {kept}, as configuration.json in its data directory says, and \
         acceptor {acceptor} and others that its configuration names belong to cluster {held}; \
         correct its deployment file (acceptors, data_dir), or bring the right data back; only if \
         this node is to change clusters, remove its data directory"
    )]
    OtherCluster {
        /// One of the quorum.
        acceptor: AcceptorId,
        /// Its cluster.
        held: ClusterId,
        /// That of the proposer.
        kept: ClusterId,
    },
    /// An acceptor was founded with another configuration.
    #[error(
        "acceptor {acceptor} belongs to a cluster that was founded with {founded}, and the \
         deployment file of this node says {given}; write the same acceptors and quorums into the \
         deployment files of all proposers"
    )]
    OtherConfiguration {
        /// The acceptor.
        acceptor: AcceptorId,
        /// What it was founded with, as text.
        founded: String,
        /// What this proposer was given, as text.
        given: String,
    },
    /// Acceptors are empty whose cluster was founded.
    #[error(
        "acceptor {holder} belongs to cluster {cluster}, which was founded already, and there is no \
         data of {} any more, without which there is no quorum; bring the data back, or remove \
         that of all acceptors to found a new cluster",
        Names(.empty)
    )]
    Lost {
        /// One that belongs to the cluster.
        holder: AcceptorId,
        /// The cluster.
        cluster: ClusterId,
        /// Those that belong to none.
        empty: Vec<AcceptorId>,
    },
    /// All acceptors are empty, and the proposer was of a cluster before.
    #[error(
        "this node belongs to cluster {cluster}, as configuration.json in its data directory says, \
         and there is no data of {} any more; bring the data back, or remove that of all nodes to \
         found a new cluster",
        Names(.empty)
    )]
    AllLost {
        /// The cluster.
        cluster: ClusterId,
        /// The acceptors.
        empty: Vec<AcceptorId>,
    },
    /// An acceptor belongs to no cluster and holds registers.
    #[error("acceptor {0} belongs to no cluster, yet holds registers; wipe it or remove its data")]
    NotEmpty(AcceptorId),
    /// Two acceptors have one store.
    #[error(
        "acceptors {0} and {1} are one and the same store; give each a store (or a Redis) of its \
         own"
    )]
    OneStore(AcceptorId, AcceptorId),
}

/// Acceptors in a sentence.
struct Names<'a>(&'a [AcceptorId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|id| format!("acceptor {id}")).collect();
        f.write_str(&names.join(", "))
    }
}
