//! The state machine: a command on a record.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Command, Record, VersionedJson};

/// Whether a command did what it asks, or which precondition failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// It took place.
    Done,
    /// The key is absent.
    NotFound,
    /// The key is present.
    AlreadyExists,
    /// The value or the index differs.
    CompareFailed,
    /// The value is not a decimal integer, or the sum is beyond 64 bits.
    NotANumber,
    /// The request's name was another request's before; nothing was done.
    IdReused,
    /// A later request of the same client is remembered; nothing was done.
    Superseded,
}

/// What a command found and left.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it took place.
    pub verdict: Verdict,
    /// The record before the command.
    pub before: Record,
    /// The record after it; equal to `before` when nothing changed.
    pub after: Record,
}

/// Applies `command` to `before`. `index` becomes the modified index if the
/// record changes; it must be greater than the record's own.
pub fn apply(before: &Record, command: &Command, index: u64) -> Outcome {
    let value = before.value.as_ref();
    match change(command, value, before.modified_index) {
        Err(verdict) => Outcome { verdict, before: before.clone(), after: before.clone() },
        Ok(Change::Keep) => {
            Outcome { verdict: Verdict::Done, before: before.clone(), after: before.clone() }
        }
        Ok(Change::To(value)) => {
            let is_new_life = !before.is_live() || matches!(command, Command::Set(_));
            // A tombstone keeps the index of the life that it ended.
            let is_new_life = is_new_life && value.is_some();
            let created_index = if is_new_life { index } else { before.created_index };
            let after = Record { value, created_index, modified_index: index };
            Outcome { verdict: Verdict::Done, before: before.clone(), after }
        }
    }
}

enum Change {
    Keep,
    To(Option<Bytes>),
}

fn change(command: &Command, value: Option<&Bytes>, index: u64) -> Result<Change, Verdict> {
    let to = |value: &Bytes| Ok(Change::To(Some(value.clone())));
    match (command, value) {
        (Command::Get, Some(_)) => Ok(Change::Keep),
        (Command::Get, None) => Err(Verdict::NotFound),
        (Command::Set(new), _) => to(new),
        (Command::Create(new), None) => to(new),
        (Command::Create(_), Some(_)) => Err(Verdict::AlreadyExists),
        (Command::Update(new), Some(_)) => to(new),
        (Command::Update(_), None) => Err(Verdict::NotFound),
        (Command::CompareAndSwap(..) | Command::CompareAndDelete(_), None) => {
            Err(Verdict::NotFound)
        }
        (Command::CompareAndSwap(compare, new), Some(old)) if compare.matches(old, index) => {
            to(new)
        }
        (Command::CompareAndDelete(compare), Some(old)) if compare.matches(old, index) => {
            Ok(Change::To(None))
        }
        (Command::CompareAndSwap(..) | Command::CompareAndDelete(_), Some(_)) => {
            Err(Verdict::CompareFailed)
        }
        (Command::Delete, Some(_)) => Ok(Change::To(None)),
        (Command::Delete, None) => Err(Verdict::NotFound),
        (Command::Add(delta), old) => {
            let sum = integer(old).and_then(|old| old.checked_add(*delta));
            sum.map(|sum| Change::To(Some(sum.to_string().into()))).ok_or(Verdict::NotANumber)
        }
        (Command::WriteVersion(pair), old) => Ok(write_version(pair, old)),
    }
}

