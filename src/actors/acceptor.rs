//! The acceptor actor: takes calls from this node and from others, hands them
//! to its storage thread and answers when they are durable.

use actix::{Actor, Context, Handler, Message, ResponseFuture};

use super::storage::Storage;
use crate::caspaxos::{Call, Reply};

/// Calls for an acceptor. The answer is `None` when there is none, though the
/// calls may have been served.
#[derive(Message)]
#[rtype(result = "Option<Vec<Reply>>")]
pub struct Serve(pub Vec<Call>);

/// An acceptor of this node, or one in a Redis that is driven from it.
pub struct Acceptor {
    storage: Storage,
}

impl Acceptor {
    /// An acceptor over a storage thread.
    pub fn new(storage: Storage) -> Self {
        Acceptor { storage }
    }
}

impl Actor for Acceptor {
    type Context = Context<Self>;
}

impl Handler<Serve> for Acceptor {
    type Result = ResponseFuture<Option<Vec<Reply>>>;

    fn handle(&mut self, Serve(calls): Serve, _: &mut Context<Self>) -> Self::Result {
        let replies = self.storage.submit(calls);
        Box::pin(async move { replies.await.ok().flatten() })
    }
}
