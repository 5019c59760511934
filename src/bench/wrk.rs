//! Load from `wrk`, which takes few cycles for itself, so that on a small
//! machine the servers are measured and not the client.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{BenchError, Subject};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A write of a random key.
    Put,
    /// A linearizable read of a random key.
    Get,
    /// A read of a random key that may be old.
    StaleGet,
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// What is asked.
    pub work: Work,
    /// Whom, by base URL; each has a thread of its own.
    pub urls: &'a [String],
    /// Connections, over all of them.
    pub connections: usize,
    /// How many keys there are.
    pub keys: u64,
    /// The size of a value.
    pub value_bytes: usize,
    /// How long it lasts.
    pub duration: Duration,
}

/// What came of a load.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Requests that succeeded.
    pub requests: u64,
    /// How long they took together.
    pub duration_us: u64,
    /// Half of the requests took no longer.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// Answers that were no success, and connections that broke.
    pub errors: u64,
}

impl Figure {
    /// Requests a second.
    pub fn per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.duration_us.max(1) as f64
    }
}

/// What is in front of the figures in what `wrk` prints.
const MARK: &str = "figures: ";

impl Load<'_> {
    /// Puts the load on a cluster. The script is written to the directory.
    pub async fn run(&self, subject: Subject, directory: &Path) -> Result<Figure, BenchError> {
        let path = directory.join("wrk.lua");
        std::fs::write(&path, self.script(subject)).map_err(BenchError::of_file(&path))?;
        let mut wrk = Command::new("wrk");
        wrk.arg(format!("-t{}", self.urls.len()))
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.duration.as_secs().max(1)))
            .args(["--timeout", "10s", "-s"])
            .arg(&path)
            .arg(&self.urls[0])
            .kill_on_drop(true);
        let output = wrk.output().await;
        let output =
            output.map_err(|error| BenchError::Program { program: "wrk".into(), error })?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix(MARK));
        let figure: Option<Figure> = line.and_then(|line| serde_json::from_str(line).ok());
        let all = || format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        let figure = figure.ok_or_else(|| BenchError::Figures(all()))?;
        match figure.requests {
            0 => Err(BenchError::NoSuccess(self.urls.join(", "))),
            _ => Ok(figure),
        }
    }

    fn script(&self, subject: Subject) -> String {
        let addresses: Vec<String> = self
            .urls
            .iter()
            .map(|url| {
                let address = url.trim_start_matches("http://");
                let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
                format!("{{\"{host}\", \"{port}\"}}")
            })
            .collect();
        format!(
            r#"
local addresses = {{ {addresses} }}
local threads = 0
function setup(thread)
  threads = threads + 1
  local address = addresses[threads]
  thread.addr = wrk.lookup(address[1], address[2])[1]
  thread:set("number", threads)
end
local value = string.rep("v", {value_bytes})
function init(args) math.randomseed(number) end
{BASE64}
local function message(method, path, kind, body)
  return method .. " " .. path .. " HTTP/1.1\r\nHost: localhost\r\n" .. kind ..
    "Content-Length: " .. #body .. "\r\n\r\n" .. body
end
local form = "Content-Type: application/x-www-form-urlencoded\r\n"
local json = "Content-Type: application/json\r\n"
function request()
  local key = "k" .. math.random(0, {keys} - 1)
  {request}
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{MARK}{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,"errors":%d}}\n',
    summary.requests - e.status, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))
end
"#,
            addresses = addresses.join(", "),
            value_bytes = self.value_bytes,
            keys = self.keys,
            request = self.request(subject),
        )
    }

    /// The Lua statement that makes a request of a key.
    fn request(&self, subject: Subject) -> &'static str {
        match (subject, self.work) {
            (Subject::EtcdV2, Work::Put) => {
                r#"return message("PUT", "/v2/keys/" .. key, form, "value=" .. value)"#
            }
            (Subject::EtcdV2, Work::Get) => {
                r#"return message("GET", "/v2/keys/" .. key .. "?quorum=true", "", "")"#
            }
            (Subject::EtcdV2, Work::StaleGet) => {
                r#"return message("GET", "/v2/keys/" .. key, "", "")"#
            }
            (Subject::EtcdV3, Work::Put) => {
                r#"return message("POST", "/v3/kv/put", json,
                  '{"key":"' .. base64(key) .. '","value":"' .. base64(value) .. '"}')"#
            }
            (Subject::EtcdV3, Work::Get) => {
                r#"return message("POST", "/v3/kv/range", json, '{"key":"' .. base64(key) .. '"}')"#
            }
            (Subject::EtcdV3, Work::StaleGet) => {
                r#"return message("POST", "/v3/kv/range", json,
                  '{"key":"' .. base64(key) .. '","serializable":true}')"#
            }
            (
                Subject::Caspaxos | Subject::CaspaxosOnRedis | Subject::Raft | Subject::Limits,
                Work::Put,
            ) => r#"return message("PUT", "/" .. key, "", value)"#,
            (
                Subject::Caspaxos | Subject::CaspaxosOnRedis | Subject::Raft | Subject::Limits,
                Work::Get,
            ) => r#"return message("GET", "/" .. key, "", "")"#,
            (
                Subject::Caspaxos | Subject::CaspaxosOnRedis | Subject::Raft | Subject::Limits,
                Work::StaleGet,
            ) => r#"return message("GET", "/" .. key .. "?consistency=stale", "", "")"#,
        }
    }
}

/// Lua's own library has none.
const BASE64: &str = r#"
local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local known = {}
local function base64(text)
  if known[text] then return known[text] end
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for j = 3, 0, -1 do
      local place = math.floor(n / 64 ^ j) % 64 + 1
      out[#out + 1] = letters:sub(place, place)
    end
  end
  local text64 = table.concat(out)
  local pad = (3 - #text % 3) % 3
  text64 = text64:sub(1, #text64 - pad) .. string.rep("=", pad)
  known[text] = text64
  return text64
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_each_server_and_asks_it_in_its_own_way() {
        let urls = ["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        let load = Load {
            work: Work::Put,
            urls: &urls,
            connections: 2,
            keys: 10,
            value_bytes: 100,
            duration: Duration::from_secs(1),
        };
        let script = load.script(Subject::Raft);
        assert!(script.contains(r#"{ {"127.0.0.1", "1"}, {"127.0.0.1", "2"} }"#), "{script}");
        assert!(script.contains(r#"message("PUT", "/" .. key, "", value)"#), "{script}");
        assert!(load.script(Subject::EtcdV2).contains("/v2/keys/"));
        assert!(load.script(Subject::EtcdV3).contains("/v3/kv/put"));
    }
}
