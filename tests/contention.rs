//! Proposers that work on the same few keys, on virtual time: each of them gets
//! its turn, and every command its outcome.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use gryadka::caspaxos::{
    AcceptorId, Call, Configuration, Effect, Epoch, Event, Failure, Proposer, Settings, Token,
};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key};
use gryadka::store::{AcceptorStore, MemoryStore};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How long things take, each drawn from a range of microseconds.
#[derive(Clone, Debug)]
struct Times {
    /// A message to the acceptor of the same node, or its reply.
    near: Range<u64>,
    /// A message to another node, or its reply.
    far: Range<u64>,
    /// A request to be served, until its reply leaves.
    serving: Range<u64>,
    /// How long a message waits for company that may.
    company: Duration,
}

enum Happening {
    At(Event),
    Request { acceptor: usize, token: Token, call: Call },
}

/// A node for each proposer, each with an acceptor.
struct World {
    proposers: Vec<Proposer>,
    acceptors: Vec<AcceptorId>,
    stores: Vec<MemoryStore>,
    /// What happens, on account of which proposer, by time and a number.
    queue: BTreeMap<(Duration, u64), (usize, Happening)>,
    scheduled: u64,
    times: Times,
    random: SmallRng,
    keys: usize,
    /// When each command was asked.
    asked: BTreeMap<u64, Duration>,
    report: Report,
}

#[derive(Debug, Default)]
struct Report {
    /// How long each command took, by proposer.
    waits: Vec<Vec<Duration>>,
    unknown: usize,
    failed: usize,
}

impl World {
    fn new(nodes: usize, keys: usize, times: Times) -> World {
        let acceptors: Vec<AcceptorId> =
            (1..=nodes).map(|i| AcceptorId::from(format!("a{i}").as_str())).collect();
        let quorum = nodes / 2 + 1;
        let configuration = Configuration::uniform(Epoch(1), &acceptors, quorum, quorum);
        let cluster = ClusterId::new(7).expect("not zero");
        let proposer = |i: usize| {
            let id = format!("p{}", i + 1).parse().unwrap();
            let nearest = Some(acceptors[i].clone());
            let settings = Settings { nearest, ..Settings::default() };
            Proposer::new(id, Some(cluster), configuration.clone(), settings, i as u64)
        };
        World {
            proposers: (0..nodes).map(proposer).collect(),
            stores: acceptors
                .iter()
                .map(|_| MemoryStore::of_founder(Nonce(1), cluster, configuration.clone()))
                .collect(),
            acceptors,
            queue: BTreeMap::new(),
            scheduled: 0,
            times,
            random: SmallRng::seed_from_u64(1),
            keys,
            asked: BTreeMap::new(),
            report: Report { waits: vec![Vec::new(); nodes], ..Report::default() },
        }
    }

    /// Lets so many clients work at each proposer, each with one command at a
    /// time.
    fn run(mut self, clients: usize, until: Duration) -> Report {
        for proposer in 0..self.proposers.len() {
            (0..clients).for_each(|_| self.ask(Duration::ZERO, proposer));
        }
        while let Some(((now, _), (proposer, happening))) = self.queue.pop_first() {
            if now > until {
                break;
            }
            match happening {
                Happening::At(event) => {
                    let mut effects = Vec::new();
                    self.proposers[proposer].handle(now, event, &mut effects);
                    effects.into_iter().for_each(|effect| self.perform(now, proposer, effect));
                }
                Happening::Request { acceptor, token, call } => {
                    self.tell_neighbour(now, proposer, acceptor, &call);
                    let reply = self.stores[acceptor].serve(&[call]).unwrap().pop();
                    let after = self.serving() + self.way(proposer, acceptor);
                    let from = self.acceptors[acceptor].clone();
                    let event = Event::Replied { token, from, reply };
                    self.schedule(now + after, proposer, Happening::At(event));
                }
            }
        }
        self.report
    }

    /// The proposer on an acceptor's node hears what others ask it for.
    fn tell_neighbour(&mut self, now: Duration, asker: usize, acceptor: usize, call: &Call) {
        if let Some((key, by)) = call.request.claims().filter(|_| asker != acceptor) {
            let event = Event::Overtaken { key: key.clone(), by };
            self.proposers[acceptor].handle(now, event, &mut Vec::new());
        }
    }

