//! What must be true in every state: which values were chosen, and which
//! effects were acknowledged.
//!
//! Each addition has an amount of its own, a power of ten. So a sum tells
//! which additions a value descends from, and how often each took effect.

use std::collections::BTreeMap;

use gryadka::caspaxos::{AcceptorId, Ballot, Call, Configuration, Epoch, Request};
use gryadka::kv::{Key, Outcome, Record};

/// A record that was sent under a ballot, and who has accepted it.
#[derive(Clone, Debug)]
struct Proposed {
    record: Record,
    epoch: Epoch,
    by: Vec<AcceptorId>,
    is_chosen: bool,
}

#[derive(Clone, Debug)]
pub struct Promises {
    configurations: BTreeMap<Epoch, Configuration>,
    proposed: BTreeMap<Ballot, Proposed>,
    /// The indices of changes that were acknowledged.
    changed: Vec<u64>,
}

impl Promises {
    pub fn new(founding: Configuration) -> Promises {
        let configurations = BTreeMap::from([(founding.epoch, founding)]);
        Promises { configurations, proposed: BTreeMap::new(), changed: Vec::new() }
    }

    /// A proposer has taken over a configuration.
    pub fn configured(&mut self, configuration: &Configuration) -> Result<(), String> {
        let known = self.configurations.entry(configuration.epoch);
        match known.or_insert_with(|| configuration.clone()) == configuration {
            true => Ok(()),
            false => Err(format!("two configurations of {:?}", configuration.epoch)),
        }
    }

    /// An acceptor has accepted what a call asks for.
    pub fn accepted(&mut self, by: &AcceptorId, call: &Call, key: &Key) -> Result<(), String> {
        let Request::Accept { key: of, ballot, value, .. } = &call.request else { return Ok(()) };
        if of != key {
            return Ok(());
        }
        let proposed = self.proposed.entry(*ballot).or_insert_with(|| Proposed {
            record: value.record.clone(),
            epoch: call.epoch,
            by: Vec::new(),
            is_chosen: false,
        });
        if proposed.record != value.record {
            return Err(format!("two values under one ballot: {proposed:?} and {value:?}"));
        }
        if !proposed.by.contains(by) {
            proposed.by.push(by.clone());
            proposed.by.sort_unstable();
        }
        // One that nobody took over yet is not in force.
        let Some(configuration) = self.configurations.get(&proposed.epoch) else { return Ok(()) };
        if proposed.is_chosen || !configuration.accept.is_met_by(&proposed.by) {
            return Ok(());
        }
        proposed.is_chosen = true;
        self.check_line()
    }

    /// Chosen values are in one line: each has what those before it have.
    fn check_line(&self) -> Result<(), String> {
        let chosen = self.proposed.values().filter(|proposed| proposed.is_chosen);
        let chosen: Vec<&Record> = chosen.map(|proposed| &proposed.record).collect();
        for pair in chosen.windows(2) {
            if !follows(pair[0], pair[1]) {
                return Err(format!("not in one line of descent: {pair:?}"));
            }
        }
        Ok(())
    }

    /// A command was answered.
    pub fn answered(&mut self, outcome: &Outcome) -> Result<(), String> {
        let is_chosen = |record: &Record| {
            let mut chosen = self.proposed.values().filter(|proposed| proposed.is_chosen);
            chosen.any(|proposed| proposed.record == *record)
        };
        if outcome.before == outcome.after {
            return Ok(());
        }
        // A command shares its round with others: the last one's is chosen.
        let (index, after) = (outcome.after.modified_index, &outcome.after);
        let is_passed = self.proposed.values().any(|proposed| {
            proposed.is_chosen
                && proposed.record.modified_index > index
                && follows(after, &proposed.record)
        });
        if !is_chosen(after) && !is_passed {
            return Err(format!("acknowledged, not chosen: {outcome:?}"));
        }
        if self.changed.contains(&index) {
            return Err(format!("two changes have one index: {outcome:?}"));
        }
        self.changed.push(index);
        self.changed.sort_unstable();
        Ok(())
    }
}

/// Whether `later` may descend from `earlier`.
fn follows(earlier: &Record, later: &Record) -> bool {
    if earlier.modified_index == later.modified_index {
        return earlier == later || !(earlier.is_live() || later.is_live());
    }
    if later.modified_index < earlier.modified_index {
        return false;
    }
    let is_same_life = earlier.is_live() && earlier.created_index == later.created_index;
    let (mut before, mut after) = (sum(earlier), sum(later));
    loop {
        let is_once = after % 10 <= 1;
        let is_kept = !is_same_life || !later.is_live() || before % 10 <= after % 10;
        if !is_once || !is_kept {
            return false;
        }
        (before, after) = (before / 10, after / 10);
        if before == 0 && after == 0 {
            return true;
        }
    }
}

fn sum(record: &Record) -> u64 {
    record.text().map_or(0, |text| text.parse().expect("only numbers are added"))
}
