//! Clusters: all nodes at once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;

use super::address::RedisAddress;
use super::cluster_file::{AcceptorFields, ClusterFile, NodeFields, ProposerFields, ProposerHome};
use super::collection::CollectionSettings;
use super::deployment::{AcceptorPlace, Deployment, Listen, QuorumSizes};
use super::error::{ConfigError, Problem};
use super::expand::expand;
use super::json;
use super::raft::RaftSettings;
use crate::caspaxos::AcceptorId;

/// A cluster that fits together.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name.
    name: String,
    /// The names of its nodes, in the order of the file.
    order: Vec<String>,
    /// Its nodes, by name.
    deployments: BTreeMap<String, Deployment>,
    /// Its acceptors that live in Redis, by name.
    redis: BTreeMap<String, RedisAddress>,
    /// All its acceptors, those that no proposer lists included.
    acceptors: BTreeMap<AcceptorId, AcceptorPlace>,
    /// The node of each proposer, by the proposer's name.
    proposers: BTreeMap<String, String>,
}

impl Cluster {
    /// The most nodes of a [`Cluster::demo`]: client, peer and admin ports are
    /// a hundred apart.
    pub const MAX_DEMO_NODES: usize = 100;

    /// Reads and checks a cluster file.
    pub fn load(file: &Path) -> Result<Cluster, ConfigError> {
        json::read(file).and_then(|text| Self::read(&text)).map_err(|problem| problem.in_file(file))
    }

    pub(super) fn read(text: &[u8]) -> Result<Cluster, Problem> {
        let keys = json::top_level_keys(text)?;
        if keys.contains("actors") || keys.contains("quorum") {
            return Err(Problem::at("", "is the file of one node; give the cluster's file"));
        }
        Self::of(json::parse::<ClusterFile>(text)?)
    }

    fn of(file: ClusterFile) -> Result<Cluster, Problem> {
        let name = file.cluster.clone();
        let acceptors = file.acceptors.iter();
        let acceptors = acceptors.map(|(id, fields)| (id.as_str().into(), fields.0.clone()));
        let acceptors = acceptors.collect();
        let home = |(name, fields): (&String, &ProposerFields)| match &fields.home {
            ProposerHome::Node(node) => (name.clone(), node.clone()),
            ProposerHome::Listener(_) => (name.clone(), name.clone()),
        };
        let proposers = file.proposers.iter().map(home).collect();
        let mut order: Vec<String> = file.nodes.keys().cloned().collect();
        let (deployments, redis) = expand(file)?;
        // Those that only proposers and loads speak of.
        let implied: Vec<_> = deployments.keys().filter(|name| !order.contains(name)).collect();
        order.extend(implied.into_iter().cloned());
        Ok(Cluster { name, order, deployments, redis, acceptors, proposers })
    }

    /// The cluster that shows the program off: `nodes` nodes p1, p2, ... on this
    /// machine, each with an embedded acceptor and a proposer, chaos off,
    /// data in `data_root/p1`, ... Node i listens on `base_port` + i (client),
    /// + 100 + i (peer) and + 200 + i (admin).
    ///
    /// Fails when there are no nodes, more than [`Cluster::MAX_DEMO_NODES`], or
    /// too few ports above `base_port`.
    pub fn demo(base_port: u16, nodes: usize, data_root: &Path) -> Result<Cluster, ConfigError> {
        let describe = Path::new("demo");
        let most = Self::MAX_DEMO_NODES;
        if nodes == 0 || nodes > most {
            let message = format!("{nodes} is not a number of nodes; use 1 to {most}");
            return Err(Problem::at("nodes", message).in_file(describe));
        }
        let highest = usize::from(u16::MAX) - 200 - nodes;
        if usize::from(base_port) > highest {
            let message = format!("{base_port} leaves too few ports; use {highest} or less");
            return Err(Problem::at("base_port", message).in_file(describe));
        }
        let file = demo_file(base_port, nodes as u16, data_root);
        Self::of(file).map_err(|problem| problem.in_file(describe))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The deployment of each node, by node name.
    pub fn deployments(&self) -> &BTreeMap<String, Deployment> {
        &self.deployments
    }

    /// The deployment of each node, in the order of the file.
    pub fn in_order(&self) -> impl Iterator<Item = &Deployment> {
        self.order.iter().map(|name| &self.deployments[name])
    }

    /// The acceptors that live in Redis, by name.
    pub fn redis_acceptors(&self) -> &BTreeMap<String, RedisAddress> {
        &self.redis
    }

    /// Where each acceptor is, those that no proposer lists included.
    pub fn acceptors(&self) -> &BTreeMap<AcceptorId, AcceptorPlace> {
        &self.acceptors
    }

    /// The node of each proposer, by the proposer's name.
    pub fn proposers(&self) -> &BTreeMap<String, String> {
        &self.proposers
    }

    /// Where clients reach each node that serves them: its name and
    /// `http://HOST:PORT`, in the order of the names.
    pub fn endpoints(&self) -> Vec<(String, String)> {
        let url = |node: &Deployment| Some((node.node.clone(), node.client_url()?.to_string()));
        self.deployments.values().filter_map(url).collect()
    }
}

fn demo_file(base_port: u16, nodes: u16, data_root: &Path) -> ClusterFile {
    let majority = usize::from(nodes / 2 + 1);
    let acceptors: Vec<String> = (1..=nodes).map(|i| format!("a{i}")).collect();
    let node = |i: u16| {
        let name = format!("p{i}");
        let local = |offset| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, base_port + offset + i)));
        let listen = Listen { client: local(0), peer: local(100), admin: local(200) };
        let data_dir = data_root.join(&name);
        (name, NodeFields { listen, data_dir, ..NodeFields::default() })
    };
    let acceptor = |i: u16| {
        let place = AcceptorPlace::Node { node: format!("p{i}") };
        (format!("a{i}"), AcceptorFields(place))
    };
    let proposer = |i: u16| {
        let name = format!("p{i}");
        let fields = ProposerFields {
            id: None,
            home: ProposerHome::Node(name.clone()),
            acceptors: acceptors.clone(),
            quorum: QuorumSizes { read: majority, write: majority },
            shards: NonZeroU32::MIN,
        };
        (name, fields)
    };
    ClusterFile {
        cluster: "demo".to_owned(),
        nodes: (1..=nodes).map(node).collect(),
        acceptors: (1..=nodes).map(acceptor).collect(),
        proposers: (1..=nodes).map(proposer).collect(),
        replicas: BTreeMap::new(),
        raft: RaftSettings::default(),
        collection: CollectionSettings::default(),
        loads: BTreeMap::new(),
    }
}
