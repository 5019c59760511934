//! `perseus suite` on a cluster of each protocol: static, concurrent, and with
//! nodes that die and come back; and that a wrong value does not pass.

#[macro_use]
mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{Cluster, Protocol, checkout, get, own_address, use_programs, wait_until};
use tempfile::TempDir;

on_both_protocols! {
    a_static_suite_counts_every_request
    several_clients_of_each_type_see_one_order
    nodes_die_and_come_back_in_turn
    ctrl_c_revives_the_node_that_is_dead
}

/// The report's lines, in their order.
const NAMES: [&str; 13] = [
    "put_succeed_cnt",
    "put_unknown_error_cnt",
    "put_connection_error_cnt",
    "put_failed_after_many_attempts_cnt",
    "get_succeed_cnt",
    "get_succeed_and_correct_cnt",
    "get_key_doesnt_exist_cnt",
    "get_unknown_error_cnt",
    "get_connection_error_cnt",
    "get_failed_after_many_attempts_cnt",
    "total_elapsed_time",
    "average_elapsed_time",
    "linearizable",
];

fn perseus() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseus"));
    command.env_remove("RUST_LOG").arg("suite");
    command
}

/// The lines of the report, by name.
fn report(output: &Output) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    let pairs: Vec<_> = pairs.filter(|(name, _)| !name.starts_with("round")).collect();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, NAMES, "{text}{}", String::from_utf8_lossy(&output.stderr));
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file_of(cluster: &Cluster) -> PathBuf {
    cluster.dir.path().join("cluster.json")
}

fn a_static_suite_counts_every_request(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let checkout = checkout();
    let plot = cluster.dir.path().join("plot.svg");
    let mut script = Command::new(checkout.path().join("bin/suite.sh"));
    use_programs(&mut script);
    script.arg("static").arg(file_of(&cluster)).args(["--requests", "40", "--keys", "7"]);
    let output = script.arg("--plot").arg(&plot).output().unwrap();
    let report = report(&output);
    assert!(output.status.success(), "{report:?} {}", errors(&output));
    for name in NAMES {
        let expected = match name {
            "put_succeed_cnt" | "get_succeed_cnt" | "get_succeed_and_correct_cnt" => "40",
            "linearizable" => "yes",
            "total_elapsed_time" | "average_elapsed_time" => continue,
            _ => "0",
        };
        assert_eq!(report[name], expected, "{name}");
    }
    let (total, average) = (&report["total_elapsed_time"], &report["average_elapsed_time"]);
    let seconds = |text: &String| text.parse::<f64>().unwrap();
    // Both are rounded to a millisecond.
    let of_requests = 80.0 * (seconds(average) - 0.0005);
    assert!(seconds(total) > 0.0 && seconds(total) >= of_requests - 0.0005, "{report:?}");
    let svg = fs::read_to_string(plot).unwrap();
    // A dot for each request, and two in the legend.
    assert_eq!(svg.matches("<circle").count(), 82);
    let left = get(&format!("{}/v2/keys/?recursive=true&quorum=true", cluster.url(0)));
    assert!(!left.text().contains("suite/"), "the keys are deleted: {}", left.text());
    assert_a_refused_kill_is_told(&cluster);
}

