//! Proposers that do not know their cluster, and acceptors that may be of none.

use std::time::Duration;

use gryadka::caspaxos::{AcceptorId, Event, Failure, Unidentified};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::Command;
use gryadka::store::MemoryStore;

use super::actor::{Acceptors, Actor, OURS, founding, nonce_of, quorum};

/// Acceptors that are empty.
fn empty(names: &[&str]) -> Acceptors {
    let ids = names.iter().map(|name| AcceptorId::from(*name));
    Acceptors(ids.map(|id| (id.clone(), MemoryStore::with_nonce(nonce_of(&id)))).collect())
}

/// An acceptor of a cluster.
fn of(cluster: u64) -> MemoryStore {
    MemoryStore::of_founder(Nonce(2), ClusterId::new(cluster).unwrap(), founding())
}

#[test]
fn two_proposers_found_one_cluster_and_commands_wait_for_it() {
    let mut acceptors = empty(&["a1", "a2", "a3"]);
    let (mut p1, mut p2) = (Actor::of(None, "p1", 1), Actor::of(None, "p2", 2));
    p1.submit(1, Command::Add(1));
    p2.take(Event::Started);
    assert_eq!(p1.rounds, ["status"], "nothing else is asked before");
    // Both find all acceptors empty, one after the other enrols them.
    for actor in [&mut p1, &mut p2] {
        for (from, token, call) in std::mem::take(&mut actor.sent) {
            let reply = Some(acceptors.serve(&from, call));
            actor.take(Event::Replied { token, from, reply });
        }
    }
    for _ in 0..10 {
        p1.run(&mut acceptors);
        p1.fire_all();
    }
    assert_eq!(p1.value(1), Some("1"));
    p2.submit(2, Command::Add(1));
    p2.run(&mut acceptors);
    p2.fire();
    p2.run(&mut acceptors);
    assert_eq!(p2.value(2), Some("2"));
    assert_eq!(p1.proposer.cluster(), p2.proposer.cluster());
}

#[test]
fn a_cluster_is_not_founded_while_an_acceptor_is_silent() {
    let mut acceptors = empty(&["a1", "a2", "a3"]);
    let mut p1 = Actor::of(None, "p1", 1);
    p1.submit(1, Command::Add(1));
    while p1.answers.is_empty() {
        p1.sent.retain(|(to, ..)| *to != "a3".into());
        p1.run(&mut acceptors);
        p1.fire();
        // The search and the command have timers of their own.
        p1.now += Duration::from_secs(100);
        p1.take(Event::Started);
    }
    assert_eq!(p1.answers, [(1, Err(Failure::Failed))]);
    assert_eq!(p1.proposer.cluster(), None);
    let untouched = empty(&["a1", "a2", "a3"]);
    assert_eq!(acceptors.0, untouched.0, "nobody was enrolled");
}

/// Two empty ones beside one that is not: of an earlier cluster, or the only
/// one that kept its data.
#[test]
fn empty_acceptors_found_no_second_cluster_beside_one_that_is_not() {
    let mut acceptors = empty(&["a1", "a3"]);
    acceptors.0.insert("a2".into(), of(8));
    let before = acceptors.0.clone();
    let mut p1 = Actor::of(None, "p1", 1);
    p1.take(Event::Started);
    let search = p1.timer.clone().expect("it asks again");
    p1.run(&mut acceptors);
    p1.take(Event::TimerFired { token: search.0 });
    assert!(matches!(&p1.unidentified[..], [Unidentified::Lost { empty, .. }] if empty.len() == 2));
    assert_eq!(acceptors.0, before);
}

