//! The configuration of CASPaxos in the original's form, and its changes.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::gryadka::{Refused, refuse};
use super::{ApiError, ClientState, Configurations, body};
use crate::actors::Acceptors;
use crate::caspaxos::{
    AcceptorId, Configuration, ConfigurationStep, Epoch, MAX_ACCEPTORS, Place, Quorum,
    ReconfigurationError, UnsafeConfiguration,
};
use crate::config::{HttpUrl, RedisAddress, parse_acceptor_id};

/// The largest body of `POST /configuration`: two lists of [`MAX_ACCEPTORS`], each
/// with its name and a host name of 253 bytes.
const MAX_BYTES: usize = 128 << 10;

/// How many of the rescans that a step needs run at once: each reads every key.
static RESCANS: Semaphore = Semaphore::const_new(1);

/// `GET /configuration`.
pub async fn read(state: web::Data<ClientState>) -> HttpResponse {
    match &state.configuration {
        Configurations::Fixed(configuration) => HttpResponse::Ok().json(configuration),
        Configurations::Acceptors(acceptors) => HttpResponse::Ok().json(describe(acceptors)),
    }
}

/// The configuration in the original's form.
pub(super) fn describe(acceptors: &Acceptors) -> Value {
    let configuration = acceptors.configuration();
    let quorum = |quorum: &Quorum| {
        let nodes = quorum.acceptors.iter().map(|id| node(id, configuration.places.get(id)));
        json!({ "nodes": nodes.collect::<Vec<_>>(), "quorum": quorum.size })
    };
    json!({
        "proposerId": acceptors.proposer(),
        "configVersion": configuration.epoch,
        "prepare": quorum(&configuration.prepare),
        "accept": quorum(&configuration.accept),
        "settled": configuration.is_settled(),
        "rescanNeeded": !configuration.held.is_empty(),
    })
}

/// A node in the original's form, with its name.
pub fn node(id: &AcceptorId, place: Option<&Place>) -> Value {
    match place {
        Some(Place::Redis { host, port, is_transient: false }) => {
            json!({ "id": id, "host": host, "port": port })
        }
        Some(Place::Redis { host, port, is_transient: true }) => {
            json!({ "id": id, "host": host, "port": port, "isTransient": true })
        }
        Some(Place::Peer { url }) => json!({ "id": id, "peer": url }),
        None => json!({ "id": id }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with configVersion, prepare and accept")]
struct Posted {
    config_version: u64,
    prepare: PostedQuorum,
    accept: PostedQuorum,
    /// Whether every key was rescanned under the version that was read. The original's
    /// control node, which reads the keys of its own Redis servers, says nothing: then
    /// this node does it, where the step needs it.
    rescanned: Option<bool>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with nodes and quorum")]
struct PostedQuorum {
    nodes: Vec<PostedNode>,
    quorum: usize,
}

/// An acceptor as operators write it: `{"host", "port"}` of a Redis or
/// `{"peer"}` of a node, with a name where it has none yet. A Redis without a name is
/// called `HOST:PORT`, since the original has no names.
#[derive(Clone, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "an object with id and host and port, or with id and peer"
)]
pub struct PostedNode {
    id: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    is_transient: bool,
    peer: Option<HttpUrl>,
}

impl PostedNode {
    /// Whom it means, and where that is if it says so.
    pub fn resolve(
        self,
        known: &BTreeMap<AcceptorId, Place>,
    ) -> Result<(AcceptorId, Option<Place>), String> {
        let place = match (self.host, self.port, self.peer) {
            (None, None, None) => None,
            (None, None, Some(url)) => Some(Place::Peer { url: url.to_string() }),
            (Some(host), Some(port), None) => {
                let address = RedisAddress::checked(&host, port)?;
                let RedisAddress { host, port } = address;
                Some(Place::Redis { host, port, is_transient: self.is_transient })
            }
            _ => return Err("a node has either host and port, or peer".into()),
        };
        let is_there = |(_, other): &(_, &Place)| {
            place.as_ref().is_some_and(|place| is_same_place(other, place))
        };
        let id = match (self.id, &place, known.iter().find(is_there)) {
            (Some(id), _, _) => parse_acceptor_id(&id)?,
            (None, Some(_), Some((id, _))) => id.clone(),
            (None, Some(Place::Redis { host, port, .. }), None) => {
                let id = parse_acceptor_id(&format!("{host}:{port}"));
                let id = id.map_err(|why| {
                    format!("a node without an id is called by its address; give it an id: {why}")
                })?;
                if known.contains_key(&id) {
                    return Err(format!(
                        "acceptor {id} is known and is elsewhere; give the new one an id"
                    ));
                }
                id
            }
            (None, Some(Place::Peer { .. }), None) => {
                return Err(
                    "a node at a peer that is not known yet needs an id, the acceptor's name"
                        .into(),
                );
            }
            (None, None, _) => return Err("a node needs an id, host and port, or peer".into()),
        };
        if place.is_none() && !known.contains_key(&id) {
            return Err(format!(
                "acceptor {id} is not known yet; say where it is, with host and port or with peer"
            ));
        }
        Ok((id, place))
    }
}

/// That a place of the caller's is one that the node knows by itself. It must not be
/// made to connect to others: what it reaches, the caller may not.
pub(super) fn check_known(
    acceptors: &Acceptors,
    id: &AcceptorId,
    place: &Place,
) -> Result<(), Refused> {
    if acceptors.known_places().iter().any(|known| is_same_place(known, place)) {
        return Ok(());
    }
    let place = match place {
        Place::Peer { url } => url.clone(),
        Place::Redis { host, port, .. } => format!("redis {host}:{port}"),
    };
    let why = format!(
        "{place}, where acceptor {id} is said to be, is not known here: neither the \
         configurations since this node started nor the peers of its deployment file have it; add \
         the acceptor by POST /configuration on the admin listener (gryadkactl acceptors grow)"
    );
    Err(Refused { status: StatusCode::FORBIDDEN, code: "UnknownPlace", why })
}

fn is_same_place(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Place::Peer { url: one }, Place::Peer { url: other }) => one == other,
        (Place::Redis { host, port, .. }, Place::Redis { host: other, port: at, .. }) => {
            host == other && port == at
        }
        (Place::Peer { .. }, Place::Redis { .. }) | (Place::Redis { .. }, Place::Peer { .. }) => {
            false
        }
    }
}

