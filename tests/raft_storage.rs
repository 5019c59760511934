//! openraft's own tests of a log and a state machine, on both disks.

use std::path::Path;

use gryadka::raft::{
    Blocking, Job, Jobs, LogStore, Runtime, Snapshots, StateMachine, Store, Types,
};
use gryadka::store::{Disk, FjallDisk, MemoryDisk, ReplicaIdentity, open_database};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Makes stores on new disks.
struct Builder<D>(fn(&Path) -> D);

impl<D: Disk> StoreBuilder<Types, LogStore, StateMachine<D>, TempDir> for Builder<D> {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine<D>), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open((self.0)(&directory.path().join("disk")), None).unwrap();
        let snapshots =
            Snapshots::open(&directory.path().join("snapshots"), None, Blocking::OnThreads)
                .unwrap();
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
