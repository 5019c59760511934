//! What nodes say to each other: batches of calls and their replies.
//!
//! A body is a version byte and then [postcard](https://postcard.jamesmunns.com)
//! bytes. The layer knows the format and its bounds, not when a batch is sent.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::caspaxos::{AcceptorId, Call, Reply};

/// The version of the format; a node refuses any other.
pub const WIRE_VERSION: u8 = 1;

/// The most calls in one batch.
pub const MAX_BATCH_CALLS: usize = 256;

/// A batch ends once its calls reach this many bytes of keys and values.
pub const BATCH_BYTES: usize = 1 << 20;

/// The largest request body: a full batch, its last call and the framing.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

/// The largest reply body; replies that do not fit are left out.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// The path of the peer listener that takes batches.
pub const BATCH_PATH: &str = "/peer/v1/batch";

/// Calls from one node to the acceptor of another.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The cluster of the sender.
    pub cluster: String,
    /// The node that sends.
    pub sender: String,
    /// The acceptor that is meant.
    pub to: AcceptorId,
    /// How long the sender will wait, in milliseconds.
    pub patience_ms: u32,
    /// The calls, to be served in order.
    pub calls: Vec<Call>,
}

/// The answer to a batch: a reply for each of the first calls. Calls beyond
/// them may have been served or not.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReplies {
    /// In the order of the calls.
    pub replies: Vec<Reply>,
}

/// Why bytes are not a message of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Nothing at all.
    #[error("the body is empty")]
    Empty,
    /// The other side runs another version.
    #[error("wire version {theirs} is not {WIRE_VERSION}; run the same release on all nodes")]
    Version {
        /// The version byte that came.
        theirs: u8,
    },
    /// The bytes after the version do not make sense.
    #[error("the body is not a message of wire version {WIRE_VERSION}: {0}")]
    Malformed(String),
}

/// Encodes a message.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let body = vec![WIRE_VERSION];
    postcard::to_extend(message, body).expect("wire messages have no unserializable parts")
}

/// Decodes a message; bytes after its end are refused.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    match body.split_first() {
        None => Err(WireError::Empty),
        Some((&WIRE_VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(WireError::Malformed(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        },
        Some((&theirs, _)) => Err(WireError::Version { theirs }),
    }
}

/// Encodes as many of the replies as fit in [`MAX_REPLY_BYTES`].
pub fn encode_replies(mut replies: Vec<Reply>) -> Vec<u8> {
    let mut bytes = 0;
    let fitting = replies.iter().take_while(|reply| {
        bytes += reply_bytes(reply);
        bytes < MAX_REPLY_BYTES
    });
    let count = fitting.count();
    replies.truncate(count);
    encode(&BatchReplies { replies })
}

/// No less than what a call takes in a batch.
pub fn call_bytes(call: &Call) -> usize {
    use crate::caspaxos::Request;
    match &call.request {
        Request::Prepare { key, .. } | Request::Read { key } => FRAME_BYTES + key.as_str().len(),
        Request::Accept { key, value, .. } => {
            FRAME_BYTES + key.as_str().len() + value.record.value.as_ref().map_or(0, |v| v.len())
        }
        Request::List(list) => {
            let after = list.after.as_ref().map_or(0, |key| key.as_str().len());
            FRAME_BYTES + list.prefix.len() + after
        }
    }
}

/// No less than what a message takes besides its keys and values: ballots,
/// indices and a full lineage.
const FRAME_BYTES: usize = 1024;

fn reply_bytes(reply: &Reply) -> usize {
    let value_bytes = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, |v| v.len());
    FRAME_BYTES
        + match reply {
            Reply::Prepared { value, .. } => value_bytes(&value.record.value),
            Reply::WasRead { record, .. } => value_bytes(&record.value),
            Reply::Listed(page) => page.entries.iter().map(|entry| entry.bytes()).sum(),
            Reply::Accepted | Reply::Conflict { .. } | Reply::Fenced { .. } => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::{
        Ballot, Epoch, Lineage, ListEntry, ListPage, ProposerId, Request, Value,
    };
    use crate::kv::{Key, Record};

    fn ballot(counter: u64) -> Ballot {
        let proposer: ProposerId = "p1".parse().unwrap();
        Ballot { counter, proposer, ..Ballot::ZERO }
    }

    fn batch() -> Batch {
        let key = Key::try_from("k").unwrap();
        let record = Record { value: Some("v".into()), created_index: 1, modified_index: 2 };
        let value = Value { record, lineage: Lineage::default().extended(ballot(3)) };
        let requests = [
            Request::Prepare { key: key.clone(), ballot: ballot(4) },
            Request::Accept { key: key.clone(), ballot: ballot(4), value, next: ballot(5) },
            Request::Read { key },
        ];
        let calls = requests.map(|request| Call { epoch: Epoch(1), request }).into();
        let to = AcceptorId::from("a1");
        Batch { cluster: "demo".into(), sender: "p1".into(), to, patience_ms: 1000, calls }
    }

    /// A change of the format must come with a new [`WIRE_VERSION`].
    #[test]
    fn the_format_is_that_of_version_1() {
        let golden = "010464656d6f02703102613\
                      1e8070301\
                      00016b0402703100\
                      01\
                      01016b0402703100010176010200010103027031000502703100\
                      0102016b";
        let hex: String = encode(&batch()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn what_is_encoded_decodes_and_nothing_else_panics() {
        let bytes = encode(&batch());
        assert_eq!(decode::<Batch>(&bytes), Ok(batch()));
        for end in 0..bytes.len() {
            assert!(decode::<Batch>(&bytes[..end]).is_err(), "{end}");
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                let _ = decode::<Batch>(&damaged);
            }
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode::<Batch>(&longer), Err(WireError::Malformed(_))));
        assert_eq!(decode::<Batch>(&[9, 9]), Err(WireError::Version { theirs: 9 }));
        assert_eq!(decode::<Batch>(&[]), Err(WireError::Empty));
    }

    #[test]
    fn a_full_page_of_short_keys_fits() {
        let entries = (0..20_000).map(|i| ListEntry {
            key: Key::try_from(format!("d/{i:05}").as_str()).unwrap(),
            accepted: ballot(u64::MAX),
            record: Record { value: Some("1".into()), created_index: 1, modified_index: u64::MAX },
        });
        let page = ListPage { entries: entries.collect(), more_after: None };
        let bound: usize = page.entries.iter().map(ListEntry::bytes).sum();
        let body = encode_replies(vec![Reply::Listed(page)]);
        assert!(body.len() <= bound);
        assert_eq!(decode::<BatchReplies>(&body).unwrap().replies.len(), 1);
    }

    #[test]
    fn replies_that_do_not_fit_are_left_out() {
        let record = Record { value: Some(vec![0; 1 << 20].into()), ..Record::default() };
        let reply = Reply::WasRead { accepted: ballot(1), record };
        let body = encode_replies(vec![reply; 70]);
        assert!(body.len() <= MAX_REPLY_BYTES);
        assert_eq!(decode::<BatchReplies>(&body).unwrap().replies.len(), 63);
    }
}
