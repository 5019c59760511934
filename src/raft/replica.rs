//! A replica: whatever a client or another replica asks, and how it is kept.
//!
//! Writes go to the leader, who appends them; the answer comes when the entry
//! is committed and applied there. Reads ask the leader for a read index
//! (§6.4 of the dissertation), once for all reads that wait, and are then
//! served from this replica's own state as soon as it has applied that index.
//!
//! Outcomes: what openraft refused before it appended is a definite failure,
//! and tried again until the client's patience ends; what was appended and
//! lost its leader, or was forwarded and lost its answer, is unknown.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::address::check_address;
use super::check_quorum::QuorumCheck;
use super::leader::Attempt;
use super::log_store::{Jobs, LogStore};
use super::message::{Call, Lane, Message, Reply, SnapshotChunk, SnapshotReply};
use super::network::{Network, other_cluster};
use super::peers::{OwnPeers, Peers};
use super::planted::{Bug, is_planted};
use super::reads::Reads;
use super::runtime::Runtime;
use super::settings::{Settings, config};
use super::snapshot::Snapshots;
use super::sparing::Sparing;
use super::state::State;
use super::state_machine::StateMachine;
use super::store::{Job, SharedLog, lock};
use super::types::{ReplicaId, StoredMembership, Types};
use super::writes::Writes;
use crate::identity::{ClusterId, OwnCluster};
use crate::kv::{Answer, Key, Refusal, Submission};
use crate::store::{Disk, Received};

/// After so long people are told again that another cluster calls.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(String),
    /// The others call it at another address.
    #[error(
        "it is set up to be called at {own}, but its data says that the others call it at {known}, \
         and nobody could: start it at {known}, or remove it (curl -X DELETE \
         http://ANOTHER-MEMBER/{id}) and add a new member at {own} with an id that was never used"
    )]
    Moved {
        /// The replica.
        id: ReplicaId,
        /// What it is set up to be called at.
        own: String,
        /// What its log says.
        known: String,
    },
    /// openraft refuses what the disk holds.
    #[error("the replica cannot be started: {0}")]
    Raft(String),
}

/// Why a replica ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It is no member of the cluster any more.
    Removed,
    /// It can be of no cluster; the text says why, and what to do.
    Refused(String),
    /// A rule of Raft was broken, or its storage has failed.
    Broken(String),
}

/// A replica. Clones are handles to the same one.
pub struct Replica<D: Disk>(Arc<Inner<D>>);

impl<D: Disk> Clone for Replica<D> {
    fn clone(&self) -> Self {
        Replica(self.0.clone())
    }
}

impl<D: Disk> std::ops::Deref for Replica<D> {
    type Target = Inner<D>;

    fn deref(&self) -> &Inner<D> {
        &self.0
    }
}

/// What the handles of a replica share.
pub struct Inner<D: Disk> {
    pub(super) settings: Settings,
    pub(super) raft: Raft<Types, StateMachine<D>>,
    pub(super) state: State<D>,
    pub(super) log: SharedLog,
    pub(super) peers: OwnPeers,
    /// Why it takes no part yet.
    unidentified: Mutex<String>,
    /// The newest members that others have told, until it takes part.
    heard: Mutex<StoredMembership>,
    pub(super) reads: Mutex<Reads>,
    writes: Mutex<Writes>,
    /// Held while members change: one change at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) ended: watch::Sender<Option<End>>,
    sparing: Arc<Sparing>,
    pub(super) quorum: Arc<QuorumCheck>,
    /// When a leader showed last that it lives.
    led_at: Mutex<Instant>,
    /// When people were told last that another cluster calls.
    stranger_told_at: Mutex<Option<Instant>>,
    snapshots: Snapshots,
    pub(super) jobs: Jobs,
}

impl<D: Disk> Replica<D> {
    /// Starts a replica on what a store holds; whoever calls runs the jobs of
    /// the store meanwhile. Must be called within a `LocalSet`. `cluster` is that
    /// which the store knows; a replica of none finds out, or ends.
    pub async fn start(
        settings: Settings,
        cluster: OwnCluster,
        store: (State<D>, SharedLog),
        jobs: Jobs,
        snapshots: Snapshots,
        peers: Arc<dyn Peers>,
    ) -> Result<Self, StartError> {
        let config = config(&settings).map_err(StartError::Settings)?;
        let (state, log) = store;
        let ended = watch::Sender::new(None);
        let members = state.clone();
        let sparing = Sparing::new(settings.id, move || members.members());
        let peers = OwnPeers::new(peers, cluster);
        let quorum = Arc::new(QuorumCheck::new(settings.id, settings.election.1));
        let network = Network {
            peers: peers.clone(),
            snapshots: snapshots.clone(),
            ended: ended.clone(),
            sparing: sparing.clone(),
            quorum: quorum.clone(),
        };
        let machine =
            StateMachine::new(state.clone(), log.clone(), jobs.clone(), snapshots.clone());
        let log_store = LogStore::new(log.clone(), jobs.clone());
        let start = async {
            let raft = Raft::new(settings.id, Arc::new(config), network, log_store, machine).await;
            let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
            check_address(&raft, &settings).await?;
            Ok(raft)
        };
        let raft = Runtime::scope(settings.seed, start).await?;
        let replica = Replica(Arc::new(Inner {
            settings,
            raft,
            state,
            log,
            peers,
            unidentified: Mutex::new("no cluster yet: it is being looked for".into()),
            heard: Mutex::default(),
            reads: Mutex::default(),
            writes: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            ended,
            sparing,
            quorum,
            led_at: Mutex::new(Instant::now()),
            stranger_told_at: Mutex::default(),
            snapshots,
            jobs,
        }));
        tokio::task::spawn_local(replica.clone().tend());
        tokio::task::spawn_local(replica.clone().check_quorum());
        Ok(replica)
    }

