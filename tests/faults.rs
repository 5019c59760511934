//! Nodes are killed and disks fail under load: nothing that was acknowledged
//! is lost, and the clients of the other nodes notice nothing. On Raft they
//! may notice the death of a leader, until there is another one.

#[macro_use]
mod support;

use std::collections::BTreeSet;
use std::process::Command as Program;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::load::Load;
use support::{Cluster, Process, Protocol, get, put, request};

on_both_protocols! {
    kill_9_of_a_random_node_50_times_loses_nothing
    kill_9_of_all_nodes_at_once_loses_nothing
    a_failed_fsync_ends_the_node_and_the_cluster_serves_on
    without_a_quorum_writes_fail_and_never_succeed
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
