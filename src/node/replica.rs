//! Raft on a node: its replica, and the way to the others.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Recipient};
use serde_json::json;

use super::StartError;
use super::database::NodeDatabase;
use crate::actors::{
    Chaos, Replica, ReplicaLinks, ReplicaPeers, ReplicaView, ServeReplica, Service,
    start_replica_storage,
};
use crate::config::{Deployment, RaftActor};
use crate::identity::{Nonce, OwnCluster};
use crate::raft::{self, Blocking, Jobs, Profile, ReplicaId, Settings, Snapshots, Store};
use crate::store::{FjallDisk, ReplicaIdentity};

/// A replica that runs.
pub struct Running {
    /// The replica itself.
    pub replica: raft::Replica<FjallDisk>,
    /// What clients see of it.
    pub service: Service,
    /// Its cluster.
    pub cluster: OwnCluster,
    /// Where other replicas' calls go.
    pub door: (ReplicaId, Recipient<ServeReplica>),
}

/// Opens what the replica has stored, and starts it.
pub async fn start_replica(
    deployment: &Deployment,
    actor: &RaftActor,
    database: &mut NodeDatabase,
    chaos: &Chaos,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Running, StartError> {
    let id = actor.id;
    let unopened = |error| StartError::ReplicaStore { id, error };
    let identity = ReplicaIdentity { cluster: deployment.cluster.clone(), id };
    let opened = database.get().map_err(unopened)?;
    let disk = FjallDisk::open(opened, database.directory(), identity).map_err(unopened)?;
    let store = Store::open(disk, Nonce(rand::random()), None);
    let store = store.map_err(|error| StartError::ReplicaData { id, error })?;
    let applied = store.state().summary().applied.last;
    let cluster = OwnCluster::new(store.cluster());
    let directory = &actor.snapshot_dir;
    let snapshots = Snapshots::open(directory, cluster.clone(), applied, Blocking::OnThreads);
    let snapshots = snapshots.map_err(StartError::Snapshots)?;
    let (state, log) = (store.state().clone(), store.log().clone());
    let (jobs, queue) = Jobs::queue();
    let thread = start_replica_storage(store, queue);
    let of = || format!("replica {id}");
    threads.push(thread.map_err(|error| StartError::Thread { of: of(), error })?);
    log::info!("{}: replica {id} in {database}", deployment.node);

    let links = ReplicaLinks::new(&deployment.cluster, &deployment.node, id, chaos.clone()).start();
    let peers = Arc::new(ReplicaPeers::new(links));
    let (settings, own) = (settings(deployment, actor), cluster.clone());
    let started = raft::Replica::start(settings, own, (state, log), jobs, snapshots, peers);
    let replica = started.await.map_err(|error| StartError::Replica { id, error })?;
    let view = ReplicaView::new(&replica);
    let address = Replica::new(replica.clone()).start();
    let service = Service::new(address.clone().recipient(), address.clone().recipient())
        .with_local(view.clone())
        .with_members(address.clone().recipient(), view.clone())
        .with_inspect(view);
    Ok(Running { replica, service, cluster, door: (id, address.recipient()) })
}

fn settings(deployment: &Deployment, actor: &RaftActor) -> Settings {
    let members = actor.members.iter().map(|(id, url)| (*id, url.to_string()));
    let given = &actor.settings;
    let client_url = deployment.client_url().map(|url| url.to_string()).unwrap_or_default();
    let milliseconds = Duration::from_millis;
    Settings {
        id: actor.id,
        members: members.collect(),
        joins: actor.join,
        profile: Profile { name: deployment.node.clone(), client_url },
        heartbeat: milliseconds(given.heartbeat_ms),
        election: (milliseconds(given.election_ms.min), milliseconds(given.election_ms.max)),
        snapshot_entries: given.snapshot_entries.get(),
        snapshot_bytes: given.snapshot_bytes.get(),
        keep_entries: given.keep_entries,
        seed: rand::random(),
        bug: None,
    }
}

/// What `GET /configuration` shows.
pub fn describe(actor: &RaftActor) -> serde_json::Value {
    json!({ "id": actor.id, "members": actor.members, "join": actor.join })
}

/// What an operator reads when the member was removed and ends.
pub fn farewell(deployment: &Deployment, actor: &RaftActor) -> String {
    let (id, data, snapshots) = (actor.id, &deployment.data_dir, &actor.snapshot_dir);
    format!(
        "member {id} was removed from the cluster for good; its data in {} and {} is of no more use",
        data.display(),
        snapshots.display()
    )
}
