//! Deployment files: what one node runs, and where.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::address::{self, Host, HttpUrl, Port, RedisAddress};
use super::chaos::ChaosAccess;
use super::collection::CollectionSettings;
use super::names;
use super::raft::RaftActor;
use crate::caspaxos::{AcceptorId, Configuration, Epoch, ProposerId};

/// Everything a node needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object that describes a node")]
pub struct Deployment {
    /// Names the cluster; nodes of another one are refused.
    #[serde(deserialize_with = "names::name")]
    pub cluster: String,
    /// This node's name.
    #[serde(deserialize_with = "names::name")]
    pub node: String,
    /// Where the node keeps its files; `data/<node>` unless given. A relative
    /// path counts from the working directory.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// Where the node listens.
    #[serde(default, skip_serializing_if = "Listen::is_nowhere")]
    pub listen: Listen,
    /// The peer listeners of the other nodes, by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, HttpUrl>,
    /// Who may cut the node's connections and kill it, over its admin listener.
    #[serde(default)]
    pub chaos: ChaosAccess,
    /// Who serves the client listener; needed where both could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<Serving>,
    /// What the node runs; at least one actor.
    pub actors: Actors,
}

/// The listeners of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with client, peer and admin")]
pub struct Listen {
    /// The key-value APIs.
    #[serde(deserialize_with = "address::listener", skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// Batches from other nodes.
    #[serde(deserialize_with = "address::listener", skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// Configuration, chaos, debugging.
    #[serde(deserialize_with = "address::listener", skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
}

impl Listen {
    /// The listeners that are there, by name.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let all = [("client", self.client), ("peer", self.peer), ("admin", self.admin)];
        all.into_iter().filter_map(|(name, address)| Some((name, address?)))
    }

    pub(super) fn is_nowhere(&self) -> bool {
        self.each().next().is_none()
    }
}

/// The actors that can serve a client listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    /// The proposer.
    Proposer,
    /// The raft replica.
    Raft,
}

/// The actors of a node, at most one of each kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with acceptor, proposer, raft or load")]
pub struct Actors {
    /// An acceptor that keeps its registers on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor: Option<AcceptorActor>,
    /// A proposer, which can serve the client listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposer: Option<ProposerActor>,
    /// A raft replica, which can serve the client listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft: Option<RaftActor>,
    /// A load generator, a client of other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadActor>,
}

/// An acceptor that lives on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with id and storage")]
pub struct AcceptorActor {
    /// Its name.
    #[serde(deserialize_with = "names::acceptor_id")]
    pub id: AcceptorId,
    /// Where it keeps its registers.
    pub storage: LocalStorage,
}

/// Where an acceptor on a node keeps its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "Storage")]
pub enum LocalStorage {
    /// In the embedded store, under the node's data directory.
    Embedded {},
}

impl TryFrom<Storage> for LocalStorage {
    type Error = String;

    fn try_from(storage: Storage) -> Result<Self, String> {
        match storage {
            Storage::Embedded => Ok(LocalStorage::Embedded {}),
            Storage::Redis(address) => Err(format!(
                "{address} is a Redis server; a node's own acceptor is {{\"embedded\": {{}}}}, \
                 and one in Redis is listed in actors.proposer.acceptors"
            )),
        }
    }
}

/// A `storage` field, in any of its forms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StorageFields")]
pub(super) enum Storage {
    Embedded,
    Redis(RedisAddress),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "{\"embedded\": {}} or an object with host and port")]
struct StorageFields {
    embedded: Option<NoFields>,
    host: Option<Host>,
    port: Option<Port>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "{}")]
struct NoFields {}

impl TryFrom<StorageFields> for Storage {
    type Error = &'static str;

    fn try_from(fields: StorageFields) -> Result<Self, &'static str> {
        match (fields.embedded, fields.host, fields.port) {
            (Some(NoFields {}), None, None) => Ok(Storage::Embedded),
            (None, Some(Host(host)), Some(Port(port))) => {
                Ok(Storage::Redis(RedisAddress { host, port }))
            }
            _ => Err("a storage is either {\"embedded\": {}} or has both host and port"),
        }
    }
}

/// A proposer and its acceptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with id, acceptors and quorum")]
pub struct ProposerActor {
    /// Its name inside ballots, unique in the cluster.
    #[serde(deserialize_with = "names::proposer_id")]
    pub id: ProposerId,
    /// Whom it asks, in a cluster whose configuration was never changed.
    pub acceptors: Vec<AcceptorRef>,
    /// How many of them must agree.
    pub quorum: QuorumSizes,
    /// How many event loops share its keys, 1 to 16; 1 unless given. More pay
    /// where cores are idle.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub shards: NonZeroU32,
    /// How it collects the registers of deleted keys.
    #[serde(default, skip_serializing_if = "CollectionSettings::is_default")]
    pub collection: CollectionSettings,
}

fn is_one(number: &NonZeroU32) -> bool {
    *number == NonZeroU32::MIN
}

impl ProposerActor {
    /// The most event loops that share the keys.
    pub(super) const MOST_SHARDS: u32 = 16;

    /// The configuration that the cluster starts with: both phases ask the
    /// same acceptors, `read` of them must promise and `write` must accept.
    pub fn configuration(&self) -> Configuration {
        let ids: Vec<AcceptorId> = self.acceptors.iter().map(|each| each.id.clone()).collect();
        Configuration::uniform(Epoch::FOUNDING, &ids, self.quorum.read, self.quorum.write)
    }
}

