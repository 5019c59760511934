//! The steps of the original program, with its scripts, on Redis acceptors; those of
//! its control node; its counter clients on a cluster of ours; and its data.

#[path = "support/redis_server.rs"]
mod redis_server;
mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use redis_server::RedisServer;
use serde_json::{Value, json};
use support::{
    Answer, Cluster, Process, Protocol, checkout, form_request, get, own_address, program, request,
    use_programs, wait_until,
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

/// POST of JSON, as the original's clients and its control node send it.
fn post(url: &str, body: &Value) -> Answer {
    request("POST", url, Some(("application/json", body.to_string().as_bytes()))).unwrap()
}

/// Nodes on Redis acceptors, from port 6381 on.
fn on_redis(address: &str, nodes: u16, acceptors: u16) -> Cluster {
    let mut file = json!({ "cluster": "test", "nodes": {}, "acceptors": {}, "proposers": {} });
    let names: Vec<String> = (1..=acceptors).map(|i| format!("a{i}")).collect();
    for (name, port) in names.iter().zip(6381..) {
        file["acceptors"][name] = json!({ "storage": { "host": address, "port": port } });
    }
    let quorum = acceptors / 2 + 1;
    for i in 1..=nodes {
        let node = format!("p{i}");
        file["nodes"][&node] = json!({ "listen": {
            "client": format!("{address}:{}", 8000 + i),
            "admin": format!("{address}:{}", 8200 + i),
        }});
        file["proposers"][&node] = json!({
            "node": node, "acceptors": names, "quorum": { "read": quorum, "write": quorum },
        });
    }
    Cluster::of_file(Protocol::Caspaxos, &file, address.to_owned())
}

/// What the original's control node does with `accept` and with `prepare`: at each
/// proposer it reads the configuration, adds the node by its address and posts all
/// that it has read.
#[test]
fn the_steps_of_the_originals_control_node_add_an_acceptor() {
    let address = own_address();
    let _servers = [6381, 6382, 6383, 6384].map(|port| RedisServer::at(&address, port, &[]));
    let cluster = on_redis(&address, 3, 3);
    let fourth = json!({ "host": address, "port": 6384 });
    let configuration =
        |node: usize| get(&format!("{}/configuration", cluster.admin_url(node))).json();
    let has_fourth = |configuration: &Value, list: &str| {
        let nodes = configuration[list]["nodes"].as_array().unwrap();
        nodes.iter().any(|node| node["host"] == fourth["host"] && node["port"] == fourth["port"])
    };
    for node in 0..3 {
        assert_eq!(configuration(node)["proposerId"], format!("p{}", node + 1));
    }
    let mut old = configuration(0);
    old["configVersion"] = 7.into();
    old["accept"]["nodes"].as_array_mut().unwrap().push(fourth.clone());
    let refused = post(&format!("{}/configuration", cluster.admin_url(0)), &old);
    assert_eq!((refused.status, &refused.json()["code"]), (400, &"ConfigVersionMismatch".into()));
    for list in ["accept", "prepare"] {
        for node in 0..3 {
            let mut read = configuration(node);
            if !has_fourth(&read, list) {
                assert_eq!((node, &read[list]["quorum"]), (0, &2.into()), "{list}");
                read[list]["quorum"] = 3.into();
                read[list]["nodes"].as_array_mut().unwrap().push(fourth.clone());
                let posted = post(&format!("{}/configuration", cluster.admin_url(node)), &read);
                assert_eq!(posted.status, 200, "{list}: {}", posted.text());
            }
            let is_known = || {
                // The others learn it from the acceptors.
                form_request(
                    "PUT",
                    &format!("{}/v2/keys/k", cluster.url((node + 1) % 3)),
                    "value=1",
                );
                has_fourth(&configuration((node + 1) % 3), list)
            };
            wait_until("the next proposer has followed", is_known);
        }
    }
    let settled = configuration(2);
    let name = format!("{address}:6384");
    assert_eq!(settled["prepare"]["nodes"][3]["id"], name, "{settled}");
    assert_eq!(settled["accept"]["nodes"][3]["id"], name, "{settled}");
}

/// As in the original's example, from one acceptor to three. Its control node finds no
/// keys to rescan in servers of ours, so the node rescans them before the step that
/// would hide what the first acceptor alone holds.
#[test]
fn the_originals_steps_from_one_acceptor_to_three_lose_nothing() {
    let address = own_address();
    let mut servers = [6381, 6382, 6383].map(|port| RedisServer::at(&address, port, &[]));
    let cluster = on_redis(&address, 1, 1);
    let key = |number: usize| format!("{}/v2/keys/k{number}", cluster.url(0));
    for number in 0..50 {
        assert_eq!(form_request("PUT", &key(number), &format!("value={number}")).status, 201);
    }
    let url = format!("{}/configuration", cluster.admin_url(0));
    for (list, port, quorum) in
        [("accept", 6382, 2), ("prepare", 6382, 2), ("accept", 6383, 2), ("prepare", 6383, 2)]
    {
        let mut next = get(&url).json();
        next[list]["quorum"] = quorum.into();
        let node = json!({ "host": address, "port": port });
        next[list]["nodes"].as_array_mut().unwrap().push(node);
        if (list, port) == ("prepare", 6383) {
            let mut unsafe_step = next.clone();
            unsafe_step["rescanned"] = false.into();
            let refused = post(&url, &unsafe_step);
            assert_eq!(
                (refused.status, &refused.json()["code"]),
                (400, &"UnsafeConfiguration".into())
            );
        }
        let posted = post(&url, &next);
        assert_eq!(posted.status, 200, "{list} {port}: {}", posted.text());
    }
    servers[0].kill();
    for number in 0..50 {
        assert_eq!(get(&key(number)).json()["node"]["value"], number.to_string());
    }
}

/// A register of the original.
fn put_original(server: &RedisServer, key: &str, ballot: &str, value: &str) {
    server
        .command(&format!("MSET {key}/promise 99,p9/1 {key}/ballot {ballot} {key}/value {value}"));
}

#[test]
fn keys_of_the_original_are_imported_once_and_no_node_starts_beside_them() {
    let address = own_address();
    let mut servers = [6381, 6382, 6383].map(|port| RedisServer::at(&address, port, &[]));
    for (server, ballots) in
        servers.iter().zip([["9,p1/1", "0,"], ["10,p1/1", "0,"], ["8,p2/1", "0,"]])
    {
        let [newer, zero] = ballots;
        let ver = newer.split(',').next().unwrap();
        put_original(server, "key1", newer, &format!(r#"{{"value":{{"ver":{ver},"val":[7]}}}}"#));
        put_original(
            server,
            "dir/like-etcd",
            newer,
            r#"{"value":{"created":0,"modified":4,"value":"text"}}"#,
        );
        put_original(server, "null", newer, r#"{"value":null}"#);
        put_original(server, "//odd", newer, r#"{"value":1}"#);
        put_original(server, "promised", zero, "-");
        server.command("MSET prepare 1 accept 2");
    }
    servers[2].kill();
    let cluster = Cluster::start(Protocol::Caspaxos, 1);
    let dir = checkout();
    let config = cluster.dir.path().join("cluster.json");
    let import = |options: &[&str], status: i32| {
        let all = [6381, 6382, 6383].map(|port| format!("{address}:{port}"));
        let mut import = script(dir.path(), "import-gryadka.sh", &[config.to_str().unwrap()]);
        let output = import.args(all).args(options).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}{complaint}");
        said + &complaint
    };
    let change = |body: Value| post(&format!("{}/change", cluster.url(0)), &body).json();
    let read = json!({ "name": "read", "key": "key1" });
    assert!(import(&["--dry-run"], 3).contains("5 keys: 2 to import, 0 there already, 3 skipped"));
    assert_eq!(change(read.clone()), json!({ "value": { "ver": 0, "val": 0 } }), "nothing yet");
    let said = import(&[], 3);
    for line in [
        format!("{address}:6381: 5 keys"),
        format!("{address}:6383 is left out: "),
        r#"skipped "//odd": its name is no key here"#.to_owned(),
        r#"skipped "null": its value is null"#.to_owned(),
        r#"skipped "promised": no value was ever accepted for it"#.to_owned(),
        "5 keys: 2 imported, 0 there already, 3 skipped".to_owned(),
        "1 keys of the original are not in the cluster".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
    assert_eq!(change(read.clone()), json!({ "value": { "ver": 10, "val": [7] } }));
    let like_etcd = get(&format!("{}/v2/keys/dir/like-etcd", cluster.url(0))).json();
    assert_eq!(like_etcd["node"]["value"], "text");
    // The version goes on from where it was; what is newer here is not overwritten.
    let write = json!({ "name": "write", "key": "key1", "params": { "ver": 10, "val": 8 } });
    let written = json!({ "value": { "ver": 11, "val": 8 } });
    assert_eq!(change(write), written);
    let said = import(&[], 3);
    assert!(said.contains("5 keys: 0 imported, 1 there already, 4 skipped"), "{said}");
    assert!(said.contains(r#"skipped "key1": it has another value in the cluster"#), "{said}");
    assert_eq!(change(read), written);
    servers[1].kill();
    assert!(import(&[], 1).contains("1 of 3 acceptors answer, and 2 must"));

    // And a node whose acceptor is to be one of those servers does not start.
    let mut file = json!({ "cluster": "new", "nodes": { "p1": { "listen": {
        "client": format!("{address}:8001"), "admin": format!("{address}:8201"),
    }}}});
    file["acceptors"] = json!({ "a1": { "storage": { "host": address, "port": 6381 } } });
    file["proposers"] = json!({ "p1": {
        "node": "p1", "acceptors": ["a1"], "quorum": { "read": 1, "write": 1 },
    }});
    let mut refused = Cluster::prepare(Protocol::Caspaxos, &file, address);
    refused.launch(0);
    assert!(!refused.node(0).wait().success());
    assert!(refused.node(0).log().contains("holds data of the original Gryadka"));
}
