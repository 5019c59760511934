//! All that happens in one seed.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::rc::Rc;

use gryadka::kv::Key;
use gryadka::perseus::{CheckError, History, check};
use gryadka::raft::{Bug, Call, Message, ReplicaId, Reply, Vote};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use super::clients::ask;
use super::faults::{blink, change_members, disturb};
use super::healing::{READER, heal};
use super::invariants::Invariants;
use super::lasting::endure;
use super::machine::{Machine, crash, start, url};
use super::network::{Caller, Envelope, Network, carry};
use super::other_disks::give_other_disks;
use super::parameters::Parameters;
use super::statistics::Statistics;

/// Everything in one seed; all of it runs on one thread.
pub struct World {
    pub parameters: Parameters,
    pub bug: Option<Bug>,
    random: RefCell<SmallRng>,
    began: Instant,
    ticks: Cell<u64>,
    pub network: Network,
    pub calls: mpsc::UnboundedSender<Envelope>,
    /// Who is to crash for a moment.
    blinking: mpsc::UnboundedSender<ReplicaId>,
    pub machines: RefCell<BTreeMap<ReplicaId, Machine>>,
    pub keys: Vec<Key>,
    pub history: RefCell<History>,
    invariants: RefCell<Invariants>,
    statistics: RefCell<Statistics>,
    trace: RefCell<Trace>,
    failure: RefCell<Option<String>>,
    has_failed: Notify,
}

/// What happened, as a number and, if asked for, as text.
#[derive(Default)]
struct Trace {
    digest: DefaultHasher,
    is_printed: bool,
}

/// What a seed came to.
pub struct Run {
    pub statistics: Statistics,
    /// The same for two runs in which the same happened.
    pub digest: u64,
    pub result: Result<(), String>,
}

/// Runs a seed; its snapshots go into the directory.
pub async fn run(seed: u64, bug: Option<Bug>, directory: &Path, is_printed: bool) -> Run {
    let mut random = SmallRng::seed_from_u64(seed);
    let parameters = Parameters::draw(&mut random, bug);
    let (calls, queue) = mpsc::unbounded_channel();
    let (blinking, blinkers) = mpsc::unbounded_channel();
    let keys = (0..parameters.keys).map(|i| Key::try_from(format!("k{i}").as_str()));
    let world = Rc::new(World {
        bug,
        random: RefCell::new(random),
        began: Instant::now(),
        ticks: Cell::default(),
        network: Network::new(parameters.network.clone()),
        calls,
        blinking,
        machines: RefCell::default(),
        keys: keys.collect::<Result<_, _>>().expect("these are good keys"),
        history: RefCell::default(),
        invariants: RefCell::default(),
        statistics: RefCell::default(),
        trace: RefCell::new(Trace { is_printed, ..Trace::default() }),
        failure: RefCell::default(),
        has_failed: Notify::new(),
        parameters,
    });
    let carrier = spawn_local(carry(world.clone(), queue));
    let blinker = spawn_local(blink(world.clone(), blinkers));
    world.note(|| format!("{:?}", world.parameters));
    tokio::select! {
        biased;
        () = world.has_failed.notified() => {}
        () = world.live(directory) => {}
    }
    carrier.abort();
    blinker.abort();
    let ids: Vec<ReplicaId> = world.machines.borrow().keys().copied().collect();
    // The replicas hold the world, and it them.
    ids.into_iter().for_each(|id| crash(&world, id));
    world.finish()
}

impl World {
    /// A time of faults, and then one to recover.
    async fn live(self: &Rc<Self>, directory: &Path) {
        let founders: BTreeMap<ReplicaId, String> =
            (1..=self.parameters.founders).map(|id| (id, url(id))).collect();
        for id in founders.keys() {
            self.add_machine(*id, directory, Some(founders.clone()));
        }
        let mut works: Vec<JoinHandle<()>> = (0..self.parameters.clients)
            .map(|client| spawn_local(ask(self.clone(), client)))
            .collect();
        works.push(spawn_local(disturb(self.clone())));
        works.push(spawn_local(give_other_disks(self.clone())));
        works.push(spawn_local(change_members(self.clone(), directory.into())));
        for work in works {
            if work.await.is_err() {
                return self.fail("a panic; see above".into());
            }
        }
        self.note(|| "healing".into());
        let Some(members) = heal(self).await else { return };
        endure(self, &members).await;
        self.note(|| "healing again".into());
        heal(self).await;
        self.count(|counts| counts.virtual_milliseconds += self.now());
    }

    fn finish(&self) -> Run {
        let failure = self.failure.borrow_mut().take();
        let result = failure.map_or(Ok(()), Err).and_then(|()| self.check_history());
        let digest = self.trace.borrow().digest.finish();
        Run { statistics: self.counts(), digest, result }
    }

