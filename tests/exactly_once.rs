//! Requests with a name take effect once: answers are lost, nodes are killed
//! before they answer, clients ask again, and in the end as much has changed
//! as was acknowledged.
//!
//! ```text
//! cargo test --test exactly_once                                          # 2,000 changes
//! EXACTLY_ONCE_CHANGES=200000 cargo test --release --test exactly_once -- --nocapture
//! ```

#[macro_use]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use gryadka::client::{ClientError, Connection, Expected, Written};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::proxy::Proxy;
use support::{Answer, Cluster, FORM, Protocol, get, request_with, wait_until};

on_both_protocols! {
    what_is_acknowledged_is_done_once_though_answers_are_lost
    what_is_acknowledged_is_done_once_though_nodes_are_killed
    a_retry_elsewhere_gets_the_answer_of_a_node_that_was_killed_before_it_came
    a_retry_gets_the_first_answer_of_every_kind
    a_name_belongs_to_one_request
    names_that_make_no_sense_are_refused
}

const CLIENTS: u64 = 8;
const COUNTERS: usize = 4;
/// One answer in so many is lost.
const LOST: u32 = 10;

/// What clients have done to one counter and to the key beside it.
#[derive(Default)]
struct Acknowledged {
    /// Swaps of the counter from one number to the next.
    increments: AtomicU64,
    /// Writes of the key that ask for nothing.
    writes: AtomicU64,
}

/// Clients under way, and what was acknowledged to them.
struct Load {
    changes: Arc<AtomicU64>,
    acknowledged: Arc<[Acknowledged; COUNTERS]>,
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// Each client begins at another of the nodes, and goes on at the next.
    fn start(urls: &[String]) -> Load {
        let mut load = Load {
            changes: Arc::default(),
            acknowledged: Arc::default(),
            stop: Arc::default(),
            clients: Vec::new(),
        };
        for number in 0..CLIENTS {
            let mut urls = urls.to_vec();
            let first = number as usize % urls.len();
            urls.rotate_left(first);
            let (changes, acknowledged) = (load.changes.clone(), load.acknowledged.clone());
            let stop = load.stop.clone();
            load.clients.push(std::thread::spawn(move || {
                actix::System::new().block_on(async {
                    let mut connection = Connection::new(&urls[0], Duration::from_secs(5));
                    for url in &urls[1..] {
                        connection = connection.with_other(url);
                    }
                    let mut random = SmallRng::seed_from_u64(number);
                    while !stop.load(Ordering::Relaxed) {
                        let counter = random.random_range(0..COUNTERS);
                        let done = change(&mut connection, counter, &mut random, &acknowledged);
                        match done.await {
                            Ok(()) => _ = changes.fetch_add(1, Ordering::Relaxed),
                            Err(error) if error.is_unknown() => {
                                panic!("client {number} does not know after all tries: {error}")
                            }
                            // It certainly did nothing.
                            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                        }
                    }
                });
            }));
        }
        load
    }

    /// Waits until so many changes were acknowledged more.
    fn wait_for(&self, more: u64) {
        let mut step = self.changes.load(Ordering::Relaxed);
        let goal = step + more;
        while step < goal {
            // Each step has the patience of a test.
            step = goal.min(step + 50);
            wait_until(&format!("{step} changes are acknowledged"), || {
                let has_given_up = self.clients.iter().any(|client| client.is_finished());
                assert!(!has_given_up, "a client has given up");
                self.changes.load(Ordering::Relaxed) >= step
            });
        }
    }

    /// Stops the clients and compares what was acknowledged with what every
    /// node shows.
    fn finish_and_compare(mut self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).for_each(|client| client.join().expect("a client"));
        let mut all = 0;
        for (number, acknowledged) in self.acknowledged.iter().enumerate() {
            let increments = acknowledged.increments.load(Ordering::Relaxed);
            let writes = acknowledged.writes.load(Ordering::Relaxed);
            // The first increment is the creation with 0.
            all += increments + writes;
            for node in 0..cluster.names.len() {
                let counter = get(&format!("{}/v2/keys/{}", cluster.url(node), counter(number)));
                let count: u64 = counter.json()["node"]["value"].as_str().unwrap().parse().unwrap();
                assert_eq!(count + 1, increments, "counter {number} at node {node}");
                let written = get(&format!("{}/v2/keys/{}", cluster.url(node), written(number)));
                if cluster.protocol == Protocol::Caspaxos {
                    // Indices count the changes of a key.
                    for (answer, count) in [(&counter, increments), (&written, writes)] {
                        assert_eq!(answer.json()["node"]["modifiedIndex"], count, "{answer:?}");
                    }
                }
            }
        }
        if cluster.protocol == Protocol::Raft {
            // Indices count the changes of all keys.
            let answer = get(&format!("{}/v2/keys/{}", cluster.url(0), counter(0)));
            assert_eq!(answer.header("X-Etcd-Index"), Some(all.to_string().as_str()));
        }
        println!("{all} changes, all of them acknowledged and done once");
    }
}

