//! Registers in an embedded store on the node's own disk: fjall, a
//! log-structured merge tree behind a journal.
//!
//! A batch of calls reads each register at most once, runs the acceptor's
//! steps on it in memory, and commits all writes as one journal batch with one
//! fsync. Only then are there replies (rule 3). A batch that changes
//! nothing does not touch the disk.

use std::path::{Path, PathBuf};

use fjall::PersistMode;

use super::database::{Database, open_database};
use super::embedded_batch::{Batch, Changes};
use super::embedded_open::{self, Acceptor, Identity, NEWEST, OpenError, STANDING};
use super::{AcceptorStore, StoreError, encoding};
use crate::caspaxos::acceptor::Register;
use crate::caspaxos::{Call, Reply, Request};
use crate::kv::Cache;

/// What the registers take that are kept in memory too, in bytes.
const KNOWN_BYTES: usize = 16 << 20;

/// An acceptor's memory on the disk of its node.
pub struct EmbeddedStore {
    database: Database,
    directory: PathBuf,
    acceptor: Acceptor,
    /// Registers as they are on disk: reading one there costs more than all that
    /// is done to it.
    known: Cache<Register>,
    /// The error after which nothing is served any more.
    broken: Option<StoreError>,
}

impl EmbeddedStore {
    /// Opens the store in a directory of its own.
    pub fn open(directory: &Path, identity: Identity) -> Result<Self, OpenError> {
        Self::new(open_database(directory)?, directory, identity)
    }

    /// Opens the store in a database that others use too. `directory` is where
    /// the database is, for messages.
    pub fn new(
        database: Database,
        directory: &Path,
        identity: Identity,
    ) -> Result<Self, OpenError> {
        let acceptor = embedded_open::open_acceptor(&database, directory, identity)?;
        let known = Cache::new(KNOWN_BYTES);
        Ok(EmbeddedStore { database, directory: directory.into(), acceptor, known, broken: None })
    }

