//! The single steps of the original: one list, one acceptor, one quorum.

use super::plan::{Lists, Step};
use crate::caspaxos::{AcceptorId, Quorum};

/// What a single step changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SingleStep {
    /// Adds to those who accept.
    AddAccept,
    /// Adds to those who promise.
    AddPrepare,
    /// Removes from those who accept.
    RemoveAccept,
    /// Removes from those who promise.
    RemovePrepare,
}

impl SingleStep {
    /// The lists after the step, in which `acceptor` is or is not, and `size`
    /// is the quorum; `None` when they are so already.
    pub fn apply(self, lists: &Lists, acceptor: &AcceptorId, size: usize) -> Option<Step> {
        let mut step = Step { prepare: lists.prepare.clone(), accept: lists.accept.clone() };
        let list = match self {
            SingleStep::AddAccept | SingleStep::RemoveAccept => &mut step.accept,
            SingleStep::AddPrepare | SingleStep::RemovePrepare => &mut step.prepare,
        };
        let is_there = list.acceptors.contains(acceptor);
        match self {
            SingleStep::AddAccept | SingleStep::AddPrepare if !is_there => {
                list.acceptors.push(acceptor.clone());
            }
            SingleStep::RemoveAccept | SingleStep::RemovePrepare => {
                list.acceptors.retain(|id| id != acceptor);
            }
            SingleStep::AddAccept | SingleStep::AddPrepare => {}
        }
        list.size = size;
        (step.prepare != lists.prepare || step.accept != lists.accept).then_some(step)
    }
}

/// A step in a few words: what each list gains and loses, and its quorum.
pub fn describe(lists: &Lists, step: &Step) -> String {
    let parts =
        [("accept", &lists.accept, &step.accept), ("prepare", &lists.prepare, &step.prepare)];
    let parts = parts.iter().filter_map(|(name, old, new)| describe_list(name, old, new));
    parts.collect::<Vec<_>>().join("; ")
}

fn describe_list(name: &str, old: &Quorum, new: &Quorum) -> Option<String> {
    if old == new {
        return None;
    }
    let mut words = format!("{name} list");
    for id in new.acceptors.iter().filter(|id| !old.acceptors.contains(id)) {
        words += &format!(" + {id}");
    }
    for id in old.acceptors.iter().filter(|id| !new.acceptors.contains(id)) {
        words += &format!(" - {id}");
    }
    let quorum = match old.size == new.size {
        true => format!("quorum stays {}", new.size),
        false => format!("quorum {} -> {}", old.size, new.size),
    };
    Some(format!("{words}, {quorum} of {}", new.acceptors.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::Epoch;

    fn quorum(names: &str, size: usize) -> Quorum {
        Quorum { acceptors: names.split_whitespace().map(AcceptorId::from).collect(), size }
    }

    #[test]
    fn steps_can_be_repeated() {
        let mut lists = Lists {
            epoch: Epoch(1),
            prepare: quorum("a b c", 2),
            accept: quorum("a b c", 2),
            rescan_needed: false,
        };
        for (single, size, prepare, accept, words) in [
            (SingleStep::AddAccept, 3, "a b c", "a b c d", "accept list + d, quorum 2 -> 3 of 4"),
            (
                SingleStep::AddPrepare,
                3,
                "a b c d",
                "a b c d",
                "prepare list + d, quorum 2 -> 3 of 4",
            ),
            (SingleStep::AddPrepare, 2, "a b c d", "a b c d", "prepare list, quorum 3 -> 2 of 4"),
            (
                SingleStep::RemovePrepare,
                2,
                "a b c",
                "a b c d",
                "prepare list - d, quorum stays 2 of 3",
            ),
            (SingleStep::RemoveAccept, 2, "a b c", "a b c", "accept list - d, quorum 3 -> 2 of 3"),
        ] {
            let step = single.apply(&lists, &"d".into(), size).expect("a step");
            assert_eq!(describe(&lists, &step), words);
            (lists.prepare, lists.accept) = (step.prepare, step.accept);
            assert_eq!(lists.prepare.acceptors, quorum(prepare, 0).acceptors);
            assert_eq!(lists.accept.acceptors, quorum(accept, 0).acceptors);
            assert_eq!(single.apply(&lists, &"d".into(), size), None, "{single:?}");
        }
    }
}
