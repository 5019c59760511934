//! The steps of the original program, with its scripts, on Redis acceptors;
//! and its counter clients on a cluster of ours.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use support::{
    Cluster, Process, Protocol, checkout, get, own_address, program, use_programs, wait_until,
};

fn script(dir: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(dir.join("bin").join(name));
    command.current_dir(dir).args(arguments);
    use_programs(&mut command);
    command
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn rows(output: &str) -> Vec<Vec<u64>> {
    let lines = output.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').map(|cell| cell.parse().expect(line)).collect()).collect()
}

#[test]
fn three_redis_acceptors_three_proposers_and_one_redis_killed() {
    let (dir, address) = (checkout(), own_address());
    let dir = dir.path();
    let acceptor =
        |port: u16| json!({ "storage": { "host": address, "port": port }, "isTransient": false });
    let proposer = |id: u16| {
        json!({
            "id": id, "host": address, "port": 2381 + id,
            "acceptors": ["a1", "a2", "a3"], "quorum": { "read": 2, "write": 2 },
        })
    };
    let cluster = json!({
        "acceptors": { "a1": acceptor(6381), "a2": acceptor(6382), "a3": acceptor(6383) },
        "proposers": { "p1": proposer(0), "p2": proposer(1), "p3": proposer(2) },
    });
    std::fs::write(dir.join("cluster.json"), cluster.to_string()).unwrap();
    for name in ["a1", "a2", "a3"] {
        run(&mut script(dir, "init-redis.sh", &[name, "cluster.json"]));
    }
    for name in ["p1", "p2", "p3"] {
        run(&mut script(dir, "init-proposer.sh", &[name, "cluster.json"]));
    }
    let mut redis: Vec<Process> = ["a1", "a2", "a3"]
        .iter()
        .map(|name| {
            let mut command = Command::new("redis-server");
            command.current_dir(dir).arg(format!("deployment/{name}/redis.conf"));
            Process::start(&mut command, &dir.join(format!("{name}.log")))
        })
        .collect();
    let _nodes: Vec<Process> = ["p1", "p2", "p3"]
        .iter()
        .map(|name| {
            let mut command = script(dir, "gryadka", &[&format!("deployment/{name}.json")]);
            Process::start(&mut command, &dir.join(format!("{name}.log")))
        })
        .collect();
    for port in 2381..2384 {
        let url = format!("http://{address}:{port}/readyz");
        wait_until(&format!("{url} is ready"), || {
            support::request("GET", &url, None).is_ok_and(|answer| answer.status == 200)
        });
    }
    let load = || {
        script(dir, "test.sh", &["cluster.json", "--duration", "6s"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let whole = String::from_utf8(load().wait_with_output().unwrap().stdout).unwrap();
    let all = rows(&whole);
    assert!(all.len() >= 5 && all.iter().flatten().all(|count| *count > 0), "{whole}");
    // The same with one Redis killed in the middle.
    let running = load();
    let before: u64 = get(&format!("http://{address}:2381/key0")).text().parse().unwrap();
    let grown =
        || get(&format!("http://{address}:2381/key0")).text().parse::<u64>().unwrap() > before + 50;
    wait_until("the load runs", grown);
    redis[1].kill();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = rows(&text);
    assert!(rows.len() >= 5 && rows.iter().flatten().all(|count| *count > 0), "{text}");
    println!("all three:\n{whole}one killed:\n{text}");
}

/// A row of the counters: per client read attempts, reads, writes, errors.
fn counters(line: &str) -> Vec<[u64; 4]> {
    let cells = line.split('\t').skip(1).map(|cell| {
        let inner = cell.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).expect(line);
        let numbers: Vec<u64> =
            inner.split(['-', ' ']).map(|number| number.parse().expect(line)).collect();
        numbers.try_into().expect(line)
    });
    cells.collect()
}

#[test]
fn three_clients_on_nine_keys_and_random_proposers_see_no_failure() {
    let cluster = Cluster::start(Protocol::Caspaxos, 3);
    let nodes: Vec<String> =
        (0..3).map(|i| format!("{}={}", cluster.names[i], cluster.url(i))).collect();
    let mut perseus = Command::new(program("perseus"));
    perseus.args(["run", "--format", "counters", "--clients", "3", "--keys", "9"]);
    perseus.args(["--duration", "20s", "--endpoints", &nodes.join(",")]);
    let text = run(&mut perseus);
    assert!(text.starts_with("# proposers: 3\n# keys: 9\n# clients: 3\n0\t[0-0-0 0]"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() >= 20, "{text}");
    for line in &lines {
        for [attempts, reads, writes, errors] in counters(line) {
            assert!(attempts == reads && reads == writes && errors == 0, "{text}");
        }
    }
    let is_busy = |line: &&str| counters(line).iter().all(|client| client[2] > 0);
    assert!(lines[2..].iter().all(is_busy), "{text}");
    println!("{text}");
}
