//! The scripts that start ten nodes, ask them, upset them and stop them, as
//! docs/chaos.md has them.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{own_address, use_programs, wait_until};
use tempfile::TempDir;

/// The scripts and a cluster file, on an address of their own.
fn checkout(config: &str) -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("configs")).unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    for entry in fs::read_dir(root.join("bin")).unwrap().flatten() {
        fs::copy(entry.path(), dir.path().join("bin").join(entry.file_name())).unwrap();
    }
    fs::copy(root.join("matrix"), dir.path().join("matrix")).unwrap();
    symlink(root.join("Cargo.toml"), dir.path().join("Cargo.toml")).unwrap();
    let text = fs::read_to_string(root.join("configs").join(config)).unwrap();
    let text = text.replace("127.0.0.1", &own_address());
    fs::write(dir.path().join("configs").join(config), text).unwrap();
    dir
}

struct Scripts {
    dir: TempDir,
    config: String,
}

impl Scripts {
    fn run(&self, line: &str) -> Output {
        let line = line.replace("CONFIG", &self.config);
        let mut command = Command::new("bash");
        command.current_dir(self.dir.path()).args(["-c", &format!("exec {line}")]);
        use_programs(&mut command);
        command.output().unwrap()
    }

    fn must(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}{complaint}");
        said
    }

    fn refused(&self, line: &str, code: i32, needle: &str) {
        let output = self.run(line);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {complaint}");
        assert!(complaint.contains(needle), "{line}: {complaint}");
    }
}

/// Whatever a test came to, it leaves no process behind.
impl Drop for Scripts {
    fn drop(&mut self) {
        self.run("bin/stop_server.sh CONFIG");
    }
}

