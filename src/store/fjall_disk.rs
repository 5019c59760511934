//! The disk of a replica in the database of its node.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};

use bytes::Bytes;
use fjall::config::FilterPolicy;
use fjall::{Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::database::Database;
use super::disk::{Disk, Durability, Pair, Space, View, Writes, is_empty_range, take_page};
use super::embedded_open::{claim, keyspace_options, open_keyspace};
use super::{OpenError, ReplicaIdentity, StoreError};

/// A replica's disk, in the keyspaces `raft_*` of a fjall database.
#[derive(Clone)]
pub struct FjallDisk(Arc<Inner>);

struct Inner {
    database: Database,
    directory: PathBuf,
    /// Replaced as a whole when generations come and go. A view is taken under
    /// its lock, so that it never lacks a generation that it says is current.
    spaces: RwLock<Arc<Spaces>>,
    /// The error after which nothing is served any more.
    broken: OnceLock<StoreError>,
}

type Spaces = BTreeMap<Space, Keyspace>;

const GENERATION_PREFIX: &str = "raft_state_";

fn generation_name(generation: u32) -> String {
    format!("{GENERATION_PREFIX}{generation}")
}

fn log_options() -> KeyspaceCreateOptions {
    // Entries come in order, so that tables don't overlap and move down without
    // being rewritten, and they are looked up only where they are: a filter
    // would be built for nothing. With more memory most entries are purged
    // before they reach a table.
    keyspace_options().filter_policy(FilterPolicy::disabled()).max_memtable_size(32 << 20)
}

impl FjallDisk {
    /// Opens the disk of a replica in a database that others may use too, and
    /// finds the generations that are there. `directory` is where the database
    /// is, for messages. A database without a replica becomes that of
    /// `identity`; that of another is refused.
    pub fn open(
        database: Database,
        directory: &Path,
        identity: ReplicaIdentity,
    ) -> Result<Self, OpenError> {
        let facts = open_keyspace(&database, directory, "raft_identity", keyspace_options)?;
        let meta = open_keyspace(&database, directory, "raft_meta", keyspace_options)?;
        let log = open_keyspace(&database, directory, "raft_log", log_options)?;
        let mut spaces = Spaces::from([(Space::Meta, meta), (Space::Log, log)]);
        for name in database.keyspace_names() {
            let number = name.strip_prefix(GENERATION_PREFIX).and_then(|text| text.parse().ok());
            if let Some(generation) = number {
                let state = open_keyspace(&database, directory, &name, keyspace_options)?;
                spaces.insert(Space::State(generation), state);
            }
        }
        let owned: Vec<&Keyspace> = spaces.values().collect();
        claim(&database, directory, &facts, &owned, identity.into(), &[])?;
        let spaces = RwLock::new(Arc::new(spaces));
        let directory = directory.into();
        Ok(FjallDisk(Arc::new(Inner { database, directory, spaces, broken: OnceLock::new() })))
    }

    fn spaces(&self) -> Arc<Spaces> {
        self.0.spaces.read().expect(LOCK).clone()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.broken.get().cloned().map_or(Ok(()), Err)
    }

    /// Breaks the disk for good.
    fn failed(&self, path: &Path, what: &str, error: fjall::Error) -> StoreError {
        let path = path.display().to_string();
        let error = StoreError::Broken { path, why: format!("{what} failed: {error}") };
        self.0.broken.get_or_init(|| error).clone()
    }

    fn journal_failed(&self, error: fjall::Error) -> StoreError {
        self.failed(&self.0.directory.join("*.jnl"), "writing or fsync of the journal", error)
    }

    /// Waits until all commits are durable.
    fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        // fdatasync is enough: it writes the length of a journal that grew.
        self.0.database.persist(PersistMode::SyncData).map_err(|error| self.journal_failed(error))
    }
}

const LOCK: &str = "the lock of the spaces is held for a moment only";

/// The keyspace of a space that must be there.
fn keyspace(spaces: &Spaces, space: Space) -> &Keyspace {
    spaces.get(&space).unwrap_or_else(|| panic!("{space:?} does not exist"))
}

