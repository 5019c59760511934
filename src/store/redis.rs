//! Registers in a Redis server, as in Gryadka: each step of the acceptor is a
//! Lua script, which Redis runs alone and makes durable before it answers.
//!
//! The scripts in `lua/` follow [`acceptor`](crate::caspaxos::acceptor) line
//! by line; ballots are fixed-width text there, since a number in Lua is a
//! double. The calls of a batch travel as one pipeline. They are not one
//! transaction: another proposer's steps may run between them, which is fine,
//! since every step stands for itself.
//!
//! What it leaves out: Sentinel and Redis Cluster failover. They promote
//! replicas that may have missed acknowledged writes.

mod original;
mod scripts;
mod settings;

use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use redis::io::tcp::TcpSettings;
use redis::{
    Client, Connection, IntoConnectionInfo, Pipeline, RedisResult, ServerErrorKind, Value,
};

pub use self::original::{OriginalAcceptor, OriginalBallot, OriginalRegister};
use self::scripts::{Names, Naming, Scripts};
use super::{AcceptorStore, StoreError};
use crate::caspaxos::{AcceptorId, Call, Reply, Request};
use crate::config::RedisAddress;

/// How long connecting may take, and each wait for the server after that.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long it is waited for what a server says by itself, and how much of it is read.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(200);
const FAREWELL_BYTES: u64 = 1024;
/// How long a server that could not be reached is left alone; doubles each
/// time up to the greatest, so that a dead one costs little.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const GREATEST_PAUSE: Duration = Duration::from_secs(2);

/// Why a Redis server does not serve as an acceptor's memory.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// It cannot be reached now; a later attempt may succeed.
    #[error("{server}: {why}")]
    Unreachable {
        /// The address of the server.
        server: String,
        /// How it failed.
        why: String,
    },
    /// It may forget what it acknowledges. It is refused until an operator
    /// changes that, or declares the acceptor transient.
    #[error(
        "{server} is unsafe: {why}; to fix it: {remedy}; \
         or set \"isTransient\": true if losing its data is fine"
    )]
    Unsafe {
        /// The address of the server.
        server: String,
        /// The setting, its value, and what it leads to.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// It holds data of the original, beside which the registers of this program would
    /// begin empty.
    #[error(
        "{server} holds data of the original Gryadka, as {key}/promise, {key}/ballot and \
         {key}/value, which is not read here; to keep it: give the acceptor an empty Redis and \
         import it (bin/import-gryadka.sh --help); to drop it: redis-cli {options} flushall"
    )]
    Original {
        /// The address of the server.
        server: String,
        /// One of the keys.
        key: String,
        /// The address as redis-cli takes it.
        options: String,
    },
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Unreachable { server, why } => StoreError::Unreachable { server, why },
            RedisError::Unsafe { ref server, .. } | RedisError::Original { ref server, .. } => {
                StoreError::Unreachable { server: server.clone(), why: error.to_string() }
            }
        }
    }
}

/// An acceptor's memory in a Redis server. Every call blocks.
pub struct RedisStore {
    address: RedisAddress,
    /// Whether a server that may forget is taken all the same.
    is_transient: bool,
    names: Names,
    scripts: Scripts,
    link: Link,
}

/// The state of the connection.
enum Link {
    Idle,
    Up(Connection),
    /// Not tried again before `until`.
    Down {
        until: Instant,
        pause: Duration,
        error: StoreError,
    },
}

impl RedisStore {
    /// A store in the server at `address`, for the registers of `acceptor` of
    /// `cluster`. It connects at the first call. With `is_transient` a server is taken whose
    /// settings let it forget what it acknowledged.
    pub fn new(
        address: RedisAddress,
        cluster: &str,
        acceptor: &AcceptorId,
        is_transient: bool,
    ) -> Self {
        RedisStore {
            address,
            is_transient,
            names: Names::new(cluster, acceptor),
            scripts: Scripts::new(),
            link: Link::Idle,
        }
    }

    /// Connects now, whatever happened before, and says whether the server is
    /// fit. Meant for the start of a node: an unsafe server is the operator's
    /// business, an unreachable one may come back.
    pub fn check(&mut self) -> Result<(), RedisError> {
        self.link = Link::Up(self.connect()?);
        Ok(())
    }

    fn connect(&self) -> Result<Connection, RedisError> {
        let began = Instant::now();
        self.try_connect().map_err(|error| match error {
            // One that is silent says nothing now, either.
            RedisError::Unreachable { server, why } if began.elapsed() < TIMEOUT => {
                let why = self.farewell().unwrap_or(why);
                RedisError::Unreachable { server, why }
            }
            error => error,
        })
    }

    /// What the server says to whom it turns away at once, such as a client from
    /// another machine in protected mode: the Redis client does not read it.
    fn farewell(&self) -> Option<String> {
        let RedisAddress { host, port } = &self.address;
        let address = (host.as_str(), *port).to_socket_addrs().ok()?.next()?;
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
        stream.set_read_timeout(Some(FAREWELL_TIMEOUT)).ok()?;
        let mut said = Vec::new();
        // What came before an error counts, too.
        let _ = stream.take(FAREWELL_BYTES).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        said.strip_prefix('-').map(|why| why.trim().to_owned())
    }

