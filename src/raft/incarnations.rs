//! The incarnation of a replica's store, and those that it knows of the others.
//!
//! A store is raised to its next [`Incarnation`] each time that it is opened, and
//! about once a second while the replica votes or takes entries. The replica
//! announces each to all others, who keep the highest that they were told. So an
//! older copy of a store is told from the newest as long as somebody answers who
//! knows a later incarnation.

use std::collections::BTreeMap;

use super::types::ReplicaId;
use crate::identity::Incarnation;

/// The furthest that a count may be above the one that is known: at one a second
/// it takes 34,000 years to come so far.
const MAX_COUNTS: u64 = 1 << 40;

/// The highest incarnation of each member that is known.
pub type KnownIncarnations = BTreeMap<ReplicaId, Incarnation>;

/// What a store knows of incarnations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Incarnations {
    /// Its own, which is durable.
    pub own: Incarnation,
    /// The highest one of each other member.
    pub known: KnownIncarnations,
    /// Whether the next write that counts raises its own.
    pub is_mark_due: bool,
}

impl Incarnations {
    /// Notes incarnations of other members. Tells whether anything is new.
    pub fn note_all(&mut self, announced: &[(ReplicaId, Incarnation)]) -> bool {
        announced.iter().fold(false, |is_new, (id, one)| self.note(*id, *one) | is_new)
    }

    /// Notes what a member announces, unless it is an older copy of what is known.
    /// Tells whether that is new.
    fn note(&mut self, member: ReplicaId, announced: Incarnation) -> bool {
        let is_new = self.is_new(member, announced);
        if is_new {
            self.known.insert(member, announced);
        }
        is_new
    }

    /// Whether it is a later one of a member than what is known.
    pub fn is_new(&self, member: ReplicaId, announced: Incarnation) -> bool {
        let known = self.of(member);
        announced != known && announced.continues(known)
    }

    /// What is known of a member.
    pub fn of(&self, member: ReplicaId) -> Incarnation {
        self.known.get(&member).copied().unwrap_or_default()
    }

    /// Whether a member may have come to what it announces.
    pub fn is_plausible(&self, member: ReplicaId, announced: Incarnation) -> bool {
        announced.count <= self.of(member).count.saturating_add(MAX_COUNTS)
    }

    /// The next one of its own, if one is due. Between one start and the next the
    /// tag stays: only one history of the store can have it.
    pub fn next_mark(&mut self) -> Option<Incarnation> {
        let is_due = std::mem::take(&mut self.is_mark_due);
        is_due.then(|| self.own.next(self.own.tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(count: u64, tag: u64) -> Incarnation {
        Incarnation { count, tag }
    }

    #[test]
    fn what_does_not_continue_what_is_known_changes_nothing() {
        let mut incarnations = Incarnations::default();
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
            let announced = incarnation(count, tag);
            assert_eq!(incarnations.note(2, announced), is_new, "{announced:?}");
            assert_eq!(incarnations.of(2), incarnation(known.0, known.1), "{announced:?}");
        }
        assert_eq!(incarnations.of(3), Incarnation::default());
    }

    #[test]
    fn counts_far_above_what_is_known_are_made_up() {
        let mut incarnations = Incarnations::default();
        incarnations.note(2, incarnation(7, 1));
        for (count, is_plausible) in
            [(7, true), (7 + MAX_COUNTS, true), (8 + MAX_COUNTS, false), (u64::MAX, false)]
        {
            assert_eq!(
                incarnations.is_plausible(2, incarnation(count, 1)),
                is_plausible,
                "{count}"
            );
        }
        assert!(!incarnations.is_plausible(3, incarnation(1 + MAX_COUNTS, 1)));
    }

    #[test]
    fn a_mark_is_made_once_and_continues_the_last_one() {
        let mut incarnations = Incarnations { own: incarnation(3, 8), ..Incarnations::default() };
        assert_eq!(incarnations.next_mark(), None);
        incarnations.is_mark_due = true;
        let marked = incarnations.next_mark().expect("one is due");
        assert_eq!(marked, incarnation(4, 8));
        assert!(marked.continues(incarnations.own));
        assert_eq!(incarnations.next_mark(), None);
    }
}
