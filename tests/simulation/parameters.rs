//! What one seed draws for itself: the cluster, the network, the clients.

use std::time::Duration;

use gryadka::caspaxos::{AcceptorId, Configuration, Epoch, Settings};
use rand::Rng;
use rand::rngs::SmallRng;

/// A range of times in microseconds of virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub u64, pub u64);

impl Span {
    pub fn draw(self, random: &mut SmallRng) -> u64 {
        random.random_range(self.0..=self.1)
    }
}

/// How unkind the network is.
#[derive(Clone, Debug)]
pub struct NetworkParameters {
    pub loss: f64,
    /// How often the proposer is told that no reply will come.
    pub told: f64,
    pub duplication: f64,
    pub delay: Span,
    /// How often a message takes far longer.
    pub slow: f64,
    pub slow_delay: Span,
}

/// How the acceptors of a seed come and go.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The numbers of acceptors that the operator wants, one after the other.
    pub sizes: Vec<usize>,
    /// How often it goes to a smaller accept quorum and a larger prepare
    /// quorum on the way.
    pub uneven: f64,
    /// How long it waits between steps.
    pub pause: Span,
}

/// What seeds are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Focus {
    Anything,
    /// Proposers come back with the ballots of their former life. That is safe
    /// only where two prepare quorums always meet.
    BallotsComeAgain,
    /// Acceptors come and go.
    Changes,
    /// Three acceptors, whose quorums become uneven and even again.
    UnevenQuorums,
    /// From three acceptors to five and back, over and over.
    FromFiveToThree,
    /// Deleted registers are collected.
    Collections,
}

/// The parameters of one seed.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The configuration of the beginning.
    pub configuration: Configuration,
    /// How acceptors come and go, if they do.
    pub changes: Option<Changes>,
    /// The time from one collection of deleted registers to the next, if any.
    pub collection: Option<Span>,
    /// How often a process crashes between two of its effects or writes.
    pub crash_point: f64,
    /// How often a proposer sleeps where it would have crashed.
    pub sleeps: f64,
    pub proposers: usize,
    pub clients: usize,
    pub keys: usize,
    /// How many operations all clients start together.
    pub operations: usize,
    pub network: NetworkParameters,
    pub fsync: Span,
    /// The time from one fault to the next; `None` for a seed without.
    pub fault: Option<Span>,
    pub outage: Span,
    pub only_acceptors_crash: bool,
    pub think: Span,
    pub deadline: Span,
    /// Whether an acceptor has a proposer beside it that hears what others ask for.
    pub has_neighbours: bool,
    /// Whether a client stays with one proposer.
    pub is_sticky: bool,
    /// How often a change has a name, under which it may be asked for again.
    pub named: f64,
    /// How often each kind of command is chosen.
    pub weights: [u32; 9],
    pub settings: Settings,
}

impl Parameters {
    /// The most acceptors of a seed whose acceptors come and go.
    const MOST_ACCEPTORS: usize = 7;

    /// The names of all acceptors, also of those that stand by.
    pub fn acceptors(&self) -> Vec<AcceptorId> {
        let first = self.configuration.prepare.acceptors.len();
        names(if self.changes.is_some() { Self::MOST_ACCEPTORS } else { first })
    }

