//! Acceptors in Redis servers that come back with other data than they had, and
//! nodes whose proposers do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::caspaxos_old_copy::TOLD;
use crate::redis_server::RedisServer;
use crate::support::{Cluster, Protocol, own_address, program, request, wait_until};
use crate::world::{Fate, World, copy, fill};

/// Three nodes with proposers, and three servers with their acceptors.
struct Redis {
    world: World,
    servers: Vec<RedisServer>,
}

impl Redis {
    /// A cluster that serves; its acceptors have this letter and a number.
    fn start(letter: &str) -> Redis {
        let address = own_address();
        let server = |number: u16| RedisServer::at(&address, 6000 + number, &[]);
        let servers: Vec<RedisServer> = (1..=3).map(server).collect();
        let mut file = json!({ "cluster": "test", "nodes": {} });
        let acceptors = [1, 2, 3].map(|number| format!("{letter}{number}"));
        for (index, acceptor) in acceptors.iter().enumerate() {
            let node = format!("p{}", index + 1);
            file["nodes"][&node] = json!({ "listen": {
                "client": format!("{address}:{}", 8001 + index),
                "admin": format!("{address}:{}", 8201 + index),
            }});
            file["proposers"][&node] = json!({
                "node": node, "acceptors": acceptors, "quorum": { "read": 2, "write": 2 },
            });
            let storage = json!({ "host": address, "port": servers[index].address().port });
            file["acceptors"][acceptor] = json!({ "storage": storage });
        }
        let cluster = Cluster::of_file(Protocol::Caspaxos, &file, address);
        Redis { world: World::new(cluster), servers }
    }

    /// A cluster in the place of an earlier one of its name, of which `earlier/` has
    /// the data of all, and `earlier/id` the id.
    fn in_place_of_another() -> Redis {
        let mut redis = Redis::start("a");
        fill(&redis.world.cluster, "foreign");
        redis.keep_all("earlier");
        (0..3).for_each(|index| redis.clear(index));
        (0..3).for_each(|index| redis.world.put_aside(index, "unused"));
        redis.run_all();
        (0..7).for_each(|_| redis.world.write(0));
        redis.world.check(&[0, 1, 2]);
        redis
    }

    fn stop_all(&mut self) {
        self.world.kill_all();
        self.servers.iter_mut().for_each(RedisServer::kill);
    }

    fn run_all(&mut self) {
        self.servers.iter_mut().for_each(RedisServer::restart);
        self.world.start_all();
    }

    /// Stops all, and keeps copies of the data of all.
    fn keep_all(&mut self, name: &str) {
        let id = self.world.cluster_id(0);
        self.stop_all();
        for index in 0..3 {
            self.world.copy_aside(index, &format!("{name}/p{}", index + 1));
            copy(&self.data(index), &self.kept(name, index));
        }
        fs::write(self.world.path(name).join("id"), id).unwrap();
    }

    fn id(&self, name: &str) -> String {
        fs::read_to_string(self.world.path(name).join("id")).unwrap()
    }

    fn data(&self, server: usize) -> PathBuf {
        self.servers[server].directory().join("appendonlydir")
    }

    fn kept(&self, name: &str, server: usize) -> PathBuf {
        self.world.path(&format!("{name}/{server}"))
    }

    /// Removes the data of a server that is down.
    fn clear(&self, server: usize) {
        fs::remove_dir_all(self.data(server)).unwrap();
    }

    fn own(&self, server: usize) -> PathBuf {
        self.world.path(&format!("own-{server}"))
    }

    /// Puts the own data of a server aside, and has it run on a copy of what was kept
    /// of a server, if of one.
    fn exchange(&mut self, server: usize, kept: Option<(&str, usize)>) {
        self.servers[server].kill();
        let own = self.own(server);
        match own.exists() {
            true => self.clear(server),
            false => fs::rename(self.data(server), own).unwrap(),
        }
        if let Some((name, of)) = kept {
            copy(&self.kept(name, of), &self.data(server));
        }
        self.servers[server].restart();
    }

