//! `gryadka` without arguments: the demonstration that the README starts with.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Process, get, program, request, wait_until};

/// A base port that no other run of this test has, below the ports that the
/// system gives to outgoing connections.
fn base_port(test: u32) -> String {
    (10_000 + (std::process::id() * 3 + test) % 60 * 300).to_string()
}

fn demo(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("gryadka"));
    command.current_dir(dir).args(arguments).stdin(Stdio::null());
    command
}

/// How many processes have this directory as their working directory.
fn processes_in(dir: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir))
        .count()
}

/// The columns of the lines of a run.
fn rows(output: &str) -> Vec<Vec<u64>> {
    let lines = output.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').map(|cell| cell.parse().expect(line)).collect()).collect()
}

/// Starts the nodes of an earlier run once more and reads what they hold.
fn value_of_key0(dir: &Path, base_port: &str) -> u64 {
    let mut nodes: Vec<Process> = Vec::new();
    for name in ["p1", "p2", "p3"] {
        let mut command = Command::new(program("gryadka"));
        command.current_dir(dir).arg(format!("data/demo/deployment/{name}.json"));
        nodes.push(Process::start(&mut command, &dir.join("again.log")));
    }
    let url = format!("http://127.0.0.1:{}", base_port.parse::<u16>().unwrap() + 1);
    wait_until("the nodes serve", || {
        request("GET", &format!("{url}/readyz"), None).is_ok_and(|answer| answer.status == 200)
    });
    get(&format!("{url}/key0")).text().parse().expect("a count")
}

#[test]
fn it_counts_on_all_nodes_leaves_nothing_and_keeps_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let base_port = base_port(0);
    let mut before = 0;
    for run in 0..2 {
        let output =
            demo(&path, &["--duration", "5s", "--base-port", &base_port]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let rows = rows(&text);
        assert!(rows.len() >= 4, "{text}");
        for (row, second) in rows.iter().zip(1..) {
            assert_eq!((row.len(), row[0]), (5, second), "{text}");
            assert_eq!(row[1], row[2..].iter().sum::<u64>(), "{text}");
            assert!(second <= 2 || row[2..].iter().all(|count| *count > 0), "{text}");
        }
        // The load counts up from 0, so all successes are in the value.
        let counted = rows.iter().map(|row| row[2]).sum::<u64>();
        let value = value_of_key0(&path, &base_port);
        assert!(value + 1 >= before + counted, "{value} after {before} and {counted} more");
        before = value;
        let kept = if run == 0 { "kept for the next run" } else { "that of an earlier run" };
        assert!(text.contains(kept), "{text}");
        assert_eq!(processes_in(&path), 0);
    }
}

#[test]
fn the_nodes_die_with_a_parent_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let mut parent =
        demo(&path, &["--base-port", &base_port(1)]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let started = lines.map_while(Result::ok).find(|line| line.starts_with("1\t"));
    assert!(started.is_some() && processes_in(&path) == 4);
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("no node is left", || processes_in(&path) == 0);
}

#[test]
fn a_taken_port_is_said_with_2_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let base_port = base_port(2);
    let port = base_port.parse::<u16>().unwrap() + 2;
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = demo(&path, &["--base-port", &base_port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port} cannot be used")), "{said}");
    assert_eq!(processes_in(&path), 0);
}

#[test]
fn a_second_demonstration_neither_joins_nor_harms_the_first() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = first.path().canonicalize().unwrap();
    let base_port = base_port(3);
    let arguments = ["--base-port", &base_port];
    let mut running = demo(&first, &arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut next = |start: &str| lines.find(|line| line.as_ref().unwrap().starts_with(start));
    assert!(next("1\t").is_some());
    // In its directory, and from another one on its ports.
    for (dir, needle) in
        [(first.as_path(), "data/demo is in use"), (second.path(), "cannot be used")]
    {
        let output = demo(dir, &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(needle), "{said}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("three nodes"));
    }
    let line = next("3\t").unwrap().unwrap();
    assert!(line.split('\t').all(|count| count != "0"), "{line}");
    Command::new("kill").arg("-INT").arg(running.id().to_string()).status().unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(processes_in(&first), 0);
}

#[test]
fn a_node_that_is_killed_is_told_of_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let mut command = demo(&path, &["--base-port", &base_port(4), "--duration", "5s"]);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok);
    let guide = stdout.find(|line| line.contains("p2 (pid ")).unwrap();
    let pid = guide.split("p2 (pid ").nth(1).unwrap().split(')').next().unwrap().to_string();
    assert!(stdout.any(|line| line.starts_with("1\t")));
    Command::new("kill").args(["-9", &pid]).status().unwrap();
    let rows = rows(&stdout.collect::<Vec<_>>().join("\n"));
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("# p2 ended (signal: 9"), "{said}");
    let [.., last] = rows.as_slice() else { panic!("no rows") };
    assert!(last[2] > 0 && last[3] == 0 && last[4] > 0, "{rows:?}");
}
