//! A thousand requests that nobody should send: no 5xx, no panic, no memory
//! kept, and a good client is served beside them.

#[macro_use]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gryadka::caspaxos::{Age, Call as AcceptorCall, Epoch, Request};
use gryadka::identity::ClusterId;
use gryadka::kv::{Command, Key};
use gryadka::raft::{Call, Message, Reply, SnapshotChunk, SnapshotMeta, SnapshotReply, Vote};
use gryadka::transport::{
    BATCH_CONTENT_TYPE, Batch, BatchCalls, BatchReplies, Passed, WIRE_VERSION, decode, encode,
};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use support::{Cluster, Protocol, get, put, request, wait_until};

on_both_protocols! {
    a_thousand_malformed_requests_do_no_harm
    a_slow_body_gets_408_and_a_slow_head_is_hung_up_on
    bounds_are_answered_with_their_status
    peers_that_make_no_sense_get_a_clear_answer
    clients_that_do_not_read_their_answers_do_not_fill_the_memory
    many_large_values_at_once_are_taken_or_refused_but_never_in_doubt
}

const REQUESTS: usize = 1000;

/// One malformed request: the bytes to send, and whether to end the sending
/// side after them.
struct Bad {
    kind: &'static str,
    bytes: Vec<u8>,
    half_closes: bool,
}

