//! **gryadka**: a replicated key-value server made of actors.
//!
//! A node is one process; its deployment file says which actors it runs. The
//! layers, from the bottom up (a module imports only from those above it in
//! this list):
//!
//! | module | what it knows | what it must not know |
//! |---|---|---|
//! | [`identity`] | the id of a cluster | how its founders find each other |
//! | [`generation`] | which store is an old copy | how the others are asked |
//! | [`kv`] | commands, records, `apply` | how a record is replicated |
//! | [`caspaxos`] | ballots, the acceptor step, the proposer | clocks, sockets, disks |
//! | [`raft`] | replicas: the log, the state machine, who answers what | sockets, actors |
//! | [`config`] | cluster and deployment files, their validation | what the actors do |
//! | [`store`] | acceptors on fjall, on Redis, in memory | who asks |
//! | [`transport`] | what a batch between nodes looks like | when it is sent |
//! | [`client`] | how a client speaks to a node | how a node answers |
//! | [`control`] | how operators change the acceptors, step by step | who serves |
//! | [`perseus`] | workloads, histories, the linearizability check, reports | actors |
//! | [`actors`] | who runs what on which thread | HTTP |
//! | [`http`] | one file per API: parse, send one message, answer | protocols |
//! | [`node`], [`demo`] | the composition roots: files in, running processes out | |
//! | [`mod@bench`] | how whole clusters are measured, beside an etcd | what makes them fast |
//! | [`process`] | what the programs share: arguments, the log, signals, exit codes | what a node does |

pub mod actors;
pub mod bench;
pub mod caspaxos;
pub mod client;
pub mod config;
pub mod control;
pub mod demo;
pub mod generation;
pub mod http;
pub mod identity;
pub mod kv;
pub mod node;
pub mod perseus;
pub mod process;
pub mod raft;
pub mod store;
pub mod transport;
