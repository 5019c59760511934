//! Which members can call which, as far as a replica knows.
//!
//! A leader whose calls arrive need not be one that can be called: its followers
//! hear its heartbeats, but cannot bring it what their clients ask. So each voter
//! probes all the others again and again ([`Call::Probe`](super::Call::Probe)).
//! That a probe is answered shows whom it can call; the answer says whether it can
//! be called itself. Unlike heartbeats, probes renew no lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use openraft::Membership;
use tokio::time::Instant;

use super::types::{Member, ReplicaId};

/// What a replica knows of who can call whom.
pub struct Reachability {
    own: ReplicaId,
    /// After so long without an answer a member counts as one that cannot be
    /// called; so long what it answered last counts.
    patience: Duration,
    others: Mutex<BTreeMap<ReplicaId, Other>>,
}

/// What is known of another member.
#[derive(Default)]
struct Other {
    /// When the first of the probes was sent that it owes an answer to.
    silent_since: Option<Instant>,
    /// When the newest of the probes was sent that it has answered, and what it
    /// said.
    answered: Option<(Instant, Probed)>,
}

/// What a member says of itself when it is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probed {
    /// Whether it can call the prober.
    pub reaches_prober: bool,
    /// Whether it and a quorum can call one another.
    pub is_eligible: bool,
}

impl Reachability {
    /// Of the members around `own`.
    pub fn new(own: ReplicaId, patience: Duration) -> Self {
        Reachability { own, patience, others: Mutex::default() }
    }

    /// A probe goes to a member.
    pub fn note_sent(&self, now: Instant, to: ReplicaId) {
        self.lock().entry(to).or_default().silent_since.get_or_insert(now);
    }

    /// A member has answered the probe that was `sent` then.
    pub fn note_answer(&self, sent: Instant, from: ReplicaId, said: Probed) {
        let mut others = self.lock();
        let other = others.entry(from).or_default();
        other.silent_since = None;
        if other.answered.is_none_or(|(newest, _)| newest < sent) {
            other.answered = Some((sent, said));
        }
    }

    /// Whether this replica can call another one, as long as nothing is known to
    /// the contrary.
    pub fn reaches(&self, now: Instant, id: ReplicaId) -> bool {
        let silent_since = self.lock().get(&id).and_then(|other| other.silent_since);
        silent_since.is_none_or(|since| now.duration_since(since) < self.patience)
    }

    /// Whether a quorum, this replica among it, has answered probes that were sent
    /// no earlier than `since`.
    pub fn reaches_quorum(
        &self,
        since: Instant,
        membership: &Membership<ReplicaId, Member>,
    ) -> bool {
        let others = self.lock();
        let has_answered = |other: &Other| other.answered.is_some_and(|(sent, _)| sent >= since);
        let reached = others.iter().filter(|(_, other)| has_answered(other)).map(|(id, _)| *id);
        is_quorum(&reached.chain([self.own]).collect(), membership)
    }

    /// Whether this replica and a quorum can call one another, as that said lately.
    pub fn is_eligible(&self, now: Instant, membership: &Membership<ReplicaId, Member>) -> bool {
        let callers = self.said_lately(now, |said| said.reaches_prober);
        is_quorum(&callers.into_iter().chain([self.own]).collect(), membership)
    }

    /// Who said lately that it cannot call this replica.
    pub fn cut_off(&self, now: Instant) -> BTreeSet<ReplicaId> {
        self.said_lately(now, |said| !said.reaches_prober)
    }

    /// The others that said lately that they and a quorum can call one another.
    pub fn eligible(&self, now: Instant) -> BTreeSet<ReplicaId> {
        self.said_lately(now, |said| said.is_eligible)
    }

