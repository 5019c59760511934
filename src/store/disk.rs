//! The disk under a Raft replica.
//!
//! A replica keeps ordered maps that change together: one commit may append to
//! the log, store a vote and change the state, and a crash leaves all of it or
//! none. Commits survive in order, so that waiting for one means that every
//! earlier one is durable too; this is what lets a replica apply entries
//! without a sync of its own.
//!
//! The state has generations. A snapshot is installed by filling a new one,
//! committing the fact that it is the current one, and dropping the old one.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::StoreError;

/// One of the maps on a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Space {
    /// Facts, by name.
    Meta,
    /// The log.
    Log,
    /// The state machine, in the generation of this number.
    State(u32),
}

/// A key and its value.
pub type Pair = (Bytes, Bytes);

/// Changes that are committed together. A later one of the same key in the
/// same space replaces the earlier one.
#[derive(Clone, Default, Debug)]
pub struct Writes {
    changes: BTreeMap<(Space, Bytes), Option<Bytes>>,
    size_bytes: usize,
}

impl Writes {
    /// The longest key.
    pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

    /// Sets the value of a key.
    ///
    /// # Panics
    ///
    /// When the key is empty or longer than [`Writes::MAX_KEY_BYTES`].
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.change(space, key.into(), Some(value.into()));
    }

    /// Removes a key, whether it is there or not.
    ///
    /// # Panics
    ///
    /// As [`Writes::put`].
    pub fn remove(&mut self, space: Space, key: impl Into<Bytes>) {
        self.change(space, key.into(), None);
    }

    fn change(&mut self, space: Space, key: Bytes, value: Option<Bytes>) {
        assert!(!key.is_empty() && key.len() <= Self::MAX_KEY_BYTES, "a key of {}", key.len());
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let key_bytes = key.len();
        self.size_bytes += key_bytes + length(&value);
        if let Some(replaced) = self.changes.insert((space, key), value) {
            self.size_bytes -= key_bytes + length(&replaced);
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The changes, ordered by space and key; `None` removes.
    pub(super) fn into_changes(self) -> impl Iterator<Item = ((Space, Bytes), Option<Bytes>)> {
        self.changes.into_iter()
    }
}

/// When a commit survives a power failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Once a later commit that is durable [`Now`](Durability::Now) returned,
    /// or some time before. It may not even survive the end of the process.
    Later,
    /// When the call returns: it waits for the disk.
    Now,
}

/// What a [`Disk`] held at one moment. Later commits don't show in it.
///
/// A view keeps what it shows, on the disk or in memory: drop it soon.
///
/// All of its methods fail when the disk failed before, and panic when asked
/// for a generation that did not exist.
pub trait View {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The pairs with keys between the bounds, in their order. It ends early
    /// when it holds `limit_count` pairs, or when the next one would make it
    /// larger than `limit_bytes` of keys and values; the first is given however
    /// large it is. To go on, ask from behind the last key.
    ///
    /// It may step over every key that was removed lately: who removes from the
    /// front keeps in mind where the rest begins, and asks from there.
    fn scan(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit_count: usize,
        limit_bytes: usize,
    ) -> Result<Vec<Pair>, StoreError>;

    /// The pair with the highest key.
    fn last(&self, space: Space) -> Result<Option<Pair>, StoreError>;
}

/// Where a replica keeps its log and its state. Clones share it.
///
/// One thread writes, any number may read. After a write that failed every
/// call fails, also those of views: nobody knows then what is on the disk, and
/// the process must end.
pub trait Disk: Clone + Send + Sync + 'static {
    /// A view of it.
    type View: View + Send + Sync + 'static;

    /// All that is committed, durable or not. Who reads while generations are
    /// dropped takes a view and asks it for the current one too.
    fn view(&self) -> Self::View;

    /// [`View::get`] of what is committed now.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.view().get(space, key)
    }

    /// [`View::scan`] of what is committed now.
    fn scan(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit_count: usize,
        limit_bytes: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.view().scan(space, from, to, limit_count, limit_bytes)
    }

    /// [`View::last`] of what is committed now.
    fn last(&self, space: Space) -> Result<Option<Pair>, StoreError> {
        self.view().last(space)
    }

    /// Writes all of it or none, behind the earlier commits: when this one
    /// survives a crash, so do they. [`Durability::Now`] makes them durable
    /// even when there is nothing to write.
    ///
    /// # Panics
    ///
    /// When it writes to a generation that does not exist.
    fn commit(&self, writes: Writes, durability: Durability) -> Result<(), StoreError>;

    /// Creates an empty generation. It is durable on return, and so are all
    /// commits before it. It takes several syncs of the disk, as dropping does.
    ///
    /// # Panics
    ///
    /// When it exists.
    fn create_generation(&self, generation: u32) -> Result<(), StoreError>;

    /// Drops a generation with all that it holds, where it exists; views that
    /// know it keep it, and its space on the disk. It is durable on return, and
    /// so are all commits before it.
    fn drop_generation(&self, generation: u32) -> Result<(), StoreError>;

    /// The generations that exist, ascending.
    fn generations(&self) -> Vec<u32>;
}

/// Takes what [`View::scan`] gives from the pairs within its bounds.
pub(super) fn take_page(
    pairs: impl Iterator<Item = Result<Pair, StoreError>>,
    limit_count: usize,
    limit_bytes: usize,
) -> Result<Vec<Pair>, StoreError> {
    let mut page = Vec::new();
    let mut size_bytes = 0;
    for pair in pairs.take(limit_count) {
        let (key, value) = pair?;
        size_bytes += key.len() + value.len();
        if size_bytes > limit_bytes && !page.is_empty() {
            break;
        }
        page.push((key, value));
    }
    Ok(page)
}

/// Whether no key can lie between the bounds: ordered maps panic on some of
/// these.
pub(super) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}
