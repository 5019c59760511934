//! The connection matrix and the nodes that play dead, on real clusters.
//!
//! ```text
//! cargo test --test chaos
//! CHAOS_MESSAGES=10000 CHAOS_SECONDS=300 cargo test --release --test chaos -- --nocapture --test-threads 1
//! ```

#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod matrix;

use std::time::{Duration, Instant};

use matrix::Matrix;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::hosts::with_hosts;
use support::load::Load;
use support::replicas::Host;
use support::{Answer, Cluster, Process, Protocol, get, put, request, wait_until};

on_both_protocols! {
    so_many_messages_are_dropped_as_the_matrix_says
    messages_take_as_long_as_the_matrix_says
    a_dead_node_is_dead_to_its_clients_and_comes_back
    a_node_that_is_cut_off_harms_nobody_and_comes_back_quietly
    whatever_is_dropped_no_answer_is_wrong
    chaos_is_refused_where_it_is_not_asked_for
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn put_json(url: &str, body: &Value) -> Answer {
    let body = body.to_string();
    request("PUT", url, Some(("application/json", body.as_bytes()))).expect("an answer")
}

fn post(url: &str) -> Answer {
    request("POST", url, Some(("application/json", b"{}"))).expect("an answer")
}

/// Of the messages from a node to the next one: on Raft from a follower to the
/// leader, which are commands.
fn so_many_messages_are_dropped_as_the_matrix_says(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 3);
    let wanted = number("CHAOS_MESSAGES", 1_500);
    let to = cluster.leader().unwrap_or(1);
    let from = (to + 1) % 3;
    for probability in [0.0, 0.1, 0.6, 1.0] {
        let mut matrix = Matrix::of(&cluster);
        matrix.version =
            get(&format!("{}/chaos", cluster.admin_url(0))).json()["matrix"]["version"]
                .as_u64()
                .unwrap_or(0);
        // Nobody else becomes the leader meanwhile.
        matrix.drop[from][to] = probability;
        matrix.install();
        matrix.count(from, to, wanted, probability);
        matrix.heal();
    }
}

/// A change takes one round trip to the others: of the two of them, the one that
/// is nearer decides.
fn messages_take_as_long_as_the_matrix_says(protocol: Protocol) {
    /// The shortest and the longest way there and back.
    const FAR: Duration = Duration::from_millis(60);
    const FARTHEST: Duration = Duration::from_millis(80);
    let cluster = Cluster::start_with_chaos(protocol, 3);
    let home = cluster.leader().unwrap_or(0);
    let took = || {
        let mut times: Vec<Duration> = (0..21)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(put(&format!("{}/k", cluster.url(home)), b"v").status, 204);
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("{protocol:?}: {:.1?} to {:.1?}, p50 {:.1?}", times[0], times[20], times[10]);
        times
    };
    took();
    let mut matrix = Matrix::of(&cluster);
    for other in (0..3).filter(|other| *other != home) {
        matrix.delay[home][other] = "40~10".into();
        matrix.delay[other][home] = "30".into();
    }
    matrix.install();
    let times = took();
    // 30 to 50 ms there and 30 ms back. On Raft a message to a follower waits for
    // the answer to the one before, which told it what is committed.
    let round_trips = if protocol == Protocol::Raft { 3 } else { 2 };
    assert!(times[0] >= FAR && times[10] < round_trips * FARTHEST, "{times:?}");
    assert!(times[20] - times[0] >= Duration::from_millis(4), "no jitter: {times:?}");
    let near = (home + 1) % 3;
    matrix.delay[home][near] = "0".into();
    matrix.delay[near][home] = "5".into();
    matrix.install();
    let times = took();
    // No answer that waited for the one that is far came before that: the median is
    // that of the near one, however slow the machine is.
    assert!(times[0] >= Duration::from_millis(5) && times[10] < FAR, "{times:?}");
}

fn a_dead_node_is_dead_to_its_clients_and_comes_back(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 3);
    let load = Load::start(&cluster, 4);
    load.wait_for_answers(100);
    let leader = cluster.leader();
    let dead = leader.unwrap_or(0);
    load.excuse_death(dead, leader);
    let admin = cluster.admin_url(dead);
    assert_eq!(post(&format!("{admin}/chaos/kill")).status, 204);
    let asked = request("GET", &format!("{}/k", cluster.url(dead)), None);
    assert!(asked.is_err(), "{asked:?}");
    let others: Vec<usize> = (0..3).filter(|node| *node != dead).collect();
    load.expect_service(&cluster, &others);
    load.wait_for_answers(100);
    let health = request("GET", &format!("{admin}/health"), None).expect("an answer");
    assert_eq!((health.status, &health.json()["chaos"]["killed"]), (503, &true.into()));
    assert_eq!(post(&format!("{admin}/chaos/revive")).status, 204);
    load.expect_service(&cluster, &[dead]);
    load.wait_for_answers(100);
    assert_eq!(get(&format!("{admin}/health")).json()["chaos"], Value::Null);
    load.finish_and_check(&cluster);
    // And for good.
    let killed = request(
        "POST",
        &format!("{admin}/chaos/kill"),
        Some(("application/json", b"{\"process\":true}")),
    );
    assert!(killed.is_err(), "{killed:?}");
    let mut cluster = cluster;
    assert!(!cluster.node(dead).wait().success());
}

