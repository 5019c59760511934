//! Who founds a cluster, and with what.

use serde_json::json;

use crate::support::{Cluster, Protocol, own_address, wait_until};
use crate::world::{Fate, World, full_nodes};

pub fn a_cluster_is_founded_by_all_and_only_as_all_were_told(protocol: Protocol) {
    let address = own_address();
    let file = full_nodes(protocol, &address);
    let mut world = World::new(Cluster::prepare(protocol, &file, address));
    (0..2).for_each(|index| world.cluster.launch(index));
    let silent = match protocol {
        Protocol::Caspaxos => "no answer from acceptor a3",
        Protocol::Raft => "no answer from member 3",
    };
    for index in 0..2 {
        wait_until("a node says whom it waits for", || world.log(index).contains(silent));
    }
    for why in world.refusals(2) {
        assert!(why.contains(silent) && why.contains("founded by all"), "{why}");
    }
    if protocol == Protocol::Raft {
        other_members(&mut world);
    }
    world.start_all();
    (0..3).for_each(|index| world.cluster.wait_ready(index));
    (0..7).for_each(|index| world.write(index % 3));
    world.check(&[0, 1, 2]);
    let id = world.cluster_id(0);
    assert!((1..3).all(|index| world.cluster_id(index) == id));
    if protocol == Protocol::Caspaxos {
        other_configurations(&mut world);
    }
}

/// The third founder is started with one member more.
fn other_members(world: &mut World) {
    let path = world.path("deployment/p3.json");
    let before = std::fs::read(&path).unwrap();
    world.edit(2, |node| {
        node["actors"]["raft"]["members"]["4"] = json!("http://127.0.0.1:1");
    });
    let others = "was started with other members than this one";
    world.cluster.launch(2);
    for index in 0..2 {
        wait_until("a founder says it", || world.log(index).contains(others));
    }
    let why = world.refusals(3);
    for why in &why[..2] {
        assert!(why.contains("member 3 was started") && why.contains("--cluster"), "{why}");
    }
    // It misses one that nobody else has.
    assert!(why[2].contains("no answer from member 4"), "{}", why[2]);
    world.cluster.kill(2);
    std::fs::write(&path, before).unwrap();
}

/// A node is started with other acceptors or quorums than the cluster has.
fn other_configurations(world: &mut World) {
    world.cluster.kill(2);
    let own = |world: &World| {
        let path = world.path("deployment/p3.json");
        std::fs::read(path).unwrap()
    };
    let before = own(world);
    let parts = ["founded with quorums of 2 of", "the deployment file of this node says"];
    let quorum = json!({ "read": 1, "write": 3 });
    world.edit(2, |node| node["actors"]["proposer"]["quorum"] = quorum);
    world.expect(2, Fate::IsMute, &parts);
    std::fs::write(world.path("deployment/p3.json"), &before).unwrap();
    world.edit(2, |node| {
        let proposer = &mut node["actors"]["proposer"];
        proposer["quorum"] = json!({ "read": 1, "write": 1 });
        let acceptors = proposer["acceptors"].as_array_mut().unwrap();
        acceptors.retain(|acceptor| acceptor["id"] == "a3" || *acceptor == json!("a3"));
        assert_eq!(acceptors.len(), 1);
    });
    world.expect(2, Fate::IsMute, &parts);
    std::fs::write(world.path("deployment/p3.json"), &before).unwrap();
    world.start_all();
    world.check(&[0, 1, 2]);
}
