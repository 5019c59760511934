//! What a suite says at its end.

use std::time::Duration;

use serde_json::Value;

use super::{Counts, Judgement, Linearizable, Round};

/// What a suite says at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteReport {
    /// How the requests ended.
    pub counts: Counts,
    /// What their answers were worth.
    pub judgement: Judgement,
    /// How long all of it took.
    pub total: Duration,
    /// How long a request took on average; zero when there was none.
    pub average: Duration,
    /// The rounds of a dynamic suite.
    pub rounds: Vec<Round>,
    /// Where the random choices began.
    pub seed: u64,
    /// Why the last attempt that failed did so.
    pub last_error: Option<String>,
}

impl SuiteReport {
    /// How many faults are told in full.
    const FAULTS_SHOWN: usize = 5;

    /// A line for each number, `name: value`.
    pub fn lines(&self) -> String {
        let counts = self.counts.named(Some(self.judgement.correct)).into_iter();
        let mut lines: String = counts.map(|(name, count)| format!("{name}: {count}\n")).collect();
        for (name, time) in self.times() {
            lines.push_str(&format!("{name}: {:.3}\n", time.as_secs_f64()));
        }
        lines.push_str(&format!("linearizable: {}\n", self.judgement.linearizable));
        lines
    }

    /// The same as one object, with the rounds and the seed.
    pub fn json(&self) -> Value {
        let counts = self.counts.named(Some(self.judgement.correct)).into_iter();
        let mut json: serde_json::Map<String, Value> =
            counts.map(|(name, count)| (name.to_owned(), count.into())).collect();
        for (name, time) in self.times() {
            json.insert(name.to_owned(), seconds(time).into());
        }
        json.insert("linearizable".to_owned(), self.judgement.linearizable.to_string().into());
        json.insert("rounds".to_owned(), self.rounds.iter().map(Round::json).collect());
        json.insert("seed".to_owned(), self.seed.into());
        Value::Object(json)
    }

    fn times(&self) -> [(&'static str, Duration); 2] {
        [("total_elapsed_time", self.total), ("average_elapsed_time", self.average)]
    }

    /// Why the suite fails, in words; `None` when it does not.
    pub fn failure(&self) -> Option<String> {
        let Judgement { faults, linearizable, .. } = &self.judgement;
        if !faults.is_empty() || *linearizable != Linearizable::Yes {
            let mut failure = faults[..faults.len().min(Self::FAULTS_SHOWN)].join("\n");
            if faults.len() > Self::FAULTS_SHOWN {
                failure.push_str(&format!("\nand {} more", faults.len() - Self::FAULTS_SHOWN));
            }
            return Some(failure);
        }
        if self.counts.succeeded() > 0 {
            return None;
        }
        let last_error = self.last_error.as_deref().unwrap_or("no node was asked");
        Some(format!("nothing succeeded; the last error: {last_error}"))
    }
}

/// A time in JSON: seconds with three decimals.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
