//! The original proposer's API: changes by name on JSON values.
//!
//! `read`, `write` and `id` are built in, so the original's clients never
//! need to register them. No other name can be registered: the original
//! evaluates a function that the client sends, this server runs no code from
//! clients.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::body::MAX_JSON_BYTES;
use super::idempotency::request_id;
use super::{ApiError, ClientState, body};
use crate::kv::Refusal;
use crate::kv::{Command, Record, Submission, VersionedJson};

/// The largest body of `POST /register-change`; a function's text is refused anyway.
const MAX_FUNCTION_BYTES: usize = 64 << 10;

const CHANGES: [&str; 3] = ["read", "write", "id"];

#[derive(Deserialize)]
#[serde(expecting = "an object with name and key")]
struct Change<'a> {
    name: String,
    key: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with ver and val")]
struct WriteParams<'a> {
    ver: u64,
    #[serde(borrow)]
    val: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with name and body")]
struct RegisterChange {
    name: String,
}

pub(super) fn refuse(
    status: StatusCode,
    code: &str,
    message: impl std::fmt::Display,
) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "code": code, "message": message.to_string() }))
}

/// What [`refuse`] is to say.
pub(super) struct Refused {
    pub status: StatusCode,
    pub code: &'static str,
    pub why: String,
}

impl Refused {
    pub(super) fn answer(self) -> HttpResponse {
        refuse(self.status, self.code, self.why)
    }
}

/// `POST /change {"name", "key", "params"}`.
pub async fn change(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let body = body::read(payload, MAX_JSON_BYTES).await?;
    let change: Change = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return Ok(malformed(&error)),
    };
    let key = body::key(&change.key)?;
    let submission = match change.name.as_str() {
        "read" | "id" => Command::Get.into(),
        "write" => match write_command(change.params)? {
            Ok(command) => Submission { command, request_id: request_id(&request)? },
            Err(why) => return Ok(refuse(StatusCode::BAD_REQUEST, "UpdateError", why)),
        },
        other => {
            let why = format!("{other:?} is not one of {CHANGES:?}");
            return Ok(refuse(StatusCode::NOT_FOUND, "UnknownChangeFunction", why));
        }
    };
    match state.service.submit(key, submission).await {
        Ok(answer) => {
            let absent = if change.name == "id" { "null" } else { VersionedJson::ABSENT };
            let value = render(&answer.outcome.after, absent);
            Ok(HttpResponse::Ok()
                .content_type("application/json")
                .body(format!(r#"{{"value":{value}}}"#)))
        }
        // The original answers 400 to all three; its clients tell them by the code.
        Err(Refusal::Failed(why)) => Ok(refuse(StatusCode::BAD_REQUEST, "PrepareError", why)),
        Err(Refusal::Unknown(why)) => Ok(refuse(StatusCode::BAD_REQUEST, "CommitError", why)),
        Err(refusal @ Refusal::Overloaded) => {
            Ok(refuse(StatusCode::BAD_REQUEST, "ConcurrentRequestError", refusal))
        }
        Err(refusal @ Refusal::Stopping) => {
            Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "ProposerIsOff", refusal))
        }
        Err(refusal @ (Refusal::TooLarge(_) | Refusal::IdReused | Refusal::Superseded)) => {
            Err(refusal.into())
        }
    }
}

fn malformed(error: &serde_json::Error) -> HttpResponse {
    let why = format!("the body is not the JSON that is asked for: {error}");
    refuse(StatusCode::BAD_REQUEST, "BadRequest", why)
}

fn write_command(params: Option<&RawValue>) -> Result<Result<Command, String>, ApiError> {
    let params = params.map_or("null", RawValue::get);
    let WriteParams { ver, val } = match serde_json::from_str(params) {
        Ok(params) => params,
        Err(error) => {
            let form = r#"{"ver": a version, "val": any JSON}"#;
            return Ok(Err(format!("the params of write are {form}: {error}")));
        }
    };
    body::check_value(val.get().as_bytes())?;
    Ok(Ok(Command::WriteVersion(VersionedJson { ver, val: val.get().to_string() })))
}

/// The value as JSON; one that was stored by another API and is not JSON is
/// shown as a string.
fn render(record: &Record, absent: &str) -> String {
    let Some(value) = &record.value else { return absent.to_string() };
    match serde_json::from_slice::<&RawValue>(value) {
        Ok(json) => json.get().to_string(),
        Err(_) => json!(String::from_utf8_lossy(value)).to_string(),
    }
}

/// `POST /register-change {"name", "body"}`.
pub async fn register_change(payload: web::Payload) -> Result<HttpResponse, ApiError> {
    let body = body::read(payload, MAX_FUNCTION_BYTES).await?;
    let change: RegisterChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return Ok(malformed(&error)),
    };
    if CHANGES.contains(&change.name.as_str()) {
        return Ok(HttpResponse::Ok().finish());
    }
    let why = format!("this server runs no code from clients; built in are {CHANGES:?}");
    Ok(refuse(StatusCode::BAD_REQUEST, "CantEvalBody", why))
}
