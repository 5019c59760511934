//! What is true of the embedded store only.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use gryadka::caspaxos::{AcceptorId, Reply};
use gryadka::store::{
    AcceptorStore, Disk, Durability, EmbeddedStore, FjallDisk, Identity, OpenError,
    ReplicaIdentity, Space, StoreError, Writes, open_database,
};

use crate::subject::*;

fn open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(directory, identity()).map(confirmed)
}

#[test]
fn a_directory_in_use_is_refused() {
    let subject = EmbeddedSubject::new();
    let error = open(subject.path()).err().unwrap();
    let directory = subject.path().display();
    let expected = format!("{directory} is in use by another process; stop it first");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_directory_of_another_acceptor_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let wanted = |cluster: &str, acceptor| Identity {
        cluster: cluster.into(),
        acceptor: AcceptorId::from(acceptor),
    };
    for other in [wanted("other", "a1"), wanted("test", "a2")] {
        let message =
            EmbeddedStore::open(directory.path(), other.clone()).err().unwrap().to_string();
        let names = [
            directory.path().to_str().unwrap(),
            "holds acceptor a1 of cluster \"test\"",
            "give each acceptor a data directory of its own",
        ];
        let asked = [format!("{:?}", other.cluster), other.acceptor.to_string()];
        for part in names.into_iter().chain(asked.iter().map(String::as_str)) {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
    open(directory.path()).unwrap();
}

#[test]
fn a_directory_is_created_with_its_parents() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory.path().join("data/p1")).unwrap());
    assert!(directory.path().join("data/p1").is_dir());
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    File::create(&path).unwrap();
    assert!(open(&path).err().unwrap().to_string().contains(path.to_str().unwrap()));
}

