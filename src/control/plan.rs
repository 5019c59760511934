//! Whole changes of the acceptors, as one safe step after the other.
//!
//! [`next`] is a function from the configuration in force to the next step. It
//! keeps nothing: an operation that was interrupted goes on when it is asked
//! again, whoever did the steps so far.
//!
//! Between two settled configurations stands at most one other shape: an odd
//! prepare list, and the accept list with one acceptor more. From there the
//! one more can be taken in or taken out.
//!
//! ```text
//! odd  -> even   accept list + X, quorum n/2+1; rescan; prepare list + X, same quorum
//! even -> odd    both lists + X, quorum of the odd size; rescan
//! odd  -> even   both lists - X, quorum of the even size; rescan
//! even -> odd    prepare list - X, smaller quorum; accept list - X, same quorum; rescan
//! ```
//!
//! A rescan goes before anything else whenever the configuration asks for one.

use crate::caspaxos::{AcceptorId, Epoch, Quorum};

/// The most acceptors of a cluster.
pub const MAX_ACCEPTORS: usize = 7;

/// The configuration in force, as far as a plan depends on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lists {
    /// Its version.
    pub epoch: Epoch,
    /// Who promises.
    pub prepare: Quorum,
    /// Who accepts.
    pub accept: Quorum,
    /// Whether values may be held by quorums of an earlier configuration only.
    pub rescan_needed: bool,
}

impl Lists {
    /// True when the acceptor is in either list.
    pub fn has(&self, id: &AcceptorId) -> bool {
        self.prepare.acceptors.contains(id) || self.accept.acceptors.contains(id)
    }
}

/// What an operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// One acceptor more.
    Grow(AcceptorId),
    /// One acceptor less.
    Shrink(AcceptorId),
    /// Another acceptor in its place.
    Replace {
        /// The one that goes.
        old: AcceptorId,
        /// The one that comes.
        new: AcceptorId,
    },
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing: it is done.
    Done,
    /// Every key is to be rescanned.
    Rescan,
    /// A step to these lists.
    Step(Step),
}

/// The lists that a step leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Who is to promise.
    pub prepare: Quorum,
    /// Who is to accept.
    pub accept: Quorum,
}

/// Why an operation is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Another acceptor is in the accept list alone.
    #[error(
        "a change of {0} is under way; finish it first, with \
         `gryadkactl acceptors grow` or `shrink` of {0}"
    )]
    UnderWay(AcceptorId),
    /// The lists are none that this tool makes.
    #[error(
        "the prepare list ({prepare}) and the accept list ({accept}) differ by more than one \
         acceptor more that accepts; bring them together with add-accept, rm-accept, add-prepare \
         or rm-prepare first"
    )]
    UnknownShape {
        /// The prepare list.
        prepare: String,
        /// The accept list.
        accept: String,
    },
    /// A quorum is not a majority.
    #[error(
        "the {phase} quorum is {size} of {count} acceptors, and only majorities ({majority}) are \
         grown and shrunk; set it first with add-{phase}"
    )]
    NoMajority {
        /// `prepare` or `accept`.
        phase: &'static str,
        /// The quorum.
        size: usize,
        /// The acceptors of the list.
        count: usize,
        /// What it should be.
        majority: usize,
    },
    /// There would be too many.
    #[error("there are {MAX_ACCEPTORS} acceptors already; more only make it slower; shrink first")]
    TooMany,
    /// None would be left.
    #[error("{0} is the last acceptor; grow by another one first, or replace it")]
    Last(AcceptorId),
    /// The one to be replaced is not there.
    #[error("{old} is in neither list, so it cannot be replaced; to add {new}, grow by it")]
    NoMember {
        /// Who is not there.
        old: AcceptorId,
        /// Who was to come.
        new: AcceptorId,
    },
    /// By itself.
    #[error("{0} cannot replace itself; shrink, wipe and grow it instead")]
    ByItself(AcceptorId),
}

/// A majority of so many.
pub fn majority(count: usize) -> usize {
    count / 2 + 1
}

/// What is to be done next for an operation.
pub fn next(lists: &Lists, operation: &Operation) -> Result<Next, Refusal> {
    let shape = Shape::of(lists)?;
    let wanted = operation.decide(&shape)?;
    if lists.rescan_needed {
        return Ok(Next::Rescan);
    }
    Ok(wanted.map_or(Next::Done, |wanted| Next::Step(shape.step(wanted))))
}

