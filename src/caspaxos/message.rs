//! What proposers ask of acceptors, and what these answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AcceptorId, Age, Ballot, Enrolment, EnrolmentClaim, Epoch, Fence, Lineage, Standing};
use crate::identity::{ClusterId, Nonce};
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
    /// The cluster of the proposer; unknown to one that still asks for it.
    pub cluster: Option<ClusterId>,
    /// The configuration under which the proposer works.
    pub epoch: Epoch,
    /// Up to where it knows of collected registers.
    pub age: Age,
    /// What it wants.
    pub request: Request,
}

/// As whom a proposer calls: what all of its calls carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Its cluster, if it knows it.
    pub cluster: Option<ClusterId>,
    /// The configuration under which it works.
    pub epoch: Epoch,
    /// Up to where it knows of collected registers.
    pub age: Age,
}

impl Caller {
    /// A call of this proposer.
    pub fn call(self, request: Request) -> Call {
        let Caller { cluster, epoch, age } = self;
        Call { cluster, epoch, age, request }
    }
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
    /// Asks for registers under a prefix, in key order.
    List(ListRequest),
    /// Raises the fence.
    Raise {
        /// What to raise it to.
        fence: Fence,
    },
    /// Makes an empty acceptor one of the caller's cluster, and raises its
    /// fence.
    Enrol {
        /// What to raise it to.
        fence: Fence,
        /// How far the proposer has counted its ballots.
        counter: u64,
        /// Whether the cluster is being founded. Then each proposer enrols all
        /// acceptors, and one may serve another proposer by then.
        is_founding: bool,
    },
    /// Removes a register whose deletion all acceptors hold (CASPaxos §3.1,
    /// step 2.d).
    Remove {
        /// The register.
        key: Key,
        /// The ballot of the tombstone.
        accepted: Ballot,
        /// No promise may count higher: it would be forgotten.
        floor: u64,
    },
    /// Takes note of another acceptor's enrolment.
    Note {
        /// The other one.
        of: AcceptorId,
        /// As it has told it.
        claim: EnrolmentClaim,
    },
    /// Makes the acceptor serve: its store is no old copy.
    Confirm {
        /// The enrolment that the others have taken note of.
        enrolment: Enrolment,
        /// A random number: it serves in the next generation of its store.
        tag: u64,
    },
    /// Begins the next generation of the store.
    Mark {
        /// A random number.
        tag: u64,
    },
    /// Removes all registers; from then on the acceptor belongs to no cluster.
    Wipe,
    /// Asks how the acceptor stands; answered to whoever asks.
    Status,
}

impl Request {
    /// The register, and the ballot that is promised once this is served.
    pub fn claims(&self) -> Option<(&Key, Ballot)> {
        match self {
            Request::Prepare { key, ballot } => Some((key, *ballot)),
            Request::Accept { key, next, .. } => Some((key, *next)),
            Request::Read { .. }
            | Request::Remove { .. }
            | Request::List(_)
            | Request::Raise { .. }
            | Request::Enrol { .. }
            | Request::Note { .. }
            | Request::Confirm { .. }
            | Request::Mark { .. }
            | Request::Wipe
            | Request::Status => None,
        }
    }

    /// Whether an acceptor that belongs to no cluster serves it.
    pub fn is_for_strangers(&self) -> bool {
        matches!(self, Request::Enrol { .. } | Request::Wipe | Request::Status)
    }

    /// Whether an acceptor of which nobody knows yet whether it is an old copy of
    /// itself serves it.
    pub fn is_for_unconfirmed(&self) -> bool {
        let is_for_it =
            matches!(self, Request::Note { .. } | Request::Confirm { .. } | Request::Raise { .. });
        is_for_it || self.is_for_strangers()
    }

    /// Whether a proposer can have come to the numbers of a value: it descends from
    /// no later ballot than its own, and was changed as often as can be.
    pub fn is_consistent(&self) -> bool {
        let Request::Accept { ballot, value: Value { record, lineage, .. }, .. } = self else {
            return true;
        };
        let newest = lineage.last().map_or(0, |change| change.ballot.counter);
        let changes = record.modified_index.max(lineage.version());
        newest <= ballot.counter && changes <= MAX_CHANGES
    }

    /// The highest counter of a ballot that it carries, if it carries one.
    pub fn counter(&self) -> Option<u64> {
        match self {
            Request::Accept { ballot, next, .. } => Some(ballot.counter.max(next.counter)),
            Request::Prepare { .. }
            | Request::Read { .. }
            | Request::Remove { .. }
            | Request::List(_)
            | Request::Raise { .. }
            | Request::Enrol { .. }
            | Request::Note { .. }
            | Request::Confirm { .. }
            | Request::Mark { .. }
            | Request::Wipe
            | Request::Status => self.claims().map(|(_, ballot)| ballot.counter),
        }
    }

