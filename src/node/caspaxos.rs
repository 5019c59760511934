//! CASPaxos on a node: its acceptor, and its proposer with the links.

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;

use super::StartError;
use super::database::NodeDatabase;
use crate::actors::{
    Acceptor, AcceptorLink, AcceptorParty, Acceptors, Chaos, Collector, ConfigurationKeeper,
    Destination, Link, LinkTo, Overtaken, Post, Proposer, ProposerView, Service, Shards, Siblings,
    Storage,
};
use crate::caspaxos::{AcceptorId, Configuration, Place, Settings};
use crate::config::{AcceptorPlace, AcceptorRef, Deployment, ProposerActor, RedisAddress};
use crate::identity::OwnCluster;
use crate::store::{EmbeddedStore, Identity, RedisError, RedisStore, read_configuration};
use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use rand::seq::IndexedRandom;

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

/// A proposer that runs.
pub struct Running {
    /// For clients.
    pub service: Service,
    /// For operators.
    pub acceptors: Acceptors,
    /// Its cluster.
    pub cluster: OwnCluster,
    /// Who is to know what others ask the acceptor of this node for.
    pub overtaken: Shards<Overtaken>,
    /// The event loops of all shards but the first.
    pub arbiters: Vec<Arbiter>,
}

/// Starts a proposer, with the configuration that it knew last.
pub fn start_proposer(
    deployment: &Deployment,
    proposer: &ProposerActor,
    own: Option<(AcceptorId, Addr<Acceptor>)>,
    chaos: &Chaos,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Running, StartError> {
    let path = deployment.data_dir.join("configuration.json");
    let kept = read_configuration(&path).map_err(StartError::Configuration)?;
    let founding = founding(deployment, proposer);
    let cluster = kept.as_ref().map(|kept| kept.cluster);
    // While the founding configuration is in force, the deployment file has it; the
    // acceptors say whether it is that of the cluster.
    let newer = kept.map(|kept| kept.configuration).filter(|kept| kept.epoch > founding.epoch);
    let configuration = newer.unwrap_or_else(|| founding.clone());
    check_redis(deployment, &configuration)?;
    let (keeper, thread) = ConfigurationKeeper::start(path)
        .map_err(|error| StartError::Thread { of: "the configuration".into(), error })?;
    threads.push(thread);
    // Where it has none of its own, any will do, not the same for all proposers.
    let any = || configuration.prepare.acceptors.choose(&mut rand::rng()).cloned();
    let nearest = own.as_ref().map(|(id, _)| id.clone()).or_else(any);
    let founding_places: Vec<Place> = founding.places.values().cloned().collect();
    let links = Links {
        cluster: deployment.cluster.clone(),
        node: deployment.node.clone(),
        own,
        founding: founding.places,
        chaos: chaos.clone(),
    };
    let shards = proposer.shards.get();
    let settings = Settings::default();
    let settings =
        Settings { nearest, kept_bytes: settings.kept_bytes / shards as usize, ..settings };
    let start = |arbiter: &ArbiterHandle, view, keeper| {
        let links = links.clone();
        let link_to: LinkTo = Box::new(move |id, place, proposer| links.to(id, place, proposer));
        Proposer::start_on(arbiter, proposer.id, view, keeper, link_to, settings.clone())
    };
    let view = ProposerView::new(cluster, configuration.clone());
    let first = start(&Arbiter::current(), view.clone(), Some(keeper));
    // To other nodes each of them is a proposer of its own.
    let arbiters = (1..shards).map(|_| Arbiter::try_new()).collect::<io::Result<Vec<Arbiter>>>();
    let arbiters = arbiters.map_err(|error| StartError::Thread {
        of: "an event loop of the proposer".into(),
        error,
    })?;
    let view_of_other = || ProposerView::new(cluster, configuration.clone());
    let others = arbiters.iter().map(|arbiter| start(&arbiter.handle(), view_of_other(), None));
    let shards: Vec<Addr<Proposer>> = std::iter::once(first.clone()).chain(others).collect();
    for shard in &shards {
        let siblings = shards.iter().filter(|other| *other != shard);
        shard.do_send(Siblings(siblings.map(|other| other.clone().recipient()).collect()));
    }
    let service = Service::new(Shards::of(&shards), first.recipient());
    let overtaken = Shards::of(&shards);
    let cluster = view.cluster().clone();
    let peers = deployment.peers.values().map(|url| Place::Peer { url: url.to_string() });
    let deployed = peers.chain(founding_places).collect();
    let acceptors = Acceptors::new(proposer.id, shards, view, service.clone(), deployed);
    let status = acceptors.collector().clone();
    actix::spawn(Collector::new(acceptors.clone(), proposer.collection, status).run());
    Ok(Running { service, acceptors, cluster, overtaken, arbiters })
}

/// One that is away may come back, and one that is unsafe counts as one that is away; an
/// error where without those there is no quorum.
fn check_redis(deployment: &Deployment, configuration: &Configuration) -> Result<(), StartError> {
    let (mut usable, mut first) = (Vec::from_iter(configuration.acceptors().cloned()), None);
    for (acceptor, place) in &configuration.places {
        let Place::Redis { host, port, is_transient } = place else { continue };
        let address = RedisAddress { host: host.clone(), port: *port };
        match RedisStore::new(address, &deployment.cluster, acceptor, *is_transient).check() {
            Ok(()) => {}
            Err(error @ RedisError::Unreachable { .. }) => {
                log::warn!("acceptor {acceptor} is away and will be tried again: {error}");
            }
            Err(error @ (RedisError::Unsafe { .. } | RedisError::Original { .. })) => {
                log::warn!("acceptor {acceptor} is not used: {error}");
                usable.retain(|id| id != acceptor);
                first.get_or_insert_with(|| (acceptor.clone(), error));
            }
        }
    }
    let Configuration { prepare, accept, .. } = configuration;
    match first.filter(|_| !prepare.is_met_by(&usable) || !accept.is_met_by(&usable)) {
        Some((acceptor, error)) => Err(StartError::Redis { acceptor, error }),
        None => Ok(()),
    }
}

/// The configuration that the deployment tells.
fn founding(deployment: &Deployment, proposer: &ProposerActor) -> Configuration {
    let place = |acceptor: &AcceptorRef| match &acceptor.place {
        AcceptorPlace::Redis { storage, is_transient } => Some(Place::Redis {
            host: storage.host.clone(),
            port: storage.port,
            is_transient: *is_transient,
        }),
        AcceptorPlace::Node { node } => {
            let own = || deployment.listen.peer.map(|address| format!("http://{address}"));
            let url = deployment.peers.get(node).map(ToString::to_string).or_else(own);
            url.map(|url| Place::Peer { url })
        }
    };
    let places = proposer.acceptors.iter();
    let places = places.filter_map(|each| Some((each.id.clone(), place(each)?)));
    Configuration { places: places.collect(), ..proposer.configuration() }
}

/// How a proposer reaches acceptors.
#[derive(Clone)]
struct Links {
    cluster: String,
    node: String,
    /// The acceptor of this node.
    own: Option<(AcceptorId, Addr<Acceptor>)>,
    /// What the deployment says goes before what others say.
    founding: BTreeMap<AcceptorId, Place>,
    chaos: Chaos,
}

impl Links {
    fn to(&self, id: &AcceptorId, place: Option<&Place>, proposer: Addr<Proposer>) -> AcceptorLink {
        let own = self.own.as_ref().filter(|(own, _)| own == id);
        let destination = match (own, self.founding.get(id).or(place)) {
            (Some((_, address)), _) => Destination::Local(address.clone()),
            (None, Some(Place::Peer { url })) => Destination::Remote(Post::new(url)),
            (None, Some(Place::Redis { host, port, is_transient })) => {
                let address = RedisAddress { host: host.clone(), port: *port };
                let store = RedisStore::new(address, &self.cluster, id, *is_transient);
                match Storage::start(id.clone(), Box::new(store)) {
                    Ok((storage, _)) => Destination::Driven(Acceptor::new(storage).start()),
                    Err(error) => {
                        log::error!("acceptor {id}: its thread cannot be started: {error}");
                        Destination::Nowhere
                    }
                }
            }
            (None, None) => {
                log::error!("acceptor {id}: nobody says where it is");
                Destination::Nowhere
            }
        };
        let (own, chaos) = ((&*self.cluster, &*self.node), self.chaos.clone());
        let replies = proposer.recipient();
        Link::new(AcceptorParty::new(own, id.clone(), destination, chaos, replies))
    }
}
