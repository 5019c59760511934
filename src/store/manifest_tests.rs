//! What happens to a database of which a part is lost, and to one whose process
//! ended between two steps.

use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;
use crate::caspaxos::{AcceptorId, Age, Ballot, Call, Epoch, Fence, Reply, Request, Value};
use crate::identity::ClusterId;
use crate::kv::{Key, Record};
use crate::store::{
    AcceptorStore, Disk, Durability, EmbeddedStore, FjallDisk, Identity, ReplicaIdentity, Space,
    Writes, open_database,
};

const KEYS: u64 = 3;
/// Large enough for a file of large values.
const VALUE_BYTES: usize = 10 << 10;

/// An acceptor and a replica in one database.
struct Both {
    acceptor: EmbeddedStore,
    replica: FjallDisk,
}

fn open(directory: &Path) -> Result<Both, OpenError> {
    let database = open_database(directory)?;
    let acceptor = Identity { cluster: "test".into(), acceptor: AcceptorId::from("a1") };
    let acceptor = EmbeddedStore::new(database.clone(), directory, acceptor)?;
    let replica = ReplicaIdentity { cluster: "test".into(), id: 1 };
    Ok(Both { acceptor, replica: FjallDisk::open(database, directory, replica)? })
}

fn call(request: Request) -> Call {
    let cluster = ClusterId::new(7);
    Call { cluster, epoch: Epoch::default(), age: Age::default(), request }
}

fn key(number: u64) -> Key {
    Key::try_from(format!("k{number}").as_str()).unwrap()
}

fn text(number: u64) -> Vec<u8> {
    vec![number as u8; VALUE_BYTES]
}

fn ballot() -> Ballot {
    Ballot { counter: 1, proposer: "p1".parse().unwrap(), ..Ballot::ZERO }
}

impl Both {
    /// Writes to each of the two, durably.
    fn write(&mut self, number: u64) {
        let value = Some(text(number).into());
        let record = Record { value, created_index: 1, modified_index: 1 };
        let value = Value { record, ..Value::default() };
        let next = Ballot { counter: 2, ..ballot() };
        let enrol = Request::Enrol { fence: Fence::default(), counter: 0, is_founding: true };
        let accept = Request::Accept { key: key(number), ballot: ballot(), value, next };
        self.acceptor.serve(&[call(enrol)]).unwrap();
        self.confirm();
        let replies = self.acceptor.serve(&[call(accept)]).unwrap();
        assert_eq!(replies, [Reply::Accepted]);
        let mut writes = Writes::default();
        for space in [Space::Log, Space::Meta, Space::State(1)] {
            writes.put(space, format!("k{number}"), text(number));
        }
        self.replica.commit(writes, Durability::Now).unwrap();
    }

    /// Has the acceptor serve.
    fn confirm(&mut self) {
        let replies = self.acceptor.serve(&[call(Request::Status)]).unwrap();
        let [Reply::Status(status)] = &replies[..] else { panic!("{replies:?}") };
        let confirm = Request::Confirm { enrolment: status.claim.enrolment(), tag: 1 };
        let replies = self.acceptor.serve(&[call(confirm)]).unwrap();
        assert!(matches!(replies[..], [Reply::Confirmed(_)]), "{replies:?}");
    }

    fn assert_whole(&mut self) {
        self.confirm();
        for number in 0..KEYS {
            let read = self.acceptor.serve(&[call(Request::Read { key: key(number) })]).unwrap();
            let Reply::WasRead { record, .. } = &read[0] else { panic!("{read:?}") };
            assert_eq!(record.value.as_deref(), Some(&text(number)[..]), "register {number}");
            for space in [Space::Log, Space::Meta, Space::State(1)] {
                let held = self.replica.get(space, format!("k{number}").as_bytes()).unwrap();
                assert_eq!(held.as_deref(), Some(&text(number)[..]), "{space:?} {number}");
            }
        }
    }
}

