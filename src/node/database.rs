//! The database of a node, which its stores share: one journal, one fsync.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::store::{Database, OpenError, open_database};

/// The database of a node, opened when it is needed first.
pub struct NodeDatabase {
    directory: PathBuf,
    was_there: bool,
    database: Option<Database>,
}

impl NodeDatabase {
    /// The database in a node's data directory.
    pub fn new(data_dir: &Path) -> Self {
        let directory = data_dir.join("store");
        let was_there = directory.exists();
        NodeDatabase { directory, was_there, database: None }
    }

    /// Opens it, or gives it as it was opened before.
    pub fn get(&mut self) -> Result<Database, OpenError> {
        match &self.database {
            Some(database) => Ok(database.clone()),
            None => Ok(self.database.insert(open_database(&self.directory)?).clone()),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl fmt::Display for NodeDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = std::fs::canonicalize(&self.directory);
        let directory = full.as_ref().unwrap_or(&self.directory);
        let age = if self.was_there { "as it was left" } else { "new and empty" };
        write!(f, "{}, {age}", directory.display())
    }
}
