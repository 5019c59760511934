//! What makes a node misbehave, on its admin listener: the connection matrix,
//! and the node's death.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, json};

use super::{ApiError, ClientState, body};
use crate::actors::{Chaos, ChaosError};
use crate::transport::ConnectionMatrix;

/// The largest matrix is far smaller.
const MAX_MATRIX_BYTES: usize = 1 << 20;
/// The largest body that says how to kill.
const MAX_KILL_BYTES: usize = 1 << 10;

impl From<ChaosError> for ApiError {
    fn from(error: ChaosError) -> Self {
        match error {
            ChaosError::IsOff | ChaosError::NotFromThere(_) => {
                ApiError::Forbidden(error.to_string())
            }
            ChaosError::Stranger(_) => ApiError::Malformed(error.to_string()),
            ChaosError::Outdated { .. } => ApiError::Conflict(error.to_string()),
        }
    }
}

/// The chaos of this node, if whoever asks may have it.
fn admitted<'a>(request: &HttpRequest, state: &'a ClientState) -> Result<&'a Chaos, ApiError> {
    state.chaos.admit(request.peer_addr().map(|address| address.ip()))?;
    Ok(&state.chaos)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

/// `GET /chaos`: the matrix in force, and the messages since then.
pub async fn read(
    request: HttpRequest,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let chaos = admitted(&request, &state)?;
    let (matrix, messages) = match chaos.matrix()? {
        None => (None, Map::new()),
        Some((matrix, counts)) => {
            let names = matrix.nodes().iter().map(|node| node.name.clone());
            let messages = names.zip(counts).map(|(name, counts)| (name, json!(counts))).collect();
            (Some(matrix), messages)
        }
    };
    Ok(HttpResponse::Ok().json(json!({
        "node": state.node,
        "killed": chaos.is_cut(),
        "matrix": matrix,
        "messages": messages,
    })))
}

/// `PUT /chaos`: puts a matrix in force, of a version that is higher than that
/// of the one before.
pub async fn install(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let chaos = admitted(&request, &state)?;
    let matrix: ConnectionMatrix = parse(&body::read(payload, MAX_MATRIX_BYTES).await?)?;
    let version = matrix.version;
    chaos.install(matrix)?;
    log::warn!("connection matrix {version} is in force");
    Ok(HttpResponse::NoContent().finish())
}

/// How a node is to be killed.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Kill {
    /// The process ends at once, as a crash does.
    process: bool,
}

/// `POST /chaos/kill`: cuts the node off from all others and from its clients;
/// with `{"process": true}` the process aborts.
pub async fn kill(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let chaos = admitted(&request, &state)?;
    let body = body::read(payload, MAX_KILL_BYTES).await?;
    let kill: Kill = match body.is_empty() {
        true => Kill::default(),
        false => parse(&body)?,
    };
    if kill.process {
        log::warn!("told to abort");
        std::process::abort();
    }
    chaos.cut(true)?;
    log::warn!("told to play dead");
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /chaos/revive`: the end of that.
pub async fn revive(
    request: HttpRequest,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    admitted(&request, &state)?.cut(false)?;
    log::warn!("told to live again");
    Ok(HttpResponse::NoContent().finish())
}
