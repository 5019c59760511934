//! An acceptor with a disk: what it knows, what is durable, and the answers
//! that wait for the disk (rules 3 and 4).

use std::collections::BTreeSet;

use gryadka::caspaxos::acceptor::{Register, Step, accept, prepare, read, remove};
use gryadka::caspaxos::{
    AcceptorStatus, Ballot, Call, ListEntry, ListKind, ListPage, ListRequest, Reply, Request,
    Standing, Token,
};
use gryadka::identity::Nonce;
use gryadka::kv::Key;

use super::disk::{Change, Disk, Write};
use super::flaw::Flaw;

/// An answer and where it goes.
#[derive(Clone, Debug)]
pub struct Answer {
    pub asker: usize,
    /// The life of the asker.
    pub life: u64,
    pub token: Token,
    pub reply: Reply,
}

/// Writes that become durable together, in order, and the answers that wait
/// for them.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    /// The registers that are written.
    keys: BTreeSet<Key>,
    /// Whether something is written that concerns all of them.
    concerns_all: bool,
    answers: Vec<Answer>,
}

impl Batch {
    fn push(&mut self, write: Write) {
        self.concerns_all |= write.standing.is_some();
        match &write.change {
            Change::Nothing => {}
            Change::Register(key, _) | Change::Removal(key) => drop(self.keys.insert(key.clone())),
            Change::Wipe => self.concerns_all = true,
        }
        self.writes.push(write);
    }

    /// Whether an answer about this register, or about all, must wait for it.
    fn concerns(&self, key: Option<&Key>) -> bool {
        match key {
            Some(key) => self.concerns_all || self.keys.contains(key),
            None => !self.writes.is_empty(),
        }
    }
}

/// What serving a request leads to.
#[derive(Default)]
pub struct Served {
    /// Answers that may leave now.
    pub answers: Vec<Answer>,
    /// True when a write to the disk begins, to be ended by `synced`.
    pub begins_sync: bool,
}

#[derive(Default)]
pub struct SimAcceptor {
    /// Grows with each crash, so that the disk's word for an earlier life is
    /// told apart.
    pub life: u64,
    pub is_down: bool,
    disk: Disk,
    memory: Disk,
    syncing: Option<Batch>,
    collecting: Batch,
}

impl SimAcceptor {
    /// An acceptor with a new disk.
    pub fn new(nonce: Nonce) -> SimAcceptor {
        SimAcceptor::on(Disk { standing: Standing::new(nonce), ..Disk::default() })
    }

    fn on(disk: Disk) -> SimAcceptor {
        SimAcceptor { memory: disk.clone(), disk, ..SimAcceptor::default() }
    }

    /// The machine gets the disk of an acceptor of an earlier cluster or an old copy
    /// of its own, or its own one back; it must have crashed before.
    pub fn exchange_disk(&mut self, other: Disk) -> Disk {
        std::mem::replace(&mut self.disk, other)
    }

    /// Starts again on its disk.
    pub fn restart(&mut self, is_confirmed: bool, tag: u64) {
        self.is_down = false;
        self.disk.standing.open(tag);
        if is_confirmed {
            self.disk.standing.confirm(tag);
        }
        self.memory = self.disk.clone();
    }

    /// What is durable.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What it knows, durable or not.
    pub fn known(&self) -> &Disk {
        &self.memory
    }

    /// Runs one call. An error is a broken invariant.
    pub fn serve(
        &mut self,
        flaw: Flaw,
        call: &Call,
        (asker, life, token): (usize, u64, Token),
    ) -> Result<Served, String> {
        let mut standing = self.memory.standing.clone();
        let (reply, change) = match admit(flaw, &mut standing, call) {
            Some(refusal) => (refusal, Change::Nothing),
            None => self.step(flaw, &mut standing, call)?,
        };
        let standing = (standing != self.memory.standing).then_some(standing);
        if standing.is_some() || !matches!(change, Change::Nothing) {
            let write = Write { standing, change };
            self.memory.apply(&write)?;
            self.collecting.push(write);
        }
        let mut served = Served::default();
        let is_early = flaw == Flaw::PromiseNotDurable && matches!(reply, Reply::Prepared { .. });
        let answer = Answer { asker, life, token, reply };
        let key = call.request.key();
        if is_early {
            served.answers.push(answer);
        } else if self.collecting.concerns(key) {
            self.collecting.answers.push(answer);
        } else if let Some(batch) = self.syncing.as_mut().filter(|batch| batch.concerns(key)) {
            batch.answers.push(answer);
        } else {
            served.answers.push(answer);
        }
        served.begins_sync = self.begin_sync();
        Ok(served)
    }

