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

/// The parameters of one seed.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub configuration: Configuration,
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
    /// Whether a client stays with one proposer.
    pub is_sticky: bool,
    /// How often a change has a name, under which it may be asked for again.
    pub named: f64,
    /// How often each kind of command is chosen.
    pub weights: [u32; 9],
    pub settings: Settings,
}

impl Parameters {
    /// `reuses_ballots`: the seed is for proposers that come back with the
    /// ballots of their former life. That is safe only where two prepare
    /// quorums always meet, so only such configurations are drawn.
    pub fn draw(random: &mut SmallRng, reuses_ballots: bool) -> Parameters {
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
        let (acceptors, prepare, accept) = choices[random.random_range(0..choices.len())];
        let ids: Vec<AcceptorId> =
            (1..=acceptors).map(|i| AcceptorId::from(format!("a{i}").as_str())).collect();
        let configuration = Configuration::uniform(Epoch(1), &ids, prepare, accept);
        configuration.validate().expect("only safe configurations are in the table");
        let mut weights = [0; 9];
        weights.iter_mut().for_each(|weight| *weight = random.random_range(0..4));
        weights[0] += random.random_range(1..8);
        weights[1] += 1;
        let mut drawn = Parameters {
            configuration,
            proposers: random.random_range(2..=4),
            clients: random.random_range(2..=8),
            keys: random.random_range(1..=3),
            operations: random.random_range(50..=200),
            network: Self::draw_network(random),
            fsync: Span(50, *pick(random, &[100, 1_000, 5_000])),
            fault: random
                .random_bool(0.85)
                .then(|| Span(5_000, random.random_range(30_000..200_000))),
            outage: Span(500, random.random_range(5_000..100_000)),
            only_acceptors_crash: false,
            think: Span(0, *pick(random, &[0, 1_000, 10_000])),
            deadline: Span(10_000, *pick(random, &[50_000, 200_000, 1_000_000])),
            is_sticky: random.random_bool(0.5),
            named: *pick(random, &[0.0, 0.5, 1.0]),
            weights,
            settings: Self::draw_settings(random),
        };
        if reuses_ballots {
            // Counters stay low and lives short, so that ballots meet again.
            drawn.keys = 8;
            drawn.fault = Some(Span(200, 3_000));
            drawn.outage = Span(100, 2_000);
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
        drawn
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
            round_timeout: Duration::from_micros(random.random_range(4_000..40_000)),
            time_per_byte: Duration::from_micros(1),
            read_patience: Duration::from_micros(random.random_range(100..3_000)),
            backoff_first: Duration::from_micros(random.random_range(500..4_000)),
            backoff_longest: Duration::from_micros(random.random_range(4_000..50_000)),
            commands_per_round: *pick(random, &[1, 2, 256]),
            kept_bytes: *pick(random, &[0, 500, 1 << 20, 1 << 20]),
        }
    }
}

fn pick<'a, T>(random: &mut SmallRng, choices: &'a [T]) -> &'a T {
    &choices[random.random_range(0..choices.len())]
}
