//! One read index for all reads that wait.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::leader::Unled;
use super::message::{Call, Lane, Reply};
use super::replica::Replica;
use crate::kv::{LogPosition, Refusal};
use crate::store::Disk;

type Answer = Result<LogPosition, Unled>;

/// The reads that wait for a read index.
#[derive(Default)]
pub struct Reads {
    /// They have come since the last question was sent, so that its answer is
    /// too old for them.
    waiting: Vec<oneshot::Sender<Answer>>,
    is_asking: bool,
}

/// How long one question may look for a leader. Who waits longer asks again.
const ROUND_PATIENCE: Duration = Duration::from_millis(500);

impl<D: Disk> Replica<D> {
    /// The entry that must have been applied before a read that begins now is
    /// served.
    pub(super) async fn read_index(&self, deadline: Instant) -> Result<LogPosition, Refusal> {
        let mut last = Unled::Failed("the patience was too short".into());
        while Instant::now() < deadline {
            match timeout_at(deadline, self.join_reads()).await {
                Ok(Ok(Ok(position))) => return Ok(position),
                // A read may always be tried again, but a way that is broken
                // breaks again at once.
                Ok(Ok(Err(unled))) => {
                    last = unled;
                    self.pause().await;
                }
                Ok(Err(_)) => last = Unled::Failed("the replica has stopped".into()),
                Err(_) => {}
            }
        }
        let (Unled::Failed(why) | Unled::Lost(why)) = last;
        Err(Refusal::Failed(why))
    }

    fn join_reads(&self) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut reads = self.reads.lock().expect("nothing panics while it holds the lock");
        reads.waiting.push(sender);
        if !std::mem::replace(&mut reads.is_asking, true) {
            tokio::task::spawn_local(self.clone().ask_for_reads());
        }
        receiver
    }

    async fn ask_for_reads(self) {
        loop {
            let waiting = {
                let mut reads = self.reads.lock().expect("nothing panics while it holds the lock");
                reads.is_asking = !reads.waiting.is_empty();
                std::mem::take(&mut reads.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let here = async || self.confirm_leadership().await;
            let deadline = Instant::now() + ROUND_PATIENCE;
            let parse = |reply| {
                let Reply::ReadIndex(position) = reply else { return None };
                Some(position)
            };
            let asked = self.at_leader(deadline, Lane::Read, here, |_| Call::ReadIndex, parse);
            let answer = asked.await;
            for read in waiting {
                // Who has gone does not wait.
                let _ = read.send(answer.clone());
            }
        }
    }
}
