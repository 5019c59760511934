//! The command line of `raftkvd`, as a deployment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use super::address::{BadUrl, HttpUrl};
use super::deployment::{Actors, Deployment, Listen};
use super::error::{ConfigError, Problem, listed};
use super::raft::{RaftActor, RaftSettings, parse_replica_id};
use crate::raft::ReplicaId;

/// The cluster that all members belong to.
const CLUSTER: &str = "raftkv";

/// `--id` from its text. The error says what is wrong, as with the other two.
pub fn parse_id(text: &str) -> Result<ReplicaId, String> {
    parse_replica_id(text)
}

/// `--host` from its text.
pub fn parse_host(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is not an IP address; write 127.0.0.1, or 0.0.0.0 for every interface")
    })
}

/// `--port` from its text.
pub fn parse_port(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a port; use 1 to 65535"))
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program's name, which begins those of the node and its directories.
    pub program: &'static str,
    /// `--id`: which member this is.
    pub id: ReplicaId,
    /// `--cluster`: the peer URLs of the members, separated by commas. The
    /// first is that of member 1 and so on, where `ID=URL` does not say another.
    pub cluster: String,
    /// `--host`: the address that clients are served at.
    pub host: IpAddr,
    /// `--port`: the port that clients are served at.
    pub port: u16,
    /// `--join`: wait for a running cluster to add this member.
    pub join: bool,
    /// `--data-dir`: where the log is, with the snapshots in its `-snap`
    /// sibling; `PROGRAM-ID` unless given.
    pub data_dir: Option<PathBuf>,
}

/// The member's deployment. It listens to its peers at its own URL's address;
/// when that has a name for a host, on every interface, and only on loopback
/// when that name is `localhost`.
///
/// Fails as a deployment file does, with the options' names for paths.
pub fn deployment(line: CommandLine) -> Result<Deployment, ConfigError> {
    let program = Path::new(line.program);
    of(line).map_err(|problem| problem.in_file(program))
}

fn of(line: CommandLine) -> Result<Deployment, Problem> {
    let CommandLine { program, id, cluster, host, port, join, data_dir } = line;
    let members = members(&cluster)?;
    let Some(own) = members.get(&id) else {
        let known = listed(members.keys());
        return Err(Problem::at(
            "--id",
            format!("{id} is not among the members of --cluster, {known}; add its URL there"),
        ));
    };
    let client = SocketAddr::new(host, port);
    let peer = listener(own);
    if peer == client {
        let message = format!("{client} is this member's address in --cluster; use another port");
        return Err(Problem::at("--port", message));
    }
    let node = format!("{program}-{id}");
    let snapshot_dir = PathBuf::new();
    let settings = RaftSettings::default();
    let raft = RaftActor { id, members, join, snapshot_dir, settings };
    let mut deployment = Deployment {
        cluster: CLUSTER.to_owned(),
        data_dir: data_dir.unwrap_or_else(|| PathBuf::from(&node)),
        node,
        listen: Listen { client: Some(client), peer: Some(peer), admin: None },
        peers: BTreeMap::new(),
        chaos: Default::default(),
        serves: None,
        actors: Actors { raft: Some(raft), ..Actors::default() },
    };
    deployment.fill_in();
    deployment.check().map_err(|problem| problem.map_path(option_of))?;
    Ok(deployment)
}

fn members(cluster: &str) -> Result<BTreeMap<ReplicaId, HttpUrl>, Problem> {
    let bad = |message| Problem::at("--cluster", message);
    let mut members = BTreeMap::new();
    for (position, text) in (1..).zip(cluster.split(',')) {
        let (id, url) = match text.split_once('=') {
            Some((id, url)) => (parse_replica_id(id).map_err(bad)?, url),
            None => (position, text),
        };
        let url = url.parse().map_err(|error: BadUrl| bad(error.to_string()))?;
        if members.insert(id, url).is_some() {
            return Err(bad(format!("member {id} is there twice; give each member its own id")));
        }
    }
    Ok(members)
}

fn listener(own: &HttpUrl) -> SocketAddr {
    let by_name = match own.is_localhost() {
        true => Ipv4Addr::LOCALHOST,
        false => Ipv4Addr::UNSPECIFIED,
    };
    SocketAddr::new(own.ip().unwrap_or(by_name.into()), own.port())
}

/// The option that says what stands at a path of the deployment.
fn option_of(path: &str) -> String {
    let option = match path {
        "data_dir" => "--data-dir",
        path if path.starts_with("actors.raft.members") => "--cluster",
        path => path,
    };
    option.to_owned()
}
