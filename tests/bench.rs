//! `gryadka-bench` measures what it says it does. Nothing here is judged by its
//! speed.

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::program;

#[test]
fn a_round_measures_each_work_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("figures.json");
    let mut bench = Command::new(program("gryadka-bench"));
    bench.args(["--rounds", "1", "--duration", "1s", "--keys", "500"]);
    bench.args(["--subjects", "caspaxos,raft,etcd-v2,limits", "--directory"]);
    bench.arg(directory.path().join("cluster")).arg("--json").arg(&json);
    let output = bench.output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let table = String::from_utf8_lossy(&output.stdout);
    for subject in ["| CASPaxos |", "| Raft |"] {
        let row =
            table.lines().find(|line| line.starts_with("| PUT/s, 64") && line.contains(subject));
        let cells: Vec<&str> = row.expect("a row").split(" | ").collect();
        assert!(cells[4].ends_with('x') && cells[4] != "0.00x", "{table}");
    }
    let cells: Vec<Value> = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
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

#[test]
fn bad_arguments_are_refused() {
    for (arguments, needle) in [
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
