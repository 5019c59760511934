//! Acceptors come and go while clients work, nodes are killed and the
//! operator's tool is killed: nothing that was acknowledged is lost.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::load::Load;
use support::{Cluster, Process, Protocol, get, own_address, program, put, request, wait_until};

/// Three full nodes, and nodes with an acceptor each that stand by.
struct Members {
    /// First, so that their logs are there when they end.
    standbys: BTreeMap<&'static str, Option<Process>>,
    cluster: Cluster,
}

const STANDBYS: [&str; 3] = ["a4", "a5", "a6"];

impl Members {
    fn start() -> Members {
        let address = own_address();
        let mut file = json!({ "cluster": "test", "nodes": {}, "acceptors": {}, "proposers": {} });
        for i in 1..=3 {
            let (node, acceptor) = (format!("p{i}"), format!("a{i}"));
            file["nodes"][&node] = json!({ "listen": {
                "client": format!("{address}:{}", 8000 + i),
                "peer": format!("{address}:{}", 8100 + i),
                "admin": format!("{address}:{}", 8200 + i),
            }});
            file["acceptors"][acceptor] = json!({ "node": node, "storage": { "embedded": {} } });
            file["proposers"][&node] = json!({
                "node": node, "acceptors": ["a1", "a2", "a3"], "quorum": { "read": 2, "write": 2 },
                "shards": if node == "p2" { 3 } else { 1 },
            });
        }
        for (port, name) in (8104..).zip(STANDBYS) {
            file["nodes"][name] = json!({ "listen": { "peer": format!("{address}:{port}") } });
            file["acceptors"][name] = json!({ "node": name, "storage": { "embedded": {} } });
        }
        let cluster = Cluster::of_file(Protocol::Caspaxos, &file, address);
        let mut members = Members { cluster, standbys: BTreeMap::new() };
        STANDBYS.iter().for_each(|name| members.launch_standby(name));
        members
    }

    fn dir(&self) -> &Path {
        self.cluster.dir.path()
    }

    fn launch_standby(&mut self, name: &'static str) {
        let mut command = Command::new(program("gryadka"));
        command.current_dir(self.dir()).arg(format!("deployment/{name}.json"));
        let process = Process::start(&mut command, &self.dir().join(format!("{name}.log")));
        self.standbys.insert(name, Some(process));
    }

