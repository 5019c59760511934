//! Where an acceptor stands towards its cluster, and whom it lets in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AcceptorId, Call, Epoch, Fence, Reply, Request};
use crate::generation::{Claim, Generation, Generations};
use crate::identity::{ClusterId, Nonce};

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
    /// The epoch in which it was enrolled.
    pub enrolled: Epoch,
    /// The generations of its store.
    pub generations: Generations,
    /// The newest enrolments of the other acceptors that it was told.
    pub known: BTreeMap<AcceptorId, Enrolment>,
}

/// Which store of an acceptor it is: several may have come one after the other
/// under one name, and of each there may be old copies.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Enrolment {
    /// The epoch in which it was enrolled.
    pub epoch: Epoch,
    /// The generation of the store.
    pub generation: Generation,
}

/// What an acceptor's store tells of itself, for others to take note of.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct EnrolmentClaim {
    /// The epoch in which the acceptor was enrolled.
    pub epoch: Epoch,
    /// What the store tells of its generation.
    pub claim: Claim,
}

/// What one that serves tells: it has not tried other tags.
impl From<Enrolment> for EnrolmentClaim {
    fn from(Enrolment { epoch, generation }: Enrolment) -> Self {
        EnrolmentClaim { epoch, claim: Claim { generation, tried: Vec::new() } }
    }
}

impl EnrolmentClaim {
    /// What others take note of.
    pub fn enrolment(&self) -> Enrolment {
        Enrolment { epoch: self.epoch, generation: self.claim.generation }
    }

    /// Whether the store has all that the acceptor had promised and accepted when
    /// it was `known` so; if not, it is an old copy, or a store from before the
    /// acceptor was removed and added anew.
    pub fn continues(&self, known: Enrolment) -> bool {
        let is_same = self.epoch == known.epoch;
        self.epoch > known.epoch || (is_same && self.claim.continues(known.generation))
    }
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

    /// The store was opened: it begins its next generation, and must be
    /// confirmed. `tag` is random.
    pub fn open(&mut self, tag: u64) {
        self.generations.open(tag);
    }

