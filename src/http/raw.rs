//! The raw API, as in raftexample: the key is the path, the value the body.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::sending::Sending;
use super::v2_answer::INDEX_HEADER;
use super::{ApiError, ClientState, body};
use crate::kv::{Command, Key, MAX_VALUE_BYTES};

/// What someone finds who only has the address.
const GUIDE: &str = "a gryadka node: PUT and GET /KEY, etcd's v2 API at /v2/keys/, \
                     Gryadka's at /change, its state at /health and /version";

/// `PUT|GET|HEAD /{key}`.
pub async fn key(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let path = request.uri().path();
    let name = body::decode_path(path.strip_prefix('/').unwrap_or(path))?;
    match *request.method() {
        Method::GET | Method::HEAD if name.is_empty() => Err(ApiError::NotFound(GUIDE)),
        Method::GET | Method::HEAD => get(&state, body::key(&name)?).await,
        Method::PUT => {
            let key = body::key(&name)?;
            let value = body::read(payload, MAX_VALUE_BYTES).await?;
            let outcome = state.service.submit(key, Command::Set(value)).await?;
            let index = outcome.after.modified_index;
            Ok(HttpResponse::NoContent().insert_header((INDEX_HEADER, index)).finish())
        }
        _ => Err(ApiError::MethodNotAllowed("GET, HEAD, PUT")),
    }
}

async fn get(state: &ClientState, key: Key) -> Result<HttpResponse, ApiError> {
    let record = state.service.submit(key, Command::Get).await?.after;
    let index = (INDEX_HEADER, record.modified_index);
    Ok(match record.value {
        Some(value) => HttpResponse::Ok()
            .insert_header(index)
            .content_type("application/octet-stream")
            .body(Sending::new(value)?),
        None => HttpResponse::NotFound()
            .insert_header(index)
            .content_type("text/plain; charset=utf-8")
            .body("Key not found\n"),
    })
}
