//! Runs seeds, one or many on all cores.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What many seeds came to.
#[derive(Default)]
pub struct Many {
    pub statistics: Statistics,
    /// The lowest seed that failed, and why.
    pub first_failure: Option<(u64, String)>,
}

/// Runs the seeds on all cores, up to the first that fails.
pub fn run_many(seeds: Range<u64>, bug: Option<Bug>) -> Many {
    let next = AtomicU64::new(seeds.start);
    let many = Mutex::new(Many::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let run = run(seed, bug, false);
            let mut many = many.lock().expect("no worker panics");
            many.statistics.add(&run.statistics);
            if let Err(why) = run.result {
                // Lower seeds that others still run may fail too.
                next.store(seeds.end, Ordering::Relaxed);
                if many.first_failure.as_ref().is_none_or(|(first, _)| seed < *first) {
                    many.first_failure = Some((seed, why));
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    many.into_inner().expect("no worker panics")
}
