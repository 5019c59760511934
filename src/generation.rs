//! How a member's store is told from an old copy of it that was put back.
//!
//! Such a copy lacks what was written since it was made, and that may have been
//! acknowledged: the member must not vote with it. The store alone cannot tell.
//! So it counts its **generations**: each time that it is opened it begins one,
//! with a random tag, of which the other members take note before it serves. A
//! copy counts on from where it was when it was made. It comes to a count that
//! the others know under another tag, and they refute it.
//!
//! A generation that was begun and never served is begun again under the same
//! count: else a copy would only have to be opened often enough to count further
//! than the others know. An acceptor begins it under another tag, since it is
//! confirmed by others, and a confirmation from before may still be on its way.
//! The tags that were tried for that count are kept, since some of the others may
//! have taken note of one.

use serde::{Deserialize, Serialize};

/// A generation of a store.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Generation {
    /// Which one; the first is 1.
    pub count: u64,
    /// Drawn when it was begun.
    pub tag: u64,
}

impl Generation {
    /// The next one.
    pub fn next(self, tag: u64) -> Generation {
        Generation { count: self.count + 1, tag }
    }

    /// Whether a store of this generation has all that the store had in the
    /// generation that is `known`; if not, it is an old copy.
    pub fn continues(self, known: Generation) -> bool {
        self.count > known.count || self == known
    }
}

/// What an acceptor's store keeps of its generations, durable like all that it holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Generations {
    current: Generation,
    /// Whether the store serves in the current one.
    serves: bool,
    /// The tags under which the current one was begun before.
    tried: Vec<u64>,
}

/// What a store tells of itself, for others to take note of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Claim {
    /// Its generation.
    pub generation: Generation,
    /// Other tags of the same count, under which it never served.
    pub tried: Vec<u64>,
}

impl Claim {
    /// The most tags that are kept.
    pub const MAX_TRIED: usize = 256;

    /// Whether the store has all that it had when its generation was `known`. If
    /// not, it is an old copy.
    pub fn continues(&self, known: Generation) -> bool {
        let Claim { generation, tried } = self;
        let is_tried = generation.count == known.count && tried.contains(&known.tag);
        is_tried || generation.continues(known)
    }
}

impl Generations {
    /// The current one.
    pub fn current(&self) -> Generation {
        self.current
    }

    /// Whether the store serves.
    pub fn serves(&self) -> bool {
        self.serves
    }

    /// What others take note of.
    pub fn claim(&self) -> Claim {
        Claim { generation: self.current, tried: self.tried.clone() }
    }

    /// The store was opened. It must not serve until the others have taken note of
    /// its claim.
    pub fn open(&mut self, tag: u64) {
        if self.serves || self.current.count == 0 {
            self.current.count += 1;
            self.tried.clear();
        } else {
            if self.tried.len() == Claim::MAX_TRIED {
                self.tried.remove(0);
            }
            self.tried.push(self.current.tag);
        }
        (self.current.tag, self.serves) = (tag, false);
    }

    /// The others have taken note: it serves, in the next generation, since a copy
    /// may have been made of this one before. To be durable before it does, and of
    /// the new one the others take note soon.
    pub fn serve(&mut self, tag: u64) {
        self.serves = true;
        self.tried.clear();
        self.mark(tag);
    }

    /// Begins the next generation while the store serves, so that copies that were
    /// made until then are told from it once the others have taken note.
    pub fn mark(&mut self, tag: u64) {
        self.current = self.current.next(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(mut generations: Generations, tag: u64) -> Generations {
        generations.open(tag);
        generations
    }

    fn serving(generations: Generations, tag: u64) -> Generations {
        let mut generations = opened(generations, tag);
        generations.serve(100 * tag);
        generations
    }

    #[test]
    fn a_store_that_is_opened_again_continues_what_is_known_of_it() {
        let first = serving(Generations::default(), 1);
        assert_eq!(first.current(), Generation { count: 2, tag: 100 });
        let known = first.current();
        assert!(first.claim().continues(known));
        let second = opened(first, 2);
        assert!(!second.serves() && second.claim().continues(known));
        // It ended before it served, when some knew of it and some did not.
        let again = opened(second.clone(), 3);
        assert_eq!(again.current(), Generation { count: 3, tag: 3 });
        assert!(again.claim().continues(known) && again.claim().continues(second.current()));
        let mut serves = serving(again, 4);
        let known = serves.current();
        serves.mark(5);
        assert_eq!(serves.current(), Generation { count: 5, tag: 5 });
        assert!(serves.claim().continues(known));
    }

    #[test]
    fn an_old_copy_does_not_however_often_it_is_opened() {
        let copy = serving(Generations::default(), 1);
        let known = serving(copy.clone(), 2).current();
        let mut old = copy;
        for tag in 10..1000 {
            old = opened(old, tag);
            assert!(!old.claim().continues(known), "{tag}");
        }
        assert_eq!(old.claim().tried.len(), Claim::MAX_TRIED);
    }

    #[test]
    fn a_copy_of_a_store_in_use_is_old_from_the_next_mark_on() {
        let mut store = serving(Generations::default(), 1);
        let copy = store.clone();
        store.mark(2);
        assert!(!opened(copy, 3).claim().continues(store.current()));
    }

    #[test]
    fn a_copy_from_before_a_store_served_is_old() {
        let mut store = opened(serving(Generations::default(), 1), 2);
        let copy = store.clone();
        store.serve(3);
        assert!(!opened(copy, 4).claim().continues(store.current()));
    }
}
