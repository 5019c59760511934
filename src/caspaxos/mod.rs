//! CASPaxos
mod ballot;
mod configuration;
pub use ballot::{BadProposerId, Ballot, Incarnation, ProposerId};
pub use configuration::{AcceptorId, Configuration, Epoch, Quorum, UnsafeConfiguration};
