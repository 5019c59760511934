//! An acceptor whose every step is durable at once.

use std::collections::BTreeMap;

use gryadka::caspaxos::acceptor::{Register, Step, accept, prepare, read, remove};
use gryadka::caspaxos::{
    AcceptorStatus, Call, Configuration, Fence, ListPage, Reply, Request, Standing,
};
use gryadka::identity::ClusterId;
use gryadka::kv::Key;

#[derive(Clone, Default, Debug)]
pub struct Acceptor {
    registers: BTreeMap<Key, Register>,
    standing: Standing,
}

/// The cluster that is explored.
pub const CLUSTER: Option<ClusterId> = ClusterId::new(7);

impl Acceptor {
    /// One that founded the cluster.
    pub fn founder(configuration: Configuration) -> Acceptor {
        let (epoch, configuration) = (configuration.epoch, Some(configuration));
        let fence = Fence { epoch, configuration, ..Fence::default() };
        let mut standing = Standing { fence, cluster: CLUSTER, ..Standing::default() };
        standing.confirm(1);
        Acceptor { standing, ..Acceptor::default() }
    }

    /// True when a call could not change anything, now or later: a register
    /// that is removed stands behind the fence of its age.
    pub fn is_past(&self, call: &Call) -> bool {
        let fence = &self.standing.fence;
        if call.epoch < fence.epoch || call.age < fence.age {
            return true;
        }
        let nothing = Register::default();
        let register = |key: &Key| self.registers.get(key).unwrap_or(&nothing);
        match &call.request {
            Request::Prepare { key, ballot } => *ballot <= register(key).seen(),
            Request::Accept { key, ballot, .. } => {
                *ballot < register(key).promise || *ballot <= register(key).accepted
            }
            Request::Read { .. } => call.epoch == fence.epoch,
            Request::Raise { .. }
            | Request::Enrol { .. }
            | Request::Note { .. }
            | Request::Confirm { .. }
            | Request::Mark { .. }
            | Request::Remove { .. }
            | Request::Wipe
            | Request::Status
            | Request::List(_) => false,
        }
    }

    /// Runs a call. An error is an alarm.
    pub fn serve(&mut self, call: &Call) -> Result<Reply, String> {
        if let Some(refusal) = self.standing.admit(call) {
            return Ok(refusal);
        }
        let nothing = Register::default();
        let register = |key: &Key| self.registers.get(key).unwrap_or(&nothing);
        let (key, step) = match &call.request {
            Request::Prepare { key, ballot } => (key, prepare(register(key), *ballot)),
            Request::Accept { key, ballot, value, next } => {
                (key, accept(register(key), *ballot, value, *next))
            }
            Request::Read { key } => (key, read(register(key))),
            Request::Remove { key, accepted, floor } => {
                (key, remove(register(key), *accepted, *floor))
            }
            Request::Raise { fence } => return Ok(self.standing.raise(fence)),
            Request::Enrol { fence, counter, is_founding } => {
                let holds_registers = !self.registers.is_empty();
                return Ok(self.standing.enrol(
                    call.cluster,
                    (fence, *counter, *is_founding),
                    holds_registers,
                ));
            }
            Request::Note { of, claim } => return Ok(self.standing.note(of, claim)),
            Request::Confirm { tag, .. } => return Ok(self.standing.confirm(*tag)),
            Request::Mark { tag } => return Ok(self.standing.mark(*tag)),
            Request::Wipe => {
                self.registers.clear();
                return Ok(self.standing.leave());
            }
            Request::Status => {
                return Ok(Reply::Status(AcceptorStatus::new(&self.standing, 0, 0)));
            }
            // Nobody asks for it here.
            Request::List(_) => return Ok(Reply::Listed(ListPage::default())),
        };
        let Step { write, reply, is_alarm } = step;
        if is_alarm {
            return Err(format!("alarm: two values under one ballot: {call:?}"));
        }
        if let Some(register) = write {
            match register.is_new() {
                true => self.registers.remove(key),
                false => self.registers.insert(key.clone(), register),
            };
        }
        Ok(reply)
    }
}
