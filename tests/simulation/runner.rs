//! Runs one seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gryadka::perseus::{CheckError, check_numbered};

use super::flaw::Flaw;
use super::statistics::Statistics;
use super::world::World;

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
    let checked = result.is_ok().then(|| check_numbered(&world.history, world.index_order()));
    let is_undecided = matches!(checked, Some(Err(CheckError::GaveUp { .. })));
    let result = match checked {
        Some(checked) => checked.map_err(|error| error.to_string()),
        None => result,
    };
    world.statistics.undecided = is_undecided.into();
    let trace = world.trace.unwrap_or_default();
    Run { statistics: world.statistics, trace, result, is_undecided }
}
