//! What only a leader does: here if this replica leads, else there.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use tokio::time::{Instant, timeout_at};

use super::message::{Call, Lane, Reply};
use super::peers::Unanswered;
use super::planted::{Bug, is_planted};
use super::replica::{End, Replica};
use super::state::position;
use super::types::{ReplicaId, Request, Response};
use crate::kv::{LogPosition, Refusal};
use crate::store::Disk;

/// What a replica's leader did not answer.
#[derive(Clone, Debug)]
pub enum Unled {
    /// Certainly nothing was done.
    Failed(String),
    /// Something may have been done.
    Lost(String),
}

impl From<Unled> for Refusal {
    fn from(unled: Unled) -> Self {
        match unled {
            Unled::Failed(why) => Refusal::Failed(why),
            Unled::Lost(why) => Refusal::Unknown(why),
        }
    }
}

/// What came of trying here what only a leader can do.
pub enum Attempt<T> {
    /// This.
    Done(T),
    /// Nothing: somebody else leads.
    Elsewhere(Option<ReplicaId>),
}

/// How long a leader that was deposed may take to answer what it has done.
const LAST_ANSWERS: Duration = Duration::from_millis(150);
/// How long to wait before somebody else is asked who leads.
const PAUSE: Duration = Duration::from_millis(20);

impl<D: Disk> Replica<D> {
    /// Appends a request, if this replica leads.
    pub(super) async fn append(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Attempt<Result<(Response, LogPosition), Refusal>> {
        let unknown = |why: &str| Attempt::Done(Err(Refusal::Unknown(why.into())));
        let Ok(result) = timeout_at(deadline, self.raft.client_write(request)).await else {
            return unknown("no quorum of replicas took it in time; it may still take effect");
        };
        match result {
            Ok(written) => Attempt::Done(Ok((written.data, position(&written.log_id)))),
            Err(RaftError::APIError(error)) => match error {
                ClientWriteError::ForwardToLeader(forward) => Attempt::Elsewhere(forward.leader_id),
                ClientWriteError::LogEntryDiscarded(_) => {
                    unknown("another replica took the lead meanwhile; it may have taken effect")
                }
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_) => {
                    Attempt::Done(Err(Refusal::Failed(error.to_string())))
                }
            },
            Err(RaftError::Fatal(error)) => {
                unknown(&format!("the replica has stopped: {error}; it may have taken effect"))
            }
        }
    }

