//! Was all that the clients saw right?

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::kv::{Command, Key};
use crate::perseus::{CheckError, End, History, IndexOrder, Observation, check_numbered};

/// Whether every history is linearizable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Linearizable {
    /// All are.
    Yes,
    /// The check of one was given up.
    Unknown,
    /// One is not.
    No,
}

impl fmt::Display for Linearizable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Linearizable::Yes => "yes",
            Linearizable::Unknown => "unknown",
            Linearizable::No => "no",
        })
    }
}

/// What is to be said of the histories of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Gets that were answered with a correct value.
    pub correct: u64,
    /// Whether every history is linearizable.
    pub linearizable: Linearizable,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// Judges the histories of so many clients.
///
/// What a client that is alone reads must be what it wrote last, or a value of
/// unknown outcome, which may come at any time. Of several clients nobody knows
/// who was last: their gets are correct when the history of the key is
/// linearizable. That is looked at in both cases.
///
/// Indices rise with every change, and may leave some out: on Raft they are
/// those of all keys, and on CASPaxos a new key begins above what was collected.
pub fn judge(histories: &BTreeMap<Key, History>, clients: usize) -> Judgement {
    let (correct, faults) = (0, Vec::new());
    let mut judgement = Judgement { correct, linearizable: Linearizable::Yes, faults };
    for (key, history) in histories {
        let checked = check_numbered(history, IndexOrder::Global);
        match clients {
            1 => judgement.compare(key, history),
            _ if checked.is_ok() => judgement.correct += values_read(history),
            _ => {}
        }
        if let Err(error) = checked {
            judgement.linearizable = judgement.linearizable.max(match error {
                CheckError::NotLinearizable(_) | CheckError::Clash { .. } => Linearizable::No,
                CheckError::GaveUp { .. } => Linearizable::Unknown,
            });
            judgement.faults.push(error.to_string());
        }
    }
    judgement
}

impl Judgement {
    /// Compares what a client that is alone read with what it wrote.
    fn compare(&mut self, key: &Key, history: &History) {
        let mut written: Option<&Bytes> = None;
        let mut unknown: Vec<&Bytes> = Vec::new();
        for operation in history.operations() {
            match (&operation.command, &operation.end) {
                (Command::Set(value), End::Returned { .. }) => written = Some(value),
                (Command::Set(value), End::Unknown) => unknown.push(value),
                (_, End::Returned { observation, .. }) => {
                    let read = value_of(observation);
                    if read == written || read.is_some_and(|value| unknown.contains(&value)) {
                        self.correct += u64::from(read.is_some());
                    } else {
                        self.faults.push(format!(
                            "key {key}: a get was answered with {}, and what was written last is {}",
                            in_words(read),
                            in_words(written)
                        ));
                    }
                }
                (_, End::Unknown | End::Failed) => {}
            }
        }
    }
}

/// The value that an answer showed; `None` when the key was absent.
fn value_of(observation: &Observation) -> Option<&Bytes> {
    observation.after.value.as_ref().and_then(Option::as_ref)
}

/// How many gets were answered with a value.
fn values_read(history: &History) -> u64 {
    let read = history.operations().iter().filter(|operation| {
        operation.command.is_read()
            && matches!(&operation.end, End::Returned { observation, .. }
                if value_of(observation).is_some())
    });
    read.count() as u64
}

fn in_words(value: Option<&Bytes>) -> String {
    value.map_or("nothing".to_owned(), |value| format!("{:?}", String::from_utf8_lossy(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Verdict;
    use crate::perseus::Seen;

    /// What one client did, one after the other: puts of known (`w`), unknown
    /// (`?`) and no (`!`) effect, and gets (`r`), each with its value; `-` is
    /// absent.
    fn histories(steps: &str) -> BTreeMap<Key, History> {
        let key = Key::try_from("k").unwrap();
        let mut history = History::default();
        for (step, at) in steps.split(' ').zip(0..) {
            let (kind, value) = step.split_at(1);
            let value = (value != "-").then(|| Bytes::from(value.to_owned()));
            let command = match kind {
                "r" => Command::Get,
                _ => Command::Set(value.clone().unwrap()),
            };
            let id = history.call(1, key.clone(), command, 10 * at);
            let verdict = if value.is_some() { Verdict::Done } else { Verdict::NotFound };
            let after = Seen { value: Some(value), ..Seen::default() };
            let observation =
                Observation { verdict: Some(verdict), after, ..Observation::default() };
            history.end(
                id,
                match kind {
                    "?" => End::Unknown,
                    "!" => End::Failed,
                    _ => End::Returned { at: 10 * at + 5, observation },
                },
            );
        }
        BTreeMap::from([(key, history)])
    }

    #[test]
    fn one_client_reads_what_it_wrote_last_or_what_is_in_doubt() {
        for (steps, correct) in [
            ("r- w1 r1 w2 r2 r2", 3),
            ("w1 !2 r1", 1),
            ("w1 ?2 r1 r2 r2", 3),
            ("?1 r- r1 w2 r2", 2),
            ("?1 w2 r2 r1", 2),
        ] {
            for clients in [1, 2] {
                let judgement = judge(&histories(steps), clients);
                let expected =
                    Judgement { correct, linearizable: Linearizable::Yes, faults: Vec::new() };
                assert_eq!(judgement, expected, "{steps} {clients}");
            }
        }
    }

    #[test]
    fn old_and_lost_values_are_wrong() {
        for (steps, correct) in
            [("w1 w2 r1", 0), ("w1 r-", 0), ("w1 !2 r2", 0), ("w1 r1 r7", 1), ("r1", 0)]
        {
            let judgement = judge(&histories(steps), 1);
            assert_eq!((judgement.correct, judgement.linearizable), (correct, Linearizable::No));
            assert_eq!(judgement.faults.len(), 2, "{steps}: {:?}", judgement.faults);
            let judgement = judge(&histories(steps), 2);
            assert_eq!((judgement.correct, judgement.faults.len()), (0, 1), "{steps}");
        }
    }

    #[test]
    fn a_value_in_doubt_that_went_away_again_is_found_by_the_check_alone() {
        let judgement = judge(&histories("w1 ?2 r2 r1"), 1);
        assert_eq!((judgement.correct, judgement.linearizable), (2, Linearizable::No));
        assert_eq!(judgement.faults.len(), 1);
    }
}