    fn try_connect(&self) -> Result<Connection, RedisError> {
        let failed = |error: redis::RedisError| unreachable(&self.address, error.to_string());
        let mut connection = connect(&self.address)?;
        // Again at each connection: the server may be another one by now.
        if !self.is_transient {
            settings::check(&mut connection, &self.address)?;
        }
        let run = settings::run_id(&mut connection, &self.address)?;
        if let Some(key) = original::find(&mut connection, self.names.standing()).map_err(failed)? {
            let options = format!("-h {} -p {}", self.address.host, self.address.port);
            return Err(RedisError::Original { server: name(&self.address), key, options });
        }
        let begun = Scripts::begin(&self.names, &run).exec(&mut connection);
        // What a transient one cannot write now it will say when it is asked.
        begun.or_else(|error| if self.is_transient { Ok(()) } else { Err(failed(error)) })?;
        self.scripts.load(&mut connection).map_err(failed)?;
        Ok(connection)
    }

    /// Takes the connection out, so that it is gone unless the batch succeeds:
    /// after an error, late answers would be taken for those of other calls.
    fn take_connection(&mut self) -> Result<Connection, StoreError> {
        let pause = match std::mem::replace(&mut self.link, Link::Idle) {
            Link::Up(connection) => return Ok(connection),
            Link::Idle => LEAST_PAUSE,
            Link::Down { until, pause, error } if Instant::now() < until => {
                self.link = Link::Down { until, pause, error: error.clone() };
                return Err(error);
            }
            Link::Down { pause, .. } => (pause * 2).min(GREATEST_PAUSE),
        };
        self.connect().map_err(|error| {
            let error = StoreError::from(error);
            let until = Instant::now() + pause;
            self.link = Link::Down { until, pause, error: error.clone() };
            error
        })
    }

    fn serve_on(
        &self,
        connection: &mut Connection,
        calls: &[Call],
    ) -> Result<Vec<Reply>, StoreError> {
        let failed = |why| StoreError::from(unreachable(&self.address, why));
        let client_failed = |error: redis::RedisError| failed(error.to_string());
        let command = |call, naming| self.scripts.command(&self.names, call, naming);
        let mut answers = run(connection, calls.iter().map(|call| command(call, Naming::Hash)))
            .map_err(client_failed)?;
        // Somebody flushed the scripts. Only what was not served runs again: a
        // prepare that was served would meet its own promise and be refused.
        let flushed: Vec<usize> =
            (0..calls.len()).filter(|&at| answers[at].as_ref().is_err_and(is_no_script)).collect();
        if !flushed.is_empty() {
            self.scripts.load(connection).map_err(client_failed)?;
            // By their texts, in case they are flushed at once again.
            let commands = flushed.iter().map(|&at| command(&calls[at], Naming::Text));
            let again = run(connection, commands).map_err(client_failed)?;
            flushed.iter().zip(again).for_each(|(&at, answer)| answers[at] = answer);
        }
        let reply = |(call, answer): (&Call, RedisResult<Value>)| {
            self.read(call, answer.map_err(client_failed)?).map_err(failed)
        };
        calls.iter().zip(answers).map(reply).collect()
    }

    /// Wipes step by step, so that no step keeps others waiting for long.
    fn wipe(&self, connection: &mut Connection, call: &Call) -> Result<Reply, StoreError> {
        let failed = |why| StoreError::from(unreachable(&self.address, why));
        loop {
            let command = self.scripts.command(&self.names, call, Naming::Text);
            let answer = run(connection, std::iter::once(command));
            let answer = answer.and_then(|mut answers| answers.remove(0));
            let answer = answer.map_err(|error| failed(error.to_string()))?;
            if !scripts::is_wiping(&answer) {
                return self.read(call, answer).map_err(failed);
            }
        }
    }

    fn read(&self, call: &Call, answer: Value) -> Result<Reply, String> {
        let answer = scripts::parse(answer)?;
        if let (true, Request::Accept { key, ballot, .. }) = (answer.is_alarm, &call.request) {
            super::log_alarm(key, *ballot, &self.address);
        }
        Ok(answer.reply)
    }
}

impl AcceptorStore for RedisStore {
    fn serve(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError> {
        let mut connection = self.take_connection()?;
        let mut replies = Vec::with_capacity(calls.len());
        for calls in
            calls.chunk_by(|a, b| (a.request == Request::Wipe) == (b.request == Request::Wipe))
        {
            match calls {
                [call, ..] if call.request == Request::Wipe => {
                    for call in calls {
                        replies.push(self.wipe(&mut connection, call)?);
                    }
                }
                calls => replies.extend(self.serve_on(&mut connection, calls)?),
            }
        }
        self.link = Link::Up(connection);
        Ok(replies)
    }
}

/// A connection to a server, as it is.
fn connect(address: &RedisAddress) -> Result<Connection, RedisError> {
    let failed = |error: redis::RedisError| unreachable(address, error.to_string());
    let server = (address.host.as_str(), address.port).into_connection_info();
    // Without Nagle's algorithm, which would hold back the end of a batch.
    let tcp = TcpSettings::default().set_nodelay(true);
    let server = server.map_err(failed)?.set_tcp_settings(tcp);
    let client = Client::open(server).map_err(failed)?;
    let connection = client.get_connection_with_timeout(TIMEOUT).map_err(failed)?;
    connection.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    connection.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    Ok(connection)
}

/// Sends the commands as one pipeline; one answer or error each.
fn run(
    connection: &mut Connection,
    commands: impl Iterator<Item = redis::Cmd>,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut pipeline = Pipeline::new();
    commands.for_each(|command| {
        pipeline.add_command(command);
    });
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let answers: Vec<RedisResult<Value>> = pipeline.ignore_errors().query(connection)?;
    assert_eq!(answers.len(), pipeline.len(), "the client matches answers to commands");
    Ok(answers)
}

fn is_no_script(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What messages call the server.
fn name(address: &RedisAddress) -> String {
    format!("redis://{address}")
}

fn unreachable(address: &RedisAddress, why: String) -> RedisError {
    RedisError::Unreachable { server: name(address), why }
}