/// A database that holds some of its data in tables and some in its journal.
fn filled() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut both = open(directory.path()).unwrap();
    both.replica.create_generation(1).unwrap();
    (0..KEYS - 1).for_each(|number| both.write(number));
    drop(both);
    // fjall does not allocate a journal that it opens.
    let fjall = fjall::Database::builder(directory.path()).open().unwrap();
    for name in fjall.list_keyspace_names() {
        let keyspace = fjall.keyspace(&name, || panic!("{name} is there")).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    drop(fjall);
    let mut both = open(directory.path()).unwrap();
    both.write(KEYS - 1);
    directory
}

/// The files of a directory with their content, and directories as they are.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    fn walk(from: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            found.insert(path.strip_prefix(root).unwrap().into(), content);
            if path.is_dir() {
                walk(&path, root, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found);
    found
}

/// A directory that holds these files.
fn planted(tree: &BTreeMap<PathBuf, Option<Vec<u8>>>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in tree {
        let path = directory.path().join(path);
        match content {
            None => fs::create_dir(path).unwrap(),
            Some(content) => fs::write(path, content).unwrap(),
        }
    }
    directory
}

/// Each file and directory, removed alone: the start is refused, names it and
/// changes nothing, or all data is there nevertheless.
#[test]
fn whatever_is_lost_is_missed_or_not_needed() {
    let directory = filled();
    let whole = tree(directory.path());
    let mut refused = BTreeSet::new();
    for part in whole.keys() {
        let mut rest = whole.clone();
        rest.retain(|path, _| !path.starts_with(part));
        let damaged = planted(&rest);
        let kind = part.components().next_back().unwrap().as_os_str().to_str().unwrap();
        let parent = part.parent().and_then(|parent| parent.file_name()).unwrap_or_default();
        let kind = match kind.parse::<u64>() {
            Ok(_) => format!("{}/N", parent.display()),
            Err(_) => kind.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(),
        };
        match open(damaged.path()) {
            // Directories in which nothing is, and what fjall would have removed.
            Ok(mut both) => both.assert_whole(),
            Err(error) => {
                let message = error.to_string();
                let expected = [
                    damaged.path().display().to_string(),
                    // What holds nothing but what is needed counts as this.
                    format!(": {}", part.display()),
                    " is missing, and with it ".to_owned(),
                    "if it was only moved, put it back".to_owned(),
                    "replace the acceptor by a new one".to_owned(),
                ];
                for words in expected {
                    assert!(message.contains(&words), "{message:?} lacks {words:?}");
                }
                assert_eq!(tree(damaged.path()), rest, "{part:?}");
                refused.insert(kind);
            }
        }
    }
    assert_eq!(
        refused.into_iter().collect::<Vec<_>>(),
        [
            "0.jnl",
            "blobs",
            "blobs/N",
            "current",
            "keyspaces",
            "keyspaces/N",
            "lock",
            "tables",
            "tables/N",
            "v",
            "version"
        ]
    );
}

/// A database without a manifest misses less, but not all that it is made of.
#[test]
fn without_a_manifest_the_names_of_the_keyspaces_are_missed() {
    let directory = filled();
    let mut whole = tree(directory.path());
    whole.remove(Path::new(FILE)).unwrap();
    for part in ["version", "keyspaces", "keyspaces/0", "keyspaces/0/current"] {
        let mut rest = whole.clone();
        rest.retain(|path, _| !path.starts_with(part));
        let damaged = planted(&rest);
        let message = open(damaged.path()).err().unwrap().to_string();
        assert!(message.contains(&format!(": {part} is missing")), "{message}");
        assert_eq!(tree(damaged.path()), rest);
    }
}

