//! What a client may ask of one key.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a client asks of one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Reads the record. Gryadka's `read` and `id` are this too; they differ
    /// only in how an absent value is shown.
    Get,
    /// Writes the value whatever is there; the key begins a new life.
    Set(Bytes),
    /// Writes the value if the key is absent.
    Create(Bytes),
    /// Writes the value if the key is present.
    Update(Bytes),
    /// Writes the value if the key is present and compares equal.
    CompareAndSwap(Compare, Bytes),
    /// Removes the key if it is present.
    Delete,
    /// Removes the key if it is present and compares equal.
    CompareAndDelete(Compare),
    /// Adds to the decimal integer in the value; an absent key counts as 0.
    Add(i64),
    /// Gryadka's `write`: stores the pair under the next version if the
    /// stored pair has this version, else leaves it. Absent is version 0.
    WriteVersion(VersionedJson),
}

impl Command {
    /// True when the command never changes the record.
    pub fn is_read(&self) -> bool {
        matches!(self, Command::Get)
    }

    /// How many bytes of value the command carries, those to compare with too.
    pub fn value_bytes(&self) -> usize {
        let compared = |compare: &Compare| compare.value.as_ref().map_or(0, Bytes::len);
        match self {
            Command::Get | Command::Delete | Command::Add(_) => 0,
            Command::Set(value) | Command::Create(value) | Command::Update(value) => value.len(),
            Command::CompareAndSwap(compare, value) => compared(compare) + value.len(),
            Command::CompareAndDelete(compare) => compared(compare),
            Command::WriteVersion(pair) => pair.val.len(),
        }
    }
}

/// What a present record must equal; a part that is `None` always does.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Compare {
    /// The value.
    pub value: Option<Bytes>,
    /// The modified index.
    pub index: Option<u64>,
}

impl Compare {
    /// True when a record with this value and modified index is meant.
    pub fn matches(&self, value: &Bytes, modified_index: u64) -> bool {
        self.value.as_ref().is_none_or(|wanted| wanted == value)
            && self.index.is_none_or(|wanted| wanted == modified_index)
    }
}

/// The value of Gryadka's own clients: `{"ver": 1, "val": ...}`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct VersionedJson {
    /// The version that the client has read.
    pub ver: u64,
    /// The new value: any JSON text.
    pub val: String,
}

#[derive(Deserialize)]
struct StoredPair<'a> {
    ver: u64,
    #[serde(borrow, rename = "val")]
    _val: &'a RawValue,
}

impl VersionedJson {
    /// What `read` shows for an absent key.
    pub const ABSENT: &'static str = r#"{"ver":0,"val":0}"#;

    /// The version of a stored pair; `None` when the value is not a pair.
    pub fn stored_version(value: &[u8]) -> Option<u64> {
        serde_json::from_slice::<StoredPair>(value).ok().map(|pair| pair.ver)
    }

    /// The pair that is stored when the version matched; `None` when the
    /// version cannot grow any more.
    pub fn next(&self) -> Option<Bytes> {
        let ver = self.ver.checked_add(1)?;
        Some(format!(r#"{{"ver":{ver},"val":{}}}"#, self.val).into())
    }
}
