//! Clients that should not be heeded: web pages that have a browser send requests,
//! callers that have a node connect somewhere, and requests that cost too much.

#[macro_use]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use gryadka::caspaxos::{Age, Call as AcceptorCall, Epoch, Request};
use gryadka::kv::{Command, Key};
use gryadka::raft::{Call, Message};
use gryadka::transport::{BATCH_CONTENT_TYPE, BATCH_PATH, Batch, BatchCalls, encode};
use serde_json::{Value, json};
use support::{
    Answer, Cluster, FORM, PATIENCE, Protocol, form_request, get, own_address, put, request,
    request_with, wait_until,
};

on_both_protocols! {
    web_pages_change_and_see_nothing
    requests_of_the_nodes_own_pages_and_of_programs_pass
    an_offer_to_upgrade_is_ignored
    requests_have_a_size_that_fits_them
    answers_that_are_not_read_stop_the_reading_of_requests
    bodies_under_way_take_no_more_than_their_budget
}

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";
const SECRET: &str = "what the cluster keeps";

/// The listeners of a node, by their ports.
const CLIENT: u16 = 8001;
const PEER: u16 = 8101;
const ADMIN: u16 = 8201;

/// A request that changes or reveals something, as a program would send it.
struct Route {
    port: u16,
    method: &'static str,
    path: &'static str,
    body: Option<(&'static str, Vec<u8>)>,
}

impl Route {
    fn send(&self, cluster: &Cluster, headers: &[(&str, &str)]) -> Answer {
        let url = format!("http://{}:{}{}", cluster.address, self.port, self.path);
        let body = self.body.as_ref().map(|(content_type, body)| (*content_type, &body[..]));
        request_with(self.method, &url, headers, body)
            .unwrap_or_else(|error| panic!("{} {url}: {error}", self.method))
    }
}

/// Calls that would change something at node p1.
fn harmful_batch(cluster: &Cluster) -> Vec<u8> {
    let id = Some(cluster.id());
    let calls = match cluster.protocol {
        Protocol::Caspaxos => {
            let call =
                AcceptorCall { cluster: id, epoch: Epoch(1), age: Age(0), request: Request::Wipe };
            BatchCalls::Acceptor { to: "a1".into(), calls: vec![call] }
        }
        Protocol::Raft => {
            let key = Key::try_from("kept").expect("a key");
            let command = Command::Set("evil".into());
            let submit = Call::Submit { key, submission: command.into(), patience_ms: 1000 };
            let calls = vec![Message { cluster: id, call: submit }];
            BatchCalls::Replica { from: 2, to: 1, calls }
        }
    };
    let (cluster, sender) = ("test".into(), "p2".into());
    encode(&Batch { cluster, sender, patience_ms: 1000, calls })
}

fn routes(cluster: &Cluster) -> Vec<Route> {
    let route = |port, method, path, body: Option<(&'static str, Value)>| {
        let body = body.map(|(content_type, body)| {
            let text = body.as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
            (content_type, text.into_bytes())
        });
        Route { port, method, path, body }
    };
    let acceptor = json!({ "id": "a1" });
    let list = json!({ "nodes": [{ "id": "a1" }], "quorum": 1 });
    let same = json!({ "configVersion": 1, "prepare": list, "accept": list });
    let write = json!({ "name": "write", "key": "kept", "params": { "ver": 0, "val": "evil" } });
    let matrix = json!({ "version": 1, "nodes": [{ "name": "p1" }], "drop": [[1.0]] });
    let peer = json!("http://127.0.0.9:9");
    let mut all = vec![
        route(CLIENT, "PUT", "/kept", Some((BINARY, json!("evil")))),
        route(CLIENT, "PUT", "/v2/keys/kept", Some((FORM, json!("value=evil")))),
        route(CLIENT, "DELETE", "/v2/keys/kept", None),
        route(CLIENT, "POST", "/change", Some((JSON, write))),
        route(CLIENT, "POST", "/register-change", Some((JSON, json!({ "name": "read" })))),
        route(CLIENT, "POST", "/configuration", Some((JSON, same.clone()))),
        route(CLIENT, "POST", "/2", Some((FORM, peer))),
        route(CLIENT, "DELETE", "/1", None),
        route(CLIENT, "OPTIONS", "/kept", None),
        route(CLIENT, "GET", "/kept", None),
        route(CLIENT, "GET", "/v2/keys/kept", None),
        route(CLIENT, "GET", "/v2/members", None),
        route(CLIENT, "GET", "/configuration", None),
        route(ADMIN, "POST", "/configuration", Some((JSON, same))),
        route(ADMIN, "POST", "/acceptors/wipe", Some((JSON, acceptor.clone()))),
        route(ADMIN, "POST", "/acceptors/status", Some((JSON, acceptor))),
        route(ADMIN, "POST", "/rescan", Some((JSON, json!({})))),
        route(ADMIN, "PUT", "/chaos", Some((JSON, matrix))),
        route(ADMIN, "POST", "/chaos/kill", Some((JSON, json!({ "process": true })))),
        route(ADMIN, "POST", "/chaos/revive", Some((JSON, json!({})))),
        route(ADMIN, "OPTIONS", "/chaos/kill", None),
    ];
    for path in ["/acceptors", "/acceptors/a1/keys", "/collector", "/debug", "/chaos", "/raft"] {
        all.push(route(ADMIN, "GET", path, None));
    }
    let batch = Some((BATCH_CONTENT_TYPE, harmful_batch(cluster)));
    all.push(Route { port: PEER, method: "POST", path: BATCH_PATH, body: batch });
    all
}

/// What must be as it was.
fn state(cluster: &Cluster) -> Vec<Value> {
    let (url, admin) = (cluster.url(0), cluster.admin_url(0));
    let kept = get(&format!("{url}/v2/keys/kept")).json();
    assert_eq!(kept["node"]["value"], SECRET);
    let paths = match cluster.protocol {
        Protocol::Caspaxos => ["/acceptors", "/configuration", "/chaos"],
        Protocol::Raft => ["/raft/hash", "/configuration", "/chaos"],
    };
    let mut all: Vec<Value> =
        paths.iter().map(|path| get(&format!("{admin}{path}")).json()).collect();
    // The applied index counts reads, too.
    all[0].as_object_mut().map(|hash| hash.remove("appliedIndex"));
    if cluster.protocol == Protocol::Raft {
        // A member tells its name a while after it has begun.
        let members = get(&format!("{url}/v2/members")).json();
        let members = members["members"].as_array().expect("members").iter();
        all.push(members.map(|member| member["peerURLs"].clone()).collect());
    }
    all.push(kept);
    all
}

/// What nothing permits.
fn assert_says_nothing(answer: &Answer, why: &str) {
    let permits = |name: &str| name.to_ascii_lowercase().starts_with("access-control");
    assert!(!answer.headers.iter().any(|(name, _)| permits(name)), "{why}: {answer:?}");
    let body = String::from_utf8_lossy(&answer.body);
    assert!(!body.contains(SECRET) && !body.contains("configVersion"), "{why}: {body}");
}

fn web_pages_change_and_see_nothing(protocol: Protocol) {
    let cluster = Cluster::start_with_chaos(protocol, 1);
    assert_eq!(put(&format!("{}/kept", cluster.url(0)), SECRET.as_bytes()).status, 204);
    let before = state(&cluster);
    let other_port = format!("http://{}:80", cluster.address);
    let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
    let signs: [(&[(&str, &str)], u16); 8] = [
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", &other_port)], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")], 403),
        (&[("host", "evil.example:8001")], 421),
        (&rebound, 421),
    ];
    for mut route in routes(&cluster) {
        for (headers, expected) in signs {
            let answer = route.send(&cluster, headers);
            let what = format!("{} {} with {headers:?}", route.method, route.path);
            assert_eq!(answer.status, expected, "{what}: {answer:?}");
            assert_says_nothing(&answer, &what);
        }
        // What a form of a page can send says so itself.
        let Some((content_type, _)) = &mut route.body else { continue };
        if ![JSON, BATCH_CONTENT_TYPE].contains(content_type) {
            continue;
        }
        let wanted = std::mem::replace(content_type, "text/plain");
        for sent in ["text/plain", FORM, "multipart/form-data; boundary=b", ""] {
            route.body.as_mut().expect("a body").0 = sent;
            let answer = route.send(&cluster, &[]);
            let what = format!("{} {} as {sent:?}", route.method, route.path);
            assert_eq!(answer.status, 415, "{what}: {answer:?}");
            assert!(answer.text().contains(wanted), "{what}: {answer:?}");
        }
    }
    for (headers, _) in &signs[..6] {
        for path in ["/health", "/readyz", "/livez", "/version"] {
            let url = format!("{}{path}", cluster.url(0));
            assert_eq!(request_with("GET", &url, headers, None).unwrap().status, 200, "{path}");
        }
    }
    assert_eq!(state(&cluster), before);
}

