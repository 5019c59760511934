//! Steps of the configuration.

use std::time::Duration;

use gryadka::caspaxos::{
    Ballot, Epoch, Event, ReconfigurationError, Reply, Request, UnsafeConfiguration,
};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key};
use gryadka::store::{AcceptorStore, MemoryStore};

use super::actor::{Acceptors, Actor, OURS, founding, in_epoch, quorum};

#[test]
fn a_step_reaches_other_proposers_through_the_fence() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p2.submit(1, Command::Set("5".into()));
    p2.run(&mut acceptors);
    p1.step(2, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    assert_eq!(p1.steps, [(2, Ok(Epoch(2)))]);
    // Its kept value is of no more use, and it asks the fourth acceptor too.
    p2.rounds.clear();
    p2.submit(3, Command::Add(1));
    p2.run(&mut acceptors);
    assert_eq!(p2.value(3), Some("6"));
    assert_eq!(p2.rounds[..3], ["accept", "prepare", "accept"]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
    let read = Request::Read { key: Key::try_from("k").unwrap() };
    // It holds the value once it was confirmed.
    p2.submit(4, Command::Add(1));
    p2.run(&mut acceptors);
    let reply = acceptors.serve(&"a4".into(), in_epoch(2, read));
    assert!(matches!(reply, Reply::WasRead { record, .. } if record.text() == Some("7")));
}

/// An acceptor that missed a step is told of it by whoever finds out.
#[test]
fn an_acceptor_that_missed_a_step_is_told_its_configuration() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.sent.retain(|(to, ..)| *to != "a3".into());
    while let Some((from, token, call)) = p1.sent.pop_front() {
        if from != "a3".into() {
            let reply = Some(acceptors.serve(&from, call));
            p1.take(Event::Replied { token, from, reply });
        }
    }
    assert_eq!(p1.steps, [(1, Ok(Epoch(2)))]);
    let prepare = Request::Prepare {
        key: Key::try_from("k").unwrap(),
        ballot: Ballot { counter: 9, ..Ballot::ZERO },
    };
    assert_eq!(acceptors.serve(&"a3".into(), in_epoch(2, prepare.clone())), Reply::Behind);
    p1.submit(2, Command::Add(1));
    p1.run(&mut acceptors);
    p1.fire();
    p1.run(&mut acceptors);
    assert_eq!(p1.value(2), Some("1"));
    let reply = acceptors.serve(&"a3".into(), in_epoch(2, prepare));
    assert!(matches!(reply, Reply::Prepared { .. } | Reply::Conflict { .. }), "{reply:?}");
}

#[test]
fn two_operators_do_not_decide_two_steps() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p2.step(2, quorum("a1 a2", 2), quorum("a1 a2 a3", 2), false);
    p1.run(&mut acceptors);
    p2.run(&mut acceptors);
    assert_eq!(p1.steps, [(1, Ok(Epoch(2)))]);
    let (expected, found) = (Epoch(1), Epoch(2));
    let mismatch = UnsafeConfiguration::Mismatch { expected, found };
    assert_eq!(p2.steps, [(2, Err(mismatch.into()))]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
}

#[test]
fn a_step_that_was_decided_and_left_is_finished_by_the_next() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    // It ends before any acceptor hears of the new fence.
    while !p1.rounds.contains(&"raise") {
        let (from, token, call) = p1.sent.pop_front().expect("it goes on");
        let reply = Some(acceptors.serve(&from, call));
        p1.take(Event::Replied { token, from, reply });
    }
    drop(p1);
    p2.submit(2, Command::Set("5".into()));
    p2.run(&mut acceptors);
    assert_eq!((p2.value(2), p2.proposer.configuration().epoch), (Some("5"), Epoch(1)));
    p2.step(3, quorum("a1 a2", 2), quorum("a1 a2 a3", 2), false);
    p2.run(&mut acceptors);
    assert_eq!(p2.proposer.configuration().accept, quorum("a1 a2 a3 a4", 3));
    assert!(matches!(p2.steps[..], [(3, Err(ReconfigurationError::Unsafe(_)))]), "{:?}", p2.steps);
}

#[test]
fn acceptors_that_are_silent_or_hold_data_are_not_added() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.sent.clear();
    p1.now += Duration::from_secs(10);
    p1.fire();
    assert_eq!(p1.steps, [(1, Err(ReconfigurationError::Unreachable("a4".into())))]);
    // One that was shrunk out and not wiped.
    let mut full = MemoryStore::of_founder(Nonce(4), OURS.unwrap(), founding());
    let (key, ballot) = (Key::try_from("k").unwrap(), Ballot { counter: 1, ..Ballot::ZERO });
    full.serve(&[in_epoch(1, Request::Prepare { key, ballot })]).unwrap();
    acceptors.0.insert("a4".into(), full);
    p1.step(2, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    assert_eq!(p1.steps[1], (2, Err(ReconfigurationError::NotEmpty("a4".into()))));
    // One of another cluster.
    let (held, ours) = (ClusterId::new(8).unwrap(), OURS.unwrap());
    acceptors.0.insert("a4".into(), MemoryStore::of_founder(Nonce(4), held, founding()));
    p1.step(3, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    let error = ReconfigurationError::OtherCluster { id: "a4".into(), held, ours };
    assert_eq!(p1.steps[2], (3, Err(error)));
    assert_eq!(p1.proposer.configuration().epoch, Epoch(1));
}

#[test]
fn no_step_leads_to_a_configuration_without_a_quorum() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    // A founder that was not enrolled yet answers, and counts for nothing.
    acceptors.0.insert("a3".into(), MemoryStore::with_nonce(Nonce(3)));
    p1.step(1, quorum("a2 a3", 2), quorum("a2 a3", 2), false);
    p1.run(&mut acceptors);
    assert_eq!((p1.rounds.contains(&"accept"), p1.steps.len()), (false, 0), "nothing is decided");
    p1.now += Duration::from_secs(10);
    p1.fire();
    assert_eq!(p1.steps, [(1, Err(ReconfigurationError::NoQuorum(vec!["a3".into()])))]);
    // Without it there is a quorum.
    p1.step(2, quorum("a1 a2", 2), quorum("a1 a2", 2), false);
    p1.run(&mut acceptors);
    assert_eq!(p1.steps[1], (2, Ok(Epoch(2))));
}
