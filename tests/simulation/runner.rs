//! Runs seeds, one or many on all cores.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gryadka::perseus::{CheckError, check};

use super::statistics::Statistics;
use super::world::{Flaw, World};

/// What one seed came to.
pub struct Run {
    pub statistics: Statistics,
    pub trace: Vec<String>,
    pub result: Result<(), String>,
    /// True when the history was too hard to judge; then the result says so.
    pub is_undecided: bool,
}

/// Runs one seed.
pub fn run(seed: u64, flaw: Flaw, is_traced: bool) -> Run {
    let mut world = World::new(seed, flaw, is_traced);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = ran.unwrap_or_else(|_| Err("a panic; see above".to_string()));
    let checked = result.is_ok().then(|| check(&world.history));
    let is_undecided = matches!(checked, Some(Err(CheckError::GaveUp { .. })));
    let result = match checked {
        Some(checked) => checked.map_err(|error| error.to_string()),
        None => result,
    };
    let trace = world.trace.unwrap_or_default();
    Run { statistics: world.statistics, trace, result, is_undecided }
}

/// What many seeds came to.
#[derive(Default)]
pub struct Many {
    pub statistics: Statistics,
    /// The lowest seed that failed, and why.
    pub first_failure: Option<(u64, String)>,
}

/// Runs the seeds on all cores, up to the first that fails. With a flaw, a
/// history that is too hard to judge proves nothing and is passed over.
pub fn run_many(seeds: Range<u64>, flaw: Flaw) -> Many {
    let next = AtomicU64::new(seeds.start);
    let many = Mutex::new(Many::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let run = run(seed, flaw, false);
            let mut many = many.lock().expect("no worker panics");
            many.statistics.add(&run.statistics);
            if run.is_undecided && flaw != Flaw::Nothing {
                continue;
            }
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
