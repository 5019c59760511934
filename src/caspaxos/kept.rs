//! Values kept for the one-round-trip rule.

use super::{Ballot, Value};
use crate::kv::{Cache, Weighed};

/// A ballot that a prepare quorum has promised, and the value that is current
/// as long as nobody prepares a higher one (CASPaxos §2.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The promised ballot, never used so far.
    pub ballot: Ballot,
    /// The chosen value.
    pub value: Value,
}

impl Weighed for Kept {
    fn size_bytes(&self) -> usize {
        self.value.size_bytes()
    }
}

/// The kept values of all keys.
pub type KeptValues = Cache<Kept>;
