//! The world of one seed: virtual time, the queue of events, and who lives.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::time::Duration;

use gryadka::caspaxos::{AcceptorId, Bug, Call, CommandId, Effect, Event, Proposer, Reply, Token};
use gryadka::kv::{Command, Key, Record, Submission};
use gryadka::perseus::{History, OperationId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::acceptor::{Served, SimAcceptor};
use super::network::{Fate, Network};
use super::parameters::Parameters;
use super::proposer::SimProposer;
use super::statistics::Statistics;

mod asking;
mod faults;

/// What is wrong in the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    Nothing,
    /// A bug of the proposer.
    Proposer(Bug),
    /// Acceptors answer a prepare before the promise is on disk.
    PromiseNotDurable,
    /// Acceptors grant the ballot that they have promised already.
    GrantsEqual,
    /// Proposers restart with the same incarnation and count from zero.
    ReusesBallots,
    /// Both of the above.
    GrantsEqualAndReusesBallots,
}

impl Flaw {
    fn reuses_ballots(self) -> bool {
        matches!(self, Flaw::ReusesBallots | Flaw::GrantsEqualAndReusesBallots)
    }
}

/// What is going to happen.
enum Happening {
    Request { proposer: usize, life: u64, acceptor: usize, token: Token, call: Call },
    Reply { proposer: usize, life: u64, acceptor: usize, token: Token, reply: Option<Reply> },
    Synced { acceptor: usize, life: u64 },
    Timer { proposer: usize, life: u64, token: Token },
    ClientWakes(usize),
    Fault,
    AcceptorRestarts(usize),
    ProposerRestarts(usize),
    NetworkMends,
}

/// An operation that waits for its answer.
struct Running {
    operation: OperationId,
    client: usize,
    key: Key,
    submission: Submission,
    /// How often it was asked for again, since nobody could tell its outcome.
    retries: u32,
}

/// A client: it asks one thing at a time.
#[derive(Default)]
struct Client {
    home: usize,
    seen: BTreeMap<Key, Record>,
    /// What it will ask for again.
    again: Option<Running>,
}