fn ten_nodes_run_are_upset_and_stop(config: &str) {
    let config_path = format!("configs/{config}");
    let scripts = Scripts { dir: checkout(config), config: config_path };
    // The shipped matrix is for ten nodes, and is what people edit.
    let matrix = scripts.dir.path().join("matrix");
    let (last, rows) = ("0.0 ".repeat(9) + "0.0\n", fs::read_to_string(&matrix).unwrap());
    assert_eq!(rows, last.repeat(10));
    fs::write(&matrix, last.repeat(9) + "0.25" + &last[3..]).unwrap();
    let began = Instant::now();
    let said = scripts.must("bin/start_server.sh CONFIG");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    println!("started in {:.1?}\n{said}", began.elapsed());
    for node in 0..10 {
        assert!(said.lines().any(|line| line.starts_with(&format!("s{node}    yes"))), "{said}");
    }
    assert_eq!(scripts.must("bin/client.sh CONFIG put color green"), "OK\n");
    assert_eq!(scripts.must("bin/client.sh CONFIG get color"), "green\n");
    scripts.refused("bin/client.sh CONFIG get nothing", 3, "key \"nothing\" does not exist");
    scripts.refused("bin/client.sh CONFIG frobnicate x", 2, "Invalid operation");

    // It was uploaded.
    let shown = scripts.must("bin/chaos-client.sh CONFIG get");
    assert_eq!(shown.lines().last(), Some(&*("0.25".to_owned() + &" 0.00".repeat(9))));

    // What is stored, by any node.
    wait_until("s0 has applied it", || {
        let log = scripts.must("bin/client.sh CONFIG debug log");
        let log: Value = serde_json::from_str(&log).unwrap();
        log["pairs"] == json!({ "color": "green" }) && log["pairsLeftOut"] == 0
    });
    if config == "ten-nodes.json" {
        every_replica_says_who_leads(&scripts);
    }

    // The matrix, and what is no matrix.
    let (first, others) = ("0 0.126 ".to_owned() + &"0 ".repeat(8), "0 ".repeat(10) + "\n");
    fs::write(scripts.dir.path().join("matrix"), first + "\n" + &others.repeat(9)).unwrap();
    assert_eq!(scripts.must("bin/chaos-client.sh CONFIG upload matrix"), "version 2 at 10 nodes\n");
    let first_row = |text: String| text.lines().next().unwrap().to_owned();
    let zeros = "0.00 ".repeat(8);
    let shown = first_row(scripts.must("bin/chaos-client.sh CONFIG get"));
    assert_eq!(shown, format!("0.00 0.13 {}", zeros.trim_end()));
    scripts.must("bin/chaos-client.sh CONFIG edit 0 s1 0.5");
    for node in ["s0", "9"] {
        let shown = first_row(scripts.must(&format!("bin/chaos-client.sh CONFIG get {node}")));
        assert_eq!(shown, format!("0.00 0.50 {}", zeros.trim_end()));
    }
    scripts.must("bin/chaos-client.sh CONFIG edit --delay s0 s1 20~5");
    let shown = first_row(scripts.must("bin/chaos-client.sh CONFIG get --delay s4"));
    assert!(shown.starts_with("0 20~5 0 "), "{shown}");
    fs::write(scripts.dir.path().join("bad"), "0 2\n0 0\n").unwrap();
    for (line, needle) in [
        ("upload bad", "bad: row 0, column 1: 2 is not from 0 to 1"),
        ("upload nowhere", "nowhere: No such file"),
        ("edit 0 10 0.5", "there is no node \"10\"; there are s0, s1"),
        ("edit 0 1 1.5", "row 0, column 1: 1.5 is not from 0 to 1"),
        ("edit 0 1 x", "row 0, column 1: x is not a number"),
        ("partition s0,s1 / s2", "s3 is in no group"),
        ("edit 0 1", "Invalid operation"),
        ("frobnicate", "Invalid operation"),
    ] {
        scripts.refused(&format!("bin/chaos-client.sh CONFIG {line}"), 2, needle);
    }
    let version = scripts.must("bin/client.sh CONFIG debug matrixVersion");
    assert_eq!(version, "4\n", "nothing changed anywhere");
    assert!(scripts.must("bin/client.sh CONFIG debug conn_mat").contains("0.5"));
    scripts.refused("bin/client.sh CONFIG debug nonsense", 2, "there is no \"nonsense\" here");

    // A minority is cut off, one plays dead, one dies.
    scripts.must("bin/chaos-client.sh CONFIG partition s0,s1,s2 / s3,s4,s5,s6,s7,s8,s9");
    assert_eq!(scripts.must("bin/client.sh CONFIG put color blue"), "OK\n");
    scripts.must("bin/chaos-client.sh CONFIG heal");
    assert_eq!(scripts.must("bin/chaos-client.sh CONFIG kill s3"), "s3 is killed\n");
    assert_eq!(scripts.must("bin/client.sh CONFIG get color"), "blue\n");
    assert_eq!(scripts.must("bin/chaos-client.sh CONFIG revive s3"), "s3 lives\n");
    assert_eq!(scripts.must("bin/chaos-client.sh CONFIG kill --process s5"), "s5 is killed\n");
    scripts.refused("bin/chaos-client.sh CONFIG revive s5", 1, "if its process is gone, start it");
    scripts.refused("bin/chaos-client.sh CONFIG edit s1 s2 0.1", 1, "is not at s5");
    let said = scripts.must("bin/start_server.sh CONFIG");
    assert!(said.contains("s5    yes"), "{said}");
    assert_eq!(scripts.must("bin/client.sh CONFIG get color"), "blue\n");

    let said = scripts.must("bin/stop_server.sh CONFIG");
    assert_eq!(said, "stopped: s0 s1 s2 s3 s4 s5 s6 s7 s8 s9\n");
    let here = scripts.dir.path().canonicalize().unwrap();
    wait_until("no process is left", || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let works_here = |entry: &fs::DirEntry| {
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&here))
        };
        processes.filter(works_here).count() == 0
    });
    assert_eq!(scripts.must("bin/stop_server.sh CONFIG"), "stopped: nothing was running\n");
}

/// The leader shows how far the others are, which say who that is.
fn every_replica_says_who_leads(scripts: &Scripts) {
    let cluster = fs::read_to_string(scripts.dir.path().join(&scripts.config)).unwrap();
    let cluster: Value = serde_json::from_str(&cluster).unwrap();
    let debug = |node: usize, variable: &str| -> Value {
        let admin = cluster["nodes"][format!("s{node}")]["listen"]["admin"].as_str().unwrap();
        let (ip, port) = admin.split_once(':').unwrap();
        let line = format!("bin/client.sh CONFIG debug {variable} {ip} {port}");
        serde_json::from_str(&scripts.must(&line)).unwrap()
    };
    wait_until("all ten name one leader", || {
        let leader = debug(0, "leaderName");
        let Some(name) = leader.as_str() else { return false };
        let says_so = |node: usize| match debug(node, "matchIndex") {
            Value::Object(each) => leader == format!("s{node}") && each.len() == 10,
            shown => shown == format!("{name} leads: ask its admin listener"),
        };
        (0..10).all(says_so)
    });
}

#[test]
fn of_raft() {
    ten_nodes_run_are_upset_and_stop("ten-nodes.json");
}

#[test]
fn of_caspaxos() {
    ten_nodes_run_are_upset_and_stop("ten-acceptors.json");
}