    pub fn draw(random: &mut SmallRng, focus: Focus) -> Parameters {
        let reuses_ballots = focus == Focus::BallotsComeAgain;
        let changes = Self::draw_changes(random, focus);
        const ANY: [(usize, usize, usize); 8] = [
            (3, 2, 2),
            (5, 3, 3),
            (3, 2, 2),
            (5, 4, 2),
            (5, 3, 3),
            (3, 3, 1),
            (5, 2, 4),
            (3, 1, 3),
        ];
        let choices = if reuses_ballots { &ANY[..6] } else { &ANY[..] };
        let (acceptors, prepare, accept) = match &changes {
            None => choices[random.random_range(0..choices.len())],
            Some(changes) => {
                let first = changes.sizes[0];
                (first, first / 2 + 1, first / 2 + 1)
            }
        };
        let configuration = Configuration::uniform(Epoch(1), &names(acceptors), prepare, accept);
        configuration.validate().expect("only safe configurations are in the table");
        let mut weights = [0; 9];
        weights.iter_mut().for_each(|weight| *weight = random.random_range(0..4));
        weights[0] += random.random_range(1..8);
        weights[1] += 1;
        let collects = match focus {
            Focus::Collections => true,
            Focus::BallotsComeAgain | Focus::FromFiveToThree | Focus::UnevenQuorums => false,
            Focus::Anything | Focus::Changes => random.random_bool(0.35),
        };
        if collects {
            weights[5] += random.random_range(1..4);
        }
        let mut drawn = Parameters {
            configuration,
            collection: collects.then(|| Span(1_000, *pick(random, &[3_000, 10_000, 50_000]))),
            crash_point: match reuses_ballots {
                true => 0.0,
                false => *pick(random, &[0.0, 0.0, 0.0002, 0.002]),
            },
            sleeps: if changes.is_some() || collects { 0.5 } else { 0.1 },
            changes,
            proposers: random.random_range(2..=4),
            clients: random.random_range(2..=8),
            keys: random.random_range(1..=3),
            operations: match collects {
                // Without the indices of absent keys a history is hard to judge.
                true => random.random_range(30..=90),
                false => random.random_range(50..=150),
            },
            network: Self::draw_network(random),
            fsync: Span(50, *pick(random, &[100, 1_000, 5_000])),
            fault: random
                .random_bool(0.85)
                .then(|| Span(5_000, random.random_range(30_000..200_000))),
            outage: Span(500, random.random_range(5_000..100_000)),
            only_acceptors_crash: false,
            think: Span(0, *pick(random, &[0, 1_000, 10_000])),
            deadline: Span(10_000, *pick(random, &[50_000, 200_000, 1_000_000])),
            has_neighbours: random.random_bool(0.5),
            is_sticky: random.random_bool(0.5),
            named: match collects {
                // With a register goes what it remembers of requests.
                true => 0.0,
                false => *pick(random, &[0.0, 0.5, 1.0]),
            },
            weights,
            settings: Self::draw_settings(random),
        };
        if reuses_ballots {
            // Counters stay low and lives short, so that ballots meet again.
            drawn.keys = 8;
            drawn.fault = Some(Span(200, 3_000));
            drawn.outage = Span(100, 2_000);
        } else if collects && random.random_bool(0.5) {
            // A batch needs all acceptors at once.
            drawn.network.loss = 0.0;
            drawn.fault = Some(Span(50_000, 200_000));
            drawn.crash_point = 0.0;
        } else if random.random_bool(0.35) {
            // Acceptors blink: their disks are slow and their outages short,
            // so that what was sent before a crash arrives after it.
            drawn.only_acceptors_crash = true;
            drawn.fault = Some(Span(500, 6_000));
            drawn.outage = Span(50, 300);
            drawn.fsync = Span(200, 3_000);
            drawn.network.delay = Span(50, 3_000);
            drawn.network.slow = 0.1;
            drawn.network.slow_delay = Span(1_000, 15_000);
        }
        drawn.keep_to(focus, random);
        drawn
    }