pub struct World {
    random: SmallRng,
    parameters: Parameters,
    flaw: Flaw,
    seed: u64,
    now: u64,
    /// Counts events; also the clock of the history, as it never ties.
    step: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    acceptors: Vec<SimAcceptor>,
    names: Vec<AcceptorId>,
    proposers: Vec<SimProposer>,
    clients: Vec<Client>,
    network: Network,
    keys: Vec<Key>,
    running: BTreeMap<CommandId, Running>,
    /// Names commands.
    commands: CommandId,
    is_settling: bool,
    pub history: History,
    pub statistics: Statistics,
    /// A line per event, where one is asked for.
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, flaw: Flaw, is_traced: bool) -> World {
        let mut random = SmallRng::seed_from_u64(seed);
        let parameters = Parameters::draw(&mut random, flaw.reuses_ballots());
        let names = parameters.configuration.prepare.acceptors.clone();
        let network = Network::new(parameters.network.clone(), parameters.proposers, names.len());
        let clients = (0..parameters.clients).map(|_| Client {
            home: random.random_range(0..parameters.proposers),
            ..Client::default()
        });
        let clients = clients.collect();
        let key = |i: usize| Key::try_from(format!("k{i}").as_str()).expect("it is short");
        let mut world = World {
            keys: (0..parameters.keys).map(key).collect(),
            acceptors: names.iter().map(|_| SimAcceptor::default()).collect(),
            names,
            clients,
            network,
            random,
            parameters,
            flaw,
            seed,
            now: 0,
            step: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            proposers: Vec::new(),
            running: BTreeMap::new(),
            commands: 0,
            is_settling: false,
            history: History::default(),
            statistics: Statistics::default(),
            trace: is_traced.then(Vec::new),
        };
        for index in 0..world.parameters.proposers {
            let proposer = SimProposer::new(world.start_proposer(index));
            world.proposers.push(proposer);
        }
        world.note(|world| format!("{:#?}", world.parameters));
        world
    }

    /// Lives through the seed: work and faults, then peace and final reads.
    /// An error is a broken invariant or a lack of progress.
    pub fn run(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            self.plan(0, Happening::ClientWakes(client));
        }
        self.plan_fault();
        while self.has_work() {
            self.advance()?;
        }
        self.settle()?;
        self.statistics.virtual_milliseconds = self.now / 1000;
        Ok(())
    }

    fn has_work(&self) -> bool {
        let is_more = (self.history.operations().len()) < self.parameters.operations;
        let asks_again = self.clients.iter().any(|client| client.again.is_some());
        is_more || asks_again || !self.running.is_empty()
    }

    /// Ends all faults and asks every proposer for every key.
    fn settle(&mut self) -> Result<(), String> {
        self.note(|_| "peace".to_string());
        self.is_settling = true;
        self.network.heal_for_good();
        for acceptor in 0..self.acceptors.len() {
            self.acceptors[acceptor].is_down = false;
        }
        for proposer in 0..self.proposers.len() {
            self.restart_proposer(proposer);
        }
        let quiet = self.now + 200_000;
        while self.queue.peek().is_some_and(|Reverse((at, _))| *at < quiet) {
            self.advance()?;
        }
        for proposer in 0..self.proposers.len() {
            for key in self.keys.clone() {
                let done = self.statistics.done;
                self.submit(
                    self.clients.len() - 1,
                    proposer,
                    key.clone(),
                    Command::Get.into(),
                    10_000_000,
                )?;
                while !self.running.is_empty() {
                    if self.queue.is_empty() {
                        return Err(format!("p{proposer} never answers for {key}"));
                    }
                    self.advance()?;
                }
                if self.statistics.done == done {
                    return Err(format!("p{proposer} cannot read {key} though all are well"));
                }
            }
        }
        Ok(())
    }

    // ---- time ----

    fn plan(&mut self, after: u64, happening: Happening) {
        self.step += 1;
        self.queue.push(Reverse((self.now + after, self.step)));
        self.happenings.insert(self.step, happening);
    }

    fn advance(&mut self) -> Result<(), String> {
        let Some(Reverse((at, number))) = self.queue.pop() else {
            return Err(format!("nothing happens any more; {} wait", self.running.len()));
        };
        self.now = at;
        self.step += 1;
        let happening = self.happenings.remove(&number).expect("it was planned");
        match happening {
            Happening::Request { proposer, life, acceptor, token, call } => {
                self.on_request(proposer, life, acceptor, token, call)
            }
            Happening::Reply { proposer, life, acceptor, token, reply } => {
                let from = self.names[acceptor].clone();
                self.give(proposer, life, Event::Replied { token, from, reply })
            }
            Happening::Timer { proposer, life, token } => {
                self.give(proposer, life, Event::TimerFired { token })
            }
            Happening::Synced { acceptor, life } => {
                if self.acceptors[acceptor].life != life {
                    return Ok(());
                }
                let served = self.acceptors[acceptor].synced()?;
                self.note(|_| format!("a{} has synced", acceptor + 1));
                self.on_served(acceptor, served);
                Ok(())
            }
            Happening::ClientWakes(client) => self.on_client(client),
            Happening::Fault => self.on_fault(),
            Happening::AcceptorRestarts(acceptor) => {
                self.note(|_| format!("a{} is back", acceptor + 1));
                self.acceptors[acceptor].is_down = false;
                Ok(())
            }
            Happening::ProposerRestarts(proposer) => {
                self.restart_proposer(proposer);
                Ok(())
            }
            Happening::NetworkMends => {
                self.note(|_| "the network is mended".to_string());
                self.network.mend();
                Ok(())
            }
        }
    }

    fn note(&mut self, line: impl FnOnce(&World) -> String) {
        if self.trace.is_none() {
            return;
        }
        let text = format!("{:>9} #{} {}", self.now, self.step, line(self));
        self.trace.get_or_insert_default().push(text);
    }

    // ---- acceptors ----

    fn on_request(
        &mut self,
        proposer: usize,
        life: u64,
        acceptor: usize,
        token: Token,
        call: Call,
    ) -> Result<(), String> {
        if self.acceptors[acceptor].is_down {
            return Ok(());
        }
        self.note(|_| format!("a{} serves p{proposer}: {:?}", acceptor + 1, call.request));
        let served =
            self.acceptors[acceptor].serve(self.flaw, &call.request, (proposer, life, token))?;
        self.on_served(acceptor, served);
        Ok(())
    }

    fn on_served(&mut self, acceptor: usize, served: Served) {
        if served.begins_sync {
            let fsync = self.parameters.fsync;
            let after = if self.is_settling { fsync.0 } else { fsync.draw(&mut self.random) };
            let life = self.acceptors[acceptor].life;
            self.plan(after, Happening::Synced { acceptor, life });
        }
        for answer in served.answers {
            let (proposer, life, token) = (answer.proposer, answer.life, answer.token);
            self.note(|_| format!("a{} answers p{proposer}: {:?}", acceptor + 1, answer.reply));
            let fate = self.network.reply(&mut self.random, proposer, acceptor);
            let plan = |world: &mut World, after, reply| {
                let token = token.clone();
                world.plan(after, Happening::Reply { proposer, life, acceptor, token, reply });
            };
            self.deliver(fate, Some(answer.reply), plan);
        }
    }

    /// Plans what becomes of a message; a told loss is a message of `None`.
    fn deliver<M: Clone>(
        &mut self,
        fate: Fate,
        message: Option<M>,
        plan: impl Fn(&mut World, u64, Option<M>),
    ) {
        self.statistics.messages += 1;
        match fate {
            Fate::Arrives(first, second) => {
                if let Some(second) = second {
                    self.statistics.messages_duplicated += 1;
                    plan(self, second, message.clone());
                }
                plan(self, first, message);
            }
            Fate::Lost(told) => {
                self.statistics.messages_lost += 1;
                if let Some(after) = told {
                    plan(self, after, None);
                }
            }
        }
    }

    // ---- proposers ----

    fn start_proposer(&mut self, index: usize) -> Proposer {
        // Without an incarnation of its own a proposer repeats its ballots.
        let drawn = self.random.random();
        let seed = if self.flaw.reuses_ballots() { self.seed } else { drawn };
        let id = format!("p{index}").parse().expect("it is a short name");
        let Parameters { configuration, settings, .. } = &self.parameters;
        let mut proposer = Proposer::new(id, configuration.clone(), settings.clone(), seed);
        if let Flaw::Proposer(bug) = self.flaw {
            proposer.plant(bug);
        }
        proposer
    }

    fn restart_proposer(&mut self, index: usize) {
        if self.proposers[index].is_down {
            self.note(|_| format!("p{index} is back"));
            let started = self.start_proposer(index);
            self.proposers[index].restart(started);
        }
    }

    /// Gives an event to a life of a proposer and runs the effects. What was
    /// meant for a former life is lost, as its connections are.
    fn give(&mut self, proposer: usize, life: u64, event: Event) -> Result<(), String> {
        let now = Duration::from_micros(self.now);
        if self.proposers[proposer].life != life || self.proposers[proposer].is_down {
            return Ok(());
        }
        self.note(|_| format!("p{proposer} takes {event:?}"));
        let is_running = |id: &CommandId| self.running.contains_key(id);
        let effects = self.proposers[proposer].handle(now, event, is_running, &mut self.statistics);
        for effect in effects {
            match effect {
                Effect::Send { to, token, call } => self.send(proposer, to, token, call),
                Effect::SetTimer { token, after } => {
                    let after = u64::try_from(after.as_micros()).expect("it is short");
                    // Never a moment before the time it was asked for.
                    self.plan(after + 1, Happening::Timer { proposer, life, token });
                }
                Effect::Answer { id, result } => self.on_answer(id, result),
                Effect::Configured(_) | Effect::Reconfigured { .. } | Effect::Collected { .. } => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, proposer: usize, to: AcceptorId, token: Token, call: Call) {
        let acceptor = self.names.iter().position(|name| *name == to).expect("it is listed");
        let life = self.proposers[proposer].life;
        let fate = self.network.request(&mut self.random, proposer, acceptor);
        self.deliver(fate, Some(call), |world, after, call| {
            let token = token.clone();
            let happening = match call {
                Some(call) => Happening::Request { proposer, life, acceptor, token, call },
                None => Happening::Reply { proposer, life, acceptor, token, reply: None },
            };
            world.plan(after, happening);
        });
    }
}
