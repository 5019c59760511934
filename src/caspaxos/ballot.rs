//! Ballots: the total order in which changes of one register are tried.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a proposer inside a ballot: 1 to 16 ASCII letters, digits,
/// `.`, `_` or `-`, held inline so that a ballot is `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProposerId([u8; ProposerId::MAX_BYTES]);

impl ProposerId {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 16;

    /// The name as text; empty for the proposer of [`Ballot::ZERO`].
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(Self::MAX_BYTES);
        std::str::from_utf8(&self.0[..end]).expect("proposer ids are ASCII")
    }
}

/// Why a text is not a proposer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a proposer id is 1 to 16 letters, digits, '.', '_' or '-', not {0:?}")]
pub struct BadProposerId(String);

impl FromStr for ProposerId {
    type Err = BadProposerId;

    fn from_str(text: &str) -> Result<Self, BadProposerId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.bytes().all(allowed) {
            return Err(BadProposerId(text.chars().take(64).collect()));
        }
        let mut name = [0; Self::MAX_BYTES];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Ok(ProposerId(name))
    }
}

impl fmt::Display for ProposerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ProposerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ProposerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProposerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ProposerId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a proposer id")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ProposerId, E> {
                match text {
                    "" => Ok(ProposerId::default()),
                    name => name.parse().map_err(E::custom),
                }
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// 64 random bits that a proposer draws at each start (rule 5).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

/// A ballot: (counter, proposer, incarnation), compared in that order
/// (CASPaxos §2.1 "ballot numbers"). The incarnation keeps a ballot unique
/// even when a proposer loses its disk and starts counting again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows with each ballot of a proposer.
    pub counter: u64,
    /// Who made the ballot.
    pub proposer: ProposerId,
    /// Which life of the proposer made it.
    pub incarnation: Incarnation,
}

impl Ballot {
    /// Below every ballot of a proposer: "nothing promised, nothing accepted".
    pub const ZERO: Ballot = Ballot {
        counter: 0,
        proposer: ProposerId([0; ProposerId::MAX_BYTES]),
        incarnation: Incarnation(0),
    };

    /// True for [`Ballot::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Ballot::ZERO
    }

    /// True when the same life of the same proposer made both.
    pub fn same_author(&self, other: &Ballot) -> bool {
        self.proposer == other.proposer && self.incarnation == other.incarnation
    }

    /// Fixed-width text whose byte order is the ballots' order, so that a Lua
    /// script in Redis compares strings and never doubles.
    pub fn to_sortable(&self) -> String {
        format!("{:020}|{:<16}|{:016x}", self.counter, self.proposer, self.incarnation.0)
    }

    /// Reads [`Ballot::to_sortable`] back; `None` when the text is not one.
    pub fn from_sortable(text: &str) -> Option<Ballot> {
        let mut parts = text.split('|');
        let (counter, proposer, incarnation) = (parts.next()?, parts.next()?, parts.next()?);
        let fixed_width = counter.len() == 20 && proposer.len() == 16 && incarnation.len() == 16;
        if !fixed_width || parts.next().is_some() {
            return None;
        }
        Some(Ballot {
            counter: counter.parse().ok()?,
            proposer: match proposer.trim_end() {
                "" => ProposerId::default(),
                name => name.parse().ok()?,
            },
            incarnation: Incarnation(u64::from_str_radix(incarnation, 16).ok()?),
        })
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.counter, self.proposer)
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:x}", self.counter, self.proposer, self.incarnation.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(counter: u64, proposer: &str, incarnation: u64) -> Ballot {
        let incarnation = Incarnation(incarnation);
        Ballot { counter, proposer: proposer.parse().unwrap(), incarnation }
    }

    #[test]
    fn order_is_counter_then_proposer_then_incarnation() {
        let ascending = [
            Ballot::ZERO,
            ballot(1, "p1", 1),
            ballot(1, "p1", u64::MAX),
            ballot(1, "p10", 0),
            ballot(1, "p2", 0),
            ballot(2, "p1", 0),
            ballot(10, "0", 0),
            ballot(u64::MAX, "0123456789abcdef", u64::MAX),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
            let texts = [pair[0].to_sortable(), pair[1].to_sortable()];
            assert!(texts[0] < texts[1], "{texts:?}");
        }
        for ballot in ascending {
            assert_eq!(Ballot::from_sortable(&ballot.to_sortable()), Some(ballot));
        }
    }

    #[test]
    fn sortable_text_refuses_what_it_did_not_write() {
        let good = ballot(7, "p1", 9).to_sortable();
        for bad in ["", "1|p1|1", &good[1..], &format!("{good}|"), &good.replace('p', "é")] {
            assert_eq!(Ballot::from_sortable(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn proposer_ids_are_short_and_plain() {
        for bad in ["", "0123456789abcdefg", "a b", "é", "a|b"] {
            assert!(bad.parse::<ProposerId>().is_err(), "{bad:?}");
        }
    }
}
