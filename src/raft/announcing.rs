//! A replica tells the others that it is back, and takes part once they know that
//! its data is all that it had.
//!
//! An older copy of a member's data directory, or one whose journal lost its end,
//! has forgotten for whom the member voted and what it acknowledged (figure 2 of
//! the paper: persistent state); with it a quorum can elect a leader that lacks
//! committed entries. So a replica announces the [`Generation`] of its store when
//! it starts, and each other member makes it durable before it answers what it now
//! knows. Who knows a later one, or another one with the same count, has seen data
//! that is gone: the replica ends.
//!
//! It takes part when a quorum with it has noted the generation, and all others
//! have or were silent for a moment. It is told by a quorum of the newest members
//! that it knows or that the others answer with: its own log may be old. Those that
//! were silent are told later, and so are all others when the store is marked:
//! about once a second while it grows, so that a copy that was taken in a running
//! directory is noticed too.
//!
//! Answers tell what is known of all members, so that one that was away, or is new,
//! knows before it takes part what those that answer it know.
//!
//! What this cannot notice: a copy, when no member that answers before the replica
//! takes part had noted a later generation; nor what was written within about a
//! second after the last mark that the copy has; nor a copy from the time when the
//! member was the only voter.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use openraft::Membership;
use tokio::time::{Instant, sleep};

use super::generations::{KnownGenerations, ReplicaGenerations};
use super::message::{Announcement, Call, Lane, Reply};
use super::planted::{Bug, is_planted};
use super::reachability::is_quorum;
use super::replica::{End, Replica};
use super::store::{Job, lock};
use super::types::{Member, ReplicaId, StoredMembership};
use crate::generation::Generation;
use crate::kv::Refusal;
use crate::store::Disk;

/// How long others may be silent before a replica takes part without them.
const SILENCE: Duration = Duration::from_millis(300);
/// How often it asks until then.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// How often the store is marked while it grows, and those are told again that were
/// silent.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the store has been marked.
const TICK: Duration = Duration::from_millis(100);
/// How often people are told whom the replica waits for.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What each other member has noted of this replica.
type Noted = BTreeMap<ReplicaId, Generation>;

