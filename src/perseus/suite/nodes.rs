//! Which nodes the clients may ask.

use std::cell::Cell;

use rand::Rng;
use rand::rngs::SmallRng;

/// The nodes, by number, of which at most one is dead.
#[derive(Debug)]
pub(super) struct Nodes {
    count: usize,
    dead: Cell<Option<usize>>,
}

impl Nodes {
    /// So many, at least one, all alive.
    pub(super) fn new(count: usize) -> Nodes {
        assert!(count > 0, "a suite needs a node");
        Nodes { count, dead: Cell::new(None) }
    }

    /// Tells which one is dead from now on.
    pub(super) fn set_dead(&self, dead: Option<usize>) {
        assert!(dead.is_none() || self.count > 1, "one node stays alive");
        self.dead.set(dead);
    }

    /// The living, in order.
    pub(super) fn living(&self) -> impl Iterator<Item = usize> {
        let dead = self.dead.get();
        (0..self.count).filter(move |node| Some(*node) != dead)
    }

    /// A random living one.
    pub(super) fn any(&self, random: &mut SmallRng) -> usize {
        self.after(random.random_range(0..self.count))
    }

    /// The next living one after this.
    pub(super) fn after(&self, node: usize) -> usize {
        let next = (node + 1) % self.count;
        match self.dead.get() {
            Some(dead) if dead == next => (next + 1) % self.count,
            Some(_) | None => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_dead_are_not_asked() {
        let nodes = Nodes::new(3);
        assert_eq!([0, 1, 2].map(|node| nodes.after(node)), [1, 2, 0]);
        nodes.set_dead(Some(1));
        assert_eq!([0, 1, 2].map(|node| nodes.after(node)), [2, 2, 0]);
        assert_eq!(nodes.living().collect::<Vec<_>>(), [0, 2]);
        let mut random = SmallRng::seed_from_u64(1);
        assert!((0..100).all(|_| nodes.any(&mut random) != 1));
        nodes.set_dead(None);
        assert!((0..100).any(|_| nodes.any(&mut random) == 1));
    }
}