fn head(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

fn pick<'a>(random: &mut SmallRng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

fn noise(random: &mut SmallRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}

fn bad_request(index: usize, random: &mut SmallRng) -> Bad {
    let targets = ["/v2/keys/a", "/a", "/change", "/register-change", "/configuration", "/health"];
    let (kind, bytes) = match index % 12 {
        0 => {
            let escape = pick(random, &["%", "%z", "%4", "%zz", "%ff%fe", "a%", "%%", "%c3%28"]);
            let prefix = pick(random, &["/v2/keys/", "/", "/v2/keys/a/"]);
            let method = pick(random, &["GET", "PUT", "DELETE"]);
            ("bad percent-encoding", head(method, &format!("{prefix}{escape}"), "", b""))
        }
        1 => {
            let key = "k".repeat(random.random_range(4097..60_000));
            let prefix = pick(random, &["/v2/keys/", "/"]);
            ("huge key", head(pick(random, &["GET", "PUT"]), &format!("{prefix}{key}"), "", b"v"))
        }
        2 => {
            let query = pick(
                random,
                &[
                    "prevIndex=abc",
                    "prevIndex=-1",
                    "prevIndex=99999999999999999999999",
                    "prevExist=2",
                    "prevValue=",
                    "recursive=x",
                    "ttl=soon",
                    "dir=true",
                    "wait=maybe",
                    "quorum=%zz",
                    "sorted=\u{1}",
                    "noValueOnSuccess=9",
                    "refresh=true",
                ],
            );
            ("wrong parameter", head("PUT", &format!("/v2/keys/a?{query}"), FORM, b"value=1"))
        }
        3 => {
            let body = pick(
                random,
                &[
                    "{",
                    "[]",
                    "null",
                    "{\"name\":1}",
                    "{\"name\":\"read\"}",
                    "\u{feff}{}",
                    "nul",
                    "{\"name\":\"read\",\"key\":\"\"}",
                    "{\"name\":\"read\",\"key\":[1]}",
                    "{\"name\":\"write\",\"key\":\"k\",\"params\":{\"ver\":-1,\"val\":0}}",
                    "{\"name\":\"write\",\"key\":\"k\",\"params\":{\"ver\":1e99,\"val\":0}}",
                    "{\"name\":\"write\",\"key\":\"k\",\"params\":7}",
                    "{\"name\":\"\",\"key\":\"k\"}",
                ],
            );
            let target = pick(random, &["/change", "/register-change"]);
            ("broken JSON", head("POST", target, JSON, body.as_bytes()))
        }
        4 => {
            let opener = pick(random, &["[", "{\"a\":", "{\"name\":\"write\",\"params\":["]);
            let body = opener.repeat(random.random_range(1000..50_000));
            ("deep JSON", head("POST", "/change", JSON, body.as_bytes()))
        }
        5 => {
            let methods = ["PATCH", "TRACE", "CONNECT", "OPTIONS", "get", "BREW", "POST", "PUT"];
            ("wrong method", head(pick(random, &methods), pick(random, &targets[2..]), "", b""))
        }
        6 => {
            let length = random.random_range(1..2000);
            ("noise", noise(random, length))
        }
        7 => {
            let headers = pick(
                random,
                &[
                    "Content-Length: x\r\n",
                    "Content-Length: -5\r\n",
                    "Content-Length: 5\r\n",
                    "Transfer-Encoding: chunked\r\n",
                    "Transfer-Encoding: gzip, chunked\r\n",
                    "Bad Header\r\n",
                    "\0: \0\r\n",
                    "Expect: 200-maybe\r\n",
                    "Upgrade: h2c\r\n",
                ],
            );
            ("bad headers", head("PUT", pick(random, &targets), headers, b"zz\r\nnot a chunk"))
        }
        8 => {
            let many = "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
            let headers = many.repeat(random.random_range(100..4000));
            ("huge head", head("GET", pick(random, &targets), &headers, b""))
        }
        9 => {
            let bytes = (1 << 20) + random.random_range(1..100_000);
            let (target, headers, body) = match random.random_range(0..3) {
                0 => ("/a", "", vec![b'x'; bytes]),
                1 => ("/v2/keys/a", FORM, [b"value=".as_slice(), &vec![b'x'; bytes]].concat()),
                _ => ("/change", JSON, vec![b' '; 5 << 20]),
            };
            let method = if target == "/change" { "POST" } else { "PUT" };
            ("huge value", head(method, target, headers, &body))
        }
        10 => {
            let whole = head("PUT", pick(random, &targets[..2]), FORM, b"value=12345");
            let cut = random.random_range(1..whole.len());
            ("half a request", whole[..cut].to_vec())
        }
        _ => {
            let length = random.random_range(0..500);
            let body = noise(random, length);
            ("noise in a form", head("PUT", "/v2/keys/a", FORM, &body))
        }
    };
    Bad { kind, bytes, half_closes: kind == "half a request" || random.random_bool(0.3) }
}

/// Sends the request and reads what comes; the status, if there is one.
fn exchange(host: &str, bad: &Bad, patience: Duration) -> Option<u16> {
    let mut stream = TcpStream::connect(host).expect("the node accepts");
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.set_write_timeout(Some(patience)).unwrap();
    // The node may well hang up before it has read all of it.
    let _ = stream.write_all(&bad.bytes);
    if bad.half_closes {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?;
    Some(status[..3].parse().expect("a status"))
}

/// A client that reads and writes all the while and must not notice.
fn good_client(url: String, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("{url}/good/{}", number % 7);
        assert_eq!(put(&key, number.to_string().as_bytes()).status, 204);
        assert_eq!(get(&key).text(), number.to_string());
        served.fetch_add(1, Ordering::Relaxed);
    }
}

fn a_thousand_malformed_requests_do_no_harm(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let (host, url) = (cluster.host(0), cluster.url(0));
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let good = {
        let (stop, served) = (stop.clone(), served.clone());
        std::thread::spawn(move || good_client(url, stop, served))
    };
    let seed = 7;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut statuses = std::collections::BTreeMap::new();
    let mut half_open = Vec::new();
    let mut memory_bytes = 0;
    for index in 0..REQUESTS {
        if index == REQUESTS / 5 {
            memory_bytes = cluster.node(0).memory_bytes();
        }
        let bad = bad_request(index, &mut random);
        if index % 50 == 0 {
            // A connection that says a little, or nothing, and stays.
            let mut stream = TcpStream::connect(&host).unwrap();
            stream.write_all(&bad.bytes[..(index / 50).min(bad.bytes.len())]).unwrap();
            half_open.push(stream);
            continue;
        }
        let patience = Duration::from_millis(if bad.half_closes { 2000 } else { 200 });
        let status = exchange(&host, &bad, patience);
        assert!(status.is_none_or(|status| status < 500), "{}: {status:?} (seed {seed})", bad.kind);
        *statuses.entry((bad.kind, status)).or_insert(0) += 1;
    }
    println!("{statuses:#?}");
    // Bodies of megabytes make it rise and fall by some 40 MiB, and the allocator
    // gives back what they took a while later: what is kept shows in the end.
    let limit_bytes = memory_bytes + (32 << 20);
    wait_until("memory is given back", || cluster.node(0).memory_bytes() < limit_bytes);
    wait_until("the good client was served often", || served.load(Ordering::Relaxed) > 100);
    stop.store(true, Ordering::Relaxed);
    good.join().expect("the good client was always served");
    assert!(!cluster.node(0).log().contains("panicked"), "{}", cluster.node(0).log());
    // The ones that stayed are hung up on.
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).is_ok(), "the node keeps a silent connection");
    }
}

