//! What a failure means in HTTP: the one map from errors to status codes.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONNECTION};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::kv::{BadConsistency, BadKey, BadRequestId, Refusal};
use crate::raft::ChangeError;

/// Why a request has no other answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request does not make sense.
    #[error("{0}")]
    Malformed(String),
    /// Not here, or not for who asks.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such resource.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The resource does not know the method.
    #[error("use {0} here")]
    MethodNotAllowed(&'static str),
    /// A key, a value or a body beyond its bound.
    #[error("{0}")]
    TooLarge(String),
    /// The body did not come in time.
    #[error("the body did not arrive within {0} s")]
    TooSlow(u64),
    /// The node has all the connections it serves.
    #[error("the node serves {0} connections already; close some or use another node")]
    TooManyConnections(usize),
    /// The protocol gave no outcome.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ApiError {
    /// Whether the command took effect, where the client may wonder.
    pub fn outcome(&self) -> Option<&'static str> {
        match self {
            ApiError::Refused(Refusal::Unknown(_)) => Some("unknown"),
            ApiError::Refused(Refusal::Failed(_) | Refusal::Stopping | Refusal::Overloaded)
            | ApiError::TooManyConnections(_) => Some("failed"),
            ApiError::Refused(Refusal::TooLarge(_) | Refusal::IdReused | Refusal::Superseded)
            | ApiError::Malformed(_)
            | ApiError::Forbidden(_)
            | ApiError::NotFound(_)
            | ApiError::Conflict(_)
            | ApiError::MethodNotAllowed(_)
            | ApiError::TooLarge(_)
            | ApiError::TooSlow(_) => None,
        }
    }

    /// The start of a response: status and headers.
    pub fn response(&self) -> actix_web::HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            ApiError::MethodNotAllowed(allowed) => {
                response.insert_header((ALLOW, *allowed));
            }
            // What is left of the body is not read: the connection must end.
            ApiError::TooLarge(_)
            | ApiError::TooSlow(_)
            | ApiError::TooManyConnections(_)
            // Nor should a client ask again on a connection that ends.
            | ApiError::Refused(Refusal::Stopping) => {
                response.insert_header((CONNECTION, "close")).force_close();
            }
            ApiError::NotFound(_)
            | ApiError::Forbidden(_)
            | ApiError::Conflict(_)
            | ApiError::Malformed(_)
            | ApiError::Refused(_) => {}
        }
        response
    }
}

impl From<BadKey> for ApiError {
    fn from(bad: BadKey) -> Self {
        match bad {
            BadKey::Empty => ApiError::Malformed(bad.to_string()),
            BadKey::TooLong => ApiError::TooLarge(bad.to_string()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Conflict(why) => ApiError::Conflict(why),
            ChangeError::NotFound(why) => ApiError::NotFound(why),
            ChangeError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<BadConsistency> for ApiError {
    fn from(bad: BadConsistency) -> Self {
        ApiError::Malformed(bad.to_string())
    }
}

impl From<BadRequestId> for ApiError {
    fn from(bad: BadRequestId) -> Self {
        ApiError::Malformed(format!("Idempotency-Key: {bad}"))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            ApiError::Malformed(_) => StatusCode::BAD_REQUEST,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::Conflict(_) => StatusCode::CONFLICT,
            ApiError::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::TooLarge(_) | ApiError::Refused(Refusal::TooLarge(_)) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            ApiError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            ApiError::Refused(Refusal::Overloaded) => StatusCode::TOO_MANY_REQUESTS,
            ApiError::TooManyConnections(_)
            | ApiError::Refused(Refusal::Failed(_) | Refusal::Stopping) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ApiError::Refused(Refusal::Unknown(_)) => StatusCode::GATEWAY_TIMEOUT,
            ApiError::Refused(Refusal::IdReused | Refusal::Superseded) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let message = self.to_string();
        match self.outcome() {
            Some(outcome) => {
                self.response().json(json!({ "message": message, "outcome": outcome }))
            }
            None => self.response().json(json!({ "message": message })),
        }
    }
}
