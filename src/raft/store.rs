//! What a replica writes, and in which order it becomes durable.
//!
//! All writes of a replica pass here, in order, on one thread. They come in
//! groups: what has queued while the last group was written. A group is
//! written so (design: group commit):
//!
//! 1. Entries, votes and truncations of the log go to the disk in one write,
//!    which is waited for. Only then does openraft hear of them: "before
//!    responding to RPCs" (§5, figure 2).
//! 2. Entries that are committed are applied: the records they change and the
//!    applied index go to the disk in one write, without waiting for it, since
//!    after a crash the log brings them back. Then the clients are answered.
//!    What the log got before in the same group is written before, so that the
//!    log is never behind the state.
//!
//! Writes become durable in the order in which they were made, so that what a
//! purge removes from the log is durable in the records.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, IOFlushed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::application::Application;
use super::generations::{Kept, KnownGenerations, ReplicaGenerations};
use super::log_tail::LogTail;
use super::planted::{Bug, is_planted};
use super::snapshot::SnapshotHeader;
use super::state::{Applied, Members, State, Summary};
use super::types::{Entry, LogId, ReplicaId, SnapshotMeta, Types, Vote};
use crate::generation::Generation;
use crate::identity::{ClusterId, Nonce};
use crate::kv::{Cache, Record};
use crate::store::{
    Disk, Durability, SnapshotError, SnapshotFile, SnapshotReader, Space, StoreError, Writes,
    decode, encode,
};

/// The names of the facts in [`Space::Meta`].
mod fact {
    pub const VOTE: &[u8] = b"vote";
    pub const PURGED: &[u8] = b"purged";
    pub const APPLIED: &[u8] = b"applied";
    pub const MEMBERS: &[u8] = b"members";
    /// Which copy of the state is in force (`Space::State`).
    pub const GENERATION: &[u8] = b"generation";
    pub const NONCE: &[u8] = b"nonce";
    pub const CLUSTER: &[u8] = b"cluster";
    /// The generation of the store as a whole.
    pub const STORE_GENERATION: &[u8] = b"store generation";
    pub const KNOWN: &[u8] = b"known generations";
}

/// A committed entry, and the way back to its client if it is on this replica.
pub type Committed = (Entry, Option<ApplyResponder<Types>>);

/// What openraft wants done, in order.
pub enum Job {
    /// Write entries at the end of the log. They are in the tail already.
    Append(Vec<Entry>, IOFlushed<Types>),
    /// Remember the cluster that this replica belongs to.
    Belong(Belonging, oneshot::Sender<()>),
    /// Note generations of other members, except those of older copies; answers what
    /// is known of all of them then.
    Note(Vec<(ReplicaId, Generation)>, oneshot::Sender<KnownGenerations>),
    /// Remember whom this replica voted for.
    SaveVote(Vote, oneshot::Sender<()>),
    /// Remove the entries after one.
    Truncate(Option<LogId>, oneshot::Sender<()>),
    /// Remove the entries up to one, which a snapshot covers.
    Purge(LogId, oneshot::Sender<()>),
    /// Read entries: no more bytes than this, but one entry at least.
    Read(Range<u64>, usize, oneshot::Sender<Vec<Entry>>),
    /// Apply committed entries.
    Apply(Vec<Committed>, oneshot::Sender<()>),
    /// Replace all records by those of a snapshot.
    Install(SnapshotMeta, SnapshotFile, oneshot::Sender<()>),
}

/// The cluster that a replica belongs to, and the nonces of its founders if it
/// is one of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Belonging {
    /// The cluster.
    pub cluster: ClusterId,
    /// The nonces of the founders.
    pub founders: BTreeMap<ReplicaId, Nonce>,
}

/// Where the log begins and ends, and whom the replica voted for: shared with
/// those who read the log.
#[derive(Default)]
pub struct LogIndex {
    /// Drawn when the store was created.
    pub nonce: Nonce,
    /// The cluster, if it is known.
    pub belonging: Option<Belonging>,
    /// Its own generation, and those of the others; what is known of the others
    /// may not be durable yet.
    pub generations: ReplicaGenerations,
    /// The vote that is durable.
    pub vote: Option<Vote>,
    /// The last entry that was removed from the front.
    pub purged: Option<LogId>,
    /// The last entry; that of `purged` when the log is empty.
    pub last: Option<LogId>,
    /// The newest entries.
    pub tail: LogTail,
    /// What was appended since the last snapshot, in bytes.
    pub bytes_since_snapshot: u64,
}

/// The log as far as it is in memory.
pub type SharedLog = Arc<Mutex<LogIndex>>;