    /// Makes it likely that what the focus is about shows: few keys that rest
    /// while the acceptors change, and messages that are lost.
    fn keep_to(&mut self, focus: Focus, random: &mut SmallRng) {
        match focus {
            Focus::Anything | Focus::BallotsComeAgain => {}
            Focus::Changes => {
                self.network.loss = *pick(random, &[0.05, 0.15, 0.3]);
                self.think = Span(0, *pick(random, &[10_000, 100_000]));
                self.clients = random.random_range(2..=4);
                self.only_acceptors_crash = false;
            }
            Focus::FromFiveToThree => {
                self.network.loss = *pick(random, &[0.05, 0.15]);
                self.network.slow = 0.01;
                self.keys = 4;
                self.clients = 2;
                self.operations = 300;
                self.think = Span(0, 60_000);
                self.only_acceptors_crash = false;
                self.fault = Some(Span(5_000, 50_000));
                self.outage = Span(10_000, 100_000);
                let pause = Span(500, 2_000);
                self.changes.iter_mut().for_each(|changes| changes.pause = pause);
            }
            Focus::UnevenQuorums => {
                self.network.loss = 0.0;
                self.network.slow = 0.0;
                self.keys = 3;
                self.proposers = 2;
                self.clients = 4;
                self.is_sticky = true;
                self.think = Span(0, 10_000);
                self.only_acceptors_crash = true;
                self.fault = Some(Span(2_000, 20_000));
                self.outage = Span(2_000, 20_000);
                self.settings.kept_bytes = 1 << 20;
                let pause = Span(2_000, 20_000);
                self.changes.iter_mut().for_each(|changes| changes.pause = pause);
            }
            Focus::Collections => {
                self.keys = 1;
                self.proposers = 4;
                self.clients = 4;
                self.operations = 300;
                self.think = Span(0, *pick(random, &[1_000, 3_000]));
                self.fault = None;
                self.crash_point = 0.0;
                self.network.loss = 0.0;
                self.network.delay = Span(50, 3_000);
                self.network.slow = 0.4;
                self.network.slow_delay = Span(1_000, 15_000);
                self.collection = Some(Span(200, 1_500));
                self.weights = [1, 3, 0, 0, 0, 6, 0, 3, 0];
            }
        }
    }

    fn draw_changes(random: &mut SmallRng, focus: Focus) -> Option<Changes> {
        let sizes = match focus {
            Focus::BallotsComeAgain | Focus::Collections => return None,
            Focus::Anything if random.random_bool(0.55) => return None,
            Focus::FromFiveToThree => vec![3, 5],
            Focus::UnevenQuorums => vec![3],
            Focus::Anything | Focus::Changes => {
                const WALKS: [&[usize]; 7] =
                    [&[3, 4], &[3, 5], &[3, 4, 5], &[1, 2, 3], &[2, 1, 4], &[5, 3, 7], &[4, 6, 3]];
                pick(random, &WALKS).to_vec()
            }
        };
        let uneven = match focus {
            Focus::FromFiveToThree => 0.0,
            Focus::UnevenQuorums => 0.9,
            Focus::Anything | Focus::BallotsComeAgain | Focus::Changes | Focus::Collections => 0.3,
        };
        Some(Changes { sizes, uneven, pause: Span(500, *pick(random, &[2_000, 10_000, 50_000])) })
    }

    fn draw_network(random: &mut SmallRng) -> NetworkParameters {
        NetworkParameters {
            loss: *pick(random, &[0.0, 0.0, 0.01, 0.05, 0.15, 0.3]),
            told: *pick(random, &[0.0, 0.5, 1.0]),
            duplication: *pick(random, &[0.0, 0.02, 0.2]),
            delay: Span(50, *pick(random, &[200, 1_000, 3_000])),
            slow: *pick(random, &[0.0, 0.01, 0.1]),
            slow_delay: Span(1_000, 100_000),
        }
    }

    fn draw_settings(random: &mut SmallRng) -> Settings {
        Settings {
            nearest: None,
            round_timeout: Duration::from_micros(random.random_range(4_000..40_000)),
            time_per_byte: Duration::from_micros(1),
            read_patience: Duration::from_micros(random.random_range(100..3_000)),
            round_trip: Duration::from_micros(random.random_range(500..4_000)),
            longest_backoff: Duration::from_micros(random.random_range(4_000..50_000)),
            commands_per_round: *pick(random, &[1, 2, 256]),
            kept_bytes: *pick(random, &[0, 500, 1 << 20, 1 << 20]),
        }
    }
}

fn names(count: usize) -> Vec<AcceptorId> {
    (1..=count).map(|i| AcceptorId::from(format!("a{i}").as_str())).collect()
}

fn pick<'a, T>(random: &mut SmallRng, choices: &'a [T]) -> &'a T {
    &choices[random.random_range(0..choices.len())]
}
