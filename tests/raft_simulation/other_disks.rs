//! Replicas come back with other disks than they had: an older copy of their own, an
//! empty one, that of an earlier cluster. None may take part with it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use gryadka::identity::{ClusterId, Nonce};
use gryadka::kv::Command;
use gryadka::raft::{Belonging, Bug, Entry, Job, LogId, Member, ReplicaId, Request, Store, Vote};
use gryadka::store::{Disk, Durability, MemoryDisk, Space, Writes, encode};
use openraft::{EntryPayload, Membership};
use rand::Rng;
use rand::seq::IteratorRandom;
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};

use super::disk::FusedDisk;
use super::machine::{Replica, crash, start, take_newest};
use super::world::World;

/// How long an operator waits for the replica to say what is wrong.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often a replica is started with another disk.
const MAX_STARTS: u32 = 4;
/// How long a machine is down before it starts again.
const MOMENT: Duration = Duration::from_millis(5);
/// The term in which an earlier cluster ended: later than any of the true one.
const EARLIER_TERM: u64 = 1000;
/// How often its replicas were started.
const EARLIER_STARTS: u64 = 100;

/// What a replica comes back with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    OldCopy,
    Nothing,
    Earlier,
}

impl Kind {
    fn draw(world: &World) -> Kind {
        match world.bug {
            Some(Bug::OldCopyIsLetIn) => Kind::OldCopy,
            Some(Bug::EmptiedMemberIsLetIn) => Kind::Nothing,
            Some(Bug::OtherClusterIsServed) => Kind::Earlier,
            Some(_) | None => {
                let kinds = [Kind::OldCopy, Kind::OldCopy, Kind::Nothing, Kind::Earlier];
                *kinds.iter().choose(&mut *world.random()).expect("there is one")
            }
        }
    }
}

/// Gives replicas other disks and then their own again, until the time is over.
pub async fn give_other_disks(world: Rc<World>) {
    let Some(span) = world.parameters.other_disk else { return };
    while !world.is_over() {
        let kind = Kind::draw(&world);
        let pause = span.draw(&mut world.random());
        let chosen = choose(&world);
        sleep(pause).await;
        let Some((id, count, copy)) = chosen else { continue };
        let disk = match kind {
            Kind::OldCopy if is_known_to_be_older(&world, id, count) => {
                world.count(|counts| counts.old_copies += 1);
                copy
            }
            Kind::Nothing if is_founder_of_several(&world, id) => {
                world.count(|counts| counts.empty_disks += 1);
                FusedDisk::new(MemoryDisk::default())
            }
            Kind::Earlier if is_founder_of_several(&world, id) => {
                world.count(|counts| counts.foreign_disks += 1);
                earlier_disk(&world)
            }
            Kind::OldCopy | Kind::Nothing | Kind::Earlier => continue,
        };
        if can_be_replaced(&world, id) {
            give(&world, id, kind, disk).await;
        }
    }
}

/// A replica that takes part and is not the only voter, the count of its generation
/// and a copy of its disk.
fn choose(world: &World) -> Option<(ReplicaId, u64, FusedDisk)> {
    let machines = world.machines.borrow();
    let voters = |replica: &Replica| replica.metrics().membership_config.voter_ids().count();
    let running = machines.iter().filter(|(_, machine)| {
        machine.newest.is_none()
            && machine.replica().is_some_and(|replica| replica.takes_part() && voters(replica) > 1)
    });
    let (id, machine) = running.choose(&mut *world.random())?;
    Some((*id, machine.generations.own.count, machine.disk.copy()))
}

/// Whether the machine is in use, all others have their own disks, and one of them
/// at least votes.
fn can_be_replaced(world: &World, id: ReplicaId) -> bool {
    let machines = world.machines.borrow();
    let replicas = machines.values().filter_map(|machine| machine.replica());
    let members = replicas.map(|replica| replica.state().members());
    let newest = members.max_by_key(|members| *members.membership.log_id());
    !machines[&id].has_left
        && machines.values().all(|machine| machine.newest.is_none())
        && newest.is_some_and(|members| members.membership.voter_ids().any(|voter| voter != id))
}

