//! The HTTP APIs: one file per API. A handler parses, sends one message to
//! the protocol actor, and answers; what a failure means in HTTP is said in
//! one place, [`error::ApiError`].

mod acceptors;
mod activity;
mod body;
mod chaos;
mod configuration;
mod connections;
mod debug;
mod error;
mod form;
mod gryadka;
mod guard;
mod health;
mod idempotency;
mod indices;
mod members;
mod peer;
mod portions;
mod raw;
mod replica;
mod sending;
mod turns;
mod v2;
mod v2_answer;

use std::time::Duration;

use actix_web::guard::fn_guard;
use actix_web::{FromRequest, Handler, HttpRequest, Responder, web};
use serde::Serialize;

pub use activity::Activity;
pub use connections::Connections;
pub use error::ApiError;
pub use guard::Guard;
pub use peer::PeerState;
pub use portions::Portions;

use crate::actors::{Acceptors, Chaos, Service};
use crate::identity::OwnCluster;
use crate::kv::Consistency;
use crate::transport::{BATCH_CONTENT_TYPE, BATCH_PATH};

const JSON: &str = "application/json";

/// How long a client may take nothing of an answer before its connection ends.
pub const SEND_PATIENCE: Duration = Duration::from_secs(30);

/// What the client APIs know of their node.
#[derive(Clone)]
pub struct ClientState {
    /// The protocol.
    pub service: Service,
    /// The node's name.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id, once it is known.
    pub cluster_id: OwnCluster,
    /// What `GET /configuration` shows.
    pub configuration: Configurations,
    /// What stands behind the APIs.
    pub protocol: Protocol,
    /// What a read of the v2 API promises that does not say.
    pub v2_reads: Consistency,
    /// What becomes of its messages and connections.
    pub chaos: Chaos,
}

/// What `GET /configuration` shows, and whether it can be changed.
#[derive(Clone)]
pub enum Configurations {
    /// It is what the deployment says.
    Fixed(serde_json::Value),
    /// It is of acceptors, which an operator can change.
    Acceptors(Acceptors),
}

/// How a node replicates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A register per key, without a leader.
    Caspaxos,
    /// A log, with a leader.
    Raft,
}

/// The routes of the client listener. Fixed routes win over raw keys, and so
/// does everything below `/v2`, so that a request of another of etcd's APIs
/// never becomes a key.
pub fn client_routes(config: &mut web::ServiceConfig) {
    config
        .service(v2_scope())
        .service(web::resource("/metrics").to(async || Err::<(), _>(not_here())))
        .service(writable("/change", gryadka::change))
        .service(writable("/register-change", gryadka::register_change))
        .service(configuration_resource(configuration::change_among_known))
        .service(readable("/health", health::health))
        .service(readable("/readyz", health::health))
        .service(readable("/livez", health::live))
        .service(readable("/version", health::version))
        .default_service(web::to(raw::key));
}

/// In scopes, so that no pattern is tried: neither on a key below it nor on what is
/// not.
fn v2_scope() -> actix_web::Scope {
    web::scope("/v2")
        .service(web::scope("/keys").default_service(web::to(v2::keys)))
        .service(web::resource(["/members", "/members/"]).to(members::all))
        .service(web::resource("/members/leader").to(members::leader))
        .default_service(web::to(v2::nothing))
}

/// A resource that is read with GET and HEAD, and nothing else.
fn readable<F, Args>(path: &str, handler: F) -> actix_web::Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(otherwise("GET, HEAD", JSON))
}

/// A resource that takes POST of JSON, and nothing else.
fn writable<F, Args>(path: &str, handler: F) -> actix_web::Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::post().guard(fn_guard(guard::is_json)).to(handler))
        .default_service(otherwise("POST", JSON))
}

fn configuration_resource<F, Args>(change: F) -> actix_web::Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource("/configuration")
        .route(web::get().to(configuration::read))
        .route(web::head().to(configuration::read))
        .route(web::post().guard(fn_guard(guard::is_json)).to(change))
        .default_service(otherwise("GET, HEAD, POST", JSON))
}

fn chaos_resource() -> actix_web::Resource {
    web::resource("/chaos")
        .route(web::get().to(chaos::read))
        .route(web::put().guard(fn_guard(guard::is_json)).to(chaos::install))
        .default_service(otherwise("GET, PUT", JSON))
}

/// What a resource says to a request that none of its routes takes: of another
/// method, or with a body that is not said to be what it wants.
fn otherwise(allowed: &'static str, content_type: &'static str) -> actix_web::Route {
    web::to(move |request: HttpRequest| async move {
        let is_allowed = allowed.split(", ").any(|method| method == request.method().as_str());
        Err::<(), _>(match is_allowed {
            true => ApiError::MediaType(content_type),
            false => ApiError::MethodNotAllowed(allowed),
        })
    })
}

fn not_here() -> ApiError {
    ApiError::NotFound("no such API here; the v2 API is at /v2/keys/".into())
}

/// The routes of the peer listener.
pub fn peer_routes(config: &mut web::ServiceConfig) {
    let batch = web::resource(BATCH_PATH);
    let batch = batch.route(web::post().guard(fn_guard(guard::is_batch)).to(peer::batch));
    config.service(batch.default_service(otherwise("POST", BATCH_CONTENT_TYPE)));
}

/// The routes of the admin listener.
pub fn admin_routes(config: &mut web::ServiceConfig) {
    config
        .service(configuration_resource(configuration::change))
        .service(readable("/acceptors", acceptors::all))
        .service(readable("/acceptors/{id}/keys", acceptors::keys))
        .service(writable("/acceptors/status", acceptors::status))
        .service(readable("/collector", acceptors::collector))
        .service(readable("/debug", debug::all))
        .service(readable("/debug/{variable}", debug::one))
        .service(chaos_resource())
        .service(writable("/chaos/kill", chaos::kill))
        .service(writable("/chaos/revive", chaos::revive))
        .service(writable("/acceptors/wipe", acceptors::wipe))
        .service(writable("/rescan", acceptors::rescan))
        .service(readable("/health", health::health))
        .service(readable("/readyz", health::health))
        .service(readable("/livez", health::live))
        .service(readable("/version", health::version))
        .service(readable("/raft", replica::state))
        .service(readable("/raft/hash", replica::hash));
}
