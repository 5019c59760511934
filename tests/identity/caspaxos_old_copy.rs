//! Acceptors that come back with an older copy of their own data, when one of
//! those that acknowledged what is lost is down too.

use serde_json::Value;

use crate::support::{Cluster, Protocol, get, own_address, request, wait_until};
use crate::world::{World, copy, full_nodes};

impl World {
    /// How the acceptors stand, as a node tells.
    pub fn acceptors(&self, node: usize) -> Vec<Value> {
        let answer = get(&format!("{}/acceptors", self.cluster.admin_url(node)));
        answer.json().as_array().expect("a list").clone()
    }

    /// Waits until the first two acceptors know the third one's store as it is now,
    /// which is of a later generation than `before`.
    pub fn wait_known(&mut self, before: u64) {
        wait_until("the others have taken note of the third acceptor's store", || {
            self.write(0);
            let each = self.acceptors(0);
            let generation = each[2]["status"]["generation"].as_u64().unwrap_or(0);
            let knows = |it: &Value| it["status"]["knownGenerations"]["a3"] == generation;
            generation > before && each[..2].iter().all(knows)
        });
    }

    /// A node gives no answer from data.
    fn assert_mute(&self, node: usize) {
        let answer = request("GET", &format!("{}/k1", self.cluster.url(node)), None);
        if let Ok(answer) = answer {
            assert!(answer.status >= 500, "it answers {} {}", answer.status, answer.text());
        }
    }

    /// That of the third acceptor's store.
    pub fn generation(&self) -> u64 {
        self.acceptors(0)[2]["status"]["generation"].as_u64().expect("a number")
    }
}

/// What a node says of the third acceptor.
pub const TOLD: &str = "acceptor a3 is refused: it was put back from an old copy";

/// What only the first node and the third have acknowledged is not read as it was
/// before from the third, which has an older copy of its data, and the second.
fn lost_on_one_and_held_by_one(world: &mut World) {
    world.cluster.kill(1);
    (0..7).for_each(|_| world.write(0));
    world.cluster.kill(2);
    world.put_aside(2, "newest");
    world.cluster.kill(0);
    world.give(2, &world.path("old"));
    world.cluster.launch(1);
    world.cluster.launch(2);
    wait_until("a node tells of the old copy", || {
        world.assert_mute(1);
        world.assert_mute(2);
        world.log(1).contains(TOLD) || world.log(2).contains(TOLD)
    });
    // Also when it is started again and again.
    for _ in 0..3 {
        world.cluster.kill(2);
        world.cluster.launch(2);
        world.assert_mute(1);
    }
    // The others serve on without it.
    world.cluster.launch(0);
    world.cluster.wait_ready(0);
    world.write(0);
    world.write(1);
    world.check(&[0, 1, 2]);
    let each = world.acceptors(0);
    assert_eq!(each[2]["status"]["isConfirmed"], false, "{each:?}");
    // With its newest data it comes back in.
    world.cluster.kill(2);
    world.give(2, &world.path("newest"));
    world.cluster.launch(2);
    world.cluster.wait_ready(2);
    wait_until("it is confirmed", || world.acceptors(0)[2]["status"]["isConfirmed"] == true);
    world.check(&[0, 1, 2]);
}

#[test]
fn an_acceptor_with_an_old_copy_of_its_data_is_left_out() {
    let address = own_address();
    let file = full_nodes(Protocol::Caspaxos, &address);
    let mut world = World::new(Cluster::of_file(Protocol::Caspaxos, &file, address));
    (0..7).for_each(|_| world.write(0));
    // Copied while its node is down.
    let copied = world.generation();
    world.cluster.kill(2);
    world.copy_aside(2, "old");
    world.start_all();
    world.wait_known(copied);
    lost_on_one_and_held_by_one(&mut world);
    // Copied while it serves.
    let copied = world.generation();
    let old = world.path("old");
    std::fs::remove_dir_all(&old).unwrap();
    std::fs::create_dir_all(&old).unwrap();
    copy(&world.path("data/p3"), &old.join("0"));
    world.wait_known(copied + 1);
    lost_on_one_and_held_by_one(&mut world);
}
