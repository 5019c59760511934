//! Which acceptors a proposer asks, and how many of them must agree.

use std::collections::BTreeMap;
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

impl Epoch {
    /// That of the configuration that a cluster starts with.
    pub const FOUNDING: Epoch = Epoch(1);

    /// The one after this.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// Where an acceptor is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Place {
    /// On a node: the base URL of its peer listener.
    Peer {
        /// `http://HOST:PORT`.
        url: String,
    },
    /// In a Redis server, driven from every proposer's node.
    Redis {
        /// The server's host.
        host: String,
        /// Its port.
        port: u16,
        /// Whether it may forget what it acknowledged.
        is_transient: bool,
    },
}

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

    /// True when every pick of this quorum has an acceptor in common with
    /// every pick of the other: their sum is greater than the union.
    pub fn meets(&self, other: &Quorum) -> bool {
        let of_other = other.acceptors.iter().filter(|id| !self.acceptors.contains(id));
        self.size + other.size > self.acceptors.len() + of_other.count()
    }

    /// True when the quorum can no longer be met once `lost` will not agree.
    pub fn is_out_of_reach_without(&self, lost: &[AcceptorId]) -> bool {
        self.acceptors.iter().filter(|id| !lost.contains(id)).count() < self.size
    }
}

/// The most acceptors of a list: far more than a quorum of them could still be fast,
/// and few enough to compare each with each.
pub const MAX_ACCEPTORS: usize = 100;

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
    /// Accept quorums of earlier configurations that may be all that holds a
    /// value, until every key was rescanned.
    pub held: Vec<Quorum>,
    /// Where the acceptors are. Not looked at here.
    pub places: BTreeMap<AcceptorId, Place>,
}

/// A step from one configuration to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationStep {
    /// The version of the configuration that was read.
    pub from: Epoch,
    /// Who is to be asked to promise, and to read.
    pub prepare: Quorum,
    /// Who is to be asked to accept.
    pub accept: Quorum,
    /// Where acceptors are that are new.
    pub places: BTreeMap<AcceptorId, Place>,
    /// Whether every key was rescanned under the configuration that was read,
    /// so that its accept quorums hold all values.
    pub is_rescanned: bool,
}

