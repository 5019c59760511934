//! The members of the cluster: raftexample's `POST|DELETE /{id}` changes them,
//! etcd's `GET /v2/members` shows them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError, web};
use serde::Serialize;
use serde_json::json;

use super::v2_answer::{Answerer, CLUSTER_HEADER, EtcdError, cluster_id};
use super::{ApiError, ClientState, body, not_here};
use crate::actors::MemberView;
use crate::config::HttpUrl;
use crate::kv::Refusal;
use crate::raft::{Changed, MemberChange, ReplicaId};

/// The largest body of `POST /{id}`: a URL has a host name of up to 253 bytes.
const MAX_URL_BYTES: usize = 1024;

/// A member as etcd 3.4 shows it; `isLearner` is from its v3 API, and left out
/// for members that vote.
#[derive(Serialize)]
struct Member {
    /// Hexadecimal.
    id: String,
    name: String,
    #[serde(rename = "peerURLs")]
    peer_urls: [String; 1],
    #[serde(rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
}

#[derive(Serialize)]
struct MemberList {
    members: Vec<Member>,
}

impl From<MemberView> for Member {
    fn from(view: MemberView) -> Self {
        Member {
            id: format!("{:x}", view.id),
            name: view.name,
            peer_urls: [view.peer_url],
            client_urls: view.client_url.into_iter().collect(),
            is_learner: !view.is_voter,
        }
    }
}

/// `POST /{id}` with a peer URL as body, on a node that can change members.
pub async fn add(
    name: &str,
    payload: web::Payload,
    state: &ClientState,
) -> Result<HttpResponse, ApiError> {
    let id = member_id(name)?;
    let body = body::read(payload, MAX_URL_BYTES).await?;
    change(MemberChange::Add { id, peer_url: peer_url(&body)? }, id, state).await
}

/// `DELETE /{id}` on a node that can change members.
pub async fn remove(name: &str, state: &ClientState) -> Result<HttpResponse, ApiError> {
    let id = member_id(name)?;
    change(MemberChange::Remove { id }, id, state).await
}

async fn change(
    change: MemberChange,
    id: ReplicaId,
    state: &ClientState,
) -> Result<HttpResponse, ApiError> {
    let Some(result) = state.service.change_members(change).await else { return Err(not_here()) };
    Ok(match result? {
        Changed::Done => HttpResponse::NoContent().finish(),
        Changed::Learner { why } => {
            HttpResponse::Accepted().json(json!({ "id": id, "state": "learner", "reason": why }))
        }
    })
}

fn member_id(name: &str) -> Result<ReplicaId, ApiError> {
    let is_decimal = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|id| is_decimal && *id > 0).ok_or_else(|| {
        ApiError::Malformed(format!(
            "{name:?} is not the id of a member; POST and DELETE take a number from 1, as in /4, \
             and keys are deleted at /v2/keys/"
        ))
    })
}

/// The URL in a body: with a slash or a line's end after it, or without.
fn peer_url(body: &[u8]) -> Result<String, ApiError> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let url: Result<HttpUrl, _> = text.strip_suffix('/').unwrap_or(text).parse();
    url.map(|url| url.to_string()).map_err(|bad| ApiError::Malformed(format!("the body: {bad}")))
}

/// `GET /v2/members`.
pub async fn all(request: HttpRequest, state: web::Data<ClientState>) -> HttpResponse {
    answer(
        &state,
        readable(&request, &state)
            .map(|members| MemberList { members: members.into_iter().map(Member::from).collect() }),
    )
}

/// `GET /v2/members/leader`.
pub async fn leader(request: HttpRequest, state: web::Data<ClientState>) -> HttpResponse {
    let leader = readable(&request, &state).and_then(|members| {
        let leader = members.into_iter().find(|member| member.is_leader);
        // etcd's words.
        Ok(leader.ok_or_else(|| Refusal::Failed("During election".into()))?)
    });
    answer(&state, leader.map(Member::from))
}

/// The members, for a request that may see them.
fn readable(request: &HttpRequest, state: &ClientState) -> Result<Vec<MemberView>, ApiError> {
    let members = state.service.members().ok_or_else(not_here)?;
    match *request.method() {
        Method::GET | Method::HEAD => Ok(members),
        _ => Err(ApiError::MethodNotAllowed("GET, HEAD")),
    }
}

/// In etcd's form. What etcd answers too has a message alone there; what is not served
/// has an error code.
fn answer(state: &ClientState, body: Result<impl Serialize, ApiError>) -> HttpResponse {
    let body = match body {
        Ok(body) => body,
        Err(error @ ApiError::Refused(_)) => return error.error_response(),
        Err(error) => return Answerer::new(&state.cluster_id).error(&EtcdError::Api(error)),
    };
    let mut response: HttpResponseBuilder = HttpResponse::Ok();
    response.insert_header((CLUSTER_HEADER, cluster_id(&state.cluster_id)));
    let mut text = serde_json::to_string(&body).expect("plain data is JSON");
    text.push('\n');
    response.content_type("application/json").body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decimal_numbers_from_1() {
        for (name, id) in [("1", 1), ("4", 4), ("18446744073709551615", u64::MAX)] {
            assert_eq!(member_id(name), Ok(id));
        }
        for name in ["", "0", "-1", "+4", "4/", "0x4", " 4", "four", "18446744073709551616"] {
            let error = member_id(name).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn a_peer_url_is_http_host_and_port() {
        for (body, url) in [
            ("http://127.0.0.1:42379", "http://127.0.0.1:42379"),
            ("http://node-4.example:1/\n", "http://node-4.example:1"),
            ("http://[::1]:42379", "http://[::1]:42379"),
        ] {
            assert_eq!(peer_url(body.as_bytes()).unwrap(), url);
        }
        for body in [
            "",
            "127.0.0.1:42379",
            "https://127.0.0.1:42379",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:42379/raft",
            "http://127.0.0.1:42379//",
            "http://127.0.0.1:42379?x=1",
            "http://me@127.0.0.1:42379",
            "http://:42379",
        ] {
            let error = peer_url(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("is not http://HOST:PORT"), "{body}: {error}");
        }
        assert!(peer_url(b"http://\xff:1").is_err());
    }
}
