//! Opening what a node has stored, and finding out whose it is.

use std::error::Error;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use fjall::{Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::database::Database;
use super::encoding;
use crate::caspaxos::{AcceptorId, Standing};
use crate::identity::Nonce;

/// Whose registers a directory holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: String,
    /// The acceptor within it.
    pub acceptor: AcceptorId,
}

/// Whose log and state a directory holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaIdentity {
    /// The cluster.
    pub cluster: String,
    /// The replica within it.
    pub id: u64,
}

/// An [`Identity`] or a [`ReplicaIdentity`] as it is stored and shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The cluster.
    cluster: String,
    /// What it is within the cluster, such as `acceptor`.
    role: &'static str,
    /// Which of them.
    id: String,
}

impl From<Identity> for Owner {
    fn from(identity: Identity) -> Self {
        let Identity { cluster, acceptor } = identity;
        Owner { cluster, role: "acceptor", id: acceptor.to_string() }
    }
}

impl From<ReplicaIdentity> for Owner {
    fn from(identity: ReplicaIdentity) -> Self {
        let ReplicaIdentity { cluster, id } = identity;
        Owner { cluster, role: "replica", id: id.to_string() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of cluster {:?}", self.role, self.id, self.cluster)
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on it.
    #[error("{directory} is in use by another process; stop it first")]
    InUse {
        /// The data directory.
        directory: String,
    },
    /// It belongs to another acceptor or replica. Serving from it would let
    /// the promises or votes of one stand for another's.
    #[error(
        "{directory} holds {held}, not {wanted}; give each {role} a data directory of its own, or \
         empty this one if its data may go"
    )]
    Foreign {
        /// The data directory.
        directory: String,
        /// Whose data is in it, as text.
        held: String,
        /// Who wanted to use it, as text.
        wanted: String,
        /// What it wanted to be, such as `acceptor`.
        role: &'static str,
    },
    /// It was written by a program of another format.
    #[error(
        "{directory} is in format {found}, this program knows format {FORMAT}; \
         run the version that wrote it"
    )]
    Format {
        /// The data directory.
        directory: String,
        /// The format that it is in.
        found: String,
    },
    /// The system does not let it be used, which says nothing of its data.
    #[error("{directory}: {what} failed: {error}; {remedy}")]
    Unusable {
        /// The data directory.
        directory: String,
        /// The operation.
        what: String,
        /// How it failed, as text.
        error: String,
        /// What helps.
        remedy: &'static str,
    },
    /// It cannot be read or written, or is damaged.
    #[error(
        "{directory}: {why}; if its data is damaged, replace the acceptor by a new one, or the \
         replica: remove it (curl -X DELETE http://ANOTHER-MEMBER/ID) and add a new member with an \
         id that was never used (an old copy of the directory would have forgotten promises or \
         votes)"
    )]
    Failed {
        /// The data directory.
        directory: String,
        /// What failed, and how.
        why: String,
    },
}

/// The layout of the keyspaces; the records in them have a version of their own.
const FORMAT: &str = "3";

/// Creates a directory so that it is still there after a power failure: an
/// acceptor that lost its directory would start anew without its promises.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|path| !path.exists());
    let parents: Vec<&Path> = missing.filter_map(Path::parent).collect();
    std::fs::create_dir_all(directory)?;
    parents.into_iter().try_for_each(sync_directory)
}

