//! A node: from a deployment file to running actors and listeners, and back
//! to a quiet process.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use actix_web::dev::{Server, Service as _};
use actix_web::{App, HttpServer, web};
use futures::FutureExt;
use futures::future::Either;
use serde_json::json;

use crate::actors::{
    Acceptor, AcceptorParty, Destination, Link, LoadGenerator, LoadHandle, Post, Proposer, Service,
    Storage,
};
use crate::caspaxos::{AcceptorId, Configuration};
use crate::client::Endpoint;
use crate::config::{
    AcceptorPlace, Deployment, Listen, LoadActor, LoadFormat, ProposerActor, RedisAddress,
};
use crate::http::{self, ClientState, Connections, PeerState, Protocol};
use crate::kv::Consistency;
use crate::perseus::load::{Format, LoadPlan};
use crate::store::{EmbeddedStore, Identity, OpenError, RedisError, RedisStore};

/// Why a node does not start. Its text names what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be used.
    #[error(
        "listen.{listener}: {address} cannot be used: {error}; stop what listens there, or choose \
         another address"
    )]
    Listen {
        /// Which one.
        listener: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The data directory cannot be made.
    #[error("data_dir: {} cannot be created: {error}; choose another directory", .path.display())]
    DataDir {
        /// Where the store should be.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The store of an acceptor cannot be opened.
    #[error("acceptor {acceptor}: {error}")]
    Store {
        /// The acceptor.
        acceptor: AcceptorId,
        /// What is wrong with it.
        error: OpenError,
    },
    /// The Redis server of an acceptor may forget what it acknowledges.
    #[error("acceptor {acceptor}: {error}")]
    Redis {
        /// The acceptor.
        acceptor: AcceptorId,
        /// What is wrong with it.
        error: RedisError,
    },
    /// The storage thread of an acceptor cannot be started.
    #[error("acceptor {acceptor}: its storage thread cannot be started: {error}")]
    Thread {
        /// The acceptor.
        acceptor: AcceptorId,
        /// What the system says.
        error: io::Error,
    },
}

/// How long requests that are under way may take once the node is told to stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(4);
/// How long answers may take to leave the node after that.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);
/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// HTTP worker threads of the client listener.
const CLIENT_WORKERS: usize = 2;

/// Runs a node until `stop` is ready, then stops it cleanly: it accepts
/// nothing new, answers what is under way and closes its stores.
pub fn run(
    deployment: Deployment,
    stop: impl Future<Output = &'static str>,
) -> Result<(), StartError> {
    let mut threads = Vec::new();
    actix::System::new().block_on(async {
        let node = Node::start(&deployment, &mut threads)?;
        node.run_until(stop).await;
        Ok(())
    })?;
    // The actors are gone with their system, so the storage threads end.
    for thread in threads {
        if thread.join().is_err() {
            log::error!("a storage thread panicked");
        }
    }
    log::info!("{}: stopped", deployment.node);
    Ok(())
}

struct Node {
    name: String,
    service: Option<Service>,
    servers: Vec<Server>,
    load: Option<LoadHandle>,
}

impl Node {
    /// Opens the stores, starts the actors, and listens.
    fn start(
        deployment: &Deployment,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<Node, StartError> {
        let actors = &deployment.actors;
        let own = match &actors.acceptor {
            Some(acceptor) => {
                let address = open_embedded(deployment, &acceptor.id, threads)?;
                Some((acceptor.id.clone(), address))
            }
            None => None,
        };
        let service = match &actors.proposer {
            Some(proposer) => Some(start_proposer(deployment, proposer, own.clone(), threads)?),
            None => None,
        };
        let mut servers = Vec::new();
        if let Some(acceptor) = own {
            servers.extend(listen_for_peers(deployment, acceptor)?);
        }
        if let (Some(service), Some(proposer)) = (&service, &actors.proposer) {
            servers.extend(listen_for_clients(deployment, service, proposer)?);
        }
        let load = actors.load.as_ref().map(start_load);
        Ok(Node { name: deployment.node.clone(), service, servers, load })
    }

    async fn run_until(self, stop: impl Future<Output = &'static str>) {
        let handles: Vec<_> = self.servers.iter().map(Server::handle).collect();
        for server in self.servers {
            actix::spawn(server.map(|_| ()));
        }
        let why = match self.load {
            // A node that only puts load on others ends with its load.
            Some(mut load) if handles.is_empty() => tokio::select! {
                why = stop => {
                    load.stop();
                    load.report().await;
                    why
                }
                _ = load.report() => "the load is over",
            },
            Some(_) | None => stop.await,
        };
        log::info!("{}: {why}; finishing what is under way", self.name);
        if let Some(service) = &self.service {
            service.close();
            service.drained(DRAIN_PATIENCE).await;
        }
        tokio::time::sleep(FLUSH_PATIENCE).await;
        for handle in handles {
            handle.stop(false).await;
        }
    }
}

fn open_embedded(
    deployment: &Deployment,
    acceptor: &AcceptorId,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Addr<Acceptor>, StartError> {
    let directory = deployment.data_dir.join("store");
    let age = if directory.exists() { "as it was left" } else { "new and empty" };
    fs::create_dir_all(&directory)
        .map_err(|error| StartError::DataDir { path: directory.clone(), error })?;
    let identity = Identity { cluster: deployment.cluster.clone(), acceptor: acceptor.clone() };
    let store = EmbeddedStore::open(&directory, identity)
        .map_err(|error| StartError::Store { acceptor: acceptor.clone(), error })?;
    let directory = fs::canonicalize(&directory).unwrap_or(directory);
    log::info!("{}: acceptor {acceptor} in {}, {age}", deployment.node, directory.display());
    start_acceptor(acceptor, Storage::start(acceptor.clone(), Box::new(store)), threads)
}

/// An unsafe server is the operator's business; one that is away may come back.
fn open_redis(
    deployment: &Deployment,
    acceptor: &AcceptorId,
    address: &RedisAddress,
    is_transient: bool,
) -> Result<RedisStore, StartError> {
    let mut store = RedisStore::new(address.clone(), &deployment.cluster, is_transient);
    match store.check() {
        Ok(()) => {}
        Err(error @ RedisError::Unreachable { .. }) => {
            log::warn!("acceptor {acceptor} is away and will be tried again: {error}");
        }
        Err(error @ RedisError::Unsafe { .. }) => {
            return Err(StartError::Redis { acceptor: acceptor.clone(), error });
        }
    }
    Ok(store)
}

fn start_acceptor(
    acceptor: &AcceptorId,
    started: io::Result<(Storage, JoinHandle<()>)>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Addr<Acceptor>, StartError> {
    let failed = |error| StartError::Thread { acceptor: acceptor.clone(), error };
    let (storage, thread) = started.map_err(failed)?;
    threads.push(thread);
    Ok(Acceptor::new(storage).start())
}

fn start_proposer(
    deployment: &Deployment,
    proposer: &ProposerActor,
    own: Option<(AcceptorId, Addr<Acceptor>)>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Service, StartError> {
    let mut destinations = Vec::new();
    for acceptor in &proposer.acceptors {
        let destination = match (&acceptor.place, &own) {
            (AcceptorPlace::Redis { storage, is_transient }, _) => {
                let store = open_redis(deployment, &acceptor.id, storage, *is_transient)?;
                let store = Box::new(store);
                let started = Storage::start(acceptor.id.clone(), store);
                Destination::Local(start_acceptor(&acceptor.id, started, threads)?)
            }
            (AcceptorPlace::Node { .. }, Some((id, address))) if *id == acceptor.id => {
                Destination::Local(address.clone())
            }
            (AcceptorPlace::Node { node }, _) => {
                Destination::Remote(Post::new(&deployment.peers[node].to_string()))
            }
        };
        destinations.push((acceptor.id.clone(), destination));
    }
    let link_to = |acceptor: &AcceptorId, proposer: Addr<Proposer>| {
        let destination = destinations.iter().find(|(id, _)| id == acceptor);
        let (_, destination) = destination.expect("every acceptor has a destination");
        let (cluster, node) = (&deployment.cluster, &deployment.node);
        let (destination, proposer) = (destination.clone(), proposer.recipient());
        Link::new(AcceptorParty::new(cluster, node, acceptor.clone(), destination, proposer))
    };
    let address = Proposer::start(proposer.id, proposer.configuration(), link_to);
    Ok(Service::new(address.clone().recipient(), address.recipient()))
}

/// Starts a load on an arbiter of its own, so that a slow reader of its output
/// holds nothing else up.
fn start_load(load: &LoadActor) -> LoadHandle {
    let endpoints = load.endpoints.iter().map(|(name, url)| {
        Endpoint::new(name, &url.to_string()).expect("the deployment was checked")
    });
    let mut plan = LoadPlan::new(endpoints.collect(), Box::new(io::stdout()));
    plan.connections = load.connections.get() as usize;
    plan.duration = load.duration_seconds.map(|seconds| Duration::from_secs(seconds.get()));
    plan.format = match load.format {
        LoadFormat::Totals => Format::Totals,
        LoadFormat::Perseus => Format::Perseus,
        LoadFormat::Counters => Format::Counters,
    };
    LoadGenerator::start_on(&Arbiter::new().handle(), plan)
}

fn listen_for_peers(
    deployment: &Deployment,
    acceptor: (AcceptorId, Addr<Acceptor>),
) -> Result<Option<Server>, StartError> {
    let Some(address) = deployment.listen.peer else { return Ok(None) };
    let state = web::Data::new(PeerState {
        cluster: deployment.cluster.clone(),
        node: deployment.node.clone(),
        acceptor: Some(acceptor),
        replica: None,
    });
    let routes = move |config: &mut web::ServiceConfig| {
        config.app_data(state.clone()).configure(http::peer_routes);
    };
    serve("peer", address, 1, routes).map(Some)
}

fn listen_for_clients(
    deployment: &Deployment,
    service: &Service,
    proposer: &ProposerActor,
) -> Result<Vec<Server>, StartError> {
    let state = web::Data::new(ClientState {
        service: service.clone(),
        node: deployment.node.clone(),
        cluster: deployment.cluster.clone(),
        configuration: describe(deployment, proposer),
        protocol: Protocol::Caspaxos,
        v2_reads: Consistency::Linearizable,
    });
    let Listen { client, admin, .. } = deployment.listen;
    let mut servers = Vec::new();
    if let Some(address) = client {
        let state = state.clone();
        servers.push(serve("client", address, CLIENT_WORKERS, move |config| {
            config.app_data(state.clone()).configure(http::client_routes);
        })?);
        log::info!("{}: clients at http://{address}", deployment.node);
    }
    if let Some(address) = admin {
        servers.push(serve("admin", address, 1, move |config| {
            config.app_data(state.clone()).configure(http::admin_routes);
        })?);
    }
    Ok(servers)
}

/// A bounded HTTP server on one listener.
fn serve(
    listener: &'static str,
    address: SocketAddr,
    workers: usize,
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
            limit_sending(connection);
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
fn limit_sending(connection: &dyn std::any::Any) {
    if let Some(stream) = connection.downcast_ref::<tokio::net::TcpStream>() {
        let socket = socket2::SockRef::from(stream);
        if let Err(error) = socket.set_tcp_user_timeout(Some(http::SEND_PATIENCE)) {
            log::debug!("a connection without a time-out for sending: {error}");
        }
    }
}

/// The configuration in the original's form.
fn describe(deployment: &Deployment, proposer: &ProposerActor) -> serde_json::Value {
    let nodes = proposer.acceptors.iter().map(|acceptor| match &acceptor.place {
        AcceptorPlace::Redis { storage, .. } => {
            json!({ "id": acceptor.id, "host": storage.host, "port": storage.port })
        }
        AcceptorPlace::Node { node } => {
            let url = deployment
                .peers
                .get(node)
                .map(ToString::to_string)
                .or_else(|| deployment.listen.peer.map(|address| format!("http://{address}")));
            json!({ "id": acceptor.id, "peer": url })
        }
    });
    let nodes: Vec<_> = nodes.collect();
    let Configuration { epoch, prepare, accept } = proposer.configuration();
    json!({
        "configVersion": epoch,
        "prepare": { "nodes": nodes.clone(), "quorum": prepare.size },
        "accept": { "nodes": nodes, "quorum": accept.size },
    })
}
