//! A disk in memory that crashes like one: for simulations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::StoreError;
use super::disk::{Disk, Durability, Pair, Space, View, Writes, is_empty_range, take_page};

/// A view copies nothing; a space is copied when it changes under a view.
type Spaces = BTreeMap<Space, Arc<BTreeMap<Bytes, Bytes>>>;

/// Changes and how to undo them: what stood there before.
type Undo = Vec<(Space, Bytes, Option<Bytes>)>;

/// A disk in memory. It holds what is committed; a [crash](MemoryDisk::crash)
/// takes the latest commits away again that nothing made durable.
#[derive(Clone)]
pub struct MemoryDisk {
    shared: Arc<Mutex<Shared>>,
    /// The life of the process that this handle belongs to.
    life: u64,
}

struct Shared {
    spaces: Spaces,
    /// The commits that are not durable yet, oldest first.
    pending: Vec<Undo>,
    life: u64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        let spaces = [Space::Meta, Space::Log].map(|space| (space, Arc::default()));
        let shared = Shared { spaces: spaces.into(), pending: Vec::new(), life: 0 };
        MemoryDisk { shared: Arc::new(Mutex::new(shared)), life: 0 }
    }
}

impl MemoryDisk {
    /// Cuts the power. `survivors` is told how many commits are not durable
    /// and says how many of the oldest survive nevertheless. All handles and
    /// views fail from now on; the one that is returned is for the process that
    /// starts next.
    ///
    /// # Panics
    ///
    /// When more survive than there are.
    pub fn crash(&self, survivors: impl FnOnce(usize) -> usize) -> MemoryDisk {
        let mut shared = self.lock();
        let survivors = survivors(shared.pending.len());
        assert!(survivors <= shared.pending.len(), "{survivors} is more than there are");
        let lost = shared.pending.split_off(survivors);
        for (space, key, before) in lost.into_iter().rev().flat_map(|undo| undo.into_iter().rev()) {
            replace(&mut shared.spaces, space, key, before);
        }
        shared.pending.clear();
        shared.life += 1;
        MemoryDisk { shared: self.shared.clone(), life: shared.life }
    }

    /// Another disk, which holds what this one holds now, durable or not.
    pub fn copy(&self) -> MemoryDisk {
        let spaces = self.lock().spaces.clone();
        let shared = Shared { spaces, pending: Vec::new(), life: 0 };
        MemoryDisk { shared: Arc::new(Mutex::new(shared)), life: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("a thread panicked in the middle of a change")
    }

    fn lock_alive(&self) -> Result<MutexGuard<'_, Shared>, StoreError> {
        let shared = self.lock();
        if shared.life == self.life {
            return Ok(shared);
        }
        Err(StoreError::Broken { path: "memory".into(), why: "the power was cut".into() })
    }
}

/// Sets or removes a key, and gives what stood there.
fn replace(spaces: &mut Spaces, space: Space, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
    let map = spaces.get_mut(&space).unwrap_or_else(|| panic!("{space:?} does not exist"));
    let map = Arc::make_mut(map);
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

impl Disk for MemoryDisk {
    type View = MemoryView;

    fn view(&self) -> MemoryView {
        MemoryView { spaces: self.lock().spaces.clone(), disk: self.clone() }
    }

    fn commit(&self, writes: Writes, durability: Durability) -> Result<(), StoreError> {
        let mut shared = self.lock_alive()?;
        let mut undo = Undo::new();
        for ((space, key), value) in writes.into_changes() {
            let before = replace(&mut shared.spaces, space, key.clone(), value);
            undo.push((space, key, before));
        }
        match durability {
            Durability::Later => shared.pending.push(undo),
            Durability::Now => shared.pending.clear(),
        }
        Ok(())
    }

    fn create_generation(&self, generation: u32) -> Result<(), StoreError> {
        let mut shared = self.lock_alive()?;
        let existing = shared.spaces.insert(Space::State(generation), Arc::default());
        assert!(existing.is_none(), "generation {generation} exists");
        shared.pending.clear();
        Ok(())
    }

    fn drop_generation(&self, generation: u32) -> Result<(), StoreError> {
        let mut shared = self.lock_alive()?;
        shared.spaces.remove(&Space::State(generation));
        shared.pending.clear();
        Ok(())
    }

    fn generations(&self) -> Vec<u32> {
        let number = |space: &Space| match space {
            Space::State(generation) => Some(*generation),
            Space::Meta | Space::Log => None,
        };
        self.lock().spaces.keys().filter_map(number).collect()
    }
}

/// A view of a [`MemoryDisk`].
pub struct MemoryView {
    spaces: Spaces,
    disk: MemoryDisk,
}

impl MemoryView {
    fn space(&self, space: Space) -> Result<&BTreeMap<Bytes, Bytes>, StoreError> {
        drop(self.disk.lock_alive()?);
        Ok(self.spaces.get(&space).unwrap_or_else(|| panic!("{space:?} does not exist")))
    }
}

impl View for MemoryView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.space(space)?.get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit_count: usize,
        limit_bytes: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let map = self.space(space)?;
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let pairs = map.range::<[u8], _>((from, to));
        let pairs = pairs.map(|(key, value)| Ok((key.clone(), value.clone())));
        take_page(pairs, limit_count, limit_bytes)
    }

    fn last(&self, space: Space) -> Result<Option<Pair>, StoreError> {
        let last = self.space(space)?.last_key_value();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }
}
