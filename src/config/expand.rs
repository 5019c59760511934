//! From a cluster file to its nodes.
//!
//! The rules that concern several nodes are checked here and in
//! `check_cluster.rs`, with paths of the cluster file; each node that comes out
//! passes the rules of `check.rs`, with its paths translated back.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::address::{HttpUrl, RedisAddress};
use super::check::{check_shards, claim};
use super::check_cluster::{check_directories, check_proposers};
use super::check_raft::check_settings;
use super::cluster_file::{
    AcceptorFields, ClusterFile, LoadFields, NodeFields, ProposerFields, ProposerHome,
};
use super::collection::CollectionSettings;
use super::deployment::{
    AcceptorActor, AcceptorPlace, AcceptorRef, Actors, Deployment, Listen, LoadActor, LocalStorage,
    ProposerActor,
};
use super::error::{Problem, listed};
use super::names;
use super::replicas::place_replicas;
use crate::caspaxos::{AcceptorId, ProposerId};

pub(super) type Nodes = BTreeMap<String, Deployment>;
type RedisAcceptors = BTreeMap<String, RedisAddress>;

pub(super) fn expand(file: ClusterFile) -> Result<(Nodes, RedisAcceptors), Problem> {
    names::check_keys("nodes", file.nodes.keys())?;
    names::check_keys("acceptors", file.acceptors.keys())?;
    names::check_keys("proposers", file.proposers.keys())?;
    names::check_keys("replicas", file.replicas.keys())?;
    names::check_keys("loads", file.loads.keys())?;
    check_settings("raft", file.raft)?;
    let ClusterFile { cluster, nodes, acceptors, proposers, replicas, raft, collection, loads } =
        file;
    let mut paths = Paths::default();
    let mut nodes = given_nodes(&cluster, nodes);
    imply_nodes(&cluster, &proposers, &loads, &mut nodes, &mut paths)?;
    if nodes.is_empty() {
        return Err(Problem::at("", "describes no node; add nodes or proposers"));
    }
    check_addresses(&nodes, &acceptors, &paths)?;
    place_acceptors(&acceptors, &mut nodes)?;
    place_proposers(proposers, collection, &acceptors, &mut nodes, &mut paths)?;
    place_replicas(replicas, raft, &mut nodes, &mut paths)?;
    introduce_peers(&mut nodes)?;
    place_loads(loads, &mut nodes)?;
    for node in nodes.values_mut() {
        node.fill_in();
        node.check().map_err(|problem| problem.map_path(|path| paths.in_cluster(node, path)))?;
    }
    check_proposers(&nodes, &paths)?;
    check_directories(&nodes, &paths)?;
    Ok((nodes, redis_acceptors(acceptors)))
}

/// Where the cluster file says what a deployment file says.
#[derive(Default)]
pub(super) struct Paths {
    /// By node: the path of its listeners.
    listen: BTreeMap<String, String>,
    /// By node: the name of its proposer.
    proposer: BTreeMap<String, String>,
    /// By node: the name of its raft replica.
    pub replica: BTreeMap<String, String>,
}

impl Paths {
    fn listener(&self, node: &str, listener: &str) -> String {
        match self.listen.get(node) {
            Some(path) => path.clone(),
            None => format!("nodes.{node}.listen.{listener}"),
        }
    }

    pub fn in_cluster(&self, deployment: &Deployment, path: &str) -> String {
        let node = &deployment.node;
        if let Some(rest) = path.strip_prefix("actors.proposer") {
            let proposer = self.proposer.get(node).unwrap_or(node);
            return format!("proposers.{proposer}{rest}");
        }
        if path.starts_with("actors.raft.members") {
            return "replicas".to_owned();
        }
        if let Some(rest) = path.strip_prefix("actors.raft") {
            let replica = self.replica.get(node).unwrap_or(node);
            return format!("replicas.{replica}{rest}");
        }
        if let Some(rest) = path.strip_prefix("actors.load") {
            return format!("loads.{node}{rest}");
        }
        match path.strip_prefix("listen.") {
            Some(listener) => self.listener(node, listener),
            None if path == "actors" => format!("nodes.{node}"),
            None => format!("nodes.{node}.{path}"),
        }
    }
}

