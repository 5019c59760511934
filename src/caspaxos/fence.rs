//! Whom an acceptor still serves, and what those whom it turns away must learn.
//!
//! Two things are fenced off, each by a number that only grows:
//!
//! - the **epoch** of a [`Configuration`]. Once enough acceptors have met a
//!   newer one, no quorum of the older one can be had any more (CASPaxos §2.3
//!   demands that every proposer follows each step; one that sleeps is fenced
//!   off instead).
//! - the **age** of deleted registers that were collected (§3.1, step 2.c).
//!   What a proposer of a lower age says may come from a time before the
//!   register was removed, and the register can no longer refuse it.
//!
//! A proposer that is turned away gets the whole fence and is up to date with
//! it: the configuration, and the floor above which new lives of collected
//! keys begin.

use serde::{Deserialize, Serialize};

use super::{Configuration, Epoch, Value};
use crate::kv::{Key, Record};

/// Counts the batches of deleted registers that were collected.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Age(pub u64);

impl Age {
    /// The one after this.
    pub fn next(self) -> Age {
        Age(self.0 + 1)
    }
}

/// What all collected registers lie below: an absent register stands here, so
/// that ballots and indices never go back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// No ballot of a collected register counts higher.
    pub counter: u64,
    /// No collected record has a higher modified index.
    pub index: u64,
}

impl Floor {
    /// The least floor that lies below neither.
    pub fn max(self, other: Floor) -> Floor {
        Floor { counter: self.counter.max(other.counter), index: self.index.max(other.index) }
    }

    /// What an absent register stands for.
    pub fn value(self) -> Value {
        Value { record: self.record(), ..Value::default() }
    }

    /// The record of an absent register.
    pub fn record(self) -> Record {
        Record { modified_index: self.index, ..Record::default() }
    }
}

/// Whom an acceptor serves, and what those whom it does not must learn.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// The least epoch that is served.
    pub epoch: Epoch,
    /// The configuration of that epoch; none before the acceptor was enrolled.
    pub configuration: Option<Configuration>,
    /// The least age that is served.
    pub age: Age,
    /// Where absent registers stand.
    pub floor: Floor,
    /// The keys of the batch that raised the age.
    pub collected: Batch,
}

/// The keys of a batch of collected registers, by their hashes: who holds an
/// open question about one of them cannot settle it any more.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Batch(pub Vec<u64>);

impl Batch {
    /// The most keys of a batch: each fence carries one.
    pub const MAX_KEYS: usize = 256;

    /// The batch of these keys.
    pub fn of<'a>(keys: impl Iterator<Item = &'a Key>) -> Batch {
        Batch(keys.map(hash).collect())
    }

    /// Whether the key may be one of them.
    pub fn may_hold(&self, key: &Key) -> bool {
        self.0.contains(&hash(key))
    }
}

fn hash(key: &Key) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key.as_str().as_bytes())
}

impl Fence {
    /// Takes over whatever is newer in `other`.
    pub fn raise(&mut self, other: &Fence) {
        let epoch_of = |fence: &Fence| fence.configuration.as_ref().map(|known| known.epoch);
        if epoch_of(other) > epoch_of(self) {
            self.configuration = other.configuration.clone();
        }
        self.epoch = self.epoch.max(other.epoch);
        if other.age > self.age {
            self.age = other.age;
            self.collected = other.collected.clone();
        }
        self.floor = self.floor.max(other.floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(epoch: u64, age: u64) -> Fence {
        let configuration = Some(Configuration::uniform(Epoch(epoch), &["a1".into()], 1, 1));
        Fence { epoch: Epoch(epoch), age: Age(age), configuration, ..Fence::default() }
    }

    #[test]
    fn a_fence_only_rises() {
        let mut known = fence(3, 4);
        let floor = Floor { counter: 7, index: 2 };
        known.raise(&Fence { floor, ..fence(4, 2) });
        let expected = Fence { floor, ..fence(4, 4) };
        assert_eq!(known, expected);
        known.raise(&fence(2, 1));
        assert_eq!(known, expected);
    }
}
