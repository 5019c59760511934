//! openraft's messages on their way to the other replicas.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftNetworkFactory};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::check_quorum::QuorumCheck;
use super::message::{Call, Lane, Reply, SnapshotChunk, SnapshotReply};
use super::peers::{OwnPeers, Unanswered};
use super::replica::End;
use super::snapshot::Snapshots;
use super::sparing::{Append, COMPANY_PATIENCE, ENOUGH_BYTES, Sparing};
use super::types::{Member, ReplicaId, Types, Vote};
use crate::identity::ClusterId;
use crate::store::SnapshotFile;

/// Makes the ways to the other replicas.
pub struct Network {
    /// Who carries the messages.
    pub peers: OwnPeers,
    /// Reads the files that are sent.
    pub snapshots: Snapshots,
    /// Is told when another replica says that this one was removed.
    pub ended: watch::Sender<Option<End>>,
    /// Whose entries wait for company.
    pub sparing: Arc<Sparing>,
    /// Tells when what renews leases is withheld.
    pub quorum: Arc<QuorumCheck>,
}

/// The way to one replica, on one lane.
pub struct Way {
    peers: OwnPeers,
    snapshots: Snapshots,
    ended: watch::Sender<Option<End>>,
    sparing: Arc<Sparing>,
    quorum: Arc<QuorumCheck>,
    to: ReplicaId,
    url: String,
    lane: Lane,
}

/// How long a message with entries may take: it waits for the other's disk. When
/// it was lost, nothing else reaches that replica for so long.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// What a byte of it adds to that.
const TIME_PER_BYTE: Duration = Duration::from_micros(1);
/// How long a piece of a snapshot may take.
const CHUNK_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last one may take, which installs the snapshot.
const INSTALL_PATIENCE: Duration = Duration::from_secs(300);
/// How long openraft waits before it tries a replica again that is away.
const BACKOFF: Duration = Duration::from_millis(50);

impl Network {
    fn way(&self, to: ReplicaId, member: &Member, lane: Lane) -> Way {
        Way {
            peers: self.peers.clone(),
            snapshots: self.snapshots.clone(),
            ended: self.ended.clone(),
            sparing: self.sparing.clone(),
            quorum: self.quorum.clone(),
            to,
            url: member.peer_url.clone(),
            lane,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: ReplicaId, node: &Member) -> Way {
        self.way(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, node: &Member) -> Way {
        self.way(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: ReplicaId, node: &Member) -> Way {
        self.way(target, node, Lane::Snapshot)
    }
}

impl Way {
    async fn call(
        &self,
        lane: Lane,
        call: Call,
        patience: Duration,
    ) -> Result<Reply, RPCError<Types>> {
        if self.quorum.is_silent() && matches!(call, Call::Append(_) | Call::Snapshot(_)) {
            let why = "no quorum hears this leader, so that it must not renew leases";
            return Err(Unreachable::from_string(why).into());
        }
        match self.peers.call(self.to, &self.url, lane, call, patience).await {
            Ok(Reply::Removed) => {
                self.ended.send_replace(Some(End::Removed));
                Err(Unreachable::from_string("this replica was removed from the cluster").into())
            }
            Ok(Reply::OtherCluster { held }) => {
                let why = other_cluster(self.to, held, self.peers.cluster().get());
                Err(Unreachable::from_string(why).into())
            }
            Ok(reply) => Ok(reply),
            Err(Unanswered::NotSent(why)) => Err(Unreachable::from_string(why).into()),
            Err(Unanswered::Lost(why)) => Err(NetworkError::from_string(why).into()),
        }
    }

    /// Sends entries. Those that come while these wait go with the next message.
    async fn append_in_company(
        &self,
        rpc: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut append = Append::new(self.to, &rpc);
        let call = Call::Append(rpc);
        let bytes = call.size_bytes();
        if bytes < ENOUGH_BYTES && self.sparing.may_wait(Instant::now(), &append) {
            sleep(COMPANY_PATIENCE).await;
        }
        self.sparing.note_sent(Instant::now(), &mut append);
        let response = self.append(call, LOG_PATIENCE + TIME_PER_BYTE * bytes as u32).await;
        self.sparing.note_end(Instant::now(), &append, response.as_ref().ok());
        response
    }

    async fn append(
        &self,
        call: Call,
        patience: Duration,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.call(self.lane, call, patience).await? {
            Reply::Appended(response) => Ok(response),
            other => Err(self.unexpected(other)),
        }
    }

    fn unexpected(&self, reply: Reply) -> RPCError<Types> {
        let why = match reply {
            Reply::Refused(why) => why,
            other => format!("replica {} answered something else: {other:?}", self.to),
        };
        NetworkError::from_string(why).into()
    }
}

/// What is wrong when another replica says that it is of another cluster.
pub fn other_cluster(to: ReplicaId, held: Option<ClusterId>, own: Option<ClusterId>) -> String {
    let name = |cluster: Option<ClusterId>| {
        cluster.map_or_else(|| "none yet".to_owned(), |cluster| cluster.to_string())
    };
    format!(
        "replica {to} is of cluster {}, and this one of cluster {}; the one of the two that has \
         the data of another cluster must be stopped and its data removed",
        name(held),
        name(own)
    )
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.lane {
            Lane::Log => self.append_in_company(rpc).await,
            Lane::Control | Lane::Read | Lane::Forward | Lane::Members | Lane::Snapshot => {
                self.append(Call::Append(rpc), option.hard_ttl()).await
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(Lane::Control, Call::Vote(rpc), option.hard_ttl()).await? {
            Reply::Voted(response) => Ok(response),
            other => Err(self.unexpected(other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(Lane::Control, Call::PreVote(rpc), option.hard_ttl()).await? {
            Reply::PreVoted(response) => Ok(response),
            other => Err(self.unexpected(other)),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.call(Lane::Control, Call::TransferLeader(rpc), option.hard_ttl()).await? {
            Reply::Transferred(response) => Ok(response),
            other => Err(self.unexpected(other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

impl Way {
    /// Sends a snapshot piece by piece; what the other has already is not sent
    /// again.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let total_bytes = snapshot.snapshot.size_bytes;
        let unreadable =
            |error: io::Error| RPCError::from(NetworkError::from_string(error.to_string()));
        let mut offset = 0;
        loop {
            let read = self.snapshots.read_at(&snapshot.snapshot, offset).await;
            let data = read.map_err(unreadable)?;
            let is_last = offset + data.len() as u64 == total_bytes;
            let patience = if is_last { INSTALL_PATIENCE } else { CHUNK_PATIENCE };
            let meta = snapshot.meta.clone();
            let chunk = SnapshotChunk { vote, meta, offset, data, total_bytes };
            let reply = match self.call(self.lane, Call::Snapshot(chunk), patience).await? {
                Reply::Snapshot(reply) => reply,
                other => return Err(self.unexpected(other).into()),
            };
            match reply {
                SnapshotReply::Taken { next_offset } if next_offset < total_bytes => {
                    offset = next_offset;
                }
                SnapshotReply::Taken { .. } => {
                    let why = "a snapshot was taken, but not installed".to_string();
                    return Err(RPCError::from(NetworkError::from_string(why)).into());
                }
                SnapshotReply::Installed { vote } | SnapshotReply::HigherVote { vote } => {
                    return Ok(SnapshotResponse::new(vote));
                }
            }
        }
    }
}
