//! What another replica cannot honestly say. It is refused before anything is
//! changed: one message that is taken for the word of a leader of the last term
//! there is would end all elections.

use openraft::async_runtime::Instant as _;
use openraft::entry::RaftEntry;

use super::message::{Announcement, Call, SnapshotChunk};
use super::replica::Replica;
use super::store::lock;
use super::types::{Entry, LogId, ReplicaId, Vote};
use crate::store::Disk;

/// The furthest that a term may be above the one that is known: with an election
/// every 100 ms it takes 13 years to come so far, and whoever goes on by such
/// leaps needs 4 billion to the end.
const MAX_TERMS: u64 = 1 << 32;

/// The furthest that an index may be above the last one that is known: at a
/// million entries a second it takes 12 days to come so far, and nobody has so
/// much on a disk.
const MAX_ENTRIES: u64 = 1 << 40;

impl<D: Disk> Replica<D> {
    /// Checks a call before it is served; the error says what is wrong with it.
    pub(super) fn check(&self, from: ReplicaId, call: &Call) -> Result<(), String> {
        match call {
            Call::Append(rpc) => {
                self.check_vote(from, &rpc.vote)?;
                self.check_position(rpc.prev_log_id, &rpc.vote)?;
                self.check_position(rpc.leader_commit, &rpc.vote)?;
                let mut next = rpc.prev_log_id.map_or(0, |id| id.index.saturating_add(1));
                let applied = self.state.summary().applied.last;
                for entry in &rpc.entries {
                    check_entry(entry, next, &rpc.vote)?;
                    check_applied(entry, applied)?;
                    next = next.saturating_add(1);
                }
                Ok(())
            }
            Call::Vote(rpc) | Call::PreVote(rpc) => {
                self.check_vote(from, &rpc.vote)?;
                self.check_position(rpc.last_log_id, &rpc.vote)
            }
            Call::TransferLeader(rpc) => {
                self.check_vote(from, rpc.from_leader())?;
                self.check_position(rpc.last_log_id().copied(), rpc.from_leader())
            }
            Call::Snapshot(SnapshotChunk { vote, meta, .. }) => {
                self.check_vote(from, vote)?;
                self.check_position(meta.last_log_id, vote)
            }
            Call::Announce(announcement) => self.check_announcement(from, announcement),
            Call::Join(publication) | Call::Publish(publication) if publication.id != from => {
                // Whom a member lets in it passes on to the leader.
                match (call, self.is_member(from)) {
                    (Call::Publish(_), true) => Ok(()),
                    _ => Err(format!("replica {from} speaks for replica {}", publication.id)),
                }
            }
            Call::ReadIndex | Call::Submit { .. } | Call::Change { .. } | Call::Publish(_)
                if !self.is_member(from) =>
            {
                Err(format!("replica {from} is not a member"))
            }
            Call::ReadIndex
            | Call::Submit { .. }
            | Call::Change { .. }
            | Call::Publish(_)
            | Call::Join(_)
            | Call::Identify
            | Call::Hello
            | Call::Probe => Ok(()),
        }
    }

    /// A vote is for its sender, in a term that elections may have come to. Who is
    /// not a member by the log of this replica is heard all the same, unless it
    /// has a leader: the log may lack the entry that made it one.
    fn check_vote(&self, from: ReplicaId, vote: &Vote) -> Result<(), String> {
        let (term, for_whom) = (vote.leader_id.term, vote.leader_id.voted_for);
        if for_whom != from {
            return Err(format!("replica {from} speaks for replica {for_whom}"));
        }
        let known = lock(&self.log).vote.map_or(0, |vote| vote.leader_id.term);
        if term > known.saturating_add(MAX_TERMS) {
            return Err(format!(
                "term {term} of replica {from} is made up: {known} is the last one here"
            ));
        }
        self.check_membership(from)
    }