fn bare_node(cluster: &str, name: &str, fields: NodeFields) -> Deployment {
    let NodeFields { listen, data_dir, chaos, serves } = fields;
    Deployment {
        cluster: cluster.to_owned(),
        node: name.to_owned(),
        data_dir,
        listen,
        peers: BTreeMap::new(),
        chaos,
        serves,
        actors: Actors::default(),
    }
}

fn given_nodes(cluster: &str, given: IndexMap<String, NodeFields>) -> Nodes {
    given
        .into_iter()
        .map(|(name, fields)| {
            let node = bare_node(cluster, &name, fields);
            (name, node)
        })
        .collect()
}

/// Adds the nodes that only a proposer with a port, or a load, speaks of.
fn imply_nodes(
    cluster: &str,
    proposers: &BTreeMap<String, ProposerFields>,
    loads: &BTreeMap<String, LoadFields>,
    nodes: &mut Nodes,
    paths: &mut Paths,
) -> Result<(), Problem> {
    for (name, proposer) in proposers {
        let ProposerHome::Listener(address) = proposer.home else { continue };
        let path = format!("proposers.{name}.port");
        if nodes.contains_key(name) {
            return Err(Problem::at(
                path,
                format!("nodes.{name} is there too; write \"node\": {name:?} instead of the port"),
            ));
        }
        let listen = Listen { client: Some(address), ..Listen::default() };
        let fields = NodeFields { listen, ..NodeFields::default() };
        nodes.insert(name.clone(), bare_node(cluster, name, fields));
        paths.listen.insert(name.clone(), path);
    }
    for name in loads.keys() {
        let client = || bare_node(cluster, name, NodeFields::default());
        nodes.entry(name.clone()).or_insert_with(client);
    }
    Ok(())
}

/// No two listeners and Redis servers have the same address. Listeners on
/// every interface may be on different machines.
fn check_addresses(
    nodes: &Nodes,
    acceptors: &BTreeMap<String, AcceptorFields>,
    paths: &Paths,
) -> Result<(), Problem> {
    let mut taken = BTreeMap::new();
    for (name, node) in nodes {
        for (listener, address) in node.listen.each() {
            if !address.ip().is_unspecified() {
                claim(&mut taken, &address, paths.listener(name, listener))?;
            }
        }
    }
    for (name, AcceptorFields(place)) in acceptors {
        if let AcceptorPlace::Redis { storage, .. } = place {
            claim(&mut taken, storage, format!("acceptors.{name}.storage"))?;
        }
    }
    Ok(())
}

/// The node that is named at `path`.
pub(super) fn known_node<'a>(
    nodes: &'a mut Nodes,
    path: String,
    name: &str,
) -> Result<&'a mut Deployment, Problem> {
    if !nodes.contains_key(name) {
        let known = listed(nodes.keys());
        return Err(Problem::at(path, format!("there is no node {name:?}; the nodes are {known}")));
    }
    Ok(nodes.get_mut(name).expect("it was there a line ago"))
}

fn place_acceptors(
    acceptors: &BTreeMap<String, AcceptorFields>,
    nodes: &mut Nodes,
) -> Result<(), Problem> {
    for (name, AcceptorFields(place)) in acceptors {
        let AcceptorPlace::Node { node } = place else { continue };
        let path = format!("acceptors.{name}.node");
        let deployment = known_node(nodes, path.clone(), node)?;
        let actor = AcceptorActor {
            id: AcceptorId::from(name.as_str()),
            storage: LocalStorage::Embedded {},
        };
        if let Some(other) = deployment.actors.acceptor.replace(actor) {
            return Err(Problem::at(
                path,
                format!("{node} has acceptor {} already; a node has one acceptor", other.id),
            ));
        }
    }
    Ok(())
}

