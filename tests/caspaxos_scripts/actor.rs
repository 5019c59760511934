//! A proposer and its acceptors, driven by hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Age, Call, Collected, CommandId, Configuration, ConfigurationStep, Effect, Epoch,
    Event, Failure, Proposer, Quorum, ReconfigurationError, Reply, Request, Settings, Token,
    Unidentified,
};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key, Outcome};
use gryadka::store::{AcceptorStore, MemoryStore};

/// The cluster of the actors.
pub const OURS: Option<ClusterId> = ClusterId::new(7);

/// Acceptors that are made as they are asked, and those that founded the cluster.
pub struct Acceptors(pub BTreeMap<AcceptorId, MemoryStore>);

impl Default for Acceptors {
    fn default() -> Self {
        let founder = |id| MemoryStore::of_founder(nonce_of(id), OURS.unwrap(), founding());
        Acceptors(founding().acceptors().map(|id| (id.clone(), founder(id))).collect())
    }
}

/// Each acceptor has a nonce of its own.
pub fn nonce_of(id: &AcceptorId) -> Nonce {
    Nonce(id.0.bytes().fold(0, |sum, byte| 256 * sum + u64::from(byte)))
}

pub fn founding() -> Configuration {
    let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
    Configuration::uniform(Epoch::FOUNDING, &ids, 2, 2)
}

pub fn in_epoch(epoch: u64, request: Request) -> Call {
    Call { cluster: OURS, epoch: Epoch(epoch), age: Age(0), request }
}

impl Acceptors {
    pub fn serve(&mut self, to: &AcceptorId, call: Call) -> Reply {
        let new = || MemoryStore::with_nonce(nonce_of(to));
        let store = self.0.entry(to.clone()).or_insert_with(new);
        store.serve(&[call]).expect("memory serves").remove(0)
    }
}

/// What a proposer has sent, set and answered, in order.
pub struct Actor {
    pub proposer: Proposer,
    pub now: Duration,
    pub sent: VecDeque<(AcceptorId, Token, Call)>,
    pub timer: Option<(Token, Duration)>,
    /// All that were set and not fired by [`Actor::fire_all`].
    timers: Vec<(Token, Duration)>,
    pub answers: Vec<(CommandId, Result<Outcome, Failure>)>,
    pub steps: Vec<(CommandId, Result<Epoch, ReconfigurationError>)>,
    pub batches: Vec<(CommandId, Collected)>,
    /// Why it does not know its cluster, each time that it said so.
    pub unidentified: Vec<Unidentified>,
    /// The kinds of the rounds that were begun.
    pub rounds: Vec<&'static str>,
}

impl Actor {
    pub fn new(name: &str, seed: u64) -> Actor {
        Actor::of(OURS, name, seed)
    }

    /// A proposer that may not know its cluster.
    pub fn of(cluster: Option<ClusterId>, name: &str, seed: u64) -> Actor {
        let (id, settings) = (name.parse().unwrap(), Settings::default());
        Actor {
            proposer: Proposer::new(id, cluster, founding(), settings, seed),
            now: Duration::ZERO,
            sent: VecDeque::new(),
            timer: None,
            timers: Vec::new(),
            answers: Vec::new(),
            steps: Vec::new(),
            batches: Vec::new(),
            unidentified: Vec::new(),
            rounds: Vec::new(),
        }
    }

    pub fn take(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.proposer.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, token, call, .. } => {
                    if self.sent.is_empty() || to == AcceptorId::from("a1") {
                        self.rounds.push(kind(&call.request));
                    }
                    self.sent.push_back((to, token, call));
                }
                Effect::SetTimer { token, after } => {
                    self.timers.push((token.clone(), self.now + after));
                    self.timer = Some((token, after));
                }
                Effect::Answer { id, result } => self.answers.push((id, result)),
                Effect::Unidentified(why) => self.unidentified.push(why),
                Effect::Configured(_)
                | Effect::Identified(_)
                | Effect::FoundOldCopy(_)
                | Effect::Seeks(_) => {}
                Effect::Reconfigured { id, result } => self.steps.push((id, result)),
                Effect::Collected { id, collected } => self.batches.push((id, collected)),
            }
        }
    }

    /// A step to these lists, from the version that is in force.
    pub fn step(&mut self, id: CommandId, prepare: Quorum, accept: Quorum, is_rescanned: bool) {
        let from = self.proposer.configuration().epoch;
        let places = BTreeMap::new();
        let step = ConfigurationStep { from, prepare, accept, places, is_rescanned };
        let deadline = self.now + Duration::from_secs(10);
        self.take(Event::Reconfigure { id, step, deadline });
    }

    pub fn submit(&mut self, id: CommandId, command: Command) {
        let deadline = self.now + Duration::from_secs(1000);
        let key = Key::try_from("k").unwrap();
        self.take(Event::Submitted { id, key, submission: command.into(), deadline });
    }

    /// Delivers everything, with its replies, until nothing is under way.
    pub fn run(&mut self, acceptors: &mut Acceptors) {
        while let Some((from, token, call)) = self.sent.pop_front() {
            let reply = Some(acceptors.serve(&from, call));
            self.take(Event::Replied { token, from, reply });
        }
    }

    /// Delivers what was sent to one acceptor; the rest is lost.
    pub fn run_only(&mut self, only: &str, acceptors: &mut Acceptors) {
        for (from, token, call) in std::mem::take(&mut self.sent) {
            if from.0.as_ref() == only {
                let reply = Some(acceptors.serve(&from, call));
                self.take(Event::Replied { token, from, reply });
            }
        }
    }

    pub fn fire(&mut self) {
        let (token, after) = self.timer.clone().expect("a timer is set");
        self.now += after;
        self.take(Event::TimerFired { token });
    }

    /// Fires all timers, in order.
    pub fn fire_all(&mut self) {
        let mut timers = std::mem::take(&mut self.timers);
        timers.sort_by_key(|(_, at)| *at);
        for (token, at) in timers {
            self.now = self.now.max(at);
            self.take(Event::TimerFired { token });
        }
    }

    /// The value that a command left, by its id.
    pub fn value(&self, id: CommandId) -> Option<&str> {
        let (_, result) = self.answers.iter().find(|(answered, _)| *answered == id)?;
        result.as_ref().expect("the command is done").after.text()
    }
}

pub fn kind(request: &Request) -> &'static str {
    match request {
        Request::Prepare { .. } => "prepare",
        Request::Accept { .. } => "accept",
        Request::Read { .. } => "read",
        Request::Remove { .. } => "remove",
        Request::List(_) => "list",
        Request::Raise { .. } => "raise",
        Request::Enrol { .. } => "enrol",
        Request::Note { .. } => "note",
        Request::Confirm { .. } => "confirm",
        Request::Mark { .. } => "mark",
        Request::Wipe => "wipe",
        Request::Status => "status",
    }
}

/// A quorum of so many of these.
pub fn quorum(names: &str, size: usize) -> Quorum {
    Quorum { acceptors: names.split(' ').map(AcceptorId::from).collect(), size }
}
