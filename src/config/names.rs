//! Names of nodes, acceptors and proposers.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::error::Problem;
use crate::caspaxos::{AcceptorId, ProposerId};

/// The longest name of a cluster, a node or an acceptor, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Checks the name of a cluster, a node or an acceptor. It becomes a file name
/// and a part of URLs and log lines, so it is plain, and not `.` or `..`.
pub(super) fn check(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    let plain = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(allowed);
    if plain && name != "." && name != ".." {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a name; use 1 to {MAX_NAME_BYTES} letters, digits, '.', '_', '-' or ':'"
    ))
}

/// [`check`] for each key of an object that stands at `path`.
pub(super) fn check_keys<'a>(
    path: &str,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), Problem> {
    names.into_iter().try_for_each(|name| check(name).map_err(|message| Problem::at(path, message)))
}

/// For `deserialize_with`: a checked name.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check(&name).map_err(D::Error::custom)?;
    Ok(name)
}

/// The id of an acceptor that somebody wrote; the error says what is wrong.
pub fn parse_acceptor_id(name: &str) -> Result<AcceptorId, String> {
    check(name).map(|()| AcceptorId::from(name))
}

/// For `deserialize_with`: a checked acceptor id.
pub(super) fn acceptor_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<AcceptorId, D::Error> {
    name(deserializer).map(|name| AcceptorId::from(name.as_str()))
}

/// For `deserialize_with`: a proposer id, text or a number.
pub(super) fn proposer_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ProposerId, D::Error> {
    GivenProposerId::deserialize(deserializer).map(|given| given.id)
}

/// A proposer id as a file gives it: the original's are numbers, and the
/// number's digits are the id.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenProposerId {
    pub id: ProposerId,
    pub is_number: bool,
}

impl<'de> Deserialize<'de> for GivenProposerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GivenVisitor;
        impl Visitor<'_> for GivenVisitor {
            type Value = GivenProposerId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a proposer id, text or a whole number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<GivenProposerId, E> {
                let id = text.parse().map_err(E::custom)?;
                Ok(GivenProposerId { id, is_number: false })
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<GivenProposerId, E> {
                let id = number.to_string().parse().map_err(E::custom)?;
                Ok(GivenProposerId { id, is_number: true })
            }
        }
        deserializer.deserialize_any(GivenVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_safe_as_file_names() {
        let longest = "x".repeat(64);
        for good in ["p1", "a", "A-b_c.9", "127.0.0.1:6379", "...", longest.as_str()] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        let too_long = "x".repeat(65);
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\n", "a\\b", too_long.as_str()] {
            let message = check(bad).unwrap_err();
            assert!(message.contains("is not a name; use 1 to 64 letters"), "{message}");
        }
    }

    #[test]
    fn a_proposer_id_is_text_or_a_number() {
        let given = |json: &str| serde_json::from_str::<GivenProposerId>(json);
        assert_eq!(given("0").unwrap().id, "0".parse().unwrap());
        assert!(given("0").unwrap().is_number && !given("\"0\"").unwrap().is_number);
        for bad in ["\"\"", "-1", "1.5", "null", "18446744073709551615", "\"a:b\""] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }
}
