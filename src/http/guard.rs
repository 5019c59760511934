//! What a browser may not do: the check that every request passes, on every
//! listener, before its route.
//!
//! A web page that somebody visits can have the browser send requests to any
//! address, 127.0.0.1 and the hosts behind a firewall included. It cannot read
//! the answers, since no answer permits it (there are no `Access-Control-*`
//! headers), but a request that changes something has done so by then. What
//! tells such a request from one of a client:
//!
//! - **`Origin`** is what the page is from (RFC 6454 §7). Browsers send it with
//!   everything but GET and HEAD.
//! - **`Sec-Fetch-Site`** is how the page's site and the node's are related (W3C
//!   Fetch Metadata §2.3). Another port of one machine is the same *site* but
//!   another origin, so only `same-origin`, and `none` (a person typed the
//!   address), pass.
//! - **`Host`** is under which name the node was reached. A page can have its own
//!   name lead to 127.0.0.1 (DNS rebinding), and is of the node's origin then;
//!   but the name is the page's. So a listener on a loopback address is reached by
//!   an IP address, as localhost, or by a name without a dot, such as /etc/hosts
//!   gives and nobody can register. Other listeners may well have names: there only
//!   requests of browsers that change something, which have an `Origin`, must use
//!   one of these.
//!
//! Clients that are not browsers send neither of the first two.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::dev::RequestHead;
use actix_web::guard::GuardContext;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};

use super::ApiError;
use crate::transport::BATCH_CONTENT_TYPE;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What tells nothing that a page could use, and may be linked to.
const OPEN_PATHS: [&str; 4] = ["/health", "/readyz", "/livez", "/version"];

/// The check of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    is_loopback: bool,
}

impl Guard {
    /// That of a listener at this address.
    pub fn new(listener: SocketAddr) -> Self {
        Guard { is_loopback: listener.ip().is_loopback() }
    }

    /// An error for a request that a browser must not send.
    pub fn check(&self, head: &RequestHead) -> Result<(), ApiError> {
        let host = host(head);
        // HTTP/1.0 knows no Host, and browsers no HTTP/1.0.
        if self.is_loopback && host.is_some_and(|host| !is_an_address(host)) {
            return Err(ApiError::Misdirected(host.unwrap_or_default().to_owned()));
        }
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        if is_read && OPEN_PATHS.contains(&head.uri.path()) {
            return Ok(());
        }
        let headers = head.headers();
        for origin in texts(headers, ORIGIN) {
            if !host.is_some_and(|host| is_of(origin, host)) {
                let host = host.unwrap_or("none");
                return Err(ApiError::Forbidden(format!(
                    "Origin {origin:?} is not this node under an IP address or localhost (Host is \
                     {host}); web pages may not use it: send the request from a program, without \
                     an Origin"
                )));
            }
        }
        match texts(headers, SEC_FETCH_SITE).find(|site| !["none", "same-origin"].contains(site)) {
            Some(site) => Err(ApiError::Forbidden(format!(
                "Sec-Fetch-Site is {site:?}: another site's page sent this; web pages may not use \
                 this node: send the request from a program"
            ))),
            None => Ok(()),
        }
    }
}

/// The values of a header; what is no text is not empty either.
fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Under which name the node was reached: what the target says goes before what
/// the header says (RFC 9112 §3.2.2).
fn host(head: &RequestHead) -> Option<&str> {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| texts(head.headers(), HOST).next())
}

/// Whether an origin is the node, reached at this address.
fn is_of(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://");
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) && is_an_address(host)
}

/// Whether it is an IP address, localhost or a name without a dot, with a port or
/// without one: nothing that somebody else can have lead here.
fn is_an_address(host: &str) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = port.strip_prefix(':').unwrap_or(port);
        return address.parse::<Ipv6Addr>().is_ok() && is_port(port);
    }
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_known = name.parse::<Ipv4Addr>().is_ok()
        || !name.is_empty() && name.bytes().all(is_label)
        || name.to_ascii_lowercase().ends_with(".localhost");
    is_known && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.parse::<u16>().is_ok()
}

/// Whether a body is said to be JSON. A page cannot say so of a body that it sends
/// to another origin, unless the node permits it first.
pub fn is_json(context: &GuardContext<'_>) -> bool {
    is_said_to_be("application/json", context)
}

