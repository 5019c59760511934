//! The HTTP APIs: one file per API. A handler parses, sends one message to
//! the protocol actor, and answers; what a failure means in HTTP is said in
//! one place, [`error::ApiError`].

mod body;
mod connections;
mod error;
mod form;
mod gryadka;
mod health;
mod peer;
mod raw;
mod v2;
mod v2_answer;

use actix_web::web;

pub use connections::Connections;
pub use error::ApiError;
pub use peer::PeerState;

use crate::actors::Service;

/// What the client APIs know of their node.
#[derive(Clone)]
pub struct ClientState {
    /// The protocol.
    pub service: Service,
    /// The node's name.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
    /// What `GET /configuration` shows.
    pub configuration: serde_json::Value,
}

/// The routes of the client listener. Fixed routes win over raw keys.
pub fn client_routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/v2/keys").to(v2::keys))
        .service(web::resource("/v2/keys/{key:.*}").to(v2::keys))
        .service(web::resource("/change").to(gryadka::change))
        .service(web::resource("/register-change").to(gryadka::register_change))
        .service(web::resource("/configuration").to(gryadka::configuration))
        .service(web::resource("/health").to(health::health))
        .service(web::resource("/readyz").to(health::health))
        .service(web::resource("/livez").to(health::live))
        .service(web::resource("/version").to(health::version))
        .default_service(web::to(raw::key));
}

/// The routes of the peer listener.
pub fn peer_routes(config: &mut web::ServiceConfig) {
    config.service(web::resource(crate::transport::BATCH_PATH).to(peer::batch));
}

/// The routes of the admin listener.
pub fn admin_routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/configuration").to(gryadka::configuration))
        .service(web::resource("/health").to(health::health))
        .service(web::resource("/livez").to(health::live))
        .service(web::resource("/version").to(health::version));
}
