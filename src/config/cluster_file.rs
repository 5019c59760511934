//! The fields of a cluster file, a superset of the original program's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::address::{self, Port};
use super::chaos::ChaosAccess;
use super::collection::CollectionSettings;
use super::deployment::{AcceptorPlace, Listen, LoadFormat, QuorumSizes, Serving, Storage, one};
use super::names::{self, GivenProposerId};
use super::original;
use super::raft::{RaftSettings, RaftSettingsFields};

/// A cluster file as it stands; nothing in it is known to fit together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object that describes a cluster")]
pub(super) struct ClusterFile {
    #[serde(default = "unnamed", deserialize_with = "names::name")]
    pub cluster: String,
    #[serde(default)]
    pub nodes: IndexMap<String, NodeFields>,
    #[serde(default)]
    pub acceptors: BTreeMap<String, AcceptorFields>,
    #[serde(default)]
    pub proposers: BTreeMap<String, ProposerFields>,
    #[serde(default)]
    pub replicas: BTreeMap<String, ReplicaFields>,
    /// What all replicas share.
    #[serde(default)]
    pub raft: RaftSettings,
    /// How all proposers collect.
    #[serde(default)]
    pub collection: CollectionSettings,
    #[serde(default)]
    pub loads: BTreeMap<String, LoadFields>,
}

fn unnamed() -> String {
    original::CLUSTER.to_owned()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with listen, data_dir and chaos")]
pub(super) struct NodeFields {
    pub listen: Listen,
    pub data_dir: PathBuf,
    pub chaos: ChaosAccess,
    pub serves: Option<Serving>,
}

#[derive(Deserialize)]
#[serde(try_from = "RawAcceptor")]
pub(super) struct AcceptorFields(pub AcceptorPlace);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with storage")]
struct RawAcceptor {
    node: Option<String>,
    storage: Storage,
    #[serde(rename = "isTransient")]
    is_transient: Option<bool>,
    /// The hash of a Lua script; acceptors load their scripts themselves.
    #[serde(rename = "accept")]
    _accept: Option<IgnoredAny>,
    /// Likewise.
    #[serde(rename = "prepare")]
    _prepare: Option<IgnoredAny>,
}

impl TryFrom<RawAcceptor> for AcceptorFields {
    type Error = &'static str;

    fn try_from(raw: RawAcceptor) -> Result<Self, &'static str> {
        match (raw.storage, raw.node, raw.is_transient) {
            (Storage::Embedded, Some(node), None) => {
                Ok(AcceptorFields(AcceptorPlace::Node { node }))
            }
            (Storage::Embedded, None, _) => {
                Err("an embedded acceptor lives on a node; add \"node\": \"NAME\"")
            }
            (Storage::Embedded, Some(_), Some(_)) => {
                Err("isTransient is only for an acceptor in Redis; remove it")
            }
            (Storage::Redis(storage), None, is_transient) => {
                let is_transient = is_transient.unwrap_or(false);
                Ok(AcceptorFields(AcceptorPlace::Redis { storage, is_transient }))
            }
            (Storage::Redis(_), Some(_), _) => {
                Err("an acceptor in Redis is driven by every proposer; remove node")
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "RawProposer")]
pub(super) struct ProposerFields {
    pub id: Option<GivenProposerId>,
    pub home: ProposerHome,
    pub acceptors: Vec<String>,
    pub quorum: QuorumSizes,
    pub shards: NonZeroU32,
}

/// Where a proposer runs.
pub(super) enum ProposerHome {
    /// On one of `nodes`.
    Node(String),
    /// On a node of the proposer's name, of which this is the only listener.
    Listener(SocketAddr),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with node or port, acceptors and quorum")]
struct RawProposer {
    id: Option<GivenProposerId>,
    node: Option<String>,
    #[serde(default, deserialize_with = "address::ip")]
    host: Option<IpAddr>,
    port: Option<Port>,
    acceptors: Vec<String>,
    quorum: QuorumSizes,
    shards: Option<NonZeroU32>,
}

impl TryFrom<RawProposer> for ProposerFields {
    type Error = &'static str;

    fn try_from(raw: RawProposer) -> Result<Self, &'static str> {
        let home = match (raw.node, raw.host, raw.port) {
            (Some(node), None, None) => ProposerHome::Node(node),
            (None, host, Some(Port(port))) => {
                let host = host.unwrap_or(original::DEFAULT_HOST);
                ProposerHome::Listener(SocketAddr::new(host, port))
            }
            _ => return Err("a proposer needs either node, or port (with host or without)"),
        };
        Ok(ProposerFields {
            id: raw.id,
            home,
            acceptors: raw.acceptors,
            quorum: raw.quorum,
            shards: raw.shards.unwrap_or(NonZeroU32::MIN),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with node and id")]
pub(super) struct ReplicaFields {
    pub node: String,
    pub id: Option<NonZeroU64>,
    #[serde(default)]
    pub join: bool,
    #[serde(default)]
    pub snapshot_dir: PathBuf,
    #[serde(default)]
    pub settings: RaftSettingsFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with format, connections, duration_seconds")]
pub(super) struct LoadFields {
    #[serde(default)]
    pub format: LoadFormat,
    #[serde(default = "one")]
    pub connections: NonZeroU32,
    pub duration_seconds: Option<NonZeroU64>,
}
