//! Histories: what clients asked, when, and what they saw.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::kv::{Command, Key, Outcome, Record, Verdict};

/// How a server numbers changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexOrder {
    /// Each key by itself, from 1 and without gaps.
    PerKey,
    /// All keys together, one number a change, as etcd does.
    Global,
}

/// What a client saw of a record; a part that is `None` was not shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The value; `Some(None)` says that the key was absent.
    pub value: Option<Option<Bytes>>,
    /// The index at which this life of the key began.
    pub created_index: Option<u64>,
    /// The index of the last modification.
    pub modified_index: Option<u64>,
}

impl Seen {
    /// True when `record` has all that was shown.
    pub fn agrees_with(&self, record: &Record) -> bool {
        self.value.as_ref().is_none_or(|value| *value == record.value)
            && self.created_index.is_none_or(|index| index == record.created_index)
            && self.modified_index.is_none_or(|index| index == record.modified_index)
    }

    /// True when an index was shown.
    pub fn has_index(&self) -> bool {
        self.created_index.is_some() || self.modified_index.is_some()
    }
}

impl From<&Record> for Seen {
    fn from(record: &Record) -> Self {
        Seen {
            value: Some(record.value.clone()),
            created_index: Some(record.created_index),
            modified_index: Some(record.modified_index),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => f.write_str("?")?,
            Some(None) => f.write_str("absent")?,
            Some(Some(value)) => write!(f, "{:?}", String::from_utf8_lossy(value))?,
        }
        match (self.created_index, self.modified_index) {
            (Some(created), Some(modified)) => write!(f, "@{created}..{modified}"),
            (None, Some(modified)) => write!(f, "@{modified}"),
            (_, None) => Ok(()),
        }
    }
}

/// What an answer told of a command's outcome.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observation {
    /// Whether the command took place; `None` when the answer did not say.
    pub verdict: Option<Verdict>,
    /// What it showed of the record before the command.
    pub before: Seen,
    /// What it showed of the record after the command.
    pub after: Seen,
}

impl Observation {
    /// True when an answer that tells this may stand for `outcome`.
    pub fn agrees_with(&self, outcome: &Outcome) -> bool {
        self.verdict.is_none_or(|verdict| verdict == outcome.verdict)
            && self.before.agrees_with(&outcome.before)
            && self.after.agrees_with(&outcome.after)
    }
}

impl From<&Outcome> for Observation {
    fn from(outcome: &Outcome) -> Self {
        let (before, after) = (Seen::from(&outcome.before), Seen::from(&outcome.after));
        Observation { verdict: Some(outcome.verdict), before, after }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            None => f.write_str("?")?,
            Some(verdict) => write!(f, "{verdict:?}")?,
        }
        write!(f, " {} -> {}", self.before, self.after)
    }
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It was answered.
    Returned {
        /// When.
        at: u64,
        /// With what.
        observation: Observation,
    },
    /// It was not answered, or the answer said so: it may take effect once at
    /// any time after the call, or never.
    Unknown,
    /// The answer said that it took no effect and never will.
    Failed,
}

/// One operation of one client on one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who asked; only for the reader of a report.
    pub client: u64,
    /// The key.
    pub key: Key,
    /// The command.
    pub command: Command,
    /// When the client asked, in any unit that never goes back.
    pub called: u64,
    /// How it ended.
    pub end: End,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, command, called, end, .. } = self;
        match end {
            End::Returned { at, observation } => {
                write!(f, "client {client} [{called}, {at}] {command:?} = {observation}")
            }
            End::Unknown => write!(f, "client {client} [{called}, ?] {command:?} = unknown"),
            End::Failed => write!(f, "client {client} [{called}, ?] {command:?} = failed"),
        }
    }
}

/// Names an operation of a [`History`] until its end is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OperationId(usize);

/// The operations of all clients on all keys.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(super) operations: Vec<Operation>,
}

impl History {
    /// Notes that a client asks. Until its end is noted, the operation counts
    /// as unknown.
    pub fn call(&mut self, client: u64, key: Key, command: Command, at: u64) -> OperationId {
        let end = End::Unknown;
        self.operations.push(Operation { client, key, command, called: at, end });
        OperationId(self.operations.len() - 1)
    }

    /// Notes how an operation ended.
    pub fn end(&mut self, id: OperationId, end: End) {
        self.operations[id.0].end = end;
    }

    /// All operations, in the order in which they were noted.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations of each key: linearizability is local, so a history is
    /// linearizable exactly when that of each key is.
    pub fn by_key(&self) -> BTreeMap<&Key, Vec<&Operation>> {
        let mut keys: BTreeMap<&Key, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::apply;

    #[test]
    fn an_observation_asks_only_for_what_it_shows() {
        let set = apply(&Record::default(), &Command::Set("a".into()), 1);
        let update = apply(&set.after, &Command::Update("b".into()), 2);
        for outcome in [&set, &update] {
            assert!(Observation::from(outcome).agrees_with(outcome));
            assert!(Observation::default().agrees_with(outcome));
        }
        assert!(!Observation::from(&set).agrees_with(&update));
        let value = |text: &'static str| Seen { value: Some(Some(text.into())), ..Seen::default() };
        let shown = Observation { after: value("b"), ..Observation::default() };
        assert!(shown.agrees_with(&update) && !shown.agrees_with(&set));
        let absent = Seen { value: Some(None), ..Seen::default() };
        let shown = Observation { before: absent, ..Observation::default() };
        assert!(shown.agrees_with(&set) && !shown.agrees_with(&update));
    }
}