/// `POST /configuration` of the admin listener: a step from the version that was
/// read. An acceptor that comes may be anywhere.
pub async fn change(
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    make_step(payload, &state, |_, _, _| Ok(())).await
}

/// `POST /configuration` of the client listener. An acceptor that comes is where the
/// node knows one.
pub async fn change_among_known(
    payload: web::Payload,
    state: web::Data<ClientState>,
) -> Result<HttpResponse, ApiError> {
    make_step(payload, &state, check_known).await
}

async fn make_step(
    payload: web::Payload,
    state: &ClientState,
    check: impl Fn(&Acceptors, &AcceptorId, &Place) -> Result<(), Refused>,
) -> Result<HttpResponse, ApiError> {
    let body = body::read(payload, MAX_BYTES).await?;
    let Configurations::Acceptors(acceptors) = &state.configuration else {
        let why = "the members of a Raft cluster change by POST /ID and DELETE /ID";
        return Ok(refuse(StatusCode::BAD_REQUEST, "BadRequest", why));
    };
    let malformed = |why: &dyn std::fmt::Display| {
        let why = format!("the body is not a configuration: {why}");
        Ok(refuse(StatusCode::BAD_REQUEST, "BadRequest", why))
    };
    let posted: Posted = match serde_json::from_slice(&body) {
        Ok(posted) => posted,
        Err(error) => return malformed(&error),
    };
    let known = acceptors.configuration();
    // Before its nodes: they may be known to a version that is not read here.
    let (expected, found) = (Epoch(posted.config_version), known.epoch);
    if expected != found {
        let error = UnsafeConfiguration::Mismatch { expected, found };
        return Ok(refuse_step(&error.into()));
    }
    let says_nothing = posted.rescanned.is_none();
    let step = match step(posted, &known) {
        Ok(step) => step,
        Err(why) => return malformed(&why),
    };
    if let Some(refused) =
        step.places.iter().find_map(|(id, place)| check(acceptors, id, place).err())
    {
        return Ok(refused.answer());
    }
    let acceptors = acceptors.clone();
    // A client that goes away stops nothing: it may ask again.
    let made = actix_web::rt::spawn(async move {
        let step = match says_nothing && needs_rescan(&known, &step) {
            true => {
                let _only = RESCANS.try_acquire().map_err(|_| ReconfigurationError::Busy)?;
                acceptors.rescan_all(step.from).await?;
                ConfigurationStep { is_rescanned: true, ..step }
            }
            false => step,
        };
        acceptors.reconfigure(step).await.map(|_| describe(&acceptors))
    });
    Ok(match made.await.unwrap_or(Err(ReconfigurationError::Unknown)) {
        Ok(shown) => HttpResponse::Ok().json(shown),
        Err(error) => refuse_step(&error),
    })
}