/// The writer of a replica's disk.
pub struct Store<D> {
    disk: D,
    state: State<D>,
    log: SharedLog,
    bug: Option<Bug>,
    /// Records as they are on the disk: reading one there costs more than all that
    /// is done to it.
    known: Cache<Record>,
    /// What was purged but may be on the disk still.
    to_delete: Range<u64>,
}

/// The largest read of the log, and the largest write of a snapshot, in bytes.
pub const CHUNK_BYTES: usize = 1 << 20;
/// What the records take that are kept in memory too, in bytes.
const KNOWN_BYTES: usize = 16 << 20;
/// How many purged entries are deleted with one group, so that none is slow.
const PURGE_COUNT: usize = 256;

impl<D: Disk> Store<D> {
    /// Reads what the disk holds. It comes to its next generation, which is durable
    /// on return, unless it has that already. `drawn` is a random number of this
    /// time: the tag of the generation, and the nonce of a new disk.
    pub fn open(disk: D, drawn: Nonce, bug: Option<Bug>) -> Result<Self, StoreError> {
        let kept: Kept = read_fact(&disk, fact::STORE_GENERATION)?.unwrap_or_default();
        let opened = kept.open(drawn.0);
        let known = read_fact(&disk, fact::KNOWN)?.unwrap_or_default();
        let generations = ReplicaGenerations { own: opened.own, known, is_mark_due: false };
        let nonce = read_fact(&disk, fact::NONCE)?.unwrap_or(drawn);
        if opened != kept {
            let mut writes = Writes::default();
            writes.put(Space::Meta, fact::NONCE, encode(&nonce));
            writes.put(Space::Meta, fact::STORE_GENERATION, encode(&opened));
            disk.commit(writes, Durability::Now)?;
        }
        let generation = read_fact(&disk, fact::GENERATION)?.unwrap_or(0);
        for other in disk.generations() {
            // Of a snapshot that was being installed, or that was replaced.
            if other != generation {
                disk.drop_generation(other)?;
            }
        }
        if !disk.generations().contains(&generation) {
            disk.create_generation(generation)?;
        }
        let applied: Applied = read_fact(&disk, fact::APPLIED)?.unwrap_or_default();
        let members: Members = read_fact(&disk, fact::MEMBERS)?.unwrap_or_default();
        let purged: Option<LogId> = read_fact(&disk, fact::PURGED)?;
        let last = match disk.last(Space::Log)? {
            None => None,
            Some((_, bytes)) => Some(decode_entry(&bytes)?.log_id()),
        };
        let to_delete = 0..purged.map_or(0, |id| id.index + 1);
        let log = LogIndex {
            nonce,
            belonging: read_fact(&disk, fact::CLUSTER)?,
            generations,
            vote: read_fact(&disk, fact::VOTE)?,
            last: last.max(purged),
            purged,
            tail: LogTail::default(),
            bytes_since_snapshot: 0,
        };
        let summary = Summary { applied, members: Arc::new(members), generation };
        let state = State::new(disk.clone(), summary);
        let log = Arc::new(Mutex::new(log));
        Ok(Store { disk, state, log, bug, known: Cache::new(KNOWN_BYTES), to_delete })
    }

    /// The applied state.
    pub fn state(&self) -> &State<D> {
        &self.state
    }

