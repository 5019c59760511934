//! The suites: so many puts and gets of random keys, and whether all that the
//! clients saw was right.
//!
//! A suite runs on a cluster that is there already. **Static**: all nodes live.
//! **Dynamic**: in one round a random node is killed, in the next it is
//! revived, while the clients go on. One client makes the sequential suite,
//! several make the concurrent one; a [`Workload`] says what each asks for.
//!
//! A client asks a random live node. What was refused for certain, or found no
//! connection, is tried at the next one, a bounded number of times. A put of
//! unknown outcome is never sent again: it stays unknown, in the counts and in
//! the history.
//!
//! All is entered into a [`Ledger`]: the history of each key, and how long each
//! request took. [`judge`] says at the end which gets were correct and whether
//! every history is linearizable. That stays quick, because every answer shows
//! the record that was found and the one that was left: so the order is nearly
//! given, and a put of unknown outcome that nobody saw is left out. There are at
//! most [`MAX_REQUESTS`] requests, [`MAX_CLIENTS`] of them at once.
//!
//! The keys are new ones in each run, so that their history begins with the
//! run, and they are deleted when it ends.
//!
//! Left out: values of other sizes, a set rate, more than one dead node.

mod chaos;
mod client;
mod counts;
mod error;
mod judgement;
mod layout;
mod ledger;
mod nodes;
mod plan;
mod plot;
mod report;
mod round;
mod run;
mod workload;

pub use chaos::Disturbance;
pub use counts::Counts;
pub use error::SuiteError;
pub use judgement::{Judgement, Linearizable, judge};
pub use layout::{Layout, LayoutError, SuiteNode};
pub use ledger::{Asked, Ending, Ledger, Mark, Sample};
pub use plan::{Condition, SuitePlan};
pub use plot::{PlotError, plot};
pub use report::SuiteReport;
pub use round::Round;
pub use run::Suite;
pub use workload::{BadWorkload, Ratio, Workload};

/// The most requests of a run.
pub const MAX_REQUESTS: usize = 100_000;

/// The most clients of a run.
pub const MAX_CLIENTS: usize = 100;