/// Whether a step is safe once every key was rescanned, and not before.
fn needs_rescan(known: &Configuration, step: &ConfigurationStep) -> bool {
    matches!(known.after(step.clone()), Err(UnsafeConfiguration::Hidden { .. }))
}

fn refuse_step(error: &ReconfigurationError) -> HttpResponse {
    let (status, code) = class(error);
    refuse(status, code, error)
}

fn step(posted: Posted, known: &Configuration) -> Result<ConfigurationStep, String> {
    let mut places = BTreeMap::new();
    let mut quorum = |posted: PostedQuorum| {
        if posted.nodes.len() > MAX_ACCEPTORS {
            return Err(format!("a list has {MAX_ACCEPTORS} nodes at most"));
        }
        let mut acceptors = Vec::with_capacity(posted.nodes.len());
        for node in posted.nodes {
            let (id, place) = node.resolve(&known.places)?;
            // Where a known acceptor is does not change by the way.
            if let Some(place) = place.filter(|_| !known.places.contains_key(&id)) {
                places.insert(id.clone(), place);
            }
            acceptors.push(id);
        }
        Ok::<_, String>(Quorum { acceptors, size: posted.quorum })
    };
    let (prepare, accept) = (quorum(posted.prepare)?, quorum(posted.accept)?);
    let from = Epoch(posted.config_version);
    Ok(ConfigurationStep {
        from,
        prepare,
        accept,
        places,
        is_rescanned: posted.rescanned.unwrap_or(false),
    })
}

fn class(error: &ReconfigurationError) -> (StatusCode, &'static str) {
    match error {
        ReconfigurationError::Unsafe(UnsafeConfiguration::Mismatch { .. }) => {
            (StatusCode::BAD_REQUEST, "ConfigVersionMismatch")
        }
        ReconfigurationError::Unsafe(_) => (StatusCode::BAD_REQUEST, "UnsafeConfiguration"),
        ReconfigurationError::Busy => (StatusCode::BAD_REQUEST, "ConcurrentRequestError"),
        ReconfigurationError::NotEmpty(_) => (StatusCode::CONFLICT, "AcceptorNotEmpty"),
        ReconfigurationError::OtherCluster { .. } => (StatusCode::CONFLICT, "OtherCluster"),
        ReconfigurationError::Unreachable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "AcceptorUnreachable")
        }
        ReconfigurationError::NoQuorum(_) => (StatusCode::SERVICE_UNAVAILABLE, "NoQuorum"),
        ReconfigurationError::Failed | ReconfigurationError::NotFounded => {
            (StatusCode::SERVICE_UNAVAILABLE, "PrepareError")
        }
        ReconfigurationError::Unknown => (StatusCode::GATEWAY_TIMEOUT, "CommitError"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(posted: &str) -> Result<String, String> {
        let redis = |port| Place::Redis { host: "redis".into(), port, is_transient: false };
        let known = [("a1", redis(6379)), ("redis:6381", redis(6380))];
        let known = known.map(|(id, place)| (AcceptorId::from(id), place)).into();
        let node: PostedNode = serde_json::from_str(posted).unwrap();
        node.resolve(&known).map(|(id, _)| id.to_string())
    }

    #[test]
    fn a_redis_without_an_id_is_the_known_one_there_or_called_by_its_address() {
        for (posted, id) in [
            (r#"{"host":"redis","port":6379}"#, "a1"),
            (r#"{"host":"redis","port":6380}"#, "redis:6381"),
            (r#"{"host":"redis","port":6382}"#, "redis:6382"),
            (r#"{"id":"a4","host":"redis","port":6382}"#, "a4"),
        ] {
            assert_eq!(resolved(posted), Ok(id.to_owned()));
        }
        for (posted, why) in [
            // That name is another server's.
            (r#"{"host":"redis","port":6381}"#, "acceptor redis:6381 is known and is elsewhere"),
            (r#"{"host":"::1","port":0}"#, "0 is not a port"),
            (r#"{"peer":"http://redis:8101"}"#, "a node at a peer"),
            (r#"{}"#, "a node needs an id"),
        ] {
            assert!(resolved(posted).unwrap_err().contains(why), "{posted}");
        }
        let long = format!(r#"{{"host":"{}","port":6382}}"#, "h".repeat(70));
        assert!(resolved(&long).unwrap_err().contains("give it an id"));
    }
}
