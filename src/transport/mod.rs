//! What nodes say to each other: batches of calls and their replies.
//!
//! A body is a version byte and then [postcard](https://postcard.jamesmunns.com)
//! bytes. The layer knows the format and its bounds, not when a batch is sent.
//!
//! Decoding is safe for bytes from anywhere: postcard never reserves more than
//! the body is long, and lists of calls and of replies have a bound of their
//! own, since a call of one byte may take hundreds in memory.

mod matrix;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::caspaxos::{self, AcceptorId};
use crate::raft::{self, ReplicaId};

pub use matrix::{
    BadMatrix, ConnectionMatrix, Delay, MAX_MATRIX_NODES, MatrixNode, Probability, Square, Verdict,
};

/// The version of the format; a node refuses any other.
pub const WIRE_VERSION: u8 = 8;

/// The most calls in one batch.
pub const MAX_BATCH_CALLS: usize = 256;

/// A batch ends once its calls reach this many bytes of keys and values.
pub const BATCH_BYTES: usize = 1 << 20;

/// The largest request body: a batch that is almost full, and as its last call
/// the largest there is, an entry that swaps a value of 1 MiB when it finds
/// another. A client says both in one form (3 MiB, percent-encoded).
pub const MAX_REQUEST_BYTES: usize = 5 << 20;

/// The largest reply body; replies that do not fit are left out.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// The path of the peer listener that takes batches.
pub const BATCH_PATH: &str = "/peer/v1/batch";

/// The content type of a batch. No web page can have a browser send it to a node,
/// which would have to permit it first.
pub const BATCH_CONTENT_TYPE: &str = "application/x-gryadka-batch";

/// Calls from one node to another.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The cluster of the sender.
    pub cluster: String,
    /// The node that sends.
    pub sender: String,
    /// How long the sender will wait, in milliseconds.
    pub patience_ms: u32,
    /// The calls, and for whom they are.
    pub calls: BatchCalls,
}

/// The calls of a batch: all of them for one actor.
#[derive(Debug, Serialize, Deserialize)]
pub enum BatchCalls {
    /// For an acceptor.
    Acceptor {
        /// The acceptor that is meant.
        to: AcceptorId,
        /// The calls, to be served in order.
        #[serde(deserialize_with = "as_many_as_a_batch_holds")]
        calls: Vec<caspaxos::Call>,
    },
    /// For a replica.
    Replica {
        /// The replica that calls.
        from: ReplicaId,
        /// The replica that is meant.
        to: ReplicaId,
        /// The calls, which know nothing of each other.
        #[serde(deserialize_with = "as_many_as_a_batch_holds")]
        calls: Vec<raft::Message>,
    },
}

impl BatchCalls {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            BatchCalls::Acceptor { calls, .. } => calls.len(),
            BatchCalls::Replica { calls, .. } => calls.len(),
        }
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is answered when no reply gets through.
    pub fn all_lost(&self) -> BatchReplies {
        fn lost<Reply>(count: usize) -> Vec<Passed<Reply>> {
            std::iter::repeat_with(|| Passed::Lost).take(count).collect()
        }
        match self {
            BatchCalls::Acceptor { calls, .. } => BatchReplies::Acceptor(lost(calls.len())),
            BatchCalls::Replica { calls, .. } => BatchReplies::Replica(lost(calls.len())),
        }
    }
}

