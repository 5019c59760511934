//! The stores answer alike: long random runs, compared with the memory store.

use gryadka::caspaxos::{Ballot, Call, Reply, Request, Value};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::redis_server::RedisServer;
use crate::subject::*;

const BATCHES: usize = 1500;

#[test]
fn embedded_answers_as_memory_does() {
    compare(&mut EmbeddedSubject::new(), 1);
}

#[test]
fn redis_answers_as_memory_does() {
    compare(&mut RedisSubject::new(RedisServer::start(&[])), 2);
}

fn compare(subject: &mut dyn Subject, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut memory = MemorySubject::default();
    let mut kinds = [0; 6];
    for round in 0..BATCHES {
        let calls: Vec<Call> =
            (0..random.random_range(1..=8)).map(|_| random_call(&mut random, round)).collect();
        let expected = memory.serve(&calls);
        expected.iter().for_each(|reply| kinds[kind(reply)] += 1);
        assert_eq!(subject.serve(&calls), expected, "seed {seed}, batch {round}: {calls:?}");
        if round % 500 == 499 {
            subject.crash();
        }
    }
    // A run that is refused throughout would compare nothing.
    assert!(kinds.iter().all(|&count| count > 100), "{kinds:?}");
}

fn kind(reply: &Reply) -> usize {
    match reply {
        Reply::Prepared { .. } => 0,
        Reply::Accepted => 1,
        Reply::Conflict { .. } => 2,
        Reply::WasRead { .. } => 3,
        Reply::Listed(_) => 4,
        Reply::Fenced { .. } => 5,
    }
}

/// A call whose ballot is near those that the registers have met by `round`.
fn random_call(random: &mut SmallRng, round: usize) -> Call {
    let keys = ["d", "d/", "d/a", "d/b", "d/ü", "dx", "e"];
    let key = keys[random.random_range(0..keys.len())];
    let ballot = random_ballot(random, round);
    let mut call = match random.random_range(0..10) {
        0..=3 => prepare(key, ballot),
        4..=7 => {
            let next = if random.random() { ballot } else { random_ballot(random, round) };
            accept(key, ballot, random_value(random, ballot), next)
        }
        8 => read(key),
        _ => {
            let after = random.random::<bool>().then(|| keys[random.random_range(0..keys.len())]);
            let prefix = ["", "d", "d/", "x"][random.random_range(0..4)];
            // One entry or all: in between, stores may count differently.
            list(prefix, after, if random.random() { 1 } else { u32::MAX })
        }
    };
    let is_late = random.random_ratio(1, 10);
    call.epoch.0 = (round / 100 + 1 - usize::from(is_late)) as u64;
    if let Request::Accept { value, .. } = &mut call.request
        && random.random_ratio(1, 20)
    {
        *value = tombstone(ballot);
    }
    call
}

fn random_ballot(random: &mut SmallRng, round: usize) -> Ballot {
    let proposers = ["p1", "P2", "p10", "p_1", "p.1"];
    let counter = random.random_range(round / 4..round / 4 + 8) as u64;
    ballot_of(counter + 1, proposers[random.random_range(0..proposers.len())])
}

fn random_value(random: &mut SmallRng, ballot: Ballot) -> Value {
    let length = random.random_range(0..3);
    value((0..length).map(|_| random.random_range(b'a'..b'c')).collect::<Vec<u8>>(), ballot)
}
