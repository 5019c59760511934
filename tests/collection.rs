//! Deleted keys give their space back: acceptors forget them, nothing comes
//! back, and the indices of keys that are created again go on.
//!
//! ```text
//! cargo test --test collection                         # 2,000 keys
//! COLLECT_KEYS=100000 cargo test --release --test collection -- --nocapture
//! ```

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gryadka::caspaxos::{
    AcceptorId, AcceptorStatus, Age, Call, Epoch, ListKind, ListRequest, Reply, Request,
};
use gryadka::store::{AcceptorStore, EmbeddedStore, Identity};
use serde_json::json;
use support::writers::Writers;
use support::{Cluster, Process, Protocol, get, own_address, request, wait_until};

const CLIENTS: usize = 32;

fn keys() -> usize {
    let given = std::env::var("COLLECT_KEYS");
    given.map_or(2_000, |text| text.parse().expect("COLLECT_KEYS is a number"))
}

/// Three proposers; their acceptors are embedded, or in these Redis servers.
fn cluster(address: &str, redis: bool) -> serde_json::Value {
    let mut file = json!({
        "cluster": "test", "nodes": {},
        "collection": { "interval_ms": 100, "retain_ms": 2000, "pause_ms": 20 },
    });
    for i in 1..=3 {
        file["nodes"][format!("p{i}")] = json!({ "listen": {
            "client": format!("{address}:{}", 8000 + i),
            "peer": format!("{address}:{}", 8100 + i),
            "admin": format!("{address}:{}", 8200 + i),
        }});
        file["acceptors"][format!("a{i}")] = match redis {
            true => json!({ "storage": { "host": address, "port": 6380 + i } }),
            false => json!({ "node": format!("p{i}"), "storage": { "embedded": {} } }),
        };
        file["proposers"][format!("p{i}")] = json!({
            "node": format!("p{i}"), "acceptors": ["a1", "a2", "a3"],
            "quorum": { "read": 2, "write": 2 }, "shards": if i == 2 { 2 } else { 1 },
        });
    }
    file
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)));
    config.build().new_agent()
}

