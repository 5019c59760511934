//! One key under an open load, before, in and after an outage: a cluster of
//! each protocol, and a proposer by itself, whose time is virtual.

#[macro_use]
mod support;

use std::collections::VecDeque;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gryadka::caspaxos::{AcceptorId, Configuration, Effect, Epoch, Event, Proposer, Settings};
use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::{Command, Key};
use gryadka::store::{AcceptorStore, MemoryStore};
use support::{Cluster, PATIENCE, Protocol, put};

on_both_protocols! {
    a_hot_key_of_a_cluster_recovers_from_an_outage
}

/// About 100 writes a second through one node, whose peers stop for 4 s.
fn a_hot_key_of_a_cluster_recovers_from_an_outage(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let mut load = OpenLoad::of(format!("{}/hot", cluster.url(0)));
    load.run_until("it works before", |load| load.works_since(0));
    (1..3).for_each(|peer| cluster.node(peer).signal("STOP"));
    let (stopped, first) = (Instant::now(), load.begun());
    load.run_until("the outage is over", |_| stopped.elapsed() >= Duration::from_secs(4));
    (1..3).for_each(|peer| cluster.node(peer).signal("CONT"));
    let last = load.begun();
    load.run_until("it works after", |load| load.works_since(last));
    let outage = &load.statuses[first..last];
    assert!(outage.iter().any(|status| *status != 204), "there was an outage: {outage:?}");
    let answers = [204, 503, 504];
    assert!(load.statuses.iter().all(|status| answers.contains(status)), "{:?}", load.statuses);
}

/// Writes of one key that wait for nothing, only for their own pace of 10 ms.
struct OpenLoad {
    url: String,
    /// Of those that were begun first.
    statuses: Vec<u16>,
    /// Those that were begun after them.
    writes: VecDeque<JoinHandle<u16>>,
}

impl OpenLoad {
    fn of(url: String) -> Self {
        OpenLoad { url, statuses: Vec::new(), writes: VecDeque::new() }
    }

    /// Goes on until a condition holds.
    fn run_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let (started, first) = (Instant::now(), self.begun());
        while !condition(self) {
            let last = &self.statuses[self.statuses.len().saturating_sub(200)..];
            assert!(started.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}, {last:?}");
            let (url, number) = (self.url.clone(), self.begun() - first);
            let at = Duration::from_millis(10) * number as u32;
            std::thread::sleep(at.saturating_sub(started.elapsed()));
            self.writes.push_back(std::thread::spawn(move || put(&url, b"a value").status));
            while self.writes.front().is_some_and(JoinHandle::is_finished) {
                let write = self.writes.pop_front().expect("the one that is finished");
                self.statuses.push(write.join().expect("an answer"));
            }
        }
    }

    fn begun(&self) -> usize {
        self.statuses.len() + self.writes.len()
    }

    /// Whether the last 100 of those that were begun from the `first` on are done.
    fn works_since(&self, first: usize) -> bool {
        let known = self.statuses.get(first..).unwrap_or_default();
        known.len() >= 100 && known[known.len() - 100..].iter().all(|status| *status == 204)
    }
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
