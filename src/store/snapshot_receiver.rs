//! Receiving the file of a snapshot piece by piece.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use super::snapshot_file::{SnapshotError, SnapshotFile, SnapshotReader, failed, path_of, publish};

/// Takes the pieces of one file at a time. It gets its name when it is whole
/// and was verified; a piece that begins a file gives up the one before.
pub struct SnapshotReceiver {
    directory: PathBuf,
    incoming: Option<Incoming>,
}

struct Incoming {
    name: String,
    file: File,
    received_bytes: u64,
    total_bytes: u64,
}

/// The answer to a piece.
#[derive(Debug)]
pub enum Received {
    /// The file is not whole yet. It goes on at this offset, in bytes, whatever
    /// the offset of the piece was.
    Next(u64),
    /// It is whole, right, and on the disk.
    Whole(SnapshotFile),
}

impl SnapshotReceiver {
    /// The longest file that is taken.
    pub const MAX_TOTAL_BYTES: u64 = 64 << 30;

    /// A receiver that puts files into a directory, which must exist. No other
    /// receiver may work on it.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        SnapshotReceiver { directory: directory.into(), incoming: None }
    }

    /// Takes the piece that begins at `offset` of the file `name`, which is
    /// `total_bytes` long. A piece that is not the next one is left alone, and
    /// the answer says which would be. After an error the file must be sent
    /// from its beginning.
    ///
    /// The last piece waits until the file is on the disk and was read again.
    pub fn take(
        &mut self,
        name: &str,
        offset: u64,
        piece: &[u8],
        total_bytes: u64,
    ) -> Result<Received, SnapshotError> {
        let incoming = match self.incoming.take() {
            _ if offset == 0 => self.begin(name, total_bytes)?,
            Some(incoming) if incoming.name == name && incoming.total_bytes == total_bytes => {
                incoming
            }
            other => {
                self.incoming = other;
                return Ok(Received::Next(0));
            }
        };
        let result = self.append(incoming, offset, piece);
        if result.is_err() {
            // What remains is replaced by the next file, or goes at the start.
            let _ = fs::remove_file(self.temporary());
        }
        result
    }

    fn begin(&self, name: &str, total_bytes: u64) -> Result<Incoming, SnapshotError> {
        path_of(&self.directory, name)?;
        if total_bytes > Self::MAX_TOTAL_BYTES {
            let why = format!(
                "{total_bytes} bytes are more than the {} that are taken",
                Self::MAX_TOTAL_BYTES
            );
            return Err(SnapshotError::Refused { name: name.into(), why });
        }
        let path = self.temporary();
        let file = File::create(&path).map_err(failed(&path, "creating it"))?;
        Ok(Incoming { name: name.into(), file, received_bytes: 0, total_bytes })
    }

    fn append(
        &mut self,
        mut incoming: Incoming,
        offset: u64,
        piece: &[u8],
    ) -> Result<Received, SnapshotError> {
        if offset == incoming.received_bytes {
            let Incoming { total_bytes, received_bytes, .. } = incoming;
            if piece.len() as u64 > total_bytes - received_bytes {
                let why = format!("more than its {total_bytes} bytes were sent");
                return Err(SnapshotError::Refused { name: incoming.name, why });
            }
            let write = incoming.file.write_all(piece);
            write.map_err(failed(&self.temporary(), "writing it"))?;
            incoming.received_bytes += piece.len() as u64;
        }
        let next = incoming.received_bytes;
        if next < incoming.total_bytes {
            self.incoming = Some(incoming);
            return Ok(Received::Next(next));
        }
        SnapshotReader::open(&self.temporary())?.verify()?;
        let path = path_of(&self.directory, &incoming.name)?;
        publish(&incoming.file, &self.temporary(), &path).map(Received::Whole)
    }

    /// Snapshots don't begin with a dot: this is none that is being written.
    fn temporary(&self) -> PathBuf {
        self.directory.join(".incoming.tmp")
    }
}