/// The states in which a process can end: on its way to its first write, and
/// while keyspaces come and go.
#[test]
fn a_process_may_end_between_any_two_steps() {
    let directory = filled();
    let whole = tree(directory.path());
    let manifest = Manifest::read(directory.path()).unwrap().unwrap();
    let listed: Vec<String> = manifest.content.keyspaces.keys().cloned().collect();
    assert_eq!(
        listed,
        ["dead", "meta", "raft_identity", "raft_log", "raft_meta", "raft_state_1", "registers"]
    );

    // Keyspaces that are not listed yet, or no more; or no manifest at all, as an
    // earlier release leaves it; and a manifest that was being written.
    for unlisted in 0..=listed.len() {
        let image = planted(&whole);
        let path = image.path().join(FILE);
        match unlisted == listed.len() {
            true => fs::remove_file(&path).unwrap(),
            false => {
                let mut earlier = Manifest::read(image.path()).unwrap().unwrap();
                earlier.unlist(&listed[unlisted]).unwrap();
            }
        }
        fs::write(path.with_extension("json.new"), "{").unwrap();
        open(image.path()).unwrap().assert_whole();
        let now = Manifest::read(image.path()).unwrap().unwrap();
        assert_eq!(now.content, manifest.content);
    }

    // A creation. fjall makes, in this order: its lock, `keyspaces`, an empty
    // journal, its version, and the keyspace of the names.
    let zeros = || Some(vec![0; 1000]);
    let version = whole[Path::new(VERSION)].clone();
    let steps = [
        ("lock", Some(Vec::new())),
        ("keyspaces", None),
        ("0.jnl", zeros()),
        ("version", version),
        ("keyspaces/0", None),
        ("keyspaces/0/tables", None),
        ("keyspaces/1", None),
    ];
    for done in 0..=steps.len() {
        let steps = steps[..done].iter().cloned();
        let image = planted(&steps.map(|(path, content)| (path.into(), content)).collect());
        let mut both = open(image.path()).unwrap();
        both.replica.create_generation(1).unwrap();
        (0..KEYS).for_each(|number| both.write(number));
        drop(both);
        open(image.path()).unwrap().assert_whole();
    }
}

#[test]
fn a_manifest_that_cannot_be_read_is_refused() {
    let directory = filled();
    let path = directory.path().join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replace("\"format\": 1", "\"format\": 2");
    for (text, why) in [("{", "is damaged: EOF"), (&other, "is in format 2, this program knows 1")]
    {
        fs::write(&path, text).unwrap();
        let before = tree(directory.path());
        let message = open(directory.path()).err().unwrap().to_string();
        for part in [&format!("{}: {FILE} {why}", directory.path().display()), "remove it"] {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        assert!(tree(directory.path()) == before);
    }
    fs::remove_file(&path).unwrap();
    open(directory.path()).unwrap().assert_whole();
}

#[test]
fn journals_are_noted_though_some_came_and_went() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(KEYSPACES)).unwrap();
    let journal = |number| directory.path().join(journal_name(number));
    let noted = || Manifest::read(directory.path()).unwrap().unwrap().content.newest_journal;
    fs::write(journal(0), "").unwrap();
    let mut manifest = Manifest::begin(directory.path()).unwrap();
    // What comes and what goes between two writes that are made durable.
    let steps: [(&[u64], &[u64]); 5] =
        [(&[], &[]), (&[1], &[]), (&[2, 3], &[0]), (&[4, 5], &[1, 2, 3, 4]), (&[6], &[5])];
    for (coming, going) in steps {
        coming.iter().for_each(|number| fs::write(journal(*number), "").unwrap());
        going.iter().for_each(|number| fs::remove_file(journal(*number)).unwrap());
        manifest.note_journals().unwrap();
        let (newest, _) = journal_files(directory.path()).unwrap().pop().unwrap();
        assert_eq!(noted(), newest);
    }
}

#[test]
fn journals_are_missed_by_their_numbers() {
    let cases: &[(&[u64], Option<u64>, Option<u64>)] = &[
        (&[], None, None),
        (&[], Some(0), Some(0)),
        (&[0], Some(0), None),
        (&[4, 5], Some(4), None),
        (&[5], Some(4), None),
        (&[4], Some(5), Some(5)),
        (&[3, 5], Some(5), Some(4)),
        (&[3, 5], None, Some(4)),
        (&[7, 8], None, None),
    ];
    for (numbers, newest, expected) in cases {
        let journals: Vec<Journal> =
            numbers.iter().map(|number| Journal { number: *number, end: 0 }).collect();
        assert_eq!(lost_journal(&journals, *newest), *expected, "{numbers:?} {newest:?}");
    }
}
