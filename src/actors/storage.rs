//! The storage thread of an acceptor: the one place that waits for a disk.
//!
//! Group commit: while one batch is being written, the next one collects in
//! the queue; then all of it is written and synced at once.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::complaints::Complaints;
use crate::caspaxos::{AcceptorId, Call, Reply};
use crate::store::{AcceptorStore, StoreError};

/// Replies to the calls of a job; `None` when there is no answer, though the
/// calls may have been served.
pub type Replies = Option<Vec<Reply>>;

struct Job {
    calls: Vec<Call>,
    answer: oneshot::Sender<Replies>,
}

/// A handle to a storage thread. The thread ends when all handles are gone.
#[derive(Clone)]
pub struct Storage {
    jobs: SyncSender<Job>,
}

impl Storage {
    /// How many jobs may wait; more are turned away.
    const MAX_JOBS: usize = 4096;
    /// A group is written once it holds this many calls.
    const MAX_GROUP_CALLS: usize = 512;
    /// The status of a process whose disk failed (`EX_IOERR` of sysexits).
    pub const EXIT_STATUS: i32 = 74;

    /// Starts the thread over a store. Join the handle after the last
    /// [`Storage`] is dropped to know that the store is closed.
    pub fn start(
        acceptor: AcceptorId,
        store: Box<dyn AcceptorStore>,
    ) -> std::io::Result<(Storage, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(Self::MAX_JOBS);
        let thread = std::thread::Builder::new()
            .name(format!("storage-{acceptor}"))
            .spawn(move || run(acceptor, store, queue))?;
        Ok((Storage { jobs }, thread))
    }

    /// Queues calls; the replies are durable when they come. Dropping the
    /// receiver does not stop the work.
    pub fn submit(&self, calls: Vec<Call>) -> oneshot::Receiver<Replies> {
        let (answer, replies) = oneshot::channel();
        match self.jobs.try_send(Job { calls, answer }) {
            Ok(()) => {}
            // Dropping the sender tells the receiver that no answer will come.
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => drop(job),
        }
        replies
    }
}

fn run(acceptor: AcceptorId, mut store: Box<dyn AcceptorStore>, queue: Receiver<Job>) {
    let mut complaints = Complaints::default();
    let name = format!("acceptor {acceptor}");
    while let Ok(first) = queue.recv() {
        let mut calls = first.calls;
        let mut waiting = vec![(calls.len(), first.answer)];
        while calls.len() < Storage::MAX_GROUP_CALLS
            && let Ok(mut job) = queue.try_recv()
        {
            waiting.push((job.calls.len(), job.answer));
            calls.append(&mut job.calls);
        }
        match store.serve(&calls) {
            Ok(replies) => {
                complaints.end(&name);
                hand_out(replies, waiting);
            }
            Err(error @ StoreError::Unreachable { .. }) => complaints.note(&name, &error),
            Err(error @ StoreError::Broken { .. }) => {
                log::error!(
                    "{name}: {error}. A failed write cannot be retried safely, so \
                     this process ends; check the disk and start it again"
                );
                std::process::exit(Storage::EXIT_STATUS);
            }
        }
    }
}

fn hand_out(replies: Vec<Reply>, waiting: Vec<(usize, oneshot::Sender<Replies>)>) {
    let mut replies = replies.into_iter();
    for (count, answer) in waiting {
        // Who no longer listens has given the round up.
        let _ = answer.send(Some(replies.by_ref().take(count).collect()));
    }
}
