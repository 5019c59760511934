//! Which cluster a replica is of: how founders found one, and how a member that
//! was added comes in.
//!
//! **Founders** that know no cluster ask each other. When all have answered, and
//! all are new and were started with the same members, each computes the id of
//! the cluster from all nonces ([`identity`](crate::identity)), makes it durable,
//! and writes the first entry of the log, which names the members with their
//! nonces and is the same at all of them. All must answer: one that is silent may
//! hold the data of a cluster that was founded before.
//!
//! **A member that was added** has a running one note its nonce in the log, and
//! begins when that is committed.
//!
//! A member that has lost its data has another nonce. When most of the others know
//! the old one it ends: it would vote again where it has voted, and miss
//! entries that it has acknowledged (figure 2 of the paper: persistent state).
//! Until it is sure it changes nothing and serves nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use openraft::error::{InitializeError, RaftError};
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

use super::leader::Attempt;
use super::message::{Call, Identity, Lane, Publication, Published, Reply};
use super::planted::{Bug, is_planted};
use super::replica::{End, Replica};
use super::store::{Belonging, Job, lock};
use super::types::{Member, ReplicaId, Request, Response};
use crate::identity::{ClusterId, Founding, Nonce};
use crate::kv::Refusal;
use crate::store::{Disk, encode};

/// How long another replica may take to tell its cluster.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long the leader may take to note a member.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);
/// After so long the others are asked again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often people are told why the cluster is not known yet; of another reason
/// they are told at once.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What other members tell of themselves; `None`: nothing.
type Answers = [(ReplicaId, Option<Identity>)];

/// Why a replica does not know its cluster.
enum Unknown {
    /// It may know soon.
    NotYet(String),
    /// It never will.
    Never(End),
}

