//! The actors of a node, and the threads they run on.
//!
//! The protocol actors (proposer, links, acceptor) share the node's main
//! arbiter with the HTTP listeners: a message between them is a push onto a
//! queue, never a system call. The storage thread is the only place that blocks,
//! on fsync or on Redis. A proposer with [`Shards`] has an arbiter, and links, for
//! each but the first.
//!
//! ```text
//!  HTTP handler ─ Submit ──▶ Proposer ── Envelopes ──▶ Link ── batch ──▶ peer's
//!       ▲                        │ ▲                    │                acceptor
//!       └──────── answer ────────┘ └────── Replies ─────┤
//!                                                       └── Serve ──▶ Acceptor
//!                                                                        │
//!                                                                  storage thread
//! ```
//!
//! A replica speaks to the others over links too, one for each lane to each of
//! them: [`ReplicaPeers`] ── [`ReplicaLinks`] ──▶ Link ── batch ──▶ the peer's
//! replica, as [`ServeReplica`].
//!
//! Nothing here is unbounded: [`Service`] admits a bounded number of commands,
//! and each of them has at most one round under way, so every mailbox behind
//! it is bounded too; links and the storage thread bound their own queues.

mod acceptor;
mod acceptor_link;
mod acceptors;
mod alarms;
mod chaos;
mod collector;
mod complaints;
mod control;
mod link;
mod load_generator;
mod mailbox;
mod post;
mod proposer;
mod protocol;
mod replica;
mod replica_door;
mod replica_link;
mod replica_storage;
mod service;
mod shards;
mod storage;
mod window;

pub use acceptor::{Acceptor, Serve};
pub use acceptor_link::{AcceptorLink, AcceptorParty, Destination};
pub use acceptors::{AcceptorPage, Acceptors, RescanError, Rescanned, WipeError};
pub use chaos::{Chaos, ChaosError, ClientConnection, MessageCounts, Toward};
pub use collector::{Collector, CollectorStatus, CollectorView};
pub use control::{ConfigurationKeeper, ProposerView, Siblings};
pub use link::Link;
pub use load_generator::{LoadGenerator, LoadHandle};
pub use post::Post;
pub use proposer::{LinkTo, Overtaken, Proposer};
pub use protocol::{ChangeMembers, Inspect, List, LocalReads, MemberList, MemberView, Submit};
pub use replica::{Replica, ReplicaView};
pub use replica_door::ServeReplica;
pub use replica_link::{ReplicaLinks, ReplicaPeers};
pub use replica_storage::start_replica_storage;
pub use service::{Permit, Service};
pub use shards::Shards;
pub use storage::Storage;
