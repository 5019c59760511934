//! Is a history linearizable?
//!
//! The model of a key is [`kv::apply`](crate::kv::apply). A change raises the
//! record's modified index: by one where indices count the changes of the key,
//! and else to any higher one, which is that of the answer where it was shown.
//! A history of the key is linearizable when
//! its operations can be put in an order in which the model gives every
//! client what it saw, and which keeps real time: an operation that returned
//! before another was called comes first.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent
//! objects", 1993) with Lowe's memory of positions ("Testing for
//! linearizability", 2017): depth first, take any operation that may come
//! next and fits; a position (the set of operations taken, and the record) is
//! entered once. An operation may come next when it was called before any
//! other that is left had returned. The set is a hash that each operation
//! flips, so a step costs what is in flight, not what the history holds.
//!
//! An operation of **unknown** end may be taken at any time after its call,
//! or never, so it stays in flight for ever. Four rules keep that, and the
//! search as a whole, tractable. None of them loses a linearization:
//!
//! 1. What fits and is known to have changed nothing is taken at once.
//! 2. An unknown operation is taken only when nothing else leads on, only if
//!    it changes something, and of equal ones the first called goes first.
//! 3. If what follows an unknown operation fits, and does the same, without
//!    it, then it was in vain: an order without it does as well. An order
//!    with the fewest unknown operations has none in vain, and any way to a
//!    position of such an order can be continued as that order does, so the
//!    memory of positions stays right. In particular a write that nobody saw
//!    is left out where indices are not compared.
//! 4. A position is a dead end when an operation that is left saw an index
//!    that is past, or another record at the present index, or a value that
//!    is past and that nobody who is left may write again.
//!
//! What stays hard: many operations in flight at once whose answers showed
//! neither a verdict nor what they found. Then the search gives up and says
//! so; it never guesses.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use super::history::{History, IndexOrder, Operation};
use super::indices::find_clash;
use super::moves::{Move, Position};
use crate::kv::{Key, Record};

/// After this many positions of one key the search is given up.
const MAX_POSITIONS: usize = 1_000_000;

/// How many operations of the prefix a report shows.
const SHOWN: usize = 16;

/// No order of the operations explains what the clients saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The key.
    pub key: Key,
    /// How many operations with a known outcome the longest linearizable
    /// prefix holds.
    pub linearized: usize,
    /// Of how many.
    pub total: usize,
    /// The last operations of that prefix, in order.
    pub prefix: Vec<String>,
    /// The record that it leads to.
    pub state: Record,
    /// The operations that would have to come next, none of which can, with
    /// what the model would have answered.
    pub stuck: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { key, linearized, total, .. } = self;
        writeln!(f, "key {key}: not linearizable; {linearized} of {total} operations fit, last")?;
        self.prefix.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        let Record { value, created_index, modified_index } = &self.state;
        writeln!(
            f,
            "  then the record is {value:?}, created {created_index}, modified {modified_index}, and none of these leads on:"
        )?;
        self.stuck.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// Why a history was not found linearizable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckError {
    /// It is not.
    #[error("{0}")]
    NotLinearizable(Box<Violation>),
    /// It is not, as the modified indices in two answers already show.
    #[error(
        "key {key}: not linearizable; an index is of one record and one change:\n    {one}\n    {other}"
    )]
    Clash {
        /// The key.
        key: Key,
        /// An operation.
        one: String,
        /// Another that cannot be true beside it.
        other: String,
    },
    /// The search was given up.
    #[error("key {key}: no answer after {positions} positions; too many operations at once")]
    GaveUp {
        /// The key.
        key: Key,
        /// How many positions were entered.
        positions: usize,
    },
}

/// Checks every key of the history of a server that numbers the changes of
/// each key by itself.
pub fn check(history: &History) -> Result<(), CheckError> {
    check_numbered(history, IndexOrder::PerKey)
}

/// Checks every key of the history of a server that numbers changes so.
pub fn check_numbered(history: &History, order: IndexOrder) -> Result<(), CheckError> {
    let keys = history.by_key();
    keys.into_iter().try_for_each(|(key, operations)| check_key(key, &operations, order))
}

