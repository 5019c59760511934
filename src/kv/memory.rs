//! What a key remembers of the newest requests that were made of it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Command, Outcome, Record, RequestId, Submission, Verdict, apply};

/// The newest requests with a name that changed a key, or that tried to.
///
/// At most [`Memory::MAX_REQUESTS`] are kept, the oldest of them are forgotten
/// first, and each client that numbers its requests has one place.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The oldest first.
    requests: Vec<Remembered>,
}

/// A request that was applied: what it found. What it left follows from that
/// and from the command, which a retry brings again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Remembered {
    id: RequestId,
    /// Tells the command from others.
    fingerprint: u64,
    verdict: Verdict,
    /// The record before; a value beyond [`Memory::MAX_VALUE_BYTES`] is
    /// replaced by an empty one.
    before: Record,
    /// The modified index after.
    modified_index: u64,
}

impl Memory {
    /// How many requests are remembered.
    pub const MAX_REQUESTS: usize = 64;
    /// The longest value that is remembered, in bytes.
    pub const MAX_VALUE_BYTES: usize = 1024;

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// No less than what it takes when it is encoded, in bytes.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 64;
        let size = |request: &Remembered| {
            let value_bytes = request.before.value.as_ref().map_or(0, Bytes::len);
            OVERHEAD_BYTES + request.id.as_str().len() + value_bytes
        };
        self.requests.iter().map(size).sum()
    }

    /// The outcome of a request that needs not be applied any more: its first
    /// one if it is remembered, or a verdict that refuses it. `record` is the
    /// one that the key has now.
    pub fn recall(&self, record: &Record, submission: &Submission) -> Option<Outcome> {
        let id = submission.id_to_remember()?;
        let known = &self.requests[self.place_of(id)?];
        let refused = |verdict| Outcome { verdict, before: record.clone(), after: record.clone() };
        Some(match (id.client_and_number(), known.id.client_and_number()) {
            (Some((_, number)), Some((_, newest))) if number > newest => return None,
            (Some((_, number)), Some((_, newest))) if number < newest => {
                refused(Verdict::Superseded)
            }
            (_, _) if known.fingerprint == fingerprint(&submission.command) => {
                known.outcome(&submission.command)
            }
            (_, _) => refused(Verdict::IdReused),
        })
    }

    /// Takes note of the outcome of a request, if it has a name.
    pub fn remember(&mut self, submission: &Submission, outcome: &Outcome) {
        let Some(id) = submission.id_to_remember() else { return };
        if let Some(place) = self.place_of(id) {
            self.requests.remove(place);
        }
        if self.requests.len() >= Self::MAX_REQUESTS {
            self.requests.remove(0);
        }
        let mut before = outcome.before.clone();
        before.value = before.value.map(|value| {
            // A copy of its own: a part of a large buffer would keep all of it.
            if value.len() > Self::MAX_VALUE_BYTES {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(&value)
            }
        });
        self.requests.push(Remembered {
            id: id.clone(),
            fingerprint: fingerprint(&submission.command),
            verdict: outcome.verdict,
            before,
            modified_index: outcome.after.modified_index,
        });
    }

    /// The place of the request, or of another one of the same client.
    fn place_of(&self, id: &RequestId) -> Option<usize> {
        match id.client() {
            None => self.requests.iter().position(|request| request.id == *id),
            client => self.requests.iter().position(|request| request.id.client() == client),
        }
    }
}

impl Remembered {
    /// The outcome of the request, whose command this is.
    fn outcome(&self, command: &Command) -> Outcome {
        let before = self.before.clone();
        let after = if self.modified_index == before.modified_index {
            before.clone()
        } else {
            apply(&before, &without_condition(command, &before), self.modified_index).after
        };
        Outcome { verdict: self.verdict, before, after }
    }
}

/// A command that leaves what this one leaves where its condition is met: the
/// value that it compares with may be forgotten.
fn without_condition(command: &Command, before: &Record) -> Command {
    match command {
        Command::CompareAndSwap(_, value) => Command::Update(value.clone()),
        Command::CompareAndDelete(_) => Command::Delete,
        Command::WriteVersion(pair) => match pair.next() {
            Some(value) if before.is_live() => Command::Update(value),
            Some(value) => Command::Create(value),
            None => command.clone(),
        },
        Command::Get
        | Command::Set(_)
        | Command::Create(_)
        | Command::Update(_)
        | Command::Delete
        | Command::Add(_) => command.clone(),
    }
}

/// A number by which a command is told from others.
fn fingerprint(command: &Command) -> u64 {
    let bytes = postcard::to_stdvec(command).expect("encoding into memory cannot fail");
    xxh3_64(&bytes)
}
