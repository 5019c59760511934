//! What committed entries do to records and members.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use super::memories::{ABSENT_KEYS, Memories};
use super::message::Published;
use super::planted::{Bug, is_planted};
use super::rows::Row;
use super::state::{Applied, Members, Summary, record};
use super::types::{Entry, Request, Response};
use crate::kv::{Cache, Key, Memory, Outcome, Record, Submission, apply_once};
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
    /// Whether a record was deleted, be it created anew since: what is stored must
    /// not depend on which entries are applied together.
    has_deleted: bool,
    /// The records that changed; later entries see them.
    records: BTreeMap<Key, Record>,
    /// Records as they were before.
    known: &'a mut Cache<Record>,
    memories: Memories<'a, D>,
    bug: Option<Bug>,
}

impl<'a, D: Disk> Application<'a, D> {
    /// Begins where the state stands.
    pub fn new(
        disk: &'a D,
        summary: Summary,
        known: &'a mut Cache<Record>,
        bug: Option<Bug>,
    ) -> Self {
        Application {
            disk,
            generation: summary.generation,
            applied: summary.applied,
            members: summary.members,
            are_members_changed: false,
            has_deleted: false,
            records: BTreeMap::new(),
            known,
            memories: Memories::new(disk, summary.generation, ABSENT_KEYS),
            bug,
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
            EntryPayload::Normal(Request::Publish(publication)) => {
                let published = Arc::make_mut(&mut self.members).publish(publication);
                self.are_members_changed |= published == Published::Noted;
                Ok(Response::Published(published))
            }
            EntryPayload::Normal(Request::Command { key, command }) => {
                self.submit_one(key, command.clone().into())
            }
            EntryPayload::Normal(Request::Once { key, command, id }) => {
                let request_id = Some(id.clone());
                let submission = Submission { command: command.clone(), request_id };
                self.submit_one(key, submission)
            }
            EntryPayload::Normal(Request::Several(commands)) => {
                let submit =
                    |(key, submission): &(Key, Submission)| self.submit(key, submission.clone());
                Ok(Response::Applied(commands.iter().map(submit).collect::<Result<_, _>>()?))
            }
        }
    }

    fn submit_one(&mut self, key: &Key, submission: Submission) -> Result<Response, StoreError> {
        Ok(Response::Applied(vec![self.submit(key, submission)?]))
    }

    /// Applies a command; gives its outcome and the number of changes so far.
    fn submit(&mut self, key: &Key, submission: Submission) -> Result<(Outcome, u64), StoreError> {
        let before = self.record(key)?;
        let is_named = submission.id_to_remember().is_some();
        let mut memory = Memory::default();
        if is_named && !is_planted(self.bug, Bug::ForgetsRequests) {
            memory = self.memories.get(key)?;
        }
        let once = apply_once(&before, &mut memory, &submission, self.applied.changes + 1);
        let outcome = once.outcome;
        let is_changed = !once.is_old && outcome.after != outcome.before;
        if is_changed {
            self.applied.changes += 1;
            // Indices grow over all keys, so that nothing needs a tombstone.
            let is_live = outcome.after.is_live();
            self.has_deleted |= !is_live;
            let record = if is_live { outcome.after.clone() } else { Record::default() };
            self.records.insert(key.clone(), record);
        }
        let is_remembered = !once.is_old && is_named;
        if is_remembered {
            self.memories.put(key, memory)?;
        }
        if (is_changed || is_remembered) && !outcome.after.is_live() {
            let Application { disk, generation, records, memories, .. } = self;
            memories.place(key, |other| match records.get(other) {
                Some(found) => Ok(found.is_live()),
                None => Ok(record(*disk, *generation, other)?.is_live()),
            })?;
        }
        Ok((outcome, self.applied.changes))
    }

    fn record(&mut self, key: &Key) -> Result<Record, StoreError> {
        match self.records.get(key).or_else(|| self.known.get(key)) {
            Some(record) => Ok(record.clone()),
            None => record(self.disk, self.generation, key),
        }
    }

    /// Takes note of what changed, once it is written.
    pub fn note_written(self) {
        let Application { records, known, .. } = self;
        records.into_iter().for_each(|(key, record)| known.insert(key, record));
    }

    /// What changed.
    pub fn writes(&self) -> Writes {
        let mut writes = Writes::default();
        let space = Space::State(self.generation);
        for (key, record) in &self.records {
            let row = Row::Record(key.clone()).to_bytes();
            match record.is_live() {
                true => writes.put(space, row, encode(record)),
                false => writes.remove(space, row),
            }
        }
        if self.has_deleted {
            writes.put(space, Row::Newest.to_bytes(), encode(&()));
        }
        self.memories.write_to(&mut writes);
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Command, RequestId, Scope, Verdict};
    use crate::raft::state::{Rows, State, records};
    use crate::raft::types::LogId;
    use crate::store::{Durability, MemoryDisk};