    fn schedule(&mut self, at: Duration, proposer: usize, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), (proposer, happening));
    }

    fn way(&mut self, proposer: usize, acceptor: usize) -> Duration {
        let Times { near, far, .. } = &self.times;
        let range = if proposer == acceptor { near } else { far };
        Duration::from_micros(self.random.random_range(range.clone()))
    }

    fn serving(&mut self) -> Duration {
        Duration::from_micros(self.random.random_range(self.times.serving.clone()))
    }

    /// A client asks for something on a random key.
    fn ask(&mut self, now: Duration, proposer: usize) {
        let key = format!("k{}", self.random.random_range(0..self.keys));
        let key = Key::try_from(key.as_str()).unwrap();
        let command = if self.random.random_ratio(2, 5) { Command::Get } else { Command::Add(1) };
        let id = self.scheduled;
        self.asked.insert(id, now);
        let deadline = now + Duration::from_secs(3);
        let event = Event::Submitted { id, key, submission: command.into(), deadline };
        self.schedule(now, proposer, Happening::At(event));
    }

    fn perform(&mut self, now: Duration, proposer: usize, effect: Effect) {
        match effect {
            Effect::SetTimer { token, after } => {
                self.schedule(now + after, proposer, Happening::At(Event::TimerFired { token }));
            }
            Effect::Answer { id, result } => {
                let asked = self.asked.remove(&id).expect("it was asked");
                self.report.waits[proposer].push(now - asked);
                match result {
                    Ok(_) => {}
                    Err(Failure::Unknown) => self.report.unknown += 1,
                    Err(Failure::Failed) => {
                        self.report.failed += 1;
                    }
                }
                // The way to the client and back.
                let pause = self.serving();
                self.ask(now + pause, proposer);
            }
            Effect::Send { to, token, call, is_spare } => {
                let acceptor = self.acceptors.iter().position(|id| *id == to).unwrap();
                let company = if is_spare { self.times.company } else { Duration::ZERO };
                let at = now + company + self.way(proposer, acceptor);
                self.schedule(at, proposer, Happening::Request { acceptor, token, call });
            }
            Effect::Identified(_)
            | Effect::Unidentified(_)
            | Effect::FoundOldCopy(_)
            | Effect::Seeks(_)
            | Effect::Configured(_)
            | Effect::Reconfigured { .. }
            | Effect::Collected { .. } => {}
        }
    }
}

/// Prints what happened and checks that all were served.
fn assert_all_are_served(
    nodes: usize,
    keys: usize,
    clients: usize,
    times: Times,
    longest: Duration,
) {
    let name = format!("{nodes} nodes, {keys} keys, {clients} clients each, {times:?}");
    let seconds = 20;
    let Report { waits, unknown, failed } =
        World::new(nodes, keys, times).run(clients, Duration::from_secs(seconds));
    println!("{name}: {unknown} unknown, {failed} failed");
    let mut worst = Duration::ZERO;
    for (proposer, mut waits) in waits.into_iter().enumerate() {
        waits.sort_unstable();
        let (count, at) = (waits.len(), |part: f64| waits[(waits.len() as f64 * part) as usize]);
        println!(
            "  p{}: {} a second, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            proposer + 1,
            count as u64 / seconds,
            at(0.5),
            at(0.99),
            waits[count - 1]
        );
        worst = worst.max(waits[count - 1]);
    }
    assert_eq!((unknown, failed), (0, 0), "{name}");
    assert!(worst < longest, "{name}: {worst:?} is longer than {longest:?}");
}

const COMPANY: Duration = Duration::from_millis(3);
const ONE_MACHINE: Times =
    Times { near: 20..60, far: 150..400, serving: 200..600, company: COMPANY };

#[test]
fn on_one_machine_with_three_nodes() {
    assert_all_are_served(3, 6, 2, ONE_MACHINE, Duration::from_millis(150));
}

#[test]
fn on_one_machine_with_one_key() {
    assert_all_are_served(3, 1, 4, ONE_MACHINE, Duration::from_millis(150));
}

#[test]
fn on_one_machine_with_five_nodes() {
    assert_all_are_served(5, 6, 4, ONE_MACHINE, Duration::from_millis(300));
}

#[test]
fn between_towns() {
    let times = Times { near: 20..60, far: 4_000..12_000, serving: 200..600, company: COMPANY };
    assert_all_are_served(3, 6, 4, times, Duration::from_millis(1000));
}
