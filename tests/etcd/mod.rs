//! A real etcd for a test: on free ports of the loopback, with its data in a
//! temporary directory, killed when it is dropped.
//!
//! Each test binary uses a part of it.
#![allow(dead_code)]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gryadka::client::Connection;
use tempfile::TempDir;

/// How long anything that a test waits for may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// One etcd process.
pub struct Etcd {
    name: String,
    client: String,
    peer: String,
    cluster: String,
    data: TempDir,
    process: Option<Child>,
}

impl Etcd {
    /// A cluster of one that answers.
    pub async fn start() -> Etcd {
        Etcd::cluster(1).await.pop().expect("a cluster of one has a node")
    }

    /// Nodes `n1`, `n2`, ... that answer.
    pub async fn cluster(size: usize) -> Vec<Etcd> {
        let addresses = free_addresses(2 * size);
        let members = addresses.chunks(2).zip(1..);
        let member = |(addresses, number): (&[String], _)| {
            (format!("n{number}"), addresses[0].clone(), addresses[1].clone())
        };
        let members: Vec<_> = members.map(member).collect();
        let peers = members.iter().map(|(name, _, peer)| format!("{name}=http://{peer}"));
        let cluster = peers.collect::<Vec<_>>().join(",");
        let mut nodes: Vec<Etcd> = members
            .into_iter()
            .map(|(name, client, peer)| {
                let data = tempfile::tempdir().expect("a temporary directory");
                Etcd { name, client, peer, cluster: cluster.clone(), data, process: None }
            })
            .collect();
        nodes.iter_mut().for_each(Etcd::run);
        for node in &nodes {
            node.wait_until_it_answers().await;
        }
        nodes
    }

    /// The base address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Ends the process without a warning (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("etcd can be killed");
            process.wait().expect("etcd can be waited for");
        }
    }

    /// Starts the process, on the data that it left.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let (client, peer) = (self.url(), format!("http://{}", self.peer));
        let started = Command::new("etcd")
            .arg("--enable-v2")
            .args(["--name", &self.name])
            .args([Path::new("--data-dir"), self.data.path()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = match started {
            Ok(process) => Some(process),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("this test needs a real etcd: apt-get install etcd-server")
            }
            Err(error) => panic!("etcd cannot be started: {error}"),
        };
    }

    async fn wait_until_it_answers(&self) {
        let mut connection = Connection::new(&self.url(), Duration::from_secs(1));
        let deadline = Instant::now() + DEADLINE;
        loop {
            match connection.get("is-there-a-leader").await {
                Ok(_) => return,
                Err(error) if Instant::now() > deadline => panic!("no etcd: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Addresses of the loopback on which nothing listens. Their ports lie below
/// those that the system gives to outgoing connections, which would take
/// them away again.
fn free_addresses(count: usize) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next_address = || {
        let offset = std::process::id().wrapping_mul(128) + NEXT.fetch_add(1, Ordering::Relaxed);
        format!("127.0.0.1:{}", 20_000 + offset % 10_000)
    };
    let is_free = |address: &String| TcpListener::bind(address).is_ok();
    std::iter::repeat_with(next_address).filter(is_free).take(count).collect()
}

/// An address that refuses connections: no test may listen there.
pub const REFUSING_ADDRESS: &str = "127.0.0.1:1";
