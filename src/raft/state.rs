//! What a replica has applied, for whoever reads it.
//!
//! Reads here are of this replica alone: they show what it has applied, which
//! may be old. [`Replica`](super::Replica) says when that is new enough.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use bytes::Bytes;
use openraft::async_runtime::watch::{WatchReceiver, WatchSender};
use openraft::entry::RaftEntry;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::message::{Publication, Published};
use super::rows::{AFTER_RECORDS, Row};
use super::types::{Entry, LogId, Profile, ReplicaId, StoredMembership};
use super::watch;
use crate::identity::Nonce;
use crate::kv::{
    Answer, Command, Key, Listed, LogPosition, MAX_LISTING_BYTES, Record, Refusal, Scope, apply,
};
use crate::store::{Disk, Space, StoreError, View, decode, encode};

/// Where a replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The last entry that was applied.
    pub last: Option<LogId>,
    /// How many changes of records there were: the modified index of the
    /// newest of them.
    pub changes: u64,
}

impl Applied {
    /// The same for clients.
    pub fn position(&self) -> Option<LogPosition> {
        self.last.as_ref().map(position)
    }

    /// The index of the last entry that was applied; `None` before the first.
    pub fn index(&self) -> Option<u64> {
        self.last.as_ref().map(|id| id.index)
    }
}

/// A log id for clients.
pub fn position(id: &LogId) -> LogPosition {
    LogPosition { index: id.index, term: **id.committed_leader_id() }
}

/// Who belongs to the cluster, as far as it was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The members, and who of them votes.
    pub membership: StoredMembership,
    /// What members have told about themselves.
    pub profiles: BTreeMap<ReplicaId, Profile>,
    /// The nonces of the members that have begun.
    pub nonces: BTreeMap<ReplicaId, Nonce>,
    /// Ids of former members, which are never used again.
    pub retired: BTreeSet<ReplicaId>,
}

impl Members {
    /// Takes note of an entry that changes the members.
    pub fn change(&mut self, entry: &Entry) {
        let Some(membership) = entry.get_membership() else { return };
        let before: Vec<ReplicaId> = self.membership.nodes().map(|(id, _)| *id).collect();
        self.membership = StoredMembership::new(Some(entry.log_id()), membership);
        for (id, member) in self.membership.nodes() {
            if let Some(nonce) = member.nonce {
                self.nonces.insert(*id, nonce);
            }
        }
        let gone =
            before.into_iter().filter(|id| self.membership.membership().get_node(id).is_none());
        let gone: Vec<ReplicaId> = gone.collect();
        for id in gone {
            self.profiles.remove(&id);
            self.nonces.remove(&id);
            self.retired.insert(id);
        }
    }

    /// Notes a member that begins. One that had another nonce before has lost its
    /// data, and with it what it promised and acknowledged.
    pub fn publish(&mut self, publication: &Publication) -> Published {
        if let Some(refusal) = self.refusal_of(publication) {
            return refusal;
        }
        let Publication { id, nonce, profile } = publication;
        self.nonces.insert(*id, *nonce);
        self.profiles.insert(*id, profile.clone());
        Published::Noted
    }

    /// Why a member is not noted, if it is not.
    pub fn refusal_of(&self, Publication { id, nonce, .. }: &Publication) -> Option<Published> {
        if self.url(*id).is_none() {
            return Some(Published::NotMember);
        }
        let is_other = self.nonces.get(id).is_some_and(|known| known != nonce);
        is_other.then_some(Published::OtherNonce)
    }

    /// The base URL of a member's peer listener.
    pub fn url(&self, id: ReplicaId) -> Option<&str> {
        self.membership.membership().get_node(&id).map(|member| member.peer_url.as_str())
    }
}

/// All that is applied besides the records.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How far.
    pub applied: Applied,
    /// Who belongs to the cluster.
    pub members: Arc<Members>,
    /// The generation of the records: each installed snapshot begins a new one.
    pub generation: u32,
}

