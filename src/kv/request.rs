//! What names a request, so that it takes effect once however often it comes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Command;

/// A command, and the name of the request that asks for it, if it has one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The command.
    pub command: Command,
    /// What names the request; the same in every try.
    pub request_id: Option<RequestId>,
}

impl Submission {
    /// True when the command never changes the record.
    pub fn is_read(&self) -> bool {
        self.command.is_read()
    }

    /// The name of a request that is to be remembered: reads are not.
    pub fn id_to_remember(&self) -> Option<&RequestId> {
        self.request_id.as_ref().filter(|_| !self.is_read())
    }

    /// What it carries besides its key, in bytes.
    pub fn size_bytes(&self) -> usize {
        let id_bytes = self.request_id.as_ref().map_or(0, |id| id.as_str().len());
        id_bytes + self.command.value_bytes()
    }
}

impl From<Command> for Submission {
    fn from(command: Command) -> Self {
        Submission { command, request_id: None }
    }
}

/// The name of a request: 1 to [`RequestId::MAX_BYTES`] visible ASCII
/// characters.
///
/// `NAME:NUMBER`, with decimal digits behind the last colon, is the request of
/// that number of the client NAME; a client numbers its requests upwards, and
/// a later one replaces the earlier one in the [`Memory`](super::Memory) of a
/// key. Any other text stands by itself.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct RequestId(Arc<str>);

/// Why a text does not name a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a request is 1 to {} visible ASCII characters", RequestId::MAX_BYTES)]
pub struct BadRequestId;

impl RequestId {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name of a client's request of this number.
    pub fn numbered(client: &str, number: u64) -> Result<Self, BadRequestId> {
        RequestId::try_from(format!("{client}:{number}").as_str())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Client and number of a numbered request.
    pub fn client_and_number(&self) -> Option<(&str, u64)> {
        let (client, digits) = self.0.rsplit_once(':')?;
        let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_decimal && !client.is_empty());
        number.map(|number| (client, number))
    }

    /// The client of a numbered request.
    pub fn client(&self) -> Option<&str> {
        self.client_and_number().map(|(client, _)| client)
    }
}

impl TryFrom<Arc<str>> for RequestId {
    type Error = BadRequestId;

    fn try_from(text: Arc<str>) -> Result<Self, BadRequestId> {
        let is_good = (1..=Self::MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_good { Ok(RequestId(text)) } else { Err(BadRequestId) }
    }
}

impl TryFrom<&str> for RequestId {
    type Error = BadRequestId;

    fn try_from(text: &str) -> Result<Self, BadRequestId> {
        if text.len() > Self::MAX_BYTES {
            return Err(BadRequestId);
        }
        RequestId::try_from(Arc::from(text))
    }
}

impl From<RequestId> for Arc<str> {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_visible_ascii() {
        let longest = "x".repeat(RequestId::MAX_BYTES);
        for good in ["a", "7", "~!", "\"quoted\"", longest.as_str()] {
            assert_eq!(RequestId::try_from(good).unwrap().as_str(), good);
        }
        let longer = "x".repeat(RequestId::MAX_BYTES + 1);
        for bad in ["", "a b", "a\tb", "é", "a\u{7f}", longer.as_str()] {
            assert!(RequestId::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbered_names_have_digits_behind_their_last_colon() {
        let parse = |text: &str| {
            let id = RequestId::try_from(text).unwrap();
            id.client_and_number().map(|(client, number)| (client.to_string(), number))
        };
        let of = |client: &str, number| Some((client.to_string(), number));
        assert_eq!(parse("c:7"), of("c", 7));
        assert_eq!(parse("c:007"), of("c", 7));
        assert_eq!(parse("a:b:0"), of("a:b", 0));
        assert_eq!(parse("c:18446744073709551615"), of("c", u64::MAX));
        for alone in ["c", "7", ":7", "c:", "c:+7", "c:-7", "c:7x", "c:18446744073709551616"] {
            assert_eq!(parse(alone), None, "{alone:?}");
        }
        assert_eq!(RequestId::numbered("c", 7).unwrap().as_str(), "c:7");
        assert!(RequestId::numbered(&"c".repeat(63), 7).is_err());
    }
}