impl<D: Disk> Replica<D> {
    /// Finds out which cluster this replica is of; false when it can be of none.
    pub(super) async fn belong(&self) -> bool {
        let mut told: Option<(Instant, String)> = None;
        while self.peers.cluster().get().is_none() {
            let found = match self.settings.joins {
                true => self.join().await,
                false => self.found().await,
            };
            match found {
                Ok(belonging) => {
                    let cluster = belonging.cluster;
                    let kept = self.jobs.run(|done| Job::Belong(belonging, done)).await;
                    if kept.is_err() {
                        // The storage has ended, and says why.
                        return false;
                    }
                    log::info!("replica {}: of cluster {cluster}", self.settings.id);
                    self.peers.cluster().set(cluster);
                }
                Err(Unknown::Never(end)) => {
                    self.ended.send_replace(Some(end));
                    return false;
                }
                Err(Unknown::NotYet(why)) => {
                    let is_told = told
                        .as_ref()
                        .is_some_and(|(at, said)| *said == why && at.elapsed() < TELL_EVERY);
                    if !is_told {
                        log::warn!("replica {}: no cluster yet: {why}", self.settings.id);
                        told = Some((Instant::now(), why.clone()));
                    }
                    *self.lock_unidentified() = format!("no cluster yet: {why}");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
        true
    }

    /// Writes the first entry, if this replica founds the cluster and its log is
    /// empty; false when it has ended.
    pub(super) async fn initialize(&self) -> bool {
        let founders = {
            let log = lock(&self.log);
            let is_new = log.vote.is_none() && log.last.is_none();
            let belonging = log.belonging.as_ref().filter(|_| is_new && !self.settings.joins);
            belonging.map(|belonging| belonging.founders.clone()).unwrap_or_default()
        };
        if founders.is_empty() {
            return true;
        }
        let member = |(id, url): (&ReplicaId, &String)| {
            let nonce = founders.get(id).copied();
            (*id, Member { peer_url: url.clone(), nonce })
        };
        let members: BTreeMap<ReplicaId, Member> =
            self.settings.members.iter().map(member).collect();
        match self.raft.initialize(members).await {
            // Another founder was quicker, and its log has come already.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => true,
            Err(error) => {
                self.ended.send_replace(Some(End::Broken(error.to_string())));
                false
            }
        }
    }

    /// What this replica tells of its cluster.
    pub(super) fn identity(&self) -> Identity {
        let log = lock(&self.log);
        let founders = log.belonging.as_ref().map(|belonging| belonging.founders.clone());
        let founders = founders.unwrap_or_default();
        let mut nonces = self.state.members().nonces.clone();
        nonces.extend(founders.clone());
        Identity {
            cluster: self.peers.cluster().get(),
            nonce: log.nonce,
            started_with: self.founding(),
            founders,
            nonces,
        }
    }

    /// The digest of the members that it founds a cluster with; `None` when it
    /// joins one.
    fn founding(&self) -> Option<u64> {
        (!self.settings.joins).then(|| xxh3_64(&encode(&self.settings.members)))
    }

    fn forgets_nonces(&self) -> bool {
        is_planted(self.settings.bug, Bug::EmptiedMemberIsLetIn)
    }

    fn nonce(&self) -> Nonce {
        lock(&self.log).nonce
    }

    /// Asks all other members that this replica was started with.
    async fn ask_around(&self) -> Vec<(ReplicaId, Option<Identity>)> {
        let others = self.settings.members.iter().filter(|(id, _)| **id != self.settings.id);
        let asked = others.map(async |(id, url)| {
            let reply = self.peers.call(*id, url, Lane::Control, Call::Identify, PATIENCE).await;
            let Ok(Reply::Identity(identity)) = reply else { return (*id, None) };
            (*id, Some(identity))
        });
        join_all(asked).await
    }

    /// Founds a cluster, or finds that it was founded with this replica.
    async fn found(&self) -> Result<Belonging, Unknown> {
        let answers = self.ask_around().await;
        match self.founded(&answers)? {
            Some(belonging) => Ok(belonging),
            None => self.found_with(&answers),
        }
    }

    /// The cluster that others say was founded already, if they do.
    fn founded(&self, answers: &Answers) -> Result<Option<Belonging>, Unknown> {
        let (me, own) = (self.settings.id, self.nonce());
        let mut refusals = Vec::new();
        let mut unsure = None;
        for (witness, identity) in answers {
            let Some(Identity { cluster: Some(cluster), founders, nonces, .. }) = identity else {
                continue;
            };
            match nonces.get(&me) {
                // Of a member that came later nobody can tell who founded it.
                Some(known)
                    if *known == own
                        && !founders.is_empty()
                        && self.id_of(founders) != *cluster =>
                {
                    unsure = Some(format!(
                        "cluster {cluster} of member {witness} was founded with other members than \
                         this one was started with; start all founders with the same members \
                         (--cluster)"
                    ));
                }
                // Whatever others say: who knows a random number is right.
                Some(known) if *known == own || self.forgets_nonces() => {
                    return Ok(Some(Belonging { cluster: *cluster, founders: founders.clone() }));
                }
                Some(_) => refusals.push(self.forgotten(*witness)),
                None if nonces.is_empty() => {
                    unsure = Some(format!(
                        "member {witness} is of cluster {cluster} and does not know its members yet"
                    ));
                }
                None => refusals.push(format!(
                    "member {witness} is of cluster {cluster}, which was founded without this \
                     replica: to add it, give it an id that was never used, and --join (\"join\": \
                     true)"
                )),
            }
        }
        // One may have the data of another cluster itself.
        let is_sure = refusals.len() * 2 > answers.len();
        match (refusals.pop(), unsure) {
            (Some(why), _) if is_sure => Err(Unknown::Never(End::Refused(why))),
            (Some(why), _) => Err(Unknown::NotYet(format!("{why}; or that member has other data"))),
            (None, Some(why)) => Err(Unknown::NotYet(why)),
            (None, None) => Ok(None),
        }
    }

    /// Founds a cluster with the others, when all have answered.
    fn found_with(&self, answers: &Answers) -> Result<Belonging, Unknown> {
        let silent: Vec<String> = answers
            .iter()
            .filter(|(_, identity)| identity.is_none())
            .map(|(id, _)| format!("member {id} at {}", self.settings.members[id]))
            .collect();
        if !silent.is_empty() {
            return Err(Unknown::NotYet(format!(
                "a cluster is founded by all of its members together, and there is no answer from \
                 {}; start it",
                silent.join(", ")
            )));
        }
        let told = answers.iter().filter_map(|(id, identity)| Some((*id, identity.as_ref()?)));
        let mut founders = BTreeMap::from([(self.settings.id, self.nonce())]);
        for (id, identity) in told {
            if identity.started_with != self.founding() {
                return Err(Unknown::NotYet(format!(
                    "member {id} was started with other members than this one; start all founders \
                     with the same members (--cluster)"
                )));
            }
            founders.insert(id, identity.nonce);
        }
        Ok(Belonging { cluster: self.id_of(&founders), founders })
    }

    fn id_of(&self, founders: &BTreeMap<ReplicaId, Nonce>) -> ClusterId {
        let mut founding = Founding::new(self.founding().unwrap_or_default());
        founders.values().for_each(|nonce| founding.add(*nonce));
        founding.id()
    }

    /// Has a running member note that this one begins.
    async fn join(&self) -> Result<Belonging, Unknown> {
        let id = self.settings.id;
        let answers = self.ask_around().await;
        let told = answers.iter().filter_map(|(id, identity)| {
            let cluster = identity.as_ref()?.cluster?;
            Some((*id, cluster))
        });
        let told: Vec<(ReplicaId, ClusterId)> = told.collect();
        let Some((witness, cluster)) = told.first().copied() else {
            return Err(Unknown::NotYet("no member of the cluster answers; start one".into()));
        };
        if let Some((other, held)) = told.iter().find(|(_, held)| *held != cluster) {
            return Err(Unknown::NotYet(format!(
                "member {witness} is of cluster {cluster}, and member {other} of cluster {held}; \
                 one of them has the data of another cluster"
            )));
        }
        for (witness, _) in told {
            // It may be of another cluster by now.
            let (meant, to) = (Some(cluster), (witness, &*self.settings.members[&witness]));
            let call = Call::Join(self.publication());
            let joined = self.peers.call_in(meant, to, Lane::Members, call, JOIN_PATIENCE);
            match joined.await {
                Ok(Reply::Joined(Published::Noted)) => {
                    return Ok(Belonging { cluster, founders: BTreeMap::new() });
                }
                Ok(Reply::Joined(Published::OtherNonce)) => {
                    return Err(Unknown::Never(End::Refused(self.forgotten(witness))));
                }
                Ok(Reply::Joined(Published::NotMember)) => {
                    return Err(Unknown::NotYet(format!(
                        "cluster {cluster} has no member {id} yet; add it: curl -X POST \
                         http://A-MEMBER/{id} -d {}",
                        self.settings.members.get(&id).map_or("ITS-PEER-URL", String::as_str)
                    )));
                }
                Ok(Reply::Removed) => return Err(Unknown::Never(End::Removed)),
                _ => {}
            }
        }
        Err(Unknown::NotYet(format!("cluster {cluster} has no leader that could let it in")))
    }

    fn forgotten(&self, witness: ReplicaId) -> String {
        let id = self.settings.id;
        format!(
            "it was a member before, as member {witness} tells, but its data is gone, and with it \
             what it promised and acknowledged: taking part again could lose writes; bring the \
             data back, or remove it (curl -X DELETE http://ANOTHER-MEMBER/{id}) and add a new \
             member with an id that was never used"
        )
    }

    /// What this replica has noted in the log about itself.
    pub(super) fn publication(&self) -> Publication {
        let (id, profile) = (self.settings.id, self.settings.profile.clone());
        Publication { id, nonce: self.nonce(), profile }
    }

    /// Has the leader note a member. Who is none, or not the one that it was, is
    /// told so without an entry: strangers do not write to the log. What is applied
    /// here may be old, and then the member asks again.
    pub(super) async fn note(
        &self,
        publication: Publication,
        deadline: Instant,
    ) -> Result<Published, Refusal> {
        if let Some(refusal) = self.state.members().refusal_of(&publication) {
            return Ok(refusal);
        }
        let here = async || self.note_here(publication.clone(), deadline).await;
        let call = |_| Call::Publish(publication.clone());
        let parse = |reply| {
            let Reply::Published(published) = reply else { return None };
            Some(Ok(published))
        };
        self.at_leader(deadline, Lane::Forward, here, call, parse).await?
    }

    /// Notes a member, if this replica leads.
    pub(super) async fn note_here(
        &self,
        publication: Publication,
        deadline: Instant,
    ) -> Attempt<Result<Published, Refusal>> {
        if let Some(refusal) = self.state.members().refusal_of(&publication) {
            return Attempt::Done(Ok(refusal));
        }
        match self.append(Request::Publish(publication), deadline).await {
            Attempt::Done(Ok((Response::Published(published), _))) => Attempt::Done(Ok(published)),
            Attempt::Done(Ok(_)) => unreachable!("a publication is answered by what became of it"),
            Attempt::Done(Err(refusal)) => Attempt::Done(Err(refusal)),
            Attempt::Elsewhere(leader) => Attempt::Elsewhere(leader),
        }
    }

    /// Notes this replica in the log, unless it is there; ends when another with
    /// its id is.
    pub(super) async fn publish(&self) {
        let (id, publication) = (self.settings.id, self.publication());
        let members = self.state.members();
        let is_noted = members.nonces.get(&id) == Some(&publication.nonce)
            && members.profiles.get(&id) == Some(&publication.profile);
        if members.url(id).is_none() || is_noted {
            return;
        }
        match self.note(publication, Instant::now() + Duration::from_secs(1)).await {
            Ok(Published::OtherNonce) if !self.forgets_nonces() => {
                let why = self.forgotten(self.leader().unwrap_or(id));
                self.ended.send_replace(Some(End::Refused(why)));
            }
            Ok(Published::Noted | Published::NotMember | Published::OtherNonce) => {}
            Err(refusal) => log::debug!("the others were not told of this replica yet: {refusal}"),
        }
    }
}
