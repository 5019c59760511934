//! Whom a leader's entries reach a little later.
//!
//! A quorum is enough: of the followers, those that are not needed for one get
//! their entries in company, which costs them and the leader fewer messages and
//! fewer writes. It only delays messages, each for [`COMPANY_PATIENCE`] at most, so
//! it bears on no rule of the protocol. Others are counted on only as long as they
//! acknowledge what is committed, at once; and who serves reads, which wait for what
//! is committed to be applied there, is not spared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::time::Instant;

use super::state::Members;
use super::types::{ReplicaId, Types};

/// How long entries wait for others at most.
pub const COMPANY_PATIENCE: Duration = Duration::from_millis(3);
/// A message of this many bytes has company enough.
pub const ENOUGH_BYTES: usize = 32 << 10;
/// Who takes longer to answer is not counted on.
const PROMPT: Duration = COMPANY_PATIENCE;
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
    /// How long the last one took; `None` when none came.
    took: Option<Duration>,
    /// The index of the last entry that it acknowledged.
    acknowledged: Option<u64>,
    reads_at: Option<Instant>,
}

/// Entries on their way to a follower.
pub struct Append {
    to: ReplicaId,
    /// Of the last of them, or of the one before them.
    last_index: Option<u64>,
    committed: Option<u64>,
    began: Instant,
}

impl Append {
    /// What is to be remembered of a message.
    pub fn new(to: ReplicaId, rpc: &AppendEntriesRequest<Types>) -> Append {
        let last = rpc.entries.last().map(|entry| entry.log_id.index);
        let last_index = last.or(rpc.prev_log_id.as_ref().map(|id| id.index));
        let committed = rpc.leader_commit.as_ref().map(|id| id.index);
        Append { to, last_index, committed, began: Instant::now() }
    }
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

    /// Whether entries may wait: enough voters before their follower answer
    /// promptly, and have what is committed.
    pub fn may_wait(&self, now: Instant, append: &Append) -> bool {
        let members = (self.members)();
        let [voters] = &members.membership.membership().get_joint_config()[..] else {
            return false;
        };
        let followers = self.lock();
        let serves_reads = followers.get(&append.to).is_some_and(|follower| {
            follower.reads_at.is_some_and(|at| now.duration_since(at) < READS_LATELY)
        });
        let is_prompt = |id: &&ReplicaId| {
            followers.get(id).is_some_and(|follower| {
                let owes_for = follower.owes_since.map(|since| now.duration_since(since));
                owes_for.is_none_or(|time| time < PROMPT)
                    && follower.took.is_some_and(|took| took < PROMPT)
                    && follower.acknowledged >= append.committed
            })
        };
        let before = voters.iter().filter(|id| **id != self.own && **id < append.to);
        // With the leader itself they are a majority.
        !serves_reads && before.filter(is_prompt).count() >= voters.len() / 2
    }

    /// Entries go to their follower.
    pub fn note_sent(&self, now: Instant, append: &mut Append) {
        append.began = now;
        self.lock().entry(append.to).or_default().owes_since = Some(now);
    }

    /// It has answered, or it has not.
    pub fn note_end(
        &self,
        now: Instant,
        append: &Append,
        answer: Option<&AppendEntriesResponse<Types>>,
    ) {
        let mut followers = self.lock();
        let follower = followers.entry(append.to).or_default();
        follower.owes_since = None;
        follower.took = answer.map(|_| now.duration_since(append.began));
        follower.acknowledged = match answer {
            Some(AppendEntriesResponse::Success) => append.last_index,
            Some(AppendEntriesResponse::PartialSuccess(last)) => last.as_ref().map(|id| id.index),
            Some(AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_)) | None => {
                None
            }
        };
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

    const MOMENT: Duration = Duration::from_millis(1);

    fn sparing(own: ReplicaId, voters: &[ReplicaId]) -> Arc<Sparing> {
        let member =
            |id: &ReplicaId| (*id, Member { peer_url: format!("http://{id}"), nonce: None });
        let nodes: BTreeMap<ReplicaId, Member> = voters.iter().map(member).collect();
        let voters: BTreeSet<ReplicaId> = voters.iter().copied().collect();
        let membership = Membership::new(vec![voters], nodes).unwrap();
        let membership = StoredMembership::new(None, membership);
        let members = Arc::new(Members { membership, ..Members::default() });
        Sparing::new(own, move || members.clone())
    }

    /// Entries up to 9, of which 8 are committed.
    fn append(to: ReplicaId) -> Append {
        Append { to, last_index: Some(9), committed: Some(8), began: Instant::now() }
    }

    /// A follower acknowledges entries after some time.
    fn acknowledge(sparing: &Sparing, from: ReplicaId, took: Duration) {
        let (now, mut entries) = (Instant::now(), append(from));
        sparing.note_sent(now, &mut entries);
        sparing.note_end(now + took, &entries, Some(&AppendEntriesResponse::Success));
    }

    #[test]
    fn the_last_follower_is_spared_while_the_others_are_prompt() {
        let now = Instant::now();
        let sparing = sparing(1, &[1, 2, 3]);
        assert!(!sparing.may_wait(now, &append(3)), "nobody has shown that it answers");
        acknowledge(&sparing, 2, MOMENT);
        assert!(sparing.may_wait(now, &append(3)) && !sparing.may_wait(now, &append(2)));
        sparing.note_sent(now, &mut append(2));
        assert!(sparing.may_wait(now, &append(3)));
        assert!(!sparing.may_wait(now + PROMPT, &append(3)), "2 owes an answer for too long");
        sparing.note_end(now, &append(2), None);
        assert!(!sparing.may_wait(now, &append(3)), "2 did not answer");
        acknowledge(&sparing, 2, PROMPT);
        assert!(!sparing.may_wait(now, &append(3)), "2 is far away");
    }

    #[test]
    fn who_lacks_what_is_committed_is_not_counted_on() {
        let now = Instant::now();
        let sparing = sparing(1, &[1, 2, 3]);
        sparing.note_end(now, &append(2), Some(&AppendEntriesResponse::Conflict));
        assert!(!sparing.may_wait(now, &append(3)), "2 has another log");
        let behind = Append { last_index: Some(7), ..append(2) };
        sparing.note_end(now, &behind, Some(&AppendEntriesResponse::Success));
        assert!(!sparing.may_wait(now, &append(3)), "2 is catching up");
        acknowledge(&sparing, 2, MOMENT);
        assert!(sparing.may_wait(now, &append(3)));
    }

    #[test]
    fn as_many_are_asked_at_once_as_a_majority_needs() {
        let now = Instant::now();
        let sparing = sparing(3, &[1, 2, 3, 4, 5]);
        [1, 2, 4, 5].iter().for_each(|id| acknowledge(&sparing, *id, MOMENT));
        let spared = [1, 2, 4, 5].into_iter().filter(|id| sparing.may_wait(now, &append(*id)));
        assert_eq!(spared.collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn who_serves_reads_is_not_spared() {
        let now = Instant::now();
        let sparing = sparing(1, &[1, 2, 3]);
        acknowledge(&sparing, 2, MOMENT);
        sparing.note_reader(now, 3);
        assert!(!sparing.may_wait(now, &append(3)));
        assert!(sparing.may_wait(now + READS_LATELY, &append(3)));
    }
}