fn counter(number: usize) -> String {
    format!("counter{number}")
}

fn written(number: usize) -> String {
    format!("written{number}")
}

/// Counts up, or writes whatever is there.
async fn change(
    connection: &mut Connection,
    number: usize,
    random: &mut SmallRng,
    acknowledged: &[Acknowledged; COUNTERS],
) -> Result<(), ClientError> {
    if random.random_bool(0.3) {
        connection.set(&written(number), "x").await?;
        acknowledged[number].writes.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    loop {
        let key = counter(number);
        let swapped = match connection.get(&key).await? {
            None => connection.create(&key, "0").await?,
            Some(node) => {
                let next = node.value.parse::<u64>().expect("a count") + 1;
                let expected = Expected::Value(&node.value);
                connection.compare_and_swap(&key, expected, &next.to_string()).await?
            }
        };
        if let Written::Done(_) = swapped {
            acknowledged[number].increments.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    }
}

/// A proxy in front of each node that loses one answer in ten.
fn lossy_proxies(cluster: &Cluster) -> Vec<Proxy> {
    let proxy = |node| {
        let mut random = SmallRng::seed_from_u64(node as u64);
        Proxy::start(cluster.host(node), move |_| random.random_range(0..LOST) > 0)
    };
    (0..cluster.names.len()).map(proxy).collect()
}

fn what_is_acknowledged_is_done_once_though_answers_are_lost(protocol: Protocol) {
    let changes = std::env::var("EXACTLY_ONCE_CHANGES").ok();
    let changes = changes.map_or(2_000, |text| text.parse().expect("a number"));
    let cluster = Cluster::start(protocol, 3);
    let proxies = lossy_proxies(&cluster);
    let urls: Vec<String> = proxies.iter().map(|proxy| proxy.url().to_owned()).collect();
    let load = Load::start(&urls);
    load.wait_for(changes);
    load.finish_and_compare(&cluster);
    let lost: usize = proxies.iter().map(Proxy::lost).sum();
    println!("{lost} answers were lost");
    assert!(lost as u64 > changes / 20, "only {lost} answers were lost");
}

fn what_is_acknowledged_is_done_once_though_nodes_are_killed(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    let load = Load::start(&cluster.urls());
    for round in 0..6 {
        load.wait_for(150);
        // On Raft the leader every other time.
        let node = cluster.leader().filter(|_| round % 2 == 0).unwrap_or(round % 3);
        cluster.kill(node);
        load.wait_for(150);
        cluster.launch(node);
        cluster.wait_ready(node);
    }
    load.finish_and_compare(&cluster);
}

/// A request with a name to the v2 API.
fn ask(method: &str, url: &str, name: &str, form: &str) -> Result<Answer, ureq::Error> {
    let body = Some((FORM, form.as_bytes()));
    request_with(method, url, &[("Idempotency-Key", name)], body)
}

/// Status and body, without the headers.
fn shown(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text().to_owned())
}

fn a_retry_elsewhere_gets_the_answer_of_a_node_that_was_killed_before_it_came(protocol: Protocol) {
    let mut cluster = Cluster::start(protocol, 3);
    assert_eq!(
        ask("PUT", &format!("{}/v2/keys/k", cluster.url(1)), "a", "value=1").unwrap().status,
        201
    );
    let node = cluster.leader().unwrap_or(0);
    let process = cluster.node(node).child.id().to_string();
    let (kept_back, swallowed) = mpsc::channel();
    let proxy = Proxy::start(cluster.host(node), move |answer| {
        let killed = std::process::Command::new("kill").args(["-9", &process]).status();
        assert!(killed.expect("kill").success());
        kept_back.send(String::from_utf8_lossy(answer).into_owned()).expect("it is waited for");
        false
    });
    let of = |base: &str| format!("{base}/v2/keys/k?prevValue=1");
    ask("PUT", &of(proxy.url()), "b", "value=2").expect_err("the answer is kept back");
    let swallowed = swallowed.recv_timeout(support::PATIENCE).expect("the node has answered");
    cluster.node(node).wait();
    for other in [(node + 1) % 3, (node + 2) % 3] {
        let mut answer = None;
        wait_until("the others serve", || {
            answer = ask("PUT", &of(&cluster.url(other)), "b", "value=2").ok();
            answer.as_ref().is_some_and(|answer| answer.status < 500)
        });
        let (status, body) = shown(&answer.expect("it was answered"));
        assert!(status == 200 && swallowed.ends_with(&body), "{status} {body} {swallowed}");
    }
    assert_eq!(get(&format!("{}/k", cluster.url((node + 1) % 3))).text(), "2");
}

/// Loses the first answer of every request, whatever the client asks.
fn deaf_proxy(cluster: &Cluster, swallowed: &Arc<Mutex<String>>) -> Proxy {
    let swallowed = swallowed.clone();
    Proxy::start(cluster.host(0), move |answer| {
        *swallowed.lock().unwrap() = String::from_utf8_lossy(answer).into_owned();
        false
    })
}

fn a_retry_gets_the_first_answer_of_every_kind(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let swallowed = Arc::default();
    let deaf = deaf_proxy(&cluster, &swallowed);
    let long = "x".repeat(2000);
    let requests = [
        ("PUT", "?prevExist=true", "value=0".to_owned(), 404),
        ("PUT", "?prevExist=false", "value=1".to_owned(), 201),
        ("PUT", "?prevExist=false", "value=2".to_owned(), 412),
        ("PUT", "?prevValue=1", "value=3".to_owned(), 200),
        ("PUT", "?prevValue=1", "value=4".to_owned(), 412),
        ("DELETE", "?prevValue=1", String::new(), 412),
        ("DELETE", "", String::new(), 200),
        ("DELETE", "", String::new(), 404),
        ("PUT", "", format!("value={long}"), 201),
        ("PUT", "?prevValue=y", format!("value={long}"), 412),
        ("DELETE", "", String::new(), 200),
    ];
    for (number, (method, query, form, status)) in requests.iter().enumerate() {
        let path = format!("/v2/keys/dir/k{query}");
        let name = format!("client:{number}");
        ask(method, &format!("{}{path}", deaf.url()), &name, form).expect_err("nothing comes back");
        let first: String = swallowed.lock().unwrap().clone();
        for node in [1, 2, 0] {
            let answer = ask(method, &format!("{}{path}", cluster.url(node)), &name, form).unwrap();
            assert_eq!(answer.status, *status, "{number} {method} {query}: {answer:?}");
            let (_, body) = shown(&answer);
            let was_long = *method == "DELETE" && first.contains(&long);
            let first = if was_long { first.replace(&long, "") } else { first.clone() };
            let first = if query.contains('y') { first.replace(&long, "") } else { first };
            assert!(first.ends_with(&body), "{number} {method} {query}: {body} not {first}");
        }
    }
    // What was deleted is not listed, and its directory is gone.
    for node in 0..3 {
        assert_eq!(get(&format!("{}/v2/keys/dir", cluster.url(node))).status, 404);
        let root = get(&format!("{}/v2/keys/?recursive=true", cluster.url(node))).json();
        assert_eq!(root["node"]["nodes"], serde_json::Value::Null);
    }
    // The other APIs heed it too.
    let raw = format!("{}/raw", cluster.url(0));
    let put = |name, value: &str| {
        let body = Some(("application/octet-stream", value.as_bytes()));
        request_with("PUT", &raw, &[("Idempotency-Key", name)], body).unwrap().status
    };
    assert_eq!([put("a", "1"), put("b", "2"), put("a", "1")], [204; 3]);
    assert_eq!(get(&raw).text(), "2");
    let change = |name| {
        let body = r#"{"name":"write","key":"pair","params":{"ver":0,"val":1}}"#;
        let body = Some(("application/json", body.as_bytes()));
        let url = format!("{}/change", cluster.url(1));
        request_with("POST", &url, &[("Idempotency-Key", name)], body).unwrap().json()
    };
    let one = serde_json::json!({ "value": { "ver": 1, "val": 1 } });
    assert_eq!([change("a"), change("a")], [one.clone(), one]);
}

fn a_name_belongs_to_one_request(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 3);
    let put = |node, name: &str, form: &str| {
        ask("PUT", &format!("{}/v2/keys/k", cluster.url(node)), name, form).unwrap()
    };
    assert_eq!(put(0, "c:5", "value=1").status, 201);
    for (name, form) in [("c:5", "value=2"), ("c:4", "value=1"), ("c:4", "value=2")] {
        let answer = put(1, name, form);
        assert_eq!((answer.status, answer.json()["errorCode"].clone()), (422, 209.into()));
        assert!(answer.json()["cause"].as_str().unwrap().contains("on this key"), "{answer:?}");
    }
    let raw = format!("{}/k", cluster.url(2));
    let answer =
        request_with("PUT", &raw, &[("Idempotency-Key", "c:5")], Some(("", b"3"))).unwrap();
    assert_eq!(answer.status, 422);
    assert_eq!(get(&raw).text(), "1");
    assert_eq!(put(1, "c:6", "value=2").status, 200);
    let elsewhere = format!("{}/v2/keys/other", cluster.url(1));
    assert_eq!(ask("PUT", &elsewhere, "c:5", "value=2").unwrap().status, 201);
}

fn names_that_make_no_sense_are_refused(protocol: Protocol) {
    let cluster = Cluster::start(protocol, 1);
    let url = format!("{}/v2/keys/k", cluster.url(0));
    let longer = "x".repeat(65);
    for name in ["a b", longer.as_str()] {
        let answer = ask("PUT", &url, name, "value=1").unwrap();
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text().contains("Idempotency-Key"), "{answer:?}");
        assert_eq!(ask("GET", &url, name, "").unwrap().status, 404, "reads ignore it");
    }
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    let answer = request_with("DELETE", &url, &twice, None).unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(get(&url).status, 404);
}
