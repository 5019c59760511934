//! A real Redis server in a directory of its own, gone with the test.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gryadka::config::RedisAddress;
use tempfile::TempDir;

/// A server that several subjects use, one after the other.
pub type SharedServer = Arc<Mutex<RedisServer>>;

pub struct RedisServer {
    directory: TempDir,
    address: RedisAddress,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// A server with safe settings, but for those in `arguments`.
    pub fn start(arguments: &[&str]) -> SharedServer {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Arc::new(Mutex::new(RedisServer::at("127.0.0.1", port, arguments)))
    }

    /// The same at an address that nobody else uses.
    pub fn at(host: &str, port: u16, arguments: &[&str]) -> RedisServer {
        let mut server = RedisServer {
            directory: tempfile::tempdir().unwrap(),
            address: RedisAddress { host: host.into(), port },
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
            child: None,
        };
        server.restart();
        server
    }

    pub fn address(&self) -> RedisAddress {
        self.address.clone()
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Each gets the data of the other; neither runs.
    pub fn exchange_data(&mut self, other: &mut RedisServer) {
        assert!(self.child.is_none() && other.child.is_none());
        std::mem::swap(&mut self.directory, &mut other.directory);
    }

    /// The process, while it runs.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts on what is in the directory, and waits until it answers.
    pub fn restart(&mut self) {
        let safe = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
        let child = Command::new("redis-server")
            .args(["--port", &self.address.port.to_string(), "--bind", &self.address.host])
            .arg("--dir")
            .arg(self.directory.path())
            .args(safe)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed for this test");
        self.child = Some(child);
        wait_until("redis-server answers", || self.try_command("PING").is_ok());
    }

    /// Runs a command of one's own on the server.
    pub fn command(&self, words: &str) -> ::redis::Value {
        self.try_command(words).unwrap()
    }

    fn try_command(&self, words: &str) -> ::redis::RedisResult<::redis::Value> {
        let client = ::redis::Client::open((&*self.address.host, self.address.port))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        let mut words = words.split(' ');
        let mut command = ::redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut connection)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls a condition that must come true soon.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
