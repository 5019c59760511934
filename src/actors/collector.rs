//! Removes the registers of deleted keys behind the clients' backs.
//!
//! Every proposer's node has a collector. Each looks at what one acceptor holds
//! of deleted keys, leaves those alone that were deleted lately, and has its
//! proposer collect the others, batch by batch. Two that work at once get into
//! each other's way and no further: the batch of one of them comes to nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng;
use serde::Serialize;

use super::acceptors::Acceptors;
use crate::caspaxos::{AcceptorId, Age, Batch, ListKind};
use crate::config::CollectionSettings;
use crate::kv::Key;

/// How far a collector has come, since its node started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorStatus {
    /// Keys whose registers are removed from all acceptors.
    pub collected: u64,
    /// Keys that were tried and stayed for another batch.
    pub left: u64,
    /// Batches.
    pub batches: u64,
    /// Deleted keys that some acceptor holds, as of the last look.
    pub backlog: u64,
    /// What keeps it from collecting, if something does.
    pub waits_for: Option<String>,
}

/// A collector's status, readable from any thread.
#[derive(Clone, Default)]
pub struct CollectorView(Arc<Mutex<CollectorStatus>>);

impl CollectorView {
    /// The status.
    pub fn status(&self) -> CollectorStatus {
        self.0.lock().expect("nothing panics while it holds the lock").clone()
    }

    fn update(&self, change: impl FnOnce(&mut CollectorStatus)) {
        change(&mut self.0.lock().expect("nothing panics while it holds the lock"));
    }
}

/// A deleted key that was seen.
struct Seen {
    /// Tells this deletion from a later one.
    modified_index: u64,
    since: Instant,
    /// The look at which it was seen last.
    look: u64,
}

/// The collector of a node.
pub struct Collector {
    acceptors: Acceptors,
    settings: CollectionSettings,
    view: CollectorView,
    seen: HashMap<Key, Seen>,
    looks: u64,
    /// The age of the acceptors as of the last look, and own batches since.
    age: Age,
    /// How many batches in a row came to nothing.
    failures: u32,
}

impl Collector {
    /// The most deleted keys that it has its eye on.
    const MAX_SEEN: usize = 100_000;
    /// How long a batch may take.
    const BATCH_PATIENCE: Duration = Duration::from_secs(2);
    /// After failures it pauses longer, up to so many intervals.
    const LONGEST_PAUSE: u32 = 64;

    /// A collector that has seen nothing yet.
    pub fn new(acceptors: Acceptors, settings: CollectionSettings, view: CollectorView) -> Self {
        let (seen, age) = (HashMap::new(), Age::default());
        Collector { acceptors, settings, view, seen, looks: 0, age, failures: 0 }
    }

    /// Collects until the node ends.
    pub async fn run(mut self) {
        loop {
            let interval = Duration::from_millis(self.settings.interval_ms.get());
            let pauses = Self::LONGEST_PAUSE.min(1 << self.failures.min(16));
            // Not in step with the other nodes' collectors.
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep((interval * pauses).mul_f64(jitter)).await;
            let waits_for = self.collect().await.err();
            self.view.update(|status| status.waits_for = waits_for);
        }
    }

    /// Looks once, and collects all that is due. An error says what it waits
    /// for.
    async fn collect(&mut self) -> Result<(), String> {
        if !self.acceptors.configuration().is_settled() {
            return Err("a change of acceptors is under way".into());
        }
        let statuses = self.acceptors.statuses().await;
        let (mut backlog, mut holder, known) = (0, None, self.age);
        for (id, status) in &statuses {
            let Some(status) = status else { return Err(format!("acceptor {id} does not answer")) };
            self.age = self.age.max(status.fence.age);
            if status.dead >= backlog {
                (backlog, holder) = (status.dead, Some(id.clone()));
            }
        }
        self.view.update(|status| status.backlog = backlog);
        match holder.filter(|_| backlog > 0) {
            Some(holder) => self.look(holder).await?,
            None => self.seen.clear(),
        }
        if self.age > known && self.looks > 1 {
            return Err("another node's collector is at work".into());
        }
        let due = self.due();
        for keys in due.chunks(Batch::MAX_KEYS) {
            let keys = keys.to_vec();
            for key in &keys {
                self.seen.remove(key);
            }
            let collected = self.acceptors.collect(keys, Self::BATCH_PATIENCE).await;
            self.view.update(|status| {
                status.collected += collected.removed as u64;
                status.left += collected.left as u64;
                status.batches += 1;
                status.backlog = status.backlog.saturating_sub(collected.removed as u64);
            });
            if collected.removed == 0 {
                self.failures += 1;
                return Err("its last batch came to nothing".into());
            }
            self.failures = 0;
            self.age = self.age.next();
            tokio::time::sleep(Duration::from_millis(self.settings.pause_ms)).await;
        }
        Ok(())
    }

    /// Notes which deleted keys an acceptor holds.
    async fn look(&mut self, holder: AcceptorId) -> Result<(), String> {
        self.looks += 1;
        let (now, look, mut after) = (Instant::now(), self.looks, None);
        loop {
            let kind = ListKind::Dead;
            let page = self.acceptors.page(holder.clone(), None, kind, after).await?;
            for entry in page.entries.into_iter().filter(|entry| !entry.key.is_reserved()) {
                let modified_index = entry.record.modified_index;
                let new = Seen { modified_index, since: now, look };
                let seen = self.seen.entry(entry.key).or_insert(new);
                if seen.modified_index != modified_index {
                    (seen.modified_index, seen.since) = (modified_index, now);
                }
                seen.look = look;
            }
            after = page.more_after;
            if after.is_none() || self.seen.len() >= Self::MAX_SEEN {
                break;
            }
        }
        self.seen.retain(|_, seen| seen.look == look);
        Ok(())
    }

    /// The keys that were deleted long enough ago.
    fn due(&self) -> Vec<Key> {
        let retain = Duration::from_millis(self.settings.retain_ms);
        let due = self.seen.iter().filter(|(_, seen)| seen.since.elapsed() >= retain);
        due.map(|(key, _)| key.clone()).collect()
    }
}