/// Why a configuration is not safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeConfiguration {
    /// A list names an acceptor twice.
    #[error("acceptor {0} is listed twice; list it once")]
    Twice(AcceptorId),
    /// A list is too long.
    #[error("the {phase} list has {count} acceptors; use at most {MAX_ACCEPTORS}")]
    TooMany {
        /// Which phase.
        phase: &'static str,
        /// How many acceptors it lists.
        count: usize,
    },
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
    /// The step is of another configuration than the one in force.
    #[error("the configuration is at version {}, not {}; read it and try again", .found.0, .expected.0)]
    Mismatch {
        /// The version that was read.
        expected: Epoch,
        /// The version in force.
        found: Epoch,
    },
    /// A prepare quorum could miss values of an earlier configuration.
    #[error(
        "a prepare quorum of {prepare} could miss values that are held by {held} acceptors of an \
         earlier configuration; rescan every key first, or change one acceptor at a time"
    )]
    Hidden {
        /// The prepare quorum.
        prepare: usize,
        /// The earlier accept quorum.
        held: usize,
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
        let (prepare, accept) = (quorum(prepare), quorum(accept));
        Configuration { epoch, prepare, accept, held: Vec::new(), places: BTreeMap::new() }
    }

    /// Checks rule 11: every prepare quorum meets every accept quorum.
    ///
    /// For lists P, A and quorums p, a, the smallest overlap of the two picks
    /// is p + a - |P ∪ A|, so that sum must be at least one.
    pub fn validate(&self) -> Result<(), UnsafeConfiguration> {
        for (phase, quorum) in [("prepare", &self.prepare), ("accept", &self.accept)] {
            let count = quorum.acceptors.len();
            if count > MAX_ACCEPTORS {
                return Err(UnsafeConfiguration::TooMany { phase, count });
            }
            for (index, id) in quorum.acceptors.iter().enumerate() {
                if quorum.acceptors[..index].contains(id) {
                    return Err(UnsafeConfiguration::Twice(id.clone()));
                }
            }
            if quorum.size == 0 || quorum.size > count {
                return Err(UnsafeConfiguration::Size { phase, size: quorum.size, count });
            }
        }
        if !self.prepare.meets(&self.accept) {
            return Err(UnsafeConfiguration::NeedNotMeet {
                prepare: self.prepare.size,
                accept: self.accept.size,
                count: self.acceptors().count(),
            });
        }
        Ok(())
    }

    /// The configuration that a step leads to. Nothing that was chosen may be
    /// hidden: the new prepare quorums meet the accept quorums of now, and
    /// those of earlier steps that no rescan has followed.
    pub fn after(&self, step: ConfigurationStep) -> Result<Configuration, UnsafeConfiguration> {
        let next = self.unchecked_after(step)?;
        match next.held.iter().find(|held| !next.prepare.meets(held)) {
            None => Ok(next),
            Some(held) => {
                Err(UnsafeConfiguration::Hidden { prepare: next.prepare.size, held: held.size })
            }
        }
    }

    /// As [`Configuration::after`], whatever it hides.
    pub(super) fn unchecked_after(
        &self,
        step: ConfigurationStep,
    ) -> Result<Configuration, UnsafeConfiguration> {
        if step.from != self.epoch {
            return Err(UnsafeConfiguration::Mismatch { expected: step.from, found: self.epoch });
        }
        let mut held = if step.is_rescanned { Vec::new() } else { self.held.clone() };
        if step.accept != self.accept && !held.contains(&self.accept) {
            held.push(self.accept.clone());
        }
        let ConfigurationStep { prepare, accept, mut places, .. } = step;
        let next = Configuration {
            epoch: self.epoch.next(),
            prepare,
            accept,
            held,
            places: BTreeMap::new(),
        };
        next.validate()?;
        let place = |id: &AcceptorId| {
            let place = places.remove(id).or_else(|| self.places.get(id).cloned());
            Some((id.clone(), place?))
        };
        let places = next.acceptors().filter_map(place).collect();
        Ok(Configuration { places, ..next })
    }

    /// True when no change of acceptors is under way.
    pub fn is_settled(&self) -> bool {
        let (prepare, accept) = (&self.prepare.acceptors, &self.accept.acceptors);
        let is_same = prepare.len() == accept.len() && prepare.iter().all(|id| accept.contains(id));
        is_same && self.held.is_empty()
    }

    /// A number by which configurations of the same acceptors and quorums are
    /// told from others: the XXH3 of, for the prepare and then the accept
    /// phase, the ids in ascending order and the size of the quorum, as
    /// postcard encodes them. The order of a list, the epoch, the places and
    /// the quorums that are held do not count. Acceptors store it, so it must
    /// never change.
    pub fn digest(&self) -> u64 {
        let canonical = [&self.prepare, &self.accept].map(|quorum| {
            let mut ids: Vec<&str> = quorum.acceptors.iter().map(|id| &*id.0).collect();
            ids.sort_unstable();
            (ids, quorum.size as u64)
        });
        let bytes = postcard::to_stdvec(&canonical).expect("encoding into memory cannot fail");
        xxhash_rust::xxh3::xxh3_64(&bytes)
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
                        let config = Configuration {
                            epoch: Epoch(1),
                            prepare,
                            accept,
                            held: Vec::new(),
                            places: BTreeMap::new(),
                        };
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
            let (prepare, accept) = (quorum.clone(), quorum);
            let (held, places) = (Vec::new(), BTreeMap::new());
            let config = Configuration { epoch: Epoch(1), prepare, accept, held, places };
            assert!(config.validate().is_err(), "{names} {size}");
        }
    }

    #[test]
    fn the_digest_is_that_of_acceptors_and_quorums_alone() {
        let of = |prepare: (&str, usize), accept: (&str, usize)| Configuration {
            epoch: Epoch(1),
            prepare: quorum(prepare.0, prepare.1),
            accept: quorum(accept.0, accept.1),
            held: Vec::new(),
            places: BTreeMap::new(),
        };
        let three = of(("a b c", 2), ("a b c", 2));
        // As acceptors have it on their disks.
        assert_eq!(three.digest(), 731_229_592_947_331_484);
        let mut elsewhere = of(("c a b", 2), ("b c a", 2));
        elsewhere.epoch = Epoch(7);
        elsewhere.held.push(quorum("a b", 1));
        let place = Place::Peer { url: "http://10.0.0.1:8101".into() };
        elsewhere.places.insert("a".into(), place);
        assert_eq!(elsewhere.digest(), three.digest());

        let others = [
            of(("a b c", 1), ("a b c", 2)),
            of(("a b c", 2), ("a b c", 1)),
            of(("a b c", 1), ("a b c", 3)),
            of(("a b c", 3), ("a b c", 1)),
            of(("a b", 2), ("a b c", 2)),
            of(("a b c", 2), ("a b", 2)),
            of(("a b c d", 2), ("a b c", 2)),
            of(("a b c", 2), ("a b c d", 2)),
            of(("a b d", 2), ("a b d", 2)),
            of(("ab c", 2), ("ab c", 2)),
            of(("a bc", 2), ("a bc", 2)),
            of(("abc", 2), ("abc", 2)),
        ];
        let mut digests: Vec<u64> = others.iter().map(Configuration::digest).collect();
        digests.push(three.digest());
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 1, "each has a digest of its own");
    }

    fn step(from: u64, prepare: Quorum, accept: Quorum, is_rescanned: bool) -> ConfigurationStep {
        ConfigurationStep {
            from: Epoch(from),
            prepare,
            accept,
            places: BTreeMap::new(),
            is_rescanned,
        }
    }

    /// The way from three to five and back, where each step is needed.
    #[test]
    fn steps_that_would_hide_values_are_refused() {
        let (three, four, five) = ("a b c", "a b c d", "a b c d e");
        let first = Configuration::uniform(Epoch(1), &quorum(three, 2).acceptors, 2, 2);
        let at_once = first.after(step(1, quorum(five, 3), quorum(five, 3), false));
        assert!(matches!(at_once, Err(UnsafeConfiguration::Hidden { .. })), "{at_once:?}");
        let accept = first.after(step(1, quorum(three, 2), quorum(four, 3), false)).unwrap();
        assert_eq!((accept.epoch, &accept.held), (Epoch(2), &vec![quorum(three, 2)]));
        let unscanned = accept.after(step(2, quorum(four, 3), quorum(four, 3), false)).unwrap();
        assert!(!unscanned.is_settled());
        let hidden = unscanned.after(step(3, quorum(five, 3), quorum(five, 3), false));
        assert!(matches!(hidden, Err(UnsafeConfiguration::Hidden { .. })), "{hidden:?}");
        let even = unscanned.after(step(3, quorum(four, 3), quorum(four, 3), true)).unwrap();
        assert!(even.is_settled());
        let odd = even.after(step(4, quorum(five, 3), quorum(five, 3), false)).unwrap();
        let odd = odd.after(step(5, quorum(five, 3), quorum(five, 3), true)).unwrap();
        // Back in plain reverse order: the second step would hide values.
        let even = odd.after(step(6, quorum(four, 3), quorum(four, 3), false)).unwrap();
        let plain = even.after(step(7, quorum(three, 2), quorum(four, 3), false));
        assert!(matches!(plain, Err(UnsafeConfiguration::Hidden { .. })), "{plain:?}");
        let scanned = even.after(step(7, quorum(three, 2), quorum(four, 3), true)).unwrap();
        let three = scanned.after(step(8, quorum(three, 2), quorum(three, 2), false)).unwrap();
        assert_eq!(three.epoch, Epoch(9));
        let mismatch = three.after(step(8, quorum("a", 1), quorum("a", 1), true));
        assert!(matches!(mismatch, Err(UnsafeConfiguration::Mismatch { .. })), "{mismatch:?}");
    }
}
