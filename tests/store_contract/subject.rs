//! The stores under test, behind one face, and short words for calls.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use gryadka::caspaxos::{
    AcceptorId, Age, Ballot, Call, Configuration, Epoch, Fence, Incarnation, Lineage, ListKind,
    ListPage, ListRequest, Reply, Request, Value,
};
use gryadka::identity::ClusterId;
use gryadka::kv::{Command, Key, Memory, Record, RequestId, Submission, apply_once};
use gryadka::store::{AcceptorStore, EmbeddedStore, Identity, MemoryStore, RedisStore, StoreError};
use tempfile::TempDir;

use crate::redis_server::SharedServer;

/// A store that can crash.
pub trait Subject {
    /// The store.
    fn store(&mut self) -> &mut dyn AcceptorStore;

    /// Crashes whatever keeps the registers and starts it again on what is on
    /// its disk.
    fn crash(&mut self);

    /// Serves one batch, which must succeed.
    fn serve(&mut self, calls: &[Call]) -> Vec<Reply> {
        let replies = self.store().serve(calls).unwrap();
        assert_eq!(replies.len(), calls.len());
        replies
    }

    /// Serves one call, which must succeed.
    fn ask(&mut self, call: Call) -> Reply {
        self.serve(&[call]).remove(0)
    }
}

/// The cluster of all subjects.
pub const OURS: Option<ClusterId> = ClusterId::new(7);

/// Makes a new store that of an acceptor of the cluster.
pub fn enrolled<S: AcceptorStore>(mut store: S) -> S {
    let enrol = Request::Enrol { fence: Fence::default(), counter: 0, is_founding: true };
    let replies = store.serve(&[in_epoch(0, enrol)]).unwrap();
    assert!(matches!(replies[..], [Reply::Raised { .. }]), "{replies:?}");
    confirmed(store)
}

/// Has an acceptor serve whose store was opened, if it is enrolled.
pub fn confirmed<S: AcceptorStore>(mut store: S) -> S {
    confirm(&mut store);
    store
}

/// The same, of a store that is kept elsewhere.
pub fn confirm(store: &mut dyn AcceptorStore) {
    let status = store.serve(&[in_epoch(0, Request::Status)]).unwrap();
    let [Reply::Status(status)] = &status[..] else { panic!("{status:?}") };
    if status.cluster == OURS {
        let confirm = Request::Confirm { enrolment: status.claim.enrolment(), tag: 1 };
        let call = of_age(status.fence.age.0, in_epoch(status.fence.epoch.0, confirm));
        let replies = store.serve(&[call]).unwrap();
        assert!(matches!(replies[..], [Reply::Confirmed(_)]), "{replies:?}");
    }
}

pub struct MemorySubject(MemoryStore);

impl MemorySubject {
    pub fn new() -> Self {
        MemorySubject(enrolled(MemoryStore::default()))
    }
}

impl Subject for MemorySubject {
    fn store(&mut self) -> &mut dyn AcceptorStore {
        &mut self.0
    }

    fn crash(&mut self) {
        unreachable!("memory does not survive a crash")
    }
}

pub struct EmbeddedSubject {
    directory: TempDir,
    store: EmbeddedStore,
}

pub fn identity() -> Identity {
    Identity { cluster: "test".into(), acceptor: AcceptorId::from("a1") }
}

impl EmbeddedSubject {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = enrolled(EmbeddedStore::open(directory.path(), identity()).unwrap());
        EmbeddedSubject { directory, store }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Subject for EmbeddedSubject {
    fn store(&mut self) -> &mut dyn AcceptorStore {
        &mut self.store
    }

    fn crash(&mut self) {
        let directory = crash_image(self.path());
        self.store = confirmed(EmbeddedStore::open(directory.path(), identity()).unwrap());
        self.directory = directory;
    }
}

/// What a crash at this moment would leave of a directory.
pub fn crash_image(directory: &Path) -> TempDir {
    fn copy(from: &Path, to: PathBuf) {
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), target),
                false => drop(std::fs::copy(entry.path(), target).unwrap()),
            }
        }
    }
    let image = tempfile::tempdir().unwrap();
    copy(directory, image.path().into());
    image
}

pub struct RedisSubject {
    server: SharedServer,
    store: RedisStore,
}

