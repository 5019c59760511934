//! A snapshot is read as it was written or not at all, and received whole or
//! not at all.

use std::fs;
use std::path::{Path, PathBuf};

use gryadka::identity::OwnCluster;
use gryadka::raft::{Blocking, Snapshots};
use gryadka::store::{
    Received, SnapshotError, SnapshotFile, SnapshotReader, SnapshotReceiver, SnapshotWriter,
    prepare_snapshots,
};
use tempfile::TempDir;

type Record = (Vec<u8>, Vec<u8>);

fn write(directory: &Path, name: &str, records: &[Record]) -> SnapshotFile {
    let mut writer = SnapshotWriter::create(directory, name, b"the header").unwrap();
    for (key, value) in records {
        writer.push(key, value).unwrap();
    }
    writer.finish().unwrap()
}

fn read(path: &Path) -> Result<Vec<Record>, SnapshotError> {
    let mut reader = SnapshotReader::open(path)?;
    assert_eq!(reader.header(), "the header");
    let mut records = Vec::new();
    while let Some(block) = reader.next_block()? {
        let size: usize = block.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
        assert!(size <= 64 << 10 || block.len() == 1, "{size} bytes at once");
        records.extend(block.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    assert!(reader.next_block()?.is_none());
    Ok(records)
}

fn record(number: usize) -> Record {
    (format!("k{number}").into(), vec![number as u8; number % 300])
}

fn records(count: usize) -> Vec<Record> {
    (0..count).map(record).collect()
}

fn names(directory: &TempDir) -> Vec<String> {
    let name = |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(directory.path()).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let large = vec![(b"a".to_vec(), vec![1; 1 << 20]), (b"b".to_vec(), vec![2; 100_000])];
    for records in [records(0), records(1), records(100_000), large] {
        let file = write(directory.path(), "1-2-3", &records);
        assert_eq!(file.size_bytes, fs::metadata(&file.path).unwrap().len());
        assert!(read(&file.path).unwrap() == records);
        SnapshotReader::open(&file.path).unwrap().verify().unwrap();
        assert_eq!(names(&directory), ["1-2-3"]);
    }
}

/// A small file, and a path beside it for what becomes of it.
fn small() -> (TempDir, Vec<u8>, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "good", &records(4));
    let path = directory.path().join("bad");
    (directory, fs::read(&file.path).unwrap(), path)
}

fn assert_damaged(path: &Path, what: &str) {
    let error = read(path).err().unwrap_or_else(|| panic!("{what} was not found"));
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{what}: {error}");
    let expected = format!("{}: damaged at byte ", path.display());
    assert!(error.to_string().starts_with(&expected), "{what}: {error}");
}

#[test]
fn every_truncation_is_found() {
    let (_directory, content, path) = small();
    for length in 0..content.len() {
        fs::write(&path, &content[..length]).unwrap();
        assert_damaged(&path, &format!("the end at {length}"));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (_directory, content, path) = small();
    for bit in 0..content.len() * 8 {
        let mut content = content.clone();
        content[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &content).unwrap();
        // A header that is damaged but was believed would fail read()'s check.
        assert_damaged(&path, &format!("bit {bit}"));
    }
}

#[test]
fn more_than_the_file_is_found() {
    let (_directory, mut content, path) = small();
    content.push(0);
    fs::write(&path, &content).unwrap();
    assert_damaged(&path, "a byte behind the end");
}

/// Each block is right by itself.
#[test]
fn blocks_out_of_place_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let block = |key: &str| (key.as_bytes().to_vec(), vec![7; (64 << 10) - 9]);
    let file = write(directory.path(), "good", &["a", "b", "c"].map(block));
    let content = fs::read(&file.path).unwrap();
    let start = 8 + 8 + "the header".len();
    let length = 8 + (64 << 10);
    let blocks = |order: &[usize]| {
        let mut bytes = content[..start].to_vec();
        for number in order {
            bytes.extend_from_slice(&content[start + number * length..][..length]);
        }
        bytes.extend_from_slice(&content[start + 3 * length..]);
        bytes
    };
    let path = directory.path().join("bad");
    fs::write(&path, blocks(&[0, 1, 2])).unwrap();
    read(&path).unwrap();
    for order in [&[1, 0, 2][..], &[0, 1, 1], &[0, 1], &[0, 1, 2, 2], &[]] {
        fs::write(&path, blocks(order)).unwrap();
        assert_damaged(&path, &format!("{order:?}"));
    }
}

#[test]
fn the_message_names_the_file_the_byte_and_the_remedy() {
    let (_directory, mut content, path) = small();
    content[7] = 2;
    fs::write(&path, &content).unwrap();
    let expected = format!(
        "{}: damaged at byte 7: format 2 is unknown, this program reads 1; remove it, the next \
         snapshot replaces it",
        path.display()
    );
    assert_eq!(read(&path).unwrap_err().to_string(), expected);
    let missing = read(&path.with_file_name("missing")).unwrap_err().to_string();
    assert!(missing.contains("missing: opening it failed"), "{missing}");
}

#[test]
fn unfinished_files_go_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "good", &records(1));
    drop(SnapshotWriter::create(directory.path(), "abandoned", b"").unwrap());
    let mut receiver = SnapshotReceiver::new(directory.path());
    receiver.take("incoming", 0, b"x", 10).unwrap();
    assert_eq!(names(&directory), [".incoming.tmp", "abandoned.tmp", "good"]);
    drop(prepare_snapshots(directory.path()).unwrap());
    assert_eq!(names(&directory), ["LOCK", "good"]);
    drop(prepare_snapshots(&directory.path().join("some/new")).unwrap());
    assert!(directory.path().join("some/new").is_dir());
}

