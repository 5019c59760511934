//! What a client gets: an outcome and where it stands, or why there is none.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Key, Outcome, Record, Verdict};

/// An entry of a replicated log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogPosition {
    /// Its index.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
}

/// The outcome of a command, and where in the order of changes it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What the command found and left.
    pub outcome: Outcome,
    /// The newest modified index that the command could see: of all keys where
    /// the protocol orders them together, of this key where it does not.
    pub index: u64,
    /// Where the replica's log stands, in a protocol that has one.
    pub position: Option<LogPosition>,
}

/// The live records under a prefix, in key order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The records.
    pub records: Vec<(Key, Record)>,
    /// As in [`Answer`]; the highest of the records where the protocol orders
    /// each key by itself.
    pub index: u64,
    /// As in [`Answer`].
    pub position: Option<LogPosition>,
}

/// Why a client gets no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// It took no effect and never will.
    #[error("{0}")]
    Failed(String),
    /// It may have taken effect, or may do so later.
    #[error("{0}")]
    Unknown(String),
    /// The node is about to end; it took no effect.
    #[error("the node is stopping; use another one")]
    Stopping,
    /// Too much is under way; it took no effect.
    #[error("too many requests are under way; try again later")]
    Overloaded,
    /// The answer would be too large.
    #[error("{0}")]
    TooLarge(String),
    /// The request's name was another request's before.
    #[error("this Idempotency-Key was that of another request on this key; take a new one")]
    IdReused,
    /// A later request of the same client is known, so this one's outcome is not.
    #[error(
        "a request of the same client with a higher number was made on this key, so that the \
         outcome of this one is not remembered; number the requests upwards"
    )]
    Superseded,
}

impl Answer {
    /// The answer, unless its outcome is that the request was refused.
    pub fn unless_refused(self) -> Result<Answer, Refusal> {
        match self.outcome.verdict {
            Verdict::IdReused => Err(Refusal::IdReused),
            Verdict::Superseded => Err(Refusal::Superseded),
            Verdict::Done
            | Verdict::NotFound
            | Verdict::AlreadyExists
            | Verdict::CompareFailed
            | Verdict::NotANumber => Ok(self),
        }
    }
}

/// What a listing is to find out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Every live record.
    All,
    /// Whether there may be one: it ends with the first that shows.
    Any,
}

/// What a read promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// It shows all that was acknowledged before it began.
    #[default]
    Linearizable,
    /// It shows what the node itself has applied, which may be old.
    Stale,
}

/// Why a text is not a [`Consistency`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the consistency of a read is linearizable or stale")]
pub struct BadConsistency;

impl FromStr for Consistency {
    type Err = BadConsistency;

    fn from_str(text: &str) -> Result<Self, BadConsistency> {
        match text {
            "linearizable" => Ok(Consistency::Linearizable),
            "stale" => Ok(Consistency::Stale),
            _ => Err(BadConsistency),
        }
    }
}
