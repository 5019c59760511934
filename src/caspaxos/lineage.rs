//! Which changes a value descends from, so that a proposer whose accept was
//! refused can find out whether its change took effect.
//!
//! A refused accept is not a failed one: one acceptor may have taken the
//! value, and another proposer may have picked it up and built on it. Rule 8
//! forbids to apply the command again on a guess. So each change leaves
//! its version and ballot in the value, and whoever reads the value later can
//! tell, for a change that it once tried:
//!
//! - **included**: the value descends from it. It took effect, once.
//! - **excluded**: the value descends from another change of that version, or
//!   is not that far. A value built on this one holds the change zero times
//!   before and, if it is applied now, exactly once after.
//! - **forgotten**: too many others have changed it since; nobody can tell.
//!
//! Why applying again after *excluded* is safe although the old attempt may
//! still sit on a minority: every value anybody ever proposes descends from
//! at most one of the attempts, and only one line of descent is ever chosen.
//!
//! Of each proposer the last change is kept. It works on one change of a key at
//! a time and never builds on a change of its own that it has not settled
//! without naming the newer one as an attempt too, so its last change is all
//! that it will ask for, however many turns others have taken since.

use serde::{Deserialize, Serialize};

use super::Ballot;

/// One change of a register: its version, and the ballot it was made under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// One more than the version of the value that was changed.
    pub version: u64,
    /// The ballot under which it was proposed.
    pub ballot: Ballot,
}

/// What a value tells of a change that was tried earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The value descends from it.
    Included,
    /// The value does not.
    Excluded,
    /// The lineage does not reach back that far.
    Forgotten,
}

/// The newest changes that a value descends from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// Changes up to this version are no longer told apart.
    forgotten: u64,
    /// The last change of each proposer, oldest first.
    last_changes: Vec<Change>,
}

impl Lineage {
    /// How many changes are kept, each of another proposer or another life of
    /// one. So many may take their turns on a key between a refused accept and
    /// the next look at the register.
    pub const MAX_CHANGES: usize = 16;

    /// The number of changes that the value descends from.
    pub fn version(&self) -> u64 {
        self.last_changes.last().map_or(self.forgotten, |change| change.version)
    }

    /// The lineage of a value that is changed once more under `ballot`.
    pub fn extended(&self, ballot: Ballot) -> Lineage {
        let mut lineage = self.clone();
        let version = self.version() + 1;
        lineage.last_changes.retain(|change| !change.ballot.same_author(&ballot));
        lineage.last_changes.push(Change { version, ballot });
        if lineage.last_changes.len() > Self::MAX_CHANGES {
            lineage.forgotten = lineage.last_changes.remove(0).version;
        }
        lineage
    }

    /// The newest change, if any is known.
    pub fn last(&self) -> Option<Change> {
        self.last_changes.last().copied()
    }

    /// Whether the value descends from `change`.
    pub fn fate_of(&self, change: Change) -> Fate {
        if self.last_changes.contains(&change) {
            Fate::Included
        } else if change.version <= self.forgotten {
            Fate::Forgotten
        } else {
            Fate::Excluded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(counter: u64, proposer: &str) -> Ballot {
        Ballot { counter, proposer: proposer.parse().unwrap(), ..Ballot::ZERO }
    }

    #[test]
    fn each_proposer_takes_one_entry() {
        let mut lineage = Lineage::default();
        for counter in 1..=1000 {
            lineage = lineage.extended(ballot(counter, &format!("p{}", 1 + counter % 3)));
        }
        assert_eq!((lineage.version(), lineage.last_changes.len()), (1000, 3));
    }

    #[test]
    fn fates_of_changes() {
        let base = Lineage::default().extended(ballot(1, "p1")).extended(ballot(2, "p2"));
        let mine = base.extended(ballot(3, "p1"));
        let change = mine.last().unwrap();
        assert_eq!(mine.fate_of(change), Fate::Included);
        assert_eq!(mine.extended(ballot(4, "p2")).fate_of(change), Fate::Included);
        assert_eq!(base.fate_of(change), Fate::Excluded);
        assert_eq!(base.extended(ballot(4, "p2")).fate_of(change), Fate::Excluded);
        let mut turns = base.clone();
        for counter in 4..1000 {
            let author = if counter % 2 == 0 { "p2" } else { "p3" };
            turns = turns.extended(ballot(counter, author));
        }
        assert_eq!(turns.fate_of(change), Fate::Excluded, "whatever others do");
        for counter in 0..Lineage::MAX_CHANGES as u64 + 1 {
            turns = turns.extended(ballot(1000 + counter, &format!("q{counter}")));
        }
        assert_eq!(turns.last_changes.len(), Lineage::MAX_CHANGES);
        assert_eq!(turns.fate_of(change), Fate::Forgotten);
    }
}
