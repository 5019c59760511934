//! Registers in memory, gone with the process: for tests, and the plainest
//! reading of the contract, against which the other stores are compared.

use std::collections::BTreeMap;

use super::page::PageBuilder;
use super::{AcceptorStore, StoreError, log_alarm};
use crate::caspaxos::acceptor::{self, Register, Step};
use crate::caspaxos::{Ballot, Call, Epoch, ListPage, ListRequest, Reply, Request};
use crate::kv::Key;

/// An acceptor's memory that forgets. An acceptor that answers from it breaks
/// its promises when it restarts: use it in tests only.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    registers: BTreeMap<Key, Register>,
    least: Epoch,
}

impl MemoryStore {
    fn serve_one(&mut self, call: &Call) -> Reply {
        if call.epoch < self.least {
            return Reply::Fenced { least: self.least };
        }
        self.least = call.epoch;
        match &call.request {
            Request::Prepare { key, ballot } => {
                self.step(key, *ballot, |register| acceptor::prepare(register, *ballot))
            }
            Request::Accept { key, ballot, value, next } => {
                let step = |register: &Register| acceptor::accept(register, *ballot, value, *next);
                self.step(key, *ballot, step)
            }
            Request::Read { key } => self.step(key, Ballot::ZERO, acceptor::read),
            Request::List(request) => Reply::Listed(self.list(request)),
        }
    }

    fn step(&mut self, key: &Key, ballot: Ballot, step: impl FnOnce(&Register) -> Step) -> Reply {
        let nothing = Register::default();
        let step = step(self.registers.get(key).unwrap_or(&nothing));
        if step.is_alarm {
            log_alarm(key, ballot, &"memory");
        }
        if let Some(register) = step.write {
            self.registers.insert(key.clone(), register);
        }
        step.reply
    }

    fn list(&self, request: &ListRequest) -> ListPage {
        let mut page = PageBuilder::new(request);
        let is_wanted = |key: &Key| {
            key.as_str().starts_with(&request.prefix)
                && request.after.as_ref().is_none_or(|after| key > after)
        };
        for (key, register) in self.registers.iter().filter(|(key, _)| is_wanted(key)) {
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
