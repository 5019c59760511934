//! What another replica cannot honestly say. It is refused before anything is
//! changed: one message that is taken for the word of a leader of the last term
//! there is would end all elections.

use openraft::entry::RaftEntry;

use super::message::{Call, SnapshotChunk};
use super::replica::Replica;
use super::store::lock;
use super::types::{Entry, ReplicaId, Vote};
use crate::store::Disk;

/// The furthest that a term may be above the one that is known: with an election
/// every 100 ms it takes 13 years to come so far, and whoever goes on by such
/// leaps needs 4 billion to the end.
const MAX_TERMS: u64 = 1 << 32;

impl<D: Disk> Replica<D> {
    /// Checks a call before it is served; the error says what is wrong with it.
    pub(super) fn check(&self, from: ReplicaId, call: &Call) -> Result<(), String> {
        match call {
            Call::Append(rpc) => {
                self.check_vote(from, &rpc.vote)?;
                let mut next = rpc.prev_log_id.map_or(0, |id| id.index.saturating_add(1));
                for entry in &rpc.entries {
                    check_entry(entry, next, &rpc.vote)?;
                    next = next.saturating_add(1);
                }
                Ok(())
            }
            Call::Vote(rpc) | Call::PreVote(rpc) => self.check_vote(from, &rpc.vote),
            Call::TransferLeader(rpc) => self.check_vote(from, rpc.from_leader()),
            Call::Snapshot(SnapshotChunk { vote, .. }) => self.check_vote(from, vote),
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
        let is_led = self.lock_led_at().elapsed() < self.settings.election.0;
        if is_led && self.leader().is_some_and(|leader| leader != from) && !self.is_member(from) {
            return Err(format!("replica {from} is not a member, and there is a leader"));
        }
        Ok(())
    }

    /// Whether it is one, applied or in the log. Where there is no log yet,
    /// anybody may be.
    fn is_member(&self, id: ReplicaId) -> bool {
        let metrics = self.metrics();
        let in_log = metrics.membership_config.membership();
        self.state.members().url(id).is_some()
            || in_log.get_node(&id).is_some()
            || in_log.nodes().next().is_none()
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
