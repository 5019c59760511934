//! Where a node is reached, and what it is called.

use std::fmt;
use std::str::FromStr;

use awc::http::Uri;

/// A node as its clients see it: a name for people, a base address for
/// requests (`http://HOST:PORT`, nothing after it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    url: String,
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Anything but `http://HOST:PORT`.
    #[error("\"{url}\" is not the address of a node; write http://HOST:PORT or HOST:PORT")]
    Address {
        /// What was given.
        url: String,
    },
    /// TLS is not spoken.
    #[error("\"{url}\": https is not supported; write http://HOST:PORT")]
    Https {
        /// What was given.
        url: String,
    },
    /// A name that would break the columns of the output.
    #[error("\"{name}\" is not a node's name; use letters, digits, '.', ':', '-' and '_'")]
    Name {
        /// What was given.
        name: String,
    },
}

impl Endpoint {
    /// A node with this name at this address, `http://HOST:PORT` or
    /// `HOST:PORT`; a slash at the end is allowed.
    pub fn new(name: &str, address: &str) -> Result<Endpoint, BadEndpoint> {
        let url = base_url(address)?;
        let is_plain = |c: char| c.is_alphanumeric() || "[].:-_".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(BadEndpoint::Name { name: name.to_owned() });
        }
        Ok(Endpoint { name: name.to_owned(), url })
    }

    /// What the node is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The base address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn base_url(address: &str) -> Result<String, BadEndpoint> {
    let bad = || BadEndpoint::Address { url: address.to_owned() };
    if address.starts_with("https://") {
        return Err(BadEndpoint::Https { url: address.to_owned() });
    }
    let authority = address.strip_prefix("http://").unwrap_or(address);
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(bad());
    }
    let url = format!("http://{authority}");
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host_is_there = uri.host().is_some_and(|host| !host.is_empty());
    if host_is_there && uri.port_u16().is_some_and(|port| port > 0) { Ok(url) } else { Err(bad()) }
}

/// `NAME=ADDRESS`, or an address alone, which is then named by its host and
/// port.
impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, BadEndpoint> {
        if let Some((name, address)) = text.split_once('=') {
            return Endpoint::new(name, address);
        }
        let url = base_url(text)?;
        let name = url.trim_start_matches("http://").to_owned();
        Endpoint::new(&name, &url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for (text, name, url) in [
            ("n1=http://127.0.0.1:8001", "n1", "http://127.0.0.1:8001"),
            ("n1=127.0.0.1:8001", "n1", "http://127.0.0.1:8001"),
            ("http://localhost:80/", "localhost:80", "http://localhost:80"),
            ("localhost:8001", "localhost:8001", "http://localhost:8001"),
            ("[::1]:8001", "[::1]:8001", "http://[::1]:8001"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.name(), endpoint.url()), (name, url), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        for text in [
            "",
            "n1=",
            "n1",
            "localhost",
            "localhost:0",
            "localhost:99999",
            "localhost:x",
            ":80",
            "https://localhost:80",
            "http://localhost:80/v2",
            "http://me@localhost:80",
            "n 1=localhost:80",
            "a|b=localhost:80",
            "=localhost:80",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            let name_or_address = text.split_once('=').map_or(text, |(name, address)| {
                if error.contains("name") { name } else { address }
            });
            assert!(error.contains(&format!("\"{name_or_address}\"")), "{text}: {error}");
        }
    }
}
