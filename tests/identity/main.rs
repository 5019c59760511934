//! Nodes and acceptors that come back with other data than they had: data of an
//! earlier cluster, of another one, of another node, an older copy, none. What
//! the true cluster acknowledged is read through each of its nodes, and a node
//! that is not of it tells nobody anything.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod caspaxos_old_copy;
mod founding;
mod nodes;
mod raft_old_copy;
mod redis;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod world;

on_both_protocols! {
    a_node_that_comes_back_with_other_data
    a_cluster_is_founded_by_all_and_only_as_all_were_told
}

use founding::a_cluster_is_founded_by_all_and_only_as_all_were_told;
use nodes::a_node_that_comes_back_with_other_data;
