//! The listeners of a node.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_http::HttpService;
use actix_service::map_config;
use actix_web::dev::{AppConfig, Service, ServiceFactory};
use actix_web::{App, web};
use futures::FutureExt;
use futures::future::Either;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::StartError;
use crate::actors::Chaos;
use crate::config::{Deployment, Listen};
use crate::http::{self, ClientState, Connections, PeerState};

/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may take to end.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long an idle connection is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long nothing is accepted after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens to other nodes, where the deployment says so.
pub fn listen_for_peers(
    deployment: &Deployment,
    state: PeerState,
) -> Result<Option<Listener>, StartError> {
    let Some(address) = deployment.listen.peer else { return Ok(None) };
    let state = web::Data::new(state);
    let routes = move |config: &mut web::ServiceConfig| {
        config.app_data(state.clone()).configure(http::peer_routes);
    };
    serve("peer", address, Chaos::default(), routes).map(Some)
}

/// Listens to clients and operators.
pub fn listen_for_clients(
    deployment: &Deployment,
    state: ClientState,
) -> Result<Vec<Listener>, StartError> {
    let state = web::Data::new(state);
    let Listen { client, admin, .. } = deployment.listen;
    let mut servers = Vec::new();
    if let Some(address) = client {
        let state = state.clone();
        let chaos = state.chaos.clone();
        servers.push(serve("client", address, chaos, move |config| {
            config.app_data(state.clone()).configure(http::client_routes);
        })?);
        log::info!("{}: clients at http://{address}", deployment.node);
    }
    if let Some(address) = admin {
        servers.push(serve("admin", address, Chaos::default(), move |config| {
            config.app_data(state.clone()).configure(http::admin_routes);
        })?);
    }
    Ok(servers)
}

/// A listener at work on the event loop of its node; dropping it closes it and
/// all of its connections.
pub struct Listener(tokio::task::JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A bounded HTTP server on one listener, whose connections `chaos` may end.
///
/// It works on the event loop of its caller, as the actors do that it asks: a
/// request does not wait for another thread to wake up, twice each way, which on
/// a small machine takes longer than the request itself. The HTTP server of
/// actix-web has threads of its own, always.
fn serve(
    name: &'static str,
    address: SocketAddr,
    chaos: Chaos,
    routes: impl Fn(&mut web::ServiceConfig),
) -> Result<Listener, StartError> {
    let failed = |error| StartError::Listen { listener: name, address, error };
    let listener = bind(address).map_err(failed)?;
    let connections = Connections::default();
    let app = App::new()
        .wrap_fn(|request, service| match Connections::check(request.request()) {
            Ok(()) => Either::Left(service.call(request)),
            Err(error) => Either::Right(futures::future::err(error.into())),
        })
        .configure(&routes);
    let server = HttpService::build()
        .on_connect_ext(move |stream: &TcpStream, extensions| {
            limit_sending(stream);
            extensions.insert(chaos.note_client(stream));
            connections.note(extensions);
        })
        .client_request_timeout(HEAD_PATIENCE)
        .client_disconnect_timeout(DISCONNECT_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        .tcp_nodelay(true)
        .local_addr(address)
        .h1(map_config(app, |()| AppConfig::default()))
        .tcp();
    Ok(Listener(actix::spawn(async move {
        let server = server.new_service(()).await.expect("the routes are fixed");
        accept(name, listener, server).await;
    })))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves connections side by side until it is dropped, and they with it.
async fn accept(
    name: &str,
    listener: TcpListener,
    server: impl Service<TcpStream, Future: 'static>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // More than well beyond the cap are not even told so.
                Ok(_) if connections.len() >= 2 * Connections::CAP => {}
                Ok((stream, _)) => {
                    let connection = server.call(stream);
                    connections.spawn_local(connection.map(|_| ()));
                }
                // Of that connection, or of the process: then others have to end.
                Err(error) => {
                    log::debug!("{name}: a connection was not accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Lets the system end a connection whose other side takes nothing more.
fn limit_sending(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = socket.set_tcp_user_timeout(Some(http::SEND_PATIENCE)) {
        log::debug!("a connection without a time-out for sending: {error}");
    }
}
