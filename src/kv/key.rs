//! Keys: non-empty UTF-8 of bounded length.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a record. Slashes inside it make the implicit directories of
/// the v2 API; there is none at the front.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Key(Arc<str>);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is no key of no name.
    #[error("the key is empty")]
    Empty,
    /// Longer than [`Key::MAX_BYTES`].
    #[error("the key is longer than {} bytes", Key::MAX_BYTES)]
    TooLong,
}

impl Key {
    /// The longest key, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// The cluster's own: where CASPaxos decides its configurations.
    pub fn configuration() -> Key {
        Key(Arc::from("\0configuration"))
    }

    /// True for a key that is the cluster's own; clients cannot use it.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('\0')
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Arc<str>> for Key {
    type Error = BadKey;

    fn try_from(text: Arc<str>) -> Result<Self, BadKey> {
        match text.len() {
            0 => Err(BadKey::Empty),
            length if length > Key::MAX_BYTES => Err(BadKey::TooLong),
            _ => Ok(Key(text)),
        }
    }
}

impl TryFrom<&str> for Key {
    type Error = BadKey;

    fn try_from(text: &str) -> Result<Self, BadKey> {
        if text.len() > Key::MAX_BYTES {
            return Err(BadKey::TooLong);
        }
        Key::try_from(Arc::from(text))
    }
}

impl From<Key> for Arc<str> {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
