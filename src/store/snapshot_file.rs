//! The file of a snapshot.
//!
//! | part | bytes |
//! |---|---|
//! | magic | `gryasnp` and the version, one byte |
//! | header | length `u32`, checksum `u32`, and what the writer gave |
//! | blocks | each: length `u32`, checksum `u32`, and records |
//! | record | length of the key `u32`, of the value `u32`, key, value |
//! | trailer | `0u32`, number of records `u64`, length of the file `u64`, digest `u128` |
//!
//! Numbers are little-endian. A checksum is the CRC-32 of the length and of
//! what follows; it tells damage apart before the content is believed. The
//! digest is the XXH3 of all that stands before it: it finds what is missing,
//! doubled or out of place. Both guard against accidents, not against forgers.
//!
//! A file gets its name when all of it is on the disk; until then it is called
//! `NAME.tmp`. Beside the snapshots of a replica is the empty file `LOCK`, which
//! keeps other replicas out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use xxhash_rust::xxh3::Xxh3;

use super::disk::{Pair, Writes};
use super::embedded_open::{create_directory, lock_file, sync_directory};

const MAGIC: &[u8; 8] = b"gryasnp\x01";
/// A block is written before it would become larger than this, in bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// The largest record, and the most that is believed of a length in the file,
/// in bytes.
const MAX_BLOCK_BYTES: usize = 16 << 20;
const TRAILER_BYTES: u64 = 4 + 8 + 8 + 16;
const TEMPORARY: &str = "tmp";
const LOCK: &str = "LOCK";

/// Why a snapshot was not written, read or received.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file is of another cluster.
    #[error(
        "{path} is a snapshot of cluster {held}, and this replica's cluster is {own}: give each \
         replica a directory of its own, or empty this one if what is in it may go"
    )]
    Foreign {
        /// The file.
        path: String,
        /// Its cluster, as text.
        held: String,
        /// That of the replica, as text.
        own: String,
    },
    /// The file is not what was written once.
    #[error("{path}: damaged at byte {offset}: {why}; remove it, the next snapshot replaces it")]
    Damaged {
        /// The file.
        path: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The system failed.
    #[error("{path}: {what} failed: {error}; check the disk, its space and its permissions")]
    Failed {
        /// The file or directory.
        path: String,
        /// The operation.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
    /// Another replica has its snapshots there, in this process or another one.
    #[error(
        "{directory} is in use by another replica; give each replica a snapshot directory of its \
         own, or stop the other one first"
    )]
    InUse {
        /// The directory.
        directory: String,
    },
    /// What a peer sends cannot be a snapshot.
    #[error("snapshot {name:?} is refused: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Names the operation and the file of an error.
pub(super) fn failed(
    path: &Path,
    what: &'static str,
) -> impl Fn(io::Error) -> SnapshotError + use<> {
    let path = path.display().to_string();
    move |error| SnapshotError::Failed { path: path.clone(), what, error }
}

/// The right to use a directory of snapshots, until it is dropped.
#[derive(Debug)]
pub struct SnapshotLock(#[expect(dead_code, reason = "closing the file gives it up")] File);

/// Creates the directory of snapshots where there is none, keeps other replicas
/// out of it, and removes files from it that were never finished. For the start,
/// before anything is written.
pub fn prepare_snapshots(directory: &Path) -> Result<SnapshotLock, SnapshotError> {
    create_directory(directory).map_err(failed(directory, "creating it"))?;
    let path = directory.join(LOCK);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.map_err(failed(&path, "opening it"))?;
    if !lock_file(&file).map_err(failed(&path, "locking it"))? {
        return Err(SnapshotError::InUse { directory: directory.display().to_string() });
    }
    let entries = fs::read_dir(directory).map_err(failed(directory, "listing it"))?;
    for entry in entries {
        let path = entry.map_err(failed(directory, "listing it"))?.path();
        if is_temporary(&path) {
            fs::remove_file(&path).map_err(failed(&path, "removing it"))?;
        }
    }
    Ok(SnapshotLock(file))
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == TEMPORARY)
}

/// The path of a snapshot. Names come from peers too, and must not lead out of
/// the directory.
pub(super) fn path_of(directory: &Path, name: &str) -> Result<PathBuf, SnapshotError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_good = (1..=200).contains(&name.len()) && name.bytes().all(is_plain);
    let is_taken = name == LOCK || is_temporary(Path::new(name));
    match is_good && !name.starts_with('.') && !is_taken {
        true => Ok(directory.join(name)),
        false => {
            let why = "its name must be 1 to 200 letters, digits, '-', '_' and '.', not begin \
                       with '.', not end with '.tmp' and not be 'LOCK'";
            Err(SnapshotError::Refused { name: name.into(), why: why.into() })
        }
    }
}

