//! The promise of every disk: commits are whole and survive in order, views
//! stand still, generations come and go.
//!
//! [`CASES`] run on both disks; what is true of one only stands below them.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use gryadka::store::{
    Disk, Durability, FjallDisk, MemoryDisk, OpenError, Pair, ReplicaIdentity, Space, View, Writes,
    open_database,
};
use tempfile::TempDir;

const STATE: Space = Space::State(1);

fn writes(changes: &[(Space, &str, Option<&str>)]) -> Writes {
    let mut writes = Writes::default();
    for &(space, key, value) in changes {
        match value {
            Some(value) => writes.put(space, key.to_owned(), value.to_owned()),
            None => writes.remove(space, key.to_owned()),
        }
    }
    writes
}

fn commit(disk: &impl Disk, changes: &[(Space, &str, Option<&str>)]) {
    disk.commit(writes(changes), Durability::Later).unwrap();
}

fn text(pairs: impl IntoIterator<Item = Pair>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    pairs.into_iter().map(|(key, value)| (text(&key), text(&value))).collect()
}

fn all(view: &impl View, space: Space) -> String {
    let pairs = view.scan(space, Unbounded, Unbounded, usize::MAX, usize::MAX).unwrap();
    let pairs = text(pairs).into_iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn commits_are_read_at_once(disk: &impl Disk) {
    for durability in [Durability::Later, Durability::Now] {
        let changes = [(Space::Meta, "a", Some("1")), (Space::Log, "a", Some("2"))];
        disk.commit(writes(&changes), durability).unwrap();
        assert_eq!(disk.get(Space::Meta, b"a").unwrap().unwrap(), "1");
        assert_eq!(disk.get(Space::Log, b"a").unwrap().unwrap(), "2");
        assert_eq!(disk.get(Space::Log, b"b").unwrap(), None);
        commit(disk, &[(Space::Meta, "a", None), (Space::Log, "missing", None)]);
        assert_eq!(all(&disk.view(), Space::Meta), "");
        assert_eq!(all(&disk.view(), Space::Log), "a=2");
    }
    disk.commit(Writes::default(), Durability::Later).unwrap();
    disk.commit(Writes::default(), Durability::Now).unwrap();
}

fn the_last_change_of_a_key_counts(disk: &impl Disk) {
    let there = ("k", Some("new"));
    for (first, second) in [(Some("old"), there.1), (None, there.1), (Some("old"), None)] {
        let writes = writes(&[(Space::Log, "k", first), (Space::Log, "k", second)]);
        assert_eq!(writes.size_bytes(), 1 + second.map_or(0, str::len));
        assert!(!writes.is_empty());
        disk.commit(writes, Durability::Later).unwrap();
        let value = disk.get(Space::Log, b"k").unwrap();
        assert_eq!(value.as_deref(), second.map(str::as_bytes));
        commit(disk, &[(Space::Log, "k", Some("between"))]);
        assert_eq!(disk.get(Space::Log, b"k").unwrap().unwrap(), "between");
    }
}

fn scans_keep_their_bounds(disk: &impl Disk) {
    let changes = ["a", "b", "c", "d"].map(|key| (Space::Log, key, Some("12")));
    commit(disk, &changes);
    commit(disk, &[(Space::Meta, "bb", Some("1"))]);
    type Case = (Bound<&'static [u8]>, Bound<&'static [u8]>, usize, usize, &'static str);
    let cases: [Case; 17] = [
        (Unbounded, Unbounded, 9, 99, "abcd"),
        (Included(b"b"), Unbounded, 9, 99, "bcd"),
        (Excluded(b"b"), Unbounded, 9, 99, "cd"),
        (Unbounded, Included(b"c"), 9, 99, "abc"),
        (Unbounded, Excluded(b"c"), 9, 99, "ab"),
        (Included(b"b"), Included(b"b"), 9, 99, "b"),
        (Included(b"bb"), Included(b"cc"), 9, 99, "c"),
        (Included(b"b"), Excluded(b"b"), 9, 99, ""),
        (Excluded(b"b"), Included(b"b"), 9, 99, ""),
        (Excluded(b"b"), Excluded(b"b"), 9, 99, ""),
        (Included(b"c"), Included(b"b"), 9, 99, ""),
        (Included(b"e"), Unbounded, 9, 99, ""),
        (Unbounded, Unbounded, 2, 99, "ab"),
        (Unbounded, Unbounded, 0, 99, ""),
        (Unbounded, Unbounded, 9, 6, "ab"),
        (Unbounded, Unbounded, 9, 8, "ab"),
        (Excluded(b"b"), Unbounded, 9, 0, "c"),
    ];
    for (from, to, count, bytes, expected) in cases {
        let pairs = disk.scan(Space::Log, from, to, count, bytes).unwrap();
        let keys: String = text(pairs).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, expected, "{from:?} {to:?} {count} {bytes}");
    }
}

fn the_last_pair_is_the_highest(disk: &impl Disk) {
    assert_eq!(disk.last(Space::Log).unwrap(), None);
    commit(disk, &[(Space::Log, "b", Some("2")), (Space::Log, "a", Some("1"))]);
    assert_eq!(disk.last(Space::Log).unwrap().unwrap().0, "b");
    commit(disk, &[(Space::Log, "b", None)]);
    assert_eq!(disk.last(Space::Log).unwrap().unwrap(), ("a".into(), "1".into()));
    commit(disk, &[(Space::Log, "a", None)]);
    assert_eq!(disk.last(Space::Log).unwrap(), None);
}

fn views_stand_still(disk: &impl Disk) {
    disk.create_generation(1).unwrap();
    commit(disk, &[(Space::Meta, "current", Some("1")), (STATE, "a", Some("1"))]);
    let view = disk.view();
    commit(disk, &[(STATE, "a", Some("2")), (STATE, "b", Some("2"))]);
    disk.create_generation(2).unwrap();
    commit(disk, &[(Space::Meta, "current", Some("2")), (Space::State(2), "a", Some("3"))]);
    disk.drop_generation(1).unwrap();
    assert_eq!(all(&view, STATE), "a=1");
    assert_eq!(view.get(STATE, b"a").unwrap().unwrap(), "1");
    assert_eq!(view.last(STATE).unwrap().unwrap().0, "a");
    assert_eq!(all(&view, Space::Meta), "current=1");
    assert_eq!(all(&disk.view(), Space::Meta), "current=2");
    assert_eq!(all(&disk.view(), Space::State(2)), "a=3");
}

fn generations_come_and_go(disk: &impl Disk) {
    assert!(disk.generations().is_empty());
    for generation in [10, 9] {
        disk.create_generation(generation).unwrap();
        commit(disk, &[(Space::State(generation), "a", Some("1"))]);
    }
    assert_eq!(disk.generations(), [9, 10]);
    disk.drop_generation(9).unwrap();
    disk.drop_generation(9).unwrap();
    assert_eq!(disk.generations(), [10]);
    assert_eq!(all(&disk.view(), Space::State(10)), "a=1");
    // A number that is used again starts empty.
    disk.create_generation(9).unwrap();
    assert_eq!(all(&disk.view(), Space::State(9)), "");
}

fn clones_share_the_disk(disk: &impl Disk) {
    let reader = disk.clone();
    disk.create_generation(1).unwrap();
    let thread = std::thread::spawn(move || {
        // Both keys change in every commit, so that no view tells them apart.
        loop {
            let view = reader.view();
            let values = [b"a", b"z"].map(|key| view.get(STATE, key).unwrap());
            assert_eq!(values[0], values[1]);
            if values[0].as_deref() == Some(b"999") {
                return;
            }
        }
    });
    for number in 0..1000 {
        let number = number.to_string();
        commit(disk, &[(STATE, "a", Some(&number)), (STATE, "z", Some(&number))]);
    }
    thread.join().unwrap();
}

struct Fjall {
    disk: Option<FjallDisk>,
    directory: TempDir,
}

fn identity() -> ReplicaIdentity {
    ReplicaIdentity { cluster: "test".into(), id: 1 }
}

fn open(directory: &TempDir, identity: ReplicaIdentity) -> Result<FjallDisk, OpenError> {
    FjallDisk::open(open_database(directory.path())?, directory.path(), identity)
}

impl Fjall {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Fjall { disk: Some(open(&directory, identity()).unwrap()), directory }
    }

    fn disk(&self) -> &FjallDisk {
        self.disk.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.disk = None;
        self.disk = Some(open(&self.directory, identity()).unwrap());
    }
}