    /// A state to which requests come, each in a batch of its own.
    struct Replica {
        disk: MemoryDisk,
        summary: Summary,
        entries: u64,
        known: Cache<Record>,
    }

    impl Replica {
        fn new() -> Replica {
            let disk = MemoryDisk::default();
            disk.create_generation(0).unwrap();
            Replica { disk, summary: Summary::default(), entries: 0, known: Cache::new(1 << 20) }
        }

        fn ask(&mut self, id: &str, command: Command) -> Outcome {
            let (key, submission) = named("k", id, command);
            self.apply(Request::new(key, submission)).remove(0)
        }

        fn apply(&mut self, request: Request) -> Vec<Outcome> {
            self.entries += 1;
            let log_id = LogId::new_term_index(1, self.entries);
            let mut application =
                Application::new(&self.disk, self.summary.clone(), &mut self.known, None);
            let entry = Entry { log_id, payload: EntryPayload::Normal(request) };
            let Response::Applied(applied) = application.apply(entry).unwrap() else {
                panic!("a command has an outcome");
            };
            self.disk.commit(application.writes(), Durability::Now).unwrap();
            self.summary.applied = application.applied.clone();
            application.note_written();
            applied.into_iter().map(|(outcome, _)| outcome).collect()
        }

        fn state(&self) -> State<MemoryDisk> {
            State::new(self.disk.clone(), self.summary.clone())
        }
    }

    fn named(key: &str, id: &str, command: Command) -> (Key, Submission) {
        let request_id = RequestId::try_from(id).ok();
        (Key::try_from(key).unwrap(), Submission { command, request_id })
    }

    #[test]
    fn keys_that_one_entry_deletes_all_remember() {
        let mut replica = Replica::new();
        let deletes = ["k", "l", "m"].map(|key| named(key, "a", Command::Delete));
        let create = |key: &str| named(key, "b", Command::Create("v".into()));
        replica.apply(Request::Several(vec![create("k"), create("l"), create("m")]));
        let first = replica.apply(Request::Several(deletes.to_vec()));
        assert!(first.iter().all(|outcome| outcome.verdict == Verdict::Done), "{first:?}");
        assert_eq!(replica.apply(Request::Several(deletes.to_vec())), first);
    }

    #[test]
    fn a_request_that_comes_again_changes_nothing() {
        let mut replica = Replica::new();
        let first = replica.ask("a", Command::Add(1));
        let other = replica.ask("b", Command::Add(1));
        assert_eq!(replica.ask("a", Command::Add(1)), first);
        assert_eq!(replica.ask("b", Command::Add(1)), other);
        assert_eq!(replica.ask("", Command::Get).after.text(), Some("2"));
        assert_eq!(replica.summary.applied.changes, 2);
    }

    #[test]
    fn a_key_that_was_deleted_remembers_and_does_not_show() {
        let mut replica = Replica::new();
        replica.ask("", Command::Set("v".into()));
        let first = replica.ask("a", Command::Delete);
        assert_eq!(replica.ask("a", Command::Delete), first);
        assert_eq!(first.verdict, Verdict::Done);
        assert_eq!(replica.ask("b", Command::Delete).verdict, Verdict::NotFound);
        let state = replica.state();
        for scope in [Scope::All, Scope::Any] {
            assert_eq!(state.list("", scope).unwrap().records, []);
        }
        let (view, _) = state.view();
        assert_eq!(records(&view, 0, "").count(), 0);
        // The memory, its place on the ring, how many turns there were, and that
        // something was deleted: all of it goes into snapshots.
        assert_eq!(Rows::all(&view, 0).count(), 4);
        let before = state.hash().unwrap();
        assert_eq!(before.keys, 0);
        replica.ask("c", Command::Delete);
        assert_ne!(replica.state().hash().unwrap().hash, before.hash);
    }

    #[test]
    fn without_a_name_nothing_is_remembered() {
        let mut replica = Replica::new();
        replica.ask("", Command::Add(1));
        replica.ask("", Command::Delete);
        let rows: Result<Vec<_>, _> = Rows::all(&replica.state().view().0, 0).collect();
        let rows: Vec<_> = rows.unwrap().into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, [Row::Newest.to_bytes()]);
    }
}
