//! Runs one seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use gryadka::raft::Bug;
use tokio::task::LocalSet;

use super::statistics::Statistics;
use super::world::{self, Run};

/// Snapshots are files that are synced; here that costs nothing.
const MEMORY: &str = "/dev/shm";

/// Runs one seed.
pub fn run(seed: u64, bug: Option<Bug>, is_printed: bool) -> Run {
    let in_memory = Path::new(MEMORY).is_dir();
    let directory = if in_memory { tempfile::tempdir_in(MEMORY) } else { tempfile::tempdir() };
    let directory = directory.expect("there is room for snapshots");
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets");
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, world::run(seed, bug, directory.path(), is_printed))
    }));
    ran.unwrap_or_else(|_| Run {
        statistics: Statistics::default(),
        digest: 0,
        result: Err("a panic; see above".to_string()),
    })
}
