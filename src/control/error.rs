//! Why something was not done, and the exit code that says so.

use super::plan::Refusal;
use crate::client::OperatorError;
use crate::config::ConfigError;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The cluster file is bad.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// The arguments name something that is not there.
    #[error("{0}")]
    Arguments(String),
    /// It would be unsafe, or makes no sense now.
    #[error("refused: {0}")]
    Refused(String),
    /// The cluster did not do it, now; the same may succeed later.
    #[error("{0}")]
    NotNow(String),
}

impl ControlError {
    /// The status that the program ends with.
    pub fn exit_status(&self) -> i32 {
        match self {
            ControlError::NotNow(_) => 1,
            ControlError::File(_) | ControlError::Arguments(_) => 2,
            ControlError::Refused(_) => 3,
        }
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        ControlError::Refused(refusal.to_string())
    }
}

impl From<OperatorError> for ControlError {
    /// What a node refuses for good is told from what may succeed later by the
    /// kind of its refusal.
    fn from(error: OperatorError) -> Self {
        match &error {
            OperatorError::Refused { code, message, .. } => match code.as_str() {
                "UnsafeConfiguration"
                | "AcceptorNotEmpty"
                | "NotWiped"
                | "BadRequest"
                | "UnknownPlace" => ControlError::Refused(message.clone()),
                _ => ControlError::NotNow(error.to_string()),
            },
            OperatorError::Silent { .. } => ControlError::NotNow(error.to_string()),
        }
    }
}
