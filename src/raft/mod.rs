//! Raft: a log that a leader replicates (Ongaro and Ousterhout, *In Search of
//! an Understandable Consensus Algorithm*; "the dissertation" is Ongaro's).
//!
//! The rules of the paper are openraft's work: terms and votes, the order of
//! the log, commitment, pre-vote, joint membership, leader transfer. This
//! module is what the paper leaves to an implementer, and what openraft asks
//! for:
//!
//! | file | what it decides |
//! |---|---|
//! | [`types`](Types) | what an entry, a member and an answer are |
//! | [`message`] | what replicas say to each other, and on which lane |
//! | `store` | what is on the disk before what is answered |
//! | `log_store`, `log_tail` | the log as openraft reads and writes it |
//! | `application`, `state`, `state_machine` | what entries do to records: [`kv::apply_once`](crate::kv::apply_once) |
//! | `memories`, `rows` | what keys remember of requests, and how long |
//! | `snapshot` | files of all records, for members that are far behind |
//! | `network` | openraft's messages on their way |
//! | `runtime`, `watch` | tokio, made to repeat itself for the simulator |
//! | `replica` | what clients and other replicas ask; start, hand-over |
//! | `leader` | outcomes, and forwarding to whoever leads |
//! | `reads` | one read index for all reads that wait |
//! | `writes` | one entry for all commands that wait |
//! | `sparing` | which followers get their entries in company |
//! | `members` | members come, catch up, and go for good |
//! | `belonging` | which cluster a replica is of, and that it was not emptied |
//! | `announcing`, `generations` | that its data is not an older copy |
//! | `callers` | what another replica cannot honestly say |
//! | `address` | a member is called at the address that the log names |
//! | `reachability`, `check_quorum` | a leader that no quorum hears, or can call, gives way |
//!
//! It knows no actors and no sockets: [`Peers`] and the queue of [`Job`]s are
//! its two openings. In a node, links and the storage thread stand behind them;
//! in `tests/raft_simulation/`, a seeded network and a disk that crashes.
//!
//! # What must hold
//!
//! 1. Nothing is answered before it is durable: votes, entries, truncations
//!    (figure 2). What is applied may be lost in a crash, since the log has it;
//!    the applied index is written with the data, so that nothing is applied
//!    twice.
//! 2. A client's answer comes after commit and apply. What was appended and
//!    then lost its leader is unknown; what was refused before that has failed.
//! 3. A linearizable read waits for an index that a leader has confirmed after
//!    the read began (§8; §6.4 of the dissertation). Leases are not used: they
//!    would trust clocks.
//! 4. A snapshot is installed whole or not at all, and never over a state that
//!    is newer.
//! 5. The id of a member that is gone, or whose data is gone, is not used again.
//! 6. A replica takes part only once a quorum with it knows that its data is all
//!    that it had: an older copy has forgotten votes and entries.
//!
//! # What is left out
//!
//! Reads of a leader's lease, learners that stay learners, witnesses, and
//! changing a member's address: remove it and add another.

mod address;
mod announcing;
mod application;
mod belonging;
mod callers;
mod check_quorum;
mod generations;
mod leader;
mod log_store;
mod log_tail;
mod members;
mod memories;
pub mod message;
mod network;
mod peers;
mod planted;
mod reachability;
mod reads;
mod replica;
mod rows;
mod runtime;
mod settings;
mod snapshot;
mod sparing;
mod state;
mod state_machine;
mod store;
mod types;
mod watch;
mod writes;

pub use generations::{KnownGenerations, ReplicaGenerations};
pub use leader::Unled;
pub use log_store::{Jobs, LogStore};
pub use message::{
    Announcement, Call, ChangeError, Changed, Identity, Lane, MemberChange, Message, Publication,
    Published, Reply, SnapshotChunk, SnapshotReply,
};
pub use peers::{OwnPeers, Peers, Unanswered};
pub use planted::Bug;
pub use replica::{End, Replica, StartError};
pub use runtime::Runtime;
pub use settings::Settings;
pub use snapshot::{Blocking, Snapshots};
pub use state::{Applied, Members, State, StateHash};
pub use state_machine::{SnapshotBuilder, StateMachine};
pub use store::{Belonging, Job, SharedLog, Store};
pub use types::{
    Entry, LogId, Member, Profile, ReplicaId, Request, Response, SnapshotMeta, StoredMembership,
    Types, Vote,
};
