//! Keys of the original, Gryadka in JavaScript, for a cluster of this program.
//!
//! The original's acceptors are read, each by itself; of each key the value of the
//! highest ballot among a majority of them is taken, which is the one that a proposer
//! of the original would find (no proposer may run meanwhile). It is written where the
//! key does not exist yet, so that an import can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ControlError;
use super::output::say;
use crate::client::{ClientError, Connection, Endpoint, Written};
use crate::config::RedisAddress;
use crate::kv::{Key, MAX_VALUE_BYTES};
use crate::store::{OriginalAcceptor, OriginalRegister, RedisError};

/// What is to be imported.
pub struct Import {
    /// All acceptors of the original.
    pub acceptors: Vec<RedisAddress>,
    /// How many of them must answer; a majority unless given.
    pub quorum: Option<usize>,
    /// Whether nothing is to be written.
    pub is_dry: bool,
}

/// Why the value of a key is not imported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum Skipped {
    #[error("no value was ever accepted for it")]
    Empty,
    #[error("its value is null, which is what an absent key has")]
    Null,
    #[error("its name is no key here: {0}")]
    Name(String),
    #[error("its value is not as the original writes it: {0}")]
    Value(String),
    #[error("its value has {0} bytes; {MAX_VALUE_BYTES} are the most")]
    TooLarge(usize),
    #[error("its ballot is not one of the original's")]
    Ballot,
    #[error("the acceptors hold two values under its highest ballot; the original did that")]
    TwoValues,
    #[error("it has another value in the cluster, which stays")]
    Differs,
}

impl Skipped {
    /// Whether something is lost that the original has.
    fn is_loss(&self) -> bool {
        !matches!(self, Skipped::Empty | Skipped::Null)
    }
}

/// How many keys came to what.
#[derive(Default)]
struct Tally {
    imported: usize,
    there: usize,
    skipped: usize,
    lost: usize,
}

type Found = BTreeMap<Vec<u8>, Result<String, Skipped>>;

impl Import {
    /// Reads the original, writes to the nodes, and prints what became of the keys. It
    /// belongs to an actix system.
    pub async fn perform(
        self,
        endpoints: &[Endpoint],
        patience: Duration,
    ) -> Result<(), ControlError> {
        let is_dry = self.is_dry;
        let found = tokio::task::spawn_blocking(move || self.read());
        let found = found.await.expect("reading does not panic")?;
        let mut urls = endpoints.iter().map(Endpoint::url);
        let first = urls.next().expect("a cluster file has a node that serves clients");
        let mut nodes = urls.fold(Connection::new(first, patience), Connection::with_other);
        let count = found.len();
        let mut tally = Tally::default();
        for (name, value) in found {
            let name = String::from_utf8_lossy(&name).into_owned();
            let result = match value {
                Ok(_) if is_dry => Ok(true),
                Ok(value) => write(&mut nodes, &name, &value).await?,
                Err(skipped) => Err(skipped),
            };
            match result {
                Ok(true) => tally.imported += 1,
                Ok(false) => tally.there += 1,
                Err(why) => {
                    tally.skipped += 1;
                    tally.lost += usize::from(why.is_loss());
                    say(&format!("skipped {name:?}: {why}"));
                }
            }
        }
        let Tally { imported, there, skipped, lost } = tally;
        let imported_how = if is_dry { "to import" } else { "imported" };
        say(&format!(
            "{count} keys: {imported} {imported_how}, {there} there already, {skipped} skipped"
        ));
        match lost {
            0 => Ok(()),
            lost => Err(ControlError::Refused(format!(
                "{lost} keys of the original are not in the cluster as they are there"
            ))),
        }
    }

    /// The values of all keys.
    fn read(&self) -> Result<Found, ControlError> {
        let all: BTreeSet<String> = self.acceptors.iter().map(ToString::to_string).collect();
        let count = self.acceptors.len();
        if all.len() < count {
            return Err(ControlError::Arguments("an acceptor is named twice; name it once".into()));
        }
        let quorum = self.quorum.unwrap_or(count / 2 + 1);
        if !(1..=count).contains(&quorum) {
            return Err(ControlError::Arguments(format!(
                "a quorum of {quorum} among {count} acceptors; use 1 to {count}"
            )));
        }
        let mut keys = BTreeSet::new();
        let mut answering = Vec::new();
        for address in &self.acceptors {
            match open(address) {
                Ok((acceptor, told)) => {
                    say(&format!("{address}: {} keys", told.len()));
                    keys.extend(told);
                    answering.push(acceptor);
                }
                Err(error) => say(&format!("{address} is left out: {error}")),
            }
        }
        let silent = |answering: usize| {
            ControlError::NotNow(format!(
                "{answering} of {count} acceptors answer, and {quorum} must; start them"
            ))
        };
        if answering.len() < quorum {
            return Err(silent(answering.len()));
        }
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        let mut registers: Vec<Vec<OriginalRegister>> = vec![Vec::new(); keys.len()];
        let mut read = 0;
        for acceptor in &mut answering {
            match acceptor.read(&keys) {
                Ok(told) => {
                    read += 1;
                    let each = registers.iter_mut().zip(told);
                    each.for_each(|(known, register)| known.extend(register));
                }
                Err(error) => say(&format!("left out: {error}")),
            }
        }
        if read < quorum {
            return Err(silent(read));
        }
        let values = registers.into_iter().map(|registers| newest(&registers));
        let checked = |(name, value): (Vec<u8>, Result<String, Skipped>)| {
            let value = value.and_then(|value| check_name(&name).map(|()| value));
            (name, value)
        };
        Ok(keys.into_iter().zip(values).map(checked).collect())
    }
}