    /// Checks what the clients saw; a history that is too hard to judge proves
    /// nothing.
    fn check_history(&self) -> Result<(), String> {
        match check(&self.history.borrow()) {
            Ok(()) => Ok(()),
            Err(CheckError::GaveUp { .. }) => {
                self.count(|counts| counts.undecided += 1);
                Ok(())
            }
            Err(error) => Err(format!(
                "{error}\n(client {READER} reads last, after healing: what was acknowledged and is \
                 not there then is lost)"
            )),
        }
    }

    /// Adds a machine and starts its replica.
    pub fn add_machine(
        self: &Rc<Self>,
        id: ReplicaId,
        directory: &Path,
        founders: Option<BTreeMap<ReplicaId, String>>,
    ) {
        let machine = Machine::new(directory.join(id.to_string()), founders);
        let replaced = self.machines.borrow_mut().insert(id, machine);
        assert!(replaced.is_none(), "machine {id} is there already");
        start(self, id);
    }

    pub fn random(&self) -> RefMut<'_, SmallRng> {
        self.random.borrow_mut()
    }

    /// Milliseconds of virtual time since the beginning.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub fn is_over(&self) -> bool {
        self.began.elapsed() >= self.parameters.duration
    }

    pub fn count(&self, change: impl FnOnce(&mut Statistics)) {
        change(&mut self.statistics.borrow_mut());
    }

    pub fn counts(&self) -> Statistics {
        *self.statistics.borrow()
    }

    /// A time that goes on with each look: what came first is known exactly.
    pub fn tick(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    /// Notes what happens.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let line = format!("{:>6} {}", self.now(), what());
        let mut trace = self.trace.borrow_mut();
        line.hash(&mut trace.digest);
        if trace.is_printed {
            println!("{line}");
        }
    }

    /// Ends the seed: something is wrong.
    pub fn fail(&self, why: String) {
        self.note(|| format!("FAILED: {why}"));
        self.failure.borrow_mut().get_or_insert(why);
        self.has_failed.notify_one();
    }

    /// Checks what must always be true.
    pub fn check<T>(&self, look: impl FnOnce(&mut Invariants) -> Result<T, String>) -> Option<T> {
        let looked = look(&mut self.invariants.borrow_mut());
        looked.map_err(|why| self.fail(why)).ok()
    }

    /// Whether this life of a replica goes on.
    pub fn lives(&self, caller: Caller) -> bool {
        let machines = self.machines.borrow();
        let life = machines[&caller.id].life.as_ref();
        life.is_some_and(|life| life.number == caller.life)
    }

    /// Looks at a replica: who leads?
    pub fn observe(&self, id: ReplicaId) {
        let machines = self.machines.borrow();
        let Some(replica) = machines[&id].replica() else { return };
        let metrics = replica.metrics();
        if let Err(error) = &metrics.running_state
            && !machines[&id].disk.has_blown()
        {
            self.fail(format!("replica {id} has stopped: {error}"));
        }
        if metrics.state.is_leader() {
            let term = metrics.current_term;
            let leads = self.check(|invariants| invariants.one_leader_a_term.leads(term, id));
            if leads == Some(true) {
                self.count(|counts| counts.leaders += 1);
                self.note(|| format!("{id} leads term {term}"));
                self.check(|invariants| invariants.leaders_make_progress.leads());
            }
        }
    }

    /// Notes that a replica votes.
    pub fn votes(&self, voter: ReplicaId, vote: &Vote) {
        let (term, on) = (vote.leader_id.term, vote.leader_id.voted_for);
        self.check(|invariants| invariants.one_vote_a_term.votes(voter, term, on));
        if !self.is_over() && self.random().random_bool(self.parameters.voters_crash) {
            // The queue lasts as long as the world.
            let _ = self.blinking.send(voter);
        }
    }

    /// Has a replica serve a call, if it runs.
    pub fn serve(
        self: &Rc<Self>,
        to: ReplicaId,
        from: ReplicaId,
        message: Message,
    ) -> Option<oneshot::Receiver<Reply>> {
        let machines = self.machines.borrow();
        let life = machines.get(&to)?.life.as_ref()?;
        let replica = life.replica.get()?.clone();
        let (answer, answered) = oneshot::channel();
        let vote = match &message.call {
            Call::Vote(rpc) => Some(rpc.vote),
            _ => None,
        };
        let world = self.clone();
        life.spawn(async move {
            let reply = replica.serve(from, message).await;
            if let (Some(candidate), Reply::Voted(voted)) = (vote, &reply)
                && voted.vote_granted
            {
                world.votes(to, &candidate);
            }
            // Who asked may have crashed.
            let _ = answer.send(reply);
        });
        Some(answered)
    }

    /// Whether a replica runs and believes that it leads.
    pub fn leads(&self, id: ReplicaId) -> bool {
        let machines = self.machines.borrow();
        machines[&id].replica().is_some_and(|replica| replica.leader() == Some(id))
    }
}