fn place_proposers(
    proposers: BTreeMap<String, ProposerFields>,
    collection: CollectionSettings,
    acceptors: &BTreeMap<String, AcceptorFields>,
    nodes: &mut Nodes,
    paths: &mut Paths,
) -> Result<(), Problem> {
    let mut ids: BTreeMap<ProposerId, String> = BTreeMap::new();
    for (name, proposer) in proposers {
        let id = proposer_id(&name, &proposer)?;
        if let Some(other) = ids.insert(id, name.clone()) {
            return Err(Problem::at(
                format!("proposers.{name}.id"),
                format!("{id} is also the id of proposers.{other}; give each its own"),
            ));
        }
        let node = match proposer.home {
            ProposerHome::Node(node) => node,
            ProposerHome::Listener(_) => name.clone(),
        };
        let path = format!("proposers.{name}.node");
        known_node(nodes, path.clone(), &node)?;
        let acceptors = acceptor_refs(&name, &node, &proposer.acceptors, acceptors, nodes)?;
        let (quorum, shards) = (proposer.quorum, proposer.shards);
        check_shards(&format!("proposers.{name}.shards"), shards)?;
        let actor = ProposerActor { id, acceptors, quorum, shards, collection };
        let deployment = known_node(nodes, path.clone(), &node)?;
        if deployment.actors.proposer.replace(actor).is_some() {
            let other = &paths.proposer[&node];
            return Err(Problem::at(
                path,
                format!("{node} has proposer {other} already; a node has one proposer"),
            ));
        }
        paths.proposer.insert(node, name);
    }
    Ok(())
}

/// A proposer's id: the one it is given, or else its name.
fn proposer_id(name: &str, proposer: &ProposerFields) -> Result<ProposerId, Problem> {
    match proposer.id {
        Some(given) => Ok(given.id),
        None => name.parse().map_err(|error| {
            Problem::at(format!("proposers.{name}"), format!("{error}; give it an \"id\""))
        }),
    }
}

/// The acceptors that a proposer on `home` lists, each with its place.
fn acceptor_refs(
    proposer: &str,
    home: &str,
    list: &[String],
    acceptors: &BTreeMap<String, AcceptorFields>,
    nodes: &Nodes,
) -> Result<Vec<AcceptorRef>, Problem> {
    let resolve = |(index, id): (usize, &String)| {
        let Some(AcceptorFields(place)) = acceptors.get(id) else {
            let known = listed(acceptors.keys());
            return Err(Problem::at(
                format!("proposers.{proposer}.acceptors[{index}]"),
                format!("there is no acceptor {id:?}; the acceptors are {known}"),
            ));
        };
        if let AcceptorPlace::Node { node } = place
            && node != home
            && nodes.get(node).is_some_and(|node| node.listen.peer.is_none())
        {
            return Err(Problem::at(
                format!("nodes.{node}.listen.peer"),
                format!("is missing, and proposer {proposer} reaches {id} there; add IP:PORT"),
            ));
        }
        Ok(AcceptorRef { id: AcceptorId::from(id.as_str()), place: place.clone() })
    };
    list.iter().enumerate().map(resolve).collect()
}

/// Tells each node of the others' peer listeners. Raft replicas have their
/// members instead.
fn introduce_peers(nodes: &mut Nodes) -> Result<(), Problem> {
    let all: Vec<_> =
        nodes.iter().filter_map(|(name, node)| Some((name.clone(), node.listen.peer?))).collect();
    for (name, node) in nodes.iter_mut() {
        if node.actors.acceptor.is_none() && node.actors.proposer.is_none() {
            continue;
        }
        for (peer, address) in all.iter().filter(|(peer, _)| peer != name) {
            if address.ip().is_unspecified() {
                return Err(Problem::at(
                    format!("nodes.{peer}.listen.peer"),
                    format!("node {name} cannot reach {address}; use an address that it can"),
                ));
            }
            node.peers.insert(peer.clone(), HttpUrl::from(*address));
        }
    }
    Ok(())
}

fn place_loads(loads: BTreeMap<String, LoadFields>, nodes: &mut Nodes) -> Result<(), Problem> {
    let endpoints: BTreeMap<String, HttpUrl> =
        nodes.values().filter_map(|node| Some((node.node.clone(), node.client_url()?))).collect();
    for (name, LoadFields { format, connections, duration_seconds }) in loads {
        if endpoints.is_empty() {
            let message = "there is nothing to send load to; add proposers or replicas";
            return Err(Problem::at(format!("loads.{name}"), message));
        }
        let endpoints = endpoints.clone();
        let load = LoadActor { endpoints, format, connections, duration_seconds };
        known_node(nodes, format!("loads.{name}"), &name)?.actors.load = Some(load);
    }
    Ok(())
}

fn redis_acceptors(acceptors: BTreeMap<String, AcceptorFields>) -> RedisAcceptors {
    let in_redis = |(name, AcceptorFields(place))| match place {
        AcceptorPlace::Redis { storage, .. } => Some((name, storage)),
        AcceptorPlace::Node { .. } => None,
    };
    acceptors.into_iter().filter_map(in_redis).collect()
}
