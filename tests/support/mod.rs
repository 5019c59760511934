//! What the tests of whole processes share: clusters of real nodes on
//! loopback addresses of their own, in directories of their own.
//!
//! Each test binary uses a part of it.
#![allow(dead_code, unused_macros)]

pub mod hosts;
pub mod load;
pub mod proxy;
pub mod recorded;
pub mod recorder;
pub mod replicas;
pub mod writers;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use gryadka::config::{Cluster as ClusterFile, write_deployment};
use gryadka::identity::ClusterId;
use gryadka::perseus::IndexOrder;
use tempfile::TempDir;

/// What replicates the data of a [`Cluster`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Caspaxos,
    Raft,
}

impl Protocol {
    /// How its answers number changes.
    pub fn index_order(self) -> IndexOrder {
        match self {
            Protocol::Caspaxos => IndexOrder::PerKey,
            Protocol::Raft => IndexOrder::Global,
        }
    }
}

/// Makes a test of each of these functions on each protocol: `caspaxos::NAME`
/// and `raft::NAME`.
macro_rules! on_both_protocols {
    ($($name:ident)*) => {
        mod caspaxos {
            $(#[test]
            fn $name() {
                super::$name($crate::support::Protocol::Caspaxos);
            })*
        }
        mod raft {
            $(#[test]
            fn $name() {
                super::$name($crate::support::Protocol::Raft);
            })*
        }
    };
}
/// How long anything that a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition, with a deadline.
pub fn wait_until(what: &str, mut is_met: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_met() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A loopback address that no other test uses: from the process id, which is
/// unique while the test runs, and a counter. Ports on it can be fixed, and
/// no outgoing connection ever takes one while its node is down.
pub fn own_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let counter = NEXT.fetch_add(1, Ordering::Relaxed);
    // 127.0.0.1 itself is everybody's.
    format!("127.{}.{middle}.{low}", 1 + (counter.wrapping_add(high.wrapping_mul(16)) % 250))
}

/// The path of a program of this package.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the test's own path");
    let target = this.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    target.join(name)
}

/// A directory with the scripts, the shipped configurations and the matrix in it, as in a
/// clone of the repository.
pub fn checkout() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut copy = Command::new("cp");
    copy.arg("-r").args(["bin", "configs", "matrix"].map(|name| root.join(name))).arg(dir.path());
    assert!(copy.status().expect("cp").success());
    dir
}

/// Has the scripts use the programs under test.
pub fn use_programs(script: &mut Command) {
    script.env("GRYADKA_BIN", program("gryadka").parent().expect("a directory"));
}

/// A child process that is killed when the test is done with it, and all that
/// it has started with it.
pub struct Process {
    pub child: Child,
    pub log: PathBuf,
}

impl Process {
    /// Starts a command with its output in a log file.
    pub fn start(command: &mut Command, log: &Path) -> Process {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child, log: log.to_path_buf() }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args([format!("-{name}"), process]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the process ends", || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("it ended")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().expect("a number");
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("--- {} ends with:\n{tail}", self.log.display());
        }
    }
}

/// A running cluster of node processes.
pub struct Cluster {
    pub protocol: Protocol,
    /// First, so that their logs are there when they end.
    pub nodes: Vec<Option<Process>>,
    pub dir: TempDir,
    pub address: String,
    pub names: Vec<String>,
}

impl Cluster {
    /// Starts `count` nodes with embedded stores and the settings that are
    /// shipped, and waits until each of them serves.
    pub fn start(protocol: Protocol, count: usize) -> Cluster {
        Cluster::start_with(protocol, count, false)
    }

    /// The same, with nodes that may be upset.
    pub fn start_with_chaos(protocol: Protocol, count: usize) -> Cluster {
        Cluster::start_with(protocol, count, true)
    }

    fn start_with(protocol: Protocol, count: usize, chaos: bool) -> Cluster {
        let address = own_address();
        let mut file = serde_json::json!({ "cluster": "test", "nodes": {} });
        for i in 1..=count {
            file["nodes"][format!("p{i}")] = serde_json::json!({ "listen": {
                "client": format!("{address}:{}", 8000 + i),
                "peer": format!("{address}:{}", 8100 + i),
                "admin": format!("{address}:{}", 8200 + i),
            }, "chaos": chaos });
        }
        match protocol {
            Protocol::Caspaxos => add_caspaxos(&mut file, count),
            Protocol::Raft => add_replicas(&mut file, count),
        }
        Cluster::of_file(protocol, &file, address)
    }

    /// Starts the nodes of a cluster file.
    pub fn of_file(protocol: Protocol, file: &serde_json::Value, address: String) -> Cluster {
        let mut cluster = Cluster::prepare(protocol, file, address);
        for index in 0..cluster.names.len() {
            cluster.launch(index);
        }
        for index in 0..cluster.names.len() {
            cluster.wait_ready(index);
        }
        cluster
    }

