//! A few clients count up a few keys, each time on a random node.
//!
//! Read a random key on a random node; an absent one counts as 0. Then write
//! the next value by compare-and-swap, or create it. Clients race for the
//! keys: a race that was lost was answered, and counts as a write.
//!
//! A node on which the network failed is not chosen for a while, so long as
//! there are others.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{Connection, Expected, Written};
use crate::kv::VersionedJson;

use super::increments;
use super::{Cause, Failure, Iteration, PAUSE_AFTER_ERROR, SharedTally, Step, Success};

/// How long a node on which the network failed is avoided.
pub const DOWN_TIME: Duration = Duration::from_secs(10);

/// One client: a connection to each node, and what it knows about them.
pub struct CounterClient {
    connections: Vec<Connection>,
    nodes: Nodes,
    keys: usize,
    rng: SmallRng,
}

/// Which nodes a client thinks down, and until when.
struct Nodes {
    down_until: Vec<Option<Instant>>,
}

impl Nodes {
    /// A random node of those that are not down; of all, when all are.
    fn choose(&self, now: Instant, rng: &mut SmallRng) -> usize {
        let is_up = |node: &usize| self.down_until[*node].is_none_or(|until| until <= now);
        let up: Vec<usize> = (0..self.down_until.len()).filter(is_up).collect();
        match up.choose(rng) {
            Some(node) => *node,
            None => rng.random_range(0..self.down_until.len()),
        }
    }

    fn failed(&mut self, node: usize, now: Instant) {
        self.down_until[node] = Some(now + DOWN_TIME);
    }
}

impl CounterClient {
    /// A client of these nodes, of which there is at least one, and of the
    /// keys `key1` to `key{keys}`.
    pub fn new(connections: Vec<Connection>, keys: usize, rng: SmallRng) -> CounterClient {
        assert!(!connections.is_empty() && keys > 0, "a client needs a node and a key");
        let nodes = Nodes { down_until: vec![None; connections.len()] };
        CounterClient { connections, nodes, keys, rng }
    }

    /// Iterates until it is dropped, and counts in `row` of the tally.
    pub async fn run(mut self, tally: SharedTally, row: usize) {
        loop {
            let started = Instant::now();
            let iteration = self.iterate().await;
            tally.borrow_mut().record(row, &iteration, started.elapsed());
            if iteration.is_err_and(|failure| !failure.is_timeout()) {
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }

    /// One iteration on a random node and key.
    pub async fn iterate(&mut self) -> Iteration {
        let node = self.nodes.choose(Instant::now(), &mut self.rng);
        let key = format!("key{}", self.rng.random_range(1..=self.keys));
        let iteration = count_up(&mut self.connections[node], &key).await;
        if iteration.as_ref().is_err_and(Failure::is_network) {
            self.nodes.failed(node, Instant::now());
        }
        iteration
    }
}

async fn count_up(connection: &mut Connection, key: &str) -> Iteration {
    let written = match connection.get(key).await.map_err(Step::Read.failed())? {
        None => connection.create(key, "1").await,
        Some(node) => {
            let Some(next) = next_value(&node.value) else {
                let cause = Cause::NotACounter { key: key.to_owned() };
                return Err(Failure { step: Step::Write, cause });
            };
            let read = Expected::Index(node.modified_index);
            connection.compare_and_swap(key, read, &next).await
        }
    };
    match written.map_err(Step::Write.failed())? {
        Written::Done(_) => Ok(Success::Wrote),
        Written::Conflict(_) | Written::NotFound { .. } => Ok(Success::LostRace),
    }
}

/// The next value of a decimal integer, or of the `{"ver", "val"}` pair that
/// Gryadka's own clients store.
fn next_value(stored: &str) -> Option<String> {
    if let Some(next) = increments::next_value(stored) {
        return Some(next);
    }
    let ver = VersionedJson::stored_version(stored.as_bytes())?;
    let pair: Value = serde_json::from_str(stored).ok()?;
    let val = pair["val"].as_i64()?.checked_add(1)?.to_string();
    let next = VersionedJson { ver, val }.next()?;
    String::from_utf8(next.into()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn integers_and_pairs_count_up() {
        assert_eq!(next_value("41").as_deref(), Some("42"));
        let pair = next_value(r#"{"ver":3,"val":41}"#);
        assert_eq!(pair.as_deref(), Some(r#"{"ver":4,"val":42}"#));
        assert_eq!(next_value(r#"{"ver":3,"val":"x"}"#), None);
        assert_eq!(next_value("x"), None);
    }

    #[test]
    fn a_node_that_is_down_is_avoided_while_another_is_up() {
        let start = Instant::now();
        let mut rng = SmallRng::seed_from_u64(1);
        let mut nodes = Nodes { down_until: vec![None; 3] };
        let mut chosen = |nodes: &Nodes, now| -> BTreeSet<usize> {
            (0..100).map(|_| nodes.choose(now, &mut rng)).collect()
        };
        assert_eq!(chosen(&nodes, start), BTreeSet::from([0, 1, 2]));
        nodes.failed(1, start);
        assert_eq!(chosen(&nodes, start), BTreeSet::from([0, 2]));
        assert_eq!(chosen(&nodes, start + DOWN_TIME), BTreeSet::from([0, 1, 2]));
        nodes.failed(0, start);
        nodes.failed(2, start);
        assert_eq!(chosen(&nodes, start), BTreeSet::from([0, 1, 2]));
    }
}
