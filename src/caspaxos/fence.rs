//! What an acceptor knows of the cluster as a whole: whom it still serves, and
//! what those whom it turns away must learn.
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

use super::{Call, Configuration, Epoch, Reply, Request, Value};
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
    /// The newest configuration that the acceptor was told; its epoch may be
    /// lower than the least.
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

/// Where an acceptor stands towards the cluster; durable like its registers.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Whom it serves.
    pub fence: Fence,
    /// Whether it is one of the cluster's acceptors beyond the founding epoch.
    /// One that lost its memory is not, until it is made one again as an empty
    /// one.
    pub is_enrolled: bool,
}

impl Standing {
    /// Lets a call in, or gives the answer that says why not. A newer epoch
    /// becomes the least.
    ///
    /// The founding epoch is served by whoever is asked. The founders that stay
    /// are enrolled by a [`Request::Raise`] of that epoch, before the first step
    /// is decided; all others, and those that lost their memory, by
    /// [`Request::Enrol`] alone. So whoever has nothing to show for it is none
    /// of a later epoch, though a proposer that slept, or forgot all itself,
    /// should ask it under the founding one first.
    pub fn admit(&mut self, call: &Call) -> Option<Reply> {
        if matches!(call.request, Request::Status) {
            return None;
        }
        if call.epoch < self.fence.epoch || call.age < self.fence.age {
            return Some(Reply::Fenced(self.fence.clone()));
        }
        self.fence.epoch = call.epoch;
        let is_founding = call.epoch <= Epoch::FOUNDING;
        match &call.request {
            Request::Enrol { .. } | Request::Wipe | Request::Status => None,
            Request::Raise { .. } if is_founding => {
                self.is_enrolled = true;
                None
            }
            Request::Prepare { .. }
            | Request::Accept { .. }
            | Request::Read { .. }
            | Request::List(_)
            | Request::Raise { .. }
            | Request::Remove { .. } => {
                (!self.is_enrolled && !is_founding).then_some(Reply::NotEnrolled)
            }
        }
    }

    /// Raises the fence.
    pub fn raise(&mut self, fence: &Fence) -> Reply {
        let is_aged = fence.age > self.fence.age;
        self.fence.raise(fence);
        Reply::Raised { is_aged, fence: self.fence.clone() }
    }

    /// Becomes one of the cluster's acceptors, unless it `holds_registers`:
    /// they are of an earlier membership, and deleted ones would come back.
    pub fn enrol(&mut self, fence: &Fence, holds_registers: bool) -> Reply {
        if holds_registers {
            return Reply::NotEmpty;
        }
        self.is_enrolled = true;
        self.raise(fence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Key;

    fn call(epoch: u64, age: u64) -> Call {
        let request = Request::Read { key: Key::try_from("k").unwrap() };
        Call { epoch: Epoch(epoch), age: Age(age), request }
    }

    fn fence(epoch: u64, age: u64) -> Fence {
        Fence { epoch: Epoch(epoch), age: Age(age), ..Fence::default() }
    }

    #[test]
    fn founders_stay_when_they_are_told_to_and_others_are_enrolled() {
        let mut founder = Standing::default();
        assert_eq!(founder.admit(&call(1, 0)), None);
        let request = Request::Raise { fence: fence(1, 0) };
        assert_eq!(founder.admit(&Call { request, ..call(1, 0) }), None);
        assert_eq!(founder.admit(&call(7, 0)), None);
        assert_eq!(founder.fence.epoch, Epoch(7));
        let mut late = Standing::default();
        assert_eq!(late.admit(&call(2, 0)), Some(Reply::NotEnrolled));
        assert!(matches!(late.enrol(&fence(2, 3), false), Reply::Raised { is_aged: true, .. }));
        assert_eq!(late.admit(&call(2, 3)), None);
        assert_eq!(late.enrol(&fence(2, 3), true), Reply::NotEmpty);
    }

    /// The proposer of its node has lost its memory too, and asks it under the
    /// founding epoch before it learns better.
    #[test]
    fn one_that_lost_its_memory_is_no_founder() {
        let mut lost = Standing::default();
        assert_eq!(lost.admit(&call(1, 0)), None);
        let raise = Request::Raise { fence: fence(5, 0) };
        for request in [call(5, 0).request, raise] {
            assert_eq!(lost.admit(&Call { request, ..call(5, 0) }), Some(Reply::NotEnrolled));
        }
        // Nor does it help those who are behind any more.
        assert_eq!(lost.admit(&call(1, 0)), Some(Reply::Fenced(fence(5, 0))));
    }

    #[test]
    fn lower_epochs_and_ages_learn_the_fence() {
        let mut standing = Standing { fence: fence(5, 2), is_enrolled: true };
        for (epoch, age) in [(4, 2), (5, 1), (9, 1)] {
            assert_eq!(standing.admit(&call(epoch, age)), Some(Reply::Fenced(fence(5, 2))));
        }
        assert_eq!(standing.admit(&call(6, 9)), None);
        assert_eq!(standing.fence, fence(6, 2), "an age is raised by its own request only");
    }

    #[test]
    fn a_fence_only_rises() {
        let ids = ["a1".into()];
        let configuration = |epoch| Some(Configuration::uniform(Epoch(epoch), &ids, 1, 1));
        let mut known = Fence { configuration: configuration(3), ..fence(5, 4) };
        let floor = Floor { counter: 7, index: 2 };
        let other = Fence { configuration: configuration(4), floor, ..fence(4, 9) };
        known.raise(&other);
        let expected = Fence { configuration: configuration(4), floor, ..fence(5, 9) };
        assert_eq!(known, expected);
        known.raise(&Fence { configuration: configuration(2), ..Fence::default() });
        assert_eq!(known, expected);
    }
}
