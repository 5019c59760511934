//! What must be true at every step, whatever happens: one promise a type.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use gryadka::kv::{Key, Outcome, Record};
use gryadka::raft::{Entry, ReplicaId, StateHash};
use gryadka::store::encode;

/// Writes down what a thing was first, and what contradicts it later.
fn agree<K: Ord + Copy, V: PartialEq + Clone>(
    known: &mut BTreeMap<K, V>,
    key: K,
    value: &V,
) -> Result<bool, V> {
    match known.entry(key) {
        Slot::Vacant(slot) => {
            slot.insert(value.clone());
            Ok(true)
        }
        Slot::Occupied(slot) if slot.get() == value => Ok(false),
        Slot::Occupied(slot) => Err(slot.get().clone()),
    }
}

/// "At most one leader can be elected in a given term" (§5.2).
#[derive(Default)]
pub struct OneLeaderATerm(BTreeMap<u64, ReplicaId>);

impl OneLeaderATerm {
    /// Tells whether the term is new.
    pub fn leads(&mut self, term: u64, id: ReplicaId) -> Result<bool, String> {
        agree(&mut self.0, term, &id)
            .map_err(|other| format!("replicas {other} and {id} both lead term {term}"))
    }
}

/// "Each server will vote for at most one candidate in a given term" (§5.2).
#[derive(Default)]
pub struct OneVoteATerm(BTreeMap<(ReplicaId, u64), ReplicaId>);

impl OneVoteATerm {
    pub fn votes(&mut self, voter: ReplicaId, term: u64, on: ReplicaId) -> Result<(), String> {
        match agree(&mut self.0, (voter, term), &on) {
            Ok(_) => Ok(()),
            Err(other) => {
                Err(format!("replica {voter} votes for {other} and for {on} in term {term}"))
            }
        }
    }
}

/// "If a server has applied a log entry at a given index, no other server will
/// ever apply a different log entry for the same index" (§5.4.3).
#[derive(Default)]
pub struct EntriesNeverChange(BTreeMap<u64, Vec<u8>>);

impl EntriesNeverChange {
    pub fn applies(&mut self, id: ReplicaId, entry: &Entry) -> Result<(), String> {
        let index = entry.log_id.index;
        let known = agree(&mut self.0, index, &encode(entry));
        known.map(drop).map_err(|_| {
            format!("replica {id} applies {entry} though entry {index} was another one before")
        })
    }
}

/// Replicas that have applied the same entries hold the same records.
#[derive(Default)]
pub struct StatesAgree(BTreeMap<Option<u64>, StateHash>);

impl StatesAgree {
    pub fn holds(&mut self, id: ReplicaId, state: &StateHash) -> Result<(), String> {
        agree(&mut self.0, state.applied.index(), state).map(drop).map_err(|other| {
            format!("replica {id} holds {state:?} where another one held {other:?}")
        })
    }
}

/// A modified index is that of one change, over all keys.
#[derive(Default)]
pub struct IndicesAreUnique(BTreeMap<u64, (Key, Record)>);

impl IndicesAreUnique {
    pub fn shows(&mut self, key: &Key, outcome: &Outcome) -> Result<(), String> {
        for record in [&outcome.before, &outcome.after] {
            if !record.is_live() {
                continue;
            }
            let shown = (key.clone(), record.clone());
            if let Err(other) = agree(&mut self.0, record.modified_index, &shown) {
                return Err(format!(
                    "index {} shows {shown:?} and {other:?}",
                    record.modified_index
                ));
            }
        }
        Ok(())
    }
}

/// Leaders do not follow one another without anything being done meanwhile.
#[derive(Default)]
pub struct LeadersMakeProgress {
    applied: u64,
    leaders: u64,
}

impl LeadersMakeProgress {
    /// So many may, since clients are slow and crashes come in turn.
    const MAX_LEADERS: u64 = 10;

    pub fn leads(&mut self) -> Result<(), String> {
        self.leaders += 1;
        match self.leaders > Self::MAX_LEADERS {
            true => Err(format!("{} leaders without progress in between", self.leaders)),
            false => Ok(()),
        }
    }

    pub fn applies(&mut self, index: u64) {
        if index > self.applied {
            (self.applied, self.leaders) = (index, 0);
        }
    }
}

/// All of them.
#[derive(Default)]
pub struct Invariants {
    pub one_leader_a_term: OneLeaderATerm,
    pub one_vote_a_term: OneVoteATerm,
    pub entries_never_change: EntriesNeverChange,
    pub states_agree: StatesAgree,
    pub indices_are_unique: IndicesAreUnique,
    pub leaders_make_progress: LeadersMakeProgress,
}
