//! The replica actor: takes what clients and other replicas ask, and has the
//! [`Replica`](raft::Replica) do it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use openraft::ServerState;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::protocol::{ChangeMembers, Inspect, List, LocalReads, MemberList, MemberView, Submit};
use super::replica_door::ServeReplica;
use crate::kv::{Answer, Key, Listed, Refusal, Scope};
use crate::raft::{self, Reply};
use crate::store::FjallDisk;

/// The replica of a node.
pub struct Replica {
    replica: raft::Replica<FjallDisk>,
}

impl Replica {
    /// The actor of a replica that is running.
    pub fn new(replica: raft::Replica<FjallDisk>) -> Self {
        Replica { replica }
    }
}

impl Actor for Replica {
    type Context = Context<Self>;
}

fn deadline(patience: Duration) -> Instant {
    Instant::now() + patience
}

impl Handler<Submit> for Replica {
    type Result = ();

    fn handle(&mut self, message: Submit, _: &mut Context<Self>) {
        let replica = self.replica.clone();
        actix::spawn(async move {
            let Submit { key, submission, patience, answer, permit } = message;
            // A client that went away has no use for it.
            let _ = answer.send(replica.submit(key, submission, deadline(patience)).await);
            drop(permit);
        });
    }
}

impl Handler<List> for Replica {
    type Result = ();

    fn handle(&mut self, message: List, _: &mut Context<Self>) {
        let replica = self.replica.clone();
        actix::spawn(async move {
            let List { prefix, scope, patience, answer, permit } = message;
            if let Err(refusal) = replica.catch_up(deadline(patience)).await {
                let _ = answer.send(Err(refusal));
                return;
            }
            let state = replica.state().clone();
            // It may read much: not here.
            tokio::task::spawn_blocking(move || {
                let _ = answer.send(state.list(&prefix, scope));
                drop(permit);
            });
        });
    }
}

impl Handler<ChangeMembers> for Replica {
    type Result = ();

    fn handle(&mut self, message: ChangeMembers, _: &mut Context<Self>) {
        let replica = self.replica.clone();
        actix::spawn(async move {
            let ChangeMembers { change, patience, answer, permit } = message;
            let _ = answer.send(replica.change(change, deadline(patience)).await);
            drop(permit);
        });
    }
}

impl Handler<ServeReplica> for Replica {
    type Result = ResponseFuture<Vec<Reply>>;

    fn handle(
        &mut self,
        ServeReplica { from, calls }: ServeReplica,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let replica = self.replica.clone();
        Box::pin(async move {
            let served = calls.into_iter().map(|call| replica.serve(from, call));
            futures::future::join_all(served).await
        })
    }
}

/// What HTTP threads see of a replica without asking it.
pub struct ReplicaView(raft::Replica<FjallDisk>);

impl ReplicaView {
    /// A view of a replica.
    pub fn new(replica: &raft::Replica<FjallDisk>) -> Arc<Self> {
        Arc::new(ReplicaView(replica.clone()))
    }
}

impl LocalReads for ReplicaView {
    fn get(&self, key: &Key) -> Result<Answer, Refusal> {
        self.0.state().get(key)
    }

    fn list(&self, prefix: &str, scope: Scope) -> Result<Listed, Refusal> {
        self.0.state().list(prefix, scope)
    }
}

impl MemberList for ReplicaView {
    fn members(&self) -> Vec<MemberView> {
        let leader = self.0.leader();
        let members = self.0.state().members();
        let voters: Vec<u64> = members.membership.voter_ids().collect();
        let view = |(id, member): (&u64, &raft::Member)| {
            let profile = members.profiles.get(id);
            MemberView {
                id: *id,
                name: profile.map(|profile| profile.name.clone()).unwrap_or_default(),
                peer_url: member.peer_url.clone(),
                client_url: profile
                    .map(|profile| profile.client_url.clone())
                    .filter(|url| !url.is_empty()),
                is_voter: voters.contains(id),
                is_leader: leader == Some(*id),
            }
        };
        members.membership.nodes().map(view).collect()
    }
}

impl Inspect for ReplicaView {
    fn state(&self) -> Value {
        let (metrics, leader) = (self.0.metrics(), self.0.leader());
        // A leader that no quorum hears has stepped down, whatever openraft calls it.
        let role = match metrics.state {
            ServerState::Leader if leader != Some(metrics.id) => ServerState::Follower,
            state => state,
        };
        let index = |id: &Option<raft::LogId>| id.as_ref().map(|id| id.index);
        let replication = metrics.replication.as_ref().map(|replication| {
            let progress = replication.iter().map(|(id, matched)| {
                let matched = matched.as_ref().map(|id| id.index);
                (id.to_string(), json!({ "matchIndex": matched, "nextIndex": matched.map_or(0, |index| index + 1) }))
            });
            progress.collect::<serde_json::Map<String, Value>>()
        });
        let summary = self.0.state().summary();
        let generations = self.0.generations();
        let known: BTreeMap<u64, u64> =
            generations.known.iter().map(|(id, known)| (*id, known.count)).collect();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let learners: Vec<u64> = metrics.membership_config.membership().learner_ids().collect();
        json!({
            "id": metrics.id,
            "role": format!("{role:?}").to_lowercase(),
            "term": metrics.current_term,
            "votedFor": metrics.vote.leader_id.voted_for,
            "leader": leader,
            "log": {
                "lastIndex": metrics.last_log_index,
                "commitIndex": index(&metrics.cluster_committed),
                "appliedIndex": summary.applied.index(),
                "purgedIndex": index(&metrics.purged),
                "snapshotIndex": index(&metrics.snapshot),
            },
            "changes": summary.applied.changes,
            "voters": voters,
            "learners": learners,
            "retired": summary.members.retired,
            "replication": replication,
            "generation": generations.own.count,
            "knownGenerations": known,
        })
    }

    fn hash(&self) -> Result<Value, Refusal> {
        let hash = self.0.state().hash().map_err(|error| Refusal::Failed(error.to_string()))?;
        Ok(json!({
            "appliedIndex": hash.applied.index(),
            "changes": hash.applied.changes,
            "keys": hash.keys,
            "hash": format!("{:016x}", hash.hash),
        }))
    }
}
