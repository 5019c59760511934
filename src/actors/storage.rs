//! The storage thread of an acceptor: the one place that waits for a disk.
//!
//! Group commit: while one batch is being written, the next one collects in
//! the queue; then all of it is written and synced at once.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::complaints::Complaints;
use crate::caspaxos::{AcceptorId, Call, Reply};
use crate::store::{AcceptorStore, StoreError};

/// Replies to the calls of a job; `None` when there is no answer, though the
/// calls may have been served.
pub type Replies = Option<Vec<Reply>>;

/// Calls, and where their replies go.
pub struct Job {
    calls: Vec<Call>,
    answer: oneshot::Sender<Replies>,
}

impl Job {
    /// A job, and what its replies come from; they are durable when they come.
    /// Dropping the receiver does not stop the work.
    pub fn new(calls: Vec<Call>) -> (Job, oneshot::Receiver<Replies>) {
        let (answer, replies) = oneshot::channel();
        (Job { calls, answer }, replies)
    }
}

/// The replies to the jobs of a group. They go to the event loop together and are
/// handed out there, so that it is woken once for all of them.
type Answers = Vec<(oneshot::Sender<Replies>, Vec<Reply>)>;

/// A handle to a storage thread. The thread ends when all handles are gone.
#[derive(Clone)]
pub struct Storage {
    jobs: SyncSender<Vec<Job>>,
}

impl Storage {
    /// How many submissions may wait; more are turned away.
    const MAX_SUBMISSIONS: usize = 4096;
    /// A group is written once it holds this many calls.
    const MAX_GROUP_CALLS: usize = 512;
    /// The status of a process whose disk failed (`EX_IOERR` of sysexits).
    pub const EXIT_STATUS: i32 = 74;

    /// Starts the thread over a store; its replies come on the event loop that
    /// this is called on. Join the handle after the last [`Storage`] is dropped to
    /// know that the store is closed.
    pub fn start(
        acceptor: AcceptorId,
        store: Box<dyn AcceptorStore>,
    ) -> std::io::Result<(Storage, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(Self::MAX_SUBMISSIONS);
        let (answers, answered) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("storage-{acceptor}"))
            .spawn(move || run(acceptor, store, queue, answers))?;
        actix::spawn(hand_out(answered));
        Ok((Storage { jobs }, thread))
    }

    /// Queues jobs.
    pub fn submit(&self, jobs: Vec<Job>) {
        match self.jobs.try_send(jobs) {
            Ok(()) => {}
            // Dropping the senders tells the receivers that no answer will come.
            Err(TrySendError::Full(jobs) | TrySendError::Disconnected(jobs)) => drop(jobs),
        }
    }
}

fn run(
    acceptor: AcceptorId,
    mut store: Box<dyn AcceptorStore>,
    queue: Receiver<Vec<Job>>,
    answers: UnboundedSender<Answers>,
) {
    let (mut complaints, mut refusals) = (Complaints::default(), Complaints::default());
    let name = format!("acceptor {acceptor}");
    while let Ok(first) = queue.recv() {
        let (mut calls, mut waiting) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(jobs) = next {
            for mut job in jobs {
                waiting.push((job.calls.len(), job.answer));
                calls.append(&mut job.calls);
            }
            let is_full = calls.len() >= Storage::MAX_GROUP_CALLS;
            next = if is_full { None } else { queue.try_recv().ok() };
        }
        match store.serve(&calls) {
            Ok(replies) => {
                complaints.end(&name);
                if let Some(what) = replies.iter().find_map(refusal) {
                    refusals.say(&format_args!("{name} refuses {what}"));
                }
                // Nobody waits once the event loop has ended.
                let _ = answers.send(parted(replies, waiting));
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

/// What an operator has to know of that was turned away.
fn refusal(reply: &Reply) -> Option<String> {
    match reply {
        Reply::OtherCluster { held } => Some(format!(
            "a proposer of another cluster; its own is {held}: stop the node that has the data of \
             the other one"
        )),
        Reply::TooHigh => Some("a number that nobody comes by counting; it looks made up".into()),
        _ => None,
    }
}

fn parted(replies: Vec<Reply>, waiting: Vec<(usize, oneshot::Sender<Replies>)>) -> Answers {
    let mut replies = replies.into_iter();
    let part = |(count, answer)| (answer, replies.by_ref().take(count).collect());
    waiting.into_iter().map(part).collect()
}

async fn hand_out(mut answered: UnboundedReceiver<Answers>) {
    while let Some(answers) = answered.recv().await {
        for (answer, replies) in answers {
            // Who no longer listens has given the round up.
            let _ = answer.send(Some(replies));
        }
    }
}