    /// The cluster, if it is known.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.lock().belonging.as_ref().map(|belonging| belonging.cluster)
    }

    /// The log as far as it is in memory.
    pub fn log(&self) -> &SharedLog {
        &self.log
    }

    /// Does the jobs, in order where it matters. An error ends the replica:
    /// nobody knows what is on the disk.
    pub fn run(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let mut group = Group::default();
        for job in jobs {
            match job {
                Job::Append(entries, done) => {
                    group.append(&entries);
                    group.flushed.push(done);
                }
                Job::Belong(belonging, done) => {
                    group.writes.put(Space::Meta, fact::CLUSTER, encode(&belonging));
                    group.belonging = Some(belonging);
                    group.done.push(done);
                }
                Job::Note(announced, done) => {
                    let generations = &mut self.lock().generations;
                    if generations.note_all(&announced) {
                        group.writes.put(Space::Meta, fact::KNOWN, encode(&generations.known));
                    }
                    group.noted.push((done, generations.known.clone()));
                }
                Job::SaveVote(vote, done) => {
                    if is_planted(self.bug, Bug::VoteNotDurable) {
                        self.forget_to_wait(vote, done)?;
                    } else {
                        group.writes.put(Space::Meta, fact::VOTE, encode(&vote));
                        group.vote = Some(vote);
                        group.done.push(done);
                    }
                }
                Job::Truncate(after, done) => {
                    self.truncate(after, &mut group)?;
                    group.done.push(done);
                }
                Job::Purge(upto, done) => {
                    group.writes.put(Space::Meta, fact::PURGED, encode(&upto));
                    self.to_delete.end = upto.index + 1;
                    group.done.push(done);
                }
                Job::Read(range, max_bytes, answer) => {
                    self.finish(&mut group)?;
                    let _ = answer.send(self.read_log(range, max_bytes)?);
                }
                Job::Apply(entries, done) => {
                    // What is applied must be in the log after a crash too.
                    self.disk.commit(std::mem::take(&mut group.writes), Durability::Later)?;
                    self.apply(entries)?;
                    let _ = done.send(());
                }
                Job::Install(meta, file, done) => {
                    self.finish(&mut group)?;
                    self.install(meta, &file)?;
                    let _ = done.send(());
                }
            }
        }
        self.delete_purged(&mut group)?;
        self.finish(&mut group)
    }

    /// [`Bug::VoteNotDurable`].
    fn forget_to_wait(&self, vote: Vote, done: oneshot::Sender<()>) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        writes.put(Space::Meta, fact::VOTE, encode(&vote));
        self.disk.commit(writes, Durability::Later)?;
        self.lock().vote = Some(vote);
        let _ = done.send(());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, LogIndex> {
        lock(&self.log)
    }

    /// Makes what the group has written durable, then tells.
    fn finish(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let Group { mut writes, belonging, vote, last_appended, flushed, done, noted } =
            std::mem::take(group);
        let mark = match !flushed.is_empty() || vote.is_some() {
            true => self.mark(&mut writes),
            false => None,
        };
        // What was written before its turn may have to be waited for.
        if !writes.is_empty() || !flushed.is_empty() || !done.is_empty() || !noted.is_empty() {
            self.disk.commit(writes, Durability::Now)?;
        }
        self.note_marked(mark);
        {
            let mut log = self.lock();
            if belonging.is_some() {
                log.belonging = belonging;
            }
            if vote.is_some() {
                log.vote = vote;
            }
            if let Some(last) = last_appended {
                log.tail.trim(last);
            }
        }
        flushed.into_iter().for_each(|flushed| flushed.io_completed(Ok(())));
        for done in done {
            // Who no longer listens has stopped.
            let _ = done.send(());
        }
        for (noted, known) in noted {
            let _ = noted.send(known);
        }
        Ok(())
    }

    /// Raises the store to its next generation with these writes, if that is due.
    fn mark(&self, writes: &mut Writes) -> Option<Generation> {
        let mark = self.lock().generations.next_mark()?;
        writes.put(Space::Meta, fact::STORE_GENERATION, encode(&mark));
        Some(mark.own)
    }

    /// The mark that was made is durable: now it may be announced.
    fn note_marked(&self, mark: Option<Generation>) {
        if let Some(mark) = mark {
            self.lock().generations.own = mark;
        }
    }

    fn truncate(&mut self, after: Option<LogId>, group: &mut Group) -> Result<(), StoreError> {
        let first = after.map_or(0, |id| id.index + 1);
        // Entries of this group may have to go too.
        let mut index = first;
        let on_disk = self.disk.last(Space::Log)?.map_or(0, |(key, _)| index_of(&key) + 1);
        let end = on_disk.max(group.last_appended.map_or(0, |last| last + 1));
        while index < end {
            group.writes.remove(Space::Log, index.to_be_bytes().to_vec());
            index += 1;
        }
        group.last_appended = group.last_appended.filter(|last| *last < first);
        Ok(())
    }

    /// Deletes purged entries, some at a time.
    fn delete_purged(&mut self, group: &mut Group) -> Result<(), StoreError> {
        if self.to_delete.is_empty() {
            return Ok(());
        }
        let Range { start, end } = self.to_delete;
        let (from, to) = (start.to_be_bytes(), end.to_be_bytes());
        let (from, to) = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let old = self.disk.scan(Space::Log, from, to, PURGE_COUNT, 16 * CHUNK_BYTES)?;
        self.to_delete.start = old.last().map_or(end, |(key, _)| index_of(key) + 1);
        for (key, _) in old {
            group.writes.remove(Space::Log, key);
        }
        Ok(())
    }

    fn read_log(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let (from, to) = (range.start.to_be_bytes(), range.end.to_be_bytes());
        let (from, to) = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let found = self.disk.scan(Space::Log, from, to, usize::MAX, max_bytes)?;
        found.iter().map(|(_, bytes)| decode_entry(bytes)).collect()
    }

    /// Applies entries and answers their clients.
    fn apply(&mut self, entries: Vec<Committed>) -> Result<(), StoreError> {
        let summary = self.state.summary();
        let mut batch = Application::new(&self.disk, summary, &mut self.known, self.bug);
        let mut answers = Vec::with_capacity(entries.len());
        for (entry, responder) in entries {
            let response = batch.apply(entry)?;
            if let Some(responder) = responder {
                answers.push((responder, response));
            }
        }
        let mut writes = batch.writes();
        let (applied, members) = (batch.applied.clone(), batch.members.clone());
        let are_members_changed = batch.are_members_changed;
        if are_members_changed {
            writes.put(Space::Meta, fact::MEMBERS, encode(&*members));
        }
        if is_planted(self.bug, Bug::AppliedIndexApart) {
            self.disk.commit(std::mem::take(&mut writes), Durability::Later)?;
        }
        writes.put(Space::Meta, fact::APPLIED, encode(&applied));
        self.disk.commit(writes, Durability::Later)?;
        batch.note_written();
        self.state.update(|summary| {
            summary.applied = applied;
            summary.members = members;
        });
        answers.into_iter().for_each(|(responder, response)| responder.send(response));
        Ok(())
    }

    /// Replaces all records by those of a snapshot: whole or not at all, since
    /// they are written beside the old ones, and one write turns to them.
    fn install(&mut self, meta: SnapshotMeta, file: &SnapshotFile) -> Result<(), StoreError> {
        let before = self.state.summary();
        if meta.last_log_id <= before.applied.last
            && !is_planted(self.bug, Bug::SnapshotOverNewerState)
        {
            log::info!("a snapshot of {:?} is not newer than what is applied", meta.last_log_id);
            return Ok(());
        }
        let upto = meta.last_log_id.map_or(0, |id| id.index);
        log::info!("installing the snapshot of the state up to entry {upto}");
        self.known.clear();
        let generation = before.generation + 1;
        self.disk.drop_generation(generation)?;
        self.disk.create_generation(generation)?;
        let mut reader = SnapshotReader::open(&file.path).map_err(damaged_file)?;
        let header = SnapshotHeader::of(&reader, &file.path).map_err(damaged_file)?;
        let mut writes = Writes::default();
        while let Some(block) = reader.next_block().map_err(damaged_file)? {
            for (key, value) in block {
                writes.put(Space::State(generation), key, value);
            }
            if writes.size_bytes() > CHUNK_BYTES {
                self.disk.commit(std::mem::take(&mut writes), Durability::Later)?;
            }
        }
        let applied = Applied { last: meta.last_log_id, changes: header.changes };
        writes.put(Space::Meta, fact::APPLIED, encode(&applied));
        writes.put(Space::Meta, fact::MEMBERS, encode(&header.members));
        writes.put(Space::Meta, fact::GENERATION, encode(&generation));
        let mark = self.mark(&mut writes);
        self.disk.commit(writes, Durability::Now)?;
        self.note_marked(mark);
        self.state.update(|summary| {
            *summary = Summary { applied, members: Arc::new(header.members), generation };
        });
        // Nobody reads the old records any more: readers hold the lock.
        self.disk.drop_generation(before.generation)?;
        log::info!("the snapshot of the state up to entry {upto} is installed");
        Ok(())
    }
}