/// The answer to a batch: a reply for each of the first calls, in their order.
/// Calls beyond them may have been served or not.
#[derive(Debug, Serialize, Deserialize)]
pub enum BatchReplies {
    /// Of an acceptor.
    Acceptor(#[serde(deserialize_with = "as_many_as_a_batch_holds")] Vec<Passed<caspaxos::Reply>>),
    /// Of a replica.
    Replica(#[serde(deserialize_with = "as_many_as_a_batch_holds")] Vec<Passed<raft::Reply>>),
}

/// A reply, as the [`ConnectionMatrix`] of who answers lets it pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passed<Reply> {
    /// It arrives.
    Now(Reply),
    /// It is to be taken for one that arrives so much later.
    Later {
        /// In microseconds.
        after_us: u32,
        /// The reply.
        reply: Reply,
    },
    /// It is to be taken for one that never arrives.
    Lost,
}

impl<Reply> Passed<Reply> {
    fn reply(&self) -> Option<&Reply> {
        match self {
            Passed::Now(reply) | Passed::Later { reply, .. } => Some(reply),
            Passed::Lost => None,
        }
    }
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
pub fn encode_replies(mut replies: BatchReplies) -> Vec<u8> {
    match &mut replies {
        BatchReplies::Acceptor(replies) => keep_what_fits(replies, reply_bytes),
        BatchReplies::Replica(replies) => keep_what_fits(replies, raft::Reply::size_bytes),
    }
    encode(&replies)
}

fn keep_what_fits<Reply>(replies: &mut Vec<Passed<Reply>>, size_bytes: impl Fn(&Reply) -> usize) {
    let mut bytes = 0;
    let fitting = replies.iter().take_while(|passed| {
        bytes += passed.reply().map_or(1, &size_bytes);
        bytes < MAX_REPLY_BYTES
    });
    let count = fitting.count();
    replies.truncate(count);
}

/// Reads a list that is refused as soon as it is longer than a batch.
fn as_many_as_a_batch_holds<'de, D, Item>(deserializer: D) -> Result<Vec<Item>, D::Error>
where
    D: Deserializer<'de>,
    Item: Deserialize<'de>,
{
    struct Bounded<Item>(PhantomData<Item>);

    impl<'de, Item: Deserialize<'de>> Visitor<'de> for Bounded<Item> {
        type Value = Vec<Item>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_BATCH_CALLS} calls or replies")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Item>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == MAX_BATCH_CALLS {
                    return Err(A::Error::invalid_length(MAX_BATCH_CALLS + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Bounded(PhantomData))
}

/// No less than what a call takes in a batch.
pub fn call_bytes(call: &caspaxos::Call) -> usize {
    use crate::caspaxos::Request;
    match &call.request {
        Request::Prepare { key, .. } | Request::Read { key } => FRAME_BYTES + key.as_str().len(),
        Request::Accept { key, value, .. } => FRAME_BYTES + key.as_str().len() + value.size_bytes(),
        Request::List(list) => {
            let after = list.after.as_ref().map_or(0, |key| key.as_str().len());
            FRAME_BYTES + list.prefix.len() + after
        }
        Request::Remove { key, .. } => FRAME_BYTES + key.as_str().len(),
        Request::Raise { .. } | Request::Enrol { .. } => FENCE_BYTES,
        Request::Note { claim, .. } => FRAME_BYTES + claim_bytes(claim),
        Request::Confirm { .. } | Request::Mark { .. } | Request::Wipe | Request::Status => {
            FRAME_BYTES
        }
    }
}

/// No less than what a message takes besides its keys and values: ballots,
/// indices and a full lineage.
const FRAME_BYTES: usize = 1024;

/// No less than what a fence takes, with the configuration of a cluster.
const FENCE_BYTES: usize = 8 << 10;

/// No less than what an enrolment takes.
const ENROLMENT_BYTES: usize = 32;

fn claim_bytes(claim: &caspaxos::EnrolmentClaim) -> usize {
    claim.claim.tried.len() * 10
}

fn reply_bytes(reply: &caspaxos::Reply) -> usize {
    use crate::caspaxos::Reply;
    let value_bytes = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, |v| v.len());
    FRAME_BYTES
        + match reply {
            Reply::Prepared { value, .. } => value.size_bytes(),
            Reply::WasRead { record, .. } => value_bytes(&record.value),
            Reply::Listed(page) => page.entries.iter().map(|entry| entry.bytes()).sum(),
            Reply::Fenced(_) | Reply::Raised { .. } => FENCE_BYTES,
            Reply::Status(status) => {
                let known_bytes = status.known.keys().map(|id| id.0.len() + ENROLMENT_BYTES);
                FENCE_BYTES + claim_bytes(&status.claim) + known_bytes.sum::<usize>()
            }
            Reply::Unconfirmed(claim) => claim_bytes(claim),
            Reply::Accepted
            | Reply::Conflict { .. }
            | Reply::NotEnrolled
            | Reply::Noted(_)
            | Reply::Confirmed(_)
            | Reply::Marked(_)
            | Reply::OtherCluster { .. }
            | Reply::Behind
            | Reply::TooHigh
            | Reply::NotEmpty
            | Reply::Removed { .. }
            | Reply::Wiped => 0,
        }
}