/// The leader, or any node: all of it, what it sends, or what it hears.
fn a_node_that_is_cut_off_harms_nobody_and_comes_back_quietly(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 3);
    let load = Load::start(&cluster, 4);
    load.wait_for_answers(100);
    let mut matrix = Matrix::of(&cluster);
    let mut gaps = Vec::new();
    for directions in [(true, true), (true, false), (false, true)] {
        let leader = cluster.leader();
        let cut = leader.unwrap_or(0);
        let others: Vec<usize> = (0..3).filter(|node| *node != cut).collect();
        load.excuse_death(cut, leader);
        load.take_longest_gap();
        let began = Instant::now();
        matrix.cut(cut, directions);
        load.expect_service(&cluster, &others);
        println!("{protocol:?} {directions:?}: the others serve after {:.1?}", began.elapsed());
        load.wait_for_answers(100);
        let gap = load.take_longest_gap();
        let new_term = others.iter().find_map(|node| leads(&cluster, *node));
        assert!(leader.is_none() || new_term.is_some(), "nobody else leads");
        load.excuse_all();
        matrix.heal();
        let healed = Instant::now();
        load.expect_service(&cluster, &[0, 1, 2]);
        let served = healed.elapsed();
        println!("{protocol:?} {directions:?}: healed, all serve after {served:.1?}");
        if protocol == Protocol::Caspaxos {
            println!("{directions:?}: longest gap of the others {gap:.1?}");
            gaps.push(gap);
        }
        if leader.is_some() && directions == (true, true) {
            load.wait_for_answers(100);
            for node in 0..3 {
                let term = raft(&cluster, node)["term"].as_u64();
                assert_eq!(term, new_term, "an election at its return");
            }
        }
    }
    load.finish_and_check(&cluster);
    assert!(gaps.iter().all(|gap| *gap < Duration::from_millis(500)), "{gaps:?}");
}

/// The term in which a node leads, if it does.
fn leads(cluster: &Cluster, node: usize) -> Option<u64> {
    if cluster.protocol == Protocol::Caspaxos {
        return None;
    }
    let state = raft(cluster, node);
    (state["role"] == "leader").then(|| state["term"].as_u64().expect("a term"))
}

fn raft(cluster: &Cluster, node: usize) -> Value {
    get(&format!("{}/raft", cluster.admin_url(node))).json()
}

/// Each second another matrix: everything is a little unsure, and one way is cut.
fn whatever_is_dropped_no_answer_is_wrong(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 3);
    let load = Load::start(&cluster, 6);
    load.wait_for_answers(100);
    load.excuse_all();
    let mut random = SmallRng::seed_from_u64(1);
    let mut matrix = Matrix::of(&cluster);
    for _ in 0..number("CHAOS_SECONDS", 8) {
        for drop in matrix.drop.iter_mut().flatten() {
            *drop = random.random_range(0.0..0.3);
        }
        let (row, column) = (random.random_range(0..3), random.random_range(0..3));
        matrix.drop[row][column] = 1.0;
        matrix.install();
        std::thread::sleep(Duration::from_secs(1));
    }
    matrix.heal();
    let healed = Instant::now();
    for node in 0..3 {
        wait_until("the node serves", || {
            put(&format!("{}/served", cluster.url(node)), b"v").status == 204
        });
    }
    let took = healed.elapsed();
    println!("{protocol:?}: every node serves {took:.1?} after");
    assert!(took < Duration::from_secs(2), "{took:?}");
    load.expect_service(&cluster, &[0, 1, 2]);
    load.wait_for_answers(100);
    load.finish_and_check(&cluster);
}

/// Five voters: the leader reaches one that two others reach too, and the fifth is
/// cut off. Its heartbeats must not keep those three from electing another.
#[test]
fn a_bridge_to_a_leader_without_a_quorum_serves_with_the_others() {
    let cluster = Cluster::start_with_chaos(Protocol::Raft, 5);
    let leader = cluster.leader().expect("a leader");
    let others: Vec<usize> = (0..5).filter(|node| *node != leader).collect();
    let (bridge, connected) = (others[0], &others[..3]);
    let mut matrix = Matrix::of(&cluster);
    for from in 0..5 {
        for to in (0..5).filter(|to| *to != from) {
            let is_bridged = [from, to].contains(&leader) && [from, to].contains(&bridge);
            let is_kept = is_bridged || (connected.contains(&from) && connected.contains(&to));
            matrix.drop[from][to] = f64::from(u8::from(!is_kept));
        }
    }
    let write = |node: usize| put(&format!("{}/key", cluster.url(node)), b"v").status;
    let began = Instant::now();
    matrix.install();
    connected.iter().for_each(|node| wait_until("a member serves", || write(*node) == 204));
    println!("bridge: the connected members serve after {:.1?}", began.elapsed());
    // It follows the bridge, if that was elected; it does not lead.
    assert_eq!(raft(&cluster, leader)["role"], "follower");
    matrix.heal();
    (0..5).for_each(|node| wait_until("a node serves", || write(node) == 204));
}

