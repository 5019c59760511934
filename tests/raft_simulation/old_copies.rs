//! Older copies of a disk that are put back.

use std::rc::Rc;

use gryadka::raft::{Bug, ReplicaId};
use rand::seq::IteratorRandom;
use tokio::time::{Duration, sleep};

use super::disk::FusedDisk;
use super::machine::{crash, start, take_newest};
use super::world::World;

/// How long an operator waits for the replica to say what is wrong.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a machine is down before it starts again.
const MOMENT: Duration = Duration::from_millis(5);

/// Copies disks of running replicas and puts them back, until the time is over.
pub async fn put_back(world: Rc<World>) {
    let Some(span) = world.parameters.copy else { return };
    while !world.is_over() {
        let pause = span.draw(&mut world.random());
        let Some((id, count, copy)) = copy_any(&world) else {
            sleep(pause).await;
            continue;
        };
        sleep(pause).await;
        if is_known_to_be_older(&world, id, count) {
            give(&world, id, copy).await;
        }
    }
}

/// A copy of the disk of a replica that runs and is not the only voter, and the
/// count of its incarnation.
fn copy_any(world: &World) -> Option<(ReplicaId, u64, FusedDisk)> {
    let machines = world.machines.borrow();
    let running = machines.iter().filter(|(_, machine)| {
        machine.newest.is_none() && machine.replica().is_some_and(|replica| voters(replica) > 1)
    });
    let (id, machine) = running.choose(&mut *world.random())?;
    Some((*id, machine.incarnations.own.count, machine.disk.copy()))
}

fn voters(replica: &super::machine::Replica) -> usize {
    replica.metrics().membership_config.voter_ids().count()
}

/// Whether each other member has noted a later incarnation of this one, and one
/// of them at least votes: else nobody could know.
fn is_known_to_be_older(world: &World, id: ReplicaId, count: u64) -> bool {
    let machines = world.machines.borrow();
    if machines[&id].has_left || machines.values().any(|machine| machine.newest.is_some()) {
        return false;
    }
    let others = machines.iter().filter(|(other, machine)| **other != id && !machine.has_left);
    let newest = machines
        .values()
        .filter_map(|machine| machine.replica())
        .map(|replica| replica.state().members())
        .max_by_key(|members| *members.membership.log_id());
    let votes_with_others = newest.is_some_and(|members| {
        let mut voters = members.membership.voter_ids();
        voters.any(|voter| voter != id)
    });
    votes_with_others
        && others.clone().count() > 0
        && others.into_iter().all(|(_, machine)| machine.incarnations.of(id).count > count)
}

/// Gives a machine an older copy of its disk; and its newest one when the replica
/// has been refused, or waits in vain.
async fn give(world: &Rc<World>, id: ReplicaId, copy: FusedDisk) {
    crash(world, id);
    world.note(|| format!("{id} is given an older copy of its disk"));
    world.count(|counts| counts.old_copies += 1);
    {
        let mut machines = world.machines.borrow_mut();
        let machine = machines.get_mut(&id).expect("the machine is there");
        // Snapshots are made anew from what the copy holds.
        let directory = machine.directory.with_extension(world.now().to_string());
        machine.newest = Some((
            std::mem::replace(&mut machine.disk, copy),
            std::mem::replace(&mut machine.directory, directory),
        ));
    }
    sleep(MOMENT).await;
    start(world, id);
    sleep(PATIENCE).await;
    let (is_refused, is_let_in) = {
        let machines = world.machines.borrow();
        let machine = &machines[&id];
        let is_let_in = machine.replica().is_some_and(|replica| replica.takes_part());
        (machine.newest.is_none(), is_let_in)
    };
    if is_let_in && !is_refused {
        if world.bug != Some(Bug::OldCopyIsLetIn) {
            world.fail(format!("replica {id} takes part with an older copy of its disk"));
        }
        return;
    }
    if !is_refused {
        take_newest(world, id);
        sleep(MOMENT).await;
    }
    start(world, id);
}
