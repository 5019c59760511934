//! What an operator sees of a protocol that shows itself: `GET /raft` and
//! `GET /raft/hash` of the admin listener.

use actix_web::{HttpResponse, web};

use super::{ApiError, ClientState};

const NO_REPLICA: &str = "no replica runs on this node";

/// `GET /raft`: the state of the replica.
pub async fn state(state: web::Data<ClientState>) -> Result<HttpResponse, ApiError> {
    let shown = state.service.state().ok_or(ApiError::NotFound(NO_REPLICA.into()))?;
    Ok(HttpResponse::Ok().json(shown))
}

/// `GET /raft/hash`: a hash over its keys.
pub async fn hash(state: web::Data<ClientState>) -> Result<HttpResponse, ApiError> {
    let hash = state.service.hash().await.ok_or(ApiError::NotFound(NO_REPLICA.into()))?;
    Ok(HttpResponse::Ok().json(hash?))
}