#[test]
fn a_leader_that_is_alone_says_that_nobody_leads_and_refuses_for_certain() {
    let cluster = Cluster::start_with_chaos(Protocol::Raft, 3);
    let leader = cluster.leader().expect("a leader");
    let mut matrix = Matrix::of(&cluster);
    matrix.cut(leader, (true, true));
    wait_until("it knows", || raft(&cluster, leader)["leader"].is_null());
    assert_eq!(raft(&cluster, leader)["role"], "follower");
    let refused = put(&format!("{}/key", cluster.url(leader)), b"v");
    assert_eq!((refused.status, &refused.json()["outcome"]), (503, &json!("failed")));
    assert_eq!(get(&format!("{}/readyz", cluster.url(leader))).status, 503);
    assert_eq!(get(&format!("{}/v2/members/leader", cluster.url(leader))).status, 503);
}

fn chaos_is_refused_where_it_is_not_asked_for(protocol: Protocol) {
    let calm = Cluster::start(protocol, 1);
    let (url, body) = (format!("{}/chaos", calm.admin_url(0)), Matrix::of(&calm).body());
    for answer in [
        get(&url),
        put_json(&url, &body),
        post(&format!("{url}/kill")),
        post(&format!("{url}/revive")),
    ] {
        assert_eq!(answer.status, 403);
        let why = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(
            why.contains("chaos is off at this node") && why.contains("\"chaos\": true"),
            "{why}"
        );
    }
    assert_eq!(get(&format!("{}/readyz", calm.url(0))).status, 200);
    let cluster = Cluster::start_with_chaos(protocol, 1);
    let url = format!("{}/chaos", cluster.admin_url(0));
    let mut matrix = Matrix::of(&cluster);
    matrix.install();
    for (change, status, needle) in [
        (json!({ "drop": [[1.5]] }), 400, "row 0, column 0: 1.5 is not from 0 to 1"),
        (json!({ "drop": [[0, 0]] }), 400, "row 0 has 2 values, not 1"),
        (json!({ "drop": [["x"]] }), 400, "invalid type"),
        (json!({ "nodes": [{ "name": "p9" }] }), 400, "node p1 is not in the matrix"),
        (json!({ "version": 1 }), 409, "the node has version 1 already"),
    ] {
        let mut body = matrix.body();
        body["version"] = 7.into();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = put_json(&url, &body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(needle), "{needle}: {}", answer.text());
        assert_eq!(get(&url).json()["matrix"]["version"], 1, "nothing changed");
    }
}

/// Who may upset a node, by the address that they ask from.
#[test]
fn who_asks_from_another_machine_is_refused() {
    with_hosts("who_asks_from_another_machine_is_refused", |[here, there, _]| {
        let dir = tempfile::tempdir().expect("a directory");
        let start = |host: &Host, name: &str, chaos: Value| {
            let listen = |port: u16| format!("{}:{port}", host.address);
            let deployment = json!({
                "cluster": "test", "node": name, "data_dir": name, "chaos": chaos, "peers": {},
                "listen": { "client": listen(8001), "peer": listen(8101), "admin": listen(8201) },
                "actors": {
                    "acceptor": { "id": "a1", "storage": { "embedded": {} } },
                    "proposer": {
                        "id": 1, "quorum": { "read": 1, "write": 1 },
                        "acceptors": [{ "id": "a1", "node": name }],
                    },
                },
            });
            let file = dir.path().join(format!("{name}.json"));
            std::fs::write(&file, deployment.to_string()).expect("the deployment");
            let log = dir.path().join(format!("{name}.log"));
            Process::start(host.command().current_dir(dir.path()).arg(file), &log)
        };
        let _own = start(&here, "own", json!(true));
        let _open = start(&there, "open", json!("anywhere"));
        let url = |host: &Host, path: &str| format!("http://{}:8201{path}", host.address);
        for host in [&here, &there] {
            wait_until("the node is up", || {
                request("GET", &url(host, "/health"), None).is_ok_and(|answer| answer.status == 200)
            });
        }
        let matrix = json!({ "version": 1, "nodes": [{ "name": "own" }], "drop": [[1.0]] });
        for answer in [
            get(&url(&here, "/chaos")),
            put_json(&url(&here, "/chaos"), &matrix),
            post(&url(&here, "/chaos/kill")),
            post(&url(&here, "/chaos/revive")),
        ] {
            let why = answer.json()["message"].as_str().expect("a message").to_owned();
            assert_eq!(answer.status, 403, "{why}");
            assert!(why.contains("for this machine alone, not for 198.18.0.254"), "{why}");
        }
        assert_eq!(get(&url(&here, "/health")).json()["chaos"], Value::Null, "nothing changed");
        assert_eq!(get(&url(&there, "/chaos")).status, 200);
        assert_eq!(post(&url(&there, "/chaos/kill")).status, 204);
    });
}
