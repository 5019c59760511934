//! How long a cluster is without a leader, as its clients see it: the longest
//! time between two successes of one connection, around the moment at which
//! the leader dies, is cut off, comes back, or is stopped.
//!
//! The short form of these tests runs by default; `LEADER_KILLS`, `CUTS`,
//! `ROLLING_RESTARTS` and `BUSY_SECONDS` give the numbers of the full one (docs/testing.md).

mod support;

use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;
use support::hosts::with_hosts;
use support::replicas::{Host, PEER_PORT, Replicas};
use support::wait_until;
use support::writers::Writers;

/// The tests measure times, so one runs after the other.
static TURN: Mutex<()> = Mutex::new(());

fn rounds(variable: &str, short: usize) -> usize {
    std::env::var(variable).map_or(short, |text| text.parse().expect(variable))
}

/// A row of the figures that are printed.
fn show(what: &str, gaps: &mut [Duration]) -> Duration {
    gaps.sort_unstable();
    let max = *gaps.last().expect("a figure");
    let p50 = gaps[gaps.len() / 2];
    println!("{what:<52} n {:>3}  p50 {p50:>9.1?}  max {max:>9.1?}", gaps.len());
    max
}

/// Asserts a goal: as it is in the full form, three times as long in the short
/// one, which runs unoptimized beside whatever else the machine does.
fn assert_within(goal: Duration, variable: &str, max: Duration) {
    let goal = if std::env::var_os(variable).is_some() { goal } else { 3 * goal };
    assert!(max < goal, "{max:?} is more than {goal:?}");
}

fn urls(replicas: &Replicas) -> Vec<String> {
    (0..3).map(|index| replicas.url(index)).collect()
}

/// Waits until all others of a cluster go on without `gone`.
fn wait_for_the_others(writers: &Writers, gone: usize) {
    (0..3).filter(|node| *node != gone).for_each(|node| writers.wait_for(node, 20));
}

#[test]
fn the_leader_is_killed_again_and_again() {
    let _turn = TURN.lock();
    let mut replicas = Replicas::start_here(json!({}));
    let writers = Writers::start(&urls(&replicas));
    let mut gaps = Vec::new();
    for _ in 0..rounds("LEADER_KILLS", 5) {
        (0..3).for_each(|node| writers.wait_for(node, 50));
        let leader = replicas.leader();
        let killed = Instant::now();
        replicas.kill(leader);
        wait_for_the_others(&writers, leader);
        let others = (0..3).filter(|node| *node != leader);
        let gap = others.map(|node| writers.gap(node, killed, Instant::now()));
        gaps.push(gap.max().expect("two others"));
        replicas.launch(leader);
        replicas.wait_ready(leader);
    }
    writers.finish();
    let max = show("leader killed: gap of the others' connections", &mut gaps);
    assert_within(Duration::from_secs(1), "LEADER_KILLS", max);
}

#[test]
fn a_rolling_restart_fails_no_request() {
    let _turn = TURN.lock();
    let mut replicas = Replicas::start_here(json!({}));
    let writers = Writers::retrying(&urls(&replicas));
    let mut gaps = Vec::new();
    for _ in 0..rounds("ROLLING_RESTARTS", 2) {
        let began = Instant::now();
        for node in 0..3 {
            (0..3).for_each(|writer| writers.wait_for(writer, 50));
            replicas.stop(node);
            replicas.launch(node);
            replicas.wait_ready(node);
        }
        (0..3).for_each(|writer| writers.wait_for(writer, 50));
        gaps.extend((0..3).map(|writer| writers.gap(writer, began, Instant::now())));
    }
    let (count, failures) = writers.finish();
    let max = show("rolling restart: gap of each connection", &mut gaps);
    println!("{count} writes, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
    assert_within(Duration::from_millis(500), "ROLLING_RESTARTS", max);
}

#[test]
fn a_busy_cluster_keeps_its_leader() {
    let _turn = TURN.lock();
    let replicas = Replicas::start_here(json!({}));
    let term = replicas.term();
    let script = replicas.dir.path().join("put.lua");
    let lua = "wrk.method = 'PUT' wrk.body = 'value' i = 0 \
               request = function() i = i + 1 return wrk.format(nil, '/k' .. i % 1000) end";
    std::fs::write(&script, lua).expect("the script");
    let seconds = rounds("BUSY_SECONDS", 8);
    let load = |node| {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c64", &format!("-d{seconds}s"), "-s"]).arg(&script);
        wrk.arg(replicas.url(node));
        wrk.stdout(std::process::Stdio::piped()).spawn().expect("wrk")
    };
    let loads: Vec<_> = (0..3).map(load).collect();
    for load in loads {
        let output = load.wait_with_output().expect("wrk");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate = text.lines().find(|line| line.starts_with("Requests/sec")).expect("a rate");
        println!("wrk -t1 -c64 PUT: {rate}");
    }
    assert_eq!(replicas.term(), term, "an election that nothing called for");
}

#[test]
fn a_node_that_was_cut_off_comes_back_quietly() {
    let _turn = TURN.lock();
    with_hosts("a_node_that_was_cut_off_comes_back_quietly", cut_hosts_off);
}

#[test]
fn a_leader_that_cannot_be_called_hands_over() {
    let _turn = TURN.lock();
    with_hosts("a_leader_that_cannot_be_called_hands_over", block_calls_to_the_leader);
}

/// Its own connections go out, so that the others hear its heartbeats.
fn block_calls_to_the_leader(hosts: [Host; 3]) {
    let replicas = Replicas::start(hosts, json!({}));
    let mut gaps = Vec::new();
    for _ in 0..rounds("BLOCKS", 1) {
        let leader = replicas.leader();
        let port = (PEER_PORT + leader).to_string();
        let block = |change| iptables(leader, &[change, "INPUT", "-p", "tcp", "--dport", &port]);
        let began = Instant::now();
        block("-A");
        for other in (0..3).filter(|node| *node != leader) {
            let url = format!("{}/key", replicas.url(other));
            wait_until("a follower serves", || support::put(&url, b"v").status == 204);
        }
        gaps.push(began.elapsed());
        assert_ne!(replicas.leader(), leader);
        block("-D");
        (0..3).for_each(|node| replicas.wait_ready(node));
    }
    show("calls to the leader blocked: until both others serve", &mut gaps);
}

/// Drops, or no longer drops, some packets of a host.
fn iptables(host: usize, rule: &[&str]) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("r{}", host + 1), "iptables", "-w"]);
    command.args(rule).args(["-j", "DROP"]);
    assert!(command.status().expect("ip").success());
}