/// Gives a file that is whole its name, so that it is there after a crash.
pub(super) fn publish(
    file: &File,
    temporary: &Path,
    path: &Path,
) -> Result<SnapshotFile, SnapshotError> {
    file.sync_all().map_err(failed(temporary, "fsync"))?;
    fs::rename(temporary, path).map_err(failed(temporary, "renaming it"))?;
    let directory = path.parent().expect("a path of a directory and a name");
    sync_directory(directory).map_err(failed(directory, "fsync"))?;
    SnapshotFile::open(path)
}

/// A finished snapshot. Its content can be read as long as this is held, even
/// when the file is removed meanwhile.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is, in bytes.
    pub size_bytes: u64,
    file: Arc<File>,
}

impl SnapshotFile {
    /// Opens a file without looking at what is in it.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(failed(path, "opening it"))?;
        let metadata = file.metadata().map_err(failed(path, "asking for its length"))?;
        Ok(SnapshotFile { path: path.into(), size_bytes: metadata.len(), file: Arc::new(file) })
    }

    /// Up to `max_bytes` bytes from `offset` on, as they are in the file; fewer
    /// only at its end.
    pub fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        let left = self.size_bytes.saturating_sub(offset);
        let length = usize::try_from(left).map_or(max_bytes, |left| left.min(max_bytes));
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(failed(&self.path, "reading it"))?;
        Ok(bytes.into())
    }
}

/// Writes a snapshot. One that is dropped unfinished leaves a temporary file.
pub struct SnapshotWriter {
    output: BufWriter<File>,
    path: PathBuf,
    temporary: PathBuf,
    block: Vec<u8>,
    records: u64,
    size_bytes: u64,
    digest: Xxh3,
}

impl SnapshotWriter {
    /// The longest header.
    pub const MAX_HEADER_BYTES: usize = MAX_BLOCK_BYTES;

    /// Begins a file. The header is what [`SnapshotReader::header`] gives back.
    ///
    /// # Panics
    ///
    /// When the header is longer than [`SnapshotWriter::MAX_HEADER_BYTES`].
    pub fn create(directory: &Path, name: &str, header: &[u8]) -> Result<Self, SnapshotError> {
        let path = path_of(directory, name)?;
        let temporary = directory.join(format!("{name}.{TEMPORARY}"));
        let file = File::create(&temporary).map_err(failed(&temporary, "creating it"))?;
        let mut writer = SnapshotWriter {
            output: BufWriter::new(file),
            path,
            temporary,
            block: Vec::with_capacity(BLOCK_BYTES),
            records: 0,
            size_bytes: 0,
            digest: Xxh3::new(),
        };
        writer.write(MAGIC)?;
        writer.write_framed(header)?;
        Ok(writer)
    }

