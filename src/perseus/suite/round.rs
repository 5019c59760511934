//! One round of a dynamic suite.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Counts, Disturbance};

/// One round of a dynamic suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// From 1.
    pub number: usize,
    /// What was done while its requests were under way.
    pub disturbance: Disturbance,
    /// Who led when it began; nobody in CASPaxos.
    pub leader: Option<String>,
    /// How its requests ended.
    pub counts: Counts,
    /// How long it took.
    pub elapsed: Duration,
}

impl Round {
    /// As JSON.
    pub fn json(&self) -> Value {
        let counts = self.counts.named(None).into_iter();
        let mut json: serde_json::Map<String, Value> =
            counts.map(|(name, count)| (name.to_owned(), count.into())).collect();
        json.insert("round".to_owned(), self.number.into());
        json.insert("done".to_owned(), self.disturbance.to_string().into());
        json.insert("leader".to_owned(), json!(self.leader));
        json.insert("elapsed_time".to_owned(), super::report::seconds(self.elapsed).into());
        Value::Object(json)
    }
}

/// A line; of the counts only those that are not 0.
impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Round { number, disturbance, leader, counts, elapsed } = self;
        write!(f, "round {number}: {disturbance}, ")?;
        match leader {
            Some(leader) => write!(f, "leader {leader}")?,
            None => f.write_str("no leader")?,
        }
        for (name, count) in counts.named(None).iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {name} {count}")?;
        }
        write!(f, ", elapsed_time {:.3}", elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_done_and_what_came_of_it() {
        let mut round = Round {
            number: 3,
            disturbance: Disturbance::Killed("p2".to_owned()),
            leader: Some("p2".to_owned()),
            counts: Counts { put_succeed: 9, put_unknown_error: 1, ..Counts::default() },
            elapsed: Duration::from_millis(1234),
        };
        assert_eq!(
            round.to_string(),
            "round 3: killed p2, leader p2, put_succeed_cnt 9, put_unknown_error_cnt 1, \
             elapsed_time 1.234"
        );
        (round.disturbance, round.leader) = (Disturbance::Revived("p2".to_owned()), None);
        assert!(round.to_string().starts_with("round 3: revived p2, no leader, put_"), "{round}");
        assert_eq!(round.json()["leader"], Value::Null);
        assert_eq!(round.json()["elapsed_time"], 1.234);
    }
}
