//! The proposer: events in, effects out, all keys that it is asked for.
//!
//! Per key there is at most one round at a time. Commands that arrive while
//! it runs wait, and the next round applies all of them in order (rule 9).
//! A round goes through these phases:
//!
//! ```text
//!                        only reads wait
//!  begin ──────────────────────────────▶ Reading ──▶ answers
//!    │ a value is kept                      │ answers differ
//!    ├────────────────────▶ Accepting ◀─────┼── Preparing
//!    │ nothing is kept          │           │      ▲  │
//!    └──────────────────────────┼───────────┴──────┘  │
//!                               ▼ refused, out of time▼
//!                           BackingOff ──▶ begin
//! ```
//!
//! Safety rests on the acceptor's step and on three rules here: a ballot is
//! used for one value only (the counter never returns, a kept ballot is taken
//! out before it is used: rules 5 and 7); the value of the highest accepted
//! ballot of a prepare quorum is what commands are applied to (rule 6); and a
//! command whose accept may have reached somebody is applied again only to a
//! value that provably does not descend from that attempt (rule 8, see
//! [`Lineage`](super::Lineage)).

mod backing_off;
mod changing;
mod confirming;
mod identifying;
mod replies;
mod settings;
mod sparing;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::collection::Collection;
use super::confirmation::Confirmation;
use super::founding::Identification;
use super::kept::{Kept, KeptValues};
use super::pending::{Heeds, Pending, Waiting};
use super::planted::Bug;
use super::reconfiguration::Reconfiguration;
use super::round::{Phase, Reading, Work};
use super::{
    AcceptorId, Age, Ballot, Configuration, Effect, Epoch, Event, Floor, Incarnation, Instant,
    ProposerId, Request, Token, Value,
};
use crate::identity::ClusterId;
use crate::kv::Key;
pub use settings::{Load, Settings};
use sparing::Awaited;

/// No proposer counts this far: a million ballots a second take 146,000 years.
const MAX_COUNTER: u64 = 1 << 62;

/// A proposer. See the module's text.
#[derive(Clone)]
pub struct Proposer {
    /// The last ballot that was made.
    last: Ballot,
    /// The cluster that it is of, once it knows.
    cluster: Option<ClusterId>,
    /// The cluster that it was of before: it takes no other.
    kept_cluster: Option<ClusterId>,
    identification: Option<Identification>,
    configuration: Configuration,
    /// Up to where it knows of collected registers.
    age: Age,
    /// Where absent registers stand.
    floor: Floor,
    reconfiguration: Option<Reconfiguration>,
    collection: Option<Collection>,
    /// Acceptors that are to be confirmed, or that others are to be told of.
    confirmations: BTreeMap<AcceptorId, Confirmation>,
    /// Whether a value was sent since the acceptors were marked.
    has_written: bool,
    settings: Settings,
    kept: KeptValues,
    works: HashMap<Key, Work>,
    rounds: u64,
    /// How long a quorum takes to answer, smoothed.
    round_trip: Duration,
    awaited: Awaited,
    random: SmallRng,
    #[cfg(feature = "planted-bugs")]
    planted: Option<Bug>,
}

/// All that decides what it does, but for the jitter; where two show the same,
/// they do the same.
impl fmt::Debug for Proposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposer")
            .field("last", &self.last)
            .field("cluster", &self.cluster)
            .field("identification", &self.identification)
            .field("configuration", &self.configuration)
            .field("age", &self.age)
            .field("floor", &self.floor)
            .field("reconfiguration", &self.reconfiguration)
            .field("collection", &self.collection)
            .field("confirmations", &self.confirmations)
            .field("has_written", &self.has_written)
            .field("kept", &self.kept)
            .field("works", &self.works.iter().collect::<BTreeMap<_, _>>())
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

impl Proposer {
    /// A proposer that knows nothing yet but, if it was one of it before, its
    /// `cluster`. `seed` feeds the jitter and, as it must be new at each start,
    /// the incarnation.
    pub fn new(
        id: ProposerId,
        cluster: Option<ClusterId>,
        configuration: Configuration,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let incarnation = Incarnation(random.random());
        Proposer {
            last: Ballot { counter: 0, proposer: id, incarnation },
            cluster,
            kept_cluster: cluster,
            identification: None,
            configuration,
            age: Age::default(),
            floor: Floor::default(),
            reconfiguration: None,
            collection: None,
            confirmations: BTreeMap::new(),
            has_written: false,
            kept: KeptValues::new(settings.kept_bytes),
            round_trip: settings.round_trip,
            awaited: Awaited::default(),
            settings,
            works: HashMap::new(),
            rounds: 0,
            random,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }

    /// Has acceptors confirm the cluster that it was of before it serves: its
    /// configuration, or what it kept, may have been exchanged since.
    pub fn confirm_cluster(&mut self) {
        self.cluster = None;
    }

    /// Plants a bug, to show that the simulator finds it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Bug) {
        self.planted = Some(bug);
    }

