//! CASPaxos on a node: its acceptor, and its proposer with the links.

use std::io;
use std::thread::JoinHandle;

use actix::{Actor, Addr};
use serde_json::json;

use super::StartError;
use super::database::NodeDatabase;
use crate::actors::{Acceptor, AcceptorParty, Destination, Link, Post, Proposer, Service, Storage};
use crate::caspaxos::{AcceptorId, Configuration};
use crate::config::{AcceptorPlace, Deployment, ProposerActor, RedisAddress};
use crate::store::{EmbeddedStore, Identity, RedisError, RedisStore};

/// Starts the acceptor of this node.
pub fn start_own_acceptor(
    deployment: &Deployment,
    acceptor: &AcceptorId,
    database: &mut NodeDatabase,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Addr<Acceptor>, StartError> {
    let failed = |error| StartError::Store { acceptor: acceptor.clone(), error };
    let identity = Identity { cluster: deployment.cluster.clone(), acceptor: acceptor.clone() };
    let opened = database.get().map_err(failed)?;
    let store = EmbeddedStore::new(opened, database.directory(), identity).map_err(failed)?;
    log::info!("{}: acceptor {acceptor} in {database}", deployment.node);
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
    let of = || format!("acceptor {acceptor}");
    let failed = |error| StartError::Thread { of: of(), error };
    let (storage, thread) = started.map_err(failed)?;
    threads.push(thread);
    Ok(Acceptor::new(storage).start())
}

/// Starts a proposer and its links.
pub fn start_proposer(
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

/// The configuration in the original's form.
pub fn describe(deployment: &Deployment, proposer: &ProposerActor) -> serde_json::Value {
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
