//! A node as its operator meets it: starting, stopping, and being told wrong
//! things.

#[macro_use]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use support::{
    Cluster, PATIENCE, Process, Protocol, form_request, get, program, put, request, wait_until,
};

on_both_protocols! {
    a_port_that_is_taken_is_named
    a_data_directory_serves_one_process
    idle_connections_make_room_and_leave_descriptors_for_the_node
    sigterm_and_ctrl_c_stop_cleanly_and_data_stays
    what_is_under_way_is_answered_before_the_node_stops
    a_client_that_disconnects_cancels_nothing
    a_node_with_only_a_load_counts_and_ends_with_it
}

/// Runs the node with a deployment of this text; its status and what it said. It has
/// made nothing.
fn run_with(deployment: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p1.json"), deployment).unwrap();
    let (status, said) = run_in(dir.path());
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    (status, said)
}

fn run_in(directory: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(program("gryadka"));
    let output = command.current_dir(directory).arg("p1.json").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn deployment(protocol: Protocol, address: &str) -> serde_json::Value {
    let actors = match protocol {
        Protocol::Caspaxos => serde_json::json!({
            "acceptor": { "id": "a1", "storage": { "embedded": {} } },
            "proposer": {
                "id": "p1", "acceptors": [{ "id": "a1", "node": "p1" }],
                "quorum": { "read": 1, "write": 1 },
            },
        }),
        Protocol::Raft => serde_json::json!({
            "raft": { "id": 1, "members": { "1": format!("http://{address}:8101") } },
        }),
    };
    serde_json::json!({
        "cluster": "test", "node": "p1",
        "listen": {
            "client": format!("{address}:8001"), "peer": format!("{address}:8101"),
            "admin": format!("{address}:8201"),
        },
        "actors": actors,
    })
}

#[test]
fn wrong_files_end_with_2_and_one_line_that_helps() {
    let address = support::own_address();
    let caspaxos = deployment(Protocol::Caspaxos, &address);
    let raft = deployment(Protocol::Raft, &address);
    let mut unknown = caspaxos.clone();
    unknown["actors"]["proposer"]["quorom"] = 1.into();
    let mut quorum = caspaxos;
    quorum["actors"]["proposer"]["quorum"]["read"] = 2.into();
    let mut member = raft.clone();
    member["actors"]["raft"]["id"] = 2.into();
    let mut times = raft;
    times["actors"]["raft"]["settings"]["heartbeat_ms"] = 500.into();
    for (text, needles) in [
        ("{".to_string(), vec!["p1.json", "line 1"]),
        (unknown.to_string(), vec!["p1.json: actors.proposer", "quorom"]),
        (quorum.to_string(), vec!["p1.json: actors.proposer.quorum", "2"]),
        (member.to_string(), vec!["p1.json: actors.raft", "2"]),
        (times.to_string(), vec!["p1.json: actors.raft.settings.election_ms.min", "1000"]),
    ] {
        let (status, said) = run_with(&text);
        assert_eq!(status, Some(2), "{said}");
        assert!(needles.iter().all(|needle| said.contains(needle)), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
    let missing = Command::new(program("gryadka")).arg("no-such.json").output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such.json"));
}

fn a_port_that_is_taken_is_named(protocol: Protocol) {
    let address = support::own_address();
    let _taken = TcpListener::bind(format!("{address}:8001")).unwrap();
    let (status, said) = run_with(&deployment(protocol, &address).to_string());
    assert_eq!(status, Some(2), "{said}");
    let line = format!("p1.json: listen.client: {address}:8001 cannot be used");
    assert!(said.contains(&line), "{said}");
}

fn a_data_directory_serves_one_process(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let own = std::fs::read_to_string(cluster.dir.path().join("deployment/p1.json")).unwrap();
    let (address, other) = (cluster.host(0), support::own_address());
    let address = address.split(':').next().unwrap();
    std::fs::write(cluster.dir.path().join("p1.json"), own.replace(address, &other)).unwrap();
    let (status, said) = run_in(cluster.dir.path());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("data/p1") && said.contains("in use by another process"), "{said}");
}

/// 448 descriptors leave 32 connections to each listener.
fn idle_connections_make_room_and_leave_descriptors_for_the_node(protocol: Protocol) {
    let address = support::own_address();
    let dir = tempfile::tempdir().unwrap();
    let text = deployment(protocol, &address).to_string();
    std::fs::write(dir.path().join("p1.json"), text).unwrap();
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -n 448 && exec \"$0\" p1.json"]).arg(program("gryadka"));
    let mut node = Process::start(limited.current_dir(dir.path()), &dir.path().join("log"));
    let (host, ready) = (format!("{address}:8001"), format!("http://{address}:8001/readyz"));
    let is_ready = || TcpStream::connect(&host).is_ok() && get(&ready).status == 200;
    wait_until("the node serves", is_ready);
    let ask = |stream: &mut TcpStream| {
        let head = format!("HEAD /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let head: Vec<String> = BufReader::new(stream)
            .lines()
            .map(|line| line.expect("a head"))
            .take_while(|line| !line.is_empty())
            .collect();
        assert_eq!(head[0], "HTTP/1.1 200 OK");
    };
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ask(&mut stream);
        idle.push(stream);
    }
    // Those that waited longest have ended, and the newest have not.
    idle[0].read_to_end(&mut Vec::new()).expect("it ends in order");
    ask(&mut idle[199]);
    for number in 0..20 {
        let answer = put(&format!("http://{host}/k{number}"), &[b'x'; 100_000]);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
}

fn sigterm_and_ctrl_c_stop_cleanly_and_data_stays(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 1);
    for (round, signal) in ["TERM", "INT"].iter().enumerate() {
        let url = format!("{}/k", cluster.url(0));
        assert_eq!(put(&url, round.to_string().as_bytes()).status, 204);
        // The end of a terminal ends no node.
        cluster.node(0).signal("HUP");
        assert_eq!(get(&url).text(), round.to_string());
        // A connection that stays open must not hold the node up.
        let idle = TcpStream::connect(cluster.host(0)).unwrap();
        let started = Instant::now();
        cluster.node(0).signal(signal);
        let status = cluster.node(0).wait();
        assert_eq!(status.code(), Some(0), "{}", cluster.node(0).log());
        assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
        assert!(cluster.node(0).log().contains("p1: stopped"));
        drop(idle);
        cluster.launch(0);
        cluster.wait_ready(0);
        assert_eq!(get(&url).text(), round.to_string());
    }
}

