//! One entry for all commands that wait.
//!
//! Each entry of the log costs the same, whatever it holds: a row on every
//! replica's disk, its removal later, and openraft's work on it. So commands that
//! come while entries are under way go into the next one together; a lone command
//! does not wait.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::leader::Attempt;
use super::replica::Replica;
use super::types::{Request, Response};
use crate::kv::{Answer, Key, Refusal, Submission};
use crate::store::Disk;

type Written = Attempt<Result<Answer, Refusal>>;

/// The commands that wait for an entry.
#[derive(Default)]
pub struct Writes {
    waiting: VecDeque<Waiting>,
    entries_under_way: usize,
}

struct Waiting {
    key: Key,
    submission: Submission,
    deadline: Instant,
    written: oneshot::Sender<Written>,
}

/// How many entries are under way at once.
const MAX_ENTRIES: usize = 2;
/// How many commands an entry holds at most.
const MAX_COMMANDS: usize = 256;
/// An entry takes no more commands once they reach this many bytes.
const ENTRY_BYTES: usize = 256 << 10;

impl<D: Disk> Replica<D> {
    /// Appends a command, if this replica leads, and applies it.
    pub(super) async fn write(
        &self,
        key: Key,
        submission: Submission,
        deadline: Instant,
    ) -> Written {
        let unknown = |why: &str| Attempt::Done(Err(Refusal::Unknown(why.into())));
        let (written, result) = oneshot::channel();
        {
            let mut writes = self.lock_writes();
            writes.waiting.push_back(Waiting { key, submission, deadline, written });
            if writes.entries_under_way < MAX_ENTRIES {
                writes.entries_under_way += 1;
                tokio::task::spawn_local(self.clone().append_waiting());
            }
        }
        match timeout_at(deadline, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => unknown("the replica has stopped; it may have taken effect"),
            Err(_) => unknown("no quorum of replicas took it in time; it may still take effect"),
        }
    }

    /// Appends what waits, entry after entry, until nothing does.
    async fn append_waiting(self) {
        loop {
            let group = {
                let mut writes = self.lock_writes();
                let group = writes.next_group();
                writes.entries_under_way -= usize::from(group.is_empty());
                group
            };
            let Some(deadline) = group.iter().map(|waiting| waiting.deadline).max() else { return };
            let commands = group.iter().map(|waiting| {
                let Waiting { key, submission, .. } = waiting;
                (key.clone(), submission.clone())
            });
            let result = self.append(Request::of(commands.collect()), deadline).await;
            hand_out(result, group);
        }
    }
}

impl Writes {
    /// The commands of the next entry. Those whose clients have left are dropped:
    /// they were never appended.
    fn next_group(&mut self) -> Vec<Waiting> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < MAX_COMMANDS && bytes < ENTRY_BYTES {
            let Some(waiting) = self.waiting.pop_front() else { break };
            if waiting.written.is_closed() {
                continue;
            }
            bytes += waiting.key.as_str().len() + waiting.submission.size_bytes();
            group.push(waiting);
        }
        group
    }
}

/// Gives each command of an entry what came of it.
fn hand_out(
    result: Attempt<Result<(Response, crate::kv::LogPosition), Refusal>>,
    group: Vec<Waiting>,
) {
    let each: Box<dyn Iterator<Item = Written>> = match result {
        Attempt::Elsewhere(leader) => {
            Box::new(std::iter::repeat_with(move || Attempt::Elsewhere(leader)))
        }
        Attempt::Done(Err(refusal)) => {
            Box::new(std::iter::repeat_with(move || Attempt::Done(Err(refusal.clone()))))
        }
        Attempt::Done(Ok((Response::Applied(applied), position))) => {
            let answer = move |(outcome, index)| {
                Attempt::Done(Ok(Answer { outcome, index, position: Some(position) }))
            };
            Box::new(applied.into_iter().map(answer))
        }
        Attempt::Done(Ok((Response::Nothing | Response::Published(_), _))) => {
            unreachable!("commands have outcomes")
        }
    };
    for (waiting, written) in group.into_iter().zip(each) {
        // Who no longer waits has been told that it is unknown.
        let _ = waiting.written.send(written);
    }
}
