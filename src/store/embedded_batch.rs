//! A batch of calls on the embedded store, before it is committed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::embedded_open::{Acceptor, NEWEST};
use super::page::{self, PageBuilder};
use super::{StoreError, encoding};
use crate::caspaxos::acceptor::{self, Register, Step};
use crate::caspaxos::{
    AcceptorStatus, Ballot, Call, ListKind, ListPage, ListRequest, Reply, Request, Standing,
};
use crate::kv::{Cache, Key};

/// What a batch has read and changed so far. Later calls see what earlier ones
/// wrote; the replies leave only after all of it is durable.
pub struct Batch<'a> {
    acceptor: &'a Acceptor,
    directory: &'a Path,
    standing: Standing,
    known: &'a mut Cache<Register>,
    overlay: BTreeMap<Key, Overlaid>,
}

/// A register as the batch sees it.
#[derive(Default)]
struct Overlaid {
    register: Register,
    /// Whether it was so before the batch.
    was_dead: bool,
    is_changed: bool,
}

/// What a batch wants written.
pub struct Changes {
    /// The registers that changed.
    pub registers: Vec<(Key, Register)>,
    /// Keys that are dead from now on, or not any more.
    pub dead: Vec<(Key, bool)>,
    /// The standing, if it changed.
    pub standing: Option<Standing>,
}

impl Changes {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.standing.is_none()
    }
}

impl<'a> Batch<'a> {
    /// A batch that has changed nothing yet.
    pub fn new(
        acceptor: &'a Acceptor,
        directory: &'a Path,
        known: &'a mut Cache<Register>,
    ) -> Self {
        let standing = acceptor.standing.clone();
        Batch { acceptor, directory, standing, known, overlay: BTreeMap::new() }
    }

    /// Serves one call; the reply holds once the changes are durable.
    pub fn serve(&mut self, call: &Call) -> Result<Reply, StoreError> {
        if let Some(reply) = self.standing.admit(call) {
            return Ok(reply);
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
            Request::List(request) => Ok(Reply::Listed(match request.kind {
                ListKind::Accepted => self.list(request)?,
                ListKind::Dead => self.list_dead(request)?,
            })),
            Request::Raise { fence } => Ok(self.standing.raise(fence)),
            Request::Enrol { fence, counter, is_founding } => {
                let holds_registers = self.holds_registers()?;
                Ok(self.standing.enrol(
                    call.cluster,
                    (fence, *counter, *is_founding),
                    holds_registers,
                ))
            }
            Request::Note { of, claim } => Ok(self.standing.note(of, claim)),
            Request::Confirm { tag, .. } => Ok(self.standing.confirm(*tag)),
            Request::Mark { tag } => Ok(self.standing.mark(*tag)),
            Request::Wipe => Ok(self.standing.leave()),
            Request::Status => Ok(Reply::Status(self.status()?)),
        }
    }

    fn holds_registers(&self) -> Result<bool, StoreError> {
        let is_empty = self.acceptor.registers.is_empty();
        let is_empty = is_empty.map_err(|error| unreadable(self.directory, "", error))?;
        Ok(!is_empty || self.overlay.values().any(|overlaid| !overlaid.register.is_new()))
    }

    /// Of the registers it counts those before the batch.
    fn status(&self) -> Result<AcceptorStatus, StoreError> {
        let keyspace = &self.acceptor.dead;
        let dead = keyspace.len().and_then(|all| {
            let besides = usize::from(keyspace.contains_key(NEWEST)?);
            Ok(all.saturating_sub(besides))
        });
        let dead = dead.map_err(|error| unreadable(self.directory, "", error))?;
        let registers = self.acceptor.registers.approximate_len() as u64;
        Ok(AcceptorStatus::new(&self.standing, registers, dead as u64))
    }

    /// What has to be durable before the replies are sent.
    pub fn into_changes(self) -> Changes {
        let mut changes = Changes { registers: Vec::new(), dead: Vec::new(), standing: None };
        for (key, overlaid) in self.overlay {
            if !overlaid.is_changed {
                self.known.insert(key, overlaid.register);
                continue;
            }
            let is_dead = overlaid.register.is_dead();
            if is_dead != overlaid.was_dead {
                changes.dead.push((key.clone(), is_dead));
            }
            changes.registers.push((key, overlaid.register));
        }
        changes.standing = (self.standing != self.acceptor.standing).then_some(self.standing);
        changes
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
                let register = match self.known.take(key) {
                    Some(register) => register,
                    None => stored(self.acceptor, self.directory, key)?,
                };
                let was_dead = register.is_dead();
                entry.insert(Overlaid { register, was_dead, is_changed: false })
            }
        };
        let step = step(&overlaid.register);
        if step.is_alarm {
            super::log_alarm(key, ballot, &self.directory.display());
        }
        if let Some(register) = step.write {
            overlaid.register = register;
            overlaid.is_changed = true;
        }
        Ok(step.reply)
    }

    /// The dead as they were before the batch, and are still.
    fn list_dead(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = PageBuilder::new(request);
        let Some(bounds) = page::bounds(request) else { return Ok(page.build()) };
        for guard in self.acceptor.dead.range(bounds) {
            if page.is_full() {
                break;
            }
            let key = guard.key();
            let key = key.map_err(|error| unreadable(self.directory, &request.prefix, error))?;
            let key = parse_key(self.directory, "dead", &key)?;
            match self.overlay.get(&key) {
                Some(overlaid) => page.push(&key, &overlaid.register),
                None => page.push(&key, &stored(self.acceptor, self.directory, &key)?),
            }
        }
        Ok(page.build())
    }

    /// Merges what is on disk with what the batch has changed.
    fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = PageBuilder::new(request);
        let Some(bounds) = page::bounds(request) else { return Ok(page.build()) };
        let (least, is_excluded) = page::lower_bound(request);
        let mut stored = self.acceptor.registers.range(bounds);
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
        let key = parse_key(self.directory, "registers", &key)?;
        let register = decode(self.directory, key.as_str(), &bytes)?;
        Ok(Some((key, register)))
    }
}

/// The register as it is on disk.
fn stored(acceptor: &Acceptor, directory: &Path, key: &Key) -> Result<Register, StoreError> {
    let bytes = acceptor.registers.get(key.as_str());
    let bytes = bytes.map_err(|error| unreadable(directory, key.as_str(), error))?;
    match bytes {
        None => Ok(Register::default()),
        Some(bytes) => decode(directory, key.as_str(), &bytes),
    }
}

fn parse_key(directory: &Path, keyspace: &str, bytes: &[u8]) -> Result<Key, StoreError> {
    let key = std::str::from_utf8(bytes).ok().and_then(|text| Key::try_from(text).ok());
    key.ok_or_else(|| {
        let key = String::from_utf8_lossy(bytes);
        broken(directory, format!("keyspace {keyspace} has no key like {key:?}"))
    })
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
