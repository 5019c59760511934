//! What committed entries do to records and members.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use super::state::{Applied, Members, Summary, record};
use super::types::{Entry, Request, Response};
use crate::kv::{Key, Record, apply};
use crate::store::{Disk, Space, StoreError, Writes, encode};

/// Entries being applied, before what they change is written.
pub struct Application<'a, D> {
    disk: &'a D,
    generation: u32,
    /// How far it has come.
    pub applied: Applied,
    /// Who belongs to the cluster then.
    pub members: Arc<Members>,
    /// Whether that has changed.
    pub are_members_changed: bool,
    /// The records that changed; later entries see them.
    records: BTreeMap<Key, Record>,
}

impl<'a, D: Disk> Application<'a, D> {
    /// Begins where the state stands.
    pub fn new(disk: &'a D, summary: Summary) -> Self {
        Application {
            disk,
            generation: summary.generation,
            applied: summary.applied,
            members: summary.members,
            are_members_changed: false,
            records: BTreeMap::new(),
        }
    }

    /// Applies the next entry.
    pub fn apply(&mut self, entry: Entry) -> Result<Response, StoreError> {
        self.applied.last = Some(entry.log_id());
        match &entry.payload {
            EntryPayload::Blank => Ok(Response::Nothing),
            EntryPayload::Membership(_) => {
                Arc::make_mut(&mut self.members).change(&entry);
                self.are_members_changed = true;
                Ok(Response::Nothing)
            }
            EntryPayload::Normal(Request::Publish { id, profile }) => {
                let members = Arc::make_mut(&mut self.members);
                if members.url(*id).is_some() {
                    members.profiles.insert(*id, profile.clone());
                    self.are_members_changed = true;
                }
                Ok(Response::Nothing)
            }
            EntryPayload::Normal(Request::Command { key, command }) => {
                let before = match self.records.get(key) {
                    Some(record) => record.clone(),
                    None => record(self.disk, self.generation, key)?,
                };
                let outcome = apply(&before, command, self.applied.changes + 1);
                if outcome.after != outcome.before {
                    self.applied.changes += 1;
                    // Indices grow over all keys, so that nothing needs a tombstone.
                    let is_live = outcome.after.is_live();
                    let record = if is_live { outcome.after.clone() } else { Record::default() };
                    self.records.insert(key.clone(), record);
                }
                Ok(Response::Applied { outcome, index: self.applied.changes })
            }
        }
    }

    /// The records that changed.
    pub fn writes(&self) -> Writes {
        let mut writes = Writes::default();
        for (key, record) in &self.records {
            let space = Space::State(self.generation);
            let key = key.as_str().as_bytes().to_vec();
            match record.is_live() {
                true => writes.put(space, key, encode(record)),
                false => writes.remove(space, key),
            }
        }
        writes
    }
}