    /// Adds a record. It is a key and value as [`Writes::put`] takes them.
    ///
    /// # Panics
    ///
    /// When the key is empty or too long, or the record is larger than 16 MiB.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let length = 4 + 4 + key.len() + value.len();
        assert!(!key.is_empty() && key.len() <= Writes::MAX_KEY_BYTES, "a key of {}", key.len());
        assert!(length <= MAX_BLOCK_BYTES, "a record of {length} bytes");
        if self.block.len() + length > BLOCK_BYTES {
            self.write_block()?;
        }
        for part in [key, value] {
            self.block.extend_from_slice(&(part.len() as u32).to_le_bytes());
        }
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.records += 1;
        Ok(())
    }

    /// Ends the file, waits until it is on the disk, and names it.
    pub fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        self.write_block()?;
        let size_bytes = self.size_bytes + TRAILER_BYTES;
        self.write(&0u32.to_le_bytes())?;
        self.write(&self.records.to_le_bytes())?;
        self.write(&size_bytes.to_le_bytes())?;
        self.write(&self.digest.digest128().to_le_bytes())?;
        self.output.flush().map_err(failed(&self.temporary, "writing it"))?;
        publish(self.output.get_ref(), &self.temporary, &self.path)
    }

    fn write_block(&mut self) -> Result<(), SnapshotError> {
        let mut block = std::mem::take(&mut self.block);
        // A block of no length is the trailer.
        if !block.is_empty() {
            self.write_framed(&block)?;
            block.clear();
        }
        self.block = block;
        Ok(())
    }

    fn write_framed(&mut self, content: &[u8]) -> Result<(), SnapshotError> {
        assert!(content.len() <= MAX_BLOCK_BYTES, "{} bytes at once", content.len());
        let length = (content.len() as u32).to_le_bytes();
        self.write(&length)?;
        self.write(&checksum(&length, content).to_le_bytes())?;
        self.write(content)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.output.write_all(bytes).map_err(failed(&self.temporary, "writing it"))?;
        self.digest.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

fn checksum(length: &[u8; 4], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(content);
    hasher.finalize()
}

/// Reads a snapshot from its beginning, and takes no more memory than a block.
///
/// What was read counts only when the end was reached: the digest that stands
/// there may still refuse all of it.
pub struct SnapshotReader {
    input: BufReader<File>,
    path: PathBuf,
    header: Bytes,
    /// Where the next byte is read.
    offset: u64,
    size_bytes: u64,
    records: u64,
    digest: Xxh3,
    is_at_end: bool,
}

impl SnapshotReader {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(failed(path, "opening it"))?;
        let metadata = file.metadata().map_err(failed(path, "asking for its length"))?;
        let mut reader = SnapshotReader {
            input: BufReader::new(file),
            path: path.into(),
            header: Bytes::new(),
            offset: 0,
            size_bytes: metadata.len(),
            records: 0,
            digest: Xxh3::new(),
            is_at_end: false,
        };
        let magic: [u8; 8] = reader.read_array()?;
        if magic[..7] != MAGIC[..7] {
            return Err(reader.damaged(0, "this is not a snapshot"));
        }
        if magic[7] != MAGIC[7] {
            let why = format!("format {} is unknown, this program reads {}", magic[7], MAGIC[7]);
            return Err(reader.damaged(7, why));
        }
        let length = reader.read_array()?;
        reader.header = reader.read_framed(length)?;
        Ok(reader)
    }

    /// What the writer gave to [`SnapshotWriter::create`].
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// The next records, in the order in which they were written. `None` when
    /// the file is at its end and all of it was right.
    pub fn next_block(&mut self) -> Result<Option<Vec<Pair>>, SnapshotError> {
        if self.is_at_end {
            return Ok(None);
        }
        let length: [u8; 4] = self.read_array()?;
        if length == [0; 4] {
            self.check_trailer()?;
            self.is_at_end = true;
            return Ok(None);
        }
        let mut block = self.read_framed(length)?;
        let mut pairs = Vec::new();
        while !block.is_empty() {
            let at = self.offset - block.len() as u64;
            let pair = split_record(&mut block);
            pairs.push(pair.ok_or_else(|| self.damaged(at, "the lengths of a record are wrong"))?);
        }
        self.records += pairs.len() as u64;
        Ok(Some(pairs))
    }

    /// Reads what is left, to check it.
    pub fn verify(mut self) -> Result<(), SnapshotError> {
        while self.next_block()?.is_some() {}
        Ok(())
    }

    fn check_trailer(&mut self) -> Result<(), SnapshotError> {
        let at = self.offset;
        let records = u64::from_le_bytes(self.read_array()?);
        let size_bytes = u64::from_le_bytes(self.read_array()?);
        let digest = self.digest.digest128();
        let written = u128::from_le_bytes(self.read_array()?);
        if digest != written {
            return Err(self.damaged(at, "the digest of the file is wrong"));
        }
        if records != self.records {
            let why = format!("it should hold {records} records, not {}", self.records);
            return Err(self.damaged(at, why));
        }
        if size_bytes != self.size_bytes || self.offset != self.size_bytes {
            let why = format!("it should end at byte {size_bytes}, not {}", self.size_bytes);
            return Err(self.damaged(self.offset, why));
        }
        Ok(())
    }

    /// Reads a checksum and the content of this length that it is for.
    fn read_framed(&mut self, length: [u8; 4]) -> Result<Bytes, SnapshotError> {
        let at = self.offset - 4;
        let written = u32::from_le_bytes(self.read_array()?);
        let content_bytes = u32::from_le_bytes(length) as usize;
        // The length may be damaged: memory is taken only for what can be there.
        if content_bytes > MAX_BLOCK_BYTES {
            return Err(self.damaged(at, format!("a length of {content_bytes} bytes")));
        }
        if content_bytes as u64 > self.size_bytes.saturating_sub(self.offset) {
            return Err(self.damaged(self.size_bytes, "it ends too early"));
        }
        let mut content = vec![0; content_bytes];
        self.read(&mut content)?;
        match checksum(&length, &content) == written {
            true => Ok(content.into()),
            false => Err(self.damaged(at, "the checksum of a block is wrong")),
        }
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(self.size_bytes, "it ends too early"),
            _ => failed(&self.path, "reading it")(error),
        })?;
        self.digest.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn damaged(&self, offset: u64, why: impl Into<String>) -> SnapshotError {
        let path = self.path.display().to_string();
        SnapshotError::Damaged { path, offset, why: why.into() }
    }
}

/// Cuts the first record off a block.
fn split_record(block: &mut Bytes) -> Option<Pair> {
    let key_bytes = block.try_get_u32_le().ok()? as usize;
    let value_bytes = block.try_get_u32_le().ok()? as usize;
    let is_key = (1..=Writes::MAX_KEY_BYTES).contains(&key_bytes);
    if !is_key || key_bytes.checked_add(value_bytes)? > block.len() {
        return None;
    }
    let key = block.split_to(key_bytes);
    Some((key, block.split_to(value_bytes)))
}
