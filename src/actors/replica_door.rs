//! What the replica of a node is asked by those of other nodes.

use crate::raft::{Message, ReplicaId, Reply};

/// Calls for the replica of this node. They know nothing of each other, so
/// they are served side by side; the replies come in the order of the calls,
/// when all of them are there.
#[derive(actix::Message)]
#[rtype(result = "Vec<Reply>")]
pub struct ServeReplica {
    /// The replica that calls.
    pub from: ReplicaId,
    /// The calls.
    pub calls: Vec<Message>,
}
