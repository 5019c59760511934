//! What operators ask of the acceptors through a node's admin listener.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::configuration::{PostedNode, check_known, node};
use super::gryadka::{Refused, refuse};
use super::{ApiError, ClientState, Configurations, body};
use crate::actors::{Acceptors, RescanError, WipeError};
use crate::caspaxos::{AcceptorId, AcceptorStatus, ListKind, Place};
use crate::config::parse_acceptor_id;
use crate::kv::Key;

/// The largest body that names an acceptor: a host name has up to 253 bytes.
const MAX_NODE_BYTES: usize = 4 << 10;

fn acceptors(state: &ClientState) -> Result<&Acceptors, ApiError> {
    match &state.configuration {
        Configurations::Acceptors(acceptors) => Ok(acceptors),
        Configurations::Fixed(_) => {
            Err(ApiError::NotFound("this node serves Raft; it has no acceptors".into()))
        }
    }
}

/// `GET /acceptors`: how each acceptor of the configuration stands.
pub async fn all(state: web::Data<ClientState>) -> Result<HttpResponse, ApiError> {
    let acceptors = acceptors(&state)?;
    let places = acceptors.configuration().places;
    let shown = acceptors.statuses().await.into_iter().map(|(id, status)| {
        let mut shown = node(&id, places.get(&id));
        shown["status"] = describe(status);
        shown
    });
    Ok(HttpResponse::Ok().json(shown.collect::<Vec<_>>()))
}

fn describe(status: Option<AcceptorStatus>) -> Value {
    match status {
        None => Value::Null,
        Some(status) => json!({
            "epoch": status.fence.epoch,
            "age": status.fence.age,
            "isEnrolled": status.cluster.is_some(),
            "clusterId": status.cluster,
            "isConfirmed": status.is_confirmed,
            "generation": status.claim.claim.generation.count,
            "knownGenerations": status.known.iter()
                .map(|(id, known)| (id.to_string(), json!(known.generation.count)))
                .collect::<serde_json::Map<_, _>>(),
            "registers": status.registers,
            "deleted": status.dead,
        }),
    }
}

/// The acceptor that a body names, and where it is, which must be known here; or
/// what to answer.
async fn posted(
    payload: web::Payload,
    acceptors: &Acceptors,
) -> Result<Result<(AcceptorId, Option<Place>), Refused>, ApiError> {
    let body = body::read(payload, MAX_NODE_BYTES).await?;
    let posted: Result<PostedNode, _> = serde_json::from_slice(&body);
    let places = acceptors.configuration().places;
    let posted = posted.map_err(|error| error.to_string());
    let resolved = posted.and_then(|posted| posted.resolve(&places)).map_err(|why| Refused {
        status: StatusCode::BAD_REQUEST,
        code: "BadRequest",
        why,
    });
    Ok(resolved.and_then(|(id, place)| {
        place.as_ref().map_or(Ok(()), |place| check_known(acceptors, &id, place))?;
        Ok((id, place))
    }))
}

/// `POST /acceptors/status`: how one acceptor stands, in a list or not.
pub async fn status(
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let acceptors = acceptors(&state)?;
    match posted(payload, acceptors).await? {
        Err(refused) => Ok(refused.answer()),
        Ok((id, place)) => {
            let mut shown = node(&id, place.as_ref().or(acceptors.configuration().places.get(&id)));
            shown["status"] = describe(acceptors.status(id, place).await);
            Ok(HttpResponse::Ok().json(shown))
        }
    }
}

/// `GET /collector`: how far this node's collection of deleted keys has come.
pub async fn collector(state: web::Data<ClientState>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(acceptors(&state)?.collector().status()))
}

#[derive(Deserialize)]
pub struct After {
    after: Option<String>,
    #[serde(default)]
    deleted: bool,
    limit: Option<usize>,
}

fn after(query: &After) -> Result<Option<Key>, ApiError> {
    let key = query.after.as_deref().map(Key::try_from).transpose();
    key.map_err(|error| ApiError::Malformed(format!("after: {error}")))
}

/// `GET /acceptors/{id}/keys?after=KEY&deleted=true`: a page of an acceptor's
/// keys.
pub async fn keys(
    id: web::Path<String>,
    query: web::Query<After>,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let acceptors = acceptors(&state)?;
    let id = parse_acceptor_id(&id).map_err(ApiError::Malformed)?;
    if !acceptors.configuration().acceptors().any(|member| *member == id) {
        return Err(ApiError::NotFound(format!("the configuration has no acceptor {id}")));
    }
    let kind = if query.deleted { ListKind::Dead } else { ListKind::Accepted };
    match acceptors.page(id, None, kind, after(&query)?).await {
        Err(why) => Ok(refuse(StatusCode::SERVICE_UNAVAILABLE, "AcceptorUnreachable", why)),
        Ok(page) => {
            let keys = page.entries.iter().map(|entry| {
                json!({
                    "key": entry.key,
                    "ballot": entry.accepted.to_string(),
                    "modifiedIndex": entry.record.modified_index,
                    "isLive": entry.record.is_live(),
                })
            });
            let keys: Vec<_> = keys.collect();
            Ok(HttpResponse::Ok().json(json!({ "keys": keys, "after": page.more_after })))
        }
    }
}

/// `POST /acceptors/wipe`: removes all registers of an acceptor that is in no
/// list any more.
pub async fn wipe(
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let acceptors = acceptors(&state)?;
    match posted(payload, acceptors).await? {
        Err(refused) => Ok(refused.answer()),
        Ok((id, place)) => Ok(match acceptors.wipe(id, place).await {
            Ok(()) => HttpResponse::NoContent().finish(),
            Err(why @ WipeError::Silent(_)) => {
                refuse(StatusCode::SERVICE_UNAVAILABLE, "AcceptorUnreachable", why)
            }
            Err(why @ (WipeError::Member(_) | WipeError::Refused(_))) => {
                refuse(StatusCode::CONFLICT, "NotWiped", why)
            }
        }),
    }
}

/// `POST /rescan?after=KEY&limit=N`: rescans the next keys, N of them at most.
pub async fn rescan(
    query: web::Query<After>,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    let acceptors = acceptors(&state)?;
    Ok(match acceptors.rescan(after(&query)?, query.limit.unwrap_or(usize::MAX).max(1)).await {
        Ok(rescanned) => HttpResponse::Ok().json(rescanned),
        Err(error @ RescanError::Reconfigured(..)) => {
            refuse(StatusCode::CONFLICT, "ConfigVersionMismatch", error)
        }
        Err(error @ (RescanError::NoQuorum | RescanError::Refused(..))) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "PrepareError", error)
        }
    })
}