#[test]
fn a_directory_is_that_of_one_replica() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Snapshots::open(directory.path(), OwnCluster::default(), None, Blocking::AtOnce);
    let first = open().unwrap();
    let receiver = &mut SnapshotReceiver::new(directory.path());
    receiver.take("incoming", 0, b"x", 10).unwrap();
    let message = open().err().unwrap().to_string();
    let expected = format!(
        "{} is in use by another replica; give each replica a snapshot directory of its own, or \
         stop the other one first",
        directory.path().display()
    );
    assert_eq!(message, expected);
    assert_eq!(names(&directory), [".incoming.tmp", "LOCK"], "nothing of the other's is removed");
    let clone = first.clone();
    drop(first);
    assert!(open().is_err());
    drop(clone);
    assert!(open().unwrap().newest().is_none());
    assert_eq!(names(&directory), ["LOCK"]);
}

#[test]
fn names_stay_in_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "/a",
        "a.tmp",
        ".incoming.tmp",
        "LOCK",
        "a\0",
        &"a".repeat(201),
    ] {
        let error = SnapshotWriter::create(directory.path(), name, b"").err().unwrap();
        assert!(matches!(error, SnapshotError::Refused { .. }), "{name:?}: {error}");
        let mut receiver = SnapshotReceiver::new(directory.path());
        assert!(receiver.take(name, 0, b"x", 10).is_err(), "{name:?}");
    }
    assert!(names(&directory).is_empty());
}

#[test]
fn a_file_can_be_read_from_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "good", &records(400));
    let content = fs::read(&file.path).unwrap();
    // It may be replaced while it is sent.
    fs::remove_file(&file.path).unwrap();
    let end = file.size_bytes;
    for (offset, max) in [(0, 10), (5, 1000), (end - 3, 10), (end, 10), (end + 9, 10), (3, 0)] {
        let from = content.len().min(offset as usize);
        let expected = &content[from..content.len().min(from + max)];
        assert_eq!(file.read_at(offset, max).unwrap(), expected);
    }
}

/// A file to send, and the receiver for it in another directory.
struct Transfer {
    content: Vec<u8>,
    directory: TempDir,
    receiver: SnapshotReceiver,
}

impl Transfer {
    fn new() -> Self {
        let (_directory, content, _) = small();
        let directory = tempfile::tempdir().unwrap();
        let receiver = SnapshotReceiver::new(directory.path());
        Transfer { content, directory, receiver }
    }

