//! The listeners of a node.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{Server, Service as _};
use actix_web::{App, HttpServer, web};
use futures::future::Either;
use tokio::net::TcpStream;

use super::StartError;
use crate::actors::Chaos;
use crate::config::{Deployment, Listen};
use crate::http::{self, ClientState, Connections, PeerState};

/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// HTTP worker threads of the client listener.
const CLIENT_WORKERS: usize = 2;

/// Listens to other nodes, where the deployment says so.
pub fn listen_for_peers(
    deployment: &Deployment,
    state: PeerState,
) -> Result<Option<Server>, StartError> {
    let Some(address) = deployment.listen.peer else { return Ok(None) };
    let state = web::Data::new(state);
    let routes = move |config: &mut web::ServiceConfig| {
        config.app_data(state.clone()).configure(http::peer_routes);
    };
    serve("peer", address, 1, Chaos::default(), routes).map(Some)
}

/// Listens to clients and operators.
pub fn listen_for_clients(
    deployment: &Deployment,
    state: ClientState,
) -> Result<Vec<Server>, StartError> {
    let state = web::Data::new(state);
    let Listen { client, admin, .. } = deployment.listen;
    let mut servers = Vec::new();
    if let Some(address) = client {
        let state = state.clone();
        let chaos = state.chaos.clone();
        servers.push(serve("client", address, CLIENT_WORKERS, chaos, move |config| {
            config.app_data(state.clone()).configure(http::client_routes);
        })?);
        log::info!("{}: clients at http://{address}", deployment.node);
    }
    if let Some(address) = admin {
        servers.push(serve("admin", address, 1, Chaos::default(), move |config| {
            config.app_data(state.clone()).configure(http::admin_routes);
        })?);
    }
    Ok(servers)
}

/// A bounded HTTP server on one listener, whose connections `chaos` may end.
fn serve(
    listener: &'static str,
    address: SocketAddr,
    workers: usize,
    chaos: Chaos,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> Result<Server, StartError> {
    let connections = Connections::default();
    let server = HttpServer::new(move || {
        App::new()
            .wrap_fn(|request, service| match Connections::check(request.request()) {
                Ok(()) => Either::Left(service.call(request)),
                Err(error) => Either::Right(futures::future::err(error.into())),
            })
            .configure(&routes)
    });
    server
        .workers(workers)
        // Each worker stops accepting only well beyond the cap, so that who is
        // beyond it is told so.
        .max_connections(2 * Connections::CAP)
        .on_connect(move |connection, extensions| {
            if let Some(stream) = connection.downcast_ref::<TcpStream>() {
                limit_sending(stream);
                extensions.insert(chaos.note_client(stream));
            }
            connections.note(extensions);
        })
        .client_request_timeout(HEAD_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        .tcp_nodelay(true)
        .disable_signals()
        .bind(address)
        .map(HttpServer::run)
        .map_err(|error| StartError::Listen { listener, address, error })
}

/// Lets the system end a connection whose other side takes nothing more.
fn limit_sending(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = socket.set_tcp_user_timeout(Some(http::SEND_PATIENCE)) {
        log::debug!("a connection without a time-out for sending: {error}");
    }
}
