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
use crate::identity::{ClusterId, Nonce};
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

/// Where an acceptor stands towards the cluster; durable like its registers.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Whom it serves.
    pub fence: Fence,
    /// The cluster that it is an acceptor of: none before it is enrolled, and
    /// none when it has lost its memory, until it is enrolled as an empty one.
    pub cluster: Option<ClusterId>,
    /// Drawn when its store was created.
    pub nonce: Nonce,
    /// How far ballots count, as far as it matters for [`MAX_LEAP`]: they are at
    /// most half of that above it.
    pub counter: u64,
}

/// The furthest that a number of a request may be above what an acceptor knows.
/// Counting so far takes half a year at 60,000 ballots a second; and as many
/// requests of a hostile caller reach the end of the numbers as 2^64 has such
/// leaps, 16 million, each of which is logged.
pub const MAX_LEAP: u64 = 1 << 40;

impl Standing {
    /// That of an acceptor with a new store.
    pub fn new(nonce: Nonce) -> Self {
        Standing { nonce, ..Standing::default() }
    }

    /// Lets a call in, or gives the answer that says why not; whoever is turned
    /// away changes nothing.
    ///
    /// An acceptor serves its own cluster alone. It belongs to none until it is
    /// enrolled, as an empty one: when the cluster is founded, or by the step
    /// that adds it. So one that lost its memory serves nobody, be it asked
    /// under the founding epoch by a proposer that slept, or forgot all itself.
    ///
    /// Its epoch rises only with a configuration that has it.
    pub fn admit(&mut self, call: &Call) -> Option<Reply> {
        if matches!(call.request, Request::Status) {
            return None;
        }
        match self.cluster {
            Some(held) if call.cluster != Some(held) => {
                return Some(Reply::OtherCluster { held });
            }
            None if call.cluster.is_none() || !call.request.is_for_strangers() => {
                return Some(Reply::NotEnrolled);
            }
            Some(_) | None => {}
        }
        if call.epoch < self.fence.epoch || call.age < self.fence.age {
            return Some(Reply::Fenced(self.fence.clone()));
        }
        match &call.request {
            Request::Raise { fence } | Request::Enrol { fence, .. } => {
                self.refuse_fence(call.epoch, fence)
            }
            Request::Prepare { .. }
            | Request::Accept { .. }
            | Request::Read { .. }
            | Request::List(_)
            | Request::Remove { .. } => match call.epoch > self.fence.epoch {
                true => Some(Reply::Behind),
                false => call.request.counter().and_then(|counter| self.count(counter)),
            },
            // One that belongs to no cluster cannot be told of an epoch.
            Request::Wipe => {
                let is_behind = self.cluster.is_some() && call.epoch > self.fence.epoch;
                is_behind.then_some(Reply::Behind)
            }
            Request::Status => None,
        }
    }

    /// Why the fence is not raised so, if it is not.
    fn refuse_fence(&self, epoch: Epoch, fence: &Fence) -> Option<Reply> {
        let known = &self.fence;
        let carried = fence.configuration.as_ref().map_or(Epoch(0), |told| told.epoch);
        if epoch.max(fence.epoch) > known.epoch.max(carried) {
            return Some(Reply::Behind);
        }
        let is_valid = fence.configuration.as_ref().is_none_or(|told| told.validate().is_ok());
        let is_near = is_near(known.epoch.0, carried.0)
            && is_near(known.age.0, fence.age.0)
            && is_near(known.floor.index, fence.floor.index)
            && is_near(self.counter, fence.floor.counter);
        (!is_valid || !is_near).then_some(Reply::TooHigh)
    }

    /// Takes note of the counter of a ballot, or refuses it.
    fn count(&mut self, counter: u64) -> Option<Reply> {
        if !is_near(self.counter, counter) {
            return Some(Reply::TooHigh);
        }
        // Seldom, since it has to be durable.
        if counter - self.counter.min(counter) > MAX_LEAP / 2 {
            self.counter = counter;
        }
        None
    }

