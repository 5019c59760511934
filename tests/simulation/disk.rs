//! What an acceptor has on its disk, and what may happen to it.

use std::collections::BTreeMap;

use gryadka::caspaxos::acceptor::Register;
use gryadka::caspaxos::{Fence, Standing};
use gryadka::kv::Key;

/// Registers and standing.
#[derive(Clone, Default, PartialEq)]
pub struct Disk {
    pub registers: BTreeMap<Key, Register>,
    pub standing: Standing,
}

/// What one call changes; all of it or nothing becomes durable.
pub struct Write {
    pub standing: Option<Standing>,
    pub change: Change,
}

/// What becomes of the registers.
pub enum Change {
    Nothing,
    Register(Key, Register),
    /// The register is removed, as it was asked for.
    Removal(Key),
    /// All of them are removed, as it was asked for.
    Wipe,
}

impl Disk {
    /// Makes a write. An error is a broken invariant: what was promised,
    /// accepted or fenced off goes back.
    pub fn apply(&mut self, write: &Write) -> Result<(), String> {
        let is_wiped = matches!(write.change, Change::Wipe);
        if let Some(new) = &write.standing {
            let old = std::mem::replace(&mut self.standing, new.clone());
            if goes_back(&old.fence, &new.fence)
                || (old.cluster.is_some() && new.cluster != old.cluster && !is_wiped)
                || new.counter < old.counter
                || !new.claim().continues(old.claim().enrolment())
            {
                return Err(format!("the standing goes back: {old:?} to {new:?}"));
            }
        }
        match &write.change {
            Change::Nothing => {}
            Change::Wipe => self.registers.clear(),
            Change::Removal(key) => {
                if self.registers.remove(key).is_some_and(|old| !old.is_dead()) {
                    return Err(format!("a live register is removed: {key}"));
                }
            }
            Change::Register(key, new) => {
                let Some(old) = self.registers.insert(key.clone(), new.clone()) else {
                    return Ok(());
                };
                let goes_back = new.promise < old.promise || new.accepted < old.accepted;
                if goes_back || (new.accepted == old.accepted && new.value != old.value) {
                    return Err(format!("the disk goes back: {key}: {old:?} to {new:?}"));
                }
            }
        }
        Ok(())
    }
}

fn goes_back(old: &Fence, new: &Fence) -> bool {
    let told = |fence: &Fence| fence.configuration.as_ref().map(|told| told.epoch);
    new.epoch < old.epoch
        || new.age < old.age
        || new.floor.counter < old.floor.counter
        || new.floor.index < old.floor.index
        || told(new) < told(old)
}
