//! The model: a few proposers and acceptors, and the messages under way.

use std::collections::BTreeMap;
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Bug, Call, Configuration, ConfigurationStep, Effect, Epoch, Event, Proposer, Reply,
    Settings, Token,
};
use gryadka::kv::{Command, Key};

use super::acceptor::{Acceptor, CLUSTER};
use super::part::{Fingerprint, MOST_ACCEPTORS, NAMINGS, Naming, Part};
use super::promises::Promises;

/// Nothing is given up for lack of time.
const DEADLINE: Duration = Duration::from_secs(1_000_000);
/// The ids of the commands that were done before are from here on.
const BEFORE: u64 = 1_000;

/// What a proposer is asked for, one thing after the other.
#[derive(Clone, Debug)]
pub enum Task {
    Command(Command),
    Collect,
    Step(ConfigurationStep),
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub acceptors: usize,
    pub founding: Configuration,
    /// What the first proposer has done, at every acceptor, when it begins.
    pub before: Vec<Command>,
    /// The tasks of each proposer.
    pub tasks: Vec<Vec<Task>>,
    /// How many rounds each proposer begins at most; then it stands still.
    pub rounds: Vec<usize>,
    /// How often rounds of each proposer run out of time.
    pub timeouts: Vec<usize>,
    /// How often each proposer loses all that it knows.
    pub crashes: Vec<usize>,
    pub bug: Option<Bug>,
}

/// A proposer and what was left of its bounds.
#[derive(Clone, Debug)]
pub struct Actor {
    proposer: Proposer,
    life: u64,
    now: Duration,
    /// The timer of each round that was not replaced by a later one.
    timers: BTreeMap<Key, Token>,
    /// How many tasks were begun.
    begun: usize,
    is_waiting: bool,
    rounds: usize,
    timeouts: usize,
    crashes: usize,
    /// It has begun as many rounds as it may.
    is_still: bool,
}

/// A message under way.
#[derive(Clone, Debug)]
pub enum Message {
    Request { from: usize, life: u64, to: AcceptorId, token: Token, call: Call },
    Reply { from: AcceptorId, to: usize, life: u64, token: Token, reply: Reply },
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
pub enum Move {
    Deliver(usize),
    TimesOut(usize),
    Crashes(usize),
}

#[derive(Clone)]
pub struct State {
    actors: Vec<Part<Actor>>,
    acceptors: Vec<Part<Acceptor>>,
    /// In the order of their hashes.
    messages: Vec<Part<Message>>,
    promises: Part<Promises>,
}

fn key() -> Key {
    Key::try_from("k").expect("it is short")
}

pub fn names(count: usize) -> Vec<AcceptorId> {
    (1..=count).map(|i| AcceptorId::from(format!("a{i}").as_str())).collect()
}

/// Where the acceptor of a name is.
fn place(id: &AcceptorId) -> usize {
    names(MOST_ACCEPTORS).iter().position(|name| name == id).expect("a name of ours")
}

impl State {
    pub fn start(scenario: &Scenario) -> Result<State, String> {
        let actors =
            (0..scenario.tasks.len()).map(|index| Part::of(Actor::new(scenario, index, 0)));
        let acceptors = names(scenario.acceptors).into_iter().map(|id| {
            let is_founder = scenario.founding.acceptors().any(|founder| *founder == id);
            let founder = || Acceptor::founder(scenario.founding.clone());
            Part::of(if is_founder { founder() } else { Acceptor::default() })
        });
        let mut state = State {
            actors: actors.collect(),
            acceptors: acceptors.collect(),
            messages: Vec::new(),
            promises: Part::of(Promises::new(scenario.founding.clone())),
        };
        state.prepare(scenario)?;
        for index in 0..scenario.tasks.len() {
            let actor = (*state.actors[index].part).clone();
            state.go_on(scenario, index, actor)?;
        }
        Ok(state)
    }

    /// Does what was done before, one thing after the other, and loses nothing.
    fn prepare(&mut self, scenario: &Scenario) -> Result<(), String> {
        let later = vec![Vec::new(); scenario.tasks.len()];
        let scenario = &Scenario { tasks: later, ..scenario.clone() };
        for (id, command) in (BEFORE..).zip(&scenario.before) {
            let mut actor = (*self.actors[0].part).clone();
            actor.rounds = usize::MAX;
            actor.is_waiting = true;
            let submission = command.clone().into();
            let event = Event::Submitted { id, key: key(), submission, deadline: DEADLINE };
            self.run(0, &mut actor, event)?;
            self.actors[0] = Part::of(actor);
            while !self.messages.is_empty() {
                *self = self.after(scenario, Move::Deliver(0))?;
            }
        }
        let mut actor = (*self.actors[0].part).clone();
        assert!(!actor.is_waiting, "it was not done: {actor:?}");
        actor.rounds = scenario.rounds[0];
        self.actors[0] = Part::of(actor);
        Ok(())
    }

