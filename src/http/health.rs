//! Whether a node lives, serves, and which release it is.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::ClientState;
use crate::actors::Chaos;
use crate::kv::{Command, Key};

/// How long a quorum may take to answer a health check.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /health`, `GET /readyz`: whether a read through the protocol works.
pub async fn health(state: web::Data<ClientState>) -> HttpResponse {
    let key = Key::try_from("health").expect("a constant");
    match state.service.submit_within(key, Command::Get, PATIENCE).await {
        Ok(_) => {
            let shown = json!({ "health": "true", "node": state.node });
            HttpResponse::Ok().json(with_chaos(shown, &state.chaos))
        }
        Err(refusal) => {
            let reason = refusal.to_string();
            let shown = json!({ "health": "false", "node": state.node, "reason": reason });
            HttpResponse::ServiceUnavailable().json(with_chaos(shown, &state.chaos))
        }
    }
}

/// Says so when something is done to the node's messages on purpose.
fn with_chaos(mut shown: Value, chaos: &Chaos) -> Value {
    if chaos.is_in_force() {
        let matrix = chaos.matrix().ok().flatten();
        let version = matrix.map(|(matrix, _)| matrix.version);
        shown["chaos"] = json!({ "killed": chaos.is_cut(), "matrixVersion": version });
    }
    shown
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
        "clusterId": state.cluster_id.get(),
        "node": state.node,
        "protocol": state.protocol,
        "pid": std::process::id(),
    }))
}
