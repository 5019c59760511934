//! The database of a node: fjall, and the manifest of what must be there when it
//! is opened again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use fjall::{Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Snapshot};

use super::embedded_open::{
    OpenError, create_directory, failed, lock_file, sync_directory, unusable,
};
use super::manifest::{self, LOCK, Manifest, VERSION};

/// The database that the stores of a node share. Clones share it.
#[derive(Clone)]
pub struct Database {
    fjall: fjall::Database,
    manifest: Arc<Mutex<Manifest>>,
}

impl Database {
    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().expect("nothing panics while it holds the lock")
    }

    /// Opens a keyspace and creates it, durably, where there is none. From now
    /// on the database is not opened without it.
    pub fn keyspace(
        &self,
        name: &str,
        options: impl FnOnce() -> KeyspaceCreateOptions,
    ) -> fjall::Result<Keyspace> {
        let keyspace = self.fjall.keyspace(name, options)?;
        // fjall does not sync the directory that holds those of the keyspaces.
        keyspace.path().parent().map_or(Ok(()), sync_directory)?;
        // Not before it is durable: a crash in between leaves one too many.
        self.manifest().list(name, keyspace.path())?;
        Ok(keyspace)
    }

    /// Deletes a keyspace, durably. Its files go when the last view of it does.
    pub fn delete_keyspace(&self, keyspace: Keyspace) -> fjall::Result<()> {
        // Before it is gone, for the same reason.
        self.manifest().unlist(keyspace.name())?;
        self.fjall.delete_keyspace(keyspace)
    }

    /// The names of all keyspaces.
    pub fn keyspace_names(&self) -> impl Iterator<Item = String> {
        self.fjall.list_keyspace_names().into_iter().map(|name| name.to_string())
    }

    /// All that is committed, as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.fjall.snapshot()
    }

    /// An empty batch. Committed by itself, it is durable some time later.
    pub fn batch(&self) -> OwnedWriteBatch {
        self.fjall.batch()
    }

    /// Commits a batch and makes it durable, with all before it.
    pub fn commit(&self, batch: OwnedWriteBatch, mode: PersistMode) -> fjall::Result<()> {
        batch.durability(Some(mode)).commit()?;
        Ok(self.manifest().note_journals()?)
    }

    /// Makes all that is committed durable.
    pub fn persist(&self, mode: PersistMode) -> fjall::Result<()> {
        self.fjall.persist(mode)?;
        Ok(self.manifest().note_journals()?)
    }
}

/// Opens the database of a node, and creates it where there is none. The
/// stores of the node share it, each with keyspaces of its own, so that one
/// journal and one fsync serve them all.
///
/// One that has lost a part is refused, before anything is changed: fjall would
/// begin anew with it. The manifest says which parts these are.
///
/// After a crash fjall replays its journal up to the last whole batch and cuts
/// off what follows; a batch that is whole but does not match its checksum is
/// an error. Two limits of that: a damaged header inside the journal is taken
/// for its end, and a batch that a power failure tore in its middle is refused
/// like damage.
pub fn open_database(directory: &Path) -> Result<Database, OpenError> {
    let io_failed =
        |what: &'static str| move |error| failed(directory, what, fjall::Error::Io(error));
    create_directory(directory).map_err(|error| unusable(directory, "creating it", &error))?;
    let lock = lock(directory)?;
    let journals = journals(directory).map_err(io_failed("reading its journals"))?;
    let manifest = Manifest::read(directory)?;
    manifest::check(directory, manifest.as_ref(), &journals)
        .map_err(|why| OpenError::Failed { directory: directory.display().to_string(), why })?;
    clear_unfinished(directory, &journals).map_err(io_failed("clearing it"))?;
    // fjall takes it again.
    drop(lock);
    let result = fjall::Database::builder(directory)
        // Blocks and filters: a small server's hot registers are in memtables.
        .cache_size(16 << 20)
        // One flushes while the other compacts; more would only take cores
        // away from the thread that serves. A single one could wait for itself for
        // ever: to flush what it has rotated it sends itself a message, and its
        // queue is full when a compaction took long, since each commit over a full
        // memtable asks for a rotation.
        .worker_threads(2)
        // Two journals of the 64 MiB that fjall allocates each: bounds the
        // disk that is taken and the time that a recovery takes.
        .max_journaling_size(128 << 20)
        // A batch says how durable it is; nothing else writes.
        .manual_journal_persist(true)
        .open();
    let fjall = result.map_err(|error| match error {
        fjall::Error::Locked => OpenError::InUse { directory: directory.display().to_string() },
        error @ fjall::Error::JournalRecovery(_) => {
            let names: Vec<_> = journals.iter().map(Journal::name).collect();
            failed(directory, &format!("reading {}", names.join(" or ")), error)
        }
        error => failed(directory, "opening the database", error),
    })?;
    for journal in &journals {
        journal.tell_cut(directory);
    }
    let manifest = manifest.map_or_else(|| Manifest::begin(directory), Ok);
    let noted = manifest.and_then(|mut manifest| manifest.note_journals().map(|()| manifest));
    let manifest = noted.map_err(io_failed("writing its manifest"))?;
    Ok(Database { fjall, manifest: Arc::new(Mutex::new(manifest)) })
}

