//! Snapshots: all rows of the state and the members as of one entry, in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::SnapshotChunk;
use super::state::{Members, Rows, Summary};
use super::store::CHUNK_BYTES;
use super::types::{LogId, SnapshotMeta};
use crate::identity::{ClusterId, OwnCluster};
use crate::store::{
    Received, SnapshotError, SnapshotFile, SnapshotLock, SnapshotReader, SnapshotReceiver,
    SnapshotWriter, View, decode, encode, prepare_snapshots,
};

/// What stands in front of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// The cluster.
    pub cluster: ClusterId,
    /// The entry and the members, as openraft wants them.
    pub meta: SnapshotMeta,
    /// How many changes of records there were.
    pub changes: u64,
    /// The members, as we want them.
    pub members: Members,
}

/// Where work is done that waits for a disk.
#[derive(Clone, Copy, Debug)]
pub enum Blocking {
    /// On threads for blocking work, as in a node.
    OnThreads,
    /// At once, as in a simulation.
    AtOnce,
}

impl Blocking {
    /// Does work and gives its result.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Blocking::OnThreads => tokio::task::spawn_blocking(work).await?,
            Blocking::AtOnce => work(),
        }
    }
}

/// The snapshots of a replica: at most one that is complete, and one that is
/// coming in. No other replica can use their directory before the last clone is
/// dropped.
#[derive(Clone)]
pub struct Snapshots {
    directory: PathBuf,
    cluster: OwnCluster,
    _lock: Arc<SnapshotLock>,
    blocking: Blocking,
    newest: Arc<Mutex<Option<(SnapshotMeta, SnapshotFile)>>>,
    incoming: Arc<Mutex<SnapshotReceiver>>,
}

impl Snapshots {
    /// Opens the directory and finds the newest snapshot of what is applied. A
    /// replica that has none makes one when it is needed, from its own state.
    ///
    /// What is incomplete, damaged or old is removed; and so is a snapshot
    /// ahead of what is applied, which came in and was not installed: the log
    /// may end in entries that contradict it, and its leader sends it again.
    /// One of another cluster is not touched: the directory is that of another
    /// replica, and the error says so.
    pub fn open(
        directory: &Path,
        cluster: OwnCluster,
        applied: Option<LogId>,
        blocking: Blocking,
    ) -> Result<Self, SnapshotError> {
        let lock = prepare_snapshots(directory)?;
        let mut newest = None;
        for path in complete(directory)? {
            match SnapshotHeader::read(&path) {
                Ok(header) if Some(header.cluster) != cluster.get() => {
                    let own = cluster.get().map_or("none yet".into(), |own| own.to_string());
                    let (path, held) = (path.display().to_string(), header.cluster.to_string());
                    return Err(SnapshotError::Foreign { path, held, own });
                }
                Ok(header) if newest.is_none() && header.meta.last_log_id <= applied => {
                    newest = Some((header.meta, SnapshotFile::open(&path)?));
                }
                Ok(_) => remove(&path)?,
                Err(error) => {
                    log::warn!("{error}");
                    remove(&path)?;
                }
            }
        }
        Ok(Snapshots {
            directory: directory.into(),
            cluster,
            _lock: Arc::new(lock),
            blocking,
            newest: Arc::new(Mutex::new(newest)),
            incoming: Arc::new(Mutex::new(SnapshotReceiver::new(directory))),
        })
    }

    /// The newest snapshot that is complete.
    pub fn newest(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        self.newest.lock().expect("nothing panics while it holds the lock").clone()
    }

    /// Writes a snapshot of a view.
    pub async fn build<V: View + Send + 'static>(
        &self,
        view: V,
        summary: Summary,
    ) -> io::Result<(SnapshotMeta, SnapshotFile)> {
        let snapshots = self.clone();
        self.blocking.run(move || snapshots.write(&view, &summary)).await
    }

    fn write<V: View>(
        &self,
        view: &V,
        summary: &Summary,
    ) -> io::Result<(SnapshotMeta, SnapshotFile)> {
        let meta = SnapshotMeta {
            last_log_id: summary.applied.last,
            last_membership: summary.members.membership.clone(),
        };
        let cluster = self.cluster.get();
        let header = SnapshotHeader {
            cluster: cluster.ok_or_else(|| io::Error::other("the cluster is not known yet"))?,
            meta: meta.clone(),
            changes: summary.applied.changes,
            members: Members::clone(&summary.members),
        };
        let failed = |error: SnapshotError| io::Error::other(error);
        let create = SnapshotWriter::create(&self.directory, &name(&meta), &encode(&header));
        let mut writer = create.map_err(failed)?;
        for row in Rows::all(view, summary.generation) {
            let (key, value) = row.map_err(io::Error::other)?;
            writer.push(&key, &value).map_err(failed)?;
        }
        let file = writer.finish().map_err(failed)?;
        self.replace(meta.clone(), file.clone()).map_err(failed)?;
        Ok((meta, file))
    }

    /// Makes a complete file the newest one and removes the one before. Who
    /// reads that still has it open.
    pub fn replace(&self, meta: SnapshotMeta, file: SnapshotFile) -> Result<(), SnapshotError> {
        let mut newest = self.newest.lock().expect("nothing panics while it holds the lock");
        match newest.replace((meta, file.clone())) {
            Some((_, old)) if old.path != file.path => remove(&old.path),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a piece that a leader sent. Gives the file when it is complete.
    pub async fn receive(&self, chunk: SnapshotChunk) -> io::Result<Received> {
        let incoming = self.incoming.clone();
        let SnapshotChunk { meta, offset, data, total_bytes, .. } = chunk;
        let work = move || {
            let mut incoming = incoming.lock().expect("nothing panics while it holds the lock");
            incoming.take(&name(&meta), offset, &data, total_bytes).map_err(io::Error::other)
        };
        self.blocking.run(work).await
    }

    /// Reads a piece of a file.
    pub async fn read_at(&self, file: &SnapshotFile, offset: u64) -> io::Result<Bytes> {
        let file = file.clone();
        self.blocking.run(move || file.read_at(offset, CHUNK_BYTES).map_err(io::Error::other)).await
    }
}

const EXTENSION: &str = "snap";

/// The name of a snapshot's file, in the order of the log.
fn name(meta: &SnapshotMeta) -> String {
    let (term, index) =
        meta.last_log_id.map_or((0, 0), |id| (**id.committed_leader_id(), id.index));
    format!("{term:016x}-{index:016x}.{EXTENSION}")
}

/// The complete snapshots in a directory, the newest first.
fn complete(directory: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let failed = |error| SnapshotError::Failed {
        path: directory.display().to_string(),
        what: "listing it",
        error,
    };
    let entries = fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    paths.sort_unstable_by(|one, other| other.cmp(one));
    Ok(paths)
}

fn remove(path: &Path) -> Result<(), SnapshotError> {
    fs::remove_file(path).map_err(|error| SnapshotError::Failed {
        path: path.display().to_string(),
        what: "removing it",
        error,
    })
}

impl SnapshotHeader {
    /// The header of a file.
    pub fn read(path: &Path) -> Result<Self, SnapshotError> {
        Self::of(&SnapshotReader::open(path)?, path)
    }

    /// The header of a file that is being read.
    pub fn of(reader: &SnapshotReader, path: &Path) -> Result<Self, SnapshotError> {
        decode(reader.header()).map_err(|why| SnapshotError::Damaged {
            path: path.display().to_string(),
            offset: 0,
            why,
        })
    }
}
