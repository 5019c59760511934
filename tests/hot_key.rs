//! One key under an open load, before, in and after an outage: a cluster of
//! each protocol, and a proposer by itself, whose time is virtual.

#[macro_use]
mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gryadka::caspaxos::{AcceptorId, Configuration, Effect, Epoch, Event, Proposer, Settings};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key};
use gryadka::store::{AcceptorStore, MemoryStore};
use support::{Cluster, Protocol, put};

on_both_protocols! {
    a_hot_key_of_a_cluster_recovers_from_an_outage
}

/// 100 writes a second through one node, whose peers stop for 4 s.
fn a_hot_key_of_a_cluster_recovers_from_an_outage(protocol: Protocol) {
    let (stop, resume, recovered, end) = (200, 600, 900, 1200);
    let mut cluster = Cluster::start(protocol, 3);
    let started = Instant::now();
    let mut writes = Vec::new();
    for number in 0..end {
        // An open load: nothing that it waits for, only its own pace.
        let at = Duration::from_millis(10) * number;
        std::thread::sleep(at.saturating_sub(started.elapsed()));
        if number == stop || number == resume {
            let signal = if number == stop { "STOP" } else { "CONT" };
            (1..3).for_each(|peer| cluster.node(peer).signal(signal));
        }
        let (url, value) = (format!("{}/hot", cluster.url(0)), number.to_string());
        writes.push(std::thread::spawn(move || put(&url, value.as_bytes()).status));
    }
    let statuses = writes.into_iter().map(|write| write.join().expect("an answer"));
    let statuses: Vec<u16> = statuses.collect();
    let seconds: Vec<usize> = statuses
        .chunks(100)
        .map(|second| second.iter().filter(|status| **status == 204).count())
        .collect();
    println!("done of the 100 of each second: {seconds:?}");
    let is_done = |status: &u16| *status == 204;
    let first = &statuses[..100];
    assert!(first.iter().all(is_done), "it works before: {seconds:?}, {first:?}");
    let outage = &statuses[stop as usize..resume as usize];
    assert!(!outage.iter().all(is_done), "there was an outage: {seconds:?}");
    let answers = [204, 503, 504];
    assert!(outage.iter().all(|status| answers.contains(status)), "{outage:?}");
    assert!(statuses[recovered as usize..].iter().all(is_done), "it works after: {seconds:?}");
}

/// Three acceptors 25 ms away, an open load of 100 commands a second on one
/// key, and an outage of 4 s. Commands that expire while a round has them in
/// hand must not end the round for the others.
#[test]
fn a_hot_key_recovers_from_an_outage() {
    let ms = Duration::from_millis;
    let ids = ["a1", "a2", "a3"].map(AcceptorId::from);
    let config = Configuration::uniform(Epoch(1), &ids, 2, 2);
    let (id, cluster) = ("p1".parse().unwrap(), ClusterId::new(7).unwrap());
    let settings = Settings::default();
    let mut proposer = Proposer::new(id, Some(cluster), config.clone(), settings, 7);
    let key = Key::try_from("hot").unwrap();
    let mut stores = [(); 3].map(|()| MemoryStore::of_founder(Nonce(1), cluster, config.clone()));
    // (when, event or a request at an acceptor)
    let mut queue: VecDeque<(Duration, Event)> = VecDeque::new();
    let mut done = vec![0; 30];
    let mut failed = vec![0; 30];
    for i in 0..3000u64 {
        let at = ms(10 * i);
        let deadline = at + ms(3000);
        let command = Command::Add(1);
        queue.push_back((
            at,
            Event::Submitted { id: i, key: key.clone(), submission: command.into(), deadline },
        ));
    }
    while let Some((now, event)) = queue.pop_front() {
        let mut effects = Vec::new();
        proposer.handle(now, event, &mut effects);
        for effect in effects {
            let (at, event) = match effect {
                Effect::SetTimer { token, after } => (now + after, Event::TimerFired { token }),
                Effect::Answer { result, .. } => {
                    let second = (now.as_millis() / 1000).min(29) as usize;
                    if result.is_ok() {
                        done[second] += 1
                    } else {
                        failed[second] += 1
                    }
                    continue;
                }
                Effect::Identified(_)
                | Effect::Unidentified(_)
                | Effect::FoundOldCopy(_)
                | Effect::Seeks(_)
                | Effect::Configured(_)
                | Effect::Reconfigured { .. }
                | Effect::Collected { .. } => {
                    continue;
                }
                Effect::Send { to, token, call, .. } => {
                    if (ms(5000)..ms(9000)).contains(&now) {
                        continue; // nobody is there
                    }
                    let store = &mut stores[ids.iter().position(|id| *id == to).unwrap()];
                    let reply = store.serve(&[call]).unwrap().pop();
                    (now + ms(25), Event::Replied { token, from: to, reply })
                }
            };
            let place = queue.partition_point(|(other, _)| *other <= at);
            queue.insert(place, (at, event));
        }
    }
    println!("done a second   {done:?}\nfailed a second {failed:?}");
    assert!(done[4] >= 90, "it works before");
    assert!(done[15..25].iter().all(|done| *done >= 90), "it works after: {done:?}");
}