/// Runs the cases on a fresh disk each: `$fresh` makes one, `$disk` takes it.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod memory {
            $(#[test] fn $case() { super::$case(&super::MemoryDisk::default()) })*
        }
        mod fjall {
            $(#[test] fn $case() { super::$case(super::Fjall::new().disk()) })*
        }
    };
}

on_both! {
    commits_are_read_at_once
    the_last_change_of_a_key_counts
    scans_keep_their_bounds
    the_last_pair_is_the_highest
    views_stand_still
    generations_come_and_go
    clones_share_the_disk
}

#[test]
#[should_panic(expected = "State(7) does not exist")]
fn reading_a_generation_that_is_not_there_is_a_bug() {
    let _ = Fjall::new().disk().get(Space::State(7), b"a");
}

#[test]
#[should_panic(expected = "State(7) does not exist")]
fn so_it_is_in_memory() {
    let _ = MemoryDisk::default().get(Space::State(7), b"a");
}

#[test]
fn fjall_finds_all_again_when_it_is_opened() {
    let mut fjall = Fjall::new();
    for generation in [1, 2, 3] {
        fjall.disk().create_generation(generation).unwrap();
        commit(fjall.disk(), &[(Space::State(generation), "k", Some("v"))]);
    }
    commit(fjall.disk(), &[(Space::Log, "e", Some("1")), (Space::Meta, "m", Some("1"))]);
    fjall.disk().drop_generation(2).unwrap();
    for _ in 0..2 {
        fjall.reopen();
        assert_eq!(fjall.disk().generations(), [1, 3]);
        assert_eq!(all(&fjall.disk().view(), Space::State(3)), "k=v");
        assert_eq!(all(&fjall.disk().view(), Space::Log), "e=1");
        assert_eq!(all(&fjall.disk().view(), Space::Meta), "m=1");
    }
    fjall.disk().create_generation(2).unwrap();
    assert_eq!(all(&fjall.disk().view(), Space::State(2)), "");
}