    /// Names the state among all. States that differ only in which acceptor is
    /// which have one name: nobody tells acceptors apart but by their names.
    pub fn hash(&self) -> u128 {
        let hash = |naming: &Naming| {
            let mut sum = Fingerprint::default();
            sum.in_order(self.actors.iter().map(|part| part.hash(naming)));
            sum.in_any_order(self.messages.iter().map(|part| part.hash(naming)));
            let acceptors = (0..).zip(&self.acceptors);
            sum.in_any_order(acceptors.map(|(at, part)| part.hash_at(naming, at)));
            sum.in_order([self.promises.hash(naming)]);
            sum.finish()
        };
        NAMINGS.iter().map(hash).min().expect("there are some")
    }

    pub fn moves(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = Vec::new();
        for index in 0..self.messages.len() {
            // Equal messages lead to equal states.
            if index == 0 || self.messages[index].name() != self.messages[index - 1].name() {
                moves.push(Move::Deliver(index));
            }
        }
        for (index, actor) in self.actors.iter().enumerate() {
            let actor = &actor.part;
            if actor.is_still {
                continue;
            }
            if actor.timeouts > 0 && !actor.timers.is_empty() {
                moves.push(Move::TimesOut(index));
            }
            if actor.crashes > 0 && actor.is_waiting {
                moves.push(Move::Crashes(index));
            }
        }
        moves
    }

    pub fn describe(&self, next: Move) -> String {
        match next {
            Move::Deliver(index) => format!("{:?}", self.messages[index].part),
            Move::TimesOut(_) | Move::Crashes(_) => format!("{next:?}"),
        }
    }

    /// The state after a move. An error is a broken promise.
    pub fn after(&self, scenario: &Scenario, next: Move) -> Result<State, String> {
        let mut state = self.clone();
        match next {
            Move::Deliver(index) => {
                let message = state.messages.remove(index);
                match &*message.part {
                    Message::Request { from, life, to, token, call } => {
                        state.serve(*from, *life, to, token, call)?;
                    }
                    Message::Reply { from, to, token, reply, .. } => {
                        let (from, token, reply) = (from.clone(), token.clone(), reply.clone());
                        let event = Event::Replied { token, from, reply: Some(reply) };
                        state.give(scenario, *to, event)?;
                    }
                }
            }
            Move::TimesOut(index) => {
                let mut actor = (*state.actors[index].part).clone();
                actor.timeouts -= 1;
                actor.now += Duration::from_secs(100);
                let tokens: Vec<Token> = std::mem::take(&mut actor.timers).into_values().collect();
                state.actors[index] = Part::of(actor);
                for token in tokens {
                    state.give(scenario, index, Event::TimerFired { token })?;
                }
            }
            Move::Crashes(index) => {
                let old = &state.actors[index].part;
                let mut actor = Actor::new(scenario, index, old.life + 1);
                (actor.begun, actor.rounds) = (old.begun, old.rounds);
                (actor.timeouts, actor.crashes) = (old.timeouts, old.crashes - 1);
                state.go_on(scenario, index, actor)?;
            }
        }
        state.drop_what_is_late(scenario);
        Ok(state)
    }

    /// A reply to a round that is over changes nothing, unless it tells of a
    /// fence; a conflict that comes late is taken for lost. So is a request of
    /// such a round that its acceptor would refuse.
    fn drop_what_is_late(&mut self, scenario: &Scenario) {
        let (actors, acceptors) = (&self.actors, &self.acceptors);
        let awaits = |index: usize, life: u64, round: u64| {
            let actor = &actors[index].part;
            actor.hears(life) && actor.timers.values().any(|each| each.round == round)
        };
        self.messages.retain(|message| match &*message.part {
            Message::Request { from, life, to, token, call } => {
                // Without ages nothing is ever past.
                scenario.bug == Some(Bug::CollectsWithoutAges)
                    || awaits(*from, *life, token.round)
                    || !acceptors[place(to)].part.is_past(call)
            }
            Message::Reply { to, life, token, reply, .. } => {
                let is_told = matches!(reply, Reply::Fenced(_) | Reply::Status(_));
                let is_heard = is_told && actors[*to].part.hears(*life);
                is_heard || awaits(*to, *life, token.round)
            }
        });
    }

    fn serve(
        &mut self,
        from: usize,
        life: u64,
        to: &AcceptorId,
        token: &Token,
        call: &Call,
    ) -> Result<(), String> {
        let mut acceptor = (*self.acceptors[place(to)].part).clone();
        let reply = acceptor.serve(call)?;
        self.acceptors[place(to)] = Part::of(acceptor);
        if reply == Reply::Accepted {
            let mut promises = (*self.promises.part).clone();
            promises.accepted(to, call, &key())?;
            self.promises = Part::of(promises);
        }
        let (answerer, token) = (to.clone(), token.clone());
        self.send(Message::Reply { from: answerer, to: from, life, token, reply });
        Ok(())
    }