impl Disk for FjallDisk {
    type View = FjallView;

    fn view(&self) -> FjallView {
        let spaces = self.0.spaces.read().expect(LOCK);
        let snapshot = self.0.database.snapshot();
        FjallView { spaces: spaces.clone(), snapshot, disk: self.clone() }
    }

    fn commit(&self, writes: Writes, durability: Durability) -> Result<(), StoreError> {
        self.check()?;
        if !writes.is_empty() {
            let spaces = self.spaces();
            let mut batch = self.0.database.batch();
            for ((space, key), value) in writes.into_changes() {
                let keyspace = keyspace(&spaces, space);
                match value {
                    Some(value) => batch.insert(keyspace, key, value),
                    None => batch.remove(keyspace, key),
                }
            }
            batch.commit().map_err(|error| self.journal_failed(error))?;
        }
        match durability {
            Durability::Later => Ok(()),
            Durability::Now => self.sync(),
        }
    }

    fn create_generation(&self, generation: u32) -> Result<(), StoreError> {
        self.sync()?;
        let mut spaces = (*self.spaces()).clone();
        let name = generation_name(generation);
        let state = self.0.database.keyspace(&name, keyspace_options);
        let state = state
            .map_err(|error| self.failed(&self.0.directory, &format!("creating {name}"), error))?;
        let existing = spaces.insert(Space::State(generation), state);
        assert!(existing.is_none(), "generation {generation} exists");
        *self.0.spaces.write().expect(LOCK) = Arc::new(spaces);
        Ok(())
    }

    fn drop_generation(&self, generation: u32) -> Result<(), StoreError> {
        self.sync()?;
        let mut spaces = (*self.spaces()).clone();
        let Some(state) = spaces.remove(&Space::State(generation)) else {
            return Ok(());
        };
        *self.0.spaces.write().expect(LOCK) = Arc::new(spaces);
        let what = format!("dropping {}", generation_name(generation));
        // Its files go when the last view of it does.
        let dropped = self.0.database.delete_keyspace(state);
        dropped.map_err(|error| self.failed(&self.0.directory, &what, error))
    }

    fn generations(&self) -> Vec<u32> {
        let number = |space: &Space| match space {
            Space::State(generation) => Some(*generation),
            Space::Meta | Space::Log => None,
        };
        self.spaces().keys().filter_map(number).collect()
    }
}

/// A view of a [`FjallDisk`].
pub struct FjallView {
    spaces: Arc<Spaces>,
    snapshot: Snapshot,
    disk: FjallDisk,
}

impl FjallView {
    fn space(&self, space: Space) -> Result<&Keyspace, StoreError> {
        self.disk.check()?;
        Ok(keyspace(&self.spaces, space))
    }

    fn read_failed(&self, keyspace: &Keyspace, error: fjall::Error) -> StoreError {
        self.disk.failed(keyspace.path(), &format!("reading {}", &**keyspace.name()), error)
    }

    fn pair(&self, keyspace: &Keyspace, guard: Guard) -> Result<Pair, StoreError> {
        let pair = guard.into_inner().map_err(|error| self.read_failed(keyspace, error))?;
        Ok((pair.0.into(), pair.1.into()))
    }
}

impl View for FjallView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let keyspace = self.space(space)?;
        let value = self.snapshot.get(keyspace, key);
        let value = value.map_err(|error| self.read_failed(keyspace, error))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit_count: usize,
        limit_bytes: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let keyspace = self.space(space)?;
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let pairs = self.snapshot.range::<&[u8], _>(keyspace, (from, to));
        take_page(pairs.map(|guard| self.pair(keyspace, guard)), limit_count, limit_bytes)
    }

    fn last(&self, space: Space) -> Result<Option<Pair>, StoreError> {
        let keyspace = self.space(space)?;
        let last = self.snapshot.last_key_value(keyspace);
        last.map(|guard| self.pair(keyspace, guard)).transpose()
    }
}