    /// Makes sure that this replica still leads; gives the index that a read
    /// which began before must have applied.
    pub(super) async fn confirm_leadership(&self) -> Attempt<LogPosition> {
        if is_planted(self.settings.bug, Bug::ReadWithoutReadIndex)
            && self.metrics().current_leader == Some(self.settings.id)
            && let Some(position) = self.state.summary().applied.position()
        {
            return Attempt::Done(position);
        }
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Attempt::Done(position(linearizer.read_log_id().log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(ForwardToLeader {
                leader_id,
                ..
            }))) => Attempt::Elsewhere(leader_id),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))
            | Err(RaftError::Fatal(_)) => Attempt::Elsewhere(None),
        }
    }

    /// Does here, or has the leader do, what only a leader can; looks for one
    /// until the deadline.
    pub(super) async fn at_leader<T>(
        &self,
        deadline: Instant,
        lane: Lane,
        here: impl AsyncFn() -> Attempt<T>,
        call: impl Fn(u32) -> Call,
        parse: impl Fn(Reply) -> Option<T>,
    ) -> Result<T, Unled> {
        let me = self.settings.id;
        let mut leader = self.leader();
        loop {
            let why;
            let hint = match leader.filter(|leader| *leader != me) {
                None => match here().await {
                    Attempt::Done(result) => return Ok(result),
                    Attempt::Elsewhere(hint) => {
                        why = "no leader is known that a quorum follows".to_string();
                        hint
                    }
                },
                Some(leader) => {
                    let members = self.state.members();
                    let url = self.url_of(leader, &members);
                    let patience = deadline.saturating_duration_since(Instant::now());
                    let call = call(patience.as_millis() as u32);
                    let reply = self.peers.call(leader, &url, lane, call, patience);
                    match self.while_it_leads(leader, reply).await {
                        Err(Unanswered::Lost(why)) => return Err(Unled::Lost(why)),
                        Err(Unanswered::NotSent(reason)) => {
                            why = reason;
                            None
                        }
                        Ok(Reply::NotLeader { leader }) => {
                            why = "no leader is known that a quorum follows".to_string();
                            leader
                        }
                        Ok(Reply::Removed) => {
                            self.ended.send_replace(Some(End::Removed));
                            why = "this replica was removed from the cluster".to_string();
                            None
                        }
                        Ok(Reply::Refused(reason)) => {
                            why = reason;
                            None
                        }
                        Ok(reply) => match parse(reply) {
                            Some(result) => return Ok(result),
                            None => {
                                let why = format!("replica {leader} answered something else");
                                return Err(Unled::Lost(why));
                            }
                        },
                    }
                }
            };
            // A new hint is followed at once, anything else after a pause.
            if hint.is_some() && hint != leader && hint != Some(me) {
                leader = hint;
            } else {
                self.pause().await;
                leader = self.leader();
            }
            if Instant::now() >= deadline {
                return Err(Unled::Failed(why));
            }
        }
    }

    /// Waits for what a leader answers; once another one leads, not for long,
    /// since the first one may be cut off. Who leads is what this replica knows,
    /// which may be older than what it was told of `leader`.
    async fn while_it_leads(
        &self,
        leader: ReplicaId,
        reply: impl Future<Output = Result<Reply, Unanswered>>,
    ) -> Result<Reply, Unanswered> {
        let mut metrics = self.raft.server_metrics();
        let before = metrics.borrow_and_update().current_leader;
        let deposed = async {
            loop {
                if metrics.changed().await.is_err() {
                    return std::future::pending().await;
                }
                let now = metrics.borrow_and_update().current_leader;
                if now.is_some() && now != before && now != Some(leader) {
                    return tokio::time::sleep(LAST_ANSWERS).await;
                }
            }
        };
        tokio::select! {
            biased;
            reply = reply => reply,
            () = deposed => {
                Err(Unanswered::Lost(format!("replica {leader} leads no more and did not answer")))
            }
        }
    }

    /// Waits a little, or until another leader is known.
    pub(super) async fn pause(&self) {
        let mut metrics = self.raft.server_metrics();
        let before = metrics.borrow_and_update().current_leader;
        let changed = async {
            while metrics.changed().await.is_ok() {
                if metrics.borrow_and_update().current_leader != before {
                    return;
                }
            }
            // A replica that has stopped learns of no other leader.
            std::future::pending().await
        };
        // Either way it was long enough.
        let _ = tokio::time::timeout(PAUSE, changed).await;
    }

    /// Hands leadership to another member, if this replica leads and there is
    /// one that is up to date; waits until that has happened.
    pub async fn hand_over(&self, deadline: Instant) {
        let Some(to) = self.successor() else { return };
        log::info!("replica {}: handing leadership to replica {to}", self.settings.id);
        if self.raft.trigger().transfer_leader(to).await.is_err() {
            return;
        }
        let mut metrics = self.raft.server_metrics();
        let me = self.settings.id;
        let changed = async {
            loop {
                let leader = metrics.borrow_and_update().current_leader;
                if leader.is_some_and(|leader| leader != me) || metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout_at(deadline, changed).await.is_err() {
            log::warn!("replica {to} did not take leadership over in time");
        }
    }

    /// The voter that has the most of the log, of those that a quorum can call if
    /// there are such, if this replica leads.
    pub(super) fn successor(&self) -> Option<ReplicaId> {
        let metrics = self.metrics();
        let me = self.settings.id;
        let replication = metrics.replication.as_ref()?;
        let membership = metrics.membership_config.membership();
        let eligible = self.quorum.reachability.eligible(Instant::now());
        let voters = membership.voter_ids().filter(|id| *id != me);
        voters.max_by_key(|id| (eligible.contains(id), replication.get(id).copied().flatten()))
    }
}
