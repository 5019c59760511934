//! A cluster of three nodes, what it has acknowledged, and what happens to a node
//! of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cluster, Process, Protocol, get, program, put, request, wait_until};

/// What becomes of a node that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ends by itself, and not as if all were well.
    Ends,
    /// It runs and serves nobody.
    IsMute,
    /// It serves as all others do.
    Serves,
}

pub struct World {
    pub cluster: Cluster,
    /// What the cluster has acknowledged.
    acknowledged: BTreeMap<String, String>,
    writes: usize,
}

impl World {
    pub fn new(cluster: Cluster) -> World {
        World { cluster, acknowledged: BTreeMap::new(), writes: 0 }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.cluster.dir.path().join(name)
    }

    /// The data of a node: its store, and of a replica its snapshots.
    fn data(&self, index: usize) -> [PathBuf; 2] {
        let name = &self.cluster.names[index];
        [self.path(&format!("data/{name}")), self.path(&format!("data/{name}-snap"))]
    }

    /// Puts the data of a node that is down aside.
    pub fn put_aside(&self, index: usize, name: &str) {
        self.clear(&self.path(name));
        for (number, path) in self.data(index).iter().enumerate().filter(|(_, it)| it.exists()) {
            fs::create_dir_all(self.path(name)).unwrap();
            fs::rename(path, self.path(name).join(number.to_string())).unwrap();
        }
    }

    fn clear(&self, path: &Path) {
        if path.exists() {
            fs::remove_dir_all(path).unwrap();
        }
    }

    /// Gives a node that is down a copy of what was put aside, here or in another
    /// cluster; nothing where there is none.
    pub fn give(&self, index: usize, from: &Path) {
        for (number, path) in self.data(index).iter().enumerate() {
            self.clear(path);
            let source = from.join(number.to_string());
            if source.exists() {
                copy(&source, path);
            }
        }
    }

    /// Keeps a copy of the data of a node that is down.
    pub fn copy_aside(&self, index: usize, name: &str) {
        self.put_aside(index, name);
        self.give(index, &self.path(name));
    }