    /// Raises the fence.
    pub fn raise(&mut self, fence: &Fence) -> Reply {
        let is_aged = fence.age > self.fence.age;
        self.fence.raise(fence);
        self.counter = self.counter.max(fence.floor.counter);
        Reply::Raised { is_aged, fence: self.fence.clone() }
    }

    /// Becomes an acceptor of the cluster of a call that was let in, unless it
    /// `holds_registers`: they are of an earlier membership, and deleted ones
    /// would come back. One that founded the cluster is one already.
    pub fn enrol(
        &mut self,
        cluster: Option<ClusterId>,
        (fence, counter, is_founding): (&Fence, u64, bool),
        holds_registers: bool,
    ) -> Reply {
        let is_founder = self.cluster.is_some() && is_founding;
        if holds_registers && !is_founder {
            return Reply::NotEmpty;
        }
        if self.cluster.is_none() {
            self.counter = self.counter.max(counter);
        }
        self.cluster = cluster;
        self.raise(fence)
    }

    /// Leaves its cluster.
    pub fn leave(&mut self) -> Reply {
        self.cluster = None;
        Reply::Wiped
    }
}

/// Whether `number` is no further above what is known than by counting.
fn is_near(known: u64, number: u64) -> bool {
    number <= known.saturating_add(MAX_LEAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::Ballot;
    use crate::kv::Key;

    const OURS: Option<ClusterId> = ClusterId::new(7);

    fn read() -> Request {
        Request::Read { key: Key::try_from("k").unwrap() }
    }

    fn prepare(counter: u64) -> Request {
        let ballot = Ballot { counter, ..Ballot::ZERO };
        Request::Prepare { key: Key::try_from("k").unwrap(), ballot }
    }

    fn call(epoch: u64, age: u64) -> Call {
        Call { cluster: OURS, epoch: Epoch(epoch), age: Age(age), request: read() }
    }

    fn configuration(epoch: u64) -> Configuration {
        Configuration::uniform(Epoch(epoch), &["a1".into()], 1, 1)
    }

    fn fence(epoch: u64, age: u64) -> Fence {
        let configuration = Some(configuration(epoch));
        Fence { epoch: Epoch(epoch), age: Age(age), configuration, ..Fence::default() }
    }

    /// An acceptor that was enrolled with a fence.
    fn enrolled(fence: Fence) -> Standing {
        Standing { fence, cluster: OURS, ..Standing::default() }
    }

    #[test]
    fn one_that_belongs_to_no_cluster_is_enrolled_and_serves_nobody_before() {
        let mut new = Standing::new(Nonce(3));
        let raise = Request::Raise { fence: fence(5, 0) };
        for request in [read(), prepare(1), raise] {
            for epoch in [1, 5] {
                let call = Call { request: request.clone(), ..call(epoch, 0) };
                assert_eq!(new.admit(&call), Some(Reply::NotEnrolled));
            }
        }
        assert_eq!(new, Standing::new(Nonce(3)), "it has changed nothing");
        let enrol = Request::Enrol { fence: fence(2, 3), counter: 9, is_founding: false };
        let nobody = Call { cluster: None, request: enrol.clone(), ..call(2, 3) };
        assert_eq!(new.admit(&nobody), Some(Reply::NotEnrolled));
        assert_eq!(new.admit(&Call { request: enrol, ..call(2, 3) }), None);
        assert_eq!(new.clone().enrol(OURS, (&fence(2, 3), 9, false), true), Reply::NotEmpty);
        let reply = new.enrol(OURS, (&fence(2, 3), 9, false), false);
        assert!(matches!(reply, Reply::Raised { is_aged: true, .. }));
        assert_eq!((new.admit(&call(2, 3)), new.counter), (None, 9));
        assert_eq!(new.enrol(OURS, (&fence(2, 3), 9, false), true), Reply::NotEmpty);
        assert_eq!(new.leave(), Reply::Wiped);
        assert_eq!(new.admit(&call(2, 3)), Some(Reply::NotEnrolled));
    }

    #[test]
    fn founders_are_enrolled_by_every_proposer_that_founds_the_cluster() {
        let mut founder = Standing::default();
        for holds_registers in [false, true] {
            let reply = founder.enrol(OURS, (&fence(1, 0), 0, true), holds_registers);
            assert!(matches!(reply, Reply::Raised { .. }));
        }
        assert_eq!(founder.admit(&call(1, 0)), None);
    }

    #[test]
    fn whoever_is_turned_away_changes_nothing() {
        let before = enrolled(fence(5, 2));
        let other = ClusterId::new(8);
        let raise = |fence| Request::Raise { fence };
        let no_quorum = Configuration::uniform(Epoch(6), &["a1".into()], 2, 1);
        let invalid = Fence { configuration: Some(no_quorum), ..fence(6, 2) };
        let floor = Floor { counter: u64::MAX, index: 0 };
        let index = Floor { counter: 0, index: u64::MAX };
        let fenced = Reply::Fenced(fence(5, 2));
        let held = Reply::OtherCluster { held: OURS.unwrap() };
        let cases = [
            (Call { cluster: other, ..call(5, 2) }, held.clone()),
            (Call { cluster: None, ..call(5, 2) }, held.clone()),
            (Call { cluster: other, request: raise(fence(9, 9)), ..call(9, 9) }, held.clone()),
            (Call { cluster: other, request: Request::Wipe, ..call(5, 2) }, held),
            (call(4, 2), fenced.clone()),
            (call(5, 1), fenced.clone()),
            (call(9, 1), fenced),
            (call(6, 2), Reply::Behind),
            (call(u64::MAX, 2), Reply::Behind),
            (Call { request: prepare(1), ..call(6, 2) }, Reply::Behind),
            (Call { request: Request::Wipe, ..call(6, 2) }, Reply::Behind),
            (Call { request: prepare(MAX_LEAP + 1), ..call(5, 2) }, Reply::TooHigh),
            (Call { request: prepare(u64::MAX), ..call(5, 2) }, Reply::TooHigh),
            (
                Call { request: raise(Fence { configuration: None, ..fence(6, 2) }), ..call(5, 2) },
                Reply::Behind,
            ),
            (Call { request: raise(fence(6, 2)), ..call(7, 2) }, Reply::Behind),
            (Call { request: raise(fence(u64::MAX, 2)), ..call(5, 2) }, Reply::TooHigh),
            (Call { request: raise(fence(5, u64::MAX)), ..call(5, 2) }, Reply::TooHigh),
            (Call { request: raise(Fence { floor, ..fence(5, 2) }), ..call(5, 2) }, Reply::TooHigh),
            (
                Call { request: raise(Fence { floor: index, ..fence(5, 2) }), ..call(5, 2) },
                Reply::TooHigh,
            ),
            (Call { request: raise(invalid), ..call(5, 2) }, Reply::TooHigh),
        ];
        for (call, reply) in cases {
            let mut standing = before.clone();
            assert_eq!(standing.admit(&call), Some(reply), "{call:?}");
            assert_eq!(standing, before, "{call:?}");
        }
    }

    #[test]
    fn the_epoch_rises_with_a_configuration_that_has_it() {
        let mut standing = enrolled(fence(5, 2));
        let raise = Request::Raise { fence: fence(6, 2) };
        assert_eq!(standing.admit(&Call { request: raise, ..call(5, 2) }), None);
        standing.raise(&fence(6, 2));
        assert_eq!(standing.admit(&call(6, 9)), None);
        assert_eq!(standing.fence, fence(6, 2), "an age is raised by its own request only");
    }

    #[test]
    fn ballots_may_count_on_for_ever_by_plausible_leaps() {
        let mut standing = enrolled(fence(5, 2));
        for counter in [1, MAX_LEAP, 2 * MAX_LEAP, 3 * MAX_LEAP] {
            let call = Call { request: prepare(counter), ..call(5, 2) };
            assert_eq!(standing.admit(&call), None, "{counter}");
        }
        assert_eq!(standing.counter, 3 * MAX_LEAP);
        standing.admit(&Call { request: prepare(3 * MAX_LEAP + 9), ..call(5, 2) });
        assert_eq!(standing.counter, 3 * MAX_LEAP, "it is written down seldom");
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