/// How many acceptors must agree in each phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with read and write")]
pub struct QuorumSizes {
    /// Promises before a value is known (the prepare phase).
    pub read: usize,
    /// Accepts before a value is decided (the accept phase).
    pub write: usize,
}

/// An acceptor as a proposer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AcceptorRefFields")]
pub struct AcceptorRef {
    /// Its name.
    pub id: AcceptorId,
    /// How it is reached.
    #[serde(flatten)]
    pub place: AcceptorPlace,
}

/// How a proposer reaches an acceptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AcceptorPlace {
    /// It is the acceptor of a node: this one, or a peer.
    Node {
        /// The node's name.
        node: String,
    },
    /// It is kept in a Redis server, which this node drives.
    Redis {
        /// Where the server listens.
        storage: RedisAddress,
        /// Whether the server may forget; a durable one is checked for its
        /// persistence settings.
        #[serde(rename = "isTransient")]
        is_transient: bool,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with id and either node or storage")]
struct AcceptorRefFields {
    #[serde(deserialize_with = "names::acceptor_id")]
    id: AcceptorId,
    node: Option<String>,
    storage: Option<RedisAddress>,
    #[serde(rename = "isTransient")]
    is_transient: Option<bool>,
}

impl TryFrom<AcceptorRefFields> for AcceptorRef {
    type Error = String;

    fn try_from(fields: AcceptorRefFields) -> Result<Self, String> {
        let AcceptorRefFields { id, node, storage, is_transient } = fields;
        let place = match (node, storage, is_transient) {
            (Some(node), None, None) => AcceptorPlace::Node { node },
            (None, Some(storage), is_transient) => {
                AcceptorPlace::Redis { storage, is_transient: is_transient.unwrap_or(false) }
            }
            (Some(_), None, Some(_)) => {
                return Err(format!(
                    "acceptor {id} is embedded, and isTransient is only for one in Redis; \
                     remove isTransient"
                ));
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                return Err(format!(
                    "acceptor {id} needs exactly one of node (embedded there) and storage (Redis)"
                ));
            }
        };
        Ok(AcceptorRef { id, place })
    }
}

/// A load generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with endpoints")]
pub struct LoadActor {
    /// The client listeners it uses, by node.
    pub endpoints: BTreeMap<String, HttpUrl>,
    /// What it prints.
    #[serde(default)]
    pub format: LoadFormat,
    /// Connections to each endpoint, 1 unless given.
    #[serde(default = "one")]
    pub connections: NonZeroU32,
    /// When it ends by itself; never unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<NonZeroU64>,
}

pub(super) fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// The line that a load generator prints each second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadFormat {
    /// Successes of the cluster, then of each node.
    #[default]
    Totals,
    /// Successes and errors of each node, with a legend and the time.
    Perseus,
    /// Read attempts, reads and writes of each client.
    Counters,
}

impl Deployment {
    /// Puts in what is not given and follows from the rest.
    pub(super) fn fill_in(&mut self) {
        if self.data_dir.as_os_str().is_empty() {
            self.data_dir = Path::new("data").join(&self.node);
        }
        let Some(raft) = &mut self.actors.raft else { return };
        if raft.snapshot_dir.as_os_str().is_empty()
            && let Some(name) = self.data_dir.file_name()
        {
            let mut name = name.to_owned();
            name.push("-snap");
            raft.snapshot_dir = self.data_dir.with_file_name(name);
        }
        if raft.join
            && let Some(peer) = self.listen.peer
            && !peer.ip().is_unspecified()
        {
            raft.members.entry(raft.id).or_insert_with(|| peer.into());
        }
    }

    /// Who serves the client listener; `None` on a node that has neither a
    /// proposer nor a raft replica.
    pub fn serving(&self) -> Option<Serving> {
        match (&self.actors.proposer, &self.actors.raft) {
            (Some(_), Some(_)) => self.serves,
            (Some(_), None) => Some(Serving::Proposer),
            (None, Some(_)) => Some(Serving::Raft),
            (None, None) => None,
        }
    }

    /// Where clients reach the node; `None` when nothing serves them.
    ///
    /// A client listener on every interface (0.0.0.0) is reached at the host
    /// where the peers reach the node, or on this machine when that is unknown.
    pub fn client_url(&self) -> Option<HttpUrl> {
        self.serving()?;
        self.reached_at(self.listen.client?)
    }

    /// Where operators reach the node, by the same rule.
    pub fn admin_url(&self) -> Option<HttpUrl> {
        self.serving()?;
        self.reached_at(self.listen.admin?)
    }

    /// Where the other nodes reach it, as their deployments say.
    pub fn peer_url(&self) -> Option<String> {
        if let Some(raft) = &self.actors.raft {
            return Some(raft.peer_url().to_string());
        }
        Some(HttpUrl::from(self.listen.peer?).to_string())
    }

    fn reached_at(&self, listener: SocketAddr) -> Option<HttpUrl> {
        if !listener.ip().is_unspecified() {
            return Some(listener.into());
        }
        if let Some(raft) = &self.actors.raft {
            return Some(raft.peer_url().with_port(listener.port()));
        }
        let named = self.listen.peer.map(|peer| peer.ip()).filter(|ip| !ip.is_unspecified());
        let loopback = match listener.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Some(SocketAddr::new(named.unwrap_or(loopback), listener.port()).into())
    }

    /// The proposer's configuration; `None` on a node without a proposer.
    pub fn configuration(&self) -> Option<Configuration> {
        self.actors.proposer.as_ref().map(ProposerActor::configuration)
    }
}