#[test]
fn a_replica_may_use_the_database_beside_the_acceptor() {
    let directory = tempfile::tempdir().unwrap();
    let database = open_database(directory.path()).unwrap();
    let store = EmbeddedStore::new(database.clone(), directory.path(), identity());
    let mut store = enrolled(store.unwrap());
    let replica = ReplicaIdentity { cluster: "test".into(), id: 1 };
    let disk = FjallDisk::open(database, directory.path(), replica).unwrap();
    let mut writes = Writes::default();
    writes.put(Space::Log, "entry", "1");
    disk.commit(writes, Durability::Later).unwrap();
    store.serve(&[put("k", 1, "a")]).unwrap();
    assert_eq!(disk.get(Space::Log, b"entry").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_damaged_register_breaks_the_store_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let database = open_database(directory.path()).unwrap();
    let store = EmbeddedStore::new(database.clone(), directory.path(), identity());
    let mut store = enrolled(store.unwrap());
    store.serve(&[put("good", 1, "a"), put("bad", 1, "b")]).unwrap();
    let registers = database.keyspace("registers", Default::default).unwrap();
    registers.insert("bad", [9, 9, 9]).unwrap();
    // What a store wrote itself it does not read again.
    let store = EmbeddedStore::new(database.clone(), directory.path(), identity()).unwrap();
    let mut store = confirmed(store);
    store.serve(&[read("good")]).unwrap();
    let calls = [put("good", 2, "c"), read("bad")];
    let message = store.serve(&calls).unwrap_err().to_string();
    for part in [directory.path().to_str().unwrap(), "\"bad\"", "damaged"] {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    assert_eq!(store.serve(&[read("good")]).unwrap_err().to_string(), message);
    // Nothing of the batch was written.
    drop((store, registers));
    let mut store = confirmed(EmbeddedStore::new(database, directory.path(), identity()).unwrap());
    let good = was_read(ballot(1), value("a", ballot(1)));
    assert_eq!(store.serve(&[read("good")]).unwrap(), [good]);
    assert!(matches!(store.serve(&[list("", None, 1)]), Err(StoreError::Broken { .. })));
}

/// The journal that is written to, and where its content ends: fjall
/// allocates zeros behind it.
fn journal(directory: &Path) -> (PathBuf, u64) {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|name| name == "jnl"));
    let path = journals.max().unwrap();
    let mut content = Vec::new();
    // Tests write far less than this.
    File::open(&path).unwrap().take(1 << 20).read_to_end(&mut content).unwrap();
    let end = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    (path, end as u64)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A store with registers k1 to k20, each written by a batch of its own, and
/// where in the journal the last batch starts and ends.
fn twenty() -> (EmbeddedSubject, u64, u64) {
    let mut subject = EmbeddedSubject::new();
    for counter in 1..20 {
        subject.ask(put(&format!("k{counter}"), counter, "some text"));
    }
    let (_, start) = journal(subject.path());
    subject.ask(put("k20", 20, "some text"));
    let (_, end) = journal(subject.path());
    assert!(start < end);
    (subject, start, end)
}

fn assert_holds(store: &mut EmbeddedStore, counters: std::ops::RangeInclusive<u64>) {
    for counter in counters {
        let expected = was_read(ballot(counter), value("some text", ballot(counter)));
        assert_eq!(store.serve(&[read(&format!("k{counter}"))]).unwrap(), [expected]);
    }
}

#[test]
fn garbage_behind_the_last_batch_is_cut_off() {
    let (subject, _, end) = twenty();
    let whole =
        [&[1][..], &[1, 1, 0, 0, 0, 9, 0, 0], &[2, 0, 0], &[3; 40], &[0xff; 5000], b"noise"];
    for garbage in whole {
        let image = crash_image(subject.path());
        overwrite(&journal(image.path()).0, end, garbage);
        // Twice: what was cut off must not show up again.
        for _ in 0..2 {
            let mut store = open(image.path()).unwrap();
            assert_holds(&mut store, 1..=20);
            store.serve(&[put("new", 1, "a")]).unwrap();
        }
        let mut store = open(image.path()).unwrap();
        let new = was_read(ballot(1), value("a", ballot(1)));
        assert_eq!(store.serve(&[read("new")]).unwrap(), [new]);
    }
}

#[test]
fn a_torn_last_batch_is_cut_off() {
    let (subject, start, end) = twenty();
    for cut in [start, start + 1, start + 13, (start + end) / 2, end - 5, end - 1] {
        for is_zeroed in [false, true] {
            let image = crash_image(subject.path());
            let (path, _) = journal(image.path());
            match is_zeroed {
                true => overwrite(&path, cut, &vec![0; (end - cut) as usize]),
                false => OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap(),
            }
            let mut store = open(image.path()).unwrap();
            assert_holds(&mut store, 1..=19);
            assert_eq!(store.serve(&[put("k20", 20, "some text")]).unwrap(), [Reply::Accepted]);
            drop(store);
            assert_holds(&mut open(image.path()).unwrap(), 1..=20);
        }
    }
}

#[test]
fn damage_before_the_last_batch_is_refused() {
    let (subject, start, _) = twenty();
    let image = crash_image(subject.path());
    let (path, _) = journal(image.path());
    let content = std::fs::read(&path).unwrap();
    let text = b"some text";
    let middle = content[..start as usize / 2].windows(text.len()).rposition(|at| at == text);
    overwrite(&path, middle.unwrap() as u64, b"lost text");
    let message = open(image.path()).err().unwrap().to_string();
    for part in [image.path().to_str().unwrap(), "ChecksumMismatch", "replace the acceptor"] {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// Set for the process that [`a_failed_write_ends_the_store`] starts.
const FULL_DISK: &str = "GRYADKA_TEST_FULL_DISK";

#[test]
fn a_failed_write_ends_the_store() {
    if let Some(directory) = std::env::var_os(FULL_DISK) {
        return write_until_it_fails(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    // Opened twice, so that the journal is no longer allocated in advance.
    open(directory.path()).unwrap();
    drop(open(directory.path()).unwrap());
    // Files of this process cannot grow beyond some hundred kilobytes.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::a_failed_write_ends_the_store", "--nocapture"])
        .env(FULL_DISK, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let acknowledged = text.lines().find_map(|line| line.strip_prefix("acknowledged "));
    let acknowledged: u64 = acknowledged.unwrap().parse().unwrap();
    assert!(acknowledged > 2);
    let mut store = open(directory.path()).unwrap();
    for counter in 1..=acknowledged {
        let expected = was_read(ballot(counter), value(large(), ballot(counter)));
        assert_eq!(store.serve(&[read(&format!("k{counter}"))]).unwrap(), [expected]);
    }
}

fn large() -> Vec<u8> {
    vec![7; 50_000]
}

fn write_until_it_fails(directory: &Path) {
    let mut store = enrolled(open(directory).unwrap());
    for counter in 1..100 {
        let value = value(large(), ballot(counter));
        let call = accept(&format!("k{counter}"), ballot(counter), value, ballot(counter));
        if let Err(error) = store.serve(&[call]) {
            assert!(matches!(error, StoreError::Broken { .. }), "{error:?}");
            assert!(error.to_string().contains("journal"), "{error}");
            // Not even what it knows: nobody knows what is on the disk.
            assert!(store.serve(&[read("k1")]).is_err());
            println!("\nacknowledged {}", counter - 1);
            return;
        }
    }
    panic!("no write failed");
}
