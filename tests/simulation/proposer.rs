//! A proposer with its lives, and what its effects tell of the paths taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gryadka::caspaxos::{
    Ballot, Caller, Change, CommandId, Configuration, Effect, Event, Fate, Proposer, Reply,
    Request, Value,
};
use gryadka::identity::ClusterId;
use gryadka::kv::Key;

use super::statistics::Statistics;

/// A change that was sent to acceptors, and who waited for it.
struct Attempt {
    change: Change,
    waiting: BTreeSet<CommandId>,
}

pub struct SimProposer {
    proposer: Proposer,
    /// Grows with each restart.
    pub life: u64,
    pub is_down: bool,
    /// Until then its process stands still.
    pub sleeps_until: u64,
    /// The configuration that it keeps on its disk, and its cluster.
    pub kept_configuration: Option<Configuration>,
    pub kept_cluster: Option<ClusterId>,
    /// The commands that wait for its answer.
    pub serving: BTreeSet<CommandId>,
    attempts: BTreeMap<Key, Vec<Attempt>>,
    waiting: BTreeMap<Key, BTreeSet<CommandId>>,
}

impl SimProposer {
    pub fn new(proposer: Proposer) -> SimProposer {
        SimProposer {
            proposer,
            life: 0,
            is_down: false,
            sleeps_until: 0,
            kept_configuration: None,
            kept_cluster: None,
            serving: BTreeSet::new(),
            attempts: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub fn configuration(&self) -> &Configuration {
        self.proposer.configuration()
    }

    pub fn caller(&self) -> Caller {
        self.proposer.caller()
    }

    /// Forgets everything but the configuration that it kept; returns the commands that nobody will answer.
    pub fn crash(&mut self) -> BTreeSet<CommandId> {
        self.life += 1;
        self.is_down = true;
        self.sleeps_until = 0;
        self.attempts.clear();
        self.waiting.clear();
        std::mem::take(&mut self.serving)
    }

    pub fn restart(&mut self, proposer: Proposer) {
        self.proposer = proposer;
        self.is_down = false;
    }

    /// Runs the event and counts what the effects show.
    pub fn handle(
        &mut self,
        now: Duration,
        event: Event,
        is_running: impl Fn(&CommandId) -> bool,
        statistics: &mut Statistics,
    ) -> Vec<Effect> {
        if let Event::Submitted { id, key, .. } = &event {
            self.waiting.entry(key.clone()).or_default().insert(*id);
        }
        let reply = match &event {
            Event::Replied { reply, .. } => reply.clone(),
            Event::Started
            | Event::Submitted { .. }
            | Event::FoundBehind(_)
            | Event::FoundUnconfirmed(..)
            | Event::Marks
            | Event::Told(_)
            | Event::Overtaken { .. }
            | Event::Reconfigure { .. }
            | Event::Collect { .. }
            | Event::TimerFired { .. } => None,
        };
        let mut effects = Vec::new();
        self.proposer.handle(now, event, &mut effects);
        let mut proposed = None;
        for effect in &effects {
            match effect {
                Effect::Answer { id, result } => {
                    self.waiting.values_mut().for_each(|ids| {
                        ids.remove(id);
                    });
                    let was_read = matches!(reply, Some(Reply::WasRead { .. }));
                    statistics.reads_without_write += u64::from(was_read && result.is_ok());
                }
                Effect::Send { call, .. } => {
                    if let Request::Accept { key, ballot, value, .. } = &call.request {
                        proposed = Some((key, *ballot, value));
                    }
                }
                Effect::SetTimer { .. }
                | Effect::Identified(_)
                | Effect::Unidentified(_)
                | Effect::FoundOldCopy(_)
                | Effect::Seeks(_)
                | Effect::Configured(_)
                | Effect::Reconfigured { .. }
                | Effect::Collected { .. } => {}
            }
        }
        if let Some((key, ballot, value)) = proposed {
            match reply {
                Some(Reply::Prepared { .. }) => statistics.rounds_of_two_trips += 1,
                Some(_) | None => statistics.rounds_of_one_trip += 1,
            }
            self.note_proposal(key, ballot, value, is_running, statistics);
        }
        effects
    }

    fn note_proposal(
        &mut self,
        key: &Key,
        ballot: Ballot,
        value: &Value,
        is_running: impl Fn(&CommandId) -> bool,
        statistics: &mut Statistics,
    ) {
        let attempts = self.attempts.entry(key.clone()).or_default();
        attempts.retain(|attempt| attempt.waiting.iter().any(&is_running));
        let last = value.lineage.last();
        let made_now = last.filter(|change| change.ballot == ballot);
        let fates = || attempts.iter().map(|attempt| value.lineage.fate_of(attempt.change));
        // A run of one proposer shows its end only: then this cannot tell.
        let is_hidden = attempts
            .iter()
            .any(|attempt| made_now.is_some_and(|made| attempt.change.version < made.version));
        if fates().any(|fate| fate == Fate::Included) {
            statistics.settled_as_included += 1;
        } else if made_now.is_some() && !attempts.is_empty() && !is_hidden {
            statistics.settled_as_excluded += 1;
        }
        if let Some(change) = made_now {
            let waiting = self.waiting.get(key).cloned().unwrap_or_default();
            attempts.push(Attempt { change, waiting });
        }
    }
}