/// Makes the names in a directory survive a power failure.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a relative path of one part is the empty path.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Takes the lock of a file until it is closed. False when another process, or
/// another part of this one, has it and is not about to end.
pub fn lock_file(file: &File) -> io::Result<bool> {
    const TRIES: usize = 3;
    const BETWEEN: Duration = Duration::from_millis(100);
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// [`Database::keyspace`] while a store is opened. `directory` is where the
/// database is, for messages.
pub fn open_keyspace(
    database: &Database,
    directory: &Path,
    name: &str,
    options: impl FnOnce() -> KeyspaceCreateOptions,
) -> Result<Keyspace, OpenError> {
    database
        .keyspace(name, options)
        .map_err(|error| failed(directory, &format!("opening keyspace {name}"), error))
}

/// The keyspaces of an acceptor, and its standing.
pub struct Acceptor {
    /// Key to register.
    pub registers: Keyspace,
    /// The keys of those registers that hold no live record, by themselves.
    pub dead: Keyspace,
    /// The facts of the acceptor as a whole, by name.
    pub meta: Keyspace,
    /// Where it stands towards the cluster.
    pub standing: Standing,
}

/// What [`Acceptor::dead`] holds besides keys, none of which begins so; written
/// with each of its changes. fjall keeps a journal until the tables of every
/// keyspace are as new as what the journal holds of it. Removals leave the
/// tables when these are compacted, and journals would then be kept until the
/// list changes again, which may be never.
pub const NEWEST: &[u8] = b"\xff";

/// Where [`Acceptor::meta`] keeps the standing.
pub const STANDING: &str = "standing";
const META_FORMAT: &str = "format";
const META_CLUSTER: &str = "cluster";

/// Opens the keyspaces of an acceptor. A database without one becomes that of
/// `wanted`; that of another acceptor is refused.
pub fn open_acceptor(
    database: &Database,
    directory: &Path,
    wanted: Identity,
) -> Result<Acceptor, OpenError> {
    let failed = |what: &str, error| failed(directory, what, error);
    let meta = open_keyspace(database, directory, "meta", keyspace_options)?;
    let registers = open_keyspace(database, directory, "registers", keyspace_options)?;
    let dead = open_keyspace(database, directory, "dead", keyspace_options)?;
    // One that is new draws its nonce, which is stored with whose it is.
    let standing = Standing::new(Nonce(rand::random()));
    let first = [(STANDING, encoding::encode(&standing))];
    claim(database, directory, &meta, &[&registers], wanted.into(), &first)?;
    let stored = meta.get(STANDING).map_err(|error| failed("reading its standing", error))?;
    let stored = stored.ok_or("is missing".to_owned());
    let mut standing: Standing =
        stored.and_then(|stored| encoding::decode(&stored)).map_err(|why| {
            let why = format!("the standing in keyspace meta is damaged: {why}");
            OpenError::Failed { directory: directory.display().to_string(), why }
        })?;
    standing.open(rand::random());
    let mut batch = database.batch();
    batch.insert(&meta, STANDING, encoding::encode(&standing));
    let begun = database.commit(batch, PersistMode::SyncAll);
    begun.map_err(|error| failed("beginning a generation", error))?;
    Ok(Acceptor { registers, dead, meta, standing })
}

/// Checks that the keyspaces belong to `wanted`, as keyspace `facts` says, and
/// gives them to it when all are empty, with the `first` facts that it has.
pub fn claim(
    database: &Database,
    directory: &Path,
    facts: &Keyspace,
    others: &[&Keyspace],
    wanted: Owner,
    first: &[(&str, Vec<u8>)],
) -> Result<(), OpenError> {
    let failed = |what: &str, keyspace: &Keyspace, error| {
        failed(directory, &format!("{what} keyspace {}", &**keyspace.name()), error)
    };
    let name = || directory.display().to_string();
    let fact = |name| match facts.get(name) {
        Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(failed("reading", facts, error)),
    };
    match fact(META_FORMAT)? {
        None => {
            for keyspace in others {
                let is_empty = keyspace.is_empty();
                if !is_empty.map_err(|error| failed("reading", keyspace, error))? {
                    let held = &**keyspace.name();
                    let why = format!("keyspace {held} holds data but nothing says whose");
                    return Err(OpenError::Failed { directory: name(), why });
                }
            }
            let written = write_owner(database, facts, &wanted, first);
            written.map_err(|error| failed("writing", facts, error))
        }
        Some(format) if format == FORMAT => {
            let held = Owner {
                cluster: fact(META_CLUSTER)?.unwrap_or_default(),
                role: wanted.role,
                id: fact(wanted.role)?.unwrap_or_default(),
            };
            if held == wanted {
                return Ok(());
            }
            let (held, role, wanted) = (held.to_string(), wanted.role, wanted.to_string());
            Err(OpenError::Foreign { directory: name(), held, wanted, role })
        }
        Some(found) => Err(OpenError::Format { directory: name(), found }),
    }
}

fn write_owner(
    database: &Database,
    facts: &Keyspace,
    owner: &Owner,
    first: &[(&str, Vec<u8>)],
) -> fjall::Result<()> {
    let mut batch = database.batch();
    batch.insert(facts, META_FORMAT, FORMAT);
    batch.insert(facts, META_CLUSTER, owner.cluster.as_str());
    batch.insert(facts, owner.role, owner.id.as_str());
    first.iter().for_each(|(name, fact)| batch.insert(facts, *name, fact.as_slice()));
    database.commit(batch, PersistMode::SyncAll)
}

/// How a keyspace is created that nothing special is known of.
pub fn keyspace_options() -> KeyspaceCreateOptions {
    // Large values go to files of their own, of which the tables hold the places:
    // a compaction need not write them again, unless half of such a file is stale.
    let large =
        KvSeparationOptions::default().separation_threshold(LARGE_BYTES).staleness_threshold(0.5);
    // Memory for writes that are not in tables yet; when it is full, the
    // journal behind it can go.
    KeyspaceCreateOptions::default()
        .max_memtable_size(4 << 20)
        .manual_journal_persist(true)
        .with_kv_separation(Some(large))
}

/// The smallest value that is large: two blocks of a table.
const LARGE_BYTES: u32 = 8 << 10;

/// Names the operation and the directory of an error.
pub fn failed(directory: &Path, what: &str, error: fjall::Error) -> OpenError {
    let why = match io_error(&error) {
        Some(error) if remedy(error).is_some() => return unusable(directory, what, error),
        Some(error) => format!("{what} failed: {error}"),
        None => format!("{what} failed: {error}"),
    };
    OpenError::Failed { directory: directory.display().to_string(), why }
}

/// The error of an operation that has nothing to do with data.
pub fn unusable(directory: &Path, what: &str, error: &io::Error) -> OpenError {
    OpenError::Unusable {
        directory: directory.display().to_string(),
        what: what.to_owned(),
        error: error.to_string(),
        remedy: remedy(error).unwrap_or("choose another directory"),
    }
}

/// What the system said, if it was the system.
fn io_error(error: &fjall::Error) -> Option<&io::Error> {
    let mut chain = std::iter::successors(error.source(), |error| (*error).source());
    chain.find_map(|error| error.downcast_ref())
}

/// What helps where the system refuses; `None` where the disk or what is on it may be
/// damaged.
fn remedy(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::PermissionDenied => Some(
            "let the user who runs this program read and write it, or choose another directory",
        ),
        ErrorKind::ReadOnlyFilesystem => {
            Some("its file system is read-only: mount it for writing, or choose another directory")
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            Some("a file is in its place: move that away, or choose another directory")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("make room on its disk"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_damage_is_told_to_be_replaced() {
        for (kind, expected) in [
            (ErrorKind::PermissionDenied, "let the user"),
            (ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
            (ErrorKind::NotADirectory, "a file is in its place"),
            (ErrorKind::StorageFull, "make room"),
            (ErrorKind::UnexpectedEof, "replace the acceptor"),
            (ErrorKind::Other, "replace the acceptor"),
        ] {
            for error in
                [fjall::Error::Io(kind.into()), fjall::Error::Storage(io::Error::from(kind).into())]
            {
                let said = failed(Path::new("d"), "opening it", error).to_string();
                let begins = said.starts_with("d: opening it failed: ");
                assert!(begins && said.contains(expected), "{said}");
                assert_eq!(said.contains("replace"), expected.contains("replace"), "{said}");
                assert!(!said.contains("Error"), "{said}");
            }
        }
        let damaged = fjall::Error::Unrecoverable;
        let said = failed(Path::new("d"), "opening it", damaged).to_string();
        assert!(said.contains("replace the acceptor"), "{said}");
    }
}
