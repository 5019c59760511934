//! The configuration of a proposer in a file of its own, which people can read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::embedded_open::{create_directory, sync_directory};
use crate::caspaxos::Configuration;
use crate::identity::ClusterId;

/// What a proposer keeps of its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The cluster.
    #[serde(rename = "clusterId")]
    pub cluster: ClusterId,
    /// The newest configuration that was in force at the proposer.
    #[serde(flatten)]
    pub configuration: Configuration,
}

/// Why the configuration of a proposer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationFileError {
    /// The file cannot be read.
    #[error("{path}: reading it failed: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is not what was written.
    #[error(
        "{path} is damaged: {error}; remove it: the acceptors tell the configuration to a \
         proposer that knows an older one"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Why.
        error: serde_json::Error,
    },
}

/// Reads the configuration, if one was ever written.
pub fn read_configuration(path: &Path) -> Result<Option<Kept>, ConfigurationFileError> {
    let name = || path.display().to_string();
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConfigurationFileError::Unreadable { path: name(), error }),
    };
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| ConfigurationFileError::Damaged { path: name(), error })
}

/// Replaces the file, whole or not at all, also when the power fails.
pub fn write_configuration(path: &Path, kept: &Kept) -> io::Result<()> {
    create_directory(path.parent().unwrap_or(Path::new(".")))?;
    replace_json(path, kept)
}

/// Replaces a file by the JSON of a value, whole or not at all, also when the
/// power fails. The file is called `NAME.json`, and `NAME.json.new` until it is
/// whole.
pub(super) fn replace_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::{Epoch, Place};

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/p1/configuration.json");
        assert_eq!(read_configuration(&path).unwrap(), None);
        let mut configuration = Configuration::uniform(Epoch(7), &["a1".into(), "a2".into()], 2, 1);
        let place = Place::Redis { host: "::1".into(), port: 6379, is_transient: true };
        configuration.places.insert("a2".into(), place);
        let mut kept = Kept { cluster: ClusterId::new(9).unwrap(), configuration };
        for epoch in [7, 8] {
            kept.configuration.epoch = Epoch(epoch);
            write_configuration(&path, &kept).unwrap();
            assert_eq!(read_configuration(&path).unwrap().as_ref(), Some(&kept));
        }
        fs::write(&path, "{").unwrap();
        let error = read_configuration(&path).unwrap_err().to_string();
        assert!(error.contains("configuration.json is damaged"), "{error}");
    }
}
