//! Registers in memory, gone with the process: for tests, and the plainest
//! reading of the contract, against which the other stores are compared.

use std::collections::BTreeMap;

use super::page::PageBuilder;
use super::{AcceptorStore, StoreError, log_alarm};
use crate::caspaxos::acceptor::{self, Register, Step};
use crate::caspaxos::{
    AcceptorStatus, Ballot, Call, Configuration, Fence, ListKind, ListPage, ListRequest, Reply,
    Request, Standing,
};
use crate::identity::{ClusterId, Nonce};
use crate::kv::Key;

/// An acceptor's memory that forgets. An acceptor that answers from it breaks
/// its promises when it restarts: use it in tests only.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MemoryStore {
    registers: BTreeMap<Key, Register>,
    standing: Standing,
}

impl MemoryStore {
    /// The empty store of an acceptor that founded a cluster.
    pub fn of_founder(nonce: Nonce, cluster: ClusterId, configuration: Configuration) -> Self {
        let (epoch, configuration) = (configuration.epoch, Some(configuration));
        let fence = Fence { epoch, configuration, ..Fence::default() };
        let mut standing = Standing { fence, cluster: Some(cluster), ..Standing::new(nonce) };
        standing.confirm(nonce.0);
        MemoryStore { standing, ..MemoryStore::default() }
    }

    /// An empty store of no cluster, with a nonce.
    pub fn with_nonce(nonce: Nonce) -> Self {
        MemoryStore { standing: Standing::new(nonce), ..MemoryStore::default() }
    }

    fn serve_one(&mut self, call: &Call) -> Reply {
        if let Some(reply) = self.standing.admit(call) {
            return reply;
        }
        match &call.request {
            Request::Prepare { key, ballot } => {
                self.step(key, *ballot, |register| acceptor::prepare(register, *ballot))
            }
            Request::Accept { key, ballot, value, next } => {
                let step = |register: &Register| acceptor::accept(register, *ballot, value, *next);
                self.step(key, *ballot, step)
            }
            Request::Read { key } => self.step(key, Ballot::ZERO, acceptor::read),
            Request::Remove { key, accepted, floor } => self
                .step(key, Ballot::ZERO, |register| acceptor::remove(register, *accepted, *floor)),
            Request::List(request) => Reply::Listed(self.list(request)),
            Request::Raise { fence } => self.standing.raise(fence),
            Request::Enrol { fence, counter, is_founding } => {
                let holds_registers = !self.registers.is_empty();
                self.standing.enrol(call.cluster, (fence, *counter, *is_founding), holds_registers)
            }
            Request::Note { of, claim } => self.standing.note(of, claim),
            Request::Confirm { tag, .. } => self.standing.confirm(*tag),
            Request::Mark { tag } => self.standing.mark(*tag),
            Request::Wipe => {
                self.registers.clear();
                self.standing.leave()
            }
            Request::Status => {
                let dead = self.registers.values().filter(|register| register.is_dead());
                let (registers, dead) = (self.registers.len() as u64, dead.count() as u64);
                Reply::Status(AcceptorStatus::new(&self.standing, registers, dead))
            }
        }
    }

    fn step(&mut self, key: &Key, ballot: Ballot, step: impl FnOnce(&Register) -> Step) -> Reply {
        let nothing = Register::default();
        let step = step(self.registers.get(key).unwrap_or(&nothing));
        if step.is_alarm {
            log_alarm(key, ballot, &"memory");
        }
        if let Some(register) = step.write {
            match register.is_new() {
                true => self.registers.remove(key),
                false => self.registers.insert(key.clone(), register),
            };
        }
        step.reply
    }

    fn list(&self, request: &ListRequest) -> ListPage {
        let mut page = PageBuilder::new(request);
        let is_wanted = |key: &Key| {
            key.as_str().starts_with(&request.prefix)
                && request.after.as_ref().is_none_or(|after| key > after)
        };
        let is_listed = |register: &Register| match request.kind {
            ListKind::Accepted => true,
            ListKind::Dead => register.is_dead(),
        };
        let wanted = self.registers.iter().filter(|(key, _)| is_wanted(key));
        for (key, register) in wanted.filter(|(_, register)| is_listed(register)) {
            if page.is_full() {
                break;
            }
            page.push(key, register);
        }
        page.build()
    }
}

impl AcceptorStore for MemoryStore {
    fn serve(&mut self, calls: &[Call]) -> Result<Vec<Reply>, StoreError> {
        Ok(calls.iter().map(|call| self.serve_one(call)).collect())
    }
}
