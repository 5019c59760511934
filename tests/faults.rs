//! Nodes are killed and disks fail under load: nothing that was acknowledged
//! is lost, and the clients of the other nodes notice nothing.

mod support;

use std::collections::BTreeSet;
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use gryadka::kv::{Command, Key};
use gryadka::perseus::check;
use support::recorder::{Client, Recorder};
use support::{Cluster, Process, put, request, wait_until};

/// Clients under way on all nodes of a cluster.
struct Load {
    recorder: Arc<Recorder>,
    keys: Vec<Key>,
    /// Written once and then left alone, so that nothing repairs what an
    /// acceptor has forgotten.
    cold_keys: Vec<Key>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// By node: whether errors of its clients are expected.
    expects_errors: Vec<Arc<AtomicBool>>,
}

const CLIENTS_PER_NODE: u64 = 2;

impl Load {
    fn start(cluster: &Cluster, keys: usize) -> Load {
        let keys = (0..keys).map(|i| Key::try_from(format!("k{i}").as_str()).unwrap()).collect();
        let mut load = Load {
            recorder: Recorder::new(),
            keys,
            cold_keys: Vec::new(),
            stop: Arc::default(),
            threads: Vec::new(),
            expects_errors: Vec::new(),
        };
        for node in 0..cluster.names.len() {
            let expects_errors: Arc<AtomicBool> = Arc::default();
            load.expects_errors.push(expects_errors.clone());
            for client in 0..CLIENTS_PER_NODE {
                let number = node as u64 * CLIENTS_PER_NODE + client;
                let mut client = Client::new(&load.recorder, number, cluster.url(node));
                client.expects_errors = expects_errors.clone();
                let (keys, stop) = (load.keys.clone(), load.stop.clone());
                load.threads.push(std::thread::spawn(move || client.run(&keys, &stop)));
            }
        }
        load
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
        println!("{} operations, all accounted for", history.operations().len());
        check(&history).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn kill_9_of_one_node_in_turn_50_times_loses_nothing() {
    let mut cluster = Cluster::start(3);
    let mut load = Load::start(&cluster, 6);
    for round in 0..50 {
        let node = round % 3;
        load.wait_for_answers(100);
        load.write_cold(&cluster, (node + 1) % 3);
        load.expects_errors[node].store(true, Ordering::Relaxed);
        cluster.kill(node);
        load.wait_for_answers(100);
        cluster.launch(node);
        cluster.wait_ready(node);
        // Requests that met the dead node may still be on their way back.
        load.wait_for_answers(20);
        load.expects_errors[node].store(false, Ordering::Relaxed);
    }
    load.finish_and_check(&cluster);
}

#[test]
fn kill_9_of_all_nodes_at_once_loses_nothing() {
    let mut cluster = Cluster::start(3);
    let mut load = Load::start(&cluster, 6);
    for _ in 0..5 {
        load.wait_for_answers(300);
        load.write_cold(&cluster, 0);
        load.expects_errors.iter().for_each(|expects| expects.store(true, Ordering::Relaxed));
        (0..3).for_each(|node| cluster.kill(node));
        (0..3).for_each(|node| cluster.launch(node));
        (0..3).for_each(|node| cluster.wait_ready(node));
        load.wait_for_answers(100);
        load.expects_errors.iter().for_each(|expects| expects.store(false, Ordering::Relaxed));
    }
    load.finish_and_check(&cluster);
}

#[test]
fn a_failed_fsync_ends_the_node_and_the_cluster_serves_on() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster, 3);
    load.wait_for_answers(100);
    load.expects_errors[0].store(true, Ordering::Relaxed);
    let process = cluster.node(0).child.id().to_string();
    let mut strace = Program::new("strace");
    strace.args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-e"]);
    strace.args(["inject=fsync,fdatasync:error=EIO", "-p", &process]);
    let log = cluster.dir.path().join("strace.log");
    let mut strace = Process::start(&mut strace, &log);
    let status = cluster.node(0).wait();
    strace.wait();
    assert_eq!(status.code(), Some(74), "{}", cluster.node(0).log());
    let said = cluster.node(0).log();
    let last = said.lines().rfind(|line| line.contains("ERROR")).expect("an error");
    assert!(last.contains("data/p1/store") && last.contains("fsync"), "{last}");
    let injected = strace.log().lines().filter(|line| line.contains("INJECTED")).count();
    assert!(injected > 0, "{}", strace.log());
    load.wait_for_answers(200);
    cluster.launch(0);
    cluster.wait_ready(0);
    load.finish_and_check(&cluster);
}

#[test]
fn without_a_quorum_writes_fail_and_never_succeed() {
    let mut cluster = Cluster::start(3);
    let url = format!("{}/v2/keys/k", cluster.url(0));
    assert_eq!(put(&format!("{}/k", cluster.url(0)), b"before").status, 204);
    cluster.kill(1);
    cluster.kill(2);
    let answers: BTreeSet<u16> =
        (0..2).map(|_| support::form_request("PUT", &url, "value=lost").status).collect();
    // One acceptor of three took it, so that nobody can tell; or none did.
    assert!(answers.iter().all(|status| [503, 504].contains(status)), "{answers:?}");
    let read = request("GET", &url, None).unwrap();
    assert_eq!((read.status, &read.json()["outcome"]), (503, &"failed".into()));
    assert_eq!(support::get(&format!("{}/health", cluster.url(0))).status, 503);
    assert_eq!(support::get(&format!("{}/livez", cluster.url(0))).status, 200);
    for node in [1, 2] {
        cluster.launch(node);
        cluster.wait_ready(node);
    }
    let value = support::get(&url).json()["node"]["value"].clone();
    assert!(["before", "lost"].contains(&value.as_str().unwrap()), "{value}");
}
