//! The acceptor actor: takes calls from this node and from others, hands them
//! to its storage thread and answers when they are durable.

use actix::{Actor, Context, Handler, Message, ResponseFuture};

use super::mailbox::once_it_is_empty;
use super::storage::{Job, Storage};
use crate::caspaxos::{Call, Reply};

/// Calls for an acceptor. The answer is `None` when there is none, though the
/// calls may have been served.
#[derive(Message)]
#[rtype(result = "Option<Vec<Reply>>")]
pub struct Serve(pub Vec<Call>);

/// An acceptor of this node, or one in a Redis that is driven from it.
pub struct Acceptor {
    storage: Storage,
    /// What came since the mailbox was empty; it goes to the disk together.
    gathered: Vec<Job>,
}

impl Acceptor {
    /// An acceptor over a storage thread.
    pub fn new(storage: Storage) -> Self {
        Acceptor { storage, gathered: Vec::new() }
    }
}

impl Actor for Acceptor {
    type Context = Context<Self>;
}

impl Handler<Serve> for Acceptor {
    type Result = ResponseFuture<Option<Vec<Reply>>>;

    fn handle(&mut self, Serve(calls): Serve, ctx: &mut Context<Self>) -> Self::Result {
        if self.gathered.is_empty() {
            once_it_is_empty(ctx, |acceptor, _| {
                acceptor.storage.submit(std::mem::take(&mut acceptor.gathered));
            });
        }
        let (job, replies) = Job::new(calls);
        self.gathered.push(job);
        Box::pin(async move { replies.await.ok().flatten() })
    }
}