    /// What a server holds: its registers, and the cluster and acceptor they are of.
    fn registers(&self, server: usize) -> BTreeMap<String, ::redis::Value> {
        let server = &self.servers[server];
        let standing = "gryadka:{test}:standing";
        let names = server.command("KEYS gryadka:{test}:r:*");
        let mut names: Vec<String> = ::redis::from_redis_value(names).unwrap();
        names.sort_unstable();
        let registers = names.into_iter().map(|name| {
            let fields = server.command(&format!("HMGET {name} promise accepted value"));
            (name, fields)
        });
        let of = server.command(&format!("HMGET {standing} cluster acceptor epoch age"));
        registers.chain([(standing.to_owned(), of)]).collect()
    }

    /// Gives the own data back, with which a server has not run meanwhile.
    fn give_back(&mut self, server: usize) {
        let own = self.own(server);
        if own.exists() {
            self.servers[server].kill();
            self.clear(server);
            fs::rename(own, self.data(server)).unwrap();
            self.servers[server].restart();
        }
    }

    fn log_lengths(&self) -> [usize; 3] {
        [0, 1, 2].map(|index| self.world.log(index).len())
    }

    /// Waits until the log of each node has a line with all `parts` since then.
    fn expect_told(&mut self, since: [usize; 3], parts: &[&str], writes: bool) {
        for (index, since) in since.into_iter().enumerate() {
            wait_until(&format!("p{} tells {parts:?}", index + 1), || {
                if writes {
                    self.world.write(index);
                }
                let log = &self.world.log(index)[since..];
                log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
            });
        }
    }

    /// No node reads or writes anything. What may have been written, as far as a node
    /// can tell, has a key of its own.
    fn expect_mute(&self) {
        (0..3).for_each(|index| self.world.wait_for_listener(index));
        let body: (&str, &[u8]) = ("text/plain", b"of nobody");
        std::thread::scope(|scope| {
            for url in self.world.cluster.urls() {
                for (method, key, body) in [("PUT", "unknown", Some(body)), ("GET", "k1", None)] {
                    let url = format!("{url}/{key}");
                    scope.spawn(move || {
                        let answer = request(method, &url, body).unwrap();
                        let is_refused = [503, 504].contains(&answer.status);
                        assert!(is_refused, "{method} {url}: {} {}", answer.status, answer.text());
                    });
                }
            }
        });
    }

    /// Each of the first two gets the data of the other.
    fn swap_first_two(&mut self) {
        self.servers[..2].iter_mut().for_each(RedisServer::kill);
        let (first, rest) = self.servers.split_at_mut(1);
        first[0].exchange_data(&mut rest[0]);
        self.servers[..2].iter_mut().for_each(RedisServer::restart);
    }

    /// The cluster serves while a server is down.
    fn expect_to_serve_without(&mut self, server: usize) {
        self.servers[server].kill();
        (0..3).for_each(|index| self.world.write(index));
        self.world.check(&[0, 1, 2]);
        self.servers[server].restart();
    }

