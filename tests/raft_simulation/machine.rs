//! A machine: a disk, a directory, and the replica that runs on them between
//! one crash and the next.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gryadka::identity::{Nonce, OwnCluster};
use gryadka::raft::{
    Blocking, End, Job, Jobs, Profile, ReplicaGenerations, ReplicaId, Settings, Snapshots, State,
    Store,
};
use gryadka::store::MemoryDisk;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet};
use tokio::time::{Instant, sleep};

use super::disk::FusedDisk;
use super::network::{Caller, Line};
use super::world::World;

pub type Replica = gryadka::raft::Replica<FusedDisk>;

/// What stays of a machine when its replica crashes.
pub struct Machine {
    pub disk: FusedDisk,
    pub directory: PathBuf,
    /// The first members, if it is one of them.
    pub founders: Option<BTreeMap<ReplicaId, String>>,
    pub life: Option<Rc<Life>>,
    lives: u64,
    crashed_at: Option<Instant>,
    /// What its store knew of generations when it wrote last.
    pub generations: ReplicaGenerations,
    /// The disk and the directory that others were put in place of.
    pub newest: Option<(FusedDisk, PathBuf)>,
    /// It was told that it is no member any more, and has ended.
    pub has_left: bool,
}

/// A replica between its start and its crash.
pub struct Life {
    pub number: u64,
    /// All that the replica does: what is not here has stopped.
    tasks: Rc<LocalSet>,
    runner: AbortHandle,
    /// Empty until it has started.
    pub replica: OnceCell<Replica>,
}

impl Life {
    /// Does something within the replica; it ends with it.
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(work);
    }
}

impl Machine {
    pub fn new(directory: PathBuf, founders: Option<BTreeMap<ReplicaId, String>>) -> Self {
        Machine {
            disk: FusedDisk::new(MemoryDisk::default()),
            directory,
            founders,
            life: None,
            lives: 0,
            crashed_at: None,
            generations: ReplicaGenerations::default(),
            newest: None,
            has_left: false,
        }
    }

    /// The replica, if it runs.
    pub fn replica(&self) -> Option<&Replica> {
        self.life.as_ref()?.replica.get()
    }
}

/// The longest of the times that a follower waits for a leader.
pub const LONGEST_ELECTION: Duration = Duration::from_millis(300);

pub fn url(id: ReplicaId) -> String {
    format!("http://replica-{id}")
}

/// Starts the replica of a machine, unless it runs or has left.
pub fn start(world: &Rc<World>, id: ReplicaId) {
    let mut machines = world.machines.borrow_mut();
    let machine = machines.get_mut(&id).expect("the machine is there");
    if machine.life.is_some() || machine.has_left {
        return;
    }
    if machine.crashed_at == Some(Instant::now()) {
        // What it did has not been dropped yet.
        let world = world.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(1)).await;
            start(&world, id);
        });
        return;
    }
    machine.lives += 1;
    let tasks = Rc::new(LocalSet::new());
    let running = tasks.clone();
    let run = async move { running.run_until(std::future::pending::<()>()).await };
    let runner = tokio::task::spawn_local(run).abort_handle();
    let life = Rc::new(Life { number: machine.lives, tasks, runner, replica: OnceCell::new() });
    let nonce = Nonce(world.random().random());
    let store = Store::open(machine.disk.clone(), nonce, world.bug);
    let store = store.expect("a disk is right after a crash");
    machine.generations = store.log().lock().expect("no panic").generations.clone();
    let applied = store.state().summary().applied.last;
    let cluster = OwnCluster::new(store.cluster());
    let directory = &machine.directory;
    let snapshots = Snapshots::open(directory, cluster.clone(), applied, Blocking::AtOnce);
    let snapshots = snapshots.expect("the directory can be used");
    let (jobs, queue) = Jobs::queue();
    let shared = (store.state().clone(), store.log().clone());
    let caller = Caller { id, life: life.number };
    life.spawn(write(world.clone(), caller, store, queue));
    let line = Line { from: caller, network: world.calls.clone() };
    let settings = settings(world, id, machine.founders.clone());
    world.note(|| format!("{id} starts, life {}", life.number));
    let starting = {
        // What it does must not keep it: a life is over when its machine drops it.
        let (world, life) = (world.clone(), Rc::downgrade(&life));
        async move {
            match Replica::start(settings, cluster, shared, jobs, snapshots, Arc::new(line)).await {
                Ok(replica) => {
                    if let Some(life) = life.upgrade() {
                        let _ = life.replica.set(replica.clone());
                    }
                    match replica.ended().await {
                        End::Removed => leave(&world, id),
                        End::Refused(why) => refuse(&world, id, &why),
                        // What still runs when the power is cut finds no storage.
                        End::Broken(_) if !world.lives(caller) => {}
                        End::Broken(why) => world.fail(format!("replica {id} is broken: {why}")),
                    }
                }
                // The power may have been cut meanwhile.
                Err(error) if world.lives(caller) => {
                    world.fail(format!("replica {id} does not start: {error}"));
                }
                Err(_) => {}
            }
        }
    };
    life.spawn(starting);
    machine.life = Some(life);
}

