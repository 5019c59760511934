//! Whether a node lives, serves, and which release it is.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::ClientState;
use crate::kv::{Command, Key};

/// How long a quorum may take to answer a health check.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /health`, `GET /readyz`: whether a read through the protocol works.
pub async fn health(state: web::Data<ClientState>) -> HttpResponse {
    let key = Key::try_from("health").expect("a constant");
    match state.service.submit_within(key, Command::Get, PATIENCE).await {
        Ok(_) => HttpResponse::Ok().json(json!({ "health": "true", "node": state.node })),
        Err(refusal) => HttpResponse::ServiceUnavailable()
            .json(json!({ "health": "false", "node": state.node, "reason": refusal.to_string() })),
    }
}

/// `GET /livez`: whether the process answers at all.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// `GET /version`.
pub async fn version(state: web::Data<ClientState>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "gryadka": env!("CARGO_PKG_VERSION"),
        "wire": crate::transport::WIRE_VERSION,
        "cluster": state.cluster,
        "node": state.node,
        "protocol": state.protocol,
        "pid": std::process::id(),
    }))
}
