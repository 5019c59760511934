//! What proposers ask of acceptors, and what these answer.

use serde::{Deserialize, Serialize};

use super::{Ballot, Epoch, Lineage};
use crate::kv::{Key, Memory, Record};

/// What a register holds: the client's record, and how it came about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Value {
    /// What clients see.
    pub record: Record,
    /// The changes that led to it.
    pub lineage: Lineage,
    /// The requests that led to it. Last, as the former format ends before it.
    pub memory: Memory,
}

impl Value {
    /// What grows with what clients store: the value and the memory, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.record.value.as_ref().map_or(0, |value| value.len()) + self.memory.size_bytes()
    }
}

/// One request to an acceptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The configuration under which the proposer works.
    pub epoch: Epoch,
    /// What it wants.
    pub request: Request,
}

/// What a proposer wants of an acceptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Phase one (CASPaxos §2.2): promise `ballot`, answer what was accepted.
    Prepare {
        /// The register.
        key: Key,
        /// The ballot to promise.
        ballot: Ballot,
    },
    /// Phase two (CASPaxos §2.2), with the promise of §2.2.1 for the next
    /// change piggybacked on it.
    Accept {
        /// The register.
        key: Key,
        /// The ballot of the value.
        ballot: Ballot,
        /// The value to accept.
        value: Value,
        /// The ballot to promise along with it; at least `ballot`.
        next: Ballot,
    },
    /// Asks for the accepted value and changes nothing.
    Read {
        /// The register.
        key: Key,
    },
    /// Asks for the accepted records under a prefix, in key order.
    List(ListRequest),
}

/// Asks for one page of the accepted records under a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListRequest {
    /// What the keys begin with; empty for all.
    pub prefix: String,
    /// Only keys greater than this one.
    pub after: Option<Key>,
    /// The page ends once its entries, with what they take besides keys and
    /// values, reach this many bytes.
    pub limit_bytes: u32,
}

/// What an acceptor answers. Every reply is durable before it is sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The ballot is promised.
    Prepared {
        /// The ballot of the accepted value; zero when there is none.
        accepted: Ballot,
        /// The accepted value.
        value: Value,
    },
    /// The value is accepted and the next ballot promised.
    Accepted,
    /// The ballot is too low.
    Conflict {
        /// The highest ballot that the register has met.
        seen: Ballot,
    },
    /// What a read found.
    WasRead {
        /// The ballot of the accepted value; zero when there is none.
        accepted: Ballot,
        /// What clients see of the accepted value.
        record: Record,
    },
    /// One page of accepted records.
    Listed(ListPage),
    /// The proposer's configuration is older than one the acceptor has met.
    Fenced {
        /// The oldest epoch that is still served.
        least: Epoch,
    },
}

/// One page of accepted records.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ListPage {
    /// In key order.
    pub entries: Vec<ListEntry>,
    /// The key after which the next page starts; `None` when this is the last.
    pub more_after: Option<Key>,
}

/// One accepted record of a listing. Tombstones are listed too: they hide
/// older values that another acceptor may still hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListEntry {
    /// The key.
    pub key: Key,
    /// The ballot under which the record was accepted.
    pub accepted: Ballot,
    /// The record.
    pub record: Record,
}

impl ListEntry {
    /// No less than what an entry takes besides its key and value.
    pub const OVERHEAD_BYTES: usize = 128;

    /// No less than what the entry takes in a page.
    pub fn bytes(&self) -> usize {
        let value_bytes = self.record.value.as_ref().map_or(0, |value| value.len());
        Self::OVERHEAD_BYTES + self.key.as_str().len() + value_bytes
    }
}