    /// The register that is meant, if it is one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Request::Prepare { key, .. }
            | Request::Accept { key, .. }
            | Request::Read { key }
            | Request::Remove { key, .. } => Some(key),
            Request::List(_)
            | Request::Raise { .. }
            | Request::Enrol { .. }
            | Request::Note { .. }
            | Request::Confirm { .. }
            | Request::Mark { .. }
            | Request::Wipe
            | Request::Status => None,
        }
    }
}

/// No register is changed so often: a million changes a second take 146,000 years.
const MAX_CHANGES: u64 = 1 << 62;

/// Asks for one page of registers under a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListRequest {
    /// Which of them.
    pub kind: ListKind,
    /// What the keys begin with; empty for all.
    pub prefix: String,
    /// Only keys greater than this one.
    pub after: Option<Key>,
    /// The page ends once its entries, with what they take besides keys and
    /// values, reach this many bytes.
    pub limit_bytes: u32,
}

/// Which registers a listing shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ListKind {
    /// Those with an accepted record, tombstones too.
    Accepted,
    /// Those without a live record: tombstones, and bare promises.
    Dead,
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
    /// The proposer's epoch or age is lower than what is served.
    Fenced(Fence),
    /// The fence is raised.
    Raised {
        /// Whether the age that was asked for is higher than the one before.
        is_aged: bool,
        /// The fence as it stands.
        fence: Fence,
    },
    /// The acceptor belongs to no cluster: it lost its memory, or was never
    /// enrolled.
    NotEnrolled,
    /// The acceptor belongs to another cluster.
    OtherCluster {
        /// To this one.
        held: ClusterId,
    },
    /// The acceptor was not told of the proposer's epoch by a configuration.
    Behind,
    /// A number of the request is further above what the acceptor knows than
    /// any proposer comes by counting.
    TooHigh,
    /// Nobody has made sure yet that the acceptor's store is no old copy. With
    /// its enrolment.
    Unconfirmed(EnrolmentClaim),
    /// The newest enrolment of the other acceptor that this one knows.
    Noted(Enrolment),
    /// The acceptor serves, with this enrolment.
    Confirmed(Enrolment),
    /// The enrolment with the next generation.
    Marked(Enrolment),
    /// The acceptor holds registers of an earlier membership.
    NotEmpty,
    /// What a removal came to.
    Removed {
        /// Whether the acceptor holds no register of the key.
        is_gone: bool,
    },
    /// All registers are removed.
    Wiped,
    /// How the acceptor stands.
    Status(AcceptorStatus),
}

/// How an acceptor stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AcceptorStatus {
    /// Whom it serves.
    pub fence: Fence,
    /// The cluster that it is an acceptor of.
    pub cluster: Option<ClusterId>,
    /// Drawn when its store was created.
    pub nonce: Nonce,
    /// When it was enrolled, and the generation of its store.
    pub claim: EnrolmentClaim,
    /// Whether it is known to be no old copy, so that it serves.
    pub is_confirmed: bool,
    /// What it was told of the stores of other acceptors.
    pub known: BTreeMap<AcceptorId, Enrolment>,
    /// How many registers it holds, roughly where the store cannot tell.
    pub registers: u64,
    /// How many of them hold no live record.
    pub dead: u64,
}

impl AcceptorStatus {
    /// What an acceptor that stands so and holds so many registers tells.
    pub fn new(standing: &Standing, registers: u64, dead: u64) -> Self {
        let Standing { fence, cluster, nonce, generations, .. } = standing;
        let (fence, cluster, nonce) = (fence.clone(), *cluster, *nonce);
        let (claim, is_confirmed) = (standing.claim(), generations.serves());
        let known = standing.known.clone();
        AcceptorStatus { fence, cluster, nonce, claim, is_confirmed, known, registers, dead }
    }
}

/// One page of accepted records.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ListPage {
    /// In key order.
    pub entries: Vec<ListEntry>,
    /// The key after which the next page starts; `None` when this is the last.
    pub more_after: Option<Key>,
}

/// One register of a listing. Tombstones are listed too: they hide older
/// values that another acceptor may still hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListEntry {
    /// The key.
    pub key: Key,
    /// The ballot under which the record was accepted; zero for a bare promise.
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
