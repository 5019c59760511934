//! What can go wrong with a request, and what that says about its effect.

use std::time::Duration;

/// A request that got no answer it could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: {kind}")]
pub struct ClientError {
    /// The base address that was asked.
    pub endpoint: String,
    /// What went wrong.
    pub kind: ErrorKind,
    /// True when the request would have changed something.
    pub mutation: bool,
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// No connection, so nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Connected, but no whole answer within the request time-out.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// Connected, but the connection broke before the whole answer came.
    #[error("the connection broke: {0}")]
    Closed(String),
    /// Answered with a status that is neither success nor a plain "no".
    #[error("{}", describe_status(*.status, *.error_code, .message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the answer says about the effect of the request.
        outcome: Option<StatedOutcome>,
        /// etcd's error code.
        error_code: Option<u16>,
        /// The reason in words; empty when there was none.
        message: String,
    },
    /// Answered with success, but in a form that is not the API's.
    #[error("unusable answer: {0}")]
    BadBody(String),
}

/// What a gryadka node says about the effect of a request that it did not
/// finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatedOutcome {
    /// It had no effect and will have none.
    Failed,
    /// It may have had an effect, or may have one yet.
    Unknown,
}

impl ClientError {
    /// True when the request may have taken effect, or may do so yet. A
    /// read never does.
    ///
    /// Only what is certain counts as failed: no connection, a client error
    /// (4xx, and so 429), or an answer that says so. A server error that
    /// says nothing is in doubt: etcd answers a proposal that timed out
    /// with a plain 500.
    pub fn is_unknown(&self) -> bool {
        self.mutation
            && match &self.kind {
                ErrorKind::Connect(_) => false,
                ErrorKind::Timeout(_) | ErrorKind::Closed(_) | ErrorKind::BadBody(_) => true,
                ErrorKind::Status { status, outcome, .. } => match outcome {
                    Some(StatedOutcome::Failed) => false,
                    Some(StatedOutcome::Unknown) => true,
                    None => *status >= 500,
                },
            }
    }

    /// True when the same request may be answered differently later.
    pub fn may_pass(&self) -> bool {
        match &self.kind {
            ErrorKind::Connect(_) | ErrorKind::Timeout(_) | ErrorKind::Closed(_) => true,
            ErrorKind::Status { status, .. } => *status >= 500 || *status == 429,
            ErrorKind::BadBody(_) => false,
        }
    }

    /// True when the network failed, and not the node behind it.
    pub fn is_network(&self) -> bool {
        matches!(self.kind, ErrorKind::Connect(_) | ErrorKind::Timeout(_) | ErrorKind::Closed(_))
    }
}

fn describe_status(status: u16, error_code: Option<u16>, message: &str) -> String {
    let code = error_code.map(|code| format!(", error {code}")).unwrap_or_default();
    if status == 404 && error_code.is_none() {
        return "status 404: no v2 keys API here (the client port? etcd needs --enable-v2)".into();
    }
    let reason = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("status {status}{code}{reason}")
}