/// A journal of a database.
pub struct Journal {
    /// Each has a higher number than those before it.
    pub number: u64,
    /// Where its data ends, in bytes: behind it are the zeros of a file that was
    /// allocated in advance.
    pub end: u64,
}

impl Journal {
    /// The name of its file.
    pub fn name(&self) -> String {
        journal_name(self.number)
    }

    /// Says what fjall has cut off.
    fn tell_cut(&self, directory: &Path) {
        let path = directory.join(self.name());
        // One that was not needed any more is gone.
        let Ok(kept) = path.metadata().map(|file| file.len()) else { return };
        if kept < self.end {
            log::warn!(
                "{}: cut off at byte {kept}: the {} bytes behind it are a write that was \
                 interrupted before it was acknowledged",
                path.display(),
                self.end - kept
            );
        }
    }
}

/// The name of the journal of this number.
pub fn journal_name(number: u64) -> String {
    format!("{number}.jnl")
}

/// The paths and numbers of the journals in a directory, in ascending order.
pub fn journal_files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort_unstable();
    Ok(files)
}

fn journals(directory: &Path) -> io::Result<Vec<Journal>> {
    let files = journal_files(directory)?.into_iter();
    let measure =
        |(number, path)| Ok(Journal { number, end: end_of_data(&File::open::<PathBuf>(path)?)? });
    files.map(measure).collect()
}

/// The offset behind the last byte of a file that is not zero.
fn end_of_data(file: &File) -> io::Result<u64> {
    const BLOCK_BYTES: u64 = 1 << 16;
    static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
    let mut block = ZEROS;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = (end - 1) / BLOCK_BYTES * BLOCK_BYTES;
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        // Compared as a whole, which is quick.
        if *part != ZEROS[..part.len()] {
            let last = part.iter().rposition(|byte| *byte != 0).expect("one is not zero");
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Keeps other processes away from a database, where there is one, as fjall does
/// while it is open: what they change meanwhile would look like a loss.
fn lock(directory: &Path) -> Result<Option<File>, OpenError> {
    let file = match File::open(directory.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file,
    };
    match file.and_then(|file| lock_file(&file).map(|is_ours| (file, is_ours))) {
        Ok((file, true)) => Ok(Some(file)),
        Ok((_, false)) => Err(OpenError::InUse { directory: directory.display().to_string() }),
        Err(error) => Err(failed(directory, "locking it", fjall::Error::Io(error))),
    }
}

/// Removes the empty journal of a creation that was interrupted: fjall, which
/// creates its journal before its version, would refuse to go on.
fn clear_unfinished(directory: &Path, journals: &[Journal]) -> io::Result<()> {
    if directory.join(VERSION).try_exists()? {
        return Ok(());
    }
    journals.iter().try_for_each(|journal| fs::remove_file(directory.join(journal.name())))
}
