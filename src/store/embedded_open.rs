//! Opening the database of a node, and finding out whose it is.

use std::fs::File;
use std::io;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::caspaxos::{AcceptorId, Epoch};

/// Whose registers a directory holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: String,
    /// The acceptor within it.
    pub acceptor: AcceptorId,
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
    /// It holds the registers of another acceptor. Serving them would let one
    /// acceptor's promises stand for another's.
    #[error(
        "{directory} holds acceptor {:?} of cluster {:?}, not acceptor {:?} of cluster {:?}; \
         give each acceptor a data directory of its own, or empty this one if its data may go",
        held.acceptor, held.cluster, wanted.acceptor, wanted.cluster
    )]
    Foreign {
        /// The data directory.
        directory: String,
        /// Whose registers are in it.
        held: Identity,
        /// Who wanted to use it.
        wanted: Identity,
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
    /// It cannot be read or written, or is damaged.
    #[error(
        "{directory}: {why}; if its data is damaged, replace the acceptor by a new one \
         (an old copy of the directory would have forgotten promises)"
    )]
    Failed {
        /// The data directory.
        directory: String,
        /// What failed, and how.
        why: String,
    },
}

/// The layout of the keyspaces; the records in them have a version of their own.
const FORMAT: &str = "1";

/// Opens the database of a node, and creates it where there is none. The
/// stores of the node share it, each with keyspaces of its own, so that one
/// journal and one fsync serve them all.
///
/// After a crash fjall replays its journal up to the last whole batch and cuts
/// off what follows; a batch that is whole but does not match its checksum is
/// an error. Two limits of that: a damaged header inside the journal is taken
/// for its end, and a batch that a power failure tore in its middle is refused
/// like damage.
pub fn open_database(directory: &Path) -> Result<Database, OpenError> {
    create_directory(directory)
        .map_err(|error| failed(directory, "creating it", fjall::Error::Io(error)))?;
    let result = Database::builder(directory)
        // Blocks and filters: a small server's hot registers are in memtables.
        .cache_size(16 << 20)
        // One flushes while the other compacts; more would only take cores
        // away from the thread that serves.
        .worker_threads(2)
        // Two journals of the 64 MiB that fjall allocates each: bounds the
        // disk that is taken and the time that a recovery takes.
        .max_journaling_size(128 << 20)
        // A batch says how durable it is; nothing else writes.
        .manual_journal_persist(true)
        .open();
    result.map_err(|error| match error {
        fjall::Error::Locked => OpenError::InUse { directory: directory.display().to_string() },
        error => failed(directory, "opening the database", error),
    })
}

/// Creates a directory so that it is still there after a power failure: an
/// acceptor that lost its directory would start anew without its promises.
fn create_directory(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|path| !path.exists());
    let parents: Vec<&Path> = missing.filter_map(Path::parent).collect();
    std::fs::create_dir_all(directory)?;
    parents.into_iter().try_for_each(sync_directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a relative path of one part is the empty path.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Opens a keyspace of a database and creates it where there is none.
/// `directory` is where the database is, for messages.
pub fn open_keyspace(
    database: &Database,
    directory: &Path,
    name: &str,
) -> Result<Keyspace, OpenError> {
    let open = || {
        let keyspace = database.keyspace(name, keyspace_options)?;
        // fjall does not sync the directory that holds those of the keyspaces.
        keyspace.path().parent().map_or(Ok(()), sync_directory)?;
        Ok(keyspace)
    };
    open().map_err(|error| failed(directory, &format!("opening keyspace {name}"), error))
}

/// The keyspaces of an acceptor, and its least epoch.
pub struct Acceptor {
    /// Key to register.
    pub registers: Keyspace,
    /// The facts of the acceptor as a whole, by name.
    pub meta: Keyspace,
    /// The least epoch that is served.
    pub least: Epoch,
}

/// Where [`Acceptor::meta`] keeps the least epoch: eight bytes, big-endian.
pub const LEAST_EPOCH: &str = "least_epoch";
const META_FORMAT: &str = "format";
const META_CLUSTER: &str = "cluster";
const META_ACCEPTOR: &str = "acceptor";

/// Opens the keyspaces of an acceptor. A database without one becomes that of
/// `wanted`; that of another acceptor is refused.
pub fn open_acceptor(
    database: &Database,
    directory: &Path,
    wanted: Identity,
) -> Result<Acceptor, OpenError> {
    let failed = |what: &str, error| failed(directory, what, error);
    let meta = open_keyspace(database, directory, "meta")?;
    let registers = open_keyspace(database, directory, "registers")?;
    let fact = |name| match meta.get(name) {
        Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(failed("reading keyspace meta", error)),
    };
    let name = || directory.display().to_string();
    match fact(META_FORMAT)? {
        None => {
            if !registers.is_empty().map_err(|error| failed("reading the registers", error))? {
                let why = "it holds registers but does not say whose".into();
                return Err(OpenError::Failed { directory: name(), why });
            }
            write_identity(database, &meta, &wanted)
                .map_err(|error| failed("writing keyspace meta", error))?;
        }
        Some(format) if format == FORMAT => {
            let held = Identity {
                cluster: fact(META_CLUSTER)?.unwrap_or_default(),
                acceptor: AcceptorId::from(fact(META_ACCEPTOR)?.unwrap_or_default().as_str()),
            };
            if held != wanted {
                return Err(OpenError::Foreign { directory: name(), held, wanted });
            }
        }
        Some(found) => return Err(OpenError::Format { directory: name(), found }),
    }
    let least = meta.get(LEAST_EPOCH).map_err(|error| failed("reading the least epoch", error))?;
    let least = match least.as_deref().map(<[u8; 8]>::try_from) {
        None => Epoch::default(),
        Some(Ok(bytes)) => Epoch(u64::from_be_bytes(bytes)),
        Some(Err(_)) => {
            let why = "the least epoch in keyspace meta is damaged".into();
            return Err(OpenError::Failed { directory: name(), why });
        }
    };
    Ok(Acceptor { registers, meta, least })
}

fn keyspace_options() -> KeyspaceCreateOptions {
    // Memory for writes that are not in tables yet; when it is full, the
    // journal behind it can go.
    KeyspaceCreateOptions::default().max_memtable_size(16 << 20).manual_journal_persist(true)
}

fn write_identity(database: &Database, meta: &Keyspace, identity: &Identity) -> fjall::Result<()> {
    let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(meta, META_FORMAT, FORMAT);
    batch.insert(meta, META_CLUSTER, identity.cluster.as_str());
    batch.insert(meta, META_ACCEPTOR, &*identity.acceptor.0);
    batch.commit()
}

fn failed(directory: &Path, what: &str, error: fjall::Error) -> OpenError {
    let why = format!("{what} failed: {error}");
    OpenError::Failed { directory: directory.display().to_string(), why }
}
