//! An acceptor with a disk: what it knows, what is durable, and the answers
//! that wait for the disk (rules 3 and 4).

use std::collections::BTreeMap;

use gryadka::caspaxos::acceptor::{Register, Step, accept, prepare, read};
use gryadka::caspaxos::{Ballot, ListPage, Reply, Request, Token};
use gryadka::kv::Key;

use super::world::Flaw;

/// An answer and where it goes.
#[derive(Clone, Debug)]
pub struct Answer {
    pub proposer: usize,
    /// The life of the proposer that asked.
    pub life: u64,
    pub token: Token,
    pub reply: Reply,
}

/// Writes that become durable together, and the answers that wait for them.
#[derive(Default)]
struct Batch {
    writes: BTreeMap<Key, Register>,
    answers: Vec<Answer>,
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
    disk: BTreeMap<Key, Register>,
    memory: BTreeMap<Key, Register>,
    syncing: Option<Batch>,
    collecting: Batch,
}

impl SimAcceptor {
    /// Runs one step. An error is a broken invariant.
    pub fn serve(
        &mut self,
        flaw: Flaw,
        request: &Request,
        (proposer, life, token): (usize, u64, Token),
    ) -> Result<Served, String> {
        let nothing = Register::default();
        let (key, step) = match request {
            Request::Prepare { key, ballot } => {
                let register = self.memory.get(key).unwrap_or(&nothing);
                (key, flawed_prepare(flaw, register, *ballot))
            }
            Request::Accept { key, ballot, value, next } => {
                let register = self.memory.get(key).unwrap_or(&nothing);
                (key, accept(register, *ballot, value, *next))
            }
            Request::Read { key } => (key, read(self.memory.get(key).unwrap_or(&nothing))),
            // Nobody asks this here yet.
            Request::List(_)
            | Request::Raise { .. }
            | Request::Enrol { .. }
            | Request::Remove { .. }
            | Request::Wipe
            | Request::Status => {
                let reply = Reply::Listed(ListPage::default());
                let answers = vec![Answer { proposer, life, token, reply }];
                return Ok(Served { answers, begins_sync: false });
            }
        };
        let Step { write, reply, is_alarm } = step;
        if is_alarm {
            return Err(format!("alarm: two values under one ballot: {request:?}"));
        }
        let is_promise = matches!(reply, Reply::Prepared { .. });
        if let Some(register) = write {
            self.memory.insert(key.clone(), register.clone());
            self.collecting.writes.insert(key.clone(), register);
        }
        let mut served = Served::default();
        let answer = Answer { proposer, life, token, reply };
        if flaw == Flaw::PromiseNotDurable && is_promise {
            served.answers.push(answer);
        } else if self.collecting.writes.contains_key(key) {
            self.collecting.answers.push(answer);
        } else if let Some(batch) = &mut self.syncing
            && batch.writes.contains_key(key)
        {
            batch.answers.push(answer);
        } else {
            served.answers.push(answer);
        }
        served.begins_sync = self.begin_sync();
        Ok(served)
    }

    /// The disk has taken the batch. An error is a broken invariant.
    pub fn synced(&mut self) -> Result<Served, String> {
        let batch = self.syncing.take().expect("a sync is under way");
        self.write(batch.writes)?;
        Ok(Served { answers: batch.answers, begins_sync: self.begin_sync() })
    }

    /// Loses all that is not on disk. The batch under way may have reached it.
    pub fn crash(&mut self, batch_survives: bool) -> Result<(), String> {
        let batch = self.syncing.take();
        self.life += 1;
        self.is_down = true;
        self.collecting = Batch::default();
        if let Some(batch) = batch.filter(|_| batch_survives) {
            self.write(batch.writes)?;
        }
        self.memory = self.disk.clone();
        Ok(())
    }

    fn begin_sync(&mut self) -> bool {
        if self.syncing.is_some() || self.collecting.writes.is_empty() {
            return false;
        }
        self.syncing = Some(std::mem::take(&mut self.collecting));
        true
    }

    fn write(&mut self, writes: BTreeMap<Key, Register>) -> Result<(), String> {
        for (key, new) in writes {
            if let Some(old) = self.disk.get(&key) {
                let goes_back = new.promise < old.promise || new.accepted < old.accepted;
                if goes_back || (new.accepted == old.accepted && new.value != old.value) {
                    return Err(format!("the disk goes back: {key}: {old:?} to {new:?}"));
                }
            }
            self.disk.insert(key, new);
        }
        Ok(())
    }
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