fn settings(
    world: &World,
    id: ReplicaId,
    founders: Option<BTreeMap<ReplicaId, String>>,
) -> Settings {
    Settings {
        id,
        joins: founders.is_none(),
        // Who joins is told of more members than there ever are.
        members: founders.unwrap_or_else(|| (1..id + 8).map(|id| (id, url(id))).collect()),
        profile: Profile { name: format!("n{id}"), client_url: String::new() },
        heartbeat: Duration::from_millis(50),
        election: (LONGEST_ELECTION / 2, LONGEST_ELECTION),
        snapshot_entries: world.parameters.snapshot_entries,
        snapshot_bytes: 1 << 20,
        keep_entries: world.parameters.keep_entries,
        seed: world.random().random(),
        bug: world.bug,
    }
}

/// Does the jobs of a replica in groups, as slow as a disk.
async fn write(
    world: Rc<World>,
    caller: Caller,
    mut store: Store<FusedDisk>,
    mut queue: mpsc::Receiver<Job>,
) {
    while let Some(job) = queue.recv().await {
        let latency = world.parameters.storage.draw(&mut world.random());
        sleep(latency).await;
        let mut group = vec![job];
        while let Ok(job) = queue.try_recv() {
            group.push(job);
        }
        world.note(|| format!("{} writes {}", caller.id, group.len()));
        observe_jobs(&world, caller.id, &group);
        let written = store.run(group);
        let generations = store.log().lock().expect("no panic").generations.clone();
        if let Err(error) = written {
            if !world.lives(caller) {
                return;
            }
            match world.machines.borrow()[&caller.id].disk.has_blown() {
                true => world.count(|counts| counts.crashes_within_a_group += 1),
                false => world.fail(format!("replica {} cannot write: {error}", caller.id)),
            }
            return crash(&world, caller.id);
        }
        if let Some(machine) = world.machines.borrow_mut().get_mut(&caller.id) {
            machine.generations = generations;
        }
        observe_state(&world, caller.id, store.state());
        world.observe(caller.id);
    }
}

fn observe_jobs(world: &World, id: ReplicaId, jobs: &[Job]) {
    for job in jobs {
        match job {
            Job::Apply(entries, _) => {
                for (entry, _) in entries {
                    world.count(|counts| counts.applied += 1);
                    world.check(|invariants| {
                        invariants.leaders_make_progress.applies(entry.log_id.index);
                        invariants.entries_never_change.applies(id, entry)
                    });
                }
            }
            Job::Install(..) => world.count(|counts| counts.snapshots_installed += 1),
            Job::Append(..)
            | Job::Belong(..)
            | Job::Note(..)
            | Job::SaveVote(..)
            | Job::Truncate(..)
            | Job::Purge(..)
            | Job::Read(..) => {}
        }
    }
}

fn observe_state(world: &World, id: ReplicaId, state: &State<FusedDisk>) {
    let hash = state.hash().expect("the disk can be read");
    world.check(|invariants| invariants.states_agree.holds(id, &hash));
}

/// Cuts the power of a machine. Of what was not durable some may survive.
pub fn crash(world: &World, id: ReplicaId) {
    let mut machines = world.machines.borrow_mut();
    let machine = machines.get_mut(&id).expect("the machine is there");
    let Some(life) = machine.life.take() else { return };
    let mut pending = 0;
    machine.disk = machine.disk.crash(|count| {
        pending = count;
        world.random().random_range(0..=count)
    });
    life.runner.abort();
    machine.crashed_at = Some(Instant::now());
    world.count(|counts| counts.crashes += 1);
    world.note(|| format!("{id} crashes, {pending} writes are not durable"));
}

/// Ends the replica of a machine that must have another disk than its newest one.
fn refuse(world: &World, id: ReplicaId, why: &str) {
    if world.machines.borrow()[&id].newest.is_none() {
        return world.fail(format!("replica {id} is refused: {why}"));
    }
    world.note(|| format!("{id} is refused: {why}"));
    world.count(|counts| counts.refused += 1);
    crash(world, id);
}

/// Gives a machine the newest of its disks, if it has another one.
pub fn take_newest(world: &World, id: ReplicaId) {
    crash(world, id);
    let mut machines = world.machines.borrow_mut();
    let machine = machines.get_mut(&id).expect("the machine is there");
    if let Some(newest) = machine.newest.take() {
        (machine.disk, machine.directory) = newest;
    }
}

/// Ends the replica of a machine that is no member any more.
fn leave(world: &World, id: ReplicaId) {
    crash(world, id);
    world.machines.borrow_mut().get_mut(&id).expect("the machine is there").has_left = true;
    world.note(|| format!("{id} leaves"));
}