    fn send(&mut self, from: usize, to: usize) -> Result<Received, SnapshotError> {
        let total = self.content.len() as u64;
        self.receiver.take("snap", from as u64, &self.content[from..to], total)
    }

    /// Sends a piece that does not end the file: where does it go on?
    fn next(&mut self, from: usize, to: usize) -> usize {
        match self.send(from, to).unwrap() {
            Received::Next(offset) => offset as usize,
            Received::Whole(file) => panic!("{file:?} is whole"),
        }
    }
}

#[test]
fn pieces_in_order_become_the_file() {
    for piece in [1, 7, 1000] {
        let mut transfer = Transfer::new();
        let end = transfer.content.len();
        let mut offset = 0;
        let file = loop {
            match transfer.send(offset, end.min(offset + piece)).unwrap() {
                Received::Next(next) => offset = next as usize,
                Received::Whole(file) => break file,
            }
            assert_eq!(names(&transfer.directory), [".incoming.tmp"]);
        };
        assert_eq!(names(&transfer.directory), ["snap"]);
        assert_eq!(file.path, transfer.directory.path().join("snap"));
        assert_eq!(read(&file.path).unwrap(), records(4));
    }
}

#[test]
fn pieces_out_of_order_are_left_alone() {
    let mut transfer = Transfer::new();
    let end = transfer.content.len();
    assert_eq!(transfer.next(10, 20), 0);
    assert_eq!(transfer.next(0, 20), 20);
    assert_eq!(transfer.next(30, 40), 20);
    assert_eq!(transfer.next(30, end), 20);
    assert_eq!(transfer.next(10, 20), 20);
    assert_eq!(transfer.next(19, 30), 20);
    assert_eq!(transfer.next(20, 30), 30);
    assert_eq!(transfer.next(20, 30), 30);
    // Nothing moves on without a byte.
    assert_eq!(transfer.next(30, 30), 30);
    // From the beginning again.
    assert_eq!(transfer.next(0, 5), 5);
    assert_eq!(transfer.next(30, end), 5);
    let Received::Whole(file) = transfer.send(5, end).unwrap() else { panic!("not whole") };
    assert_eq!(read(&file.path).unwrap(), records(4));
    assert_eq!(transfer.next(5, end), 0);
}

#[test]
fn one_file_comes_at_a_time() {
    let mut transfer = Transfer::new();
    let end = transfer.content.len();
    assert_eq!(transfer.next(0, 20), 20);
    // Another name or length is another file, which must begin at its beginning.
    let piece = transfer.content[20..].to_vec();
    for (name, total) in [("other", end), ("snap", end + 1)] {
        let answer = transfer.receiver.take(name, 20, &piece, total as u64).unwrap();
        assert!(matches!(answer, Received::Next(0)), "{answer:?}");
    }
    assert_eq!(transfer.next(20, 30), 30);
    transfer.receiver.take("other", 0, b"x", 10).unwrap();
    assert_eq!(transfer.next(30, end), 0);
}

#[test]
fn a_damaged_file_is_not_taken() {
    let mut transfer = Transfer::new();
    let end = transfer.content.len();
    transfer.content[end / 2] ^= 1;
    assert_eq!(transfer.next(0, 20), 20);
    let error = transfer.send(20, end).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    assert!(names(&transfer.directory).is_empty());
    assert_eq!(transfer.next(20, end), 0);
    transfer.content[end / 2] ^= 1;
    assert!(matches!(transfer.send(0, end), Ok(Received::Whole(_))));
}

#[test]
fn no_more_is_taken_than_was_announced() {
    let mut transfer = Transfer::new();
    let piece = transfer.content.clone();
    transfer.receiver.take("snap", 0, &piece[..10], 20).unwrap();
    for (offset, total) in [(10, 20), (0, 20), (0, 0), (0, SnapshotReceiver::MAX_TOTAL_BYTES + 1)] {
        let error = transfer.receiver.take("snap", offset, &piece[..30], total).unwrap_err();
        assert!(matches!(error, SnapshotError::Refused { .. }), "{error}");
        assert!(names(&transfer.directory).is_empty());
    }
    assert!(transfer.receiver.take("snap", 0, b"", 0).is_err());
}
