//! When the registers of deleted keys are removed.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// How a proposer collects the registers of deleted keys. Proposers may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "an object with interval_ms, retain_ms and pause_ms"
)]
pub struct CollectionSettings {
    /// How often it looks for deleted keys, in milliseconds; 1,000 unless
    /// given.
    pub interval_ms: NonZeroU64,
    /// How long a deleted key is left alone, in milliseconds; 60,000 unless
    /// given. So long the outcome of a request with an `Idempotency-Key` is
    /// remembered at least.
    pub retain_ms: u64,
    /// The pause between two batches, in milliseconds; 50 unless given. Each
    /// batch makes the rounds under way begin anew.
    pub pause_ms: u64,
}

impl Default for CollectionSettings {
    fn default() -> Self {
        let interval_ms = NonZeroU64::new(1000).expect("not zero");
        CollectionSettings { interval_ms, retain_ms: 60_000, pause_ms: 50 }
    }
}

impl CollectionSettings {
    pub(super) fn is_default(&self) -> bool {
        *self == CollectionSettings::default()
    }
}
