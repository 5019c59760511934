//! Which acceptors a proposer asks, and how many of them must agree.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of an acceptor in the deployment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AcceptorId(pub Arc<str>);

impl From<&str> for AcceptorId {
    fn from(name: &str) -> Self {
        AcceptorId(name.into())
    }
}

impl fmt::Display for AcceptorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AcceptorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a configuration. Acceptors keep the newest one they have
/// met and refuse requests that carry an older one.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// A list of acceptors and how many of them make a quorum.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quorum {
    /// The acceptors that are asked.
    pub acceptors: Vec<AcceptorId>,
    /// How many of them must agree.
    pub size: usize,
}

impl Quorum {
    /// True when `agreed` holds enough acceptors of the list; others in
    /// `agreed` do not count.
    pub fn is_met_by(&self, agreed: &[AcceptorId]) -> bool {
        self.acceptors.iter().filter(|id| agreed.contains(id)).count() >= self.size
    }

    /// True when the quorum can no longer be met once `lost` will not agree.
    pub fn is_out_of_reach_without(&self, lost: &[AcceptorId]) -> bool {
        self.acceptors.iter().filter(|id| !lost.contains(id)).count() < self.size
    }
}

/// What a proposer knows of its acceptors (CASPaxos §2.3: the prepare and the
/// accept phase may have lists and quorums of their own).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// The version of this configuration.
    pub epoch: Epoch,
    /// Who is asked to promise, and read.
    pub prepare: Quorum,
    /// Who is asked to accept.
    pub accept: Quorum,
}

/// Why a configuration is not safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeConfiguration {
    /// A list names an acceptor twice.
    #[error("acceptor {0} is listed twice; list it once")]
    Twice(AcceptorId),
    /// A quorum is zero or larger than its list.
    #[error("the {phase} quorum is {size} of {count} acceptors; it must be between 1 and {count}")]
    Size {
        /// Which phase.
        phase: &'static str,
        /// Its quorum.
        size: usize,
        /// How many acceptors it lists.
        count: usize,
    },
    /// A prepare quorum and an accept quorum could miss each other.
    #[error(
        "a prepare quorum of {prepare} and an accept quorum of {accept} need not meet among {count} acceptors; their sum must be greater than {count}"
    )]
    NeedNotMeet {
        /// The prepare quorum.
        prepare: usize,
        /// The accept quorum.
        accept: usize,
        /// How many distinct acceptors there are.
        count: usize,
    },
}

impl Configuration {
    /// One list for both phases.
    pub fn uniform(epoch: Epoch, acceptors: &[AcceptorId], prepare: usize, accept: usize) -> Self {
        let quorum = |size| Quorum { acceptors: acceptors.to_vec(), size };
        Configuration { epoch, prepare: quorum(prepare), accept: quorum(accept) }
    }

    /// Checks rule 11: every prepare quorum meets every accept quorum.
    ///
    /// For lists P, A and quorums p, a, the smallest overlap of the two picks
    /// is p + a - |P ∪ A|, so that sum must be at least one.
    pub fn validate(&self) -> Result<(), UnsafeConfiguration> {
        for (phase, quorum) in [("prepare", &self.prepare), ("accept", &self.accept)] {
            let count = quorum.acceptors.len();
            for (index, id) in quorum.acceptors.iter().enumerate() {
                if quorum.acceptors[..index].contains(id) {
                    return Err(UnsafeConfiguration::Twice(id.clone()));
                }
            }
            if quorum.size == 0 || quorum.size > count {
                return Err(UnsafeConfiguration::Size { phase, size: quorum.size, count });
            }
        }
        let count = self.acceptors().count();
        if self.prepare.size + self.accept.size <= count {
            return Err(UnsafeConfiguration::NeedNotMeet {
                prepare: self.prepare.size,
                accept: self.accept.size,
                count,
            });
        }
        Ok(())
    }

    /// Every acceptor of either list, once.
    pub fn acceptors(&self) -> impl Iterator<Item = &AcceptorId> {
        let only_accept =
            self.accept.acceptors.iter().filter(|id| !self.prepare.acceptors.contains(id));
        self.prepare.acceptors.iter().chain(only_accept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(names: &str, size: usize) -> Quorum {
        Quorum { acceptors: names.split_whitespace().map(AcceptorId::from).collect(), size }
    }

    /// Whether every pick of quorums meets, by trying all of them.
    fn meets_by_enumeration(prepare: &Quorum, accept: &Quorum) -> bool {
        let picks = |quorum: &Quorum| -> Vec<Vec<AcceptorId>> {
            (0..1u32 << quorum.acceptors.len())
                .filter(|mask| mask.count_ones() as usize == quorum.size)
                .map(|mask| {
                    let chosen = quorum.acceptors.iter().enumerate();
                    chosen.filter(|(i, _)| mask >> i & 1 == 1).map(|(_, id)| id.clone()).collect()
                })
                .collect()
        };
        let accepts = picks(accept);
        picks(prepare).iter().all(|p| accepts.iter().all(|a| p.iter().any(|id| a.contains(id))))
    }

    #[test]
    fn validation_agrees_with_trying_every_pair_of_quorums() {
        let lists = ["a", "a b", "a b c", "b c d", "a b c d", "c d e", "a b c d e"];
        for prepare_list in lists {
            for accept_list in lists {
                for p in 1..=prepare_list.split(' ').count() {
                    for a in 1..=accept_list.split(' ').count() {
                        let prepare = quorum(prepare_list, p);
                        let accept = quorum(accept_list, a);
                        let meets = meets_by_enumeration(&prepare, &accept);
                        let config = Configuration { epoch: Epoch(1), prepare, accept };
                        assert_eq!(config.validate().is_ok(), meets, "{config:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn quorum_sizes_and_lists_are_checked() {
        for (names, size) in [("a b c", 0), ("a b c", 4), ("", 1), ("a b a", 2)] {
            let quorum = quorum(names, size);
            let config = Configuration { epoch: Epoch(1), prepare: quorum.clone(), accept: quorum };
            assert!(config.validate().is_err(), "{names} {size}");
        }
    }
}
