//! A member of a Raft cluster comes back with an older copy of its own data, when
//! what only it and one other member acknowledged can be lost.

use std::fs;

use crate::support::{Cluster, Protocol, get, own_address, request, wait_until};
use crate::world::{Fate, World, copy, fill, full_nodes};

/// The member that is given an older copy, the one that was away while others
/// acknowledged, and the one that holds what they did.
const COPIED: usize = 2;
const AWAY: usize = 1;
const HOLDER: usize = 0;

/// How often it is started: more often than it was marked since it was copied.
const STARTS: usize = 5;

/// What the copied member says.
const TOLD: [&str; 4] = ["older copy", "knows generation", "could lose writes", "never used"];

fn cluster() -> World {
    let address = own_address();
    let file = full_nodes(Protocol::Raft, &address);
    let world = World::new(Cluster::of_file(Protocol::Raft, &file, address));
    fill(&world.cluster, "old");
    world
}

/// Which generation of the copied member a node knows; of itself, if it is that.
fn generation(world: &World, index: usize) -> u64 {
    let state = get(&format!("{}/raft", world.cluster.admin_url(index))).json();
    let known = match index {
        COPIED => &state["generation"],
        _ => &state["knownGenerations"][(COPIED + 1).to_string()],
    };
    known.as_u64().unwrap_or(0)
}

/// Writes until both others know a later generation than this.
fn write_until_noted(world: &mut World, copied: u64) {
    wait_until("the others know a later generation", || {
        world.write(HOLDER);
        [AWAY, HOLDER].iter().all(|index| generation(world, *index) > copied)
    });
}

/// Has the copied member and one other acknowledge writes that the third never
/// hears of, and takes the data of the first aside.
fn acknowledge_without_the_third(world: &mut World) {
    world.cluster.kill(AWAY);
    (0..7).for_each(|_| world.write(HOLDER));
    world.cluster.kill(COPIED);
    world.cluster.kill(HOLDER);
    world.put_aside(COPIED, "newest");
}

/// The member says what it is and ends, however often it is started, while only the one
/// that was away runs; nothing is read meanwhile.
fn ends(world: &mut World) {
    world.cluster.launch(AWAY);
    for _ in 0..STARTS {
        ends_once(world);
    }
    let why = world.refusal(AWAY);
    assert!(!why.is_empty());
}

fn ends_once(world: &mut World) {
    let before = world.log(COPIED).len();
    world.cluster.launch(COPIED);
    let status = world.cluster.node(COPIED).wait();
    let log = world.log(COPIED)[before..].to_owned();
    assert!(!status.success(), "{log}");
    assert!(TOLD.iter().all(|part| log.contains(part)), "{log}");
    assert!(log.contains("member 2 knows generation"), "{log}");
    world.cluster.kill(COPIED);
}

#[test]
fn a_copy_that_was_taken_while_the_member_was_down() {
    let mut world = cluster();
    world.cluster.kill(COPIED);
    world.copy_aside(COPIED, "old");
    world.start_all();
    let copied = generation(&world, COPIED) - 1;
    write_until_noted(&mut world, copied);
    acknowledge_without_the_third(&mut world);
    world.give(COPIED, &world.path("old"));
    ends(&mut world);
    // The remedy is to remove it.
    world.cluster.launch(HOLDER);
    world.cluster.wait_ready(HOLDER);
    world.check(&[HOLDER, AWAY]);
    let member = format!("{}/{}", world.cluster.url(HOLDER), COPIED + 1);
    wait_until("the member is removed", || {
        request("DELETE", &member, None).is_ok_and(|answer| answer.status == 204)
    });
    (0..7).for_each(|_| world.write(AWAY));
    world.check(&[HOLDER, AWAY]);
    world.cluster.launch(COPIED);
    assert!(world.cluster.node(COPIED).wait().success());
    assert!(world.log(COPIED).contains("was removed from the cluster"));
}

#[test]
fn a_copy_that_was_taken_while_the_member_ran() {
    let mut world = cluster();
    fs::create_dir_all(world.path("old")).unwrap();
    copy(&world.path("data/p3"), &world.path("old/0"));
    let copied = generation(&world, COPIED);
    write_until_noted(&mut world, copied);
    // While the two others serve, they go on doing so: their leader hears nothing of
    // a member that lacks what it acknowledged.
    world.cluster.kill(COPIED);
    world.put_aside(COPIED, "own");
    world.give(COPIED, &world.path("old"));
    world.expect(COPIED, Fate::Ends, &TOLD);
    world.give(COPIED, &world.path("own"));
    world.start_all();
    acknowledge_without_the_third(&mut world);
    world.give(COPIED, &world.path("old"));
    ends(&mut world);
    world.cluster.kill(AWAY);
    world.give(COPIED, &world.path("newest"));
    cut_journal(&world);
    ends(&mut world);
    // The remedy is to bring the newest data back.
    world.give(COPIED, &world.path("newest"));
    world.start_all();
    (0..7).for_each(|_| world.write(COPIED));
    world.check(&[HOLDER, AWAY, COPIED]);
}

/// Cuts off what the journal of the member has got since it was copied.
fn cut_journal(world: &World) {
    let content = |path: &str| fs::read(world.path(path).join("store/0.jnl")).unwrap();
    let old = content("old/0");
    let end = old.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let own = content("data/p3");
    assert!(own[..end] == old[..end] && own[end..].iter().any(|byte| *byte != 0));
    fs::write(world.path("data/p3/store/0.jnl"), &own[..end]).unwrap();
}
