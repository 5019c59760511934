//! Deleted registers and their removal.

use std::time::Duration;

use gryadka::caspaxos::{AcceptorId, Age, Collected, Event, Reply, Request};
use gryadka::kv::{Command, Key};

use super::actor::{Acceptors, Actor, in_epoch, quorum};

/// Deletes the key through `actor` and collects it.
fn delete_and_collect(actor: &mut Actor, acceptors: &mut Acceptors) {
    actor.submit(100, Command::Delete);
    actor.run(acceptors);
    while !actor.answers.iter().any(|(id, _)| *id == 100) {
        actor.fire();
        actor.run(acceptors);
    }
    let keys = vec![Key::try_from("k").unwrap()];
    let deadline = actor.now + Duration::from_secs(10);
    actor.take(Event::Collect { id: 101, keys, deadline });
    actor.run(acceptors);
}

#[test]
fn a_deleted_register_is_removed_everywhere_and_its_indices_go_on() {
    let mut acceptors = Acceptors::default();
    let (mut p1, mut p2) = (Actor::new("p1", 1), Actor::new("p2", 2));
    for id in 1..=9 {
        p2.submit(id, Command::Add(1));
        p2.run(&mut acceptors);
    }
    delete_and_collect(&mut p1, &mut acceptors);
    assert_eq!(p1.batches, [(101, Collected { removed: 1, left: 0 })]);
    for id in ["a1", "a2", "a3"].map(AcceptorId::from) {
        let call = in_epoch(1, Request::Status);
        let Reply::Status(status) = acceptors.serve(&id, call) else { panic!("no status") };
        assert_eq!((status.registers, status.dead, status.fence.age), (0, 0, Age(1)));
    }
    // The other proposer kept 9 and its ballot; it learns better.
    p2.submit(10, Command::Get);
    p2.run(&mut acceptors);
    p2.submit(11, Command::Add(1));
    p2.run(&mut acceptors);
    let (_, Ok(outcome)) = p2.answers.last().unwrap() else { panic!("no outcome") };
    assert_eq!(outcome.after.text(), Some("1"));
    assert_eq!(outcome.after.modified_index, 11, "9 additions, a deletion, and this");
}

#[test]
fn the_indices_of_a_collected_key_go_on_after_a_batch_that_was_cut_short() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    delete_and_collect(&mut p1, &mut acceptors);
    // The next batch finds nothing but leaves its tombstones behind.
    let keys = vec![Key::try_from("k").unwrap()];
    let deadline = p1.now + Duration::from_secs(10);
    p1.take(Event::Collect { id: 200, keys, deadline });
    while p1.rounds.last() != Some(&"raise") {
        let (from, token, call) = p1.sent.pop_front().expect("it goes on");
        let reply = Some(acceptors.serve(&from, call));
        p1.take(Event::Replied { token, from, reply });
    }
    let mut p2 = Actor::new("p2", 2);
    p2.submit(300, Command::Set("6".into()));
    while p2.answers.is_empty() {
        p2.run(&mut acceptors);
        if p2.answers.is_empty() {
            p2.fire();
        }
    }
    let (_, Ok(outcome)) = &p2.answers[0] else { panic!("no outcome") };
    assert_eq!(outcome.after.modified_index, 3, "set, deleted, set");
}

#[test]
fn nothing_is_collected_while_an_acceptor_is_down_or_a_step_is_under_way() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    p1.submit(1, Command::Set("5".into()));
    p1.run(&mut acceptors);
    p1.submit(2, Command::Delete);
    p1.run(&mut acceptors);
    let keys = vec![Key::try_from("k").unwrap()];
    let deadline = p1.now + Duration::from_secs(1);
    p1.take(Event::Collect { id: 3, keys: keys.clone(), deadline });
    p1.sent.retain(|(to, ..)| *to != "a3".into());
    p1.run(&mut acceptors);
    p1.fire();
    assert_eq!(p1.batches, [(3, Collected { removed: 0, left: 1 })]);
    p1.step(4, quorum("a1 a2 a3", 2), quorum("a1 a2 a3 a4", 3), false);
    p1.run(&mut acceptors);
    p1.take(Event::Collect { id: 5, keys: keys.clone(), deadline });
    assert_eq!(p1.batches[1], (5, Collected { removed: 0, left: 1 }));
    // Once all of it is over, it is.
    p1.step(6, quorum("a1 a2 a3 a4", 3), quorum("a1 a2 a3 a4", 3), true);
    p1.run(&mut acceptors);
    let deadline = p1.now + Duration::from_secs(1);
    p1.take(Event::Collect { id: 7, keys, deadline });
    p1.run(&mut acceptors);
    assert_eq!(p1.batches[2], (7, Collected { removed: 1, left: 0 }));
}
