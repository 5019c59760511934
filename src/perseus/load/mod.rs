//! The load generator: clients that count, and a line a second about them.
//!
//! Two workloads, after the original programs. [`increments`]: every
//! connection counts up its own key, so nothing but a failure can stop it.
//! [`counters`]: a few clients count up a few keys on random nodes, so they
//! race. An iteration is a read and a write, both answered.
//!
//! [`Tally`] adds iterations up, [`Format`] writes the lines of the original
//! programs, [`LoadReport`] is what remains at the end. Who runs the clients
//! and watches the clock is not known here.
//!
//! Clients do not ask again under the same `Idempotency-Key`: a retry that
//! mends a lost answer would hide what these figures are to show.
//!
//! Left out: think time, values of other sizes, a set rate. The clients are
//! closed loops, as the originals were, so a slow node gets less load.

pub mod counters;
pub mod increments;
mod iteration;
mod lines;
mod plan;
mod report;
mod tally;

pub use iteration::{Cause, Failure, FailureLabel, Iteration, Step, Success};
pub use lines::{Format, UnknownFormat};
pub use plan::LoadPlan;
pub use report::{Latency, LoadReport, RowReport};
pub use tally::{Counts, SharedTally, Tally};

use std::time::Duration;

/// How long a client waits after an error before it tries again, so that a
/// dead node or one that refuses at once is not asked in a tight loop.
/// After a time-out it does not wait: it has waited already.
pub const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
