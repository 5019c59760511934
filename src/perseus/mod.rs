//! Perseus: load, histories and their judgement.
//!
//! A [`History`] is what clients asked of the store, when, and what they saw.
//! [`check`] says whether one register per key, which runs one command after
//! the other, could have answered so: linearizability (Herlihy and Wing). It
//! judges from the outside, so the same check serves the simulator, which
//! knows every outcome in full, and tests over HTTP, which see what an answer
//! shows.
//!
//! This layer knows commands and their outcomes ([`crate::kv`]); it does not
//! know which protocol answered, nor the actors that run it.

mod history;
mod indices;
mod linearizability;
mod moves;

pub use history::{End, History, Observation, Operation, OperationId, Seen};
pub use linearizability::{CheckError, Violation, check};
