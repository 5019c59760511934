//! Members come and go, one at a time.
//!
//! A new member starts as a learner, which gets the log but does not vote
//! (§4.2.1 of the dissertation); the leader makes it a voter once it has caught
//! up, however often the leader changes meanwhile. Voters change through joint
//! consensus (§6). A member that is removed hears no more of the leader; it
//! asks, and whoever has applied its removal tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::Instant as _;
use openraft::error::{ClientWriteError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::{ChangeMembers, Membership};
use tokio::time::{Instant, sleep, timeout_at};

use super::leader::Attempt;
use super::message::{Call, ChangeError, Changed, Lane, MemberChange, Reply};
use super::peers::Unanswered;
use super::replica::{End, Replica};
use super::state::Members;
use super::store::lock;
use super::types::{Member, ReplicaId, Types};
use crate::kv::Refusal;
use crate::store::Disk;

type ChangeResult = Result<Changed, ChangeError>;

/// How often a replica looks after itself.
const TICK: Duration = Duration::from_millis(100);
/// How long a change waits for another one, and for members to answer.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(1);
/// A learner this many entries behind has caught up: they take less time than
/// an election.
const CAUGHT_UP_ENTRIES: u64 = 200;
/// How long a replica that was removed still serves, so that the others learn
/// of it from their leader.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long after it heard of a leader last a replica asks whether it is still
/// a member.
const LEADERLESS: Duration = Duration::from_millis(500);

impl<D: Disk> Replica<D> {
    /// Changes the members, if it can be done before the deadline.
    pub async fn change(&self, change: MemberChange, deadline: Instant) -> ChangeResult {
        self.wait_until_admitted(deadline).await?;
        let call = |patience_ms| Call::Change { change: change.clone(), patience_ms };
        let here = async || self.change_here(&change, deadline).await;
        let parse = |reply| {
            let Reply::Changed(result) = reply else { return None };
            Some(result)
        };
        let reply = self.at_leader(deadline, Lane::Members, here, call, parse);
        reply.await.map_err(Refusal::from)?
    }

    /// Changes the members, if this replica leads.
    pub(super) async fn change_here(
        &self,
        change: &MemberChange,
        deadline: Instant,
    ) -> Attempt<ChangeResult> {
        let Ok(_turn) = timeout_at(deadline, self.changing.lock()).await else {
            return conflict("another change of members is under way; try again later");
        };
        // What was decided by earlier leaders must be known here.
        let position = match self.confirm_leadership().await {
            Attempt::Done(position) => position,
            Attempt::Elsewhere(leader) => return Attempt::Elsewhere(leader),
        };
        if timeout_at(deadline, self.state.applied(position.index)).await.is_err() {
            let why = "the members are not known in time; try again";
            return Attempt::Done(Err(Refusal::Failed(why.into()).into()));
        }
        if is_joint(self.state.members().membership.membership()) {
            match self.finish_change(deadline).await {
                Attempt::Done(Ok(_)) => {}
                Attempt::Done(Err(_)) => {
                    return conflict("an earlier change of members is under way; try again later");
                }
                Attempt::Elsewhere(leader) => return Attempt::Elsewhere(leader),
            }
        }
        let members = self.state.members();
        if members.url(self.settings.id).is_none() {
            // The earlier change removed this leader, which leads no more.
            return Attempt::Elsewhere(None);
        }
        match change {
            MemberChange::Add { id, peer_url } => self.add(*id, peer_url, &members, deadline).await,
            MemberChange::Remove { id } => self.remove(*id, &members, deadline).await,
        }
    }

    async fn add(
        &self,
        id: ReplicaId,
        peer_url: &str,
        members: &Members,
        deadline: Instant,
    ) -> Attempt<ChangeResult> {
        let membership = members.membership.membership();
        if members.retired.contains(&id) {
            return conflict(&format!("member {id} was removed; use an id that was never used"));
        }
        let same_url = |(_, member): &(&ReplicaId, &Member)| member.peer_url == peer_url;
        match membership.nodes().find(same_url) {
            Some((other, _)) if *other != id => {
                return conflict(&format!("{peer_url} is member {other} already"));
            }
            // The answer to who asked before may have been lost.
            Some(_) if membership.voter_ids().any(|voter| voter == id) => {
                return Attempt::Done(Ok(Changed::Done));
            }
            Some(_) => {}
            None if membership.get_node(&id).is_some() => {
                return conflict(&format!("member {id} is there already, with another address"));
            }
            None => {
                let member = Member { peer_url: peer_url.into(), nonce: None };
                let change = ChangeMembers::AddNodes(BTreeMap::from([(id, member)]));
                match self.commit(change, deadline).await {
                    Attempt::Done(Ok(Changed::Done)) => {}
                    other => return other,
                }
            }
        }
        Attempt::Done(Ok(self.promote_newcomer(id, peer_url, deadline).await))
    }

    /// Waits a little for a learner to catch up, if it answers at all.
    async fn promote_newcomer(&self, id: ReplicaId, peer_url: &str, deadline: Instant) -> Changed {
        let patience = NEWCOMER_PATIENCE.min(deadline.saturating_duration_since(Instant::now()));
        let call = Call::Hello;
        let hello = self.peers.call(id, peer_url, Lane::Control, call, patience).await;
        if let Err(Unanswered::NotSent(why) | Unanswered::Lost(why)) = hello {
            return Changed::Learner {
                why: format!("{why}; start it with --join, it votes when it has caught up"),
            };
        }
        loop {
            let metrics = self.metrics();
            if caught_up(&metrics).contains(&id) && self.promote(id, deadline).await {
                return Changed::Done;
            }
            if Instant::now() + TICK >= deadline {
                return Changed::Learner { why: "it has not caught up yet".into() };
            }
            sleep(TICK).await;
        }
    }

    async fn promote(&self, id: ReplicaId, deadline: Instant) -> bool {
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        let result = self.commit(change, deadline).await;
        let is_done = matches!(result, Attempt::Done(Ok(Changed::Done)));
        if is_done {
            log::info!("member {id} has caught up and votes now");
        }
        is_done
    }

    async fn remove(
        &self,
        id: ReplicaId,
        members: &Members,
        deadline: Instant,
    ) -> Attempt<ChangeResult> {
        let membership = members.membership.membership();
        if members.retired.contains(&id) {
            // Also an attempt that another leader finished is made again.
            return Attempt::Done(Ok(Changed::Done));
        }
        if membership.get_node(&id).is_none() {
            let why = format!("there is no member {id}");
            return Attempt::Done(Err(ChangeError::NotFound(why)));
        }
        let voters: BTreeSet<ReplicaId> = membership.voter_ids().collect();
        if !voters.contains(&id) {
            let change = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
            return self.commit(change, deadline).await;
        }
        let rest: BTreeSet<ReplicaId> =
            voters.iter().copied().filter(|voter| *voter != id).collect();
        if rest.is_empty() {
            return conflict(&format!("member {id} is the last one"));
        }
        let count = self.count_alive(&rest, deadline).await;
        if count <= rest.len() / 2 {
            return conflict(&format!(
                "only {count} of the other {} voters answer, which is no majority; start them, or \
                 remove those that are gone first",
                rest.len()
            ));
        }
        if id == self.settings.id {
            // Another one removes it, so that the cluster is not without a
            // leader afterwards.
            let soon = deadline.min(Instant::now() + NEWCOMER_PATIENCE);
            self.hand_over(soon).await;
            match self.leader() {
                Some(leader) if leader != id => return Attempt::Elsewhere(Some(leader)),
                Some(_) | None => {}
            }
        }
        self.commit(ChangeMembers::RemoveVoters(BTreeSet::from([id])), deadline).await
    }

    /// How many of these voters live. They must be able to commit their own first
    /// entry, so a leader that is new or busy gives them time to be a majority.
    async fn count_alive(&self, voters: &BTreeSet<ReplicaId>, deadline: Instant) -> usize {
        let soon = deadline.min(Instant::now() + NEWCOMER_PATIENCE);
        loop {
            let count = voters.intersection(&self.alive()).count();
            if count > voters.len() / 2 || Instant::now() + TICK >= soon {
                return count;
            }
            sleep(TICK).await;
        }
    }

    /// The members that have answered this leader within an election time.
    fn alive(&self) -> BTreeSet<ReplicaId> {
        let metrics = self.metrics();
        let heard = metrics.heartbeat.unwrap_or_default();
        let recent = self.settings.election.1;
        let answers = heard.into_iter().filter(|(_, last)| {
            last.as_ref().is_some_and(|last| last.into_inner().elapsed() < recent)
        });
        answers.map(|(id, _)| id).chain([self.settings.id]).collect()
    }

    /// Takes the second step of a change whose leader died after the first.
    async fn finish_change(&self, deadline: Instant) -> Attempt<ChangeResult> {
        self.commit(ChangeMembers::AddVoterIds(BTreeSet::new()), deadline).await
    }

    /// Commits a change.
    async fn commit(
        &self,
        change: ChangeMembers<ReplicaId, Member>,
        deadline: Instant,
    ) -> Attempt<ChangeResult> {
        let unknown = |why: &str| Attempt::Done(Err(Refusal::Unknown(why.into()).into()));
        let Ok(result) = timeout_at(deadline, self.raft.change_membership(change, false)).await
        else {
            return unknown("no quorum took the change in time; it may still take effect");
        };
        match result {
            Ok(_) => Attempt::Done(Ok(Changed::Done)),
            Err(RaftError::APIError(error)) => match error {
                ClientWriteError::ForwardToLeader(forward) => Attempt::Elsewhere(forward.leader_id),
                ClientWriteError::LogEntryDiscarded(_) => {
                    unknown("another replica took the lead meanwhile; it may have taken effect")
                }
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_) => conflict(&error.to_string()),
            },
            Err(RaftError::Fatal(error)) => unknown(&format!("the replica has stopped: {error}")),
        }
    }

    /// Looks after the replica and, while it leads, after the members.
    pub(super) async fn tend(self) {
        if !self.belong().await {
            return;
        }
        let Some(noted) = self.come_in().await else { return };
        if !self.initialize().await {
            return;
        }
        tokio::task::spawn_local(self.clone().go_on_announcing(noted));
        let mut leader_shown = None;
        let mut publishing = Instant::now();
        loop {
            sleep(TICK).await;
            let metrics = self.metrics();
            if let Err(error) = &metrics.running_state {
                self.ended.send_replace(Some(End::Broken(error.to_string())));
                return;
            }
            if self.state.members().retired.contains(&self.settings.id) {
                sleep(FAREWELL).await;
                self.ended.send_replace(Some(End::Removed));
                return;
            }
            let leader = self.leader().map(|leader| (leader, metrics.current_term));
            if leader != leader_shown {
                leader_shown = leader;
                if let Some((leader, term)) = leader {
                    log::info!(
                        "replica {}: replica {leader} leads in term {term}",
                        self.settings.id
                    );
                }
            }
            // Who does not vote goes on believing in a leader that it no longer
            // hears of.
            let leads = self.leader() == Some(self.settings.id);
            let led_at = *self.lock_led_at();
            if !leads && led_at.elapsed() > LEADERLESS.max(self.settings.election.1) {
                self.greet().await;
            }
            if leads {
                self.lead(&metrics).await;
            }
            if lock(&self.log).bytes_since_snapshot > self.settings.snapshot_bytes {
                // When it cannot be made now, it is asked for again.
                let _ = self.raft.trigger().snapshot().await;
            }
            if metrics.current_leader.is_some() && Instant::now() >= publishing {
                publishing = Instant::now() + Duration::from_secs(1);
                self.publish().await;
            }
        }
    }

    /// What a leader does besides replicating.
    async fn lead(&self, metrics: &RaftMetrics<Types>) {
        let Ok(_turn) = self.changing.try_lock() else { return };
        let soon = Instant::now() + Duration::from_secs(1);
        if is_joint(metrics.membership_config.membership()) {
            if let Attempt::Done(Err(error)) = self.finish_change(soon).await {
                log::debug!("the change of members that is under way is not done: {error}");
            }
        } else if let Some(id) = caught_up(metrics).first() {
            self.promote(*id, soon).await;
        }
    }

    /// Asks the others whether this replica is still a member: those that it has
    /// heard of, and those that it was started with.
    async fn greet(&self) {
        let members = self.state.members();
        let heard_of = members.membership.nodes().map(|(id, member)| (*id, &member.peer_url));
        let given = self.settings.members.iter().map(|(id, url)| (*id, url));
        let known: BTreeMap<ReplicaId, &String> = given.chain(heard_of).collect();
        for (id, url) in known {
            if id == self.settings.id {
                continue;
            }
            let call = Call::Hello;
            let hello = self.peers.call(id, url, Lane::Control, call, TICK).await;
            if let Ok(Reply::Removed) = hello {
                self.ended.send_replace(Some(End::Removed));
            }
        }
    }

    /// The URL of a member's peer listener.
    pub(super) fn url_of(&self, id: ReplicaId, members: &Members) -> String {
        // A member that this replica has not applied yet is in its log.
        let in_log = || {
            let metrics = self.metrics();
            let member = metrics.membership_config.membership().get_node(&id).cloned();
            member.map(|member| member.peer_url)
        };
        members.url(id).map(str::to_owned).or_else(in_log).unwrap_or_default()
    }
}

fn conflict(why: &str) -> Attempt<ChangeResult> {
    Attempt::Done(Err(ChangeError::Conflict(why.into())))
}

/// Whether a change is between its two steps.
fn is_joint(membership: &Membership<ReplicaId, Member>) -> bool {
    membership.get_joint_config().len() > 1
}

/// The learners that have nearly all of the log.
fn caught_up(metrics: &RaftMetrics<Types>) -> Vec<ReplicaId> {
    let Some(replication) = &metrics.replication else { return Vec::new() };
    let last = metrics.last_log_index.unwrap_or(0);
    let learners = metrics.membership_config.membership().learner_ids();
    let near = |id: &ReplicaId| {
        let matched = replication.get(id).copied().flatten();
        matched.is_some_and(|matched| matched.index + CAUGHT_UP_ENTRIES >= last)
    };
    learners.filter(near).collect()
}
