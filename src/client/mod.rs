//! How a client speaks to a node: etcd's v2 keys API over one connection.
//!
//! A [`Connection`] is one TCP connection that sends one request at a time;
//! an error closes it, and the next request opens a new one. What a node
//! answers becomes a type: a [`Node`], a [`Conflict`], "not found", or a
//! [`ClientError`] that knows whether the request may have taken effect.
//! Everything is bounded: the time of a request and the bytes of an answer.
//!
//! Nothing of that is particular to gryadka: a real etcd is spoken to alike.
//! Only an [`Operator`] speaks to the admin listener of our own nodes.

mod answer;
mod connection;
mod endpoint;
mod error;
mod operator;

pub use answer::{Conflict, ConflictReason, Node, Written};
pub use connection::{Connection, Expected};
pub use endpoint::{BadEndpoint, Endpoint};
pub use error::{ClientError, ErrorKind, StatedOutcome};
pub use operator::{Operator, OperatorError};

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 2 << 20;