/// The applied state of a replica, readable from any thread.
#[derive(Clone)]
pub struct State<D> {
    disk: D,
    summary: Arc<RwLock<Summary>>,
    /// The index that was applied last, for those who wait for it.
    progress: watch::Sender<Option<u64>>,
}

impl<D: Disk> State<D> {
    /// The state that a disk holds.
    pub fn new(disk: D, summary: Summary) -> Self {
        let progress = watch::Sender::new(summary.applied.index());
        State { disk, summary: Arc::new(RwLock::new(summary)), progress }
    }

    fn read(&self) -> RwLockReadGuard<'_, Summary> {
        self.summary.read().expect("nothing panics while it holds the lock")
    }

    /// All but the records.
    pub fn summary(&self) -> Summary {
        self.read().clone()
    }

    /// Who belongs to the cluster.
    pub fn members(&self) -> Arc<Members> {
        self.read().members.clone()
    }

    /// Changes the summary, after what it tells is on the disk.
    pub fn update(&self, change: impl FnOnce(&mut Summary)) {
        let mut summary = self.summary.write().expect("nothing panics while it holds the lock");
        change(&mut summary);
        let index = summary.applied.index();
        drop(summary);
        self.progress.send_if_different(index);
    }

    /// Waits until the entry at an index is applied.
    pub async fn applied(&self, index: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as this state.
        let _ = progress.wait_until_ge(&Some(index)).await;
    }

    /// The record of a key, and what was applied when it was read.
    fn record(&self, key: &Key) -> Result<(Record, Applied), StoreError> {
        // A new generation is not begun while the lock is held, so that the
        // old one is still there.
        let summary = self.read();
        let record = record(&self.disk, summary.generation, key)?;
        Ok((record, summary.applied.clone()))
    }

    /// Reads a key.
    pub fn get(&self, key: &Key) -> Result<Answer, Refusal> {
        let (record, applied) = self.record(key).map_err(unreadable)?;
        // An entry that is being applied may show before the summary tells.
        let index = applied.changes.max(record.modified_index);
        let position = applied.position();
        Ok(Answer { outcome: apply(&record, &Command::Get, 0), index, position })
    }

    /// Lists the records under a prefix, all of one moment.
    pub fn list(&self, prefix: &str, scope: Scope) -> Result<Listed, Refusal> {
        let (view, summary) = self.view();
        let mut records = Vec::new();
        let mut bytes = 0;
        for entry in self::records(&view, summary.generation, prefix) {
            let (key, record) = entry.map_err(unreadable)?;
            bytes += key.as_str().len() + record.value.as_ref().map_or(0, |value| value.len());
            if bytes > MAX_LISTING_BYTES {
                return Err(Refusal::TooLarge(format!(
                    "the directory holds more than {MAX_LISTING_BYTES} bytes; list a narrower one"
                )));
            }
            records.push((key, record));
            if scope == Scope::Any {
                break;
            }
        }
        let newest = records.iter().map(|(_, record)| record.modified_index).max();
        let index = summary.applied.changes.max(newest.unwrap_or(0));
        Ok(Listed { records, index, position: summary.applied.position() })
    }

    /// The records and the summary. The records may be newer than the summary
    /// tells, unless this is called where entries are applied.
    pub fn view(&self) -> (D::View, Summary) {
        let summary = self.read();
        (self.disk.view(), summary.clone())
    }

    /// A number that is the same on all replicas that hold the same records and
    /// remember the same requests. Reads all of them.
    pub fn hash(&self) -> Result<StateHash, StoreError> {
        let (view, summary) = self.view();
        let mut hash = Xxh3::new();
        let mut keys = 0;
        for row in Rows::all(&view, summary.generation) {
            let (key, value) = row?;
            keys += u64::from(&key[..] < AFTER_RECORDS);
            hash.update(&encode(&(key, value)));
        }
        Ok(StateHash { applied: summary.applied, keys, hash: hash.digest() })
    }
}