impl<D: Disk> Replica<D> {
    /// Announces this replica until it may take part; `None` when it has ended.
    pub(super) async fn come_in(&self) -> Option<Noted> {
        let (began, mut noted) = (Instant::now(), Noted::new());
        let mut told_at: Option<Instant> = None;
        *self.lock_unidentified() = "the others are being told that this one is back".into();
        loop {
            self.announce(&mut noted).await?;
            let members = self.newest_members().await?;
            let own = self.generation();
            let has_noted = |id: &ReplicaId| noted.get(id) == Some(&own);
            let others = members.nodes().map(|(id, _)| *id).filter(|id| *id != self.settings.id);
            let silent: Vec<ReplicaId> = others.filter(|id| !has_noted(id)).collect();
            let aware = noted.keys().copied().filter(has_noted).chain([self.settings.id]).collect();
            let is_known = is_quorum(&aware, members.membership());
            if is_known && (silent.is_empty() || began.elapsed() >= SILENCE) {
                // The first that is written from now on shows that it took part.
                lock(&self.log).generations.is_mark_due = true;
                self.peers.set_admitted(true);
                *self.lock_heard() = StoredMembership::default();
                return Some(noted);
            }
            let why = format!(
                "no majority of the members has noted yet that this one is back; there is no \
                 answer from {silent:?}: start them"
            );
            if began.elapsed() >= SILENCE && told_at.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                log::warn!("replica {}: {why}", self.settings.id);
                told_at = Some(Instant::now());
            }
            *self.lock_unidentified() = why;
            sleep(RETRY_AFTER).await;
        }
    }

    /// Has the store marked while it grows, and tells the others: those that were
    /// silent too, again and again.
    pub(super) async fn go_on_announcing(self, mut noted: Noted) {
        let mut due = Instant::now() + MARK_EVERY;
        let mut announced = self.generation();
        loop {
            sleep(TICK).await;
            let is_due = Instant::now() >= due;
            if is_due {
                due = Instant::now() + MARK_EVERY;
                lock(&self.log).generations.is_mark_due = true;
            }
            let own = self.generation();
            if own != announced || is_due {
                announced = own;
                if self.announce(&mut noted).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Tells the newest generation to all who have not noted it; `None` when that
    /// has ended the replica.
    async fn announce(&self, noted: &mut Noted) -> Option<()> {
        let members = self.newest_members().await?;
        let own = self.generation();
        let left = members
            .nodes()
            .filter(|(id, _)| **id != self.settings.id && noted.get(*id) != Some(&own));
        let calls = left.map(async |(id, member)| {
            let call = Call::Announce(Announcement { generation: own, members: members.clone() });
            let reply = self.peers.call(*id, &member.peer_url, Lane::Members, call, SILENCE);
            (*id, reply.await)
        });
        let (me, mut learned) = (self.settings.id, Vec::new());
        for (id, reply) in join_all(calls).await {
            match reply {
                Ok(Reply::Announced { known, members }) => {
                    self.hear(members);
                    let of_this = known.get(&me).copied().unwrap_or_default();
                    if of_this == own || self.is_let_in_anyway() {
                        noted.insert(id, own);
                    } else if !self.generation().continues(of_this) {
                        self.end(End::Refused(self.outdated(id, of_this)));
                        return None;
                    }
                    learned.extend(known.into_iter().filter(|(id, _)| *id != me));
                }
                Ok(Reply::Removed) => {
                    self.end(End::Removed);
                    return None;
                }
                Ok(_) | Err(_) => {}
            }
        }
        {
            let generations = &lock(&self.log).generations;
            learned.retain(|(id, one)| {
                generations.is_plausible(*id, *one) && generations.is_new(*id, *one)
            });
        }
        match learned.is_empty() {
            true => Some(()),
            false => self.note_known(learned).await.ok().map(drop),
        }
    }

    fn is_let_in_anyway(&self) -> bool {
        let bugs = [Bug::OldCopyIsLetIn, Bug::EmptiedMemberIsLetIn];
        bugs.iter().any(|bug| is_planted(self.settings.bug, *bug))
    }

    /// Notes what another replica announces.
    pub(super) async fn note_announced(
        &self,
        from: ReplicaId,
        Announcement { generation, members }: Announcement,
    ) -> Result<Reply, String> {
        self.hear(members);
        let mut known = self.note_known(vec![(from, generation)]).await?;
        known.insert(self.settings.id, self.generation());
        let members = self.newest_members().await.ok_or("the replica has stopped")?;
        Ok(Reply::Announced { known, members })
    }

    /// Notes generations of other members durably, and gives all that are known.
    async fn note_known(
        &self,
        told: Vec<(ReplicaId, Generation)>,
    ) -> Result<KnownGenerations, String> {
        let known = self.jobs.run(|done| Job::Note(told, done)).await;
        known.map_err(|error| error.to_string())
    }

    /// Keeps in mind which members another one knows, as long as this replica waits.
    fn hear(&self, members: StoredMembership) {
        let mut heard = self.lock_heard();
        if !self.peers.is_admitted() && members.log_id() > heard.log_id() {
            *heard = members;
        }
    }

    /// The newest members that the log names or others have told; those that the
    /// replica was started with, where there are none yet. `None` when the replica
    /// has stopped.
    async fn newest_members(&self) -> Option<StoredMembership> {
        let effective = self.raft.with_raft_state(|state| {
            let effective = state.membership_state.effective();
            StoredMembership::new(*effective.log_id(), effective.membership().clone())
        });
        let in_log = match effective.await {
            Ok(members) => members,
            Err(error) => {
                self.end(End::Broken(error.to_string()));
                return None;
            }
        };
        let heard = self.lock_heard().clone();
        let newest = if heard.log_id() > in_log.log_id() { heard } else { in_log };
        if newest.nodes().next().is_some() {
            return Some(newest);
        }
        let given = self.settings.members.iter();
        let member = |url: &String| Member { peer_url: url.clone(), nonce: None };
        let given: BTreeMap<ReplicaId, Member> =
            given.map(|(id, url)| (*id, member(url))).collect();
        let voters = given.keys().copied().collect();
        let founders = Membership::new(vec![voters], given).expect("all voters are members");
        Some(StoredMembership::new(None, founders))
    }

    /// Whether enough of the others know this replica to have all its data, so that
    /// it votes, acknowledges and serves.
    pub fn takes_part(&self) -> bool {
        self.peers.is_admitted()
    }

    /// What its store knows of generations.
    pub fn generations(&self) -> ReplicaGenerations {
        lock(&self.log).generations.clone()
    }

    fn generation(&self) -> Generation {
        lock(&self.log).generations.own
    }

    fn end(&self, end: End) {
        self.peers.set_admitted(false);
        self.ended.send_replace(Some(end));
    }

    fn outdated(&self, witness: ReplicaId, known: Generation) -> String {
        let (id, own) = (self.settings.id, self.generation());
        let other = if own.count == known.count { "another " } else { "" };
        format!(
            "its data is an older copy of what it had, or has lost its end: member {witness} knows \
             generation {} of it, and with this start the data has come to {other}{} only; what \
             the replica promised and acknowledged since then is gone, and taking part again could \
             lose writes; bring the newest data back, or remove it (curl -X DELETE \
             http://ANOTHER-MEMBER/{id}) and add a new member with an id that was never used",
            known.count, own.count
        )
    }

    /// Waits until the replica takes part.
    pub(super) async fn wait_until_admitted(&self, deadline: Instant) -> Result<(), Refusal> {
        while !self.takes_part() {
            if Instant::now() >= deadline {
                return Err(Refusal::Failed(self.lock_unidentified().clone()));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