    fn check_membership(&self, from: ReplicaId) -> Result<(), String> {
        // The common case first: it costs the least.
        if !self.is_member(from) && self.is_led_by_another(from) {
            return Err(format!("replica {from} is not a member, and there is a leader"));
        }
        Ok(())
    }

    /// What a member announces is near what is known of it, and so are the members
    /// that it knows. Who is no member may be heard, as in [`check_vote`].
    ///
    /// [`check_vote`]: Self::check_vote
    fn check_announcement(
        &self,
        from: ReplicaId,
        announcement: &Announcement,
    ) -> Result<(), String> {
        let Announcement { generation, members } = announcement;
        {
            let log = lock(&self.log);
            if !log.generations.is_plausible(from, *generation) {
                let (count, known) = (generation.count, log.generations.of(from).count);
                return Err(format!(
                    "generation {count} of replica {from} is made up: {known} is the last one here"
                ));
            }
            if let Some(position) = members.log_id() {
                let term = log.vote.map_or(0, |vote| vote.leader_id.term);
                let last = log.last.map_or(0, |last| last.index);
                let is_far = **position.committed_leader_id() > term.saturating_add(MAX_TERMS)
                    || position.index > last.saturating_add(MAX_ENTRIES);
                if is_far {
                    return Err(format!("the members that replica {from} knows are made up"));
                }
            }
        }
        self.check_membership(from)
    }

    /// Whether another than `from` leads, and has shown so within an election
    /// time: this replica by the answers of a quorum, or to this replica.
    fn is_led_by_another(&self, from: ReplicaId) -> bool {
        let metrics = self.metrics();
        let Some(leader) = metrics.current_leader.filter(|leader| *leader != from) else {
            return false;
        };
        let silence = match leader == self.settings.id {
            true => metrics.last_quorum_acked.map(|acked| acked.into_inner().elapsed()),
            false => Some(self.lock_led_at().elapsed()),
        };
        silence.is_some_and(|silence| silence < self.settings.election.0)
    }

    /// A position in the log of a sender lies in no later term than its own, and no
    /// further ahead than logs grow.
    fn check_position(&self, position: Option<LogId>, vote: &Vote) -> Result<(), String> {
        let Some(position) = position else { return Ok(()) };
        let (term, index) = (**position.committed_leader_id(), position.index);
        if term > vote.leader_id.term {
            return Err(format!("entry {index} is of term {term}, later than its sender"));
        }
        let known = lock(&self.log).last.map_or(0, |last| last.index);
        match index > known.saturating_add(MAX_ENTRIES) {
            true => Err(format!("entry {index} is made up: {known} is the last one here")),
            false => Ok(()),
        }
    }

    /// Whether it is one, applied or in the log. Where there is no log yet,
    /// anybody may be.
    fn is_member(&self, id: ReplicaId) -> bool {
        if self.state.members().url(id).is_some() {
            return true;
        }
        let metrics = self.metrics();
        let in_log = metrics.membership_config.membership();
        in_log.get_node(&id).is_some() || in_log.nodes().next().is_none()
    }
}

/// An entry that is applied here is committed and stays what it is (§5.4.3).
fn check_applied(entry: &Entry, applied: Option<LogId>) -> Result<(), String> {
    let (index, term) = (entry.index(), **entry.log_id().committed_leader_id());
    let Some(applied) = applied else { return Ok(()) };
    let last_term = **applied.committed_leader_id();
    let contradicts = term > last_term || (index == applied.index && term != last_term);
    match index <= applied.index && contradicts {
        true => Err(format!("entry {index} of term {term} contradicts what is committed")),
        false => Ok(()),
    }
}

fn check_entry(entry: &Entry, index: u64, vote: &Vote) -> Result<(), String> {
    if entry.index() != index {
        return Err(format!("entry {} stands where {index} belongs", entry.index()));
    }
    let term = **entry.log_id().committed_leader_id();
    match term <= vote.leader_id.term {
        true => Ok(()),
        false => Err(format!("entry {index} is of term {term}, later than its leader")),
    }
}