    /// What it tells of its store.
    pub fn claim(&self) -> EnrolmentClaim {
        EnrolmentClaim { epoch: self.enrolled, claim: self.generations.claim() }
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
    ///
    /// When its store was opened it serves nobody until it is confirmed: it may be
    /// an old copy, which lacks what the acceptor promised and accepted since
    /// (see `confirmation`).
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
            Some(_) if !self.generations.serves() && !call.request.is_for_unconfirmed() => {
                return Some(Reply::Unconfirmed(self.claim()));
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
            | Request::Mark { .. }
            | Request::Remove { .. } => match call.epoch > self.fence.epoch {
                true => Some(Reply::Behind),
                false => self.refuse_numbers(&call.request),
            },
            Request::Note { of, claim } => self.refuse_note(call.epoch, of, claim),
            // It may be too far behind to be told of the epoch before.
            Request::Confirm { enrolment, .. } => {
                let own = self.claim();
                let is_it = self.generations.serves() || *enrolment == own.enrolment();
                (!is_it).then_some(Reply::Unconfirmed(own))
            }
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

    /// Takes note of the counter of a ballot, or refuses what no proposer can
    /// have come to.
    fn refuse_numbers(&mut self, request: &Request) -> Option<Reply> {
        if !request.is_consistent() {
            return Some(Reply::TooHigh);
        }
        let counter = request.counter()?;
        if !is_near(self.counter, counter) {
            return Some(Reply::TooHigh);
        }
        // Seldom, since it has to be durable.
        if counter - self.counter.min(counter) > MAX_LEAP / 2 {
            self.counter = counter;
        }
        None
    }

    /// Why it takes no note of another acceptor, if it does not.
    fn refuse_note(&self, epoch: Epoch, of: &AcceptorId, told: &EnrolmentClaim) -> Option<Reply> {
        let configuration = self.fence.configuration.as_ref();
        let is_member = configuration.is_some_and(|it| it.acceptors().any(|id| id == of));
        if epoch > self.fence.epoch || !is_member {
            return Some(Reply::Behind);
        }
        let known = self.known.get(of).copied().unwrap_or_default();
        let is_plausible = told.epoch <= epoch
            && told.claim.tried.len() <= Claim::MAX_TRIED
            && is_near(known.generation.count, told.claim.generation.count);
        (!is_plausible).then_some(Reply::TooHigh)
    }

    /// Takes note of another acceptor, unless it knows better.
    pub fn note(&mut self, of: &AcceptorId, told: &EnrolmentClaim) -> Reply {
        let known = self.known.entry(of.clone()).or_default();
        if told.continues(*known) {
            *known = told.enrolment();
        }
        Reply::Noted(*known)
    }

    /// Serves from now on, in a generation with this tag.
    pub fn confirm(&mut self, tag: u64) -> Reply {
        if !self.generations.serves() {
            self.generations.serve(tag);
        }
        Reply::Confirmed(self.claim().enrolment())
    }

    /// Begins the next generation while it serves, so that copies that were made
    /// before can be told from it.
    pub fn mark(&mut self, tag: u64) -> Reply {
        self.generations.mark(tag);
        Reply::Marked(self.claim().enrolment())
    }

    /// Raises the fence. An acceptor that is not confirmed is told of it, so that it
    /// can take note of others, and does not count as one that has raised it: its
    /// store may be exchanged for the newest one.
    pub fn raise(&mut self, fence: &Fence) -> Reply {
        let raised = self.raise_fence(fence);
        match self.generations.serves() {
            true => raised,
            false => Reply::Unconfirmed(self.claim()),
        }
    }

    fn raise_fence(&mut self, fence: &Fence) -> Reply {
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
        if !is_founder {
            self.enrolled = fence.epoch;
        }
        self.cluster = cluster;
        self.raise_fence(fence)
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
    use crate::caspaxos::{Age, Ballot, Configuration, Floor};
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
        let mut standing = Standing { fence, cluster: OURS, ..Standing::default() };
        standing.confirm(1);
        standing
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
        assert_eq!(new.admit(&call(2, 3)), Some(Reply::Unconfirmed(enrolment(2, 0, 0).into())));
        assert_eq!(new.confirm(5), Reply::Confirmed(enrolment(2, 1, 5)));
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
        founder.confirm(1);
        assert_eq!(founder.admit(&call(1, 0)), None);
    }

    fn enrolment(epoch: u64, count: u64, tag: u64) -> Enrolment {
        Enrolment { epoch: Epoch(epoch), generation: Generation { count, tag } }
    }

    #[test]
    fn one_whose_store_was_opened_serves_nobody_until_it_is_confirmed() {
        let mut standing = enrolled(fence(5, 2));
        standing.open(7);
        let opened = enrolment(0, 2, 7);
        let unconfirmed = || Some(Reply::Unconfirmed(opened.into()));
        assert_eq!(standing.admit(&call(5, 2)), unconfirmed());
        // It is told of a configuration, and does not count.
        let raise = Call { request: Request::Raise { fence: fence(6, 2) }, ..call(6, 2) };
        assert_eq!(standing.admit(&raise), None);
        assert_eq!(Some(standing.raise(&fence(6, 2))), unconfirmed());
        assert_eq!(standing.fence, fence(6, 2));
        let confirm = |enrolment| {
            let request = Request::Confirm { enrolment, tag: 8 };
            Call { request, ..call(6, 2) }
        };
        let other = confirm(enrolment(0, 2, 8));
        assert_eq!(standing.admit(&other), unconfirmed());
        assert_eq!(standing.admit(&confirm(opened)), None);
        for tag in [8, 9] {
            assert_eq!(standing.confirm(tag), Reply::Confirmed(enrolment(0, 3, 8)));
        }
        assert_eq!(standing.admit(&call(6, 2)), None);
        assert_eq!(standing.mark(9), Reply::Marked(enrolment(0, 4, 9)));
        assert_eq!(standing.admit(&call(6, 2)), None, "a mark takes nothing back");
    }

    #[test]
    fn notes_of_others_only_rise() {
        let mut standing = enrolled(fence(5, 2));
        let (a1, known) = (AcceptorId::from("a1"), enrolment(3, 4, 1));
        let note = |of: &str, told: Enrolment| {
            let request = Request::Note { of: of.into(), claim: told.into() };
            Call { request, ..call(5, 2) }
        };
        assert_eq!(standing.admit(&note("a1", known)), None);
        assert_eq!(standing.note(&a1, &known.into()), Reply::Noted(known));
        for old in [enrolment(3, 4, 2), enrolment(3, 3, 9), enrolment(2, 99, 9)] {
            assert_eq!(standing.note(&a1, &old.into()), Reply::Noted(known), "{old:?}");
        }
        let newer = enrolment(4, 1, 1);
        assert_eq!(standing.note(&a1, &newer.into()), Reply::Noted(newer));
        // Of who is none of the configuration, and what nobody can have come to.
        assert_eq!(standing.admit(&note("a9", known)), Some(Reply::Behind));
        for made_up in [enrolment(6, 1, 1), enrolment(5, u64::MAX, 1)] {
            assert_eq!(standing.admit(&note("a1", made_up)), Some(Reply::TooHigh), "{made_up:?}");
        }
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
}