fn open(address: &RedisAddress) -> Result<(OriginalAcceptor, BTreeSet<Vec<u8>>), RedisError> {
    let mut acceptor = OriginalAcceptor::open(address.clone())?;
    let keys = acceptor.keys()?.into_iter().collect();
    Ok((acceptor, keys))
}

/// Writes a key that is not there: true when it is written, false when it is there with
/// this value.
async fn write(
    nodes: &mut Connection,
    name: &str,
    value: &str,
) -> Result<Result<bool, Skipped>, ControlError> {
    let failed = |error: ClientError| {
        ControlError::NotNow(format!(
            "key {name:?}: {error}; what was imported before it stays: run the same again"
        ))
    };
    if let Written::Done(_) = nodes.create(name, value).await.map_err(failed)? {
        return Ok(Ok(true));
    }
    let node = nodes.get(name).await.map_err(failed)?;
    Ok(if node.is_some_and(|node| node.value == value) { Ok(false) } else { Err(Skipped::Differs) })
}

/// The value of the highest ballot, as it is written here.
fn newest(registers: &[OriginalRegister]) -> Result<String, Skipped> {
    let ballots = registers.iter().map(|register| register.ballot.as_ref());
    let ballots: Vec<_> = ballots.collect::<Option<_>>().ok_or(Skipped::Ballot)?;
    let highest = *ballots.iter().max().ok_or(Skipped::Empty)?;
    if !ballots.iter().all(|ballot| ballot.is_like(highest)) {
        return Err(Skipped::Ballot);
    }
    if highest.is_zero() {
        return Err(Skipped::Empty);
    }
    let mut of_highest = registers.iter().filter(|each| each.ballot.as_ref() == Some(highest));
    let first = of_highest.next().expect("the highest is one of them");
    if of_highest.any(|other| other.value != first.value) {
        return Err(Skipped::TwoValues);
    }
    let value = convert(&first.value)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(Skipped::TooLarge(value.len()));
    }
    Ok(value)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// What the original's etcd-like server keeps of a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EtcdLike {
    #[serde(rename = "created")]
    _created: u64,
    #[serde(rename = "modified")]
    _modified: u64,
    value: String,
}

/// From the text in Redis to the value here: JSON as it is, which `/change` shows so;
/// of the etcd-like server the value that its clients know.
fn convert(text: &[u8]) -> Result<String, Skipped> {
    let stored: Result<Stored, _> = serde_json::from_slice(text);
    let stored = stored.map_err(|error| Skipped::Value(error.to_string()))?;
    let json = stored.value.map(RawValue::get).filter(|json| *json != "null");
    let json = json.ok_or(Skipped::Null)?;
    Ok(match serde_json::from_str::<EtcdLike>(json) {
        Ok(kept) => kept.value,
        Err(_) => json.to_owned(),
    })
}

/// A key that the APIs here would call otherwise would be another one.
fn check_name(name: &[u8]) -> Result<(), Skipped> {
    let named = |why: &str| Skipped::Name(why.to_owned());
    let text = std::str::from_utf8(name).map_err(|_| named("it is not UTF-8"))?;
    Key::try_from(text).map_err(|bad| Skipped::Name(bad.to_string()))?;
    match text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err(named("it has empty, . or .. parts")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OriginalBallot;

    fn register(counter: u64, id: &str, value: &str) -> OriginalRegister {
        let ballot = Some(OriginalBallot::Ballot(counter, id.into()));
        OriginalRegister { ballot, value: value.into() }
    }

    #[test]
    fn the_value_of_the_highest_ballot_is_taken() {
        let (old, new) = (r#"{"value":{"ver":1,"val":1}}"#, r#"{"value":{"ver":2,"val":3}}"#);
        let taken = Ok(r#"{"ver":2,"val":3}"#.to_owned());
        for registers in [
            vec![register(9, "p1", old), register(10, "p1", new)],
            vec![register(10, "p2", new), register(10, "p1", old), register(0, "", "")],
            vec![register(10, "p2", new), register(10, "p2", new)],
        ] {
            assert_eq!(newest(&registers), taken);
        }
        for (registers, why) in [
            (vec![], Skipped::Empty),
            (vec![register(0, "", ""), register(0, "", "")], Skipped::Empty),
            (vec![register(3, "p", old), register(3, "p", new)], Skipped::TwoValues),
            (vec![OriginalRegister { ballot: None, value: old.into() }], Skipped::Ballot),
        ] {
            assert_eq!(newest(&registers), Err(why));
        }
    }

    #[test]
    fn values_become_what_the_clients_of_either_server_know() {
        for (stored, value) in [
            (r#"{"value":{"ver":3,"val":[1, 2]}}"#, r#"{"ver":3,"val":[1, 2]}"#),
            (r#"{"value":{"created":0,"modified":7,"value":"a \"b\""}}"#, r#"a "b""#),
            (r#"{"value":"text"}"#, r#""text""#),
            (r#"{"value":0}"#, "0"),
        ] {
            assert_eq!(convert(stored.as_bytes()), Ok(value.to_owned()));
        }
        for null in [r#"{"value":null}"#, "{}"] {
            assert_eq!(convert(null.as_bytes()), Err(Skipped::Null));
        }
        for bad in ["", "7", r#"{"value":1"#, r#"{"value":1,"more":2}"#] {
            assert!(matches!(convert(bad.as_bytes()), Err(Skipped::Value(_))), "{bad}");
        }
    }

    #[test]
    fn a_name_that_would_become_another_key_is_skipped() {
        for name in ["key1", "a/b", "a.b/..c"] {
            assert_eq!(check_name(name.as_bytes()), Ok(()));
        }
        for name in [&b""[..], b"/a", b"a//b", b"a/../b", b"a/", b"\xff"] {
            assert!(matches!(check_name(name), Err(Skipped::Name(_))), "{name:?}");
        }
    }
}