/// Writes that become durable together, and who waits for them.
#[derive(Default)]
struct Group {
    writes: Writes,
    belonging: Option<Belonging>,
    vote: Option<Vote>,
    last_appended: Option<u64>,
    flushed: Vec<IOFlushed<Types>>,
    done: Vec<oneshot::Sender<()>>,
    /// What is known of other members, and who waits for it.
    noted: Vec<(oneshot::Sender<KnownGenerations>, KnownGenerations)>,
}

impl Group {
    fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.writes.put(Space::Log, entry.index().to_be_bytes().to_vec(), encode(entry));
            self.last_appended = Some(entry.index());
        }
    }
}

/// The file was right when it came in, so that the disk is not.
fn damaged_file(error: SnapshotError) -> StoreError {
    StoreError::Broken { path: "snapshot".into(), why: error.to_string() }
}

/// Locks the log for a moment.
pub fn lock(log: &Mutex<LogIndex>) -> MutexGuard<'_, LogIndex> {
    log.lock().expect("nothing panics while it holds the lock")
}

fn index_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn decode_entry(bytes: &[u8]) -> Result<Entry, StoreError> {
    decode(bytes).map_err(|why| damaged("an entry of the log", why))
}

fn read_fact<T: DeserializeOwned>(disk: &impl Disk, name: &[u8]) -> Result<Option<T>, StoreError> {
    let bytes = disk.get(Space::Meta, name)?;
    let fact = bytes.map(|bytes| decode(&bytes)).transpose();
    fact.map_err(|why| damaged(&format!("the {}", String::from_utf8_lossy(name)), why))
}

fn damaged(what: &str, why: String) -> StoreError {
    StoreError::Broken { path: "the store of the replica".into(), why: format!("{what}: {why}") }
}
