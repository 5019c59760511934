//! The stores answer alike: long random runs, compared with the memory store.

use gryadka::caspaxos::{
    Age, Ballot, Batch, Call, Configuration, Enrolment, EnrolmentClaim, Epoch, Fence, Floor,
    ListKind, Reply, Request, Value,
};
use gryadka::generation::{Claim, Generation};
use gryadka::identity::ClusterId;
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
    let mut memory = MemorySubject::new();
    let mut kinds = [0; 17];
    for round in 0..BATCHES {
        let count = random.random_range(1..=8);
        let mut calls: Vec<Call> = (0..count).map(|_| random_call(&mut random, round)).collect();
        // The dead of a batch itself need not be listed.
        calls.sort_by_key(|call| !is_list_of_the_dead(call));
        let expected = without_generations(memory.serve(&calls));
        expected.iter().for_each(|reply| kinds[kind(reply)] += 1);
        let replies = without_generations(subject.serve(&calls));
        assert_eq!(replies, expected, "seed {seed}, batch {round}: {calls:?}");
        if round % 500 == 499 {
            // One that is of no cluster would have to be confirmed later.
            let Reply::Status(status) = memory.ask(status()) else { panic!("no status") };
            let (fence, counter, is_founding) = (Fence::default(), 0, true);
            let enrol = Request::Enrol { fence, counter, is_founding };
            let enrol = in_epoch(status.fence.epoch.0, enrol);
            let enrol = of_age(status.fence.age.0, enrol);
            assert_eq!(subject.ask(enrol.clone()), memory.ask(enrol));
            subject.crash();
        }
    }
    // A run that is refused throughout would compare nothing.
    assert!(kinds.iter().all(|&count| count > 20), "{kinds:?}");
    assert!(kinds[..6].iter().all(|&count| count > 100), "{kinds:?}");
}

/// Of a store that was opened again more have passed.
fn without_generations(mut replies: Vec<Reply>) -> Vec<Reply> {
    for reply in &mut replies {
        if let Reply::Marked(enrolment) | Reply::Confirmed(enrolment) = reply {
            enrolment.generation = Generation::default();
        }
    }
    replies
}

fn is_list_of_the_dead(call: &Call) -> bool {
    matches!(&call.request, Request::List(list) if list.kind == ListKind::Dead)
}

fn kind(reply: &Reply) -> usize {
    match reply {
        Reply::Prepared { .. } => 0,
        Reply::Accepted => 1,
        Reply::Conflict { .. } => 2,
        Reply::WasRead { .. } => 3,
        Reply::Listed(_) => 4,
        Reply::Fenced(_) => 5,
        Reply::Raised { .. } => 6,
        Reply::NotEnrolled => 7,
        Reply::NotEmpty => 8,
        Reply::Removed { .. } => 9,
        Reply::Wiped => 10,
        Reply::OtherCluster { .. } => 11,
        Reply::Behind => 12,
        Reply::TooHigh => 13,
        Reply::Noted(_) => 14,
        Reply::Confirmed(_) => 15,
        Reply::Marked(_) => 16,
        Reply::Unconfirmed(_) => unreachable!("it is confirmed"),
        // How many there are, stores count differently.
        Reply::Status(_) => unreachable!("nobody asks"),
    }
}

/// A call whose ballot is near those that the registers have met by `round`.
fn random_call(random: &mut SmallRng, round: usize) -> Call {
    let keys = ["d", "d/", "d/a", "d/b", "d/ü", "dx", "e"];
    let key = keys[random.random_range(0..keys.len())];
    let ballot = random_ballot(random, round);
    let mut call = match random.random_range(0..16) {
        0..=3 if random.random_ratio(1, 20) => {
            prepare(key, Ballot { counter: u64::MAX - ballot.counter, ..ballot })
        }
        0..=3 => prepare(key, ballot),
        4..=7 => {
            let next = if random.random() { ballot } else { random_ballot(random, round) };
            accept(key, ballot, random_value(random, ballot), next)
        }
        8 => read(key),
        9 => remove(key, ballot, (round / 4) as u64 + random.random_range(0..12)),
        10 => {
            let after = random.random::<bool>().then(|| keys[random.random_range(0..keys.len())]);
            list_dead(["", "d"][random.random_range(0..2)], after, u32::MAX)
        }
        11 if random.random_ratio(1, 4) => in_epoch(0, Request::Wipe),
        14 | 15 => {
            let enrolment = random_enrolment(random, round);
            let of = ["a1", "a2"][random.random_range(0..2)].into();
            in_epoch(
                0,
                match random.random_range(0..4) {
                    0 => Request::Confirm { enrolment, tag: 1 },
                    1 => Request::Mark { tag: round as u64 },
                    _ => {
                        let mut tag = || random.random_range(0..3);
                        let tried = vec![tag(), tag()];
                        let Enrolment { epoch, generation } = enrolment;
                        let claim = EnrolmentClaim { epoch, claim: Claim { generation, tried } };
                        Request::Note { of, claim }
                    }
                },
            )
        }
        11 | 12 => {
            let fence = random_fence(random, round);
            match random.random() {
                true => {
                    let (counter, is_founding) = (round as u64, random.random_ratio(1, 4));
                    in_epoch(0, Request::Enrol { fence, counter, is_founding })
                }
                false => in_epoch(0, Request::Raise { fence }),
            }
        }
        _ => {
            let after = random.random::<bool>().then(|| keys[random.random_range(0..keys.len())]);
            let prefix = ["", "d", "d/", "x"][random.random_range(0..4)];
            // All of them: stores differ in how they count bare promises.
            list(prefix, after, u32::MAX)
        }
    };
    let is_late = random.random_ratio(1, 10);
    call.epoch.0 = (round / 100 + 1 - usize::from(is_late)) as u64;
    // One of another cluster that is enrolled there would never come back.
    if random.random_ratio(1, 20) && !matches!(call.request, Request::Enrol { .. }) {
        call.cluster = ClusterId::new(random.random_range(0..2));
    }
    let is_late = random.random_ratio(1, 10);
    call.age.0 = (round / 50 + 1 - usize::from(is_late)) as u64;
    if let Request::Accept { value, .. } = &mut call.request
        && random.random_ratio(1, 4)
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

fn random_enrolment(random: &mut SmallRng, round: usize) -> Enrolment {
    let mut near = |round: usize| (round + random.random_range(0..3)) as u64;
    let (epoch, tag) = (Epoch(near(round / 100)), near(0));
    let count = if near(0) == 0 && near(0) == 0 { u64::MAX - near(0) } else { near(round / 8) };
    Enrolment { epoch, generation: Generation { count, tag } }
}

fn random_fence(random: &mut SmallRng, round: usize) -> Fence {
    let mut near = |round: usize| (round + random.random_range(0..2)) as u64;
    let epoch = Epoch(near(round / 100));
    let told = near(0) > 0 || near(0) > 0;
    // Of one that no quorum could be had of nothing is taken over.
    let size = 1 + usize::from(near(0) + near(0) + near(0) + near(0) > 3);
    let configuration = Configuration::uniform(epoch, &["a1".into()], size, size);
    Fence {
        epoch,
        configuration: told.then_some(configuration),
        age: Age(near(round / 50)),
        floor: Floor { counter: near(round), index: near(round) },
        collected: Batch(vec![near(round), near(round)]),
    }
}
