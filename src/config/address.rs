//! Addresses: of a node's listeners, of other nodes, of Redis.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// For `deserialize_with`: the address of a listener, or null.
pub(super) fn listener<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let address: SocketAddr = text.parse().map_err(|_| {
        D::Error::custom(format!("{text:?} is not IP:PORT; write it like 127.0.0.1:8001"))
    })?;
    if address.port() == 0 {
        return Err(D::Error::custom(format!("{text:?} has port 0; use 1 to 65535")));
    }
    Ok(Some(address))
}

/// For `deserialize_with`: the IP address of a listener, or null.
pub(super) fn ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let ip = text.parse().map_err(|_| {
        D::Error::custom(format!("{text:?} is not an IP address; write it like 127.0.0.1"))
    })?;
    Ok(Some(ip))
}

/// A host by itself, in a form whose fields come one by one.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Host(#[serde(deserialize_with = "host")] pub String);

/// A port by itself.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Port(#[serde(deserialize_with = "port")] pub u16);

/// For `deserialize_with`: a port from 1.
pub(super) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    NonZeroU16::deserialize(deserializer).map(NonZeroU16::get)
}

/// For `deserialize_with`: an IP address or a host name.
fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let host = String::deserialize(deserializer)?;
    check_host(&host).map_err(D::Error::custom)?;
    Ok(host)
}

fn check_host(host: &str) -> Result<(), String> {
    match host.parse::<IpAddr>().is_ok() || is_host_name(host) {
        true => Ok(()),
        false => Err(format!("{host:?} is not a host; write an IP address or a host name")),
    }
}

/// RFC 1123's alphabet and length, and `_`, which container networks use.
fn is_host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['-', '.'])
}

/// Where a Redis server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with host and port")]
pub struct RedisAddress {
    /// An IP address or a host name.
    #[serde(deserialize_with = "host")]
    pub host: String,
    /// Its port, never 0.
    #[serde(deserialize_with = "port")]
    pub port: u16,
}

impl RedisAddress {
    /// The address that somebody wrote; the error says what is wrong.
    pub fn checked(host: &str, port: u16) -> Result<Self, String> {
        check_host(host)?;
        match port {
            0 => Err("0 is not a port; use 1 to 65535".into()),
            _ => Ok(RedisAddress { host: host.into(), port }),
        }
    }
}

impl fmt::Display for RedisAddress {
    /// `host:port`; an IPv6 host stands in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_authority(f, &self.host, self.port)
    }
}

fn write_authority(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

/// Where another node is reached: `http://host:port`, without a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl {
    host: String,
    port: u16,
}

/// Why a text is not an [`HttpUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not http://HOST:PORT; write it like http://127.0.0.1:8101, without a path")]
pub struct BadUrl(String);

impl FromStr for HttpUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        parse_url(text).ok_or_else(|| BadUrl(text.to_owned()))
    }
}

fn parse_url(text: &str) -> Option<HttpUrl> {
    let authority = text.strip_prefix("http://")?;
    let (host, port) = authority.rsplit_once(':')?;
    let all_digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = if all_digits { port.parse().ok().filter(|&port| port != 0)? } else { return None };
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            address
        }
        None => Some(host).filter(|host| is_host_name(host))?,
    };
    Some(HttpUrl { host: host.to_owned(), port })
}

impl HttpUrl {
    /// The host when it is an address; `None` when it is a name.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is the name of this machine, whichever that is.
    pub(super) fn is_localhost(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Another port of the same host.
    pub(super) fn with_port(&self, port: u16) -> HttpUrl {
        HttpUrl { host: self.host.clone(), port }
    }
}

impl From<SocketAddr> for HttpUrl {
    fn from(address: SocketAddr) -> Self {
        HttpUrl { host: address.ip().to_string(), port: address.port() }
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = BadUrl;

    fn try_from(text: String) -> Result<Self, BadUrl> {
        text.parse()
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("http://")?;
        write_authority(f, &self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_host_and_a_port() {
        for good in ["http://127.0.0.1:8101", "http://[::1]:1", "http://node-1.example_net:65535"] {
            assert_eq!(good.parse::<HttpUrl>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "127.0.0.1:8101",
            "https://h:1",
            "http://h",
            "http://h:0",
            "http://h:65536",
            "http://h:+1",
            "http://h:1/",
            "http://h:1/path",
            "http://u@h:1",
            "http://:1",
            "http://::1:1",
            "http://[h]:1",
            "http://h h:1",
        ] {
            let message = bad.parse::<HttpUrl>().unwrap_err().to_string();
            assert!(message.contains("write it like http://127.0.0.1:8101"), "{message}");
        }
    }

    #[test]
    fn redis_addresses_are_checked() {
        let address = |json: &str| serde_json::from_str::<RedisAddress>(json);
        let given = address(r#"{"host":"::1","port":6379}"#).unwrap();
        assert_eq!(given.to_string(), "[::1]:6379");
        for bad in [
            r#"{"host":"","port":1}"#,
            r#"{"host":"a b","port":1}"#,
            r#"{"host":"h\nbind *","port":1}"#,
            r#"{"host":"-h","port":1}"#,
            r#"{"host":"h","port":0}"#,
            r#"{"host":"h","port":65536}"#,
            r#"{"host":"h","port":"1"}"#,
            r#"{"host":"h"}"#,
            r#"{"host":"h","port":1,"db":2}"#,
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
