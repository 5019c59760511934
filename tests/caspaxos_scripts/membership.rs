//! Steps of the configuration.

use std::time::Duration;

use gryadka::caspaxos::{
    Age, Call, Configuration, Effect, Epoch, Event, Fence, Proposer, ReconfigurationError, Reply,
    Request, Settings, UnsafeConfiguration,
};
use gryadka::kv::{Command, Key};

use super::actor::{Acceptors, Actor, quorum};

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
    assert_eq!(p2.rounds, ["accept", "prepare", "accept"]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
    let read = Request::Read { key: Key::try_from("k").unwrap() };
    let call = Call { epoch: Epoch(2), age: Age(0), request: read };
    let reply = acceptors.serve(&"a4".into(), call);
    assert!(matches!(reply, Reply::WasRead { record, .. } if record.text() == Some("6")));
}

#[test]
fn a_proposer_that_hears_of_an_epoch_alone_asks_for_its_configuration() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    p2.take(Event::Told(Fence { epoch: Epoch(2), ..Fence::default() }));
    p2.run(&mut acceptors);
    assert_eq!(p2.rounds, ["status"]);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
}

/// Acceptors may have met an epoch before they are told its configuration.
#[test]
fn a_command_that_meets_an_epoch_alone_waits_for_its_configuration() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    p1.step(1, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    p2.submit(1, Command::Add(1));
    for (from, token, _) in std::mem::take(&mut p2.sent) {
        let fence = Fence { epoch: Epoch(2), ..Fence::default() };
        p2.take(Event::Replied { token, from, reply: Some(Reply::Fenced(fence)) });
    }
    assert!(p2.answers.is_empty(), "{:?}", p2.answers);
    p2.run(&mut acceptors);
    assert_eq!(p2.proposer.configuration(), p1.proposer.configuration());
    p2.fire();
    p2.run(&mut acceptors);
    assert_eq!(p2.value(1), Some("1"));
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
    // It ends before any acceptor hears of the new fence; that of now they heard.
    while p1.rounds.iter().filter(|round| **round == "raise").count() < 2 {
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
    let key = Key::try_from("k").unwrap();
    let mut stranger = Proposer::new(
        "x".parse().unwrap(),
        Configuration::uniform(Epoch(1), &["a4".into()], 1, 1),
        Settings::default(),
        9,
    );
    let (id, command, deadline) = (1, Command::Set("x".into()), Duration::from_secs(99));
    let mut effects = Vec::new();
    stranger.handle(
        p1.now,
        Event::Submitted { id, key, submission: command.into(), deadline },
        &mut effects,
    );
    for effect in effects {
        if let Effect::Send { to, call, .. } = effect {
            acceptors.serve(&to, call);
        }
    }
    p1.step(2, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    assert_eq!(p1.steps[1], (2, Err(ReconfigurationError::NotEmpty("a4".into()))));
    assert_eq!(p1.proposer.configuration().epoch, Epoch(1));
}

/// Those that stay note it before anything is decided: by that they are told
/// from one that lost its memory.
#[test]
fn the_first_step_needs_all_acceptors_that_stay() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    let (three, four) = (quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3));
    p1.step(1, three.clone(), four.clone(), false);
    p1.sent.retain(|(to, ..)| *to != "a3".into());
    p1.run(&mut acceptors);
    p1.now += Duration::from_secs(10);
    p1.fire();
    assert_eq!(p1.steps, [(1, Err(ReconfigurationError::Unreachable("a3".into())))]);
    // One that goes need not answer, nor anybody in later steps.
    p1.sent.clear();
    for (id, prepare, accept) in [(2, "a1 a2", "a1 a2"), (3, "a1 a2", "a1 a2 a4")] {
        let quorum = |names: &str| quorum(names, 2);
        p1.step(id, quorum(prepare), quorum(accept), true);
        p1.sent.retain(|(to, ..)| *to != "a3".into());
        p1.run(&mut acceptors);
        assert_eq!(p1.steps.last(), Some(&(id, Ok(Epoch(id)))));
    }
}