    /// Runs a command, if it can be done before the deadline.
    pub async fn submit(
        &self,
        key: Key,
        submission: Submission,
        deadline: Instant,
    ) -> Result<Answer, Refusal> {
        self.wait_until_admitted(deadline).await?;
        if submission.is_read() {
            self.catch_up(deadline).await?;
            return self.state.get(&key);
        }
        let call = |patience_ms| {
            let (key, submission) = (key.clone(), submission.clone());
            Call::Submit { key, submission, patience_ms }
        };
        let here = async || self.write(key.clone(), submission.clone(), deadline).await;
        let parse = |reply| {
            let Reply::Submitted(result) = reply else { return None };
            Some(result)
        };
        let reply = self.at_leader(deadline, Lane::Forward, here, call, parse);
        reply.await?
    }

    /// Waits until all that was done before now is applied here.
    pub async fn catch_up(&self, deadline: Instant) -> Result<(), Refusal> {
        self.wait_until_admitted(deadline).await?;
        let position = self.read_index(deadline).await?;
        timeout_at(deadline, self.state.applied(position.index)).await.map_err(|_| {
            let behind = self.state.summary().applied.index().unwrap_or(0);
            Refusal::Failed(format!(
                "this replica has applied entry {behind} and needs {}; use another one",
                position.index
            ))
        })
    }

    /// The applied state of this replica.
    pub fn state(&self) -> &State<D> {
        &self.state
    }

    /// Who leads, as far as this replica knows; not itself when no quorum hears it,
    /// and nobody until it takes part.
    pub fn leader(&self) -> Option<ReplicaId> {
        let elected = self.raft.server_metrics().borrow_watched().current_leader;
        let elected = elected.filter(|_| self.takes_part());
        elected.filter(|leader| *leader != self.settings.id || !self.quorum.is_lost())
    }

    /// What openraft tells of itself.
    pub fn metrics(&self) -> RaftMetrics<Types> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Waits until this replica can go on no more, by itself.
    pub async fn ended(&self) -> End {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        // The sender lives as long as the replica.
        end.ok().and_then(|end| end.clone()).unwrap_or(End::Removed)
    }

    /// Says at times that another cluster calls: one of the two has no quorum and
    /// serves nobody, and nothing else tells why.
    fn tell_of_stranger(&self, from: ReplicaId, cluster: Option<ClusterId>) {
        let held = self.peers.cluster().get();
        let mut told_at = self.stranger_told_at.lock().expect("nothing panics with the lock");
        let is_due = told_at.is_none_or(|at| at.elapsed() > TELL_EVERY);
        if held.is_some() && cluster.is_some() && is_due {
            log::warn!("replica {}: {}", self.settings.id, other_cluster(from, cluster, held));
            *told_at = Some(Instant::now());
        }
    }