/// The nodes run without chaos, whatever the file says by now.
fn assert_a_refused_kill_is_told(cluster: &Cluster) {
    let file = fs::read_to_string(file_of(cluster)).unwrap();
    let changed = cluster.dir.path().join("changed.json");
    fs::write(&changed, file.replace(r#""chaos":false"#, r#""chaos":true"#)).unwrap();
    let output = perseus().arg("dynamic").arg(&changed).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let errors = errors(&output);
    assert!(errors.contains("was not killed") && errors.contains("status 403"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "there is nothing to revive: {errors}");
}

fn several_clients_of_each_type_see_one_order(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let checkout = checkout();
    let mut script = Command::new(checkout.path().join("bin/concurrent-suite.sh"));
    use_programs(&mut script);
    script.arg("static").arg(file_of(&cluster));
    let output = script.args(["--requests", "10", "--keys", "3", "-w", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let reports = String::from_utf8(output.stdout).unwrap();
    let reports: Vec<Value> =
        reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 4, "put, get, put-then-get, mix");
    for (report, (puts, gets)) in reports.iter().zip([(50, 0), (0, 50), (50, 50)]) {
        assert_eq!(report["put_succeed_cnt"], puts, "{report}");
        assert_eq!(report["get_succeed_cnt"], gets, "{report}");
    }
    let mixed = |name: &str| reports[3][name].as_u64().unwrap();
    assert_eq!(mixed("put_succeed_cnt") + mixed("get_succeed_cnt"), 50);
    assert!(mixed("put_succeed_cnt") > 0 && mixed("get_succeed_cnt") > 0, "{}", reports[3]);
    for report in &reports {
        assert!(NAMES.iter().all(|name| !report[name].is_null()), "{report}");
        assert_eq!(report["get_succeed_and_correct_cnt"], report["get_succeed_cnt"], "{report}");
        assert_eq!(report["linearizable"], "yes", "{report}");
    }
}

fn is_killed(cluster: &Cluster, node: usize) -> bool {
    get(&format!("{}/chaos", cluster.admin_url(node))).json()["killed"] == true
}

fn nodes_die_and_come_back_in_turn(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 3);
    for (clients, requests) in [("1", "15"), ("4", "8")] {
        let mut suite = perseus();
        suite.arg("dynamic").arg(file_of(&cluster)).args(["--rounds", "3", "--keys", "5"]);
        let output = suite.args(["--clients", clients, "--requests", requests]).output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success(), "{text}{}", errors(&output));
        let report = report(&output);
        let rounds: Vec<&str> = text.lines().filter(|line| line.starts_with("round ")).collect();
        let done = |round: usize, done: &str| {
            let (_, rest) = rounds[round].split_once(": ").unwrap();
            let words = rest.strip_prefix(done).unwrap_or_else(|| panic!("{done}: {rest}"));
            words.split_once(", ").unwrap().0.trim().to_owned()
        };
        assert_eq!(rounds.len(), 3, "{text}");
        assert_eq!(done(0, "killed"), done(1, "revived"), "{text}");
        done(2, "killed");
        let leads = |round: &&str| round.contains(", leader p");
        let expected = if protocol == Protocol::Raft { 3 } else { 0 };
        assert_eq!(rounds.iter().filter(|round| leads(round)).count(), expected, "{text}");
        let total: usize = NAMES[..10]
            .iter()
            .filter(|name| **name != "get_succeed_and_correct_cnt")
            .map(|name| report[*name].parse::<usize>().unwrap())
            .sum();
        let product = clients.parse::<usize>().unwrap() * requests.parse::<usize>().unwrap();
        assert_eq!(total, 3 * 2 * product, "{text}");
        assert!((0..3).all(|node| !is_killed(&cluster, node)), "all live again");
    }
}

fn ctrl_c_revives_the_node_that_is_dead(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 3);
    let mut suite = perseus();
    suite.arg("dynamic").arg(file_of(&cluster)).args(["--rounds", "9", "--requests", "2000"]);
    let mut suite = suite.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a node is killed", || (0..3).any(|node| is_killed(&cluster, node)));
    let pid = suite.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(suite.wait().unwrap().code(), Some(130));
    assert!((0..3).all(|node| !is_killed(&cluster, node)), "all live again");
}

/// How a node answers that does not do as it should.
#[derive(Clone, Copy)]
enum Behaviour {
    /// A get is answered with the first value that the key ever had.
    OldValues,
    /// A put is taken, and the connection closed.
    SilentPuts,
    /// The connection is closed instead of an answer to a get of a key that was written.
    NoGets,
}

/// A node that misbehaves, and its cluster file.
struct Fake {
    dir: TempDir,
    /// Of each key, in order.
    values: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Fake {
    fn start(behaviour: Behaviour) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let values: Arc<Mutex<HashMap<String, Vec<String>>>> = Arc::default();
        let shared = values.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, values) = (stream.unwrap(), shared.clone());
                // It ends when the client leaves.
                std::thread::spawn(move || while answer(&stream, behaviour, &values).is_some() {});
            }
        });
        Fake { dir: alone_at(&format!("127.0.0.1:{port}")), values }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("cluster.json")
    }
}

/// A cluster file of one node.
fn alone_at(client: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = json!({
        "cluster": "test",
        "nodes": { "p1": { "listen": { "client": client } } },
        "acceptors": { "a1": { "node": "p1", "storage": { "embedded": {} } } },
        "proposers": {
            "p1": { "node": "p1", "acceptors": ["a1"], "quorum": { "read": 1, "write": 1 } },
        },
    });
    fs::write(dir.path().join("cluster.json"), file.to_string()).unwrap();
    dir
}

/// Reads one request and answers it; `None` when the connection is over.
fn answer(
    mut stream: &TcpStream,
    behaviour: Behaviour,
    values: &Mutex<HashMap<String, Vec<String>>>,
) -> Option<()> {
    let (method, path, body) = read_request(stream)?;
    let key = path.split('?').next()?.to_owned();
    let mut values = values.lock().unwrap();
    let values = values.entry(key).or_default();
    if let Some(value) = body.strip_prefix("value=") {
        values.push(value.to_owned());
    }
    let node = |value: &str, index| json!({ "value": value, "createdIndex": index, "modifiedIndex": index });
    let (status, body) = match (method.as_str(), behaviour) {
        ("PUT", Behaviour::SilentPuts) => return None,
        ("GET", Behaviour::NoGets) if !values.is_empty() => return None,
        ("PUT", Behaviour::OldValues | Behaviour::NoGets) => {
            let before = values.len() - 1;
            let before = (before > 0).then(|| node(&values[before - 1], before));
            (200, json!({ "node": node(values.last()?, values.len()), "prevNode": before }))
        }
        ("GET", _) if !values.is_empty() => (200, json!({ "node": node(&values[0], 1) })),
        _ => (404, json!({ "errorCode": 100, "index": 0 })),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).ok()
}