/// Whether a body is said to be a batch of calls from another node.
pub fn is_batch(context: &GuardContext<'_>) -> bool {
    is_said_to_be(BATCH_CONTENT_TYPE, context)
}

fn is_said_to_be(wanted: &str, context: &GuardContext<'_>) -> bool {
    let given = context.head().headers().get(CONTENT_TYPE);
    let given = given.and_then(|given| given.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|given| given.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn status(listener: &str, method: Method, target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = TestRequest::default().method(method).uri(target);
        for header in headers {
            request = request.append_header(*header);
        }
        let request = request.to_http_request();
        let checked = Guard::new(listener.parse().unwrap()).check(request.head());
        checked.map_or_else(|error| error.response().finish().status().as_u16(), |()| 200)
    }

    #[test]
    fn names_that_nobody_else_can_have() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8001",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:8001",
            "localhost",
            "LOCALHOST:8001",
            "node-1:8001",
            "x",
            "a.b.localhost:8001",
        ] {
            assert!(is_an_address(host), "{host}");
        }
        for host in [
            "",
            ":8001",
            "evil.example",
            "evil.example:8001",
            "127.0.0.1.evil.example",
            "127.0.0.1:evil",
            "127.0.0.1:8001:evil",
            "me@127.0.0.1",
            "ai.",
            "notlocalhost.",
            "localhost.evil.example",
            "[::1]evil.example",
            "[evil]:1",
            "0x7f.1",
        ] {
            assert!(!is_an_address(host), "{host}");
        }
    }

    #[test]
    fn requests_of_browsers() {
        let here = ("host", "127.0.0.1:8001");
        let origin = |origin| [here, ("origin", origin)];
        let site = |site| [here, ("sec-fetch-site", site)];
        for (method, target, headers, expected) in [
            (Method::PUT, "/k", [here, here], 200),
            (Method::PUT, "/k", origin("http://127.0.0.1:8001"), 200),
            (Method::PUT, "/k", origin("http://127.0.0.1:8002"), 403),
            (Method::PUT, "/k", origin("https://127.0.0.1:8001"), 403),
            (Method::PUT, "/k", origin("http://evil.example"), 403),
            (Method::PUT, "/k", origin("null"), 403),
            (Method::PUT, "/k", origin("\u{e9}"), 403),
            (Method::PUT, "/k", site("same-origin"), 200),
            (Method::PUT, "/k", site("same-site"), 403),
            (Method::GET, "/k", site("cross-site"), 403),
            (Method::GET, "/k", site("none"), 200),
            (Method::GET, "/k", site("anything new"), 403),
            (Method::GET, "/health", site("cross-site"), 200),
            (Method::GET, "/he%61lth", site("cross-site"), 403),
            (Method::PUT, "/health", origin("null"), 403),
        ] {
            let found = status("127.0.0.1:8001", method.clone(), target, &headers[1..]);
            // Without a Host no origin is the node's.
            let expected_alone = if headers[1].0 == "origin" { 403 } else { expected };
            assert_eq!(found, expected_alone, "{method} {target} {:?}", headers[1]);
            let found = status("127.0.0.1:8001", method.clone(), target, &headers);
            assert_eq!(found, expected, "{method} {target} {headers:?}");
        }
    }

    #[test]
    fn hosts_are_checked_where_only_this_machine_can_ask() {
        let foreign = [("host", "evil.example:8001")];
        let rebound = [foreign[0], ("origin", "http://evil.example:8001")];
        for (listener, method, target, headers, expected) in [
            ("127.0.0.1:8001", Method::GET, "/k", &foreign[..], 421),
            ("127.0.0.1:8001", Method::GET, "/health", &foreign, 421),
            ("[::1]:8001", Method::GET, "/k", &foreign, 421),
            ("127.0.0.1:8001", Method::GET, "http://evil.example/k", &[("host", "127.0.0.1")], 421),
            ("127.0.0.1:8001", Method::GET, "/k", &[], 200),
            ("10.0.0.1:8001", Method::GET, "/k", &foreign, 200),
            ("0.0.0.0:8001", Method::PUT, "/k", &foreign, 200),
            ("0.0.0.0:8001", Method::PUT, "/k", &rebound, 403),
        ] {
            assert_eq!(
                status(listener, method, target, headers),
                expected,
                "{listener} {headers:?}"
            );
        }
    }
}