fn requests_of_the_nodes_own_pages_and_of_programs_pass(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let (host, url) = (cluster.host(0), format!("{}/kept", cluster.url(0)));
    let own = format!("http://{host}");
    for (headers, value) in [
        (vec![], "1"),
        (vec![("origin", &own[..]), ("sec-fetch-site", "same-origin")], "2"),
        (vec![("sec-fetch-site", "none")], "3"),
        (vec![("host", "localhost")], "4"),
        (vec![("host", "node-1.localhost:8001"), ("origin", "http://node-1.localhost:8001")], "5"),
        (vec![("host", "[::1]:8001")], "6"),
    ] {
        let answer = request_with("PUT", &url, &headers, Some((FORM, value.as_bytes()))).unwrap();
        assert_eq!(answer.status, 204, "{headers:?}: {answer:?}");
        let answer = request_with("GET", &url, &headers, None).unwrap();
        assert_eq!((answer.status, answer.text()), (200, value), "{headers:?}");
    }
    let change = r#"{"name":"id","key":"kept"}"#;
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let body = Some((content_type, change.as_bytes()));
        let answer = request("POST", &format!("{}/change", cluster.url(0)), body).unwrap();
        assert_eq!(answer.text(), r#"{"value":6}"#);
    }
}

/// A node asks the acceptors that it knows, and for an operator a new one.
#[test]
fn no_route_connects_where_its_caller_says() {
    let cluster = Cluster::start(Protocol::Caspaxos, 1);
    let trap = TcpListener::bind((own_address(), 23_400)).expect("a port");
    trap.set_nonblocking(true).unwrap();
    let place = trap.local_addr().unwrap();
    let peer = json!({ "id": "a9", "peer": format!("http://{place}") });
    let redis = json!({ "id": "a9", "host": place.ip().to_string(), "port": place.port() });
    let step = |node: &Value| {
        let one = json!({ "nodes": [{ "id": "a1" }], "quorum": 1 });
        let two = json!({ "nodes": [{ "id": "a1" }, node], "quorum": 2 });
        json!({ "configVersion": 1, "prepare": one, "accept": two })
    };
    let post = |url: String, body: &Value| {
        request("POST", &url, Some((JSON, body.to_string().as_bytes()))).unwrap()
    };
    let (client, admin) = (cluster.url(0), cluster.admin_url(0));
    for node in [&peer, &redis] {
        for answer in [
            post(format!("{admin}/acceptors/status"), node),
            post(format!("{admin}/acceptors/wipe"), node),
            post(format!("{client}/configuration"), &step(node)),
        ] {
            assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("UnknownPlace")));
            assert!(answer.text().contains("gryadkactl acceptors grow"), "{answer:?}");
        }
    }
    assert_eq!(trap.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // Known ones are asked, by their names and by their places.
    let own = json!({ "id": "a1", "peer": format!("http://{}:{PEER}", cluster.address) });
    for known in [&own, &json!({ "id": "a1" })] {
        let answer = post(format!("{admin}/acceptors/status"), known);
        assert!(answer.json()["status"]["registers"].is_u64(), "{answer:?}");
    }
    let answer = post(format!("{admin}/configuration"), &step(&peer));
    assert_eq!(answer.json()["code"], "AcceptorUnreachable", "{answer:?}");
    assert!(trap.accept().is_ok());
}