/// Its method, path and body.
fn read_request(stream: &TcpStream) -> Option<(String, String, String)> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?, String::from_utf8(body).ok()?))
}

#[test]
fn an_old_value_fails_the_suite() {
    let fake = Fake::start(Behaviour::OldValues);
    for (clients, expected) in [("1", "what was written last is"), ("3", "not linearizable")] {
        let mut suite = perseus();
        suite.arg("static").arg(fake.file()).args(["--requests", "9", "--keys", "1"]);
        let output = suite.args(["--clients", clients]).output().unwrap();
        let report = report(&output);
        assert_eq!(output.status.code(), Some(1), "{report:?}");
        assert_eq!(report["linearizable"], "no");
        assert_eq!(report["get_succeed_and_correct_cnt"], "0");
        assert_ne!(report["get_succeed_cnt"], "0");
        assert!(errors(&output).contains(expected), "{}", errors(&output));
    }
}

#[test]
fn a_put_of_unknown_outcome_is_counted_and_not_sent_again() {
    let fake = Fake::start(Behaviour::SilentPuts);
    let mut suite = perseus();
    suite.arg("static").arg(fake.file()).args(["--requests", "5", "--type", "put"]);
    let output = suite.output().unwrap();
    let report = report(&output);
    assert_eq!(report["put_unknown_error_cnt"], "5");
    assert_eq!((output.status.code(), &*report["linearizable"]), (Some(1), "yes"));
    assert!(errors(&output).contains("nothing succeeded"), "{}", errors(&output));
    let sent: usize = fake.values.lock().unwrap().values().map(Vec::len).sum();
    assert_eq!(sent, 5);
}

#[test]
fn nodes_that_are_not_there_end_the_suite_and_nothing_is_judged() {
    let dir = alone_at(&format!("{}:1", own_address()));
    let mut suite = perseus();
    suite.arg("static").arg(dir.path().join("cluster.json"));
    // So many that nobody would wait for their end.
    let output = suite.args(["--clients", "50", "--requests", "1000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let expected = ["no node answers, so nothing is checked", "cannot connect"];
    assert!(expected.iter().all(|part| errors(&output).contains(part)), "{}", errors(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("# static") && said.lines().count() == 1, "{said}");
}

#[test]
fn nodes_that_go_in_its_middle_end_the_suite_too() {
    let fake = Fake::start(Behaviour::NoGets);
    let mut suite = perseus();
    suite.arg("static").arg(fake.file()).args(["--type", "get", "--requests", "10000"]);
    let output = suite.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("no node answers"), "{}", errors(&output));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("linearizable"));
}

#[test]
fn bad_arguments_are_named_with_a_remedy() {
    let dir = alone_at("127.0.0.1:1");
    let file = dir.path().join("cluster.json");
    let file = file.to_str().unwrap();
    let nowhere = Path::new("/no/such/directory/plot.svg").to_str().unwrap();
    for (arguments, expected) in [
        (&[][..], &["static|dynamic"][..]),
        (&["static"], &["CLUSTER.json"]),
        (&["wild", file], &["\"wild\"", "static or dynamic"]),
        (&["static", "none.json"], &["none.json"]),
        (&["dynamic", file], &["\"chaos\": true"]),
        (&["static", file, "--rounds", "2"], &["--rounds", "dynamic"]),
        (&["static", file, "--ratio", "1:2"], &["--ratio", "mix"]),
        (&["static", file, "--type", "mix", "--ratio", "0:0"], &["\"0:0\"", "35:65"]),
        (&["static", file, "--type", "all"], &["\"all\"", "put-then-get"]),
        (&["static", file, "--clients", "101"], &["\"101\"", "1 to 100"]),
        (&["static", file, "--clients", "9", "--requests", "99999"], &["too many", "--requests"]),
        (&["static", file, "-w", "yaml"], &["\"yaml\"", "table or json"]),
        (&["static", file, "--plot", nowhere], &["--plot", nowhere]),
    ] {
        let output = perseus().args(arguments).output().unwrap();
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        for part in expected {
            assert!(errors.contains(part), "{arguments:?}: {part} is not in: {errors}");
        }
    }
    let help = perseus().arg("--help").output().unwrap();
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("EXIT CODES"));
}

#[test]
fn the_scripts_say_how_they_are_used() {
    let checkout = checkout();
    for name in ["suite.sh", "concurrent-suite.sh"] {
        for arguments in [&[][..], &["wild"]] {
            let mut script = Command::new(checkout.path().join("bin").join(name));
            let output = script.args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            let told = errors(&output);
            let expected = ["static or dynamic", &format!("usage: bin/{name} ")];
            assert!(expected.iter().all(|part| told.contains(part)), "{told}");
        }
    }
    let mut script = Command::new(checkout.path().join("bin/concurrent-suite.sh"));
    let output = script.args(["static", "--plot", "plot.svg"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("give --type"), "{}", errors(&output));
}