    fn said_lately(&self, now: Instant, what: impl Fn(Probed) -> bool) -> BTreeSet<ReplicaId> {
        let has_said = |other: &Other| {
            let answered = other.answered;
            answered
                .is_some_and(|(sent, said)| now.duration_since(sent) < self.patience && what(said))
        };
        let others = self.lock();
        others.iter().filter(|(_, other)| has_said(other)).map(|(id, _)| *id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Other>> {
        self.others.lock().expect("nothing panics while it holds the lock")
    }
}

/// Whether these are a majority of each set of voters (§6: joint consensus).
pub fn is_quorum(these: &BTreeSet<ReplicaId>, membership: &Membership<ReplicaId, Member>) -> bool {
    let is_majority =
        |voters: &BTreeSet<ReplicaId>| these.intersection(voters).count() > voters.len() / 2;
    membership.get_joint_config().iter().all(is_majority)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn membership(configs: &[&[ReplicaId]]) -> Membership<ReplicaId, Member> {
        let configs: Vec<BTreeSet<ReplicaId>> =
            configs.iter().map(|voters| voters.iter().copied().collect()).collect();
        let ids = configs.iter().flatten().copied();
        let nodes: BTreeMap<ReplicaId, Member> = ids.map(|id| (id, Member::default())).collect();
        Membership::new(configs, nodes).expect("all voters are members")
    }

    /// What replica 1 knows when these have just said that they can call it, and
    /// those that they cannot.
    fn known(callers: &[ReplicaId], others: &[ReplicaId]) -> (Reachability, Instant) {
        let (now, reachability) = (Instant::now(), Reachability::new(1, PATIENCE));
        for (ids, reaches_prober) in [(callers, true), (others, false)] {
            for id in ids {
                let said = Probed { reaches_prober, is_eligible: id % 2 == 0 };
                reachability.note_answer(now, *id, said);
            }
        }
        (reachability, now)
    }

    #[test]
    fn who_a_quorum_cannot_call_is_not_eligible() {
        type Case<'a> = (&'a [ReplicaId], &'a [ReplicaId], &'a [&'a [ReplicaId]], bool);
        let table: [Case<'_>; 9] = [
            (&[], &[], &[&[1]], true),
            (&[2], &[], &[&[1, 2]], true),
            (&[], &[2], &[&[1, 2]], false),
            (&[2], &[3], &[&[1, 2, 3]], true),
            (&[], &[2, 3], &[&[1, 2, 3]], false),
            (&[2], &[], &[&[1, 2, 3, 4]], false),
            (&[2, 9], &[3], &[&[1, 2, 3, 4, 5]], false),
            // Joint: a majority of each side.
            (&[2], &[], &[&[1, 2, 3], &[4, 5, 6]], false),
            (&[2, 4, 5], &[], &[&[1, 2, 3], &[4, 5, 6]], true),
        ];
        for (callers, others, configs, expected) in table {
            let (reachability, now) = known(callers, others);
            let is_eligible = reachability.is_eligible(now, &membership(configs));
            assert_eq!(is_eligible, expected, "{callers:?} {others:?} of {configs:?}");
        }
    }

    #[test]
    fn what_was_said_counts_for_a_while() {
        let (reachability, now) = known(&[2], &[3, 4]);
        assert_eq!(reachability.cut_off(now), BTreeSet::from([3, 4]));
        assert_eq!(reachability.eligible(now), BTreeSet::from([2, 4]));
        // An answer that comes late does not replace a newer one.
        let late = Probed { reaches_prober: true, is_eligible: true };
        reachability.note_answer(now - PATIENCE / 2, 3, late);
        assert_eq!(reachability.cut_off(now), BTreeSet::from([3, 4]));
        assert!(reachability.cut_off(now + PATIENCE).is_empty());
        assert!(reachability.eligible(now + PATIENCE).is_empty());
    }

    #[test]
    fn who_owes_all_answers_for_a_while_cannot_be_called() {
        let (began, reachability) = (Instant::now(), Reachability::new(1, PATIENCE));
        reachability.note_sent(began, 2);
        reachability.note_sent(began + PATIENCE / 2, 2);
        assert!(reachability.reaches(began + PATIENCE / 2, 2));
        assert!(!reachability.reaches(began + PATIENCE, 2));
        assert!(reachability.reaches(began + PATIENCE, 3), "nothing is known of 3");
        let said = Probed { reaches_prober: true, is_eligible: true };
        reachability.note_answer(began + PATIENCE / 2, 2, said);
        reachability.note_sent(began + PATIENCE, 2);
        assert!(reachability.reaches(began + PATIENCE * 3 / 2, 2));
    }

    #[test]
    fn only_new_answers_make_a_quorum() {
        let (reachability, now) = known(&[], &[2]);
        let three = membership(&[&[1, 2, 3]]);
        assert!(reachability.reaches_quorum(now, &three));
        assert!(!reachability.reaches_quorum(now + PATIENCE / 2, &three));
        assert!(!reachability.reaches_quorum(now, &membership(&[&[1, 2, 3, 4]])));
    }
}