impl RedisSubject {
    /// On a server that others use too: each subject is a cluster of its own.
    pub fn new(server: SharedServer) -> Self {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let cluster = format!("test-{}", CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let address = server.lock().unwrap().address();
        let store = enrolled(RedisStore::new(address, &cluster, &"a1".into(), false));
        RedisSubject { server, store }
    }
}

impl Subject for RedisSubject {
    fn store(&mut self) -> &mut dyn AcceptorStore {
        &mut self.store
    }

    fn crash(&mut self) {
        let mut server = self.server.lock().unwrap();
        server.kill();
        server.restart();
        // The next call would find the old connection dead.
        self.store.check().unwrap();
        confirm(&mut self.store);
    }
}

pub fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

pub fn ballot(counter: u64) -> Ballot {
    ballot_of(counter, "p1")
}

pub fn ballot_of(counter: u64, proposer: &str) -> Ballot {
    Ballot { counter, proposer: proposer.parse().unwrap(), incarnation: Incarnation(7) }
}

/// A value as a change under `ballot` leaves it.
pub fn value(bytes: impl Into<Vec<u8>>, ballot: Ballot) -> Value {
    let record = Record {
        value: Some(bytes.into().into()),
        created_index: 1,
        modified_index: ballot.counter,
    };
    let mut memory = Memory::default();
    let request_id = RequestId::numbered("c", ballot.counter).ok();
    let submission = Submission { command: Command::Delete, request_id };
    apply_once(&record, &mut memory, &submission, ballot.counter + 1);
    Value { record, lineage: Lineage::default().extended(ballot), memory }
}

/// What deletion leaves.
pub fn tombstone(ballot: Ballot) -> Value {
    let mut value = value("", ballot);
    value.record.value = None;
    value
}

pub fn prepare(key_text: &str, ballot: Ballot) -> Call {
    in_epoch(0, Request::Prepare { key: key(key_text), ballot })
}

pub fn accept(key_text: &str, ballot: Ballot, value: Value, next: Ballot) -> Call {
    in_epoch(0, Request::Accept { key: key(key_text), ballot, value, next })
}

/// An accept of a text, without a promise for more.
pub fn put(key_text: &str, counter: u64, text: &str) -> Call {
    accept(key_text, ballot(counter), value(text, ballot(counter)), ballot(counter))
}

pub fn read(key_text: &str) -> Call {
    in_epoch(0, Request::Read { key: key(key_text) })
}

pub fn list(prefix: &str, after: Option<&str>, limit_bytes: u32) -> Call {
    let after = after.map(key);
    let kind = ListKind::Accepted;
    in_epoch(0, Request::List(ListRequest { kind, prefix: prefix.into(), after, limit_bytes }))
}

/// The registers without a live record.
pub fn list_dead(prefix: &str, after: Option<&str>, limit_bytes: u32) -> Call {
    let (kind, after) = (ListKind::Dead, after.map(key));
    in_epoch(0, Request::List(ListRequest { kind, prefix: prefix.into(), after, limit_bytes }))
}

pub fn remove(key_text: &str, accepted: Ballot, floor: u64) -> Call {
    in_epoch(0, Request::Remove { key: key(key_text), accepted, floor })
}

pub fn of_age(age: u64, call: Call) -> Call {
    Call { age: Age(age), ..call }
}

pub fn in_epoch(epoch: u64, request: Request) -> Call {
    Call { cluster: OURS, epoch: Epoch(epoch), age: Age(0), request }
}

pub fn status() -> Call {
    in_epoch(0, Request::Status)
}

/// A fence of an epoch, with a configuration that has it.
pub fn fence(epoch: u64) -> Fence {
    let configuration = Some(Configuration::uniform(Epoch(epoch), &["a1".into()], 1, 1));
    Fence { epoch: Epoch(epoch), configuration, ..Fence::default() }
}

/// Raises the fence of a subject.
pub fn raise(subject: &mut dyn Subject, fence: Fence) {
    let call = in_epoch(fence.epoch.0, Request::Raise { fence });
    assert!(matches!(subject.ask(call), Reply::Raised { .. }));
}

pub fn conflict(seen: Ballot) -> Reply {
    Reply::Conflict { seen }
}

pub fn was_read(accepted: Ballot, value: Value) -> Reply {
    Reply::WasRead { accepted, record: value.record }
}

pub fn page(reply: Reply) -> ListPage {
    match reply {
        Reply::Listed(page) => page,
        other => panic!("not a page: {other:?}"),
    }
}

pub fn is_unreachable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unreachable { .. }))
}