    fn send(&mut self, message: Message) {
        let message = Part::of(message);
        let at = self.messages.partition_point(|other| other.name() < message.name());
        self.messages.insert(at, message);
    }

    fn give(&mut self, scenario: &Scenario, index: usize, event: Event) -> Result<(), String> {
        let mut actor = (*self.actors[index].part).clone();
        self.run(index, &mut actor, event)?;
        self.go_on(scenario, index, actor)
    }

    /// Begins the next task of an actor that has nothing to do.
    fn go_on(&mut self, scenario: &Scenario, index: usize, mut actor: Actor) -> Result<(), String> {
        while !actor.is_waiting && !actor.is_still {
            let Some(task) = scenario.tasks[index].get(actor.begun) else { break };
            actor.begun += 1;
            actor.is_waiting = true;
            let id = actor.begun as u64;
            let deadline = DEADLINE;
            let event = match task.clone() {
                Task::Command(command) => {
                    let submission = command.into();
                    Event::Submitted { id, key: key(), submission, deadline }
                }
                Task::Collect => Event::Collect { id, keys: vec![key()], deadline },
                Task::Step(step) => Event::Reconfigure { id, step, deadline },
            };
            self.run(index, &mut actor, event)?;
        }
        self.actors[index] = Part::of(actor);
        Ok(())
    }

    /// Runs an event and its effects; a back-off is over at once.
    fn run(&mut self, index: usize, actor: &mut Actor, event: Event) -> Result<(), String> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            if actor.is_still {
                return Ok(());
            }
            let mut effects = Vec::new();
            actor.proposer.handle(actor.now, event, &mut effects);
            actor.begin_rounds(&effects);
            for effect in effects {
                match effect {
                    Effect::Send { .. } if actor.is_still => {}
                    Effect::Send { to, token, call, .. } => {
                        let life = actor.life;
                        self.send(Message::Request { from: index, life, to, token, call });
                    }
                    Effect::SetTimer { token, after } if after.is_zero() => {
                        events.push(Event::TimerFired { token });
                    }
                    Effect::SetTimer { token, .. } => {
                        actor.timers.insert(token.key.clone(), token);
                    }
                    Effect::Answer { result, .. } => {
                        actor.is_waiting = false;
                        actor.timers.remove(&key());
                        if let Ok(outcome) = result {
                            let mut promises = (*self.promises.part).clone();
                            promises.answered(&outcome)?;
                            self.promises = Part::of(promises);
                        }
                    }
                    // It knows its cluster.
                    Effect::Identified(_)
                    | Effect::Unidentified(_)
                    | Effect::FoundOldCopy(_)
                    | Effect::Seeks(_) => {}
                    Effect::Configured(configuration) => {
                        let mut promises = (*self.promises.part).clone();
                        promises.configured(&configuration)?;
                        self.promises = Part::of(promises);
                    }
                    Effect::Reconfigured { .. } | Effect::Collected { .. } => {
                        actor.is_waiting = false;
                        actor.timers.clear();
                    }
                }
            }
        }
        Ok(())
    }
}

impl Actor {
    fn new(scenario: &Scenario, index: usize, life: u64) -> Actor {
        let id = format!("p{}", index + 1).parse().expect("it is short");
        let settings = Settings {
            round_trip: Duration::ZERO,
            longest_backoff: Duration::ZERO,
            ..Settings::default()
        };
        let seed = 10 * (index as u64 + 1) + life;
        let mut proposer = Proposer::new(id, CLUSTER, scenario.founding.clone(), settings, seed);
        scenario.bug.iter().for_each(|bug| proposer.plant(*bug));
        Actor {
            proposer,
            life,
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            begun: 0,
            is_waiting: false,
            rounds: scenario.rounds[index],
            timeouts: scenario.timeouts[index],
            crashes: scenario.crashes[index],
            is_still: false,
        }
    }

    /// Whether a reply to one of its lives changes anything.
    fn hears(&self, life: u64) -> bool {
        self.life == life && !self.is_still
    }

    /// Counts the rounds that effects begin; past the bound it stands still.
    fn begin_rounds(&mut self, effects: &[Effect]) {
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::Send { token, .. } => Some(token.round),
            Effect::SetTimer { .. }
            | Effect::Identified(_)
            | Effect::Unidentified(_)
            | Effect::FoundOldCopy(_)
            | Effect::Seeks(_)
            | Effect::Configured(_)
            | Effect::Reconfigured { .. }
            | Effect::Collected { .. }
            | Effect::Answer { .. } => None,
        });
        let mut rounds: Vec<u64> = sent.collect();
        rounds.dedup();
        self.is_still = rounds.len() > self.rounds;
        self.rounds = self.rounds.saturating_sub(rounds.len());
    }
}

/// The epoch of the configuration that scenarios begin with.
pub const FOUNDING: Epoch = Epoch(1);
