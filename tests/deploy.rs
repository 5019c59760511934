//! `gryadkactl deploy` and the scripts around it, as an operator runs them, and what
//! all programs say to wrong input.

mod command_line;
#[macro_use]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use gryadka::config::{Cluster, Deployment};
use support::program;
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs the tool in `dir`.
fn gryadkactl(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gryadkactl")).args(args).current_dir(dir).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The message of a run that was refused.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn config(name: &str) -> String {
    format!("{ROOT}/configs/{name}")
}

/// Every file under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

#[test]
fn a_cluster_becomes_one_file_per_node() {
    let dir = TempDir::new().unwrap();
    let file = config("gryadka-cluster.json");
    let printed = stdout(&gryadkactl(dir.path(), &["deploy", &file]));
    assert_eq!(printed, "deployment/p1.json\ndeployment/p2.json\ndeployment/p3.json\n");

    let cluster = Cluster::load(Path::new(&file)).unwrap();
    for (name, expected) in cluster.deployments() {
        let path = dir.path().join(format!("deployment/{name}.json"));
        assert_eq!(Deployment::load(&path).unwrap(), *expected);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\n  \"cluster\": \"demo\",\n") && text.ends_with("\n}\n"));
    }
    assert_eq!(files(dir.path()).len(), 3, "no temporary file stays");
}

#[test]
fn replicas_become_one_file_per_node() {
    let dir = TempDir::new().unwrap();
    let printed = stdout(&gryadkactl(dir.path(), &["deploy", &config("raft-cluster.json")]));
    assert_eq!(printed, "deployment/r1.json\ndeployment/r2.json\ndeployment/r3.json\n");
    for id in 1..=3 {
        let node = Deployment::load(&dir.path().join(format!("deployment/r{id}.json"))).unwrap();
        let raft = node.actors.raft.unwrap();
        assert_eq!((raft.id, raft.members.len()), (id, 3));
        assert_eq!(raft.snapshot_dir, Path::new(&format!("data/r{id}-snap")));
    }
}

#[test]
fn redis_acceptors_get_their_settings_and_names_choose() {
    let dir = TempDir::new().unwrap();
    let (redis, embedded) = (config("gryadka-redis-cluster.json"), config("gryadka-cluster.json"));
    for (args, expected) in [
        (vec!["deploy", &redis, "p2", "a1", "p2", "--out", "x"], "x/p2.json\nx/a1/redis.conf\n"),
        // An embedded acceptor is its node's business.
        (vec!["deploy", &embedded, "a3", "--out", "y"], "y/p3.json\n"),
        // What is there already is replaced.
        (vec!["deploy", "--out", "y", &embedded, "p3"], "y/p3.json\n"),
    ] {
        assert_eq!(stdout(&gryadkactl(dir.path(), &args)), expected);
    }
    assert_eq!(files(dir.path()).len(), 3);

    let conf = fs::read_to_string(dir.path().join("x/a1/redis.conf")).unwrap();
    let home = fs::canonicalize(dir.path().join("x/a1")).unwrap();
    assert!(conf.contains(&format!("\ndir \"{}\"\n", home.display())), "{conf}");
}

#[test]
fn mistakes_end_with_status_2_and_write_nothing() {
    let dir = TempDir::new().unwrap();
    let file = config("gryadka-cluster.json");
    let unknown = refusal(&gryadkactl(dir.path(), &["deploy", &file, "p1", "p9"]));
    let known = "there is no node or acceptor \"p9\"; there are a1, a2, a3, p1, p2, p3";
    assert_eq!(unknown, format!("{file}: {known}\n"));

    let text = fs::read_to_string(&file).unwrap().replacen("\"read\": 2", "\"read\": 5", 1);
    fs::write(dir.path().join("bad.json"), text).unwrap();
    assert_eq!(
        refusal(&gryadkactl(dir.path(), &["deploy", "bad.json"])),
        "bad.json: proposers.p1.quorum.read: 5 is more than the 3 acceptors; use 1 to 3\n"
    );

    let missing = refusal(&gryadkactl(dir.path(), &["deploy", "none.json"]));
    assert!(missing.starts_with("none.json: cannot be read: "), "{missing}");
    for args in [&[][..], &["deploy"], &["depoly", "x"], &["deploy", "x", "--ou", "y"]] {
        refusal(&gryadkactl(dir.path(), args));
    }
    assert_eq!(files(dir.path()), [dir.path().join("bad.json")]);
}

