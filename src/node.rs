//! A node: from a deployment file to running actors and listeners, and back
//! to a quiet process.

mod caspaxos;
mod database;
mod error;
mod listeners;
mod replica;

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Arbiter;
use futures::FutureExt;
use tokio::time::Instant;

pub use error::StartError;

use self::caspaxos::{start_own_acceptor, start_proposer};
use self::database::NodeDatabase;
use self::listeners::{Listener, listen_for_clients, listen_for_peers};
use self::replica::start_replica;
use crate::actors::{Chaos, LoadGenerator, LoadHandle, Service};
use crate::client::Endpoint;
use crate::config::{ChaosAccess, Deployment, LoadActor, LoadFormat, ReadDefault, Serving};
use crate::http::{ClientState, Configurations, PeerState, Protocol};
use crate::kv::Consistency;
use crate::perseus::load::{Format, LoadPlan};
use crate::raft;
use crate::store::FjallDisk;

/// How long requests that are under way may take once the node is told to stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(4);
/// How long another member may take to become the leader in place of this one.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);
/// The status of a process whose replica cannot go on (`EX_SOFTWARE` of
/// sysexits).
const BROKEN_STATUS: i32 = 70;
/// How long answers may take to leave the node after that.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);
/// Runs a node until `stop` is ready, then stops it cleanly: it accepts
/// nothing new, answers what is under way and closes its stores.
pub fn run(
    deployment: Deployment,
    stop: impl Future<Output = &'static str>,
) -> Result<(), StartError> {
    let mut threads = Vec::new();
    actix::System::new().block_on(async {
        let node = Node::start(&deployment, &mut threads).await?;
        node.run_until(stop).await
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
    services: Vec<Service>,
    /// Its replica, and what is to be said when that was removed.
    replica: Option<(raft::Replica<FjallDisk>, String)>,
    listeners: Vec<Listener>,
    /// Event loops beside the one that all else is on.
    arbiters: Vec<Arbiter>,
    load: Option<LoadHandle>,
}

impl Node {
    /// Opens the stores, starts the actors, and listens.
    async fn start(
        deployment: &Deployment,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<Node, StartError> {
        listeners::try_addresses(deployment)?;
        let actors = &deployment.actors;
        let mut database = NodeDatabase::new(&deployment.data_dir);
        let chaos = match deployment.chaos {
            ChaosAccess::Nobody => Chaos::default(),
            ChaosAccess::Loopback => Chaos::allowed(&deployment.node, false),
            ChaosAccess::Anywhere => Chaos::allowed(&deployment.node, true),
        };
        let mut peer_state = PeerState {
            cluster: deployment.cluster.clone(),
            node: deployment.node.clone(),
            acceptor: None,
            overtaken: None,
            replica: None,
            chaos: chaos.clone(),
        };
        if let Some(acceptor) = &actors.acceptor {
            let address = start_own_acceptor(deployment, &acceptor.id, &mut database, threads)?;
            peer_state.acceptor = Some((acceptor.id.clone(), address));
        }
        let (mut services, mut clients, mut arbiters) = (Vec::new(), None, Vec::new());
        if let Some(proposer) = &actors.proposer {
            let own = peer_state.acceptor.clone();
            let running = start_proposer(deployment, proposer, own, &chaos, threads)?;
            peer_state.overtaken = Some(running.overtaken);
            arbiters = running.arbiters;
            services.push(running.service.clone());
            if deployment.serving() == Some(Serving::Proposer) {
                clients = Some(ClientState {
                    service: running.service,
                    node: deployment.node.clone(),
                    cluster: deployment.cluster.clone(),
                    cluster_id: running.cluster,
                    configuration: Configurations::Acceptors(running.acceptors),
                    protocol: Protocol::Caspaxos,
                    v2_reads: Consistency::Linearizable,
                    chaos: chaos.clone(),
                });
            }
        }
        let mut replica = None;
        if let Some(actor) = &actors.raft {
            let running = start_replica(deployment, actor, &mut database, &chaos, threads).await?;
            peer_state.replica = Some(running.door);
            services.push(running.service.clone());
            replica = Some((running.replica, replica::farewell(deployment, actor)));
            if deployment.serving() == Some(Serving::Raft) {
                clients = Some(ClientState {
                    service: running.service,
                    node: deployment.node.clone(),
                    cluster: deployment.cluster.clone(),
                    cluster_id: running.cluster,
                    configuration: Configurations::Fixed(replica::describe(actor)),
                    protocol: Protocol::Raft,
                    v2_reads: match actor.settings.v2_default {
                        ReadDefault::Linearizable => Consistency::Linearizable,
                        ReadDefault::Stale => Consistency::Stale,
                    },
                    chaos: chaos.clone(),
                });
            }
        }
        let mut listeners = Vec::new();
        if peer_state.acceptor.is_some() || peer_state.replica.is_some() {
            listeners.extend(listen_for_peers(deployment, peer_state)?);
        }
        if let Some(state) = clients {
            listeners.extend(listen_for_clients(deployment, state)?);
        }
        let load = actors.load.as_ref().map(start_load);
        let name = deployment.node.clone();
        Ok(Node { name, services, replica, listeners, arbiters, load })
    }

    async fn run_until(self, stop: impl Future<Output = &'static str>) -> Result<(), StartError> {
        let stop = stop.map(str::to_owned);
        let mut refused = Ok(());
        let why = match self.load {
            // A node that only puts load on others ends with its load.
            Some(mut load) if self.listeners.is_empty() => tokio::select! {
                why = stop => {
                    load.stop();
                    load.report().await;
                    why
                }
                _ = load.report() => "the load is over".into(),
            },
            Some(_) | None => match self.replica {
                Some((replica, farewell)) => tokio::select! {
                    why = stop => {
                        replica.hand_over(Instant::now() + HAND_OVER_PATIENCE).await;
                        why
                    }
                    end = replica.ended() => {
                        refused = end_if_broken(end, &self.name);
                        match &refused {
                            Ok(()) => farewell,
                            Err(_) => "the replica can be of no cluster".into(),
                        }
                    }
                },
                None => stop.await,
            },
        };
        log::info!("{}: {why}; finishing what is under way", self.name);
        self.services.iter().for_each(Service::close);
        let drained = self.services.iter().map(|service| service.drained(DRAIN_PATIENCE));
        futures::future::join_all(drained).await;
        tokio::time::sleep(FLUSH_PATIENCE).await;
        drop(self.listeners);
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            // One that panics ends the process.
            let _ = arbiter.join();
        }
        refused
    }
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

/// Ends the process at once when its replica is broken; one that was removed
/// ends like any other node, and one that can be of no cluster with an error.
fn end_if_broken(end: raft::End, node: &str) -> Result<(), StartError> {
    match end {
        raft::End::Removed => Ok(()),
        raft::End::Refused(why) => Err(StartError::Stranger(why)),
        raft::End::Broken(why) => {
            log::error!("{node}: the replica cannot go on: {why}");
            std::process::exit(BROKEN_STATUS);
        }
    }
}