/// Drops, or no longer drops, what a host says to other replicas and hears of
/// them; clients reach it all the same.
fn cut(host: usize, is_cut: bool) {
    let change = if is_cut { "-A" } else { "-D" };
    let ports = format!("{PEER_PORT}:{}", PEER_PORT + 2);
    for chain in ["INPUT", "OUTPUT"] {
        for side in ["--dport", "--sport"] {
            iptables(host, &[change, chain, "-p", "tcp", side, &ports]);
        }
    }
}

fn cut_hosts_off(hosts: [Host; 3]) {
    let replicas = Replicas::start(hosts, json!({}));
    let writers = Writers::start(&urls(&replicas));
    for is_leader in [true, false] {
        let who = if is_leader { "leader" } else { "follower" };
        let (mut at_cut, mut at_return, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds("CUTS", 2) {
            (0..3).for_each(|node| writers.wait_for(node, 20));
            let leader = replicas.leader();
            let gone = if is_leader { leader } else { (leader + 1) % 3 };
            let [cut_gap, return_gap, own] = cut_off_for_a_while(&replicas, &writers, gone);
            at_cut.push(cut_gap);
            at_return.push(return_gap);
            back.push(own);
        }
        let cut = show(&format!("{who} cut off: gap of the others' connections"), &mut at_cut);
        let row = format!("{who} back: gap of the others' connections");
        let returned = show(&row, &mut at_return);
        let own = show(&format!("{who} back: until its own connection goes on"), &mut back);
        assert_within(Duration::from_secs(1), "CUTS", cut);
        assert_within(Duration::from_millis(200), "CUTS", returned);
        // What it had under way is lost with its connections, or comes when
        // they try again.
        assert_within(Duration::from_secs(3), "CUTS", own);
    }
    writers.finish();
}

/// The gap of the other nodes' connections at the cut and at the return, and
/// how long it then takes until the node's own connection goes on.
fn cut_off_for_a_while(replicas: &Replicas, writers: &Writers, gone: usize) -> [Duration; 3] {
    let others_gap = |from| {
        let others = (0..3).filter(|node| *node != gone);
        let gaps = others.map(|node| writers.gap(node, from, Instant::now()));
        gaps.max().expect("two others")
    };
    let began = Instant::now();
    cut(gone, true);
    wait_for_the_others(writers, gone);
    // It refuses clients, and asks for votes if it followed.
    let ready = format!("{}/readyz", replicas.url(gone));
    wait_until("the node knows that it is alone", || support::get(&ready).status == 503);
    wait_for_the_others(writers, gone);
    let at_cut = others_gap(began);
    let term = replicas.term();
    let healed = Instant::now();
    cut(gone, false);
    writers.wait_for(gone, 20);
    wait_for_the_others(writers, gone);
    assert_eq!(replicas.term(), term, "the return called for an election");
    [at_cut, others_gap(healed), writers.next(gone, healed)]
}
