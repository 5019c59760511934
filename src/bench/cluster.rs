//! What is measured: a cluster of real processes on loopback, each with files
//! of its own, that ends with the measurement however it ends.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::BenchError;
use crate::config::{Cluster, write_deployment};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Ours, without a leader, on embedded stores.
    Caspaxos,
    /// Ours, with a leader.
    Raft,
    /// Ours, without a leader, on Redis.
    CaspaxosOnRedis,
    /// A real etcd, over its v2 API.
    EtcdV2,
    /// The same, over the JSON gateway of its v3 API.
    EtcdV3,
    /// HTTP servers of the same library that do nothing else.
    Limits,
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Caspaxos => "CASPaxos",
            Subject::Raft => "Raft",
            Subject::CaspaxosOnRedis => "CASPaxos on Redis",
            Subject::EtcdV2 => "etcd v2",
            Subject::EtcdV3 => "etcd v3",
            Subject::Limits => "bare HTTP",
        })
    }
}

/// How large a cluster is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// How many nodes it has.
    pub nodes: u16,
    /// How many event loops of a node share the keys, on CASPaxos.
    pub shards: u16,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { nodes: 3, shards: 1 }
    }
}

/// A cluster that runs.
pub struct Running {
    subject: Subject,
    directory: PathBuf,
    processes: Vec<Process>,
    /// Where clients are served, by node.
    pub urls: Vec<String>,
}

struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    is_node: bool,
}

/// The listeners of clients; those of peers and of operators are 100 and 200
/// above, and those of Redis 300.
const BASE_PORT: u16 = 28_000;
const START_PATIENCE: Duration = Duration::from_secs(60);

