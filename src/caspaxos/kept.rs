//! Values kept for the one-round-trip rule, bounded in bytes.

use std::collections::BTreeMap;
use std::fmt;

use lru::LruCache;

use super::{Ballot, Value};
use crate::kv::Key;

/// A ballot that a prepare quorum has promised, and the value that is current
/// as long as nobody prepares a higher one (CASPaxos §2.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The promised ballot, never used so far.
    pub ballot: Ballot,
    /// The chosen value.
    pub value: Value,
}

/// The kept values of all keys; the least recently used go first.
#[derive(Clone)]
pub struct KeptValues {
    by_key: LruCache<Key, Kept>,
    bytes: usize,
    limit_bytes: usize,
}

impl KeptValues {
    /// What an entry takes besides its key and value, roughly.
    const OVERHEAD_BYTES: usize = 200;

    /// Keeps values of about `limit_bytes` in all.
    pub fn new(limit_bytes: usize) -> Self {
        KeptValues { by_key: LruCache::unbounded(), bytes: 0, limit_bytes }
    }

    /// Takes the value out: a ballot serves one round.
    pub fn take(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.by_key.pop(key)?;
        self.bytes -= Self::cost(key, &kept);
        Some(kept)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// What they take, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops all of them.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.bytes = 0;
    }

    /// Keeps a value for the next round.
    pub fn insert(&mut self, key: Key, kept: Kept) {
        self.bytes += Self::cost(&key, &kept);
        if let Some((key, old)) = self.by_key.push(key, kept) {
            self.bytes -= Self::cost(&key, &old);
        }
        while self.bytes > self.limit_bytes {
            let (key, old) = self.by_key.pop_lru().expect("bytes are of entries");
            self.bytes -= Self::cost(&key, &old);
        }
    }

    fn cost(key: &Key, kept: &Kept) -> usize {
        key.as_str().len() + kept.value.size_bytes() + Self::OVERHEAD_BYTES
    }
}

/// In the order of the keys, whenever they were used.
impl fmt::Debug for KeptValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_key.iter().collect::<BTreeMap<_, _>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Record;

    fn kept(bytes: usize) -> Kept {
        let record = Record { value: Some(vec![0; bytes].into()), ..Record::default() };
        Kept { ballot: Ballot::ZERO, value: Value { record, ..Value::default() } }
    }

    #[test]
    fn the_bytes_are_bounded_and_the_oldest_go_first() {
        let mut values = KeptValues::new(10_000);
        let key = |i: usize| Key::try_from(format!("k{i}").as_str()).unwrap();
        for i in 0..1000 {
            values.insert(key(i), kept(1000));
            assert!(values.bytes <= 10_000);
        }
        assert!(values.by_key.len() >= 8 && values.take(&key(999)).is_some());
        assert!(values.take(&key(999)).is_none() && values.take(&key(0)).is_none());
        values.insert(key(999), kept(1));
        values.insert(key(999), kept(2));
        values.insert(key(5), kept(20_000));
        assert!(values.by_key.is_empty() && values.bytes == 0);
    }
}
