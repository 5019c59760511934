//! What the clients asked and saw, and how long it took.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::kv::{Command, Key};
use crate::perseus::{End, History, OperationId};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To write a value.
    Put,
    /// To read it.
    Get,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A put was done, or a get answered with a value.
    Succeeded,
    /// A get was answered: the key does not exist.
    Absent,
    /// A put may have been done or not, or an answer was of no use.
    UnknownError,
    /// No node could be spoken to, however often it was tried.
    ConnectionError,
    /// It was tried too often, and some node at least refused it.
    FailedAfterManyAttempts,
}

/// One request, all its attempts included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// What was asked.
    pub asked: Asked,
    /// How it ended.
    pub ending: Ending,
    /// When it began, since the ledger was opened.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When, since the ledger was opened.
    pub at: Duration,
    /// What.
    pub what: String,
}

/// An entry whose end is not known yet.
pub(super) struct Entry {
    key: Key,
    id: OperationId,
    began: Duration,
}

/// All that was asked and seen.
#[derive(Debug)]
pub struct Ledger {
    opened: Instant,
    histories: BTreeMap<Key, History>,
    samples: Vec<Sample>,
    marks: Vec<Mark>,
    last_error: Option<String>,
}

/// A ledger that the clients of one thread share.
pub(super) type SharedLedger = Rc<RefCell<Ledger>>;

impl Ledger {
    /// An empty one, whose time begins now.
    pub(super) fn open() -> Ledger {
        let (histories, samples, marks, last_error) = Default::default();
        Ledger { opened: Instant::now(), histories, samples, marks, last_error }
    }

    /// Notes that a client asks. Until it is closed the entry counts as unknown.
    pub(super) fn call(&mut self, client: u64, key: &Key, command: Command) -> Entry {
        let began = self.opened.elapsed();
        let history = self.histories.entry(key.clone()).or_default();
        let id = history.call(client, key.clone(), command, nanoseconds(began));
        Entry { key: key.clone(), id, began }
    }

    /// The time of an answer that came now.
    pub(super) fn now(&self) -> u64 {
        nanoseconds(self.opened.elapsed())
    }

    /// Notes how it ended.
    pub(super) fn close(&mut self, entry: &Entry, end: End) {
        self.histories.get_mut(&entry.key).expect("it was called").end(entry.id, end);
    }

    /// Counts it as a request of the suite.
    pub(super) fn count(&mut self, entry: &Entry, asked: Asked, ending: Ending) {
        let took = self.opened.elapsed() - entry.began;
        self.samples.push(Sample { asked, ending, began: entry.began, took });
    }

    /// Notes what has just happened to a node.
    pub(super) fn mark(&mut self, what: String) {
        self.marks.push(Mark { at: self.opened.elapsed(), what });
    }

    /// Notes why an attempt failed.
    pub(super) fn note_error(&mut self, error: String) {
        self.last_error = Some(error);
    }

    /// Why the last attempt that failed did so.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// What was asked of each key.
    pub fn histories(&self) -> &BTreeMap<Key, History> {
        &self.histories
    }

    /// The keys that were to be written.
    pub(super) fn written(&self) -> impl Iterator<Item = &Key> {
        let is_written = |history: &History| {
            history.operations().iter().any(|operation| !operation.command.is_read())
        };
        self.histories.iter().filter(move |(_, history)| is_written(history)).map(|(key, _)| key)
    }

    /// The requests in the order in which they ended.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// What happened to the nodes.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a run is shorter than five centuries")
}