    fn operate(&self, operation: &str, acceptor: &str) {
        let mut command = Command::new(program("gryadkactl"));
        command.args(["acceptors", operation]).arg(self.world.path("cluster.json")).arg(acceptor);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

const FOREIGN_SERVER: &str = "keeps the registers of acceptor";

#[test]
fn a_server_with_the_data_of_another_is_refused_and_the_others_serve() {
    let mut redis = Redis::in_place_of_another();
    let mut other = Redis::start("a");
    fill(&other.world.cluster, "foreign");
    let registers = other.registers(2);
    other.keep_all("other");
    copy(&other.world.path("other"), &redis.world.path("other"));
    drop(other);
    // What the second one held, for the third.
    redis.servers[1].kill();
    fs::create_dir(redis.world.path("second")).unwrap();
    copy(&redis.data(1), &redis.kept("second", 1));
    redis.servers[1].restart();
    let own = redis.world.cluster_id(0);
    let (earlier, other) = (redis.id("earlier"), redis.id("other"));
    assert!(own != earlier && own != other);
    let cases = [
        ("earlier", 2, ["acceptor a3", &*earlier, &*own]),
        ("other", 2, ["acceptor a3", &*other, &*own]),
        ("second", 1, ["acceptor a3", FOREIGN_SERVER, "a2"]),
    ];
    for (name, of, told) in cases {
        eprintln!("a3 has the data of {name}/{of}");
        let since = redis.log_lengths();
        redis.exchange(2, Some((name, of)));
        redis.expect_told(since, &told, true);
        redis.world.kill_all();
        let since = redis.log_lengths();
        redis.world.start_all();
        redis.expect_told(since, &told, true);
        redis.world.check(&[0, 1, 2]);
        if name == "other" {
            assert_eq!(redis.registers(2), registers, "it has changed");
        }
    }
    // With its own data it is needed as if nothing had been.
    redis.give_back(2);
    redis.expect_to_serve_without(1);
}

#[test]
fn a_server_with_an_old_copy_of_its_data_is_left_out() {
    let mut redis = Redis::start("a");
    (0..7).for_each(|_| redis.world.write(0));
    let copied = redis.world.generation();
    redis.servers[2].kill();
    fs::create_dir_all(redis.world.path("old")).unwrap();
    copy(&redis.data(2), &redis.kept("old", 2));
    redis.servers[2].restart();
    redis.world.wait_known(copied);
    // Only the first and the third acceptor hold what is lost on the third.
    redis.servers[1].kill();
    (0..7).for_each(|_| redis.world.write(0));
    let since = redis.log_lengths();
    redis.servers[0].kill();
    redis.exchange(2, Some(("old", 2)));
    redis.servers[1].restart();
    redis.expect_mute();
    redis.expect_told(since, &[TOLD, "acceptor a2 knows"], false);
    // Also when it is started again and again.
    for _ in 0..3 {
        redis.servers[2].kill();
        redis.servers[2].restart();
        redis.expect_mute();
    }
    redis.servers[0].restart();
    (0..3).for_each(|index| redis.world.write(index));
    redis.world.check(&[0, 1, 2]);
    assert_eq!(redis.world.acceptors(0)[2]["status"]["isConfirmed"], false);
    redis.give_back(2);
    wait_until("it is confirmed", || {
        redis.world.write(0);
        redis.world.acceptors(0)[2]["status"]["isConfirmed"] == true
    });
    redis.expect_to_serve_without(1);
}

#[test]
fn a_server_that_was_flushed_is_added_anew() {
    let mut redis = Redis::start("a");
    (0..7).for_each(|_| redis.world.write(0));
    let told = ["acceptor a3 is refused", "not enrolled", "shrink CLUSTER.json a3"];
    for is_running in [true, false] {
        if !is_running {
            redis.world.kill_all();
        }
        let since = redis.log_lengths();
        redis.servers[2].command("FLUSHALL");
        redis.world.start_all();
        redis.expect_told(since, &told, true);
        redis.world.check(&[0, 1, 2]);
        // It may have drawn a nonce.
        let keys = redis.servers[2].command("DBSIZE");
        assert!(matches!(keys, ::redis::Value::Int(0 | 1)), "{keys:?}");
        redis.operate("shrink", "a3");
        redis.operate("grow", "a3");
        redis.expect_to_serve_without(usize::from(is_running));
    }
}

#[test]
fn nothing_is_acknowledged_without_a_quorum_of_the_true_cluster() {
    let mut redis = Redis::in_place_of_another();
    let (own, earlier) = (redis.world.cluster_id(0), redis.id("earlier"));
    // The servers of a1 and a2 are swapped.
    let since = redis.log_lengths();
    redis.swap_first_two();
    let told = |acceptor, held| [acceptor, FOREIGN_SERVER, held];
    redis.expect_mute();
    redis.expect_told(since, &told("acceptor a1", "a2"), false);
    redis.expect_told(since, &told("acceptor a2", "a1"), false);
    redis.world.kill_all();
    let since = redis.log_lengths();
    (0..3).for_each(|index| redis.world.cluster.launch(index));
    redis.expect_told(since, &told("acceptor a1", "a2"), false);
    redis.world.kill_all();
    redis.swap_first_two();
    // With their own data they serve, until some have other data again.
    for (name, count) in [("earlier", 2), ("earlier", 3), ("nothing", 2), ("nothing", 3)] {
        eprintln!("{count} have the data of {name}");
        redis.world.start_all();
        redis.world.check(&[0, 1, 2]);
        let since = redis.log_lengths();
        for server in 0..count {
            redis.exchange(server, (name != "nothing").then_some((name, server)));
        }
        if count == 2 {
            redis.expect_mute();
            let told: &[&str] = match name {
                "nothing" => &["acceptor a1 is refused", "not enrolled"],
                _ => &["acceptor a1 is refused", &earlier, &own],
            };
            redis.expect_told(since, told, false);
        }
        redis.world.kill_all();
        let since = redis.log_lengths();
        (0..3).for_each(|index| redis.world.cluster.launch(index));
        let told: &[&str] = match name {
            "nothing" => &["no data of acceptor a1, acceptor a2", &own],
            _ => &[&earlier, &own, "configuration.json"],
        };
        // Nobody asks them for anything.
        redis.expect_told(since, told, false);
        if count == 3 {
            redis.expect_mute();
        }
        redis.world.kill_all();
        (0..3).for_each(|server| redis.give_back(server));
    }
    redis.world.start_all();
    redis.world.check(&[0, 1, 2]);
}

#[test]
fn a_node_serves_no_other_cluster_than_it_was_of() {
    let mut redis = Redis::in_place_of_another();
    let mut other = Redis::start("b");
    (0..7).for_each(|_| other.world.write(0));
    let (own, earlier) = (redis.world.cluster_id(0), redis.id("earlier"));
    let held = other.world.cluster_id(0);
    redis.world.kill_all();
    redis.world.copy_aside(2, "p3");
    redis.world.copy_aside(1, "p2");
    redis.world.start_all();
    redis.world.cluster.kill(2);
    // What a proposer keeps is of an earlier cluster, of another node, or gone.
    redis.world.give(2, &redis.world.path("earlier/p3"));
    let told = ["configuration.json", &*earlier, &*own];
    redis.world.expect(2, Fate::IsMute, &told);
    redis.world.give(2, &redis.world.path("p2"));
    redis.world.expect(2, Fate::Serves, &[&own]);
    redis.world.give(2, &redis.world.path("nowhere"));
    redis.world.expect(2, Fate::Serves, &[&own]);
    // The directory of another node; proposers keep no registers.
    redis.world.edit(2, |node| node["data_dir"] = json!("data/p2"));
    redis.world.expect(2, Fate::Serves, &[]);
    redis.world.edit(2, |node| node["data_dir"] = json!("data/p3"));
    // Its deployment file names the acceptors of another cluster.
    let acceptors = |names: &str| -> Value {
        let of = |(name, server): (&str, &RedisServer)| {
            let address = server.address();
            json!({ "id": name, "storage": { "host": address.host, "port": address.port } })
        };
        names.split(' ').zip(&other.servers).map(of).collect()
    };
    let told = ["configuration.json", &*held, &*own];
    let foreign =
        [("b1 b2 b3", &told[..]), ("a1 a2 a3", &[FOREIGN_SERVER, "b1", "no answer from"])];
    for (names, told) in foreign {
        let list = acceptors(names);
        redis.world.edit(2, |node| node["actors"]["proposer"]["acceptors"] = list);
        redis.world.give(2, &redis.world.path("p3"));
        redis.world.expect(2, Fate::IsMute, told);
    }
    other.world.check(&[0, 1, 2]);
    let url = format!("{}/of-a-stranger", other.world.cluster.url(0));
    assert_eq!(request("GET", &url, None).unwrap().status, 404);
}

#[test]
fn a_node_starts_beside_a_server_that_is_unsafe() {
    let mut redis = Redis::start("u");
    (0..3).for_each(|index| redis.world.write(index));
    let cluster = &mut redis.world.cluster;
    cluster.kill(0);
    redis.servers[2].command("CONFIG SET appendfsync everysec");
    cluster.launch(0);
    cluster.wait_ready(0);
    redis.world.write(0);
    assert!(redis.world.log(0).contains("acceptor u3 is not used: "), "{}", redis.world.log(0));
    // Where there is no quorum without it, nothing is begun.
    let cluster = &mut redis.world.cluster;
    cluster.kill(0);
    redis.servers[1].command("CONFIG SET appendfsync everysec");
    cluster.launch(0);
    assert_eq!(cluster.node(0).wait().code(), Some(2));
    let log = redis.world.log(0);
    assert!(log.contains("p1.json: acceptor u2: "), "{log}");
}
