//! The model: a few proposers and acceptors, and the messages under way.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Bug, Call, Configuration, ConfigurationStep, Effect, Epoch, Event, Proposer, Reply,
    Settings, Token,
};
use gryadka::kv::{Command, Key};

use super::acceptor::Acceptor;
use super::promises::Promises;

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

/// A part of a state with its hash: most parts stay as they were.
#[derive(Clone)]
pub struct Part<T> {
    pub part: Rc<T>,
    hash: u64,
}

impl<T: Debug> Part<T> {
    fn of(part: T) -> Part<T> {
        let mut hasher = DefaultHasher::new();
        hasher.write(format!("{part:?}").as_bytes());
        Part { part: Rc::new(part), hash: hasher.finish() }
    }
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
    Request { from: usize, life: u64, to: usize, token: Token, call: Call },
    Reply { from: usize, to: usize, life: u64, token: Token, reply: Reply },
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

impl State {
    pub fn start(scenario: &Scenario) -> Result<State, String> {
        let actors =
            (0..scenario.tasks.len()).map(|index| Part::of(Actor::new(scenario, index, 0)));
        let mut state = State {
            actors: actors.collect(),
            acceptors: (0..scenario.acceptors).map(|_| Part::of(Acceptor::default())).collect(),
            messages: Vec::new(),
            promises: Part::of(Promises::new(scenario.founding.clone())),
        };
        for index in 0..scenario.tasks.len() {
            let actor = (*state.actors[index].part).clone();
            state.go_on(scenario, index, actor)?;
        }
        Ok(state)
    }

    /// Names the state among all.
    pub fn hash(&self) -> u128 {
        let mut parts: Vec<u64> = self.actors.iter().map(|part| part.hash).collect();
        parts.extend(self.acceptors.iter().map(|part| part.hash));
        parts.push(self.promises.hash);
        parts.extend(self.messages.iter().map(|part| part.hash));
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(salt);
            parts.iter().for_each(|part| hasher.write_u64(*part));
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    pub fn moves(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = Vec::new();
        for index in 0..self.messages.len() {
            // Equal messages lead to equal states.
            if index == 0 || self.messages[index].hash != self.messages[index - 1].hash {
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
                        state.serve(*from, *life, *to, token, call)?;
                    }
                    Message::Reply { from, to, token, reply, .. } => {
                        let from = names(scenario.acceptors).swap_remove(*from);
                        let (token, reply) = (token.clone(), Some(reply.clone()));
                        state.give(scenario, *to, Event::Replied { token, from, reply })?;
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
                    || !acceptors[*to].part.is_past(call)
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
        to: usize,
        token: &Token,
        call: &Call,
    ) -> Result<(), String> {
        let mut acceptor = (*self.acceptors[to].part).clone();
        let reply = acceptor.serve(call)?;
        self.acceptors[to] = Part::of(acceptor);
        if reply == Reply::Accepted {
            let mut promises = (*self.promises.part).clone();
            promises.accepted(&names(to + 1)[to], call, &key())?;
            self.promises = Part::of(promises);
        }
        self.send(Message::Reply { from: to, to: from, life, token: token.clone(), reply });
        Ok(())
    }

    fn send(&mut self, message: Message) {
        let message = Part::of(message);
        let at = self.messages.partition_point(|other| other.hash < message.hash);
        self.messages.insert(at, message);
    }

    fn give(&mut self, scenario: &Scenario, index: usize, event: Event) -> Result<(), String> {
        let mut actor = (*self.actors[index].part).clone();
        self.run(scenario, index, &mut actor, event)?;
        self.go_on(scenario, index, actor)
    }

    /// Begins the next task of an actor that has nothing to do.
    fn go_on(&mut self, scenario: &Scenario, index: usize, mut actor: Actor) -> Result<(), String> {
        while !actor.is_waiting && !actor.is_still {
            let Some(task) = scenario.tasks[index].get(actor.begun) else { break };
            actor.begun += 1;
            actor.is_waiting = true;
            let id = actor.begun as u64;
            let deadline = Duration::from_secs(1_000_000);
            let event = match task.clone() {
                Task::Command(command) => {
                    let submission = command.into();
                    Event::Submitted { id, key: key(), submission, deadline }
                }
                Task::Collect => Event::Collect { id, keys: vec![key()], deadline },
                Task::Step(step) => Event::Reconfigure { id, step, deadline },
            };
            self.run(scenario, index, &mut actor, event)?;
        }
        self.actors[index] = Part::of(actor);
        Ok(())
    }

    /// Runs an event and its effects; a back-off is over at once.
    fn run(
        &mut self,
        scenario: &Scenario,
        index: usize,
        actor: &mut Actor,
        event: Event,
    ) -> Result<(), String> {
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
                    Effect::Send { to, token, call } => {
                        let all = names(scenario.acceptors);
                        let to = all.iter().position(|id| *id == to).expect("it is listed");
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
            backoff_first: Duration::ZERO,
            backoff_longest: Duration::ZERO,
            ..Settings::default()
        };
        let seed = 10 * (index as u64 + 1) + life;
        let mut proposer = Proposer::new(id, scenario.founding.clone(), settings, seed);
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
