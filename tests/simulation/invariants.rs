//! What must be true of all that proposers say, whatever happens.

use std::collections::BTreeMap;

use gryadka::caspaxos::{Configuration, Epoch};
use gryadka::identity::ClusterId;
use gryadka::kv::{Key, Outcome};
use gryadka::perseus::OperationId;

/// One configuration an epoch.
#[derive(Default)]
pub struct ConfigurationsAgree(BTreeMap<Epoch, Configuration>);

impl ConfigurationsAgree {
    pub fn takes(&mut self, configuration: &Configuration) -> Result<(), String> {
        let known = self.0.entry(configuration.epoch).or_insert_with(|| configuration.clone());
        match known == configuration {
            true => Ok(()),
            false => Err(format!("two configurations: {known:?} and {configuration:?}")),
        }
    }
}

/// The modified index of a key grows for ever, also from one of its lives to the
/// next, and each index is of one change. What is said of a key that is absent
/// does not count: the floor that it stands on is not known to all at once.
#[derive(Default)]
pub struct IndicesGrow(BTreeMap<Key, Indices>);

#[derive(Default)]
struct Indices {
    highest: u64,
    /// The changes that were answered, by the index that they made.
    made: BTreeMap<u64, OperationId>,
}

impl IndicesGrow {
    /// The highest index that was answered so far: what is asked from now on
    /// finds no lower one.
    pub fn highest(&self, key: &Key) -> u64 {
        self.0.get(key).map_or(0, |indices| indices.highest)
    }

    /// Takes an outcome in. `least` is what was the highest when it was asked
    /// for.
    pub fn shows(
        &mut self,
        key: &Key,
        outcome: &Outcome,
        least: u64,
        operation: OperationId,
    ) -> Result<(), String> {
        let (before, after) = (outcome.before.modified_index, outcome.after.modified_index);
        let has_changed = outcome.before != outcome.after;
        if !has_changed && !outcome.after.is_live() {
            return Ok(());
        }
        let is_found_back = outcome.before.is_live() && before < least;
        if is_found_back || after < least || (has_changed && after <= before.max(least)) {
            return Err(format!("an index goes back: {key} was at {least}: {outcome:?}"));
        }
        let indices = self.0.entry(key.clone()).or_default();
        indices.highest = indices.highest.max(after);
        if has_changed && indices.made.insert(after, operation).is_some_and(|by| by != operation) {
            return Err(format!("two changes of {key} have one index: {outcome:?}"));
        }
        Ok(())
    }
}

/// All proposers belong to one cluster, for ever.
#[derive(Default)]
pub struct OneCluster(Option<ClusterId>);

impl OneCluster {
    pub fn belongs(&mut self, cluster: ClusterId) -> Result<(), String> {
        let known = *self.0.get_or_insert(cluster);
        match known == cluster {
            true => Ok(()),
            false => Err(format!("two clusters: {known} and {cluster}")),
        }
    }
}

/// All of them.
#[derive(Default)]
pub struct Invariants {
    pub one_cluster: OneCluster,
    pub configurations_agree: ConfigurationsAgree,
    pub indices_grow: IndicesGrow,
}