impl Running {
    /// Starts `nodes` nodes with empty stores in a directory, and waits until
    /// all of them serve.
    pub async fn start(
        subject: Subject,
        shape: Shape,
        directory: &Path,
    ) -> Result<Running, BenchError> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(BenchError::of_file(directory))?;
        }
        fs::create_dir_all(directory).map_err(BenchError::of_file(directory))?;
        let nodes = shape.nodes;
        let numbers = 1..=nodes;
        let processes = match subject {
            Subject::EtcdV2 | Subject::EtcdV3 => {
                numbers.clone().map(|number| etcd(number, nodes, directory)).collect()
            }
            Subject::Caspaxos | Subject::Raft | Subject::CaspaxosOnRedis | Subject::Limits => {
                own(subject, shape, directory)?
            }
        };
        let urls = numbers.map(|number| url(BASE_PORT + number)).collect();
        let directory = directory.to_path_buf();
        let mut running = Running { subject, directory, processes, urls };
        running.launch().await?;
        Ok(running)
    }

    /// Kills all processes, starts them again on the same data, and tells how
    /// long it took until all of them served.
    pub async fn restart(&mut self) -> Result<Duration, BenchError> {
        self.processes.iter_mut().for_each(Process::kill);
        let began = Instant::now();
        self.launch().await?;
        Ok(began.elapsed())
    }

    async fn launch(&mut self) -> Result<(), BenchError> {
        for process in &mut self.processes {
            process.launch(&self.directory)?;
        }
        let path = match self.subject {
            Subject::EtcdV2 | Subject::EtcdV3 => "/health",
            Subject::Caspaxos | Subject::Raft | Subject::CaspaxosOnRedis | Subject::Limits => {
                "/readyz"
            }
        };
        let client = awc::Client::builder().timeout(Duration::from_secs(1)).finish();
        let nodes = self.processes.iter().filter(|process| process.is_node);
        for (process, url) in nodes.zip(&self.urls) {
            let began = Instant::now();
            while !succeeds(&client, &format!("{url}{path}")).await {
                if began.elapsed() > START_PATIENCE {
                    return Err(process.not_ready());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// The node that leads, or the first one where none does.
    pub async fn leader(&self) -> usize {
        let client = awc::Client::default();
        for (index, (number, url)) in (1..).zip(&self.urls).enumerate() {
            let (asked, field, leads) = match self.subject {
                Subject::Raft => (format!("{}/raft", url_of_admin(number)), "role", "leader"),
                Subject::EtcdV2 | Subject::EtcdV3 => {
                    (format!("{url}/v2/stats/self"), "state", "StateLeader")
                }
                Subject::Caspaxos | Subject::CaspaxosOnRedis | Subject::Limits => return 0,
            };
            let state = async { client.get(asked).send().await.ok()?.json::<Value>().await.ok() };
            if state.await.is_some_and(|state| state[field] == leads) {
                return index;
            }
        }
        0
    }

    /// The process ids of the nodes.
    pub fn pids(&self) -> Vec<u32> {
        let nodes = self.processes.iter().filter(|process| process.is_node);
        nodes.filter_map(|process| Some(process.child.as_ref()?.id())).collect()
    }

    /// What each node holds in memory, in bytes.
    pub fn memory_bytes(&self) -> Result<Vec<u64>, BenchError> {
        let of = |pid: u32| {
            let path = PathBuf::from(format!("/proc/{pid}/status"));
            let status = fs::read_to_string(&path).map_err(BenchError::of_file(&path))?;
            let kib = status.lines().find_map(|line| {
                line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok()
            });
            Ok(kib.unwrap_or(0) * 1024)
        };
        self.pids().into_iter().map(of).collect()
    }

    /// What the cluster holds on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        fn size(path: &Path) -> u64 {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => size(&entry.path()),
                    // What is gone by now takes nothing; blocks are of 512 bytes.
                    metadata => metadata
                        .map_or(0, |file| std::os::unix::fs::MetadataExt::blocks(&file) * 512),
                })
                .sum()
        }
        size(&self.directory)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(Process::kill);
        // What cannot be removed is in the way of nobody but the disk.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Process {
    fn launch(&mut self, directory: &Path) -> Result<(), BenchError> {
        let log = File::create(&self.log).map_err(BenchError::of_file(&self.log))?;
        let error_log = log.try_clone().map_err(BenchError::of_file(&self.log))?;
        let mut command = Command::new(&self.program);
        // The pipe closes when this process ends, however it ends.
        command.current_dir(directory).args(&self.arguments).stdin(Stdio::piped());
        let child = command.stdout(log).stderr(error_log).spawn();
        let program = || self.program.display().to_string();
        self.child =
            Some(child.map_err(|error| BenchError::Program { program: program(), error })?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either works, or the process is gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn not_ready(&self) -> BenchError {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        BenchError::NotReady {
            node: self.name.clone(),
            seconds: START_PATIENCE.as_secs(),
            log: self.log.clone(),
            tail: lines[lines.len().saturating_sub(5)..].join("\n"),
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn url_of_admin(number: u16) -> String {
    url(BASE_PORT + 200 + number)
}

async fn succeeds(client: &awc::Client, url: &str) -> bool {
    let answer = client.get(url).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// Our nodes, as a cluster file with default settings describes them, and the
/// Redis servers that they need.
fn own(subject: Subject, shape: Shape, directory: &Path) -> Result<Vec<Process>, BenchError> {
    let Shape { nodes, shards } = shape;
    let mut file = json!({ "cluster": "bench", "nodes": {} });
    let acceptors: Vec<String> = (1..=nodes).map(|number| format!("a{number}")).collect();
    for number in 1..=nodes {
        let name = format!("n{number}");
        let listen = |offset: u16| format!("127.0.0.1:{}", BASE_PORT + offset + number);
        file["nodes"][&name] = json!({
            "data_dir": name,
            "listen": { "client": listen(0), "peer": listen(100), "admin": listen(200) },
        });
        if subject == Subject::Raft {
            file["replicas"][format!("r{number}")] = json!({ "node": name, "id": number });
            continue;
        }
        file["acceptors"][format!("a{number}")] = match subject == Subject::CaspaxosOnRedis {
            true => {
                json!({ "storage": { "host": "127.0.0.1", "port": BASE_PORT + 300 + number } })
            }
            false => json!({ "node": name, "storage": { "embedded": {} } }),
        };
        let quorum = nodes / 2 + 1;
        file["proposers"][format!("p{number}")] = json!({
            "node": name, "id": number, "acceptors": acceptors,
            "quorum": { "read": quorum, "write": quorum }, "shards": shards,
        });
    }
    let path = directory.join("cluster.json");
    fs::write(&path, file.to_string()).map_err(BenchError::of_file(&path))?;
    let cluster = Cluster::load(&path)?;
    write_deployment(&cluster, &[], &directory.join("deployment"))?;
    let program = beside_this_one("gryadka")?;
    let node = |number: u16| {
        let name = format!("n{number}");
        let arguments = vec![format!("deployment/{name}.json"), "--exit-with-stdin".into()];
        Process::of(name, program.clone(), arguments, directory, true)
    };
    let mut processes = Vec::new();
    if subject == Subject::CaspaxosOnRedis {
        for acceptor in &acceptors {
            let arguments = vec![format!("deployment/{acceptor}/redis.conf")];
            let program = "redis-server".into();
            processes.push(Process::of(acceptor.clone(), program, arguments, directory, false));
        }
    }
    processes.extend((1..=nodes).map(node));
    Ok(processes)
}

fn etcd(number: u16, nodes: u16, directory: &Path) -> Process {
    let name = format!("n{number}");
    let peer = |number: u16| url(BASE_PORT + 100 + number);
    let members: Vec<String> =
        (1..=nodes).map(|number| format!("n{number}={}", peer(number))).collect();
    let arguments = [
        ("name", name.clone()),
        ("data-dir", name.clone()),
        ("listen-client-urls", url(BASE_PORT + number)),
        ("advertise-client-urls", url(BASE_PORT + number)),
        ("listen-peer-urls", peer(number)),
        ("initial-advertise-peer-urls", peer(number)),
        ("initial-cluster", members.join(",")),
        ("log-level", "error".into()),
    ];
    let arguments = arguments.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]);
    let arguments = arguments.chain(["--enable-v2".into()]).collect();
    Process::of(name, "etcd".into(), arguments, directory, true)
}

/// A program of this package.
fn beside_this_one(name: &str) -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe();
    let own = own.map_err(|error| BenchError::Program { program: name.into(), error })?;
    Ok(own.with_file_name(name))
}

impl Process {
    fn of(
        name: String,
        program: PathBuf,
        arguments: Vec<String>,
        directory: &Path,
        is_node: bool,
    ) -> Process {
        let log = directory.join(format!("{name}.log"));
        Process { name, program, arguments, log, child: None, is_node }
    }
}