    fn is_planted(&self, bug: Bug) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.planted == Some(bug);
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = bug;
            false
        }
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Up to where it knows of collected registers.
    pub fn age(&self) -> Age {
        self.age
    }

    /// The last ballot that it made.
    pub fn last_ballot(&self) -> Ballot {
        self.last
    }

    /// How busy it is. Counts all keys that are worked on.
    pub fn load(&self) -> Load {
        let is_backing_off = |work: &&Work| matches!(work.phase, Phase::BackingOff);
        Load {
            kept: self.kept.len(),
            kept_bytes: self.kept.bytes(),
            keys: self.works.len(),
            commands: self.works.values().map(|work| work.waiting.len()).sum(),
            backing_off: self.works.values().filter(is_backing_off).count(),
            round_trip: self.round_trip,
        }
    }

    /// Takes one event in and appends what is to be done.
    pub fn handle(&mut self, now: Instant, event: Event, effects: &mut Vec<Effect>) {
        if self.cluster.is_none() {
            self.identify(effects);
        }
        match event {
            Event::Started if self.configuration.epoch == Epoch::FOUNDING => {
                self.identify(effects);
            }
            Event::Started => self.look_around(effects),
            Event::Submitted { id, key, submission, deadline } => {
                let pending = Pending::new(id, submission, deadline);
                self.on_submitted(now, key, pending, effects);
            }
            Event::Replied { token, from, reply } => {
                self.on_replied(now, token, from, reply, effects);
            }
            Event::Told(fence) => drop(self.follow(now, &fence, effects)),
            Event::FoundBehind(acceptor) => self.tell_configuration(acceptor, effects),
            Event::FoundUnconfirmed(acceptor, claim) => {
                self.make_sure_of(acceptor, claim, false, effects);
            }
            Event::Marks => self.mark(effects),
            Event::Overtaken { key, by } => self.on_overtaken(key, by),
            Event::Reconfigure { id, step, deadline } => {
                self.start_reconfiguration(now, (id, deadline), step, effects);
            }
            Event::Collect { id, keys, deadline } => {
                self.start_collection(now, (id, deadline), keys, effects);
            }
            Event::TimerFired { token } => {
                if self.is_of_the_cluster(&token) {
                    self.on_cluster_timer(now, &token, effects);
                } else if let Some(work) = self.take_work(&token) {
                    self.on_timer(now, token.key, work, effects);
                }
            }
        }
        self.take_decision(now, effects);
    }

    fn on_submitted(
        &mut self,
        now: Instant,
        key: Key,
        pending: Pending,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(work) = self.works.get_mut(&key) {
            work.waiting.push(pending);
            return;
        }
        let mut waiting = Waiting::default();
        waiting.push(pending);
        let work = Work {
            round: 0,
            began_at: now,
            gives_up_at: now,
            phase: Phase::BackingOff,
            lost: Vec::new(),
            spared: Vec::new(),
            asked_spared_at: None,
            waiting,
            is_contended: false,
            awaits_confirmation: false,
            is_on_kept: false,
            failures: 0,
            timeouts: 0,
        };
        self.begin(now, key, work, effects);
    }

    /// The work that `token` belongs to; `None` for a round that is over.
    fn take_work(&mut self, token: &Token) -> Option<Work> {
        if self.works.get(&token.key)?.round != token.round {
            return None;
        }
        self.works.remove(&token.key)
    }

    fn next_ballot(&mut self) -> Ballot {
        self.last.counter += 1;
        self.last
    }

    // ---- the phases ----

    /// Starts the next round, or ends the work when nothing waits.
    fn begin(&mut self, now: Instant, key: Key, mut work: Work, effects: &mut Vec<Effect>) {
        work.waiting.sweep(now, effects);
        let may_read = work.failures == 0 && work.waiting.are_reads();
        if work.waiting.is_empty() {
            return;
        }
        if self.cluster.is_none() {
            return self.wait_for_identity(now, key, work, effects);
        }
        if !may_read {
            return self.begin_change(now, key, work, effects);
        }
        work.phase = Phase::Reading(Reading::of(work.waiting.len()));
        let request = Request::Read { key: key.clone() };
        self.start_round(now, key, work, request, effects);
    }

    fn begin_change(&mut self, now: Instant, key: Key, mut work: Work, effects: &mut Vec<Effect>) {
        let kept = self.kept.take(&key);
        if self.is_planted(Bug::KeptSurvivesTimeout) {
            kept.iter().for_each(|kept| self.kept.insert(key.clone(), kept.clone()));
        }
        work.is_on_kept = kept.is_some();
        if let Some(Kept { ballot, value }) = kept {
            return self.propose(now, key, work, ballot, value, effects);
        }
        self.leap(&work);
        let ballot = self.next_ballot();
        work.phase = Phase::Preparing {
            ballot,
            promised: Vec::new(),
            highest: Ballot::ZERO,
            value: Value::default(),
        };
        let request = Request::Prepare { key: key.clone(), ballot };
        self.start_round(now, key, work, request, effects);
    }

    /// Applies the waiting commands to the current value and sends the result
    /// to the acceptors, even when no command changed it (rule 6).
    fn propose(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        ballot: Ballot,
        base: Value,
        effects: &mut Vec<Effect>,
    ) {
        work.waiting.sweep(now, effects);
        if work.waiting.is_empty() {
            return;
        }
        let heeds = Heeds {
            lineage: !self.is_planted(Bug::ReappliesUnknown),
            memory: !self.is_planted(Bug::ForgetsRequests),
        };
        let limit = self.settings.commands_per_round;
        let (value, outcomes) = work.waiting.apply(base, ballot, limit, heeds, effects);
        let next = self.next_ballot();
        let request = Request::Accept { key: key.clone(), ballot, value: value.clone(), next };
        work.phase = Phase::Accepting { next, value, accepted: Vec::new(), outcomes };
        self.start_round(now, key, work, request, effects);
    }

    fn start_round(
        &mut self,
        now: Instant,
        key: Key,
        mut work: Work,
        request: Request,
        effects: &mut Vec<Effect>,
    ) {
        self.rounds += 1;
        work.round = self.rounds;
        work.lost.clear();
        let token = Token { key: key.clone(), round: work.round };
        let caller = self.caller();
        let is_accept = matches!(request, Request::Accept { .. });
        self.has_written |= is_accept;
        let Configuration { prepare, accept, .. } = &self.configuration;
        let list = if is_accept { accept.clone() } else { prepare.clone() };
        let (asked, spared) = self.choose(now, &list);
        // A value goes to all of them.
        let also = spared.iter().filter(|_| is_accept).map(|id| (id, true));
        let to = asked.iter().map(|id| (id, false)).chain(also);
        effects.extend(to.map(|(to, is_spare)| Effect::Send {
            to: to.clone(),
            token: token.clone(),
            call: caller.call(request.clone()),
            is_spare,
        }));
        (work.spared, work.asked_spared_at) = (spared, None);
        let value_bytes = match &request {
            Request::Accept { value, .. } => value.size_bytes(),
            // What a prepare brings back is mostly as large as what will replace
            // it, and waits behind other such values.
            Request::Prepare { .. }
            | Request::Read { .. }
            | Request::List(_)
            | Request::Raise { .. }
            | Request::Enrol { .. }
            | Request::Note { .. }
            | Request::Confirm { .. }
            | Request::Mark { .. }
            | Request::Remove { .. }
            | Request::Wipe
            | Request::Status => work.waiting.size_bytes(),
        };
        (work.began_at, work.is_contended, work.awaits_confirmation) = (now, false, false);
        work.gives_up_at = now
            + self.settings.round_timeout * (1 << work.timeouts.min(2))
            + self.settings.time_per_byte * value_bytes as u32;
        self.wait(now, key, work, effects);
    }

    /// Puts the work back and sets a timer for the first thing that can happen
    /// to it without a message: a command expires, or the round is given up.
    fn wait(&mut self, now: Instant, key: Key, work: Work, effects: &mut Vec<Effect>) {
        let left = work.gives_up_at.saturating_sub(now);
        let after = work.waiting.until_first_deadline(now).map_or(left, |first| first.min(left));
        // Whom it spares it asks if the others take long.
        let after = match work.phase {
            Phase::Reading(_) | Phase::Preparing { .. } if work.is_sparing() => {
                after.min((work.began_at + self.asks_rest_after()).saturating_sub(now))
            }
            _ => after,
        };
        let token = Token { key: key.clone(), round: work.round };
        effects.push(Effect::SetTimer { token, after });
        self.put_back(key, work);
    }

    fn on_timer(&mut self, now: Instant, key: Key, mut work: Work, effects: &mut Vec<Effect>) {
        let is_over = now >= work.gives_up_at;
        if !is_over && work.is_sparing() && now >= work.began_at + self.asks_rest_after() {
            self.ask_the_rest(now, &key, &mut work, effects);
        }
        match &work.phase {
            Phase::BackingOff if is_over => self.begin(now, key, work, effects),
            Phase::Reading(reading) if reading.patient_until.is_some_and(|until| until <= now) => {
                self.begin_change(now, key, work, effects);
            }
            Phase::Reading(_) | Phase::Preparing { .. } | Phase::Accepting { .. } if is_over => {
                work.timeouts += u32::from(!work.is_contended);
                self.back_off(now, key, work, effects);
            }
            // A command has run out of time; the round goes on for the others.
            Phase::BackingOff
            | Phase::Reading(_)
            | Phase::Preparing { .. }
            | Phase::Accepting { .. } => {
                work.waiting.expire(now, effects);
                self.wait(now, key, work, effects);
            }
        }
    }

    fn put_back(&mut self, key: Key, work: Work) {
        self.works.insert(key, work);
    }
}
