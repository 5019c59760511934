//! Nodes whose data is on their own disks.

use serde_json::json;

use crate::support::{Cluster, Protocol, own_address};
use crate::world::{Fate, World, fill, full_nodes};

/// What happens to the third node of a cluster.
struct Case {
    what: &'static str,
    fate: [Fate; 2],
    /// What a log says, on CASPaxos and on Raft, beside the ids.
    told: [&'static [&'static str]; 2],
    names_both: bool,
}

const STRANGER: [&[&str]; 2] = [
    &["this node belongs to cluster", "configuration.json", "remove its data directory"],
    &["data of another cluster", "must be stopped"],
];

const CASES: [Case; 4] = [
    Case { what: "earlier", fate: [Fate::IsMute, Fate::IsMute], told: STRANGER, names_both: true },
    Case { what: "other", fate: [Fate::IsMute, Fate::IsMute], told: STRANGER, names_both: true },
    Case {
        what: "nothing",
        fate: [Fate::Serves, Fate::Ends],
        told: [
            &["it has lost its memory", "shrink CLUSTER.json a3"],
            &["its data is gone", "never used"],
        ],
        names_both: false,
    },
    Case {
        what: "second",
        fate: [Fate::Ends, Fate::Ends],
        told: [&["a2", "a3"], &["replica 2", "replica 3"]],
        names_both: false,
    },
];

pub fn a_node_that_comes_back_with_other_data(protocol: Protocol) {
    let of = |values: [Fate; 2]| values[usize::from(protocol == Protocol::Raft)];
    let mut world = strangers(protocol);
    let own = world.cluster_id(0);
    fill(&world.cluster, "true");
    (0..7).for_each(|_| world.write(0));
    world.check(&[0, 1, 2]);
    // The other two go on without the third while it is given other data.
    world.cluster.kill(1);
    world.copy_aside(1, "second");
    world.start_all();
    world.cluster.kill(2);
    world.put_aside(2, "own");
    for case in &CASES {
        eprintln!("the data is {}", case.what);
        world.give(2, &world.path(case.what));
        let told = case.told[usize::from(protocol == Protocol::Raft)];
        let text = world.expect(2, of(case.fate), told);
        let id = std::fs::read_to_string(world.path(case.what).join("id")).unwrap_or_default();
        if case.names_both {
            assert_ne!(id, own);
            let line = text.lines().find(|it| it.contains(&id) && it.contains(&own));
            assert!(line.is_some(), "no line has {id} and {own}: {text}");
        }
    }
    a_wrong_directory(&mut world, of([Fate::Serves, Fate::Ends]));
    two_in_one_directory(&mut world, protocol);
    // With its own data it comes back in, as if nothing had been.
    world.give(2, &world.path("own"));
    world.start_all();
    world.check(&[0, 1, 2]);
    // The leader of a Raft cluster takes it for granted that no member loses what it
    // acknowledged; with debug assertions it panics.
    if protocol == Protocol::Caspaxos {
        an_old_copy_while_all_others_serve(&mut world);
    }
}

/// A cluster, and beside it, put aside, what its third node held in an earlier
/// cluster and in another one of its name.
fn strangers(protocol: Protocol) -> World {
    let address = own_address();
    let file = full_nodes(protocol, &address);
    let mut world = World::new(Cluster::of_file(protocol, &file, address));
    keep_as_stranger(&mut world, "earlier");
    // At the same address: at another one a replica is refused for that already.
    let address = world.cluster.address.clone();
    let file = full_nodes(protocol, &address);
    let mut other = World::new(Cluster::of_file(protocol, &file, address));
    keep_as_stranger(&mut other, "other");
    crate::world::copy(&other.path("other"), &world.path("other"));
    drop(other);
    world.start_all();
    world
}

fn keep_as_stranger(world: &mut World, name: &str) {
    fill(&world.cluster, "foreign");
    let id = world.cluster_id(2);
    world.kill_all();
    world.put_aside(2, name);
    std::fs::write(world.path(name).join("id"), id).unwrap();
    (0..2).for_each(|index| world.put_aside(index, "unused"));
}

/// The third node is started where its data is not.
fn a_wrong_directory(world: &mut World, fate: Fate) {
    world.give(2, &world.path("own"));
    let directory = world.path("elsewhere");
    let mut stray = world.launch_elsewhere(2, &directory);
    match fate {
        Fate::Ends => assert!(!stray.wait().success(), "{}", stray.log()),
        Fate::IsMute | Fate::Serves => world.cluster.wait_ready(2),
    }
    world.write(0);
    world.check(if fate == Fate::Ends { &[0, 1] } else { &[0, 1, 2] });
    stray.kill();
}

/// The third node is told to use the directories of the second one.
fn two_in_one_directory(world: &mut World, protocol: Protocol) {
    world.edit(2, |node| node["data_dir"] = json!("data/p2"));
    world.expect(2, Fate::Ends, &["data/p2", "in use"]);
    world.edit(2, |node| node["data_dir"] = json!("data/p3"));
    if protocol == Protocol::Raft {
        let own = json!("data/p3-snap");
        world.edit(2, |node| node["actors"]["raft"]["snapshot_dir"] = json!("data/p2-snap"));
        world.expect(2, Fate::Ends, &["data/p2-snap", "in use by another replica"]);
        // That of a replica of another cluster.
        let path = world.path("other/1");
        world.edit(2, |node| node["actors"]["raft"]["snapshot_dir"] = json!(path));
        world.expect(2, Fate::Ends, &["is a snapshot of cluster", "directory of its own"]);
        world.edit(2, |node| node["actors"]["raft"]["snapshot_dir"] = own);
    }
}

/// Nothing is lost as long as a quorum of the others holds all that was
/// acknowledged.
fn an_old_copy_while_all_others_serve(world: &mut World) {
    world.cluster.kill(2);
    world.copy_aside(2, "old");
    world.write(0);
    world.start_all();
    (0..3).for_each(|index| world.write(index));
    world.cluster.kill(2);
    // The other two have acknowledged each of these again.
    (0..7).for_each(|_| world.write(0));
    world.give(2, &world.path("old"));
    world.start_all();
    (0..3).for_each(|index| world.write(index));
    world.check(&[0, 1, 2]);
}
