//! What goes wrong, and what operators do meanwhile.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use gryadka::raft::{Changed, MemberChange, ReplicaId};
use rand::Rng;
use rand::seq::IteratorRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::machine::{crash, start, url};
use super::network::Cut;
use super::parameters::Span;
use super::world::World;

/// The ids of new members end here.
const LAST_ID: ReplicaId = 9;
/// How many members there are at most.
const MAX_MEMBERS: usize = 5;
/// Shorter than most messages take.
const MOMENT: Span = Span(1, 5);
/// How long an operator waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Faults come and go until the time is over.
pub async fn disturb(world: Rc<World>) {
    loop {
        let pause = world.parameters.fault.draw(&mut world.random());
        sleep(pause).await;
        if world.is_over() {
            return;
        }
        let outage = world.parameters.outage.draw(&mut world.random());
        let is_crash = world.random().random_bool(world.parameters.crashes);
        let ids: Vec<ReplicaId> = world.machines.borrow().keys().copied().collect();
        // Leaders are hit more often than by chance.
        let leaders = ids.iter().filter(|id| world.leads(**id));
        let leader = leaders.choose(&mut *world.random()).copied();
        let any = *ids.iter().choose(&mut *world.random()).expect("there is a machine");
        let id = leader.filter(|_| world.random().random_bool(0.3)).unwrap_or(any);
        match is_crash {
            true => {
                spawn_local(crash_for(world.clone(), id, outage));
            }
            false => {
                spawn_local(cut_off(world.clone(), id, outage));
            }
        }
    }
}

/// Crashes a replica now or in the middle of one of its next writes.
async fn crash_for(world: Rc<World>, id: ReplicaId, outage: Duration) {
    if world.random().random_bool(0.5) {
        let writes = world.random().random_range(1..8);
        if let Some(machine) = world.machines.borrow().get(&id).filter(|it| it.life.is_some()) {
            machine.disk.set_fuse(writes);
        }
        // Without writes, it crashes all the same.
        sleep(Duration::from_millis(200)).await;
    }
    crash(&world, id);
    sleep(outage).await;
    start(&world, id);
}

/// Crashes replicas in a moment, for a moment.
pub async fn blink(world: Rc<World>, mut blinkers: mpsc::UnboundedReceiver<ReplicaId>) {
    while let Some(id) = blinkers.recv().await {
        let world = world.clone();
        spawn_local(async move {
            let (pause, outage) = {
                let mut random = world.random();
                (MOMENT.draw(&mut random), MOMENT.draw(&mut random))
            };
            sleep(pause).await;
            crash(&world, id);
            sleep(outage).await;
            start(&world, id);
        });
    }
}

/// Cuts one replica, or a group, off from the rest: in one direction or both.
async fn cut_off(world: Rc<World>, id: ReplicaId, outage: Duration) {
    let ids: Vec<ReplicaId> = world.machines.borrow().keys().copied().collect();
    let mut inside = vec![id];
    if world.random().random_bool(0.3) {
        inside.extend(ids.iter().filter(|_| world.random().random_bool(0.4)));
    }
    let (is_out, is_in) = *[(true, true), (true, true), (true, false), (false, true)]
        .iter()
        .choose(&mut *world.random())
        .expect("there are four");
    let calls_only = world.random().random_bool(0.2);
    let of = |from: ReplicaId, to: ReplicaId| Cut { from, to, calls_only };
    let mut cut = Vec::new();
    for one in &inside {
        for other in ids.iter().filter(|other| !inside.contains(other)) {
            cut.extend(is_out.then_some(of(*one, *other)));
            cut.extend(is_in.then_some(of(*other, *one)));
        }
    }
    world.note(|| format!("cut {cut:?}"));
    world.count(|counts| counts.network_cuts += 1);
    world.network.cuts.borrow_mut().extend(cut.iter().copied());
    sleep(outage).await;
    world.note(|| format!("mend {cut:?}"));
    world.network.cuts.borrow_mut().retain(|pair| !cut.contains(pair));
}

/// Members come, go, and hand leadership over until the time is over.
pub async fn change_members(world: Rc<World>, directory: PathBuf) {
    let mut next = world.parameters.founders + 1;
    loop {
        let pause = world.parameters.change.draw(&mut world.random());
        sleep(pause).await;
        if world.is_over() {
            return;
        }
        let asked = {
            let machines = world.machines.borrow();
            let running = machines.iter().filter(|(_, machine)| machine.replica().is_some());
            running.map(|(id, _)| *id).choose(&mut *world.random())
        };
        let Some(asked) = asked else { continue };
        let members: Vec<ReplicaId> = {
            let machines = world.machines.borrow();
            let replica = machines[&asked].replica().expect("it runs");
            replica.state().members().membership.nodes().map(|(id, _)| *id).collect()
        };
        let kind = world.random().random_range(0..3);
        if kind == 0 && members.len() < MAX_MEMBERS && next <= LAST_ID {
            let add = MemberChange::Add { id: next, peer_url: url(next) };
            // It may be started before or after it is added, or not at all yet.
            if world.random().random_bool(0.7) {
                world.add_machine(next, &directory, None);
                change(&world, asked, add).await;
            } else {
                change(&world, asked, add).await;
                world.add_machine(next, &directory, None);
            }
            next += 1;
        } else if kind == 1 && members.len() > 1 {
            let id = *members.iter().choose(&mut *world.random()).expect("there is one");
            change(&world, asked, MemberChange::Remove { id }).await;
        } else {
            hand_over(&world);
        }
    }
}

/// Asks a replica to change the members.
async fn change(world: &Rc<World>, asked: ReplicaId, change: MemberChange) {
    let (answer, answered) = oneshot::channel();
    {
        let machines = world.machines.borrow();
        let Some(life) = &machines[&asked].life else { return };
        let Some(replica) = life.replica.get().cloned() else { return };
        let change = change.clone();
        life.spawn(async move {
            // An operator who is gone changes nothing.
            let _ = answer.send(replica.change(change, Instant::now() + PATIENCE).await);
        });
    }
    let answer = answered.await;
    world.note(|| format!("{asked} was asked to {change:?}: {answer:?}"));
    if let Ok(Ok(done)) = answer {
        world.count(|counts| match (&change, done) {
            (MemberChange::Add { .. }, Changed::Done | Changed::Learner { .. }) => {
                counts.members_added += 1;
            }
            (MemberChange::Remove { .. }, _) => counts.members_removed += 1,
        });
    }
}

/// Has the leader hand over.
fn hand_over(world: &Rc<World>) {
    let machines = world.machines.borrow();
    for (id, machine) in machines.iter().filter(|(id, _)| world.leads(**id)) {
        let Some(life) = &machine.life else { continue };
        let Some(replica) = life.replica.get().cloned() else { continue };
        world.note(|| format!("{id} is asked to hand over"));
        world.count(|counts| counts.hand_overs += 1);
        life.spawn(async move { replica.hand_over(Instant::now() + PATIENCE).await });
    }
}
