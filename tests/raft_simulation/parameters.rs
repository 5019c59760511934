//! What one seed draws for itself: the cluster, the network, the clients.

use std::time::Duration;

use gryadka::raft::Bug;
use rand::Rng;
use rand::rngs::SmallRng;

/// A range of times in milliseconds of virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub u64, pub u64);

impl Span {
    pub fn draw(self, random: &mut SmallRng) -> Duration {
        Duration::from_millis(random.random_range(self.0..=self.1))
    }
}

/// How unkind the network is.
#[derive(Clone, Debug)]
pub struct NetworkParameters {
    pub loss: f64,
    /// How often a message arrives though its sender has given it up.
    pub late: f64,
    /// How often who waits is told at once that no reply will come.
    pub told: f64,
    pub delay: Span,
    /// How often a message takes far longer.
    pub slow: f64,
    pub slow_delay: Span,
}

impl NetworkParameters {
    /// A network without faults.
    pub fn calm() -> Self {
        NetworkParameters {
            loss: 0.0,
            late: 0.0,
            told: 1.0,
            delay: Span(1, 3),
            slow: 0.0,
            slow_delay: Span(1, 1),
        }
    }
}

/// What a seed is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scenario {
    Any,
    /// Replicas crash for moments, voters above all, so that what was sent
    /// before a crash arrives after it.
    Blinking,
    /// Replicas, the leader above all, are cut off and know nothing of it.
    Parted,
    /// Replicas stay away until the log they need is purged, and snapshots
    /// come late.
    Behind,
    /// Replicas come back with other disks, while some of the others are cut off.
    Restored,
}

impl Scenario {
    const ALL: [Scenario; 5] =
        [Scenario::Any, Scenario::Blinking, Scenario::Parted, Scenario::Behind, Scenario::Restored];

    /// A seed with a bug is about where it hurts.
    fn draw(random: &mut SmallRng, bug: Option<Bug>) -> Scenario {
        match bug {
            None => *pick(random, &Self::ALL),
            Some(Bug::VoteNotDurable) => Scenario::Blinking,
            Some(Bug::SnapshotOverNewerState) => Scenario::Behind,
            Some(Bug::ReadWithoutReadIndex) => Scenario::Parted,
            Some(
                Bug::AppliedIndexApart
                | Bug::ForgetsRequests
                | Bug::HeartbeatsWithoutQuorum
                | Bug::LeadsUnreachable,
            ) => Scenario::Any,
            Some(Bug::OldCopyIsLetIn | Bug::EmptiedMemberIsLetIn | Bug::OtherClusterIsServed) => {
                Scenario::Restored
            }
        }
    }
}

/// How the network is cut for good at the end, around the leader of that time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// The leader and a majority reach only one member in common; whoever else
    /// there is reaches nobody (openraft#2080).
    Bridge,
    /// Calls of the others do not reach the leader; its own do, and are answered.
    Deaf,
    /// The others hear the leader, and it hears nothing of them.
    Mute,
    /// A majority is connected, and all else by chance, in one direction or both.
    Any,
}

impl Shape {
    const ALL: [Shape; 4] = [Shape::Bridge, Shape::Deaf, Shape::Mute, Shape::Any];

    /// Half of the seeds end without.
    fn draw(random: &mut SmallRng, bug: Option<Bug>) -> Option<Shape> {
        let is_cut = random.random_bool(0.5);
        match bug {
            Some(Bug::HeartbeatsWithoutQuorum) => {
                Some(*pick(random, &[Shape::Bridge, Shape::Mute]))
            }
            Some(Bug::LeadsUnreachable) => Some(Shape::Deaf),
            Some(_) => None,
            None => is_cut.then(|| *pick(random, &Self::ALL)),
        }
    }
}