#[test]
fn fjall_frees_the_files_of_a_generation_with_its_last_view() {
    let fjall = Fjall::new();
    let keyspaces = || fjall.directory.path().join("keyspaces").read_dir().unwrap().count();
    let before = keyspaces();
    fjall.disk().create_generation(1).unwrap();
    commit(fjall.disk(), &[(STATE, "k", Some("v"))]);
    let view = fjall.disk().view();
    fjall.disk().drop_generation(1).unwrap();
    assert_eq!(keyspaces(), before + 1);
    drop(view);
    assert_eq!(keyspaces(), before);
}

#[test]
fn fjall_refuses_the_directory_of_another_replica() {
    let Fjall { disk, directory } = Fjall::new();
    drop(disk);
    for (cluster, id) in [("other", 1), ("test", 2)] {
        let wanted = ReplicaIdentity { cluster: cluster.into(), id };
        let message = open(&directory, wanted).err().unwrap().to_string();
        let expected = format!(
            "{} holds replica 1 of cluster \"test\", not replica {id} of cluster {cluster:?}; give \
             each replica a data directory of its own, or empty this one if its data may go",
            directory.path().display()
        );
        assert_eq!(message, expected);
    }
    open(&directory, identity()).unwrap();
}

#[test]
fn a_crash_in_memory_leaves_a_prefix() {
    for survivors in 0..=3 {
        let disk = MemoryDisk::default();
        disk.commit(writes(&[(Space::Log, "a", Some("0"))]), Durability::Later).unwrap();
        disk.commit(writes(&[(Space::Log, "b", Some("0"))]), Durability::Now).unwrap();
        commit(&disk, &[(Space::Log, "a", Some("1")), (Space::Log, "c", Some("1"))]);
        commit(&disk, &[(Space::Log, "a", None), (Space::Meta, "m", Some("2"))]);
        commit(&disk, &[(Space::Log, "a", Some("3")), (Space::Log, "b", None)]);
        let view = disk.view();
        let after = disk.crash(|pending| {
            assert_eq!(pending, 3);
            survivors
        });
        let expected =
            [("a=0 b=0", ""), ("a=1 b=0 c=1", ""), ("b=0 c=1", "m=2"), ("a=3 c=1", "m=2")];
        assert_eq!(all(&after.view(), Space::Log), expected[survivors].0);
        assert_eq!(all(&after.view(), Space::Meta), expected[survivors].1);
        // The process that lost its power does nothing any more.
        assert!(disk.commit(Writes::default(), Durability::Now).is_err());
        assert!(disk.get(Space::Log, b"b").is_err());
        assert!(view.get(Space::Log, b"b").is_err());
        // What survived is durable.
        after.crash(|pending| pending).crash(|pending| {
            assert_eq!(pending, 0);
            0
        });
    }
}

#[test]
fn generations_in_memory_make_earlier_commits_durable() {
    let disk = MemoryDisk::default();
    commit(&disk, &[(Space::Meta, "m", Some("1"))]);
    disk.create_generation(1).unwrap();
    commit(&disk, &[(STATE, "k", Some("1"))]);
    let disk = disk.crash(|_| 0);
    assert_eq!(disk.generations(), [1]);
    assert_eq!(all(&disk.view(), Space::Meta), "m=1");
    assert_eq!(all(&disk.view(), STATE), "");
}
