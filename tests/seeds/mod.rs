//! What the simulations share: running many seeds, counting what they
//! exercised, and drawing what clients ask.

mod commands;
mod statistics;

use std::ops::{AddAssign, Range};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use commands::draw_command;
pub(crate) use statistics::statistics;

/// The number in an environment variable, if there is one.
pub fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// What many seeds came to.
#[derive(Default)]
pub struct Many<S> {
    pub statistics: S,
    /// The lowest seed that failed, and why.
    pub first_failure: Option<(u64, String)>,
}

/// Runs the seeds on all cores, up to the first that fails.
pub fn run_many<S: Default + AddAssign + Send>(
    seeds: Range<u64>,
    run: impl Fn(u64) -> (S, Result<(), String>) + Sync,
) -> Many<S> {
    let next = AtomicU64::new(seeds.start);
    let many = Mutex::new(Many::<S>::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (statistics, result) = run(seed);
            let mut many = many.lock().expect("no worker panics");
            many.statistics += statistics;
            if let Err(why) = result {
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
