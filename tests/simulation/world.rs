//! The world of one seed: virtual time, the queue of events, and who lives.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Bug, Call, CommandId, Configuration, Effect, Event, Proposer, Reply, Settings,
    Token,
};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key, Record, Submission};
use gryadka::perseus::{History, OperationId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::acceptor::SimAcceptor;
use super::disk::Disk;
use super::flaw::Flaw;
use super::invariants::Invariants;
use super::network::Network;
use super::parameters::Parameters;
use super::proposer::SimProposer;
use super::statistics::Statistics;

mod asking;
mod faults;
mod messages;
mod operating;
mod strangers;

use operating::Operator;

/// What is going to happen.
enum Happening {
    /// The asker is a proposer or, behind these, the operator.
    Request {
        asker: usize,
        life: u64,
        acceptor: usize,
        token: Token,
        call: Call,
    },
    Reply {
        asker: usize,
        life: u64,
        acceptor: usize,
        token: Token,
        reply: Option<Reply>,
    },
    Synced {
        acceptor: usize,
        life: u64,
    },
    /// A reply, a timer, or what waited for a proposer that slept.
    Event {
        proposer: usize,
        life: u64,
        event: Event,
    },
    ClientWakes(usize),
    OperatorWakes {
        attempt: u64,
    },
    OperatorAsksAgain {
        id: CommandId,
    },
    Collects,
    /// A proposer marks the acceptors.
    Marks,
    Fault,
    AcceptorRestarts(usize),
    /// It gets its own newest disk back.
    AcceptorIsItselfAgain(usize),
    ProposerRestarts(usize),
    NetworkMends,
}

/// An operation that waits for its answer.
struct Running {
    operation: OperationId,
    client: usize,
    key: Key,
    /// The highest index of the key that was answered before.
    least_index: u64,
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
    /// Of acceptors whose machines hold the data of an earlier cluster, or older
    /// data of their own.
    true_disks: BTreeMap<usize, Disk>,
    /// Copies that were made of disks.
    copies: BTreeMap<usize, Disk>,
    /// Acceptors that came back with one at some time.
    had_old_copies: BTreeSet<usize>,
    names: Vec<AcceptorId>,
    proposers: Vec<SimProposer>,
    clients: Vec<Client>,
    network: Network,
    keys: Vec<Key>,
    running: BTreeMap<CommandId, Running>,
    operator: Operator,
    invariants: Invariants,
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
        let parameters = Parameters::draw(&mut random, flaw.focus());
        let names = parameters.acceptors();
        // The operator has a place in it as well.
        let askers = parameters.proposers + 1;
        let network = Network::new(parameters.network.clone(), askers, names.len());
        let operator = Operator::new(parameters.configuration.prepare.acceptors.len());
        let clients = (0..parameters.clients).map(|_| Client {
            home: random.random_range(0..parameters.proposers),
            ..Client::default()
        });
        let clients = clients.collect();
        let nonces: Vec<Nonce> = names.iter().map(|_| Nonce(random.random())).collect();
        let key = |i: usize| Key::try_from(format!("k{i}").as_str()).expect("it is short");
        let mut world = World {
            keys: (0..parameters.keys).map(key).collect(),
            acceptors: nonces.into_iter().map(SimAcceptor::new).collect(),
            true_disks: BTreeMap::new(),
            copies: BTreeMap::new(),
            had_old_copies: BTreeSet::new(),
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
            operator,
            invariants: Invariants::default(),
            commands: 0,
            is_settling: false,
            history: History::default(),
            statistics: Statistics::default(),
            trace: is_traced.then(Vec::new),
        };
        for index in 0..world.parameters.proposers {
            let founding = world.parameters.configuration.clone();
            let proposer = SimProposer::new(world.start_proposer(index, None, founding));
            world.proposers.push(proposer);
            let event = Event::Started;
            world.plan(0, Happening::Event { proposer: index, life: 0, event });
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
        self.plan_operator();
        self.plan_collection();
        self.plan_marks();
        while self.has_work() {
            self.advance()?;
        }
        self.settle()?;
        // Who is served whatever its epoch need not learn another.
        if self.flaw != Flaw::IgnoresEpochs {
            self.check_configurations()?;
        }
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
            self.give_back_disk(acceptor)?;
            self.acceptors[acceptor].is_down = false;
        }
        for proposer in 0..self.proposers.len() {
            self.restart_proposer(proposer);
            self.proposers[proposer].sleeps_until = 0;
        }
        let quiet = self.now + 200_000;
        while self.queue.peek().is_some_and(|Reverse((at, _))| *at < quiet) {
            self.advance()?;
        }
        if self.parameters.changes.is_some() {
            self.settle_configuration()?;
        }
        for proposer in 0..self.proposers.len() {
            for key in self.keys.clone() {
                self.settle_read(proposer, &key)?;
            }
        }
        Ok(())
    }

    /// Reads a key through a proposer. One that missed a step may have to be
    /// asked again: the first acceptor that turns it away need not know more
    /// than that there is a newer configuration.
    fn settle_read(&mut self, proposer: usize, key: &Key) -> Result<(), String> {
        const TRIES: usize = 3;
        let done = self.statistics.done;
        for _ in 0..TRIES {
            let client = self.clients.len() - 1;
            self.submit(client, proposer, key.clone(), Command::Get.into(), 10_000_000)?;
            while !self.running.is_empty() {
                if self.queue.is_empty() {
                    return Err(format!("p{proposer} never answers for {key}"));
                }
                self.advance()?;
            }
            if self.statistics.done > done {
                return Ok(());
            }
        }
        Err(format!("p{proposer} cannot read {key} though all are well"))
    }

    /// After all faults every proposer has the same configuration.
    fn check_configurations(&self) -> Result<(), String> {
        let first = self.proposers[0].configuration();
        match self.proposers.iter().find(|each| each.configuration() != first) {
            None => Ok(()),
            Some(other) => {
                let other = other.configuration();
                Err(format!("configurations stay different: {first:?} and {other:?}"))
            }
        }
    }

    /// Whether acceptors serve as soon as they are started: as if it had been made
    /// sure by then, for it holds up what is to show in most seeds; or, with the
    /// flaw, though nobody makes sure.
    fn is_confirmed_at_once(&self) -> bool {
        self.flaw != Flaw::Nothing || !self.seed.is_multiple_of(4)
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
            Happening::Request { asker, life, acceptor, token, call } => {
                self.on_request(asker, life, acceptor, token, call)
            }
            Happening::Reply { asker, life, acceptor, token, reply } => {
                let from = self.names[acceptor].clone();
                match asker == self.operator_index() {
                    true => self.on_operator_reply(from, &token, reply),
                    false => self.give(asker, life, Event::Replied { token, from, reply }),
                }
            }
            Happening::Event { proposer, life, event } => self.give(proposer, life, event),
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
            Happening::OperatorWakes { attempt } => self.on_operator(attempt),
            Happening::OperatorAsksAgain { id } => self.on_operator_asks_again(id),
            Happening::Collects => self.on_collects(),
            Happening::Marks => self.on_marks(),
            Happening::Fault => self.on_fault(),
            Happening::AcceptorRestarts(acceptor) => {
                self.note(|_| format!("a{} is back", acceptor + 1));
                let tag = self.random.random();
                if self.acceptors[acceptor].is_down {
                    let is_confirmed = self.is_confirmed_at_once();
                    self.acceptors[acceptor].restart(is_confirmed, tag);
                }
                Ok(())
            }
            Happening::AcceptorIsItselfAgain(acceptor) => self.give_back_disk(acceptor),
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

    // ---- proposers ----

    fn start_proposer(
        &mut self,
        index: usize,
        cluster: Option<ClusterId>,
        configuration: Configuration,
    ) -> Proposer {
        // Without an incarnation of its own a proposer repeats its ballots.
        let drawn = self.random.random();
        let seed = if self.flaw.reuses_ballots() { self.seed } else { drawn };
        // In some seeds two share an id, as event loops of one node do: only their
        // incarnations differ.
        let are_siblings = self.seed.is_multiple_of(3) && !self.flaw.reuses_ballots();
        let number = if are_siblings { index / 2 } else { index };
        let id = format!("p{number}").parse().expect("it is a short name");
        // In half of the seeds, each begins with an acceptor of its own.
        let acceptors = &self.parameters.configuration.prepare.acceptors;
        let nearest = acceptors[index % acceptors.len()].clone();
        let nearest = self.seed.is_multiple_of(2).then_some(nearest);
        let settings = Settings { nearest, ..self.parameters.settings.clone() };
        let mut proposer = Proposer::new(id, cluster, configuration, settings, seed);
        proposer.confirm_cluster();
        if let Flaw::Proposer(bug) = self.flaw {
            proposer.plant(bug);
        }
        proposer
    }

    /// Brings a proposer back with the configuration that it kept. At times
    /// that is lost, and it starts with the one of the beginning.
    fn restart_proposer(&mut self, index: usize) {
        if self.proposers[index].is_down {
            self.note(|_| format!("p{index} is back"));
            if self.random.random_bool(0.1) {
                self.proposers[index].kept_configuration = None;
                self.proposers[index].kept_cluster = None;
            }
            let kept = self.proposers[index].kept_configuration.clone();
            let configuration = kept.unwrap_or_else(|| self.parameters.configuration.clone());
            let cluster = self.proposers[index].kept_cluster;
            let started = self.start_proposer(index, cluster, configuration);
            self.proposers[index].restart(started);
            let (life, event) = (self.proposers[index].life, Event::Started);
            self.plan(0, Happening::Event { proposer: index, life, event });
        }
    }

    /// Gives an event to a life of a proposer and runs the effects. What was
    /// meant for a former life is lost, as its connections are.
    fn give(&mut self, proposer: usize, life: u64, event: Event) -> Result<(), String> {
        let now = Duration::from_micros(self.now);
        if self.proposers[proposer].life != life || self.proposers[proposer].is_down {
            return Ok(());
        }
        let sleeps_until = self.proposers[proposer].sleeps_until;
        if self.now < sleeps_until {
            self.plan(sleeps_until - self.now, Happening::Event { proposer, life, event });
            return Ok(());
        }
        self.note(|_| format!("p{proposer} takes {event:?}"));
        let is_running = |id: &CommandId| self.running.contains_key(id);
        let effects = self.proposers[proposer].handle(now, event, is_running, &mut self.statistics);
        for effect in effects {
            if self.crashes_now() {
                return self.crash_proposer_for_a_while(proposer);
            }
            self.run_effect(proposer, effect)?;
            if self.proposers[proposer].life != life {
                return Ok(());
            }
        }
        Ok(())
    }

    fn run_effect(&mut self, proposer: usize, effect: Effect) -> Result<(), String> {
        let life = self.proposers[proposer].life;
        match effect {
            Effect::Send { to, token, call, is_spare } => {
                // What may wait for company does.
                let wait = if is_spare { self.random.random_range(0..3_000) } else { 0 };
                self.send((proposer, life), wait, to, token, call);
                Ok(())
            }
            Effect::SetTimer { token, after } => {
                let after = u64::try_from(after.as_micros()).expect("it is short");
                let event = Event::TimerFired { token };
                // Never a moment before the time it was asked for.
                self.plan(after + 1, Happening::Event { proposer, life, event });
                Ok(())
            }
            Effect::Answer { id, result } => {
                self.proposers[proposer].serving.remove(&id);
                self.on_answer(id, result)
            }
            Effect::Identified(cluster) => {
                self.note(|_| format!("p{proposer} belongs to {cluster}"));
                self.proposers[proposer].kept_cluster = Some(cluster);
                self.invariants.one_cluster.belongs(cluster)
            }
            Effect::Unidentified(_) | Effect::Seeks(_) => Ok(()),
            Effect::FoundOldCopy(old) => self.on_old_copy(&old),
            Effect::Configured(configuration) => {
                self.note(|_| format!("p{proposer} is at {:?}", configuration.epoch));
                self.invariants.configurations_agree.takes(&configuration)?;
                self.proposers[proposer].kept_configuration = Some(configuration);
                Ok(())
            }
            Effect::Reconfigured { id, result } => self.on_reconfigured(id, result),
            Effect::Collected { collected, .. } => {
                self.note(|_| format!("p{proposer} has collected: {collected:?}"));
                self.statistics.collected += collected.removed as u64;
                Ok(())
            }
        }
    }
}
