//! The original program's proposer file: one flat object, every acceptor in
//! Redis, no name but an id.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::address::{self, RedisAddress};
use super::check::{check_acceptors, check_quorum};
use super::collection::CollectionSettings;
use super::deployment::{
    AcceptorPlace, AcceptorRef, Actors, Deployment, Listen, ProposerActor, QuorumSizes,
};
use super::error::Problem;
use super::json;
use super::names::{self, GivenProposerId};
use crate::caspaxos::AcceptorId;

/// The cluster that files without a cluster's name belong to.
pub(super) const CLUSTER: &str = "gryadka";

/// Where the original's proposers listen unless their file has a host.
pub(super) const DEFAULT_HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object that describes a proposer")]
struct FlatProposer {
    id: GivenProposerId,
    #[serde(default, deserialize_with = "address::ip")]
    host: Option<IpAddr>,
    #[serde(deserialize_with = "address::port")]
    port: u16,
    quorum: QuorumSizes,
    acceptors: Vec<FlatAcceptor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with storage")]
struct FlatAcceptor {
    storage: RedisAddress,
    #[serde(default, rename = "isTransient")]
    is_transient: bool,
    /// The hash of a Lua script; acceptors load their scripts themselves.
    #[serde(rename = "accept")]
    _accept: Option<IgnoredAny>,
    /// Likewise.
    #[serde(rename = "prepare")]
    _prepare: Option<IgnoredAny>,
}

/// Reads the original's file. Its proposer 0 becomes node p0, an acceptor's id
/// is its address, and there is one listener.
pub(super) fn read_proposer(text: &[u8]) -> Result<Deployment, Problem> {
    let FlatProposer { id: given, host, port, quorum, acceptors } = json::parse(text)?;
    let node = if given.is_number { format!("p{}", given.id) } else { given.id.to_string() };
    names::check(&node).map_err(|message| Problem::at("id", message))?;
    let acceptors = acceptors
        .into_iter()
        .enumerate()
        .map(|(index, acceptor)| named(index, acceptor))
        .collect::<Result<Vec<_>, Problem>>()?;
    check_acceptors("acceptors", &acceptors)?;
    let proposer = ProposerActor {
        id: given.id,
        acceptors,
        quorum,
        shards: NonZeroU32::MIN,
        collection: CollectionSettings::default(),
    };
    check_quorum("quorum", &proposer.configuration(), quorum)?;
    let client = SocketAddr::new(host.unwrap_or(DEFAULT_HOST), port);
    let mut deployment = Deployment {
        cluster: CLUSTER.to_owned(),
        data_dir: PathBuf::new(),
        node,
        listen: Listen { client: Some(client), ..Listen::default() },
        peers: Default::default(),
        chaos: Default::default(),
        serves: None,
        actors: Actors { proposer: Some(proposer), ..Actors::default() },
    };
    deployment.fill_in();
    deployment.check()?;
    Ok(deployment)
}

fn named(index: usize, acceptor: FlatAcceptor) -> Result<AcceptorRef, Problem> {
    let FlatAcceptor { storage, is_transient, .. } = acceptor;
    let id = format!("{}:{}", storage.host, storage.port);
    names::check(&id)
        .map_err(|message| Problem::at(format!("acceptors[{index}].storage"), message))?;
    let place = AcceptorPlace::Redis { storage, is_transient };
    Ok(AcceptorRef { id: AcceptorId::from(id.as_str()), place })
}
