//! The newest entries of the log, in memory: those that are not on the disk
//! yet and as many before them as fit, so that replication and application
//! seldom read the disk.

use std::collections::VecDeque;

use openraft::entry::RaftEntry;

use super::message::entry_bytes;
use super::types::Entry;

/// A run of entries without holes, up to the end of the log.
#[derive(Default)]
pub struct LogTail {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl LogTail {
    /// What it holds, besides entries that are not durable.
    const MAX_BYTES: usize = 16 << 20;

    /// The index of its first entry.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(Entry::index)
    }

    /// The last entry of the log, unless it is older than all that is here.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Adds the entry that follows the last one.
    pub fn push(&mut self, entry: Entry) {
        debug_assert!(self.last().is_none_or(|last| last.index() + 1 == entry.index()));
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }

    /// Drops the entries from an index on.
    pub fn truncate(&mut self, from: u64) {
        while self.last().is_some_and(|last| last.index() >= from) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, entry_bytes);
        }
    }

    /// Drops the entries up to an index.
    pub fn purge(&mut self, upto: u64) {
        while self.first().is_some_and(|first| first <= upto) {
            self.pop_front();
        }
    }

    /// Drops entries that are on the disk, until the rest fits.
    pub fn trim(&mut self, durable: u64) {
        while self.bytes > Self::MAX_BYTES && self.first().is_some_and(|first| first <= durable) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.bytes -= self.entries.pop_front().as_ref().map_or(0, entry_bytes);
    }

    /// The entries from `start` to before `end`, as many as fit but one at
    /// least; `None` when the first of them is older than all that is here.
    pub fn read(&self, start: u64, end: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.first().filter(|first| *first <= start)?;
        let mut bytes = 0;
        let entries = self.entries.iter().skip((start - first) as usize);
        let fitting = entries.take((end.saturating_sub(start)) as usize).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry_bytes(entry);
            is_first || bytes <= max_bytes
        });
        Some(fitting.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Command, Key};
    use crate::raft::types::{LogId, Request};

    fn entry(index: u64, value_bytes: usize) -> Entry {
        let key = Key::try_from("k").unwrap();
        let command = Command::Set(vec![0; value_bytes].into());
        Entry::new(
            LogId::new(openraft::vote::leader_id_std::CommittedLeaderId::new(1), index),
            openraft::EntryPayload::Normal(Request::Command { key, command }),
        )
    }

    fn tail(indices: std::ops::Range<u64>, value_bytes: usize) -> LogTail {
        let mut tail = LogTail::default();
        indices.for_each(|index| tail.push(entry(index, value_bytes)));
        tail
    }

    fn indices(entries: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        entries.map(|entries| entries.iter().map(Entry::index).collect())
    }

    #[test]
    fn reads_are_bounded_and_never_empty() {
        let tail = tail(5..10, 1000);
        assert_eq!(indices(tail.read(5, 8, usize::MAX)), Some(vec![5, 6, 7]));
        assert_eq!(indices(tail.read(8, 99, usize::MAX)), Some(vec![8, 9]));
        assert_eq!(indices(tail.read(6, 10, 1)), Some(vec![6]));
        assert_eq!(indices(tail.read(6, 10, 2600)), Some(vec![6, 7]));
        assert_eq!(indices(tail.read(4, 10, usize::MAX)), None);
        assert_eq!(indices(tail.read(10, 10, usize::MAX)), Some(vec![]));
        assert_eq!(indices(LogTail::default().read(0, 1, 1)), None);
    }

    #[test]
    fn what_is_not_durable_stays() {
        let mut tail = tail(1..41, 1 << 20);
        tail.trim(3);
        assert_eq!(tail.first(), Some(4));
        tail.trim(40);
        assert_eq!(tail.first(), Some(26));
        tail.truncate(30);
        assert_eq!(tail.last().map(Entry::index), Some(29));
        tail.purge(29);
        assert_eq!((tail.first(), tail.bytes), (None, 0));
    }
}
