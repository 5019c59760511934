//! The storage thread of a replica: the one place that waits for its disk.
//!
//! Group commit: while one group is being written, the next one collects in
//! the queue.

use std::thread::JoinHandle;

use tokio::sync::mpsc::Receiver;

use super::storage::Storage;
use crate::raft::{Job, Store};
use crate::store::FjallDisk;

/// A group is written once it holds this many jobs.
const MAX_GROUP_JOBS: usize = 256;

/// Starts the thread. It ends when nobody can send jobs any more; join it then
/// to know that the disk is closed.
pub fn start_replica_storage(
    store: Store<FjallDisk>,
    jobs: Receiver<Job>,
) -> std::io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("storage-replica".into());
    thread.spawn(move || run(store, jobs))
}

fn run(mut store: Store<FjallDisk>, mut jobs: Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP_JOBS
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        if let Err(error) = store.run(group) {
            log::error!(
                "replica: {error}. A failed write cannot be retried safely, so this process ends; \
                 check the disk and start it again"
            );
            std::process::exit(Storage::EXIT_STATUS);
        }
    }
}
