//! Clients that work on all nodes of a cluster, and the judgement of what they
//! saw.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gryadka::kv::{Command, Key};
use gryadka::perseus::check_numbered;

use super::recorder::{Client, Excuse, Recorder};
use super::{Cluster, Protocol, get, wait_until};

/// Clients under way on all nodes of a cluster.
pub struct Load {
    recorder: Arc<Recorder>,
    keys: Vec<Key>,
    /// Written once and then left alone, so that nothing repairs what an
    /// acceptor has forgotten.
    cold_keys: Vec<Key>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// By node.
    groups: Vec<Group>,
}

/// The clients of one node.
#[derive(Default)]
pub struct Group {
    excuse: Arc<Mutex<Option<Excuse>>>,
    /// How many operations of each of them have ended.
    ended: Vec<Arc<AtomicUsize>>,
    /// The longest time between two answers of each, errors that are excused
    /// aside.
    longest_gap_us: Vec<Arc<AtomicU64>>,
}

const CLIENTS_PER_NODE: u64 = 2;

impl Load {
    pub fn start(cluster: &Cluster, keys: usize) -> Load {
        let keys = (0..keys).map(|i| Key::try_from(format!("k{i}").as_str()).unwrap()).collect();
        let mut load = Load {
            recorder: Recorder::new(cluster.protocol.index_order()),
            keys,
            cold_keys: Vec::new(),
            stop: Arc::default(),
            threads: Vec::new(),
            groups: Vec::new(),
        };
        for node in 0..cluster.names.len() {
            let mut group = Group::default();
            for client in 0..CLIENTS_PER_NODE {
                let number = node as u64 * CLIENTS_PER_NODE + client;
                let mut client = Client::new(&load.recorder, number, cluster.url(node));
                client.excuse = group.excuse.clone();
                group.ended.push(client.ended.clone());
                group.longest_gap_us.push(client.longest_gap_us.clone());
                let (keys, stop) = (load.keys.clone(), load.stop.clone());
                load.threads.push(std::thread::spawn(move || client.run(&keys, &stop)));
            }
            load.groups.push(group);
        }
        load
    }

    /// Excuses the errors of a node that is about to die and, where it leads,
    /// those of the others too.
    pub fn excuse_death(&self, node: usize, leader: Option<usize>) {
        for (index, group) in self.groups.iter().enumerate() {
            if index == node {
                *group.excuse.lock().unwrap() = Some(Excuse::Killed);
            } else if leader == Some(node) {
                *group.excuse.lock().unwrap() = Some(Excuse::Leaderless);
            }
        }
    }

    /// Excuses the errors of all clients.
    pub fn excuse_all(&self) {
        for group in &self.groups {
            *group.excuse.lock().unwrap() = Some(Excuse::Killed);
        }
    }

    /// Excuses no errors of these nodes any more, once they serve and all
    /// requests that were under way have ended.
    pub fn expect_service(&self, cluster: &Cluster, nodes: &[usize]) {
        for &node in nodes {
            cluster.wait_ready(node);
            for ended in &self.groups[node].ended {
                // The second one from now began after now.
                let goal = ended.load(Ordering::Relaxed) + 2;
                let what = format!("node {node} answers its clients");
                wait_until(&what, || ended.load(Ordering::Relaxed) >= goal);
            }
            *self.groups[node].excuse.lock().unwrap() = None;
        }
    }

    /// Waits until this many more operations were answered.
    pub fn wait_for_answers(&self, more: usize) {
        let goal = self.recorder.answered.load(Ordering::Relaxed) + more;
        wait_until(&format!("{goal} operations are answered"), || {
            self.recorder.answered.load(Ordering::Relaxed) >= goal
        });
    }

    /// The longest time that a client waited from one answer to the next, on
    /// nodes that were not killed meanwhile; from now on it is measured anew.
    pub fn take_longest_gap(&self) -> Duration {
        let gaps = self.groups.iter().flat_map(|group| &group.longest_gap_us);
        let longest = gaps.map(|gap| gap.swap(0, Ordering::Relaxed)).max().unwrap_or(0);
        Duration::from_micros(longest)
    }

    /// Writes a key of its own through a node.
    pub fn write_cold(&mut self, cluster: &Cluster, node: usize) {
        let number = self.cold_keys.len();
        let key = Key::try_from(format!("cold{number}").as_str()).unwrap();
        let mut writer = Client::new(&self.recorder, 1000 + number as u64, cluster.url(node));
        writer.perform(&key, Command::Create("once".into()));
        self.cold_keys.push(key);
    }

    /// Stops the clients, reads every key through every node, and checks all
    /// that was seen.
    pub fn finish_and_check(mut self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a client"));
        for node in 0..cluster.names.len() {
            let mut reader = Client::new(&self.recorder, 100 + node as u64, cluster.url(node));
            let keys = self.keys.iter().chain(&self.cold_keys);
            keys.for_each(|key| reader.perform(key, Command::Get));
        }
        let errors = self.recorder.errors.lock().unwrap().clone();
        let first = &errors[..errors.len().min(5)];
        assert!(errors.is_empty(), "{} errors, the first: {first:#?}", errors.len());
        let history = self.recorder.history();
        let excused = self.recorder.excused.lock().unwrap();
        println!("{} operations, excused errors: {excused:?}", history.operations().len());
        check_numbered(&history, cluster.protocol.index_order())
            .unwrap_or_else(|violation| panic!("{violation}"));
        if cluster.protocol == Protocol::Raft {
            assert_all_hold_the_same(cluster);
        }
    }
}

/// Replicas that have applied the same entries hold the same records.
fn assert_all_hold_the_same(cluster: &Cluster) {
    let hash = |node| get(&format!("{}/raft/hash", cluster.admin_url(node))).json();
    let mut hashes = Vec::new();
    wait_until("all replicas have applied the same entries", || {
        hashes = (0..cluster.names.len()).map(hash).collect();
        hashes.iter().all(|hash| hash["appliedIndex"] == hashes[0]["appliedIndex"])
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:#?}");
}
