//! The log as openraft sees it: what is in memory is read at once, the rest
//! is a [`Job`] for the thread that writes.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use futures::{Stream, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::{mpsc, oneshot};

use super::message::entry_bytes;
use super::store::{CHUNK_BYTES, Job, SharedLog, lock};
use super::types::{Entry, LogId, Types, Vote};

/// The way to the thread that writes.
#[derive(Clone)]
pub struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    /// How many jobs may wait; who has more waits too.
    const CAPACITY: usize = 1024;

    /// A queue of jobs. The thread ends when all of its senders are gone.
    pub fn queue() -> (Jobs, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(Self::CAPACITY);
        (Jobs(sender), receiver)
    }

    /// Queues a job.
    pub async fn send(&self, job: Job) -> io::Result<()> {
        self.0.send(job).await.map_err(|_| stopped())
    }

    /// Queues a job and waits until it is done.
    pub async fn run<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> io::Result<T> {
        let (done, is_done) = oneshot::channel();
        self.send(job(done)).await?;
        is_done.await.map_err(|_| stopped())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the storage of the replica has stopped")
}

/// A replica's log.
#[derive(Clone)]
pub struct LogStore {
    log: SharedLog,
    jobs: Jobs,
}

impl LogStore {
    /// The log behind a queue of jobs.
    pub fn new(log: SharedLog, jobs: Jobs) -> Self {
        LogStore { log, jobs }
    }

    /// As many entries of a range as fit in a chunk, one at least unless the
    /// range is empty.
    async fn read(&self, mut range: Range<u64>) -> io::Result<Vec<Entry>> {
        loop {
            let on_disk = {
                let log = lock(&self.log);
                range.end = range.end.min(log.last.map_or(0, |last| last.index + 1));
                if range.is_empty() {
                    return Ok(Vec::new());
                }
                if let Some(entries) = log.tail.read(range.start, range.end, CHUNK_BYTES) {
                    return Ok(entries);
                }
                let end = log.tail.first().map_or(range.end, |first| first.min(range.end));
                range.start..end
            };
            range.start = on_disk.end;
            let entries = self.jobs.run(|answer| Job::Read(on_disk, CHUNK_BYTES, answer)).await?;
            // What was purged is neither there nor in the tail.
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut rest = bounds(&range);
        let mut all = Vec::new();
        loop {
            let entries = self.read(rest.clone()).await?;
            let Some(last) = entries.last() else { return Ok(all) };
            rest.start = last.index() + 1;
            all.extend(entries);
        }
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(lock(&self.log).vote)
    }

    /// One message's worth of entries.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end).await
    }

    /// Reads chunk by chunk, so that a long range does not fill the memory.
    async fn entries_stream<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend {
        let state = (self.clone(), bounds(&range), Vec::new().into_iter());
        stream::unfold(
            state,
            |(log, mut rest, mut chunk): (_, _, std::vec::IntoIter<Entry>)| async {
                if chunk.as_slice().is_empty() {
                    match log.read(rest.clone()).await {
                        Ok(entries) => chunk = entries.into_iter(),
                        Err(error) => {
                            rest.start = rest.end;
                            return Some((Err(error), (log, rest, chunk)));
                        }
                    }
                }
                let entry = chunk.next()?;
                rest.start = entry.index() + 1;
                Some((Ok(entry), (log, rest, chunk)))
            },
        )
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = lock(&self.log);
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: log.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.jobs.run(|done| Job::SaveVote(*vote, done)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut log = lock(&self.log);
            for entry in &entries {
                log.bytes_since_snapshot += entry_bytes(entry) as u64;
                log.last = Some(entry.log_id());
                log.tail.push(entry.clone());
            }
        }
        self.jobs.send(Job::Append(entries, callback)).await
    }

    async fn truncate_after(&mut self, after: Option<LogId>) -> Result<(), io::Error> {
        {
            let mut log = lock(&self.log);
            log.tail.truncate(after.map_or(0, |id| id.index + 1));
            log.last = log.last.min(after).max(log.purged);
        }
        self.jobs.run(|done| Job::Truncate(after, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut log = lock(&self.log);
            log.tail.purge(upto.index);
            log.purged = Some(upto);
            log.last = log.last.max(Some(upto));
        }
        self.jobs.run(|done| Job::Purge(upto, done)).await
    }
}
