//! The matrix of a cluster, and what becomes of the messages under it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::put_json;
use crate::support::{Cluster, get};

/// How long a node waits for another one's answer at most.
const CALL_PATIENCE: Duration = Duration::from_secs(1);

/// The matrix of a cluster, and how it is put in force.
pub struct Matrix<'a> {
    pub cluster: &'a Cluster,
    pub version: u64,
    pub drop: Vec<Vec<f64>>,
    pub delay: Vec<Vec<String>>,
}

impl Matrix<'_> {
    pub fn of(cluster: &Cluster) -> Matrix<'_> {
        let size = cluster.names.len();
        let (drop, delay) = (vec![vec![0.0; size]; size], vec![vec!["0".into(); size]; size]);
        Matrix { cluster, version: 0, drop, delay }
    }

    pub fn body(&self) -> Value {
        let node = |(index, name): (usize, &String)| json!({ "name": name, "peer": format!("http://{}:{}", self.cluster.address, 8101 + index) });
        let nodes: Vec<Value> = self.cluster.names.iter().enumerate().map(node).collect();
        json!({ "version": self.version, "nodes": nodes, "drop": self.drop, "delay": self.delay })
    }

    pub fn install(&mut self) {
        self.version += 1;
        for node in 0..self.cluster.names.len() {
            let answer = put_json(&format!("{}/chaos", self.cluster.admin_url(node)), &self.body());
            assert_eq!(answer.status, 204, "{answer:?}");
        }
    }

    pub fn heal(&mut self) {
        self.drop.iter_mut().flatten().for_each(|drop| *drop = 0.0);
        self.install();
    }

    /// Cuts what a node sends, what it hears, or both.
    pub fn cut(&mut self, node: usize, (sends, hears): (bool, bool)) {
        for other in (0..self.drop.len()).filter(|other| *other != node) {
            self.drop[node][other] = f64::from(u8::from(sends));
            self.drop[other][node] = f64::from(u8::from(hears));
        }
        self.install();
    }

    /// The messages from one node to another since the matrix is in force.
    pub fn messages(&self, from: usize, to: usize) -> Messages {
        let shown = |at: usize, other: usize| -> Value {
            let shown = get(&format!("{}/chaos", self.cluster.admin_url(at))).json();
            shown["messages"][&self.cluster.names[other]].clone()
        };
        let count = |shown: &Value, field: &str| shown[field].as_u64().expect("a number");
        let here = shown(from, to);
        let (sent, dropped) = (count(&here, "sent"), count(&here, "dropped"));
        Messages { sent, dropped, came: count(&shown(to, from), "received") }
    }

    /// The same, once those that are under way have come or are lost: for as long
    /// as a call has patience, those that are missing become no fewer.
    pub fn settled_messages(&self, from: usize, to: usize) -> Messages {
        let mut fewest = i64::MAX;
        let mut settled_since = Instant::now();
        loop {
            let messages = self.messages(from, to);
            if messages.missing() < fewest {
                fewest = messages.missing();
                settled_since = Instant::now();
            }
            if settled_since.elapsed() >= CALL_PATIENCE {
                return messages;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has a node ask for so much that so many messages go to another one, and
    /// checks that the right share of them is dropped, and nothing else.
    pub fn count(&self, from: usize, to: usize, wanted: u64, probability: f64) {
        // The nodes began to count one after the other.
        let before = self.settled_messages(from, to);
        ask_on(self.cluster, from, || self.messages(from, to).sent >= before.sent + wanted);
        let after = self.settled_messages(from, to);
        let (sent, dropped) = (after.sent - before.sent, after.dropped - before.dropped);
        let came = after.came - before.came;
        let share = dropped as f64 / sent as f64;
        let sigma = (probability * (1.0 - probability) / sent as f64).sqrt();
        println!(
            "{:?}: {probability}: {share:.4} of {sent} dropped, {:.2} sigma off; {came} came",
            self.cluster.protocol,
            if sigma > 0.0 { (share - probability).abs() / sigma } else { 0.0 }
        );
        // Three sigma would fail one run of the short form in a hundred.
        let sigmas = if wanted >= 10_000 { 3.0 } else { 4.0 };
        assert!((share - probability).abs() <= sigmas * sigma, "{share} is not {probability}");
        // A few may be on their way between two counts; and on a slow machine a
        // call may be given up before it goes.
        let rest = sent - dropped;
        assert!(came <= rest + 5 && came >= rest * 9 / 10, "{came} of {rest} came");
    }
}

/// Messages from one node to another.
pub struct Messages {
    pub sent: u64,
    pub dropped: u64,
    pub came: u64,
}

impl Messages {
    /// Fewer than none where some came that were sent under the matrix before.
    pub fn missing(&self) -> i64 {
        self.sent as i64 - self.came as i64
    }
}

const ANSWER_PATIENCE: Duration = Duration::from_millis(100);

/// Asks a node for so much that messages flow, but for no more than it can do at
/// once: what is late on its way looks like lost.
fn ask_on(cluster: &Cluster, node: usize, is_over: impl Fn() -> bool) {
    let (stop, url) = (AtomicBool::new(false), cluster.url(node));
    let client = |number: usize| {
        let (stop, url) = (&stop, &url);
        move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(ANSWER_PATIENCE))
                .build()
                .into();
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                // Most of the messages are lost, and so are the answers.
                let _ = agent.put(format!("{url}/k{number}-{}", round % 50)).send("v");
                std::thread::sleep(ANSWER_PATIENCE.saturating_sub(began.elapsed()));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..48).for_each(|number| drop(scope.spawn(client(number))));
        while !is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
