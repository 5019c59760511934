//! Whom a leader's entries reach a little later.
//!
//! A quorum is enough: of the followers, those that are not needed for one get
//! their entries in company, which costs them and the leader fewer messages and
//! fewer writes. It only delays messages, for [`COMPANY_PATIENCE`] at most, so it
//! bears on no rule of the protocol. Who serves reads, which wait for what is
//! committed to be applied there, is not spared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::state::Members;
use super::types::ReplicaId;

/// How long entries wait for others at most.
pub const COMPANY_PATIENCE: Duration = Duration::from_millis(3);
/// A message of this many bytes has company enough.
pub const ENOUGH_BYTES: usize = 32 << 10;
/// Who owes an answer for longer is not counted on.
const PROMPT: Duration = Duration::from_millis(10);
/// How long ago a follower must have asked for a read index to be spared.
const READS_LATELY: Duration = Duration::from_millis(100);

/// How the followers of a replica do, whenever it leads.
pub struct Sparing {
    own: ReplicaId,
    members: Box<dyn Fn() -> Arc<Members> + Send + Sync>,
    followers: Mutex<BTreeMap<ReplicaId, Follower>>,
}

#[derive(Default)]
struct Follower {
    /// Since when it owes an answer.
    owes_since: Option<Instant>,
    /// It did not answer last.
    is_lost: bool,
    reads_at: Option<Instant>,
}

impl Sparing {
    /// Of the followers of `own`, among these members.
    pub fn new(
        own: ReplicaId,
        members: impl Fn() -> Arc<Members> + Send + Sync + 'static,
    ) -> Arc<Sparing> {
        let followers = Mutex::default();
        Arc::new(Sparing { own, members: Box::new(members), followers })
    }

    /// Whether entries for a follower may wait: enough voters before it answer
    /// promptly.
    pub fn may_wait(&self, now: Instant, to: ReplicaId) -> bool {
        let members = (self.members)();
        let [voters] = &members.membership.membership().get_joint_config()[..] else {
            return false;
        };
        let followers = self.lock();
        let serves_reads = followers.get(&to).is_some_and(|follower| {
            follower.reads_at.is_some_and(|at| now.duration_since(at) < READS_LATELY)
        });
        let is_prompt = |id: &&ReplicaId| {
            followers.get(id).is_some_and(|follower| {
                let owes_for = follower.owes_since.map(|since| now.duration_since(since));
                !follower.is_lost && owes_for.is_none_or(|time| time < PROMPT)
            })
        };
        let before = voters.iter().filter(|id| **id != self.own && **id < to);
        // With the leader itself they are a majority.
        !serves_reads && before.filter(is_prompt).count() >= voters.len() / 2
    }

    /// Entries are sent to a follower.
    pub fn note_sent(&self, now: Instant, to: ReplicaId) {
        self.lock().entry(to).or_default().owes_since = Some(now);
    }

    /// It has answered, or it has not.
    pub fn note_end(&self, to: ReplicaId, has_answered: bool) {
        let mut followers = self.lock();
        let follower = followers.entry(to).or_default();
        (follower.owes_since, follower.is_lost) = (None, !has_answered);
    }

    /// It asks for a read index.
    pub fn note_reader(&self, now: Instant, from: ReplicaId) {
        self.lock().entry(from).or_default().reads_at = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Follower>> {
        self.followers.lock().expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use openraft::{Membership, StoredMembership};

    use super::super::types::Member;
    use super::*;

    fn sparing(own: ReplicaId, voters: &[ReplicaId]) -> Arc<Sparing> {
        let member = |id: &ReplicaId| (*id, Member { peer_url: format!("http://{id}") });
        let nodes: BTreeMap<ReplicaId, Member> = voters.iter().map(member).collect();
        let voters: BTreeSet<ReplicaId> = voters.iter().copied().collect();
        let membership = Membership::new(vec![voters], nodes).unwrap();
        let membership = StoredMembership::new(None, membership);
        let members = Arc::new(Members { membership, ..Members::default() });
        Sparing::new(own, move || members.clone())
    }

    #[test]
    fn the_last_follower_is_spared_while_the_others_are_prompt() {
        let now = Instant::now();
        let sparing = sparing(1, &[1, 2, 3]);
        assert!(!sparing.may_wait(now, 3), "nobody has shown that it answers");
        sparing.note_end(2, true);
        assert!(sparing.may_wait(now, 3) && !sparing.may_wait(now, 2));
        sparing.note_sent(now, 2);
        assert!(sparing.may_wait(now, 3));
        assert!(!sparing.may_wait(now + PROMPT, 3), "2 owes an answer for too long");
        sparing.note_end(2, false);
        assert!(!sparing.may_wait(now, 3), "2 did not answer");
    }

    #[test]
    fn as_many_are_asked_at_once_as_a_majority_needs() {
        let now = Instant::now();
        let sparing = sparing(3, &[1, 2, 3, 4, 5]);
        [1, 2, 4, 5].iter().for_each(|id| sparing.note_end(*id, true));
        let spared = [1, 2, 4, 5].into_iter().filter(|id| sparing.may_wait(now, *id));
        assert_eq!(spared.collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn who_serves_reads_is_not_spared() {
        let now = Instant::now();
        let sparing = sparing(1, &[1, 2, 3]);
        sparing.note_end(2, true);
        sparing.note_reader(now, 3);
        assert!(!sparing.may_wait(now, 3));
        assert!(sparing.may_wait(now + READS_LATELY, 3));
    }
}