/// The status of what a node answers to bytes on a connection of their own, and
/// its head.
fn send(cluster: &Cluster, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(cluster.host(0)).expect("the node accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The node may answer before it has taken all of it.
    let _ = stream.write_all(bytes);
    answer(&mut stream)
}

/// The status and the head of an answer.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => answer.extend_from_slice(&piece[..length]),
            ended => panic!("{ended:?} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    (head[9..12].parse().expect("a status"), head.to_ascii_lowercase())
}

fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// RFC 9110 §7.8: the offer may be ignored, and then the connection is as any other.
fn an_offer_to_upgrade_is_ignored(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n";
    let put = head("PUT", "/k", &format!("{offer}Content-Length: 1\r\n"));
    let mut stream = TcpStream::connect(cluster.host(0)).expect("the node accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for (request, expected) in [
        (format!("{put}1"), 204),
        (head("HEAD", "/k", offer), 200),
        (head("HEAD", "/absent", offer), 404),
        (head("HEAD", "/k", &format!("{offer}Origin: null\r\n")), 403),
        (head("HEAD", "/k", ""), 200),
    ] {
        stream.write_all(request.as_bytes()).expect("it is open");
        let (status, head) = answer(&mut stream);
        assert_eq!(status, expected, "{head}");
        assert!(!head.contains("\r\nconnection: "), "{head}");
    }
}

/// A body of chunks of so many bytes each.
fn chunked(path: &str, total: usize, chunk: usize) -> Vec<u8> {
    let mut bytes = head("PUT", path, "Transfer-Encoding: chunked\r\n").into_bytes();
    let piece = format!("{chunk:x}\r\n{}\r\n", "\n".repeat(chunk));
    bytes.extend(piece.repeat(total / chunk).into_bytes());
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn requests_have_a_size_that_fits_them(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let url = cluster.url(0);
    let step = |nodes: usize| {
        let nodes: Vec<Value> = (1..=nodes)
            .map(|i| json!({ "id": format!("a{i}"), "peer": "http://127.0.0.1:1" }))
            .collect();
        let list = json!({ "nodes": nodes, "quorum": nodes.len() });
        json!({ "configVersion": 1, "prepare": list, "accept": list }).to_string()
    };
    for port in [CLIENT, ADMIN] {
        let post = |body: String| {
            let length = format!("Content-Type: {JSON}\r\nContent-Length: {}\r\n", body.len());
            let answer = TcpStream::connect((&*cluster.address, port)).map(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let _ =
                    stream.write_all((head("POST", "/configuration", &length) + &body).as_bytes());
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).expect("an answer");
                String::from_utf8_lossy(&answer[9..]).parse::<u16>().expect("a status")
            });
            answer.expect("the node accepts")
        };
        assert_eq!(post(step(101)), 400);
        assert_eq!(post(step(30_000)), 413);
        assert_eq!(post(" ".repeat(128 << 10)), 400);
        assert_eq!(post(" ".repeat((128 << 10) + 1)), 413);
    }
    if protocol == Protocol::Caspaxos {
        let body = step(101);
        let refused =
            request("POST", &format!("{url}/configuration"), Some((JSON, body.as_bytes())));
        assert!(refused.unwrap().text().contains("100 nodes"));
    }
    let parameters = |count: usize| "value=1&".repeat(count - 1) + "value=1";
    let put_form = |form: &str| form_request("PUT", &format!("{url}/v2/keys/form"), form).status;
    assert_eq!([put_form(&parameters(100)), put_form(&parameters(101))], [201, 400]);
    let query = get(&format!("{url}/v2/keys/form?{}", parameters(5_000)));
    assert_eq!(query.status, 400);
    // A thousand chunks may have a byte each; beyond that they have some more.
    for (total, chunk, expected) in [(1_000, 1, 204), (64 << 10, 64, 204), (64 << 10, 1, 400)] {
        let (status, head) = send(&cluster, &chunked("/chunks", total, chunk));
        assert_eq!(status, expected, "{total} in chunks of {chunk}: {head}");
    }
    assert_eq!(get(&format!("{url}/chunks")).body, vec![b'\n'; 64 << 10]);
    // A value of empty lines alone is read in the smallest portions.
    assert_eq!(put(&format!("{url}/lines"), &vec![b'\n'; 1 << 20]).status, 204);
    assert_eq!(get(&format!("{url}/lines")).body, vec![b'\n'; 1 << 20]);
}

