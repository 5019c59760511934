//! A leader that no quorum hears, or that no quorum can call, leads no longer.
//!
//! Raft elects nobody as long as a leader's heartbeats arrive, whether it can do
//! anything or not. So two rules end that:
//!
//! 1. A leader that has heard no quorum for the longest election time sends no
//!    heartbeats and no entries any more, which renews no follower's lease, and
//!    counts as no leader (§6.2 of the dissertation: it steps down). It goes on as
//!    soon as a quorum answers its probes, unless another one was elected.
//! 2. A leader whose heartbeats arrive, but that no quorum can call, hands over to a
//!    voter that a quorum can; and who would be such a leader does not stand for
//!    election, for a while.
//!
//! openraft keeps such a leader and only refuses what it would append; its own
//! setting for the first rule (`quorum_loss_probe_interval`) lets heartbeats
//! through again and again and never withholds entries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use tokio::time::{Instant, sleep};

use super::message::{Call, Lane, Reply};
use super::planted::{Bug, is_planted};
use super::reachability::{Probed, Reachability, is_quorum};
use super::replica::{End, Replica};
use super::types::{ReplicaId, Types};
use crate::store::Disk;

/// What a replica knows of its quorum.
pub struct QuorumCheck {
    /// Who can call whom.
    pub reachability: Reachability,
    is_lost: AtomicBool,
    is_silent: AtomicBool,
}

/// So many election times without an answer show that a member cannot be called.
const UNREACHED_ELECTIONS: u32 = 4;
/// So many election times a replica that cannot be called leaves it to others to
/// stand for election: they may lack what only it has in its log.
const HOLD_ELECTIONS: u32 = 8;

impl QuorumCheck {
    /// Of the replica `own`, whose election times are `election` at most.
    pub fn new(own: ReplicaId, election: Duration) -> Self {
        QuorumCheck {
            reachability: Reachability::new(own, UNREACHED_ELECTIONS * election),
            is_lost: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
        }
    }

    /// Whether this replica was elected, and has heard no quorum for an election
    /// time.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether what renews followers' leases is withheld.
    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }
}

/// What the check remembers from one look to the next.
struct Looks {
    /// The term in which this replica leads, and since when at the earliest.
    leads: Option<(u64, Instant)>,
    probes_at: Instant,
    hands_over_at: Instant,
    /// Since when there are others that should stand for election instead.
    yields_since: Option<Instant>,
}

impl<D: Disk> Replica<D> {
    /// Checks the quorum as often as heartbeats go out, as long as the replica
    /// runs.
    pub(super) async fn check_quorum(self) {
        let now = Instant::now();
        let mut looks =
            Looks { leads: None, probes_at: now, hands_over_at: now, yields_since: None };
        loop {
            sleep(self.settings.heartbeat).await;
            let metrics = self.metrics();
            if metrics.running_state.is_err() {
                return;
            }
            let now = Instant::now();
            let voters = metrics.membership_config.membership().voter_ids();
            let voters: Vec<ReplicaId> = voters.collect();
            if !voters.contains(&self.settings.id) {
                continue;
            }
            if now >= looks.probes_at {
                looks.probes_at = now + self.settings.election.1 / 2;
                self.probe(now, &voters);
            }
            self.check_heard(now, &metrics, &mut looks);
            self.check_callable(now, &metrics, &mut looks).await;
        }
    }

    /// Probes all other voters.
    fn probe(&self, now: Instant, voters: &[ReplicaId]) {
        let members = self.state.members();
        for id in voters.iter().copied().filter(|id| *id != self.settings.id) {
            let url = self.url_of(id, &members);
            let patience = self.settings.election.1;
            let reply = self.peers.call(id, &url, Lane::Control, Call::Probe, patience);
            self.quorum.reachability.note_sent(now, id);
            let replica = self.clone();
            tokio::task::spawn_local(async move {
                match reply.await {
                    Ok(Reply::Probed { reaches_prober, is_eligible }) => {
                        let said = Probed { reaches_prober, is_eligible };
                        replica.quorum.reachability.note_answer(now, id, said);
                    }
                    Ok(Reply::Removed) => {
                        replica.ended.send_replace(Some(End::Removed));
                    }
                    Ok(_) | Err(_) => {}
                }
            });
        }
    }

    /// Tells another voter what it can do with this one.
    pub(super) fn answer_probe(&self, from: ReplicaId) -> Reply {
        let (now, reachability) = (Instant::now(), &self.quorum.reachability);
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Reply::Probed {
            reaches_prober: reachability.reaches(now, from),
            is_eligible: reachability.is_eligible(now, membership),
        }
    }

    /// The first rule: does a quorum hear this leader?
    fn check_heard(&self, now: Instant, metrics: &RaftMetrics<Types>, looks: &mut Looks) {
        if is_planted(self.settings.bug, Bug::HeartbeatsWithoutQuorum) {
            return;
        }
        let (me, longest) = (self.settings.id, self.settings.election.1);
        let term = metrics.current_term;
        looks.leads = match looks.leads {
            _ if metrics.current_leader != Some(me) => None,
            Some((known, since)) if known == term => Some((term, since)),
            Some(_) | None => Some((term, now)),
        };
        let membership = metrics.membership_config.membership();
        let is_alone = is_quorum(&[me].into(), membership);
        let silence = looks.leads.filter(|_| !is_alone).map(|(_, since)| {
            let leading = now.duration_since(since);
            metrics
                .last_quorum_acked
                .map_or(leading, |acked| acked.into_inner().elapsed().min(leading))
        });
        let is_lost = silence.is_some_and(|silence| silence > longest);
        let answers = || self.quorum.reachability.reaches_quorum(now - longest, membership);
        let is_silent = is_lost && !answers();
        self.quorum.is_lost.store(is_lost, Ordering::Relaxed);
        match (self.quorum.is_silent.swap(is_silent, Ordering::Relaxed), is_silent) {
            (false, true) => log::warn!(
                "replica {me}: it led term {term}, but no majority has answered for {} ms: it stops \
                 its heartbeats, so that others can be elected",
                silence.unwrap_or_default().as_millis()
            ),
            (true, false) => {
                log::info!("replica {me}: a majority answers again, or another replica leads");
            }
            (true, true) | (false, false) => {}
        }
    }

    /// The second rule: can a quorum call this replica?
    async fn check_callable(&self, now: Instant, metrics: &RaftMetrics<Types>, looks: &mut Looks) {
        if is_planted(self.settings.bug, Bug::LeadsUnreachable) {
            return;
        }
        let (me, longest) = (self.settings.id, self.settings.election.1);
        let membership = metrics.membership_config.membership();
        let reachability = &self.quorum.reachability;
        let (cut_off, eligible) = (reachability.cut_off(now), reachability.eligible(now));
        let yields = !cut_off.is_empty()
            && !eligible.is_empty()
            && !reachability.is_eligible(now, membership);
        looks.yields_since = yields.then(|| looks.yields_since.unwrap_or(now));
        let held_until = looks
            .yields_since
            .map(|since| since.max(*self.lock_led_at()) + HOLD_ELECTIONS * longest);
        self.raft.runtime_config().elect(held_until.is_none_or(|until| now >= until));
        if yields && self.leader() == Some(me) && now >= looks.hands_over_at {
            looks.hands_over_at = now + UNREACHED_ELECTIONS * longest;
            let members = self.state.members();
            log::warn!(
                "replica {me}: it leads, but no majority can call it, not {cut_off:?}: is {:?} its \
                 address, and open to the others?",
                self.url_of(me, &members)
            );
            self.hand_over(now + longest).await;
        }
    }
}