/// A position on the way, and what is left to try there.
struct Frame {
    /// How the search came here: the operation and the record before it.
    came_by: Option<(usize, Record)>,
    /// In the opposite order.
    moves: Vec<Move>,
    has_tried_unknown: bool,
}

struct Search<'a> {
    position: Position<'a>,
    frames: Vec<Frame>,
    entered: HashSet<u128>,
    best: Option<Violation>,
}

fn check_key(key: &Key, operations: &[&Operation], order: IndexOrder) -> Result<(), CheckError> {
    if let Some((one, other)) = find_clash(operations) {
        let (key, one, other) = (key.clone(), one.to_string(), other.to_string());
        return Err(CheckError::Clash { key, one, other });
    }
    let position = Position::start(operations, order);
    let total = position.open_count();
    let mut search = Search { position, frames: Vec::new(), entered: HashSet::new(), best: None };
    search.enter(None, false);
    while search.position.open_count() > 0 {
        if search.entered.len() > MAX_POSITIONS {
            return Err(CheckError::GaveUp { key: key.clone(), positions: MAX_POSITIONS });
        }
        match search.next_move() {
            Some(next) => search.follow(next),
            None => {
                search.note_best(key, total);
                if !search.leave() {
                    let best = search.best.expect("it was just noted");
                    return Err(CheckError::NotLinearizable(Box::new(best)));
                }
            }
        }
    }
    Ok(())
}

impl Search<'_> {
    fn enter(&mut self, came_by: Option<(usize, Record)>, is_dead_end: bool) {
        let mut moves = if is_dead_end { Vec::new() } else { self.position.moves() };
        moves.reverse();
        self.frames.push(Frame { came_by, moves, has_tried_unknown: is_dead_end });
    }

    /// What to try next from the present position.
    fn next_move(&mut self) -> Option<Move> {
        let frame = self.frames.last_mut().expect("the start stays");
        if frame.moves.is_empty() && !frame.has_tried_unknown {
            frame.has_tried_unknown = true;
            frame.moves = self.position.moves_of_unknown();
            frame.moves.reverse();
        }
        frame.moves.pop()
    }

    /// Makes a move unless it leads nowhere or to a position already entered.
    fn follow(&mut self, next: Move) {
        let frame = self.frames.last_mut().expect("the start stays");
        if let Some((task, earlier)) = &frame.came_by
            && self.position.is_unknown(*task)
            && self.position.is_in_vain_since(earlier, &next)
        {
            return;
        }
        let before = self.position.take(&next);
        if self.position.changes_nothing(next.task) {
            // Rule 1: there is no need to come back to try something else.
            frame.moves.clear();
            frame.has_tried_unknown = true;
        } else if !self.entered.insert(self.position.hash()) {
            self.position.put_back(next.task, before);
            return;
        }
        let is_dead_end = self.position.is_dead_end_after(&before);
        self.enter(Some((next.task, before)), is_dead_end);
    }

    /// Goes one move back; false at the start.
    fn leave(&mut self) -> bool {
        let frame = self.frames.pop().expect("the start stays");
        let Some((task, before)) = frame.came_by else { return false };
        self.position.put_back(task, before);
        true
    }

    /// Remembers the present position if no other had as much in order.
    fn note_best(&mut self, key: &Key, total: usize) {
        let linearized = total - self.position.open_count();
        if self.best.as_ref().is_some_and(|best| best.linearized >= linearized) {
            return;
        }
        let path = self.frames.iter().rev().map_while(|frame| frame.came_by.as_ref());
        let mut prefix = VecDeque::new();
        for (task, _) in path.take(SHOWN) {
            prefix.push_front(self.position.operation(*task).to_string());
        }
        let stuck = self.position.candidates().map(|task| {
            let outcome = self.position.outcome_on(&self.position.state, task);
            let model = super::Observation::from(&outcome);
            format!("{}; the model answers {model}", self.position.operation(task))
        });
        self.best = Some(Violation {
            key: key.clone(),
            linearized,
            total,
            prefix: prefix.into(),
            state: self.position.state.clone(),
            stuck: stuck.collect(),
        });
    }
}

#[cfg(test)]
#[path = "linearizability_tests.rs"]
mod tests;