#[test]
fn an_acceptor_of_an_earlier_cluster_counts_for_no_quorum() {
    let mut acceptors = Acceptors::default();
    acceptors.0.insert("a2".into(), of(8));
    let before = acceptors.0[&"a2".into()].clone();
    // Neither for one that knows its cluster nor for one that asks for it.
    for (cluster, name) in [(OURS, "p1"), (None, "p2")] {
        let mut actor = Actor::of(cluster, name, 1);
        actor.submit(1, Command::Add(1));
        actor.run_only("a2", &mut acceptors);
        assert!(actor.answers.is_empty());
        assert_eq!(acceptors.0[&"a2".into()], before, "it changes nothing");
    }
    let mut p3 = Actor::of(OURS, "p3", 3);
    p3.submit(2, Command::Add(1));
    p3.run(&mut acceptors);
    assert_eq!(p3.value(2), Some("1"), "the others are a quorum");
}

#[test]
fn a_proposer_that_comes_late_follows_the_configuration_before_it_serves() {
    let mut acceptors = Acceptors::default();
    let mut p1 = Actor::new("p1", 1);
    for (id, prepare, accept) in
        [(1, "a1 a2", "a1 a2 a3"), (2, "a1 a2", "a1 a2"), (3, "a1 a2", "a1 a2 a4")]
    {
        p1.step(id, quorum(prepare, 2), quorum(accept, 2), true);
        p1.run(&mut acceptors);
    }
    p1.submit(4, Command::Add(1));
    p1.run(&mut acceptors);
    let mut late = Actor::of(None, "p2", 2);
    late.submit(5, Command::Add(1));
    late.run(&mut acceptors);
    while late.answers.is_empty() {
        late.fire();
        late.run(&mut acceptors);
    }
    assert_eq!(late.value(5), Some("2"));
    assert_eq!(late.proposer.configuration(), p1.proposer.configuration());
    assert!(late.unidentified.is_empty());
}

/// A proposer that was of [`OURS`] before.
fn returning(seed: u64) -> Actor {
    let mut actor = Actor::of(OURS, "p1", seed);
    actor.proposer.confirm_cluster();
    actor.take(Event::Started);
    actor
}

#[test]
fn a_proposer_that_comes_back_serves_once_a_quorum_confirms_its_cluster() {
    let mut acceptors = Acceptors::default();
    let mut p1 = returning(1);
    p1.submit(1, Command::Add(1));
    assert_eq!(p1.rounds, ["status"]);
    p1.sent.retain(|(to, ..)| *to != "a3".into());
    p1.run(&mut acceptors);
    assert_eq!((p1.value(1), p1.proposer.cluster()), (Some("1"), OURS));
}

/// Its list of acceptors, or what it kept, is of another cluster; or its own has
/// lost all data.
#[test]
fn a_proposer_that_comes_back_takes_no_other_cluster_and_founds_none() {
    let mut foreign = empty(&["a1"]);
    foreign.0.extend(["a2", "a3"].map(|name| {
        let (id, cluster) = (AcceptorId::from(name), ClusterId::new(8).unwrap());
        (id.clone(), MemoryStore::of_founder(nonce_of(&id), cluster, founding()))
    }));
    for mut acceptors in [foreign, empty(&["a1", "a2", "a3"])] {
        let before = acceptors.0.clone();
        let mut p1 = returning(1);
        let mut search = p1.timer.clone();
        p1.submit(1, Command::Add(1));
        for asked in 1..=3 {
            p1.run(&mut acceptors);
            let (token, _) = search.expect("it asks again");
            p1.take(Event::TimerFired { token });
            search = p1.timer.clone();
            assert_eq!(p1.unidentified.len(), asked, "it tells why each time");
        }
        let is_told = |why: &Unidentified| match why {
            Unidentified::OtherCluster { held, kept, .. } => {
                held.number() == 8 && Some(*kept) == OURS
            }
            Unidentified::AllLost { cluster, .. } => Some(*cluster) == OURS,
            _ => false,
        };
        assert!(p1.unidentified.iter().all(is_told), "{:?}", p1.unidentified);
        assert_eq!((p1.proposer.cluster(), p1.answers.len()), (None, 0));
        assert_eq!(acceptors.0, before);
    }
}
