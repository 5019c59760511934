//! The rows of a replica's state, and how their keys are told apart.
//!
//! A record stands under its key as it is. No key, being UTF-8, begins with one
//! of the bytes that stand in front of the other rows, and these are behind all
//! records.

use bytes::Bytes;

use crate::kv::Key;
use crate::store::StoreError;

/// What stands in front of the key of a memory.
const MEMORY: u8 = 0xfe;
/// What stands in front of a place on the ring.
const PLACE: u8 = 0xff;
/// The least key that is not one of a record.
pub const AFTER_RECORDS: &[u8] = &[MEMORY];

/// Names a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Row {
    /// The record of a key.
    Record(Key),
    /// What a key remembers of requests.
    Memory(Key),
    /// How many turns the ring has given.
    Turns,
    /// Which absent key stands on a place of the ring.
    Place(u64),
    /// Nothing: it is written with each deletion of a record. The embedded store
    /// keeps a journal until the tables are as new as what it holds of them, and
    /// deletions leave the tables: after a last one, journals would pile up for as
    /// long as the log grows and no record changes.
    Newest,
}

impl Row {
    /// The key of the row on the disk.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Row::Record(key) => Bytes::copy_from_slice(key.as_str().as_bytes()),
            Row::Memory(key) => [&[MEMORY], key.as_str().as_bytes()].concat().into(),
            Row::Turns => Bytes::from_static(&[PLACE]),
            Row::Place(place) => [&[PLACE], place.to_be_bytes().as_slice()].concat().into(),
            // A place is longer.
            Row::Newest => Bytes::from_static(&[PLACE, PLACE]),
        }
    }

    /// Says that the row cannot be read.
    pub fn damaged(&self, why: &str) -> StoreError {
        let what = match self {
            Row::Record(key) => format!("the record of key {key:?}"),
            Row::Memory(key) => format!("the memory of key {key:?}"),
            Row::Turns => "the number of turns of the ring of absent keys".into(),
            Row::Place(place) => format!("place {place} of the ring of absent keys"),
            Row::Newest => "the mark of the newest deletion".into(),
        };
        StoreError::Broken { path: "the state".into(), why: format!("{what} is damaged: {why}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_first_and_rows_differ() {
        let highest = Key::try_from("\u{10ffff}").unwrap();
        let rows = [
            Row::Record(highest.clone()),
            Row::Memory(highest),
            Row::Turns,
            Row::Place(0),
            Row::Place(0xff << 56),
        ];
        let bytes = rows.map(|row| row.to_bytes());
        assert!(&bytes[0][..] < AFTER_RECORDS && AFTER_RECORDS <= &bytes[1][..]);
        assert!(bytes.is_sorted() && !bytes.contains(&Row::Newest.to_bytes()));
    }
}