    /// The operator's tool.
    fn control(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("gryadkactl"));
        command.current_dir(self.dir()).args(["acceptors", words[0], "cluster.json"]);
        command.args(&words[1..]);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.control(words).output().unwrap()
    }

    /// Runs the tool, which must succeed; what it said.
    fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}{complaint}");
        said
    }

    /// Adds an acceptor that had lost its memory. With that of its whole node the
    /// proposer there lost its own too, and may have had a promise from it under the
    /// founding configuration before it learned better: then it is wiped, as the
    /// tool says.
    fn grow_again(&self, acceptor: &str, may_hold_promises: bool) {
        let output = self.run(&["grow", acceptor]);
        let said = String::from_utf8_lossy(&output.stderr);
        let remedy = format!("gryadkactl acceptors wipe CLUSTER.json {acceptor}");
        if may_hold_promises && said.contains(&remedy) {
            assert_eq!(output.status.code(), Some(3), "{said}");
            let peer = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
            let place = format!(r#"{{"id":"{acceptor}","peer":"{peer}"}}"#);
            let url = format!("{}/acceptors/status", self.cluster.admin_url(0));
            let shown = request("POST", &url, Some(("application/json", place.as_bytes())));
            let status = shown.unwrap().json()["status"].clone();
            // Nothing but promises: it accepted no value.
            let registers = status["registers"].as_u64().unwrap_or_else(|| panic!("{status}"));
            assert!(registers > 0 && status["deleted"] == registers, "{status}");
            self.must(&["wipe", acceptor]);
            self.must(&["grow", acceptor]);
        } else {
            assert!(output.status.success(), "{said}");
        }
    }

    fn begin(&self, words: &[&str]) -> Child {
        let path = self.dir().join("control.log");
        let log = fs::File::options().create(true).append(true).open(path).unwrap();
        let mut command = self.control(words);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// The configuration at a node, which is the same at all nodes but for the name of
    /// its proposer.
    fn configuration(&self, node: usize) -> Value {
        let mut shown = get(&format!("{}/configuration", self.cluster.admin_url(node))).json();
        assert_eq!(shown["proposerId"].take(), format!("p{}", node + 1));
        shown
    }

    /// How an acceptor stands, if it answers.
    fn status(&self, node: usize, acceptor: &str) -> Option<Value> {
        let url = format!("{}/acceptors", self.cluster.admin_url(node));
        let all = request("GET", &url, None).ok()?.json();
        let found = all.as_array()?.iter().find(|each| each["id"] == acceptor)?.clone();
        Some(found["status"].clone()).filter(|status| !status.is_null())
    }

    /// All proposers have these acceptors and no others, once and for all.
    fn assert_settled(&self, acceptors: &[&str]) {
        let first = self.configuration(0);
        for node in 0..3 {
            let configuration = self.configuration(node);
            assert_eq!(configuration, first, "p{} differs", node + 1);
            for list in ["prepare", "accept"] {
                let nodes = configuration[list]["nodes"].as_array().unwrap();
                let mut ids: Vec<&str> =
                    nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
                ids.sort_unstable();
                assert_eq!(ids, acceptors, "{configuration:#}");
                assert_eq!(configuration[list]["quorum"], acceptors.len() / 2 + 1);
            }
            assert_eq!(configuration["settled"], true, "{configuration:#}");
        }
    }
}

/// What happens while the tool is at work.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// A full node is killed and started again.
    Node(usize),
    /// A node with an acceptor alone.
    Standby(&'static str),
    /// The tool itself; it is run again until it is done.
    Control,
}

fn draw(random: &mut SmallRng) -> Fault {
    match random.random_range(0..10) {
        0..2 => Fault::None,
        2..5 => Fault::Node(random.random_range(0..3)),
        5..7 => Fault::Standby(STANDBYS.choose(random).expect("some")),
        _ => Fault::Control,
    }
}

/// Does one operation while something fails at a random moment, and once more
/// until it is done.
fn operate(members: &mut Members, load: &Load, words: &[&str], fault: Fault, delay: Duration) {
    let mut control = members.begin(words);
    std::thread::sleep(delay);
    match fault {
        Fault::None => {}
        Fault::Control => {
            // It may be done already.
            let _ = control.kill();
        }
        Fault::Node(node) => {
            load.excuse_death(node, None);
            members.cluster.kill(node);
            load.wait_for_answers(20);
            members.cluster.launch(node);
            load.expect_service(&members.cluster, &[node]);
        }
        Fault::Standby(name) => {
            drop(members.standbys.insert(name, None));
            load.wait_for_answers(20);
            members.launch_standby(name);
        }
    }
    let status = control.wait().unwrap();
    if matches!(fault, Fault::Control) && status.code().is_none() {
        members.must(words);
        return;
    }
    let said = fs::read_to_string(members.dir().join("control.log")).unwrap();
    assert!(status.success(), "{words:?} with {fault:?}: {status}: {said}");
}

/// How long a connection to a living node may go without an answer.
const GOAL: Duration = Duration::from_millis(200);

/// From three acceptors to five and back, and a replacement there and back.
const ROUND: [(&[&str], &str); 10] = [
    (&["grow", "a4"], ""),
    (&["grow", "a5"], ""),
    (&["shrink", "a4"], ""),
    (&["shrink", "a5"], "a1 a2 a3"),
    (&["replace", "a3", "a6"], "a1 a2 a6"),
    (&["wipe", "a3"], ""),
    (&["replace", "a6", "a3"], "a1 a2 a3"),
    (&["wipe", "a4"], ""),
    (&["wipe", "a5"], ""),
    (&["wipe", "a6"], ""),
];

#[test]
fn acceptors_come_and_go_and_nothing_is_lost() {
    let campaign = std::env::var("MEMBERSHIP_ROUNDS").ok();
    let rounds: u64 = campaign.as_ref().map_or(5, |text| text.parse().expect("MEMBERSHIP_ROUNDS"));
    let mut members = Members::start();
    let mut load = Load::start(&members.cluster, 6);
    let mut random = SmallRng::seed_from_u64(rounds);
    // What a busy machine does to clients without any change.
    load.wait_for_answers(1_000);
    println!("longest gap before: {:.0?}", load.take_longest_gap());
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let started = Instant::now();
        let mut faults = Vec::new();
        for (words, settled) in ROUND {
            load.write_cold(&members.cluster, random.random_range(0..3));
            if words[0] == "wipe" {
                members.must(words);
                continue;
            }
            let fault = draw(&mut random);
            let delay = Duration::from_millis(random.random_range(0..1000));
            operate(&mut members, &load, words, fault, delay);
            faults.push(fault);
            if !settled.is_empty() {
                members.assert_settled(&settled.split(' ').collect::<Vec<_>>());
            }
        }
        let gap = load.take_longest_gap();
        longest = longest.max(gap);
        println!("round {round}: {:.1?}, longest gap {gap:.0?}, {faults:?}", started.elapsed());
    }
    println!("longest gap of a connection to a node that lived: {longest:.0?} (goal: {GOAL:?})");
    // Among other tests it says more of the machine.
    assert!(campaign.is_none() || longest < GOAL, "{longest:?}");
    members.assert_settled(&["a1", "a2", "a3"]);
    load.finish_and_check(&members.cluster);
}