    fn serve_calls(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError> {
        let mut replies = Vec::with_capacity(calls.len());
        // A wipe is no part of a batch: it is made durable in two steps.
        for calls in calls.split_inclusive(|call| call.request == Request::Wipe) {
            replies.extend(self.serve_batch(calls)?);
            if replies.last() == Some(&Reply::Wiped) {
                self.clear()?;
            }
        }
        Ok(replies)
    }

    /// Removes all registers of an acceptor that is enrolled no more. A crash
    /// in between leaves registers, with which it cannot be enrolled again.
    fn clear(&mut self) -> Result<(), StoreError> {
        self.known.clear();
        let cleared = self.acceptor.registers.clear().and_then(|()| self.acceptor.dead.clear());
        let synced = cleared.and_then(|()| self.database.persist(PersistMode::SyncAll));
        synced.map_err(|error| StoreError::Broken {
            path: self.directory.display().to_string(),
            why: format!("removing all registers failed: {error}"),
        })
    }

    fn serve_batch(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError> {
        let mut batch = Batch::new(&self.acceptor, &self.directory, &mut self.known);
        let replies = calls.iter().map(|call| batch.serve(call)).collect::<Result<_, _>>()?;
        let changes = batch.into_changes();
        if !changes.is_empty() {
            self.commit(changes)?;
        }
        Ok(replies)
    }

    /// Makes the changes durable, all or none.
    fn commit(&mut self, changes: Changes) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for (key, register) in &changes.registers {
            match register.is_new() {
                true => batch.remove(&self.acceptor.registers, key.as_str()),
                false => {
                    let bytes = encoding::encode_with_memory(register);
                    batch.insert(&self.acceptor.registers, key.as_str(), bytes)
                }
            }
        }
        for (key, is_dead) in &changes.dead {
            match is_dead {
                true => batch.insert(&self.acceptor.dead, key.as_str(), ""),
                false => batch.remove(&self.acceptor.dead, key.as_str()),
            }
        }
        if !changes.dead.is_empty() {
            batch.insert(&self.acceptor.dead, NEWEST, "");
        }
        if let Some(standing) = &changes.standing {
            batch.insert(&self.acceptor.meta, STANDING, encoding::encode(standing));
        }
        // fdatasync is enough: it writes the length of a journal that grew.
        let committed = self.database.commit(batch, PersistMode::SyncData);
        committed.map_err(|error| StoreError::Broken {
            path: self.directory.join("*.jnl").display().to_string(),
            why: format!("writing or fsync of the journal failed: {error}"),
        })?;
        if let Some(standing) = changes.standing {
            self.acceptor.standing = standing;
        }
        changes.registers.into_iter().for_each(|(key, register)| self.known.insert(key, register));
        Ok(())
    }
}

impl AcceptorStore for EmbeddedStore {
    fn serve(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        // After a failed fsync nobody knows what is on the disk, and a second
        // fsync would report success for pages that the first one dropped.
        self.serve_calls(calls).inspect_err(|error| self.broken = Some(error.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::super::database::journal_files;
    use super::*;
    use crate::caspaxos::{AcceptorId, Age, Ballot, Epoch, Fence, Value};
    use crate::identity::ClusterId;
    use crate::kv::{Key, Record};

    fn call(request: Request) -> Call {
        let cluster = ClusterId::new(7);
        Call { cluster, epoch: Epoch::default(), age: Age::default(), request }
    }

    fn try_open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
        let identity = Identity { cluster: "test".into(), acceptor: AcceptorId("a1".into()) };
        EmbeddedStore::open(directory, identity)
    }

    fn open(directory: &Path) -> EmbeddedStore {
        let mut store = try_open(directory).unwrap();
        let enrol = Request::Enrol { fence: Fence::default(), counter: 0, is_founding: true };
        let replies = store.serve(&[call(enrol), call(Request::Status)]).unwrap();
        let [_, Reply::Status(status)] = &replies[..] else { panic!("{replies:?}") };
        let confirm = Request::Confirm { enrolment: status.claim.enrolment(), tag: 1 };
        let replies = store.serve(&[call(confirm)]).unwrap();
        assert!(matches!(replies[..], [Reply::Confirmed(_)]), "{replies:?}");
        store
    }

    fn ballot(counter: u64) -> Ballot {
        Ballot { counter, proposer: "p1".parse().unwrap(), ..Ballot::ZERO }
    }

    fn key(number: u64) -> Key {
        Key::try_from(format!("k{number}").as_str()).unwrap()
    }

    /// The files of large values.
    fn blobs(directory: &Path) -> Vec<PathBuf> {
        let keyspaces = std::fs::read_dir(directory.join("keyspaces")).unwrap();
        let folders = keyspaces.map(|entry| entry.unwrap().path().join("blobs"));
        let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        files.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn large_values_stay_as_they_are_and_replaced_ones_go() {
        const KEYS: u64 = 64;
        const ROUNDS: u64 = 30;
        const BYTES: usize = 64 << 10;
        let directory = tempfile::tempdir().unwrap();
        let value = |number: u64, round: u64| {
            let value: Bytes = format!("{number} {round} ").repeat(BYTES / 8).into();
            Record { value: Some(value), created_index: 1, modified_index: 1 }
        };
        let mut store = open(directory.path());
        for round in 0..ROUNDS {
            for number in 0..KEYS {
                let value = Value { record: value(number, round), ..Value::default() };
                let (ballot, next) = (ballot(round + 1), ballot(round + 2));
                let accept = Request::Accept { key: key(number), ballot, value, next };
                let replies = store.serve(&[call(accept)]).unwrap();
                assert_eq!(replies, [Reply::Accepted]);
            }
        }
        let kept_bytes = || -> u64 {
            let bytes = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
            blobs(directory.path()).iter().map(bytes).sum()
        };
        // Compactions go on behind the writes.
        let (written_bytes, began) = (ROUNDS * KEYS * BYTES as u64, Instant::now());
        while kept_bytes() > written_bytes / 3 {
            assert!(began.elapsed() < Duration::from_secs(30), "{} are kept", kept_bytes());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(kept_bytes() > 0);
        drop(store);
        // Journals have come since it was opened first, and the newest is missed.
        let (number, newest) = journal_files(directory.path()).unwrap().pop().unwrap();
        assert!(number > 0);
        let elsewhere = directory.path().join("elsewhere");
        std::fs::rename(&newest, &elsewhere).unwrap();
        let message = try_open(directory.path()).err().unwrap().to_string();
        assert!(message.contains(&format!(": {number}.jnl is missing")), "{message}");
        std::fs::rename(&elsewhere, &newest).unwrap();
        let mut store = open(directory.path());
        for number in 0..KEYS {
            let replies = store.serve(&[call(Request::Read { key: key(number) })]).unwrap();
            let (accepted, record) = (ballot(ROUNDS), value(number, ROUNDS - 1));
            assert!(replies == [Reply::WasRead { accepted, record }], "{number}");
        }
        // A byte that is another one is told, with the directory.
        drop(store);
        for path in blobs(directory.path()) {
            let mut bytes = std::fs::read(&path).unwrap();
            // Not of its end, without which the store does not open.
            bytes.chunks_exact_mut(BYTES / 2).for_each(|chunk| chunk[chunk.len() / 2] ^= 1);
            std::fs::write(path, bytes).unwrap();
        }
        let mut store = open(directory.path());
        let told = (0..KEYS)
            .filter_map(|number| store.serve(&[call(Request::Read { key: key(number) })]).err());
        let told: Vec<String> = told.map(|error| error.to_string()).collect();
        let name = directory.path().display().to_string();
        assert!(told.len() > 1 && told.iter().all(|error| error.contains(&name)), "{told:?}");
    }

    #[test]
    fn the_list_of_the_dead_keeps_a_table_when_nobody_is_dead() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        let record = Record { value: Some("v".into()), created_index: 1, modified_index: 1 };
        let value = Value { record, ..Value::default() };
        for round in 0..10 {
            for number in 0..20 {
                let key = Key::try_from(format!("{number}-{round}").as_str()).unwrap();
                let (ballot, next) = (ballot(1), ballot(2));
                let prepare = Request::Prepare { key: key.clone(), ballot };
                let accept = Request::Accept { key, ballot, value: value.clone(), next };
                for request in [prepare, accept] {
                    store.serve(&[call(request)]).unwrap();
                }
            }
            store.acceptor.dead.rotate_memtable_and_wait().unwrap();
        }
        store.acceptor.dead.major_compact().unwrap();
        assert!(store.acceptor.dead.table_count() > 0);
        let replies = store.serve(&[call(Request::Status)]).unwrap();
        assert!(matches!(&replies[..], [Reply::Status(status)] if status.dead == 0));
    }
}