/// A key is always served by the same event loop, and a list tells the keys of
/// all.
#[test]
fn event_loops_share_the_keys_of_a_proposer() {
    let address = support::own_address();
    let mut file = deployment(Protocol::Caspaxos, &address);
    file["actors"]["proposer"]["shards"] = 3.into();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p1.json"), file.to_string()).unwrap();
    let start = || {
        let mut command = Command::new(program("gryadka"));
        command.current_dir(dir.path()).arg("p1.json");
        let node = Process::start(&mut command, &dir.path().join("p1.log"));
        wait_until("it serves", || {
            request("GET", &format!("http://{address}:8001/readyz"), None)
                .is_ok_and(|answer| answer.status == 200)
        });
        node
    };
    let mut node = start();
    let url = |number: usize| format!("http://{address}:8001/v2/keys/all/{number}");
    for round in 0..3 {
        for number in 0..60 {
            assert!(form_request("PUT", &url(number), &format!("value={round}")).status < 300);
        }
    }
    let shown = get(&format!("http://{address}:8201/debug")).json();
    let shards = shown["shards"].as_array().unwrap_or_else(|| panic!("{shown}")).clone();
    let kept: Vec<u64> = shards.iter().map(|each| each["kept"]["keys"].as_u64().unwrap()).collect();
    assert_eq!((kept.len(), kept.iter().sum::<u64>()), (3, 60), "{shown}");
    assert!(kept.iter().all(|keys| *keys > 5), "{kept:?}");
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
    assert!(node.log().contains("p1: stopped"), "{}", node.log());
    let _node = start();
    let listed = get(&format!("http://{address}:8001/v2/keys/all")).json();
    let listed = listed["node"]["nodes"].as_array().unwrap();
    assert_eq!(listed.len(), 60);
    assert!(listed.iter().all(|each| each["value"] == "2"), "{listed:?}");
}

fn what_is_under_way_is_answered_before_the_node_stops(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    // Without its peers a write stays under way until its deadline.
    cluster.kill(1);
    cluster.kill(2);
    let url = format!("{}/k", cluster.url(0));
    let write = std::thread::spawn(move || put(&url, b"v").status);
    // Its calls to the dead acceptors are what the node complains of.
    wait_until("the write is under way", || cluster.node(0).log().contains("does not answer"));
    cluster.node(0).signal("TERM");
    assert!([503, 504].contains(&write.join().expect("an answer, not a broken connection")));
    assert_eq!(cluster.node(0).wait().code(), Some(0));
}

fn a_client_that_disconnects_cancels_nothing(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    for number in 0..50 {
        let mut stream = TcpStream::connect(cluster.host(0)).unwrap();
        let head =
            format!("PUT /gone{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nv");
        stream.write_all(head.as_bytes()).unwrap();
        drop(stream);
    }
    // Each was read whole before its connection ended, or not at all; none
    // leaves a place taken, so that the node goes on to serve.
    let written = |number: usize| get(&format!("{}/gone{number}", cluster.url(1))).status == 200;
    let started = Instant::now();
    let count = || (0..50).filter(|number| written(*number)).count();
    wait_until("most of the writes took effect", || count() >= 40);
    assert!(started.elapsed() < PATIENCE);
}

fn a_node_with_only_a_load_counts_and_ends_with_it(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let endpoints: serde_json::Map<String, serde_json::Value> =
        (0..3).map(|node| (cluster.names[node].clone(), cluster.url(node).into())).collect();
    let client = serde_json::json!({
        "cluster": "test", "node": "c1",
        "actors": { "load": {
            "endpoints": endpoints, "format": "perseus", "connections": 2, "duration_seconds": 2,
        } },
    });
    std::fs::write(cluster.dir.path().join("c1.json"), client.to_string()).unwrap();
    let mut command = Command::new(program("gryadka"));
    let output = command.current_dir(cluster.dir.path()).arg("c1.json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("#legend: time|p1|p2|p3|p1:err|p2:err|p3:err\n1\t"), "{text}");
    assert!(text.contains("# p3 "), "{text}");
}