/// A proposer that misses two steps is turned away by the acceptors, learns
/// them and serves rightly.
#[test]
fn a_proposer_that_sleeps_through_two_steps_serves_rightly() {
    let mut members = Members::start();
    members.must(&["grow", "a4"]);
    let url = |node: usize, key: &str| format!("http://{}/{key}", members.cluster.host(node));
    let (first, third) = (url(0, "k"), url(2, "k"));
    assert_eq!(put(&third, b"before").status, 204);
    // What it keeps of the key would let it write in one round trip.
    members.cluster.node(2).signal("STOP");
    let said = members.run(&["shrink", "a4", "--patience", "5s"]);
    let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{complaint}");
    assert!(complaint.contains("proposer p3 is down and will find out"), "{complaint}");
    assert_eq!(put(&first, b"meanwhile").status, 204);
    members.cluster.node(2).signal("CONT");
    assert_eq!(get(&third).text(), "meanwhile");
    assert_eq!(put(&third, b"after").status, 204);
    assert_eq!(get(&first).text(), "after");
    members.assert_settled(&["a1", "a2", "a3"]);
    // The same with one that is not there at all.
    members.cluster.kill(2);
    members.must(&["wipe", "a4"]);
    members.must(&["replace", "a2", "a4"]);
    assert_eq!(put(&first, b"without it").status, 204);
    members.cluster.launch(2);
    members.cluster.wait_ready(2);
    assert_eq!(get(&third).text(), "without it");
    assert_eq!(put(&third, b"back").status, 204);
    assert_eq!(get(&first).text(), "back");
    members.assert_settled(&["a1", "a3", "a4"]);
}