#[test]
fn a_directory_that_cannot_be_written_is_another_failure() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("taken"), "").unwrap();
    let file = config("gryadka-cluster.json");
    let output = gryadkactl(dir.path(), &["deploy", &file, "--out", "taken"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("taken/p1.json: cannot be written: "), "{message}");
}

#[test]
fn help_has_examples() {
    let help = stdout(&gryadkactl(Path::new(ROOT), &["deploy", "--help"]));
    assert!(help.contains("EXAMPLES:\n    gryadkactl deploy configs/"), "{help}");
}

/// A Redis server that dies with the test.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server answers to one inline command; `None` until it listens.
fn ask_redis(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn redis_accepts_the_settings() {
    // A directory whose name needs quoting.
    let dir = TempDir::with_prefix("a \"b").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = fs::read_to_string(config("gryadka-redis-cluster.json")).unwrap();
    fs::write(dir.path().join("c.json"), text.replace("6381", &port.to_string())).unwrap();
    stdout(&gryadkactl(dir.path(), &["deploy", "c.json", "a1"]));

    let mut server = Command::new("redis-server");
    server.arg("deployment/a1/redis.conf").current_dir(dir.path());
    let _server = Redis(server.stdout(Stdio::null()).spawn().expect("redis-server is installed"));
    let deadline = Instant::now() + Duration::from_secs(20);
    for (setting, expected) in [
        ("appendfsync", "always"),
        ("appendonly", "yes"),
        ("maxmemory-policy", "noeviction"),
        ("protected-mode", "yes"),
        ("bind", "127.0.0.1"),
        ("save", ""),
    ] {
        let answer = loop {
            if let Some(answer) = ask_redis(port, &format!("CONFIG GET {setting}")) {
                break answer;
            }
            assert!(Instant::now() < deadline, "redis-server does not listen on {port}");
            std::thread::yield_now();
        };
        let pair = [setting, expected].map(|text| format!("${}\r\n{text}\r\n", text.len()));
        assert!(answer.starts_with(&format!("*2\r\n{}", pair.concat())), "{answer:?}");
    }
    assert!(dir.path().join("deployment/a1/appendonlydir").is_dir(), "data is beside the settings");
}

/// A copy of the scripts, with programs that print how they were called in
/// place of those that this test does not need.
fn repository() -> TempDir {
    let dir = TempDir::new().unwrap();
    for part in ["bin", "configs"] {
        let copy = Command::new("cp").args(["-r", part]).arg(dir.path()).current_dir(ROOT).status();
        assert!(copy.unwrap().success());
    }
    let programs = dir.path().join("programs");
    fs::create_dir(&programs).unwrap();
    for (name, program) in [
        ("gryadkactl", env!("CARGO_BIN_EXE_gryadkactl")),
        ("raftkvd", env!("CARGO_BIN_EXE_raftkvd")),
    ] {
        std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
    }
    fakes(&programs, "gryadka perseus");
    dir
}

/// Puts programs that print how they were called into a directory.
fn fakes(dir: &Path, names: &str) {
    // Written by another process: a file that this one has open for writing, or a
    // child that another test is just starting, could not be run.
    let write = "for name in $0; do
        printf '#!/bin/sh\\necho \"$@\"\\n' > $name && chmod +x $name; done";
    let wrote = Command::new("sh").args(["-c", write, names]).current_dir(dir).status();
    assert!(wrote.unwrap().success());
}

/// Runs a script from a directory of its own.
fn script(repository: &Path, name: &str, args: &[&str]) -> Output {
    script_with(repository, "../programs", name, args)
}

/// Runs a script with the programs of a directory.
fn script_with(repository: &Path, programs: &str, name: &str, args: &[&str]) -> Output {
    let elsewhere = repository.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let path = format!("{}/fakes:{}", repository.display(), std::env::var("PATH").unwrap());
    Command::new(repository.join("bin").join(name))
        .args(args)
        .env("GRYADKA_BIN", programs)
        .env("PATH", path)
        .current_dir(elsewhere)
        .output()
        .unwrap()
}

#[test]
fn scripts_run_from_any_directory() {
    let repository = repository();
    let root = repository.path();
    let printed = stdout(&script(root, "init-redis.sh", &["a1"]));
    let conf = "deployment/a1/redis.conf";
    assert_eq!(printed, format!("{conf}\nstart it with: redis-server {}/{conf}\n", root.display()));
    assert_eq!(stdout(&script(root, "init-proposer.sh", &["p1"])), "deployment/p1.json\n");
    let cluster = "../configs/gryadka-cluster.json";
    assert_eq!(stdout(&script(root, "init-proposer.sh", &["p2", cluster])), "deployment/p2.json\n");
    for file in ["p1.json", "p2.json"] {
        Deployment::load(&root.join("deployment").join(file)).unwrap();
    }
    let embedded = script(root, "init-redis.sh", &["a1", cluster]);
    assert_eq!(embedded.status.code(), Some(2), "{embedded:?}");
    let unknown = script(root, "init-redis.sh", &["a9"]);
    assert!(refusal(&unknown).contains("there is no node or acceptor \"a9\""));
    for name in ["init-redis.sh", "init-proposer.sh"] {
        let expected = format!("usage: bin/{name} ");
        assert!(refusal(&script(root, name, &[])).contains(&expected));
    }
}

#[test]
fn scripts_pass_their_arguments_on() {
    let repository = repository();
    let root = repository.path();
    assert_eq!(stdout(&script(root, "gryadka", &["d.json", "--x", "a b"])), "d.json --x a b\n");
    let run = |cluster: String, rest: &str| format!("run --cluster {cluster}{rest}\n");
    let default = format!("{}/configs/gryadka-redis-cluster.json", root.display());
    assert_eq!(stdout(&script(root, "test.sh", &[])), run(default.clone(), ""));
    assert_eq!(stdout(&script(root, "test.sh", &["--seconds", "3"])), run(default, " --seconds 3"));
    let given = format!("{}/elsewhere/c.json", root.display());
    assert_eq!(stdout(&script(root, "test.sh", &["c.json", "-x"])), run(given, " -x"));
}

#[test]
fn raftkvd_explains_its_command_line() {
    let repository = repository();
    let root = repository.path();
    let three = "http://127.0.0.1:12379,http://127.0.0.1:22379,http://127.0.0.1:32379";
    for name in ["raftkvd", "raftexample"] {
        let message = refusal(&script(root, name, &["--id", "9", "--cluster", three]));
        let expected = "--id: 9 is not among the members of --cluster, 1, 2, 3; add its URL there";
        assert_eq!(message, format!("{name}: {expected}\n"));
        for args in [&["--id"][..], &["--id", "one"], &["--port", "0"], &["--host", "h"], &["x"]] {
            refusal(&script(root, name, args));
        }
        assert!(stdout(&script(root, name, &["--help"])).contains("EXAMPLES:\n    raftkvd\n"));
    }
    assert_eq!(files(&root.join("elsewhere")), [] as [PathBuf; 0], "nothing was started");
}

#[test]
fn every_script_helps_and_refuses_what_it_does_not_know() {
    let repository = repository();
    let root = repository.path();
    let programs = program("gryadka").parent().unwrap().to_str().unwrap().to_owned();
    let run = |name: &str, args: &[&str]| script_with(root, &programs, name, args);
    for path in files(&root.join("bin")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        // These two are read by the others.
        if ["lib.sh", "packages.sh"].contains(&name) {
            continue;
        }
        let help = stdout(&run(name, &["--help"]));
        assert!(help.contains("Examples:") || help.contains("EXAMPLES:"), "{name}: {help}");
        let words: &[&str] = match name {
            // It builds what it runs, which then refuses it.
            "bench" => continue,
            "chaos-client.sh" => &["c.json", "kill", "--frob", "s0"],
            "client.sh" => &["c.json", "get", "--frob", "k"],
            "suite.sh" | "concurrent-suite.sh" => &["static", "--frob"],
            "init-redis.sh" | "init-proposer.sh" | "node-control.sh" => &["dump", "--frob"],
            _ => &["--frob"],
        };
        let message = refusal(&run(name, words));
        assert!(message.contains("--frob"), "{name}: {message}");
    }
    assert_eq!(files(&root.join("elsewhere")), [] as [PathBuf; 0]);
    assert_eq!(files(&root.join("deployment")), [] as [PathBuf; 0]);
    for (name, args, expected) in [
        ("suite.sh", &["c.json"][..], "static or dynamic"),
        ("node-control.sh", &["jump"], "\"jump\""),
        ("start_server.sh", &["a", "b", "c"], "\"c\" is too much"),
        ("stop_server.sh", &["c.json"], "c.json: there is no such file"),
        ("autoconfig_remote_servers.sh", &["--stop", "--dry-run"], "give one of them"),
        ("campaign", &["jump"], "\"jump\""),
        ("gryadka", &[], "no deployment file"),
    ] {
        let message = refusal(&run(name, args));
        assert!(message.contains(expected), "{name}: {message}");
        assert!(message.contains(&format!("usage: bin/{name}")), "{name}: {message}");
    }
}

#[test]
fn options_of_scripts_may_stand_anywhere() {
    let repository = repository();
    let root = repository.path();
    fs::create_dir(root.join("fakes")).unwrap();
    fakes(&root.join("fakes"), "gryadka perseus gryadkactl");
    let given = format!("{}/elsewhere/c.json", root.display());
    let redis = "acceptors dump configs/example-redis-cluster.json";
    for (name, args, expected) in [
        ("node-control.sh", &["dump", "--redis"][..], redis),
        ("node-control.sh", &["--redis", "dump"], redis),
        ("node-control.sh", &["dump"], "acceptors dump configs/example-cluster.json"),
        (
            "chaos-client.sh",
            &["c", "edit", "0", "1", "5", "--delay"],
            "chaos edit --delay -- c 0 1 5",
        ),
        ("chaos-client.sh", &["--process", "c", "kill", "0"], "chaos kill --process -- c 0"),
        ("client.sh", &["c", "put", "k", "-5"], "put --cluster c -- k -5"),
        ("client.sh", &["c", "put", "k", "--", "--help"], "put --cluster c -- k --help"),
        (
            "suite.sh",
            &["--keys", "4", "c.json", "static"],
            &format!("suite static {given} --keys 4"),
        ),
        ("test.sh", &["--keys", "4", "c.json"], &format!("run --cluster {given} --keys 4")),
    ] {
        let printed = stdout(&script_with(root, "../fakes", name, args));
        assert_eq!(printed, format!("{expected}\n"), "{name} {args:?}");
    }
    // What would connect says so.
    let connects = "printf '#!/bin/sh\\ntouch connected\\nexit 1\\n' > ssh && chmod +x ssh";
    let wrote = Command::new("sh").args(["-c", connects]).current_dir(root.join("fakes")).status();
    assert!(wrote.unwrap().success());
    let args = ["../configs/raft-cluster.json", "--dry-run"];
    let plan = stdout(&script(root, "autoconfig_remote_servers.sh", &args));
    assert!(plan.contains("r1: 127.0.0.1: copy ") && plan.contains("then wait"), "{plan}");
    assert!(!root.join("connected").exists(), "it only tells what it would do");
    script(root, "autoconfig_remote_servers.sh", &args[..1]);
    assert!(root.join("connected").exists(), "the other way it does it");
}
