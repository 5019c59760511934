//! `gryadka-bench` measures what it says it does. Nothing here is judged by its
//! speed.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use support::program;

#[test]
fn a_round_measures_each_work_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let subjects = "caspaxos,raft,etcd-v2,limits";
    let arguments = ["--rounds", "1", "--duration", "1s", "--keys", "500", "--subjects", subjects];
    let (table, cells) = measured(&arguments, directory.path());
    for subject in ["| CASPaxos |", "| Raft |"] {
        let row =
            table.lines().find(|line| line.starts_with("| PUT/s, 64") && line.contains(subject));
        let cells: Vec<&str> = row.expect("a row").split(" | ").collect();
        assert!(cells[4].ends_with('x') && cells[4] != "0.00x", "{table}");
    }
    let cells = cells.as_array().expect("cells");
    let figures = |metric: &str| cells.iter().filter(|cell| cell["metric"] == metric).count();
    for (metric, subjects) in
        [("put", 4), ("get", 3), ("increments", 3), ("hot-errors", 2), ("start", 2)]
    {
        assert_eq!(figures(metric), subjects, "{metric}: {cells:#?}");
    }
    let left = fs::read_dir(directory.path().join("cluster")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["wrk.lua"], "{left:?}");
}

/// The ports of its clusters are always the same.
static PORTS: Mutex<()> = Mutex::new(());

/// What `gryadka-bench` prints, and the figures that it wrote.
fn measured(arguments: &[&str], directory: &Path) -> (String, Value) {
    let _held = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let json = directory.join("figures.json");
    let mut bench = Command::new(program("gryadka-bench"));
    bench.args(arguments).arg("--directory").arg(directory.join("cluster"));
    let output = bench.arg("--json").arg(&json).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), figures)
}

#[test]
fn growth_is_measured_beside_etcd_and_drawn() {
    let directory = tempfile::tempdir().expect("a directory");
    let svg = directory.path().join("growth.svg");
    let svg_path = svg.to_str().expect("a plain path");
    let arguments =
        ["growth", "--rounds", "1", "--duration", "1s", "--dimensions", "nodes", "--svg", svg_path];
    let (table, growth) = measured(&arguments, directory.path());
    for nodes in ["| 3 |", "| 5 |", "| 7 |"] {
        assert!(table.lines().any(|line| line.starts_with(nodes)), "{table}");
    }
    assert_eq!(growth["points"].as_array().map(Vec::len), Some(9), "{growth}");
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.contains("PUT/s by nodes") && svg.contains("etcd v2"), "{svg}");
}

#[test]
fn a_curve_that_breaks_off_leaves_the_others_alone() {
    let _held = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("a directory");
    let mut bench = Command::new(program("gryadka-bench"));
    bench.args(["growth", "--rounds", "1", "--duration", "1s", "--dimensions", "nodes"]);
    // There is neither wrk nor etcd.
    bench.arg("--directory").arg(directory.path().join("cluster")).env("PATH", directory.path());
    let output = bench.output().expect("it runs");
    let (said, complaint) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    for subject in ["CASPaxos", "Raft", "etcd v2"] {
        assert!(said.contains(&format!("{subject} by nodes broke off: ")), "{said}");
    }
    let complaint = String::from_utf8_lossy(&complaint);
    assert!(complaint.contains("3 of the curves broke off"), "{complaint}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_soak_tells_of_each_window() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["soak", "raft", "--windows", "2", "--window", "1s", "--keys", "100"];
    let (table, soak) = measured(&arguments, directory.path());
    assert!(table.contains("The last window beside the second: 1.00x PUT/s"), "{table}");
    for window in soak["windows"].as_array().expect("windows") {
        let is_there = |field: &Value| field.as_u64().is_some_and(|number| number > 0);
        assert!(is_there(&window["memory_bytes"]) && is_there(&window["disk_bytes"]), "{window}");
    }
}

#[test]
fn bad_arguments_are_refused() {
    for (arguments, needle) in [
        (["growth", "--dimensions=mass"], "unknown variant `mass`"),
        (["soak", "mysql"], "unknown variant `mysql`"),
        (["soak", "limits"], "one of caspaxos, raft, caspaxos-on-redis, etcd-v2"),
        (["--rounds=1", "growth"], "growth"),
        (["--subjects", "mysql"], "unknown variant `mysql`"),
        (["--duration", "soon"], "soon"),
        (["--rounds", "x"], "invalid digit"),
    ] {
        let output = Command::new(program("gryadka-bench")).args(arguments).output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains(needle), "{arguments:?}: {complaint}");
    }
}
