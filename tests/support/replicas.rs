//! Three raft replicas as processes, at one address or each on a host of its
//! own, with the default times and settings unless others are given.

use std::fs;
use std::process::Command;

use gryadka::config::{Cluster as ClusterFile, write_deployment};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Process, program, request, wait_until};

/// Where a replica runs.
#[derive(Clone)]
pub struct Host {
    pub address: String,
    /// Its network namespace; the test's own unless given.
    pub namespace: Option<String>,
}

impl Host {
    /// A node that is to run there.
    pub fn command(&self) -> Command {
        match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program("gryadka"));
                command
            }
            None => Command::new(program("gryadka")),
        }
    }
}

/// A cluster of three replicas.
pub struct Replicas {
    /// They end, and show their logs when the test failed, before the directory
    /// goes.
    pub nodes: [Option<Process>; 3],
    pub dir: TempDir,
    hosts: [Host; 3],
}

const CLIENT_PORT: usize = 8001;
pub const PEER_PORT: usize = 8101;
const ADMIN_PORT: usize = 8201;

impl Replicas {
    /// Starts them and waits until each serves.
    pub fn start(hosts: [Host; 3], settings: Value) -> Replicas {
        let mut file = json!({ "cluster": "test", "nodes": {}, "replicas": {}, "raft": settings });
        for (index, Host { address, .. }) in hosts.iter().enumerate() {
            let name = format!("r{}", index + 1);
            file["nodes"][&name] = json!({ "listen": {
                "client": format!("{address}:{}", CLIENT_PORT + index),
                "peer": format!("{address}:{}", PEER_PORT + index),
                "admin": format!("{address}:{}", ADMIN_PORT + index),
            }});
            file["replicas"][&name] = json!({ "node": name, "id": index + 1 });
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cluster.json");
        fs::write(&path, file.to_string()).expect("the cluster file");
        let cluster = ClusterFile::load(&path).expect("a good cluster file");
        write_deployment(&cluster, &[], &dir.path().join("deployment")).expect("deployments");
        let mut replicas = Replicas { dir, hosts, nodes: [None, None, None] };
        (0..3).for_each(|index| replicas.launch(index));
        (0..3).for_each(|index| replicas.wait_ready(index));
        replicas
    }

    /// Starts them at one loopback address.
    pub fn start_here(settings: Value) -> Replicas {
        let host = Host { address: super::own_address(), namespace: None };
        Replicas::start([host.clone(), host.clone(), host], settings)
    }

    /// Starts one that is not running.
    pub fn launch(&mut self, index: usize) {
        let mut command = self.hosts[index].command();
        command.current_dir(self.dir.path()).arg(format!("deployment/r{}.json", index + 1));
        let log = self.dir.path().join(format!("r{}.log", index + 1));
        self.nodes[index] = Some(Process::start(&mut command, &log));
    }

    pub fn node(&mut self, index: usize) -> &mut Process {
        self.nodes[index].as_mut().expect("it runs")
    }

    /// kill -9.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].take().expect("it runs").kill();
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self, index: usize) {
        let mut node = self.nodes[index].take().expect("it runs");
        node.signal("TERM");
        assert!(node.wait().success(), "{}", node.log());
    }

    /// Its client listener.
    pub fn url(&self, index: usize) -> String {
        format!("http://{}:{}", self.hosts[index].address, CLIENT_PORT + index)
    }

    /// What its admin listener answers, if it runs.
    pub fn ask(&self, index: usize, path: &str) -> Option<Value> {
        let url = format!("http://{}:{}{path}", self.hosts[index].address, ADMIN_PORT + index);
        let answer = request("GET", &url, None).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    pub fn wait_ready(&self, index: usize) {
        let url = format!("{}/readyz", self.url(index));
        wait_until(&format!("{url} is ready"), || {
            request("GET", &url, None).is_ok_and(|answer| answer.status == 200)
        });
    }

    /// The highest term that any of them knows.
    pub fn term(&self) -> u64 {
        let terms = (0..3).filter_map(|index| self.ask(index, "/raft")?["term"].as_u64());
        terms.max().expect("one runs")
    }

    /// Who leads, in the highest term: one that was deposed may not know it.
    pub fn leader(&self) -> usize {
        let leads = |index| {
            let state = self.ask(index, "/raft")?;
            (state["role"] == "leader").then(|| (state["term"].as_u64(), index))
        };
        let mut leader = None;
        wait_until("a replica leads", || {
            leader = (0..3).filter_map(leads).max();
            leader.is_some()
        });
        leader.expect("one leads").1
    }
}