/// Does something to each key, through all nodes in turn; what it gives is in
/// the order of the keys.
fn for_each_key<T: Send>(
    urls: &[String],
    what: impl Fn(&ureq::Agent, String) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (agent, mut results) = (agent(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= keys() {
                return results;
            }
            let url = format!("{}/v2/keys/gone/k{number}", urls[number % urls.len()]);
            results.push((number, what(&agent, url)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

fn set(agent: &ureq::Agent, url: String) -> u64 {
    let mut answer = agent.put(&url).send_form([("value", "x".repeat(100))]).expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    assert_eq!(answer.status(), 201, "{url}: {body}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    answer["node"]["modifiedIndex"].as_u64().expect("an index")
}

fn delete(agent: &ureq::Agent, url: String) {
    let mut answer = agent.delete(&url).call().expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    assert_eq!(answer.status(), 200, "{url}: {body}");
}

fn must_be_absent(agent: &ureq::Agent, url: String) {
    let mut answer = agent.get(&url).call().expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    assert_eq!(answer.status(), 404, "{url}: {body}");
}

/// Until no acceptor holds a deleted register.
fn wait_until_collected(cluster: &Cluster) -> Duration {
    let began = Instant::now();
    let patience = Duration::from_secs(60 + keys() as u64 / 500);
    loop {
        let acceptors = get(&format!("{}/acceptors", cluster.admin_url(0))).json();
        let left = acceptors.as_array().expect("a list").iter();
        let left: Vec<Option<u64>> =
            left.map(|acceptor| acceptor["status"]["deleted"].as_u64()).collect();
        if left.iter().all(|left| *left == Some(0)) {
            return began.elapsed();
        }
        let collectors: Vec<_> =
            (0..3).map(|at| get(&format!("{}/collector", cluster.admin_url(at))).json()).collect();
        assert!(began.elapsed() < patience, "{left:?} are left: {collectors:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes, deletes, waits for the collectors, and looks whether all is gone
/// and stays gone. `count` counts the registers whose keys begin with `gone/`,
/// while the nodes are down.
fn space_is_given_back(mut cluster: Cluster, count: impl Fn(&Cluster) -> usize) {
    let urls = cluster.urls();
    let (load, began) = (Writers::start(&urls), Instant::now());
    let created = for_each_key(&urls, set);
    for_each_key(&urls, delete);
    let took = wait_until_collected(&cluster);
    for_each_key(&urls, must_be_absent);
    let gaps: Vec<_> = (0..3).map(|writer| load.gap(writer, began, Instant::now())).collect();
    let (writes, failures) = load.finish();
    assert_eq!(failures, Vec::<String>::new(), "of {writes} writes beside it");
    for index in 0..3 {
        cluster.kill(index);
    }
    assert_eq!(count(&cluster), 0, "registers of deleted keys");
    for index in 0..3 {
        cluster.launch(index);
    }
    for index in 0..3 {
        cluster.wait_ready(index);
    }
    for_each_key(&urls, must_be_absent);
    let again = for_each_key(&urls, set);
    let grew = created.iter().zip(&again).all(|(before, after)| *after > before + 1);
    assert!(grew, "an index went back");
    println!(
        "{} keys: collected {took:.1?} after the last deletion; {writes} writes beside it, \
         longest gaps {gaps:.0?}",
        keys()
    );
}

#[test]
fn embedded_acceptors_forget_deleted_keys() {
    let address = own_address();
    let file = cluster(&address, false);
    let cluster = Cluster::of_file(Protocol::Caspaxos, &file, address);
    space_is_given_back(cluster, |cluster| {
        let each = (1..=3).map(|i| {
            let directory = cluster.dir.path().join(format!("data/p{i}/store"));
            let acceptor = AcceptorId::from(format!("a{i}").as_str());
            registers_on_disk(&directory, Identity { cluster: "test".into(), acceptor })
        });
        each.sum()
    });
}

fn registers_on_disk(directory: &Path, identity: Identity) -> usize {
    let mut store = EmbeddedStore::open(directory, identity).expect("the store opens");
    let mut ask = |cluster, epoch, age, request| {
        store.serve(&[Call { cluster, epoch, age, request }]).expect("it serves").remove(0)
    };
    // What it stands for is not to be changed by looking.
    let status = ask(None, Epoch(0), Age(0), Request::Status);
    let Reply::Status(AcceptorStatus { fence, cluster, claim, .. }) = status else {
        panic!("no status: {status:?}")
    };
    let confirm = Request::Confirm { enrolment: claim.enrolment(), tag: 1 };
    let reply = ask(cluster, fence.epoch, fence.age, confirm);
    assert!(matches!(reply, Reply::Confirmed(_)), "{reply:?}");
    let mut count = 0;
    for kind in [ListKind::Accepted, ListKind::Dead] {
        let mut after = None;
        loop {
            let prefix = "gone/".to_owned();
            let request = Request::List(ListRequest { kind, prefix, after, limit_bytes: u32::MAX });
            let reply = ask(cluster, fence.epoch, fence.age, request);
            let Reply::Listed(page) = reply else { panic!("no page: {reply:?}") };
            count += page.entries.len();
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
    }
    count
}

#[test]
fn acceptors_in_redis_forget_deleted_keys() {
    let address = own_address();
    let dir = tempfile::tempdir().unwrap();
    let servers: Vec<Process> = (1..=3)
        .map(|i| {
            let data = dir.path().join(format!("a{i}"));
            std::fs::create_dir(&data).unwrap();
            let mut command = Command::new("redis-server");
            command.args(["--bind", &address, "--port", &(6380 + i).to_string()]);
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
            command.arg("--dir").arg(&data);
            Process::start(&mut command, &dir.path().join(format!("a{i}.log")))
        })
        .collect();
    for i in 1..=3 {
        wait_until("Redis answers", || {
            std::net::TcpStream::connect((address.as_str(), 6380 + i)).is_ok()
        });
    }
    let file = cluster(&address, true);
    let cluster = Cluster::of_file(Protocol::Caspaxos, &file, address.clone());
    space_is_given_back(cluster, |_| {
        let each = (1..=3).map(|i| {
            let client = redis::Client::open((address.as_str(), 6380 + i)).unwrap();
            let mut connection = client.get_connection().unwrap();
            let keys: Vec<String> =
                redis::cmd("KEYS").arg("*}:r:gone/*").query(&mut connection).unwrap();
            keys.len()
        });
        each.sum()
    });
    drop(servers);
}

#[test]
fn collection_waits_for_an_acceptor_that_is_down() {
    let address = own_address();
    let file = cluster(&address, false);
    let mut cluster = Cluster::of_file(Protocol::Caspaxos, &file, address);
    let (agent, url) = (agent(), format!("{}/v2/keys/gone/k", cluster.url(0)));
    cluster.kill(2);
    let created = set(&agent, url.clone());
    delete(&agent, url.clone());
    let collector = format!("{}/collector", cluster.admin_url(0));
    wait_until("it says whom it waits for", || {
        get(&collector).json()["waitsFor"] == "acceptor a3 does not answer"
    });
    let acceptors = get(&format!("{}/acceptors", cluster.admin_url(0))).json();
    // A key that was asked for and never written may be among them.
    assert!(acceptors[0]["status"]["deleted"].as_u64() >= Some(1), "{acceptors}");
    assert!(request("GET", &format!("{}/livez", cluster.url(2)), None).is_err());
    cluster.launch(2);
    cluster.wait_ready(2);
    wait_until_collected(&cluster);
    must_be_absent(&agent, url.clone());
    assert!(set(&agent, url) > created + 1);
}
