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
    /// The host under which the node was reached is not one that it has.
    #[error(
        "Host {0:?}: this listener is on a loopback address and answers under an IP address or a \
         name without a dot alone, so that no web page reaches it under a name of its own; use \
         http://127.0.0.1:PORT, or have the proxy before it set Host to that"
    )]
    Misdirected(String),
    /// The body is not said to be what the resource takes.
    #[error("send the body as {0} (curl -H 'Content-Type: {0}')")]
    MediaType(&'static str),
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
    /// A body that costs more to read than it holds.
    #[error(
        "the body came in {pieces} pieces for {length} bytes; send larger chunks, of some hundred \
         bytes at least"
    )]
    TooFragmented {
        /// How many pieces.
        pieces: usize,
        /// How many bytes.
        length: usize,
    },
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
            | ApiError::Misdirected(_)
            | ApiError::MediaType(_)
            | ApiError::NotFound(_)
            | ApiError::Conflict(_)
            | ApiError::MethodNotAllowed(_)
            | ApiError::TooLarge(_)
            | ApiError::TooFragmented { .. }
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
            | ApiError::TooFragmented { .. }
            | ApiError::TooSlow(_)
            | ApiError::TooManyConnections(_)
            // Nor should a client ask again on a connection that ends.
            | ApiError::Refused(Refusal::Stopping) => {
                response.insert_header((CONNECTION, "close")).force_close();
            }
            ApiError::NotFound(_)
            | ApiError::Forbidden(_)
            | ApiError::Misdirected(_)
            | ApiError::MediaType(_)
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
            ApiError::Malformed(_) | ApiError::TooFragmented { .. } => StatusCode::BAD_REQUEST,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            ApiError::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
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
