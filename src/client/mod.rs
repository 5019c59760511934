//! How a client speaks to a node: etcd's v2 keys API over one connection.
//!
//! A [`Connection`] is one TCP connection that sends one request at a time;
//! an error closes it, and the next request opens a new one. What a node
//! answers becomes a type: a [`Node`], a [`Conflict`], "not found", or a
//! [`ClientError`] that knows whether the request may have taken effect.
//! Everything is bounded: the time of a request and the bytes of an answer.
//!
//! A mutation of unknown outcome is asked for again under the same
//! `Idempotency-Key`, here or at another node, until its outcome is known or
//! [`Retries`] run out. That works where the nodes heed the header, which they
//! are asked for first.
//!
//! Nothing else of that is particular to gryadka: a real etcd is spoken to
//! alike, and never asked again. Only an [`Operator`] speaks to the admin
//! listener of our own nodes.

mod answer;
mod connection;
mod endpoint;
mod error;
mod operator;
mod retries;

pub use answer::{Conflict, ConflictReason, Node, Replaced, Written};
pub use connection::{Connection, Expected};
pub use endpoint::{BadEndpoint, Endpoint};
pub use error::{ClientError, ErrorKind, StatedOutcome};
pub use operator::{Operator, OperatorError};
pub use retries::Retries;

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 2 << 20;
