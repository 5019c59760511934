//! The generation of a replica's store, and those that it knows of the others.
//!
//! A store comes to its next [`Generation`] with the first vote or entry that is
//! written after it was opened, then about once a second while there are more, and
//! when it is opened again after that. The replica announces each to all others, who
//! keep the highest that they were told. So an older copy of a store is told from the
//! newest as long as somebody answers who knows a later generation.
//!
//! A store that is opened again and again without taking part stays what it is: else
//! an older copy would come past what the others know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::types::ReplicaId;
use crate::generation::Generation;

/// The furthest that a count may be above the one that is known: at one a second
/// it takes 34,000 years to come so far.
const MAX_COUNTS: u64 = 1 << 40;

/// The highest generation of each member that is known.
pub type KnownGenerations = BTreeMap<ReplicaId, Generation>;

/// The generation of a store as its disk holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// The generation.
    pub own: Generation,
    /// Whether votes or entries were written in it.
    pub took_part: bool,
}

impl Kept {
    /// What a store comes to that is opened; `tag` was drawn for this time.
    pub fn open(self, tag: u64) -> Kept {
        match self.took_part || self.own == Generation::default() {
            true => Kept { own: self.own.next(tag), took_part: false },
            false => self,
        }
    }
}

/// What a store knows of generations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplicaGenerations {
    /// Its own, which is durable.
    pub own: Generation,
    /// The highest one of each other member.
    pub known: KnownGenerations,
    /// Whether the next write that counts raises its own.
    pub is_mark_due: bool,
}

impl ReplicaGenerations {
    /// Notes generations of other members. Tells whether anything is new.
    pub fn note_all(&mut self, announced: &[(ReplicaId, Generation)]) -> bool {
        announced.iter().fold(false, |is_new, (id, one)| self.note(*id, *one) | is_new)
    }

    /// Notes what a member announces, unless it is an older copy of what is known.
    /// Tells whether that is new.
    fn note(&mut self, member: ReplicaId, announced: Generation) -> bool {
        let is_new = self.is_new(member, announced);
        if is_new {
            self.known.insert(member, announced);
        }
        is_new
    }

    /// Whether it is a later one of a member than what is known.
    pub fn is_new(&self, member: ReplicaId, announced: Generation) -> bool {
        let known = self.of(member);
        announced != known && announced.continues(known)
    }

    /// What is known of a member.
    pub fn of(&self, member: ReplicaId) -> Generation {
        self.known.get(&member).copied().unwrap_or_default()
    }

    /// Whether a member may have come to what it announces.
    pub fn is_plausible(&self, member: ReplicaId, announced: Generation) -> bool {
        announced.count <= self.of(member).count.saturating_add(MAX_COUNTS)
    }

    /// The next one of its own, if one is due. Between one start and the next the
    /// tag stays: only one history of the store can have it.
    pub fn next_mark(&mut self) -> Option<Kept> {
        let is_due = std::mem::take(&mut self.is_mark_due);
        is_due.then(|| Kept { own: self.own.next(self.own.tag), took_part: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(count: u64, tag: u64) -> Generation {
        Generation { count, tag }
    }

    #[test]
    fn what_does_not_continue_what_is_known_changes_nothing() {
        let mut generations = ReplicaGenerations::default();
        let table = [
            ((5, 1), true, (5, 1)),
            ((5, 1), false, (5, 1)),
            // A copy of before comes to the same count with another tag.
            ((5, 2), false, (5, 1)),
            ((4, 1), false, (5, 1)),
            ((6, 1), true, (6, 1)),
            ((9, 3), true, (9, 3)),
            ((6, 1), false, (9, 3)),
        ];
        for ((count, tag), is_new, known) in table {
            let announced = generation(count, tag);
            assert_eq!(generations.note(2, announced), is_new, "{announced:?}");
            assert_eq!(generations.of(2), generation(known.0, known.1), "{announced:?}");
        }
        assert_eq!(generations.of(3), Generation::default());
    }

    #[test]
    fn counts_far_above_what_is_known_are_made_up() {
        let mut generations = ReplicaGenerations::default();
        generations.note(2, generation(7, 1));
        for (count, is_plausible) in
            [(7, true), (7 + MAX_COUNTS, true), (8 + MAX_COUNTS, false), (u64::MAX, false)]
        {
            assert_eq!(generations.is_plausible(2, generation(count, 1)), is_plausible, "{count}");
        }
        assert!(!generations.is_plausible(3, generation(1 + MAX_COUNTS, 1)));
    }

    #[test]
    fn a_mark_is_made_once_and_continues_the_last_one() {
        let mut generations =
            ReplicaGenerations { own: generation(3, 8), ..ReplicaGenerations::default() };
        assert_eq!(generations.next_mark(), None);
        generations.is_mark_due = true;
        let marked = generations.next_mark().expect("one is due");
        assert_eq!(marked, Kept { own: generation(4, 8), took_part: true });
        assert!(marked.own.continues(generations.own));
        assert_eq!(generations.next_mark(), None);
    }

    #[test]
    fn a_store_that_takes_no_part_stays_what_it_is() {
        let new = Kept::default().open(5);
        assert_eq!(new, Kept { own: generation(1, 5), took_part: false });
        assert_eq!(new.open(6).open(7), new);
        let marked = Kept { own: generation(4, 5), took_part: true };
        let opened = marked.open(6);
        assert_eq!(opened, Kept { own: generation(5, 6), took_part: false });
        // An older copy does not come past what is known by starting often.
        let known = generation(6, 5);
        assert!((7..99).fold(opened, Kept::open) == opened && !opened.own.continues(known));
    }
}