    fn step(
        &self,
        flaw: Flaw,
        standing: &mut Standing,
        call: &Call,
    ) -> Result<(Reply, Change), String> {
        let request = &call.request;
        let nothing = Register::default();
        let register = |key: &Key| self.memory.registers.get(key).unwrap_or(&nothing);
        let (key, step) = match request {
            Request::Prepare { key, ballot } => (key, flawed_prepare(flaw, register(key), *ballot)),
            Request::Accept { key, ballot, value, next } => {
                (key, accept(register(key), *ballot, value, *next))
            }
            Request::Read { key } => (key, read(register(key))),
            Request::Remove { key, accepted, floor } => {
                (key, remove(register(key), *accepted, *floor))
            }
            Request::List(request) => {
                return Ok((Reply::Listed(self.list(request)), Change::Nothing));
            }
            Request::Raise { fence } => return Ok((standing.raise(fence), Change::Nothing)),
            Request::Enrol { fence, counter, is_founding } => {
                let holds_registers = !self.memory.registers.is_empty();
                let reply =
                    standing.enrol(call.cluster, (fence, *counter, *is_founding), holds_registers);
                return Ok((reply, Change::Nothing));
            }
            Request::Note { of, claim } => {
                return Ok((standing.note(of, claim), Change::Nothing));
            }
            Request::Confirm { tag, .. } => return Ok((standing.confirm(*tag), Change::Nothing)),
            Request::Mark { tag } => return Ok((standing.mark(*tag), Change::Nothing)),
            Request::Wipe => return Ok((standing.leave(), Change::Wipe)),
            Request::Status => {
                let registers = self.memory.registers.len() as u64;
                let status = AcceptorStatus::new(standing, registers, 0);
                return Ok((Reply::Status(status), Change::Nothing));
            }
        };
        let Step { write, reply, is_alarm } = step;
        if is_alarm {
            return Err(format!("alarm: two values under one ballot: {request:?}"));
        }
        let change = match write {
            None => Change::Nothing,
            Some(register) if register.is_new() => Change::Removal(key.clone()),
            Some(register) => Change::Register(key.clone(), register),
        };
        Ok((reply, change))
    }

    /// All of it in one page: seeds have few keys.
    fn list(&self, request: &ListRequest) -> ListPage {
        let is_listed = |register: &Register| match request.kind {
            ListKind::Accepted => !register.accepted.is_zero(),
            ListKind::Dead => register.is_dead(),
        };
        let listed = self.memory.registers.iter().filter(|(_, register)| is_listed(register));
        let entries = listed.map(|(key, register)| ListEntry {
            key: key.clone(),
            accepted: register.accepted,
            record: register.value.record.clone(),
        });
        ListPage { entries: entries.collect(), more_after: None }
    }

    /// The keys that are deleted here, as far as is durable.
    pub fn dead_keys(&self) -> Vec<Key> {
        let dead = self.disk.registers.iter().filter(|(_, register)| register.is_dead());
        dead.map(|(key, _)| key.clone()).collect()
    }

    /// The disk has taken the batch. An error is a broken invariant.
    pub fn synced(&mut self) -> Result<Served, String> {
        let batch = self.syncing.take().expect("a sync is under way");
        batch.writes.iter().try_for_each(|write| self.disk.apply(write))?;
        Ok(Served { answers: batch.answers, begins_sync: self.begin_sync() })
    }

    /// How many writes are under way to the disk.
    pub fn writes_under_way(&self) -> usize {
        self.syncing.as_ref().map_or(0, |batch| batch.writes.len())
    }

    /// Loses all that is not on disk. The first `survivors` of the writes under
    /// way have reached it.
    pub fn crash(&mut self, flaw: Flaw, survivors: usize) -> Result<(), String> {
        let batch = self.syncing.take().unwrap_or_default();
        self.life += 1;
        self.is_down = true;
        self.collecting = Batch::default();
        batch.writes.iter().take(survivors).try_for_each(|write| self.disk.apply(write))?;
        if flaw == Flaw::ComesBackEmpty {
            self.disk.registers.clear();
        }
        Ok(())
    }

    fn begin_sync(&mut self) -> bool {
        if self.syncing.is_some() || self.collecting.writes.is_empty() {
            return false;
        }
        self.syncing = Some(std::mem::take(&mut self.collecting));
        true
    }
}

/// Lets a call in, or with the flaw any call, whatever its epoch or cluster.
fn admit(flaw: Flaw, standing: &mut Standing, call: &Call) -> Option<Reply> {
    let mut call = call.clone();
    match flaw {
        Flaw::IgnoresEpochs => call.epoch = call.epoch.max(standing.fence.epoch),
        Flaw::IgnoresClusters => {
            call.cluster = standing.cluster.or(call.cluster);
        }
        // As it was before whoever is turned away had to change nothing.
        Flaw::StrangersRaiseFence => standing.fence.epoch = standing.fence.epoch.max(call.epoch),
        _ => {}
    }
    standing.admit(&call)
}

/// The step, or with the flaw one that grants the ballot it has promised.
fn flawed_prepare(flaw: Flaw, register: &Register, ballot: Ballot) -> Step {
    let mut step = prepare(register, ballot);
    let grants_equal = matches!(flaw, Flaw::GrantsEqual | Flaw::GrantsEqualAndReusesBallots);
    if grants_equal && ballot == register.seen() {
        let (accepted, value) = (register.accepted, register.value.clone());
        step.reply = Reply::Prepared { accepted, value };
    }
    step
}
