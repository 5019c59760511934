//! Whether a Redis server keeps what it acknowledges.
//!
//! With `appendonly yes` and `appendfsync always` Redis writes and fsyncs its
//! append-only file before it sends the replies of an event loop turn, so a
//! reply means that the write is on disk. Everything here guards that.

use redis::{Connection, InfoDict, RedisError as ClientError, RedisResult, Value};

use super::{RedisError, name};
use crate::config::RedisAddress;

/// A setting of the server, and the only value that keeps promises.
const NEEDED: [(&str, &str, &str); 4] = [
    ("appendonly", "yes", "a restart would forget promises"),
    ("appendfsync", "always", "a crash would forget promises that were acknowledged"),
    // While it rewrites its file, Redis would fall back to appendfsync no.
    ("no-appendfsync-on-rewrite", "no", "a crash during a rewrite would forget promises"),
    // Asked for without regard to maxmemory: that can be set later, when
    // nobody looks any more.
    ("maxmemory-policy", "noeviction", "a full server would drop registers"),
];

/// Refuses a server whose settings would let it forget.
pub fn check(connection: &mut Connection, address: &RedisAddress) -> Result<(), RedisError> {
    let host_port = format!("-h {} -p {}", address.host, address.port);
    for (setting, needed, danger) in NEEDED {
        let found = config_get(connection, setting);
        let found = found.map_err(|error| not_told(address, "CONFIG GET", &error))?;
        if found != needed {
            return Err(RedisError::Unsafe {
                server: name(address),
                why: format!("{setting} is {found:?}, and with it {danger}"),
                remedy: format!(
                    "redis-cli {host_port} config set {setting} {needed} (and in redis.conf)"
                ),
            });
        }
    }
    let role: RedisResult<Vec<Value>> = redis::cmd("ROLE").query(connection);
    let role = role.map_err(|error| not_told(address, "ROLE", &error))?;
    match role.first() {
        Some(Value::BulkString(name)) if name == b"master" => Ok(()),
        role => Err(RedisError::Unsafe {
            server: name(address),
            why: format!(
                "its role is {:?}: a replica misses writes that its master acknowledged",
                role.map_or("unknown".into(), text)
            ),
            remedy: format!("give it no master: redis-cli {host_port} replicaof no one"),
        }),
    }
}

/// What the server drew when it was started.
pub fn run_id(connection: &mut Connection, address: &RedisAddress) -> Result<String, RedisError> {
    let told: RedisResult<InfoDict> = redis::cmd("INFO").arg("server").query(connection);
    let told = told.map_err(|error| not_told(address, "INFO", &error))?;
    let run: Option<String> = told.get("run_id");
    run.ok_or_else(|| super::unreachable(address, "INFO server tells no run_id".into()))
}

fn config_get(connection: &mut Connection, setting: &str) -> RedisResult<String> {
    let reply: Vec<String> = redis::cmd("CONFIG").arg("GET").arg(setting).query(connection)?;
    // A server that does not know the setting answers nothing.
    Ok(reply.into_iter().nth(1).unwrap_or_default())
}

/// The server did not say: out of reach, or not permitted to ask.
fn not_told(address: &RedisAddress, command: &str, error: &ClientError) -> RedisError {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return super::unreachable(address, error.to_string());
    }
    // Both pass by themselves: a dataset being loaded, a script that runs long.
    if matches!(error.code(), Some("LOADING" | "BUSY")) {
        return super::unreachable(address, error.to_string());
    }
    RedisError::Unsafe {
        server: name(address),
        why: format!("{command} is refused ({error}), so nobody knows whether it keeps its data"),
        remedy: format!("permit {command} to the acceptor's user"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}
