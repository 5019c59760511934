//! The raw API, as in raftexample: the key is the path, the value the body.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::v2_answer::INDEX_HEADER;
use super::{ApiError, ClientState, body};
use crate::kv::{Command, Key, MAX_VALUE_BYTES};

/// `PUT|GET|HEAD /{key}`.
pub async fn key(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let path = request.uri().path();
    let key = body::decode_path(path.strip_prefix('/').unwrap_or(path))?;
    match *request.method() {
        Method::GET | Method::HEAD => get(&state, Key::try_from(key.as_str())?).await,
        Method::PUT => {
            let key = Key::try_from(key.as_str())?;
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
            .body(value),
        None => HttpResponse::NotFound()
            .insert_header(index)
            .content_type("text/plain; charset=utf-8")
            .body("Key not found\n"),
    })
}
