//! What is stored under a key.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What is stored under a key. The default record is that of a key which was
/// never written; a record without a value but with indices is a tombstone.
///
/// `modified_index` grows for ever, also across deletion and re-creation, so
/// a compare-and-swap by index can never mistake a new life for an old one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The value; `None` when the key is absent.
    pub value: Option<Bytes>,
    /// The index at which this life of the key began; 0 when never written.
    pub created_index: u64,
    /// The index of the last modification; 0 when never written.
    pub modified_index: u64,
}

impl Record {
    /// True when the key has a value.
    pub fn is_live(&self) -> bool {
        self.value.is_some()
    }

    /// The value as text where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

impl super::Weighed for Record {
    fn size_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.len())
    }
}