/// Whether each other member has noted a later generation of this one: else nobody
/// could know.
fn is_known_to_be_older(world: &World, id: ReplicaId, count: u64) -> bool {
    let machines = world.machines.borrow();
    let others = machines.iter().filter(|(other, machine)| **other != id && !machine.has_left);
    others.into_iter().all(|(_, machine)| machine.generations.of(id).count > count)
}

/// Whether it asks others before it founds a cluster.
fn is_founder_of_several(world: &World, id: ReplicaId) -> bool {
    let machines = world.machines.borrow();
    machines[&id].founders.as_ref().is_some_and(|founders| founders.len() > 1)
}

/// The disk of a replica of an earlier cluster of the same founders, which came to a
/// later term and was started more often.
fn earlier_disk(world: &World) -> FusedDisk {
    let disk = FusedDisk::new(MemoryDisk::default());
    let founders: BTreeMap<ReplicaId, Nonce> =
        (1..=world.parameters.founders).map(|id| (id, Nonce(world.random().random()))).collect();
    let members = founders.iter().map(|(id, nonce)| {
        (*id, Member { peer_url: super::machine::url(*id), nonce: Some(*nonce) })
    });
    let members: BTreeMap<ReplicaId, Member> = members.collect();
    let voters: BTreeSet<ReplicaId> = members.keys().copied().collect();
    let first = Membership::new(vec![voters], members).expect("all voters are members");
    let set = |index: u64| {
        let key = world.keys[index as usize % world.keys.len()].clone();
        Request::Command { key, command: Command::Set(format!("earlier-{index}").into()) }
    };
    let mut writes = Writes::default();
    for index in 0..200 {
        let (term, payload) = match index {
            0 => (0, EntryPayload::Membership(first.clone())),
            _ => (EARLIER_TERM, EntryPayload::Normal(set(index))),
        };
        let entry = Entry { log_id: LogId::new_term_index(term, index), payload };
        writes.put(Space::Log, index.to_be_bytes().to_vec(), encode(&entry));
    }
    disk.commit(writes, Durability::Now).expect("there is room");
    let cluster = ClusterId::new(world.random().random_range(1..=u64::MAX));
    let belonging = Belonging { cluster: cluster.expect("not 0"), founders };
    for _ in 0..EARLIER_STARTS {
        let drawn = Nonce(world.random().random());
        let mut store = Store::open(disk.clone(), drawn, None).expect("a disk without faults");
        store.log().lock().expect("no panic").generations.is_mark_due = true;
        let jobs = vec![
            Job::Belong(belonging.clone(), oneshot::channel().0),
            Job::SaveVote(Vote::new(EARLIER_TERM, 1), oneshot::channel().0),
        ];
        store.run(jobs).expect("a disk without faults");
    }
    disk
}

/// Gives a machine another disk, and its own when the replica was started with that
/// some times in vain.
async fn give(world: &Rc<World>, id: ReplicaId, kind: Kind, disk: FusedDisk) {
    crash(world, id);
    world.note(|| format!("{id} is given another disk: {kind:?}"));
    {
        let mut machines = world.machines.borrow_mut();
        let machine = machines.get_mut(&id).expect("the machine is there");
        // Snapshots are made anew from what the disk holds.
        let directory = machine.directory.with_extension(world.now().to_string());
        machine.newest = Some((
            std::mem::replace(&mut machine.disk, disk),
            std::mem::replace(&mut machine.directory, directory),
        ));
    }
    let starts = world.random().random_range(1..=MAX_STARTS);
    for _ in 0..starts {
        sleep(MOMENT).await;
        start(world, id);
        sleep(PATIENCE).await;
        let takes_part = {
            let machines = world.machines.borrow();
            machines[&id].replica().is_some_and(|replica| replica.takes_part())
        };
        if takes_part {
            if world.bug.is_none() {
                world.fail(format!("replica {id} takes part with another disk: {kind:?}"));
            }
            return;
        }
        crash(world, id);
    }
    take_newest(world, id);
    sleep(MOMENT).await;
    start(world, id);
}
