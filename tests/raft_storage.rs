//! openraft's own tests of a log and a state machine, on both disks, and one of what
//! the embedded one needs.

use std::path::Path;

use gryadka::identity::{ClusterId, Nonce, OwnCluster};
use gryadka::kv::{Command, Key, Scope};
use gryadka::raft::{
    Blocking, Entry, Job, Jobs, LogId, LogStore, Request, Runtime, Snapshots, StateMachine, Store,
    Types,
};
use gryadka::store::{Disk, FjallDisk, MemoryDisk, ReplicaIdentity, open_database};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, StorageError};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Makes stores on new disks.
struct Builder<D>(fn(&Path) -> D);

impl<D: Disk> StoreBuilder<Types, LogStore, StateMachine<D>, TempDir> for Builder<D> {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine<D>), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open((self.0)(&directory.path().join("disk")), Nonce(1), None).unwrap();
        let (path, cluster) = (directory.path().join("snapshots"), ClusterId::new(7));
        let snapshots =
            Snapshots::open(&path, OwnCluster::new(cluster), None, Blocking::OnThreads).unwrap();
        let (jobs, queue) = Jobs::queue();
        let log = LogStore::new(store.log().clone(), jobs.clone());
        let machine =
            StateMachine::new(store.state().clone(), store.log().clone(), jobs, snapshots);
        std::thread::spawn(|| run(store, queue));
        Ok((directory, log, machine))
    }
}

/// Writes in groups, until nobody is left who could send a job.
fn run<D: Disk>(mut store: Store<D>, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        let mut group = vec![job];
        while let Ok(job) = queue.try_recv() {
            group.push(job);
        }
        store.run(group).unwrap();
    }
}

fn passes<D: Disk>(new_disk: fn(&Path) -> D) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let suite = Suite::test_all(Builder(new_disk));
    LocalSet::new().block_on(&runtime, Runtime::scope(1, suite)).unwrap();
}

#[test]
fn in_memory() {
    passes(|_| MemoryDisk::default());
}

#[test]
fn on_fjall() {
    passes(|path| {
        let identity = ReplicaIdentity { cluster: "test".into(), id: 1 };
        FjallDisk::open(open_database(path).unwrap(), path, identity).unwrap()
    });
}

/// fjall keeps a journal until the tables of each keyspace are as new as what the
/// journal holds of it: without a table, journals pile up for as long as the log
/// grows and no record changes.
#[test]
fn a_state_whose_records_are_all_deleted_keeps_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let database = open_database(directory.path()).unwrap();
    let identity = ReplicaIdentity { cluster: "test".into(), id: 1 };
    let disk = FjallDisk::open(database.clone(), directory.path(), identity).unwrap();
    let mut store = Store::open(disk, Nonce(1), None).unwrap();
    let state = database.keyspace("raft_state_0", fjall::KeyspaceCreateOptions::default).unwrap();
    let mut index = 0;
    let mut entry = |key: &str, command| {
        index += 1;
        let request = Request::new(Key::try_from(key).unwrap(), Command::into(command));
        (
            Entry {
                log_id: LogId::new_term_index(1, index),
                payload: EntryPayload::Normal(request),
            },
            None,
        )
    };
    for _ in 0..10 {
        let entries = ["a", "b"]
            .into_iter()
            .flat_map(|key| [entry(key, Command::Set("v".into())), entry(key, Command::Delete)]);
        let (done, _) = oneshot::channel();
        store.run(vec![Job::Apply(entries.collect(), done)]).unwrap();
        state.rotate_memtable_and_wait().unwrap();
    }
    state.major_compact().unwrap();
    assert!(state.table_count() > 0);
    assert!(store.state().list("", Scope::All).unwrap().records.is_empty());
}