    /// Answers another replica. Whoever is turned away changes nothing.
    pub async fn serve(&self, from: ReplicaId, message: Message) -> Reply {
        let Message { cluster, call } = message;
        let held = self.peers.cluster().get();
        if let Call::Identify = call {
            return Reply::Identity(self.identity());
        }
        let is_foreign =
            cluster != held && !is_planted(self.settings.bug, Bug::OtherClusterIsServed);
        if held.is_none() || is_foreign {
            self.tell_of_stranger(from, cluster);
            return Reply::OtherCluster { held };
        }
        if self.state.members().retired.contains(&from) {
            return Reply::Removed;
        }
        if !self.takes_part() && !call.is_preliminary() {
            let id = self.settings.id;
            return Reply::Refused(format!("replica {id} waits until others know that it is back"));
        }
        if let Err(why) = self.check(from, &call) {
            return Reply::Refused(why);
        }
        let refused = |error: &dyn std::fmt::Display| Reply::Refused(error.to_string());
        match call {
            Call::Append(rpc) => match self.raft.append_entries(rpc).await {
                Ok(response) => {
                    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                        *self.lock_led_at() = Instant::now();
                    }
                    Reply::Appended(response)
                }
                Err(error) => refused(&error),
            },
            Call::Vote(rpc) => match self.raft.vote(rpc).await {
                Ok(response) => Reply::Voted(response),
                Err(error) => refused(&error),
            },
            Call::PreVote(rpc) => match self.raft.pre_vote(rpc).await {
                Ok(response) => Reply::PreVoted(response),
                Err(error) => refused(&error),
            },
            Call::TransferLeader(rpc) => match self.raft.handle_transfer_leader(rpc).await {
                Ok(response) => Reply::Transferred(response),
                Err(error) => refused(&error),
            },
            Call::Snapshot(chunk) => match self.take(chunk).await {
                Ok(reply) => Reply::Snapshot(reply),
                Err(why) => Reply::Refused(why),
            },
            Call::ReadIndex => {
                self.sparing.note_reader(Instant::now(), from);
                match self.confirm_leadership().await {
                    Attempt::Done(position) => Reply::ReadIndex(position),
                    Attempt::Elsewhere(leader) => Reply::NotLeader { leader },
                }
            }
            Call::Submit { key, submission, patience_ms } => {
                match self.write(key, submission, deadline(patience_ms)).await {
                    Attempt::Done(result) => Reply::Submitted(result),
                    Attempt::Elsewhere(leader) => Reply::NotLeader { leader },
                }
            }
            Call::Change { change, patience_ms } => {
                match self.change_here(&change, deadline(patience_ms)).await {
                    Attempt::Done(result) => Reply::Changed(result),
                    Attempt::Elsewhere(leader) => Reply::NotLeader { leader },
                }
            }
            Call::Publish(publication) => {
                match self.note_here(publication, deadline(PUBLISH_PATIENCE_MS)).await {
                    Attempt::Done(Ok(published)) => Reply::Published(published),
                    Attempt::Done(Err(refusal)) => refused(&refusal),
                    Attempt::Elsewhere(leader) => Reply::NotLeader { leader },
                }
            }
            Call::Join(publication) => {
                match self.note(publication, deadline(PUBLISH_PATIENCE_MS)).await {
                    Ok(published) => Reply::Joined(published),
                    Err(refusal) => refused(&refusal),
                }
            }
            Call::Hello => Reply::Noted,
            Call::Identify => Reply::Identity(self.identity()),
            Call::Probe => self.answer_probe(from),
            Call::Announce(announcement) => {
                self.note_announced(from, announcement).await.unwrap_or_else(Reply::Refused)
            }
        }
    }

    pub(super) fn lock_unidentified(&self) -> MutexGuard<'_, String> {
        self.unidentified.lock().expect("nothing panics while it holds the lock")
    }

    pub(super) fn lock_heard(&self) -> MutexGuard<'_, StoredMembership> {
        self.heard.lock().expect("nothing panics while it holds the lock")
    }

    /// When a leader showed last that it lives, as far as this replica knows.
    pub(super) fn lock_led_at(&self) -> MutexGuard<'_, Instant> {
        self.led_at.lock().expect("nothing panics while it holds the lock")
    }

    pub(super) fn lock_writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().expect("nothing panics while it holds the lock")
    }

    /// Takes a piece of a snapshot, and installs it with the last one.
    async fn take(&self, chunk: SnapshotChunk) -> Result<SnapshotReply, String> {
        let known = lock(&self.log).vote;
        if let Some(vote) = known.filter(|vote| *vote > chunk.vote) {
            return Ok(SnapshotReply::HigherVote { vote });
        }
        let (vote, meta) = (chunk.vote, chunk.meta.clone());
        let received = self.snapshots.receive(chunk).await.map_err(|error| error.to_string())?;
        let snapshot = match received {
            Received::Next(next_offset) => return Ok(SnapshotReply::Taken { next_offset }),
            Received::Whole(file) => file,
        };
        if is_planted(self.settings.bug, Bug::SnapshotOverNewerState) {
            let (meta, snapshot) = (meta.clone(), snapshot.clone());
            let install = self.jobs.run(|done| Job::Install(meta, snapshot, done)).await;
            install.map_err(|error| error.to_string())?;
        }
        // Where the log goes so far already, the snapshot only tells that it is
        // committed; openraft must not be given one behind its log.
        let commit = AppendEntriesRequest {
            vote,
            prev_log_id: meta.last_log_id,
            entries: Vec::new(),
            leader_commit: meta.last_log_id,
        };
        match self.raft.append_entries(commit).await.map_err(|error| error.to_string())? {
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {
                return Ok(SnapshotReply::Installed { vote });
            }
            AppendEntriesResponse::HigherVote(vote) => {
                return Ok(SnapshotReply::HigherVote { vote });
            }
            AppendEntriesResponse::Conflict => {}
        }
        let snapshot = openraft::storage::Snapshot { meta, snapshot };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        installed
            .map(|response| SnapshotReply::Installed { vote: response.vote })
            .map_err(|error| error.to_string())
    }
}

/// How long the note of a member may take.
const PUBLISH_PATIENCE_MS: u32 = 2000;

fn deadline(patience_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(patience_ms.into())
}