/// Sends until the node takes nothing for a while; how much it took.
fn send_what_is_taken(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(length) => sent += length,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                break;
            }
            Err(_) => break,
        }
    }
    sent
}

/// Each request takes some seven thousand bytes in memory, whatever it says.
fn answers_that_are_not_read_stop_the_reading_of_requests(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 1);
    let url = cluster.url(0);
    assert_eq!(put(&format!("{url}/k"), &[b'x'; 16 << 10]).status, 204);
    let before_bytes = cluster.node(0).memory_bytes();
    let requests = head("GET", "/k", "").repeat(200_000);
    let lazy: Vec<(TcpStream, usize)> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(cluster.host(0)).expect("the node accepts");
            let sent = send_what_is_taken(&mut stream, requests.as_bytes());
            (stream, sent)
        })
        .collect();
    // It goes on to serve others, and takes no more from these.
    for number in 0..300 {
        assert_eq!(put(&format!("{url}/small"), number.to_string().as_bytes()).status, 204);
    }
    let grown_bytes = cluster.node(0).memory_bytes().saturating_sub(before_bytes);
    assert!(grown_bytes < 128 << 20, "{} MiB", grown_bytes >> 20);
    assert!(lazy.iter().all(|(_, sent)| *sent < requests.len()), "all of it was taken");
}

fn bodies_under_way_take_no_more_than_their_budget(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 1);
    let before_bytes = cluster.node(0).memory_bytes();
    let length = 1 << 20;
    let mut half = head("PUT", "/k", &format!("Content-Length: {length}\r\n")).into_bytes();
    half.resize(half.len() + length - 1, b'x');
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (host, half) = (cluster.host(0), half.clone());
            std::thread::spawn(move || {
                let send = |_| {
                    let mut stream = TcpStream::connect(&host).expect("the node accepts");
                    let _ = stream.write_all(&half);
                    stream
                };
                (0..75).map(send).collect::<Vec<_>>()
            })
        })
        .collect();
    let streams: Vec<TcpStream> =
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    assert_eq!(get(&format!("{}/livez", cluster.url(0))).status, 200);
    let grown_bytes = cluster.node(0).memory_bytes().saturating_sub(before_bytes);
    assert!(grown_bytes < 384 << 20, "{} MiB", grown_bytes >> 20);
    drop(streams);
    wait_until("there is room again", || {
        put(&format!("{}/k", cluster.url(0)), &half[half.len() - length / 2..]).status == 204
    });
}
