//! Nodes are killed and disks fail under load: nothing that was acknowledged
//! is lost, and the clients of the other nodes notice nothing. On Raft they
//! may notice the death of a leader, until there is another one.

#[macro_use]
mod support;

use std::collections::BTreeSet;
use std::process::Command as Program;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use gryadka::kv::{Command, Key};
use gryadka::perseus::check_numbered;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::recorder::{Client, Excuse, Recorder};
use support::{Cluster, Process, Protocol, get, put, request, wait_until};

on_both_protocols! {
    kill_9_of_a_random_node_50_times_loses_nothing
    kill_9_of_all_nodes_at_once_loses_nothing
    a_failed_fsync_ends_the_node_and_the_cluster_serves_on
    without_a_quorum_writes_fail_and_never_succeed
}

/// Clients under way on all nodes of a cluster.
struct Load {
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
struct Group {
    excuse: Arc<Mutex<Option<Excuse>>>,
    /// How many operations of each of them have ended.
    ended: Vec<Arc<AtomicUsize>>,
}

const CLIENTS_PER_NODE: u64 = 2;

impl Load {
    fn start(cluster: &Cluster, keys: usize) -> Load {
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
                let (keys, stop) = (load.keys.clone(), load.stop.clone());
                load.threads.push(std::thread::spawn(move || client.run(&keys, &stop)));
            }
            load.groups.push(group);
        }
        load
    }

    /// Excuses the errors of a node that is about to die and, where it leads,
    /// those of the others too.
    fn excuse_death(&self, node: usize, leader: Option<usize>) {
        for (index, group) in self.groups.iter().enumerate() {
            if index == node {
                *group.excuse.lock().unwrap() = Some(Excuse::Killed);
            } else if leader == Some(node) {
                *group.excuse.lock().unwrap() = Some(Excuse::Leaderless);
            }
        }
    }

    /// Excuses no errors of these nodes any more, once they serve and all
    /// requests that were under way have ended.
    fn expect_service(&self, cluster: &Cluster, nodes: &[usize]) {
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
    fn wait_for_answers(&self, more: usize) {
        let goal = self.recorder.answered.load(Ordering::Relaxed) + more;
        wait_until(&format!("{goal} operations are answered"), || {
            self.recorder.answered.load(Ordering::Relaxed) >= goal
        });
    }

    /// Writes a key of its own through a node.
    fn write_cold(&mut self, cluster: &Cluster, node: usize) {
        let number = self.cold_keys.len();
        let key = Key::try_from(format!("cold{number}").as_str()).unwrap();
        let mut writer = Client::new(&self.recorder, 1000 + number as u64, cluster.url(node));
        writer.perform(&key, Command::Create("once".into()));
        self.cold_keys.push(key);
    }

    /// Stops the clients, reads every key through every node, and checks all
    /// that was seen.
    fn finish_and_check(mut self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a client"));
        for node in 0..cluster.names.len() {
            let mut reader = Client::new(&self.recorder, 100 + node as u64, cluster.url(node));
            let keys = self.keys.iter().chain(&self.cold_keys);
            keys.for_each(|key| reader.perform(key, Command::Get));
        }
        let errors = self.recorder.errors.lock().unwrap().clone();
        assert!(errors.is_empty(), "{} errors, the first: {:#?}", errors.len(), &errors[..1]);
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

fn kill_9_of_a_random_node_50_times_loses_nothing(protocol: Protocol) {
    const KILLS: usize = 50;
    let mut cluster = Cluster::start(protocol, 3);
    let mut load = Load::start(&cluster, 6);
    let mut random = SmallRng::seed_from_u64(50);
    let mut leaders_killed = 0;
    for _ in 0..KILLS {
        load.wait_for_answers(100);
        let leader = cluster.leader();
        let any = random.random_range(0..3);
        let node = leader.filter(|_| random.random_bool(0.5)).unwrap_or(any);
        let others = [(node + 1) % 3, (node + 2) % 3];
        leaders_killed += usize::from(leader == Some(node));
        load.write_cold(&cluster, others[0]);
        load.excuse_death(node, leader);
        cluster.kill(node);
        load.expect_service(&cluster, &others);
        load.wait_for_answers(100);
        cluster.launch(node);
        load.expect_service(&cluster, &[node]);
    }
    println!("{KILLS} kills, of them {leaders_killed} of the leader");
    assert!(protocol == Protocol::Caspaxos || 3 * leaders_killed >= KILLS);
    load.finish_and_check(&cluster);
}

fn kill_9_of_all_nodes_at_once_loses_nothing(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let mut load = Load::start(&cluster, 6);
    for _ in 0..10 {
        load.wait_for_answers(300);
        load.write_cold(&cluster, 0);
        (0..3).for_each(|node| load.excuse_death(node, None));
        (0..3).for_each(|node| cluster.kill(node));
        (0..3).for_each(|node| cluster.launch(node));
        load.expect_service(&cluster, &[0, 1, 2]);
    }
    load.finish_and_check(&cluster);
}

fn a_failed_fsync_ends_the_node_and_the_cluster_serves_on(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let load = Load::start(&cluster, 3);
    load.wait_for_answers(100);
    let leader = cluster.leader();
    let node = leader.unwrap_or(0);
    load.excuse_death(node, leader);
    let process = cluster.node(node).child.id().to_string();
    let mut strace = Program::new("strace");
    strace.args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-e"]);
    strace.args(["inject=fsync,fdatasync:error=EIO", "-p", &process]);
    let log = cluster.dir.path().join("strace.log");
    let mut strace = Process::start(&mut strace, &log);
    let status = cluster.node(node).wait();
    strace.wait();
    let said = cluster.node(node).log();
    assert_eq!(status.code(), Some(74), "{said}");
    let last = said.lines().rfind(|line| line.contains("ERROR")).expect("an error");
    let store = format!("data/{}/store", cluster.names[node]);
    assert!(last.contains(&store) && last.contains("fsync"), "{last}");
    let injected = strace.log().lines().filter(|line| line.contains("INJECTED")).count();
    assert!(injected > 0, "{}", strace.log());
    load.expect_service(&cluster, &[(node + 1) % 3, (node + 2) % 3]);
    load.wait_for_answers(200);
    cluster.launch(node);
    load.expect_service(&cluster, &[node]);
    load.finish_and_check(&cluster);
}

fn without_a_quorum_writes_fail_and_never_succeed(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let url = format!("{}/v2/keys/k", cluster.url(0));
    assert_eq!(put(&format!("{}/k", cluster.url(0)), b"before").status, 204);
    cluster.kill(1);
    cluster.kill(2);
    let answers: BTreeSet<u16> =
        (0..2).map(|_| support::form_request("PUT", &url, "value=lost").status).collect();
    // One node of three took it, so that nobody can tell; or none did.
    assert!(answers.iter().all(|status| [503, 504].contains(status)), "{answers:?}");
    let read = request("GET", &url, None).unwrap();
    assert_eq!((read.status, &read.json()["outcome"]), (503, &"failed".into()));
    assert_eq!(get(&format!("{}/health", cluster.url(0))).status, 503);
    assert_eq!(get(&format!("{}/livez", cluster.url(0))).status, 200);
    for node in [1, 2] {
        cluster.launch(node);
        cluster.wait_ready(node);
    }
    let value = get(&url).json()["node"]["value"].clone();
    assert!(["before", "lost"].contains(&value.as_str().unwrap()), "{value}");
}