/// What [`State::hash`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// Where the replica stood.
    pub applied: Applied,
    /// How many records it holds.
    pub keys: u64,
    /// XXH3 of all rows in the order of their keys.
    pub hash: u64,
}

/// The record of a key; the default one where there is none.
pub fn record<D: Disk>(disk: &D, generation: u32, key: &Key) -> Result<Record, StoreError> {
    match disk.get(Space::State(generation), key.as_str().as_bytes())? {
        None => Ok(Record::default()),
        Some(bytes) => decode(&bytes).map_err(|why| Row::Record(key.clone()).damaged(&why)),
    }
}

/// Goes through rows in the order of their keys, in bounded memory.
pub struct Rows<'a, V> {
    view: &'a V,
    space: Space,
    prefix: &'a [u8],
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    /// The last key of the page; the next page begins after it.
    after: Option<Bytes>,
    is_over: bool,
}

impl<'a, V: View> Rows<'a, V> {
    const PAGE_COUNT: usize = 1024;
    const PAGE_BYTES: usize = 256 << 10;

    /// All rows: the records, and what keys remember.
    pub fn all(view: &'a V, generation: u32) -> Self {
        Rows::under(view, generation, &[])
    }

    /// The rows whose keys begin with `prefix`.
    fn under(view: &'a V, generation: u32, prefix: &'a [u8]) -> Self {
        let space = Space::State(generation);
        Rows { view, space, prefix, page: Vec::new().into_iter(), after: None, is_over: false }
    }

    fn next_page(&mut self) -> Result<(), StoreError> {
        let from = match &self.after {
            None => Bound::Included(self.prefix),
            Some(key) => Bound::Excluded(&key[..]),
        };
        // No byte of a key is 0xff. Without an end the scan would step over all
        // that was removed behind the prefix.
        let end = [self.prefix, b"\xff"].concat();
        let to = if self.prefix.is_empty() { Bound::Unbounded } else { Bound::Excluded(&end[..]) };
        let page = self.view.scan(self.space, from, to, Self::PAGE_COUNT, Self::PAGE_BYTES)?;
        self.after = page.last().map(|(key, _)| key.clone());
        self.is_over = page.is_empty();
        self.page = page.into_iter();
        Ok(())
    }
}

impl<V: View> Iterator for Rows<'_, V> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.as_slice().is_empty()
            && !self.is_over
            && let Err(error) = self.next_page()
        {
            self.is_over = true;
            return Some(Err(error));
        }
        let (key, value) = self.page.next()?;
        if !key.starts_with(self.prefix) {
            self.is_over = true;
            self.page = Vec::new().into_iter();
            return None;
        }
        Some(Ok((key, value)))
    }
}

/// Goes through the records whose keys begin with a prefix, in key order.
pub fn records<'a, V: View>(
    view: &'a V,
    generation: u32,
    prefix: &'a str,
) -> impl Iterator<Item = Result<(Key, Record), StoreError>> + 'a {
    let rows = Rows::under(view, generation, prefix.as_bytes());
    let is_record = |row: &Result<(Bytes, Bytes), StoreError>| {
        row.as_ref().map_or(true, |(key, _)| &key[..] < AFTER_RECORDS)
    };
    rows.take_while(is_record).map(|row| row.and_then(|(key, value)| to_record(&key, &value)))
}

fn to_record(key: &[u8], value: &[u8]) -> Result<(Key, Record), StoreError> {
    let shown = String::from_utf8_lossy(key);
    let damaged = |why: &str| {
        let why = format!("the record of key {shown:?} is damaged: {why}");
        StoreError::Broken { path: "the state".into(), why }
    };
    let key = Key::try_from(&*shown).map_err(|why| damaged(&why.to_string()))?;
    let record = decode(value).map_err(|why| damaged(&why))?;
    Ok((key, record))
}

/// A disk that cannot be read is the end of the process, but not here: the
/// thread that writes finds out too.
fn unreadable(error: StoreError) -> Refusal {
    Refusal::Failed(format!("this replica cannot read its state: {error}"))
}
