//! A batch of calls on the embedded store, before it is committed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::path::Path;

use super::embedded_open::Acceptor;
use super::page::{self, PageBuilder};
use super::{StoreError, encoding};
use crate::caspaxos::acceptor::{self, Register, Step};
use crate::caspaxos::{Ballot, Call, Epoch, ListPage, ListRequest, Reply, Request};
use crate::kv::Key;

/// What a batch has read and changed so far. Later calls see what earlier ones
/// wrote; the replies leave only after all of it is durable.
pub struct Batch<'a> {
    acceptor: &'a Acceptor,
    directory: &'a Path,
    least: Epoch,
    overlay: BTreeMap<Key, Overlaid>,
}

/// A register as the batch sees it.
#[derive(Default)]
struct Overlaid {
    register: Register,
    is_changed: bool,
}

/// What a batch wants written.
pub struct Changes {
    /// The registers that changed.
    pub registers: Vec<(Key, Register)>,
    /// The least epoch, if it was raised.
    pub least: Option<Epoch>,
}

impl Changes {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.least.is_none()
    }
}

impl<'a> Batch<'a> {
    /// A batch that has changed nothing yet.
    pub fn new(acceptor: &'a Acceptor, directory: &'a Path) -> Self {
        Batch { acceptor, directory, least: acceptor.least, overlay: BTreeMap::new() }
    }

    /// Serves one call; the reply holds once the changes are durable.
    pub fn serve(&mut self, call: &Call) -> Result<Reply, StoreError> {
        if call.epoch < self.least {
            return Ok(Reply::Fenced { least: self.least });
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
            Request::List(request) => Ok(Reply::Listed(self.list(request)?)),
        }
    }

    /// What has to be durable before the replies are sent.
    pub fn into_changes(self) -> Changes {
        let changed = self.overlay.into_iter().filter(|(_, overlaid)| overlaid.is_changed);
        Changes {
            registers: changed.map(|(key, overlaid)| (key, overlaid.register)).collect(),
            least: (self.least != self.acceptor.least).then_some(self.least),
        }
    }

    fn step(
        &mut self,
        key: &Key,
        ballot: Ballot,
        step: impl FnOnce(&Register) -> Step,
    ) -> Result<Reply, StoreError> {
        let overlaid = match self.overlay.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let bytes = self.acceptor.registers.get(key.as_str());
                let bytes =
                    bytes.map_err(|error| unreadable(self.directory, key.as_str(), error))?;
                let register = match bytes {
                    None => Register::default(),
                    Some(bytes) => decode(self.directory, key.as_str(), &bytes)?,
                };
                entry.insert(Overlaid { register, is_changed: false })
            }
        };
        let step = step(&overlaid.register);
        if step.is_alarm {
            super::log_alarm(key, ballot, &self.directory.display());
        }
        if let Some(register) = step.write {
            *overlaid = Overlaid { register, is_changed: true };
        }
        Ok(step.reply)
    }

    /// Merges what is on disk with what the batch has changed.
    fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let (least, is_excluded) = page::lower_bound(request);
        let from = if is_excluded { Bound::Excluded(least) } else { Bound::Included(least) };
        let mut stored = self.acceptor.registers.range::<&str, _>((from, Bound::Unbounded));
        let mut next_stored = || match stored.next() {
            Some(guard) => self.read_entry(guard, &request.prefix),
            None => Ok(None),
        };
        let is_after = |key: &Key| {
            if is_excluded { key.as_str() > least } else { key.as_str() >= least }
        };
        let mut changed = self.overlay.iter().filter(|(key, overlaid)| {
            overlaid.is_changed && is_after(key) && key.as_str().starts_with(&request.prefix)
        });
        let (mut on_disk, mut in_batch) = (next_stored()?, changed.next());
        let mut page = PageBuilder::new(request);
        while !page.is_full() {
            let is_from_disk = match (&on_disk, in_batch) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((stored, _)), Some((changed, _))) => stored < changed,
            };
            if is_from_disk {
                on_disk.iter().for_each(|(key, register)| page.push(key, register));
                on_disk = next_stored()?;
            } else if let Some((key, overlaid)) = in_batch {
                page.push(key, &overlaid.register);
                if on_disk.as_ref().is_some_and(|(stored, _)| stored == key) {
                    on_disk = next_stored()?;
                }
                in_batch = changed.next();
            }
        }
        Ok(page.build())
    }

    /// The register at a cursor; `None` once the prefix is left.
    fn read_entry(
        &self,
        guard: fjall::Guard,
        prefix: &str,
    ) -> Result<Option<(Key, Register)>, StoreError> {
        let entry = guard.into_inner();
        let (key, bytes) = entry.map_err(|error| unreadable(self.directory, prefix, error))?;
        if !key.starts_with(prefix.as_bytes()) {
            return Ok(None);
        }
        let text = std::str::from_utf8(&key).ok();
        let Some(key) = text.and_then(|text| Key::try_from(text).ok()) else {
            let key = String::from_utf8_lossy(&key);
            return Err(broken(
                self.directory,
                format!("keyspace registers has no key like {key:?}"),
            ));
        };
        let register = decode(self.directory, key.as_str(), &bytes)?;
        Ok(Some((key, register)))
    }
}

fn decode(directory: &Path, key: &str, bytes: &[u8]) -> Result<Register, StoreError> {
    let damaged = |why| broken(directory, format!("the register of key {key:?} is damaged: {why}"));
    encoding::decode_with_memory(bytes).map_err(damaged)
}

fn unreadable(directory: &Path, key: &str, error: fjall::Error) -> StoreError {
    broken(directory, format!("reading the register of key {key:?} failed: {error}"))
}

fn broken(directory: &Path, why: String) -> StoreError {
    StoreError::Broken { path: directory.display().to_string(), why }
}