/// An acceptor that lost its memory is no acceptor of the cluster any more.
#[test]
fn an_acceptor_whose_data_is_gone_is_refused_until_it_is_added_anew() {
    let mut members = Members::start();
    members.must(&["grow", "a4"]);
    let load = Load::start(&members.cluster, 3);
    // Of a node with an acceptor alone, then of a full node.
    for (acceptor, node) in [("a4", None), ("a3", Some(2))] {
        let data = members.dir().join(format!("data/{}", node.map_or("a4", |_| "p3")));
        match node {
            None => drop(members.standbys.insert("a4", None)),
            Some(node) => {
                load.excuse_death(node, None);
                members.cluster.kill(node);
            }
        }
        fs::remove_dir_all(&data).unwrap();
        match node {
            None => members.launch_standby("a4"),
            Some(node) => {
                members.cluster.launch(node);
                load.expect_service(&members.cluster, &[node]);
            }
        }
        load.wait_for_answers(100);
        let log = members.dir().join("p1.log");
        wait_until("p1 complains", || {
            let said = fs::read_to_string(&log).unwrap();
            let needle = format!("acceptor {acceptor} is refused");
            said.lines().any(|line| line.contains(&needle) && line.contains("gryadkactl acceptors"))
        });
        let status = members.status(0, acceptor).expect("it answers");
        assert_eq!(status["isEnrolled"], false, "{acceptor}: {status}");
        // As the complaint says, and the table.
        let table = members.must(&["dump"]);
        let lost = |line: &str| line.contains("lost its memory: shrink, then grow it");
        let lost: Vec<&str> = table.lines().filter(|line| lost(line)).collect();
        assert!(lost.len() == 1 && lost[0].starts_with(acceptor), "{table}");
        members.must(&["shrink", acceptor]);
        members.grow_again(acceptor, node.is_some());
        assert_eq!(members.status(0, acceptor).unwrap()["isEnrolled"], true);
    }
    members.assert_settled(&["a1", "a2", "a3", "a4"]);
    load.finish_and_check(&members.cluster);
}

/// What would be unsafe is refused with a status and a line that helps.
#[test]
fn what_is_unsafe_is_refused_with_the_remedy() {
    let members = Members::start();
    let refused = |members: &Members, words: &[&str], code: i32, needle: &str| {
        let output = members.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(needle) && said.trim_end().lines().count() == 1, "{words:?}: {said}");
    };
    refused(&members, &["grow", "a9"], 2, "there are a1, a2, a3, a4, a5, a6");
    refused(&members, &["add-accept", "p9", "a4", "3"], 2, "there are p1, p2, p3");
    refused(&members, &["rescan", "--rate", "0"], 2, "use 1 or more");
    refused(&members, &["add-accept", "all", "a4", "2"], 3, "need not meet");
    refused(&members, &["replace", "a5", "a6"], 3, "a5 is in neither list");
    refused(&members, &["wipe", "a1"], 3, "take it out first");
    refused(&members, &["ls", "a4"], 3, "is in neither list");
    assert_eq!(put(&format!("{}/k", members.cluster.url(0)), b"v").status, 204);
    assert!(members.must(&["ls", "a1"]).contains("k\t1\t"));
    assert!(members.must(&["shrink", "a4"]).starts_with("done: a1,a2,a3"));
    members.must(&["add-accept", "p2", "a4", "3"]);
    refused(&members, &["grow", "a5"], 3, "a change of a4 is under way");
    assert!(members.must(&["shrink", "a4"]).contains("done: a1,a2,a3"));
    refused(&members, &["grow", "a4"], 3, "gryadkactl acceptors wipe CLUSTER.json a4");
    members.must(&["wipe", "a4"]);
    // Nobody is where it is said to be; then it is said rightly.
    let file = members.dir().join("cluster.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(":8104", ":8199")).unwrap();
    refused_slowly(&members);
    fs::write(&file, text).unwrap();
    assert!(members.must(&["grow", "a4"]).contains("done: a1,a2,a3,a4"));
    members.assert_settled(&["a1", "a2", "a3", "a4"]);
}

/// One that does not answer may yet do so, so it is asked for a while.
fn refused_slowly(members: &Members) {
    let output = members.run(&["grow", "a4", "--patience", "1s"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("acceptor a4 does not answer"), "{said}");
    assert!(last.contains("a4 is said to be at") && last.contains(":8199"), "{said}");
    assert!(last.contains("no step is half done: run the same command again"), "{said}");
}