/// The parameters of one seed.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub founders: u64,
    pub clients: u64,
    pub keys: usize,
    /// How long clients ask and faults come.
    pub duration: Duration,
    pub network: NetworkParameters,
    /// How long a group of writes takes.
    pub storage: Span,
    /// The time from one fault to the next.
    pub fault: Span,
    pub outage: Span,
    /// How often a fault is a crash, and not a cut in the network.
    pub crashes: f64,
    /// How often who has just voted crashes.
    pub voters_crash: f64,
    /// How often a replica comes back with another disk; never, if `None`.
    pub other_disk: Option<Span>,
    /// The time from one change of members to the next.
    pub change: Span,
    pub think: Span,
    pub patience: Span,
    /// How often a change has a name, under which it may be asked for again.
    pub named: f64,
    /// How often each kind of command is chosen.
    pub weights: [u32; 9],
    pub snapshot_entries: u64,
    pub keep_entries: u64,
    /// How the network is cut at the end.
    pub shape: Option<Shape>,
}

impl Parameters {
    pub fn draw(random: &mut SmallRng, bug: Option<Bug>) -> Parameters {
        let scenario = Scenario::draw(random, bug);
        let mut weights = [0; 9];
        weights.iter_mut().for_each(|weight| *weight = random.random_range(0..4));
        weights[0] += random.random_range(1..8);
        weights[1] += 1;
        let mut drawn = Parameters {
            founders: *pick(random, &[1, 2, 3, 3, 3, 3, 4, 5]),
            clients: random.random_range(2..=6),
            keys: random.random_range(1..=3),
            duration: Duration::from_millis(random.random_range(2_000..6_000)),
            network: NetworkParameters {
                loss: *pick(random, &[0.0, 0.0, 0.01, 0.05, 0.15]),
                late: *pick(random, &[0.0, 0.01, 0.05]),
                told: *pick(random, &[0.0, 0.5, 1.0]),
                delay: Span(1, *pick(random, &[2, 5, 20])),
                slow: *pick(random, &[0.0, 0.01, 0.1]),
                slow_delay: Span(10, 400),
            },
            storage: Span(0, *pick(random, &[1, 3, 10])),
            fault: Span(100, random.random_range(300..2_000)),
            outage: Span(10, random.random_range(100..1_500)),
            crashes: random.random_range(0.2..0.8),
            voters_crash: 0.0,
            other_disk: random.random_bool(0.2).then_some(Span(300, 1_500)),
            change: Span(100, random.random_range(300..1_500)),
            think: Span(1, *pick(random, &[5, 20, 100])),
            patience: Span(50, *pick(random, &[200, 500, 1_000])),
            named: *pick(random, &[0.0, 0.5, 1.0]),
            weights,
            snapshot_entries: random.random_range(10..=80),
            keep_entries: random.random_range(0..=10),
            shape: Shape::draw(random, bug),
        };
        if bug.is_some() {
            // What it shows is not mixed with what other disks do.
            drawn.other_disk = None;
        }
        match scenario {
            Scenario::Any => {}
            Scenario::Blinking => {
                drawn.crashes = 0.95;
                drawn.voters_crash = 0.2;
                drawn.fault = Span(50, 400);
                drawn.outage = Span(1, 10);
                drawn.network.slow = 0.2;
                drawn.network.slow_delay = Span(10, 100);
            }
            Scenario::Parted => {
                drawn.crashes = 0.1;
                drawn.fault = Span(100, 600);
                drawn.outage = Span(200, 800);
                drawn.weights[0] += 6;
            }
            Scenario::Behind => {
                drawn.outage = Span(200, 800);
                drawn.network.late = 0.1;
                drawn.network.slow_delay = Span(20, 400);
                drawn.think = Span(1, 10);
                drawn.snapshot_entries = random.random_range(5..=15);
                drawn.keep_entries = 0;
            }
            Scenario::Restored => {
                drawn.founders = 3;
                drawn.crashes = 0.3;
                drawn.fault = Span(100, 800);
                drawn.outage = Span(200, 800);
                drawn.think = Span(1, 20);
                drawn.other_disk = Some(Span(400, 1_200));
            }
        }
        drawn
    }
}

fn pick<'a, T>(random: &mut SmallRng, choices: &'a [T]) -> &'a T {
    &choices[random.random_range(0..choices.len())]
}
