//! Scripts: a proposer and three acceptors, driven by hand, one message at a
//! time. Each shows one promise of the proposer.

mod actor;
mod collecting;
mod founding;
mod membership;

use std::time::Duration;

use gryadka::caspaxos::{Ballot, Event, Failure, Reply};
use gryadka::kv::Command;

use actor::{Acceptors, Actor, kind};

#[test]
fn the_second_change_of_a_key_takes_one_round_trip() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    p1.submit(2, Command::Add(1));
    p1.run(&mut acceptors);
    assert_eq!(p1.rounds, ["prepare", "accept", "accept"]);
    assert_eq!((p1.value(1), p1.value(2)), (Some("5"), Some("6")));
}

#[test]
fn a_change_by_another_takes_the_kept_value_away() {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Add(1));
    p1.run(&mut acceptors);
    p2.submit(2, Command::Add(1));
    p2.run(&mut acceptors);
    while p2.answers.is_empty() {
        p2.fire();
        p2.run(&mut acceptors);
    }
    p1.submit(3, Command::Add(1));
    p1.run(&mut acceptors);
    while p1.answers.len() < 2 {
        p1.fire();
        p1.run(&mut acceptors);
    }
    assert_eq!(p1.rounds, ["prepare", "accept", "accept", "prepare", "accept"]);
    assert_eq!((p2.value(2), p1.value(3)), (Some("2"), Some("3")));
}

#[test]
fn who_hears_of_a_change_by_another_takes_two_round_trips() {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Add(1));
    p1.run(&mut acceptors);
    p2.submit(2, Command::Add(1));
    while p2.answers.is_empty() {
        while let Some((from, token, call)) = p2.sent.pop_front() {
            if let Some((key, by)) = call.request.claims() {
                p1.take(Event::Overtaken { key: key.clone(), by });
            }
            let reply = Some(acceptors.serve(&from, call));
            p2.take(Event::Replied { token, from, reply });
        }
        p2.fire();
    }
    p1.submit(3, Command::Add(1));
    p1.run(&mut acceptors);
    assert_eq!(p1.rounds, ["prepare", "accept", "prepare", "accept"]);
    assert_eq!((p2.value(2), p1.value(3)), (Some("2"), Some("3")));
    // What is older than what it keeps it keeps.
    let by = Ballot { counter: 1, ..Ballot::ZERO };
    p1.take(Event::Overtaken { key: "k".try_into().unwrap(), by });
    p1.submit(4, Command::Add(1));
    p1.run(&mut acceptors);
    assert_eq!((p1.rounds.len(), p1.value(4)), (5, Some("4")));
}

#[test]
fn a_round_has_time_for_the_value_that_waits_for_it() {
    let time_of_the_first_round = |value: String| {
        let mut p1 = Actor::new("p1", 1);
        p1.submit(1, Command::Set(value.into()));
        while p1.rounds.len() < 2 {
            p1.fire();
        }
        p1.now
    };
    let small = time_of_the_first_round("5".into());
    let large = time_of_the_first_round("5".repeat(1 << 20));
    // A microsecond for each byte, as an accept has.
    assert_eq!(large - small, Duration::from_micros((1 << 20) - 1));
}

#[test]
fn a_read_takes_one_round_trip_and_writes_nothing() {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    let before = acceptors.0.clone();
    p2.submit(2, Command::Get);
    p2.run(&mut acceptors);
    assert_eq!((p2.rounds.as_slice(), p2.value(2)), (["read"].as_slice(), Some("5")));
    assert_eq!(acceptors.0, before);
}

#[test]
fn commands_that_wait_share_a_round() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    for id in 1..=9 {
        p1.submit(id, Command::Add(1));
    }
    p1.run(&mut acceptors);
    assert_eq!(p1.rounds, ["prepare", "accept"]);
    assert_eq!((p1.value(1), p1.value(9)), (Some("1"), Some("9")));
}

/// p1 prepares and sends its accept; it reaches `reached` alone, and the
/// reply is lost. p2 then adds one, and hears only of `heard` and a3.
fn after_a_lost_round(reached: &str, heard: &str) -> (Actor, Acceptors) {
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    let mut acceptors = Acceptors::default();
    p1.submit(1, Command::Add(10));
    while p1.rounds.last() == Some(&"prepare") {
        let (from, token, request) = p1.sent.pop_front().expect("not yet accepting");
        let reply = Some(acceptors.serve(&from, request));
        p1.take(Event::Replied { token, from, reply });
    }
    for (to, _, request) in p1.sent.drain(..) {
        if to.0.as_ref() == reached && kind(&request.request) == "accept" {
            assert_eq!(acceptors.serve(&to, request), Reply::Accepted);
        }
    }
    p2.submit(2, Command::Add(1));
    while p2.answers.is_empty() {
        while let Some((from, token, request)) = p2.sent.pop_front() {
            if ["a3", heard].contains(&from.0.as_ref()) {
                let reply = Some(acceptors.serve(&from, request));
                p2.take(Event::Replied { token, from, reply });
            }
        }
        if p2.answers.is_empty() {
            p2.fire();
        }
    }
    // p1 gives its round up and looks again.
    while p1.answers.is_empty() {
        p1.fire();
        p1.run(&mut acceptors);
    }
    (p1, acceptors)
}

#[test]
fn an_attempt_that_another_built_on_is_settled_as_included() {
    let (mut p1, mut acceptors) = after_a_lost_round("a1", "a1");
    assert_eq!(p1.value(1), Some("10"), "its outcome is that of the first attempt");
    p1.submit(3, Command::Get);
    p1.run(&mut acceptors);
    assert_eq!(p1.value(3), Some("11"), "applied once");
}

#[test]
fn an_attempt_that_another_passed_by_is_settled_as_excluded() {
    let (mut p1, mut acceptors) = after_a_lost_round("a1", "a2");
    assert_eq!(p1.value(1), Some("11"), "applied to what the other left");
    p1.submit(3, Command::Get);
    p1.run(&mut acceptors);
    assert_eq!(p1.value(3), Some("11"), "applied once");
}

#[test]
fn a_round_that_never_reached_an_acceptor_is_not_taken_for_done() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    p1.submit(1, Command::Set("5".into()));
    p1.run_only("a1", &mut acceptors);
    assert!(p1.answers.is_empty(), "one promise of three is no quorum");
    p1.now = Duration::from_secs(1001);
    p1.fire();
    assert_eq!(p1.answers, [(1, Err(Failure::Failed))], "no accept was sent");
}

#[test]
fn an_accept_without_a_quorum_is_unknown_at_the_deadline() {
    let (mut p1, mut acceptors) = (Actor::new("p1", 1), Acceptors::default());
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    p1.submit(2, Command::Set("6".into()));
    p1.run_only("a2", &mut acceptors);
    p1.now = Duration::from_secs(1001);
    p1.fire();
    assert_eq!(p1.answers[1..], [(2, Err(Failure::Unknown))]);
}