/// How the lists stand to each other.
enum Shape<'a> {
    /// Both hold the same acceptors.
    Settled(&'a [AcceptorId]),
    /// The accept list holds one more.
    Between { fewer: &'a [AcceptorId], more: &'a [AcceptorId], extra: &'a AcceptorId },
}

enum Wanted {
    With(AcceptorId),
    Without(AcceptorId),
}

impl<'a> Shape<'a> {
    fn of(lists: &'a Lists) -> Result<Self, Refusal> {
        let (prepare, accept) = (&lists.prepare.acceptors, &lists.accept.acceptors);
        for (phase, quorum) in [("prepare", &lists.prepare), ("accept", &lists.accept)] {
            let (size, count) = (quorum.size, quorum.acceptors.len());
            let majority = majority(count);
            if size != majority {
                return Err(Refusal::NoMajority { phase, size, count, majority });
            }
        }
        let extra: Vec<&AcceptorId> = accept.iter().filter(|id| !prepare.contains(id)).collect();
        let is_within = prepare.iter().all(|id| accept.contains(id));
        match extra[..] {
            [] if is_within => Ok(Shape::Settled(prepare)),
            [extra] if is_within && prepare.len() % 2 == 1 => {
                Ok(Shape::Between { fewer: prepare, more: accept, extra })
            }
            _ => Err(Refusal::UnknownShape { prepare: listed(prepare), accept: listed(accept) }),
        }
    }

    fn step(&self, wanted: Wanted) -> Step {
        match (self, wanted) {
            (Shape::Settled(all), Wanted::With(id)) => {
                let more = [all, &[id][..]].concat();
                match all.len() % 2 {
                    1 => Step { prepare: majority_of(all), accept: majority_of(&more) },
                    _ => both(&more),
                }
            }
            (Shape::Settled(all), Wanted::Without(id)) => {
                let fewer: Vec<_> = all.iter().filter(|other| **other != id).cloned().collect();
                match all.len() % 2 {
                    1 => both(&fewer),
                    _ => Step { prepare: majority_of(&fewer), accept: majority_of(all) },
                }
            }
            (Shape::Between { more, .. }, Wanted::With(_)) => both(more),
            (Shape::Between { fewer, .. }, Wanted::Without(_)) => both(fewer),
        }
    }
}

fn both(acceptors: &[AcceptorId]) -> Step {
    Step { prepare: majority_of(acceptors), accept: majority_of(acceptors) }
}

fn majority_of(acceptors: &[AcceptorId]) -> Quorum {
    Quorum { acceptors: acceptors.to_vec(), size: majority(acceptors.len()) }
}

/// The names of acceptors, as people write them.
pub fn listed(acceptors: &[AcceptorId]) -> String {
    let names: Vec<String> = acceptors.iter().map(ToString::to_string).collect();
    names.join(",")
}

impl Operation {
    /// The change of the shape that is wanted next; `None` when it has come.
    fn decide(&self, shape: &Shape) -> Result<Option<Wanted>, Refusal> {
        match self {
            Operation::Grow(id) => match shape {
                Shape::Settled(all) if all.contains(id) => Ok(None),
                Shape::Settled(all) if all.len() >= MAX_ACCEPTORS => Err(Refusal::TooMany),
                Shape::Settled(_) => Ok(Some(Wanted::With(id.clone()))),
                Shape::Between { extra, .. } if *extra == id => Ok(Some(Wanted::With(id.clone()))),
                Shape::Between { extra, .. } => Err(Refusal::UnderWay((*extra).clone())),
            },
            Operation::Shrink(id) => match shape {
                Shape::Settled(all) if !all.contains(id) => Ok(None),
                Shape::Settled([last]) => Err(Refusal::Last(last.clone())),
                Shape::Settled(_) => Ok(Some(Wanted::Without(id.clone()))),
                Shape::Between { extra, .. } if *extra == id => {
                    Ok(Some(Wanted::Without(id.clone())))
                }
                Shape::Between { extra, .. } => Err(Refusal::UnderWay((*extra).clone())),
            },
            Operation::Replace { old, new } if old == new => Err(Refusal::ByItself(old.clone())),
            Operation::Replace { old, new } => replace(shape, old, new),
        }
    }
}

/// The new one comes before the old one goes, unless there is no room for it.
fn replace(shape: &Shape, old: &AcceptorId, new: &AcceptorId) -> Result<Option<Wanted>, Refusal> {
    let with = || Ok(Some(Wanted::With(new.clone())));
    let without = || Ok(Some(Wanted::Without(old.clone())));
    match shape {
        Shape::Settled(all) => match (all.contains(old), all.contains(new)) {
            (true, true) => without(),
            (true, false) if all.len() >= MAX_ACCEPTORS => without(),
            (true, false) => with(),
            (false, true) => Ok(None),
            // The old one went first, for want of room.
            (false, false) if all.len() == MAX_ACCEPTORS - 1 => with(),
            (false, false) => Err(Refusal::NoMember { old: old.clone(), new: new.clone() }),
        },
        Shape::Between { extra, .. } if *extra == new => with(),
        Shape::Between { extra, fewer, .. } if *extra == old && fewer.contains(new) => without(),
        Shape::Between { extra, .. } => Err(Refusal::UnderWay((*extra).clone())),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