fn integer(value: Option<&Bytes>) -> Option<i64> {
    let Some(value) = value else { return Some(0) };
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn write_version(pair: &VersionedJson, old: Option<&Bytes>) -> Change {
    let stored = match old {
        None => Some(0),
        Some(old) => VersionedJson::stored_version(old),
    };
    match pair.next() {
        Some(next) if stored == Some(pair.ver) => Change::To(Some(next)),
        Some(_) | None => Change::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Compare;

    fn live(value: &'static str, created: u64, modified: u64) -> Record {
        let value = Some(Bytes::from_static(value.as_bytes()));
        Record { value, created_index: created, modified_index: modified }
    }

    fn by_value(value: &'static str) -> Compare {
        Compare { value: Some(value.into()), index: None }
    }

    fn by_index(index: u64) -> Compare {
        Compare { value: None, index: Some(index) }
    }

    #[test]
    fn every_command_on_an_absent_and_on_a_present_key() {
        use Command::*;
        use Verdict::*;
        let pair = |ver| WriteVersion(VersionedJson { ver, val: "7".into() });
        // command, verdict and value on an absent key, the same on "5".
        type End = (Verdict, Option<&'static str>);
        let table: Vec<(Command, End, End)> = vec![
            (Get, (NotFound, None), (Done, Some("5"))),
            (Set("x".into()), (Done, Some("x")), (Done, Some("x"))),
            (Create("x".into()), (Done, Some("x")), (AlreadyExists, Some("5"))),
            (Update("x".into()), (NotFound, None), (Done, Some("x"))),
            (CompareAndSwap(by_value("5"), "x".into()), (NotFound, None), (Done, Some("x"))),
            (
                CompareAndSwap(by_value("6"), "x".into()),
                (NotFound, None),
                (CompareFailed, Some("5")),
            ),
            (CompareAndSwap(by_index(3), "x".into()), (NotFound, None), (Done, Some("x"))),
            (CompareAndSwap(by_index(2), "x".into()), (NotFound, None), (CompareFailed, Some("5"))),
            (Delete, (NotFound, None), (Done, None)),
            (CompareAndDelete(by_value("5")), (NotFound, None), (Done, None)),
            (CompareAndDelete(by_index(9)), (NotFound, None), (CompareFailed, Some("5"))),
            (Add(2), (Done, Some("2")), (Done, Some("7"))),
            (Add(i64::MAX), (Done, Some("9223372036854775807")), (NotANumber, Some("5"))),
            (pair(0), (Done, Some(r#"{"ver":1,"val":7}"#)), (Done, Some("5"))),
            (pair(1), (Done, None), (Done, Some("5"))),
        ];
        for (command, absent, present) in table {
            for (before, (verdict, value)) in
                [(Record::default(), absent), (live("5", 2, 3), present)]
            {
                let outcome = apply(&before, &command, 10);
                assert_eq!(
                    (outcome.verdict, outcome.after.text()),
                    (verdict, value),
                    "{command:?}"
                );
                assert_eq!(outcome.before, before);
                let changed = outcome.after != before;
                assert_eq!(
                    outcome.after.modified_index,
                    if changed { 10 } else { before.modified_index }
                );
            }
        }
    }

    #[test]
    fn created_index_belongs_to_a_life() {
        let set = apply(&Record::default(), &Command::Set("a".into()), 1).after;
        assert_eq!((set.created_index, set.modified_index), (1, 1));
        let updated = apply(&set, &Command::Update("b".into()), 2).after;
        assert_eq!((updated.created_index, updated.modified_index), (1, 2));
        let deleted = apply(&updated, &Command::Delete, 3).after;
        assert_eq!((deleted.created_index, deleted.modified_index), (1, 3));
        let again = apply(&deleted, &Command::Create("c".into()), 4).after;
        assert_eq!((again.created_index, again.modified_index), (4, 4));
        let over = apply(&again, &Command::Set("d".into()), 5).after;
        assert_eq!((over.created_index, over.modified_index), (5, 5));
    }

    #[test]
    fn a_versioned_write_follows_the_stored_version() {
        let write =
            |ver, val: &str| Command::WriteVersion(VersionedJson { ver, val: val.to_string() });
        let first = apply(&Record::default(), &write(0, "5"), 1).after;
        let second = apply(&first, &write(1, r#"{"a":[1]}"#), 2).after;
        assert_eq!(second.text(), Some(r#"{"ver":2,"val":{"a":[1]}}"#));
        assert_eq!(apply(&second, &write(1, "9"), 3).after, second);
        assert_eq!(apply(&second, &write(u64::MAX, "9"), 3).after, second);
    }
}