    /// The nodes of a cluster file, none of which runs.
    pub fn prepare(protocol: Protocol, file: &serde_json::Value, address: String) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cluster.json");
        fs::write(&path, file.to_string()).expect("the cluster file");
        let cluster = ClusterFile::load(&path).expect("a good cluster file");
        write_deployment(&cluster, &[], &dir.path().join("deployment")).expect("deployments");
        let names: Vec<String> = cluster.endpoints().into_iter().map(|(name, _)| name).collect();
        let nodes = names.iter().map(|_| None).collect();
        Cluster { protocol, dir, address, names, nodes }
    }

    /// Starts a node that is not running.
    pub fn launch(&mut self, index: usize) {
        let name = &self.names[index];
        let mut command = Command::new(program("gryadka"));
        command.current_dir(self.dir.path()).arg(format!("deployment/{name}.json"));
        let log = self.dir.path().join(format!("{name}.log"));
        self.nodes[index] = Some(Process::start(&mut command, &log));
    }

    pub fn node(&mut self, index: usize) -> &mut Process {
        self.nodes[index].as_mut().expect("the node runs")
    }

    /// kill -9.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].take().expect("the node runs").kill();
    }

    pub fn host(&self, index: usize) -> String {
        format!("{}:{}", self.address, 8000 + self.number(index))
    }

    fn number(&self, index: usize) -> usize {
        self.names[index][1..].parse().expect("p1, p2, ...")
    }

    pub fn url(&self, index: usize) -> String {
        format!("http://{}", self.host(index))
    }

    /// The client listeners of all nodes.
    pub fn urls(&self) -> Vec<String> {
        (0..self.names.len()).map(|index| self.url(index)).collect()
    }

    /// Its id.
    pub fn id(&self) -> ClusterId {
        let version = get(&format!("{}/version", self.url(0))).json();
        version["clusterId"].as_str().expect("it is known").parse().expect("an id")
    }

    pub fn admin_url(&self, index: usize) -> String {
        format!("http://{}:{}", self.address, 8200 + self.number(index))
    }

    /// The node that leads: of Raft, once there is one.
    pub fn leader(&self) -> Option<usize> {
        let leads = |index| {
            let state = request("GET", &format!("{}/raft", self.admin_url(index)), None);
            let state = state.ok()?.json();
            (state["role"] == "leader").then(|| (state["term"].as_u64(), index))
        };
        let mut leader = None;
        if self.protocol == Protocol::Raft {
            wait_until("a node leads", || {
                // One that was deposed and does not know it yet has an older term.
                leader = (0..self.names.len()).filter_map(leads).max();
                leader.is_some()
            });
        }
        leader.map(|(_, index)| index)
    }

    pub fn wait_ready(&self, index: usize) {
        let url = format!("{}/readyz", self.url(index));
        wait_until(&format!("{url} is ready"), || {
            request("GET", &url, None).is_ok_and(|answer| answer.status == 200)
        });
    }
}

/// An acceptor and a proposer on each node; the second one's keys are shared by
/// two event loops.
fn add_caspaxos(file: &mut serde_json::Value, count: usize) {
    let majority = count / 2 + 1;
    let acceptors: Vec<String> = (1..=count).map(|i| format!("a{i}")).collect();
    for i in 1..=count {
        let node = format!("p{i}");
        file["acceptors"][format!("a{i}")] =
            serde_json::json!({ "node": node, "storage": { "embedded": {} } });
        file["proposers"][&node] = serde_json::json!({
            "node": node, "acceptors": acceptors,
            "quorum": { "read": majority, "write": majority },
            "shards": if i == 2 { 2 } else { 1 },
        });
    }
}

/// A replica on each node.
fn add_replicas(file: &mut serde_json::Value, count: usize) {
    for i in 1..=count {
        file["replicas"][format!("p{i}")] = serde_json::json!({ "node": format!("p{i}"), "id": i });
    }
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// One request on a connection of its own; any status is an answer.
pub fn request(
    method: &str,
    url: &str,
    body: Option<(&str, &[u8])>,
) -> Result<Answer, ureq::Error> {
    request_with(method, url, &[], body)
}

/// The same with headers.
pub fn request_with(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<(&str, &[u8])>,
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into();
    let mut builder = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = match body {
        None => agent.run(builder.body(()).expect("a request"))?,
        Some((content_type, bytes)) => {
            let builder = builder.header("content-type", content_type);
            agent.run(builder.body(bytes).expect("a request"))?
        }
    };
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_string()));
    Ok(Answer {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: response.body_mut().with_config().limit(64 << 20).read_to_vec()?,
    })
}

pub const FORM: &str = "application/x-www-form-urlencoded";

/// A request to the v2 API with a form.
pub fn form_request(method: &str, url: &str, form: &str) -> Answer {
    request(method, url, Some((FORM, form.as_bytes())))
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// A GET that must be answered.
pub fn get(url: &str) -> Answer {
    request("GET", url, None).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// A PUT of raw bytes that must be answered.
pub fn put(url: &str, body: &[u8]) -> Answer {
    let body = Some(("application/octet-stream", body));
    request("PUT", url, body).unwrap_or_else(|error| panic!("{url}: {error}"))
}
