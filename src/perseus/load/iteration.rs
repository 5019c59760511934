//! One iteration of a workload: how it ended.

use std::fmt;

use crate::client::{ClientError, ErrorKind};

/// How one iteration, a read and a write, ended.
pub type Iteration = Result<Success, Failure>;

/// Both were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Success {
    /// The value was written.
    Wrote,
    /// Another client was faster; the answer said so.
    LostRace,
}

/// The read or the write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which of them.
    pub step: Step,
    /// Why.
    pub cause: Cause,
}

/// The two requests of an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The first.
    Read,
    /// The second.
    Write,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// No usable answer.
    Client(ClientError),
    /// A key that belongs to one client was changed by someone else, or by
    /// an earlier write of unknown outcome.
    Conflict {
        /// The key.
        key: String,
    },
    /// The stored value cannot be counted up.
    NotACounter {
        /// The key.
        key: String,
    },
}

/// Failures of one kind, as the summary names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureLabel {
    /// No connection.
    Connect,
    /// The connection broke.
    Closed,
    /// No answer in time.
    Timeout,
    /// Answered with this HTTP status.
    Status(u16),
    /// Answered in a form that is not the API's.
    BadBody,
    /// [`Cause::Conflict`].
    Conflict,
    /// [`Cause::NotACounter`].
    NotACounter,
}

impl Failure {
    /// The kind of the failure.
    pub fn label(&self) -> FailureLabel {
        match &self.cause {
            Cause::Client(error) => match error.kind {
                ErrorKind::Connect(_) => FailureLabel::Connect,
                ErrorKind::Closed(_) => FailureLabel::Closed,
                ErrorKind::Timeout(_) => FailureLabel::Timeout,
                ErrorKind::Status { status, .. } => FailureLabel::Status(status),
                ErrorKind::BadBody(_) => FailureLabel::BadBody,
            },
            Cause::Conflict { .. } => FailureLabel::Conflict,
            Cause::NotACounter { .. } => FailureLabel::NotACounter,
        }
    }

    /// True when the network failed, and not the node behind it.
    pub fn is_network(&self) -> bool {
        matches!(&self.cause, Cause::Client(error) if error.is_network())
    }

    /// True when the write may have taken effect.
    pub fn is_unknown(&self) -> bool {
        matches!(&self.cause, Cause::Client(error) if error.is_unknown())
    }

    /// True when the client has waited out its time already.
    pub fn is_timeout(&self) -> bool {
        self.label() == FailureLabel::Timeout
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::Read => f.write_str("read: ")?,
            Step::Write => f.write_str("write: ")?,
        }
        match &self.cause {
            Cause::Client(error) => error.fmt(f),
            Cause::Conflict { key } => write!(f, "{key} was changed by someone else"),
            Cause::NotACounter { key } => write!(f, "the value of {key} cannot be counted up"),
        }
    }
}

impl fmt::Display for FailureLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureLabel::Connect => f.pad("connect"),
            FailureLabel::Closed => f.pad("closed"),
            FailureLabel::Timeout => f.pad("timeout"),
            FailureLabel::Status(status) => f.pad(&format!("http {status}")),
            FailureLabel::BadBody => f.pad("bad body"),
            FailureLabel::Conflict => f.pad("conflict"),
            FailureLabel::NotACounter => f.pad("not a counter"),
        }
    }
}

impl Step {
    /// For `map_err`: a request of this step that got no usable answer.
    pub(super) fn failed(self) -> impl Fn(ClientError) -> Failure {
        move |error| Failure { step: self, cause: Cause::Client(error) }
    }
}
