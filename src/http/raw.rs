//! The raw API, as in raftexample: the key is the path, the value the body.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::idempotency::request_id;
use super::indices::Indices;
use super::sending::Sending;
use super::{ApiError, ClientState, body, members};
use crate::kv::{Command, Consistency, Key, MAX_VALUE_BYTES, Submission};

/// What someone finds who only has the address.
const GUIDE: &str = "a gryadka node: PUT and GET /KEY, etcd's v2 API at /v2/keys/, \
                     Gryadka's at /change, its state at /health and /version";

/// `PUT|GET|HEAD /{key}`, and where members can be changed `POST|DELETE /{id}`.
pub async fn key(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let path = request.uri().path();
    let name = body::decode_path(path.strip_prefix('/').unwrap_or(path))?;
    let has_members = state.service.has_members();
    match *request.method() {
        Method::GET | Method::HEAD if name.is_empty() => Err(ApiError::NotFound(GUIDE.into())),
        Method::GET | Method::HEAD => {
            let consistency = consistency(request.query_string())?;
            get(&state, body::key(&name)?, consistency).await
        }
        Method::PUT => {
            let key = body::key(&name)?;
            let request_id = request_id(&request)?;
            let value = body::read(payload, MAX_VALUE_BYTES).await?;
            let submission = Submission { command: Command::Set(value), request_id };
            let answer = state.service.submit(key, submission).await?;
            let mut response = HttpResponse::NoContent();
            Indices::from(&answer).put_on(&mut response);
            Ok(response.finish())
        }
        Method::POST if has_members => members::add(&name, payload, &state).await,
        Method::DELETE if has_members => members::remove(&name, &state).await,
        _ if has_members => Err(ApiError::MethodNotAllowed("GET, HEAD, PUT, POST, DELETE")),
        _ => Err(ApiError::MethodNotAllowed("GET, HEAD, PUT")),
    }
}

async fn get(
    state: &ClientState,
    key: Key,
    consistency: Consistency,
) -> Result<HttpResponse, ApiError> {
    let answer = state.service.get(key, consistency).await?;
    let indices = Indices::from(&answer);
    Ok(match answer.outcome.after.value {
        Some(value) => {
            let mut response = HttpResponse::Ok();
            indices.put_on(&mut response);
            response.content_type("application/octet-stream").body(Sending::new(value)?)
        }
        None => {
            let mut response = HttpResponse::NotFound();
            indices.put_on(&mut response);
            response.content_type("text/plain; charset=utf-8").body("Key not found\n")
        }
    })
}

/// What the query says of the consistency; the first one counts.
fn consistency(query: &str) -> Result<Consistency, ApiError> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    match pairs.find(|(name, _)| name == "consistency") {
        Some((_, value)) => Ok(value.parse()?),
        None => Ok(Consistency::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_linearizable_unless_it_says_stale() {
        for (query, consistency) in [
            ("", Consistency::Linearizable),
            ("other=%zz&stale", Consistency::Linearizable),
            ("consistency=linearizable", Consistency::Linearizable),
            ("x=1&consistency=stale&consistency=x", Consistency::Stale),
        ] {
            assert_eq!(super::consistency(query), Ok(consistency), "{query}");
        }
        for query in ["consistency", "consistency=", "consistency=Stale", "consistency=eventual"] {
            let error = super::consistency(query).unwrap_err().to_string();
            assert!(error.contains("linearizable or stale"), "{query}: {error}");
        }
    }
}
