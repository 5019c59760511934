//! CASPaxos (Rystsov, "CASPaxos: Replicated State Machines without logs",
//! arXiv 1802.07000): one rewritable register per key, no leader, no log.
//!
//! A **proposer** changes a register in two phases. It picks a **ballot**
//! above all it knows and asks the **acceptors** to *prepare* it: each
//! promises to refuse lower ones and answers the value that it has accepted
//! last. From a **quorum** of promises the proposer takes the value of the
//! highest ballot, applies the clients' commands to it, and asks the acceptors
//! to *accept* the result. A quorum of acceptances means that it is chosen: no
//! later ballot can miss it, because every prepare quorum meets every accept
//! quorum (§2.2 and the proof in appendix A of the paper).
//!
//! Along with an accept the proposer asks for the promise of its next ballot,
//! so that its next change of the same key takes one round trip (§2.2.1).
//!
//! Everything here is pure: no clock, no socket, no disk, no randomness but
//! that of a seed. The acceptor ([`acceptor`]) is a function from a register
//! and a request to a write and a reply; the [`Proposer`] takes events and
//! returns effects; [`Listing`] reads the keys of a prefix. The same code runs
//! in the server and in the simulator (`tests/simulation`).
//!
//! Beyond the paper: commands on one key share a round; reads that need no
//! write (rule 10); and a [`Lineage`] in each value, by which a
//! proposer settles whether a refused accept took effect.
//!
//! A configuration changes step by step while the cluster serves
//! (`reconfiguration`, §2.3), and deleted registers are removed behind the
//! clients' backs (`collection`, §3.1). Both rest on the [`Fence`], by which
//! acceptors turn away whoever missed them. Which cluster it all is says its id
//! (`founding`), without which an acceptor serves nobody.

pub mod acceptor;
mod ballot;
mod collection;
mod configuration;
mod confirmation;
mod event;
mod fence;
mod finding;
mod founding;
mod kept;
mod lineage;
mod listing;
mod message;
mod pending;
mod planted;
mod proposer;
mod reconfiguration;
mod round;
mod standing;
mod unidentified;

pub use ballot::{BadProposerId, Ballot, Incarnation, ProposerId};
pub use collection::Collected;
pub use configuration::{
    AcceptorId, Configuration, ConfigurationStep, Epoch, MAX_ACCEPTORS, Place, Quorum,
    UnsafeConfiguration,
};
pub use confirmation::OldCopy;
pub use event::{CommandId, Effect, Event, Failure, Instant, Token};
pub use fence::{Age, Batch, Fence, Floor};
pub use lineage::{Change, Fate, Lineage};
pub use listing::{Listing, ListingError};
pub use message::{
    AcceptorStatus, Call, Caller, ListEntry, ListKind, ListPage, ListRequest, Reply, Request, Value,
};
pub use planted::Bug;
pub use proposer::{Load, Proposer, Settings};
pub use reconfiguration::ReconfigurationError;
pub use standing::{Enrolment, EnrolmentClaim, MAX_LEAP, Standing};
pub use unidentified::Unidentified;