fn a_slow_body_gets_408_and_a_slow_head_is_hung_up_on(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let started = Instant::now();
    let mut body = TcpStream::connect(cluster.host(0)).unwrap();
    body.write_all(b"PUT /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nstart")
        .unwrap();
    let mut head = TcpStream::connect(cluster.host(0)).unwrap();
    head.write_all(b"PUT /slow HTTP/1.1\r\nHost: localhost\r\nX-").unwrap();
    for stream in [&mut head, &mut body] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

fn bounds_are_answered_with_their_status(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let url = cluster.url(0);
    let key = "k".repeat(4096);
    assert_eq!(put(&format!("{url}/{key}"), &vec![1; 1 << 20]).status, 204);
    assert_eq!(get(&format!("{url}/{key}")).body.len(), 1 << 20);
    assert_eq!(put(&format!("{url}/{key}k"), b"v").status, 413);
    assert_eq!(get(&format!("{url}/v2/keys/{key}k")).status, 413);
    assert_eq!(get(&format!("{url}/")).status, 404);
    for name in ["/a", "b/", "c//d", "e/%2E%2E/f", "."] {
        assert_eq!(put(&format!("{url}/{name}"), b"v").status, 400, "{name}");
    }
    // The node answers before it has read all; whether the client sees the
    // answer or a broken pipe is the network's choice.
    let large = request("PUT", &format!("{url}/k"), Some(("text/plain", &vec![1; (1 << 20) + 1])));
    assert!(large.map_or(true, |answer| answer.status == 413));
    assert_eq!(get(&format!("{url}/k")).status, 404);
}

/// Calls that node p1 could be sent.
fn some_calls(protocol: Protocol, cluster: ClusterId) -> BatchCalls {
    let cluster = Some(cluster);
    let key = || Key::try_from("k").unwrap();
    match protocol {
        Protocol::Caspaxos => {
            let request = Request::Read { key: key() };
            let call = AcceptorCall { cluster, epoch: Epoch(1), age: Age(0), request };
            BatchCalls::Acceptor { to: "a1".into(), calls: vec![call; 3] }
        }
        Protocol::Raft => {
            let command = Command::Set("value".into());
            let submit = Call::Submit { key: key(), submission: command.into(), patience_ms: 100 };
            let calls = [Call::Hello, Call::ReadIndex, submit];
            let calls = calls.map(|call| Message { cluster, call }).into();
            BatchCalls::Replica { from: 2, to: 1, calls }
        }
    }
}

/// Pieces of snapshots in the leader's name, none of which is one.
fn assert_false_snapshots_are_refused(cluster: &Cluster, ask: impl Fn(u64, Call) -> Reply) {
    let state = get(&format!("{}/raft", cluster.admin_url(0))).json();
    let of = |field: &str| state[field].as_u64().expect("a number");
    let vote = Vote::new_committed(of("term"), of("leader"));
    let piece = |vote, offset, length: usize, total_bytes| {
        let (meta, data) = (SnapshotMeta::default(), vec![7; length].into());
        let from = Vote::clone(&vote).leader_id.voted_for;
        ask(from, Call::Snapshot(SnapshotChunk { vote, meta, offset, data, total_bytes }))
    };
    let is = |reply, expected: SnapshotReply| matches!(reply, Reply::Snapshot(r) if r == expected);
    let deposed = Vote::new_committed(0, 3);
    assert!(is(piece(deposed, 0, 100, 100), SnapshotReply::HigherVote { vote }));
    assert!(is(piece(vote, 7, 100, 1 << 20), SnapshotReply::Taken { next_offset: 0 }));
    for (length, total_bytes) in [(100, 100), (100, 99), (0, 0), (100, u64::MAX)] {
        let reply = piece(vote, 0, length, total_bytes);
        assert!(matches!(reply, Reply::Refused(_)), "{length} of {total_bytes}: {reply:?}");
    }
}

fn peers_that_make_no_sense_get_a_clear_answer(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let batch = format!("http://{}:8101/peer/v1/batch", cluster.address);
    let post = |body: &[u8]| request("POST", &batch, Some((BATCH_CONTENT_TYPE, body))).unwrap();
    assert_eq!(post(b"").status, 400);
    let refused = format!("wire version 1 is not {WIRE_VERSION}");
    assert!(post(&[1, 0, 0]).text().contains(&refused));
    let cluster_id = cluster.id();
    let mut random = SmallRng::seed_from_u64(1);
    for length in 0..300 {
        let body = [vec![WIRE_VERSION], noise(&mut random, length)].concat();
        assert_eq!(post(&body).status, 400);
    }
    let batch_of = |cluster: &str, calls| {
        let (cluster, sender) = (cluster.into(), "x".into());
        encode(&Batch { cluster, sender, patience_ms: 1000, calls })
    };
    for _ in 0..300 {
        let mut body = batch_of("test", some_calls(protocol, cluster_id));
        let place = random.random_range(1..body.len());
        body[place] ^= random.random_range(1..=255u8);
        if decode::<Batch>(&body).is_err() {
            assert_eq!(post(&body).status, 400, "{body:?}");
        }
    }
    let to_acceptor = || BatchCalls::Acceptor { to: "a9".into(), calls: vec![] };
    let to_replica = || BatchCalls::Replica { from: 1, to: 2, calls: vec![] };
    let here = match protocol {
        Protocol::Caspaxos => ["a1", "none"],
        Protocol::Raft => ["none", "1"],
    };
    for (cluster, calls, needle) in [
        ("other", to_acceptor(), "node x belongs to cluster \"other\"".to_owned()),
        ("test", to_acceptor(), format!("wants acceptor a9, but node p1 runs {}", here[0])),
        ("test", to_replica(), format!("wants replica 2, but node p1 runs {}", here[1])),
    ] {
        let answer = post(&batch_of(cluster, calls));
        assert_eq!(answer.status, 409);
        assert!(answer.text().contains(&needle), "{answer:?}");
    }
    if protocol == Protocol::Raft {
        let ask = |from, call| {
            let message = Message { cluster: Some(cluster_id), call };
            let calls = BatchCalls::Replica { from, to: 1, calls: vec![message] };
            let answer = post(&batch_of("test", calls));
            match decode(&answer.body).expect("replies") {
                BatchReplies::Replica(mut replies) => match replies.pop() {
                    Some(Passed::Now(reply)) => reply,
                    other => panic!("{other:?}"),
                },
                BatchReplies::Acceptor(_) => panic!("an acceptor answered"),
            }
        };
        assert_false_snapshots_are_refused(&cluster, ask);
    }
    let kept_bytes = cluster.node(0).memory_bytes();
    assert!(kept_bytes < 256 << 20, "{} MiB", kept_bytes >> 20);
    assert!(!cluster.node(0).log().contains("panicked"), "{}", cluster.node(0).log());
    assert_eq!(request("GET", &batch, None).unwrap().status, 405);
    wait_until("the cluster still serves", || {
        put(&format!("{}/k", cluster.url(0)), b"v").status == 204
    });
}

fn clients_that_do_not_read_their_answers_do_not_fill_the_memory(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 1);
    let url = cluster.url(0);
    for number in 0..16 {
        assert_eq!(put(&format!("{url}/large/{number}"), &vec![b'x'; 1 << 20]).status, 204);
    }
    let before_bytes = cluster.node(0).memory_bytes();
    let lazy: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(cluster.host(0)).unwrap();
            stream.write_all(b"GET /v2/keys/large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // A good client asks on until all of them have been taken in.
    for number in 0..500 {
        assert_eq!(put(&format!("{url}/small"), number.to_string().as_bytes()).status, 204);
    }
    let grown_bytes = cluster.node(0).memory_bytes().saturating_sub(before_bytes);
    assert!(grown_bytes < 640 << 20, "{} MiB", grown_bytes >> 20);
    drop(lazy);
}

fn many_large_values_at_once_are_taken_or_refused_but_never_in_doubt(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let clients = (0..32).map(|client| {
        let url = format!("{}/large/{client}", cluster.url(client % 3));
        std::thread::spawn(move || {
            (0..3).map(|_| put(&url, &vec![b'x'; 1 << 20]).status).collect::<Vec<_>>()
        })
    });
    let clients: Vec<_> = clients.collect();
    let statuses: Vec<u16> =
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| [204, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&204), "{statuses:?}");
    wait_until("the places are given back", || {
        put(&format!("{}/large/0", cluster.url(0)), &vec![b'x'; 1 << 20]).status == 204
    });
}
