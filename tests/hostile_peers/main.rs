//! What callers are answered that must not be served, for every kind of message;
//! and that nothing durable changes for them.

mod acceptors;
mod replicas;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Debug;

use gryadka::identity::ClusterId;
use gryadka::kv::Key;
use gryadka::transport::{
    BATCH_CONTENT_TYPE, Batch, BatchCalls, BatchReplies, Passed, decode, encode,
};
use support::{Cluster, get, put, request, wait_until};

fn cluster_id(cluster: &Cluster) -> ClusterId {
    let version = get(&format!("{}/version", cluster.url(0))).json();
    version["clusterId"].as_str().unwrap().parse().unwrap()
}

const OTHER: Option<ClusterId> = ClusterId::new(0xbad);

fn key() -> Key {
    Key::try_from("k").unwrap()
}

/// Sends calls to a node; the replies that came.
fn post(cluster: &Cluster, index: usize, calls: BatchCalls) -> BatchReplies {
    let url = format!("http://{}:{}/peer/v1/batch", cluster.address, 8101 + index);
    let batch = Batch { cluster: "test".into(), sender: "x".into(), patience_ms: 10_000, calls };
    let body = encode(&batch);
    let answer = request("POST", &url, Some((BATCH_CONTENT_TYPE, &body))).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    decode(&answer.body).expect("replies")
}

fn arrived<Reply: Debug>(replies: Vec<Passed<Reply>>) -> Vec<Reply> {
    let now = |passed| match passed {
        Passed::Now(reply) => reply,
        other => panic!("{other:?}"),
    };
    replies.into_iter().map(now).collect()
}

/// The cluster serves writes at every node.
fn assert_serves(cluster: &Cluster) {
    for (index, url) in cluster.urls().iter().enumerate() {
        let value = format!("written at {index}");
        wait_until("it serves", || put(&format!("{url}/after"), value.as_bytes()).status == 204);
        assert_eq!(get(&format!("{url}/after")).text(), value);
    }
}

/// Stops a node as an operator does.
fn stop(cluster: &mut Cluster, index: usize) {
    cluster.node(index).signal("TERM");
    cluster.node(index).wait();
    assert!(!cluster.node(index).log().contains("panicked"), "{}", cluster.node(index).log());
    cluster.nodes[index] = None;
}