    /// Changes the deployment file of a node.
    pub fn edit(&self, index: usize, change: impl FnOnce(&mut Value)) {
        let path = self.path(&format!("deployment/{}.json", self.cluster.names[index]));
        let mut deployment = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut deployment);
        fs::write(&path, deployment.to_string()).unwrap();
    }

    /// Writes through a node, until it is acknowledged.
    pub fn write(&mut self, index: usize) {
        self.writes += 1;
        let (key, value) = (format!("k{}", self.writes % 7), format!("true-{}", self.writes));
        let url = format!("{}/{key}", self.cluster.url(index));
        wait_until("a write is acknowledged", || {
            let answer = request("PUT", &url, Some(("text/plain", value.as_bytes())));
            answer.is_ok_and(|answer| answer.status == 204)
        });
        self.acknowledged.insert(key, value);
    }

    /// Reads all through these nodes. Only an answer counts, and it must be right.
    pub fn check(&self, nodes: &[usize]) {
        for index in nodes {
            for (key, value) in &self.acknowledged {
                let url = format!("{}/{key}", self.cluster.url(*index));
                let mut answer = None;
                wait_until("a read is answered", || {
                    answer = request("GET", &url, None).ok().filter(|it| it.status < 500);
                    answer.is_some()
                });
                let answer = answer.unwrap();
                assert_eq!((answer.status, answer.text()), (200, value.as_str()), "{url}");
            }
        }
    }

    /// Waits until a node takes requests, whatever it answers.
    pub fn wait_for_listener(&self, index: usize) {
        let url = format!("{}/livez", self.cluster.url(index));
        wait_until(&format!("{url} is answered"), || request("GET", &url, None).is_ok());
    }

    /// Asks a node that may be of another cluster: what it answers is right, or no
    /// answer. True if it answered at all.
    fn probe(&mut self, index: usize) -> bool {
        self.wait_for_listener(index);
        let base = self.cluster.url(index);
        let (read, written) = std::thread::scope(|scope| {
            let read = scope.spawn(|| {
                let reads = self.acknowledged.iter().map(|(key, value)| {
                    let answer = request("GET", &format!("{base}/{key}"), None).ok();
                    let answer = answer.filter(|answer| answer.status < 500)?;
                    let got = (answer.status, answer.text().to_owned());
                    assert_eq!(got, (200, value.clone()), "{base}/{key}");
                    Some(())
                });
                reads.take(1).flatten().count() > 0
            });
            let url = format!("{base}/of-a-stranger");
            let write = request("PUT", &url, Some(("text/plain", b"stranger")));
            (read.join().unwrap(), write.is_ok_and(|answer| answer.status < 300))
        });
        if written {
            self.acknowledged.insert("of-a-stranger".into(), "stranger".into());
        }
        read || written
    }

    /// Starts a node that was given other data, while the others serve on. Its log
    /// since then, or that of another node, has all `parts`.
    pub fn expect(&mut self, index: usize, fate: Fate, parts: &[&str]) -> String {
        let others: Vec<usize> = (0..3).filter(|other| *other != index).collect();
        let lengths: Vec<usize> = (0..3).map(|each| self.log(each).len()).collect();
        self.cluster.launch(index);
        if fate == Fate::Ends {
            let status = self.cluster.node(index).wait();
            assert!(!status.success(), "{}", self.log(index));
        }
        let mut text = String::new();
        let is_told = |text: &str| parts.iter().all(|part| text.contains(part));
        wait_until(&format!("a log has {parts:?}"), || {
            text = (0..3).map(|each| self.log(each)[lengths[each]..].to_owned()).collect();
            // Of a member that serves nothing the others tell when they ask it.
            if fate == Fate::Serves {
                self.write(others[0]);
            }
            is_told(&text)
        });
        match fate {
            Fate::Serves => self.cluster.wait_ready(index),
            Fate::IsMute => {
                assert!(!self.probe(index), "it answers: {text}");
                let health = get(&format!("{}/health", self.cluster.url(index)));
                let reason = health.text();
                let is_told = parts.iter().any(|part| reason.contains(part));
                assert!(is_told || self.cluster.protocol == Protocol::Raft, "{reason}");
                assert_eq!(health.status, 503);
            }
            Fate::Ends => {}
        }
        for other in &others {
            self.write(*other);
        }
        if fate == Fate::Serves {
            self.probe(index);
            self.check(&[index]);
        }
        self.check(&others);
        if fate != Fate::Ends {
            assert!(self.cluster.node(index).child.try_wait().unwrap().is_none(), "it ended");
        }
        self.cluster.kill(index);
        text
    }

    pub fn log(&self, index: usize) -> String {
        let path = self.path(&format!("{}.log", self.cluster.names[index]));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// The id of the cluster, as a node tells it.
    pub fn cluster_id(&self, index: usize) -> String {
        let url = format!("{}/version", self.cluster.url(index));
        let answer = request("GET", &url, None).unwrap().json();
        answer["clusterId"].as_str().expect("an id").to_owned()
    }

    /// Starts all that are down, and waits until each serves.
    pub fn start_all(&mut self) {
        let down: Vec<usize> = (0..3).filter(|it| self.cluster.nodes[*it].is_none()).collect();
        down.iter().for_each(|index| self.cluster.launch(*index));
        down.iter().for_each(|index| self.cluster.wait_ready(*index));
    }

    pub fn kill_all(&mut self) {
        (0..3)
            .filter(|it| self.cluster.nodes[*it].is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|index| self.cluster.kill(index));
    }

    /// A node of this cluster with another working directory.
    pub fn launch_elsewhere(&self, index: usize, directory: &Path) -> Process {
        fs::create_dir_all(directory).unwrap();
        let name = &self.cluster.names[index];
        let mut command = Command::new(program("gryadka"));
        command.current_dir(directory).arg(self.path(&format!("deployment/{name}.json")));
        Process::start(&mut command, &directory.join("log"))
    }

    /// Why writes through the first nodes are refused, of each.
    pub fn refusals(&self, count: usize) -> Vec<String> {
        std::thread::scope(|scope| {
            let each: Vec<_> =
                (0..count).map(|index| scope.spawn(move || self.refusal(index))).collect();
            each.into_iter().map(|refusal| refusal.join().unwrap()).collect()
        })
    }

    pub fn refusal(&self, index: usize) -> String {
        let mut answer = None;
        wait_until("the node answers", || {
            let url = format!("{}/k", self.cluster.url(index));
            answer = request("PUT", &url, Some(("text/plain", b"v"))).ok();
            answer.is_some()
        });
        let answer = answer.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        answer.text().to_owned()
    }
}

/// A copy of a directory.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Three full nodes; replicas take a snapshot often.
pub fn full_nodes(protocol: Protocol, address: &str) -> Value {
    let mut file = json!({ "cluster": "test", "nodes": {} });
    for i in 1..=3 {
        let node = format!("p{i}");
        file["nodes"][&node] = json!({ "listen": {
            "client": format!("{address}:{}", 8000 + i),
            "peer": format!("{address}:{}", 8100 + i),
            "admin": format!("{address}:{}", 8200 + i),
        }});
        match protocol {
            Protocol::Caspaxos => {
                file["acceptors"][format!("a{i}")] =
                    json!({ "node": node, "storage": { "embedded": {} } });
                file["proposers"][&node] = json!({
                    "node": node, "acceptors": ["a1", "a2", "a3"],
                    "quorum": { "read": 2, "write": 2 },
                });
            }
            Protocol::Raft => {
                file["replicas"][&node] = json!({ "node": node, "id": i });
                file["raft"] = json!({ "snapshot_entries": 20, "keep_entries": 5 });
            }
        }
    }
    file
}

/// Writes so much that replicas take a snapshot and ballots count.
pub fn fill(cluster: &Cluster, value: &str) {
    for number in 0..40 {
        let url = format!("{}/k{}", cluster.url(number % 3), number % 7);
        wait_until("it is written", || put(&url, value.as_bytes()).status == 204);
    }
}
