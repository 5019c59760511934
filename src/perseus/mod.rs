//! Perseus: load, histories and their judgement; the same on every protocol,
//! and on a real etcd beside them.
//!
//! [`load`] holds the workloads and what is told of them each second; a
//! [`suite`] is a run that ends, and is judged. A [`History`] is what clients
//! asked of the store, when, and what they saw. [`check`] says whether one register per key, which runs one command after
//! the other, could have answered so: linearizability (Herlihy and Wing). It
//! judges from the outside, so the same check serves the simulator, which
//! knows every outcome in full, and tests over HTTP, which see what an answer
//! shows.
//!
//! This layer knows commands and their outcomes ([`crate::kv`]) and how
//! clients speak to a node ([`crate::client`]); it does not know which
//! protocol answered, nor the actors that run it. The suites alone read cluster
//! files, for they kill nodes and say who leads.

mod history;
mod indices;
mod linearizability;
pub mod load;
mod moves;
pub mod suite;

use std::time::Duration;

pub use history::{End, History, IndexOrder, Observation, Operation, OperationId, Seen};
pub use linearizability::{CheckError, Violation, check, check_numbered};

/// Reads a time as people write it on the command line: 10s, 2m, 500ms.
/// The error says what was wrong and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err(format!("\"{text}\" is no time at all; give more than zero, as 10s")),
        Err(error) => Err(format!("\"{text}\" is not a time ({error}); write 10s, 2m or 500ms")),
    }
}
