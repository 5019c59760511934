//! Something for each of many keys, bounded in bytes.

use std::collections::BTreeMap;
use std::fmt;

use lru::LruCache;

use super::Key;

/// What can say how much it takes.
pub trait Weighed {
    /// What grows with what clients store, in bytes.
    fn size_bytes(&self) -> usize;
}

/// Something for each of many keys; the least recently used go first.
#[derive(Clone)]
pub struct Cache<V> {
    by_key: LruCache<Key, V>,
    bytes: usize,
    limit_bytes: usize,
}

impl<V: Weighed> Cache<V> {
    /// What an entry takes besides its key and value, roughly.
    const OVERHEAD_BYTES: usize = 200;

    /// Keeps about `limit_bytes` in all.
    pub fn new(limit_bytes: usize) -> Self {
        Cache { by_key: LruCache::unbounded(), bytes: 0, limit_bytes }
    }

    /// Takes out what is there.
    pub fn take(&mut self, key: &Key) -> Option<V> {
        let value = self.by_key.pop(key)?;
        self.bytes -= Self::cost(key, &value);
        Some(value)
    }

    /// What is there.
    pub fn get(&mut self, key: &Key) -> Option<&V> {
        self.by_key.get(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
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

    /// Puts something in, in place of what was there.
    pub fn insert(&mut self, key: Key, value: V) {
        self.bytes += Self::cost(&key, &value);
        if let Some((key, old)) = self.by_key.push(key, value) {
            self.bytes -= Self::cost(&key, &old);
        }
        while self.bytes > self.limit_bytes {
            let (key, old) = self.by_key.pop_lru().expect("bytes are of entries");
            self.bytes -= Self::cost(&key, &old);
        }
    }

    fn cost(key: &Key, value: &V) -> usize {
        key.as_str().len() + value.size_bytes() + Self::OVERHEAD_BYTES
    }
}

/// In the order of the keys, whenever they were used.
impl<V: fmt::Debug> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_key.iter().collect::<BTreeMap<_, _>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(usize);

    impl Weighed for Bytes {
        fn size_bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn the_bytes_are_bounded_and_the_oldest_go_first() {
        let mut values = Cache::new(10_000);
        let key = |i: usize| Key::try_from(format!("k{i}").as_str()).unwrap();
        for i in 0..1000 {
            values.insert(key(i), Bytes(1000));
            assert!(values.bytes <= 10_000);
        }
        assert!(values.by_key.len() >= 8 && values.take(&key(999)).is_some());
        assert!(values.take(&key(999)).is_none() && values.take(&key(0)).is_none());
        values.insert(key(999), Bytes(1));
        values.insert(key(999), Bytes(2));
        values.insert(key(5), Bytes(20_000));
        assert!(values.by_key.is_empty() && values.bytes == 0);
    }
}
