//! The listeners of a node.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_http::{ConnectionType, HttpService};
use actix_service::map_config;
use actix_web::dev::{AppConfig, Service, ServiceFactory};
use actix_web::{App, ResponseError, web};
use futures::FutureExt;
use futures::future::Either;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::StartError;
use crate::actors::Chaos;
use crate::config::{Deployment, Listen};
use crate::http::{self, Activity, ClientState, Connections, Guard, PeerState, Portions};

/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may take to end.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long an idle connection is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How much of its answers the system keeps for a connection before it is sent.
const UNSENT_BYTES: u32 = 128 << 10;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Listeners of a node.
const LISTENERS: u64 = 3;
/// The descriptors that are kept for the store, the other nodes and Redis.
const RESERVED_DESCRIPTORS: u64 = 256;
/// What a system usually allows that does not say it.
const USUAL_DESCRIPTORS: u64 = 1024;
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
    let connections = Connections::new(connection_cap());
    let most = 2 * connections.cap();
    let guard = Guard::new(address);
    let app = App::new()
        .wrap_fn(move |mut request, service| {
            let activity = request.conn_data::<Rc<Activity>>().expect("each has one").clone();
            activity.begin(&mut request);
            let offers_upgrade = request.head().upgrade();
            let admitted = Connections::check(request.request());
            let answer = match admitted.and_then(|()| guard.check(request.head())) {
                Ok(()) => Either::Left(service.call(request)),
                Err(error) => {
                    let answer = request.into_response(error.error_response());
                    Either::Right(futures::future::ok(answer))
                }
            };
            answer.map(move |mut answer| {
                let head = answer.as_mut().ok().map(|answer| answer.response_mut().head_mut());
                let is_last = head.is_none_or(|head| {
                    // The HTTP server closes the connection behind an answer to who offers to
                    // change the protocol; it must say so.
                    if offers_upgrade || activity.leaves_body() {
                        head.set_connection_type(ConnectionType::Close);
                    }
                    head.connection_type() == ConnectionType::Close
                });
                activity.end(is_last);
                answer
            })
        })
        .configure(&routes);
    let server = HttpService::build()
        .on_connect_ext(move |stream: &Portions, extensions| {
            extensions.insert(chaos.note_client(stream.tcp()));
            extensions.insert(stream.activity());
            connections.note(extensions, stream.activity());
        })
        .client_request_timeout(HEAD_PATIENCE)
        .client_disconnect_timeout(DISCONNECT_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        .local_addr(address)
        .h1(map_config(app, |()| AppConfig::default()));
    Ok(Listener(actix::spawn(async move {
        let server = server.new_service(()).await.expect("the routes are fixed");
        accept(name, listener, server, most).await;
    })))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many connections each listener serves, so that all of them together, with
/// those that are turned away or about to end, leave some descriptors of the process.
fn connection_cap() -> usize {
    let allowed = rlimit::Resource::NOFILE.get_soft().unwrap_or(USUAL_DESCRIPTORS);
    let each = allowed.saturating_sub(RESERVED_DESCRIPTORS) / (2 * LISTENERS);
    usize::try_from(each).unwrap_or(Connections::MOST).clamp(1, Connections::MOST)
}

/// Tries the addresses of all listeners, before anything is written.
pub fn try_addresses(deployment: &Deployment) -> Result<(), StartError> {
    let Listen { client, peer, admin } = deployment.listen;
    for (listener, address) in [("client", client), ("peer", peer), ("admin", admin)] {
        let Some(address) = address else { continue };
        bind(address).map_err(|error| StartError::Listen { listener, address, error })?;
    }
    Ok(())
}

/// Serves connections side by side until it is dropped, and they with it: so many at
/// `most`, and those beyond are not even told so.
async fn accept(
    name: &str,
    listener: TcpListener,
    server: impl Service<(Portions, Option<SocketAddr>), Future: 'static>,
    most: usize,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= most => {}
                Ok((stream, peer)) => {
                    prepare(&stream);
                    let connection = server.call((Portions::new(stream), Some(peer)));
                    connections.spawn_local(connection.map(|_| ()));
                    // Those that are served go on between two that come.
                    tokio::task::yield_now().await;
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

/// Has the system send each answer at once, and end a connection whose other side
/// takes nothing more.
fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let prepared = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(http::SEND_PATIENCE)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES));
    if let Err(error) = prepared {
        log::debug!("a connection without its options: {error}");
    }
}
