//! The key-value state machine that every protocol replicates.
//!
//! One [`Record`] per [`Key`]; a [`Command`] turns it into the next one and
//! an [`Outcome`]. Nothing here knows how records are replicated, stored or
//! asked for: [`apply()`] is a pure function, so every replica and every test
//! that computes it gets the same answer. [`apply_once`] is the same with a
//! [`Memory`] of the requests that were made, by which one that comes again
//! gets its first outcome.

mod answer;
mod apply;
mod cache;
mod command;
mod key;
mod memory;
mod once;
mod record;
mod request;

pub use answer::{Answer, BadConsistency, Consistency, Listed, LogPosition, Refusal, Scope};
pub use apply::{Outcome, Verdict, apply};
pub use cache::{Cache, Weighed};
pub use command::{Command, Compare, VersionedJson};
pub use key::{BadKey, Key};
pub use memory::Memory;
pub use once::{Once, apply_once};
pub use record::Record;
pub use request::{BadRequestId, RequestId, Submission};

/// The longest value that a client may store, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The most that a listing may hold, in bytes of keys and values.
pub const MAX_LISTING_BYTES: usize = 32 << 20;
