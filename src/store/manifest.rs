//! What must be in the directory of a database when it is opened again.
//!
//! fjall begins anew, and says nothing, with what it does not find: without its
//! version or a list of tables the data behind it is gone, and without journals
//! the last writes are. A file of our own, `manifest.json`, therefore lists what
//! was made durable once, and a start checks that all of it is there:
//!
//! | part | what it holds | must be there |
//! |---|---|---|
//! | `version` | the format | always |
//! | `lock` | which process has it open | always |
//! | `keyspaces/0` | the names of the keyspaces | always |
//! | `keyspaces/N` | the keyspace that is listed with the number N | while it is listed |
//! | `keyspaces/N/current` | which list of tables counts, M | with its keyspace |
//! | `keyspaces/N/vM` | that list | with its keyspace |
//! | `keyspaces/N/tables/T`, `blobs/B` | the tables, and large values | where the list names them |
//! | `J.jnl` | writes that may not be in tables yet | see below |
//!
//! fjall numbers its journals in ascending order, writes to the one of the highest
//! number and removes the oldest when it is in tables. So there is no gap between
//! them, and one at least as high as the highest ever noted. What a start cannot
//! notice is that the oldest of several journals is lost.
//!
//! Whatever is listed was durable before, and whatever goes is unlisted before; so a
//! crash at any moment leaves a database that opens. One without a manifest, which an
//! earlier release wrote or which a crash left, is given one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, TryGetError};
use serde::{Deserialize, Serialize};

use super::configuration_file::replace_json;
use super::database::{Journal, journal_files, journal_name};
use super::embedded_open::{self, OpenError, sync_directory};

/// The file that fjall takes for the sign that there is a database.
pub const VERSION: &str = "version";
/// The file by which fjall keeps other processes away.
pub const LOCK: &str = "lock";
/// The directory of the keyspaces.
const KEYSPACES: &str = "keyspaces";
const FILE: &str = "manifest.json";
const FORMAT: u32 = 1;
/// The number of the keyspace in which fjall keeps the names of the others.
const NAMES: u64 = 0;

/// What a database consists of, in a file in its directory.
pub struct Manifest {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// The layout of this file.
    format: u32,
    /// The number of each keyspace, by name.
    keyspaces: BTreeMap<String, u64>,
    /// The highest number of a journal that was seen.
    newest_journal: u64,
}

impl Manifest {
    /// Reads the manifest of a database, if it has one.
    pub fn read(directory: &Path) -> Result<Option<Manifest>, OpenError> {
        let path = directory.join(FILE);
        let failed = |why: String| {
            let why = format!("{FILE} {why}; if all else is whole remove it, and it is made again");
            OpenError::Failed { directory: directory.display().to_string(), why }
        };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let what = format!("reading {FILE}");
                return Err(embedded_open::failed(directory, &what, fjall::Error::Io(error)));
            }
        };
        let content: Content = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("is damaged: {error}")))?;
        match content.format {
            FORMAT => Ok(Some(Manifest { path, content })),
            other => Err(failed(format!("is in format {other}, this program knows {FORMAT}"))),
        }
    }

    /// Writes the manifest of an open database that has none. No keyspace is
    /// listed yet.
    pub fn begin(directory: &Path) -> io::Result<Manifest> {
        sync_directory(&directory.join(KEYSPACES))?;
        sync_directory(directory)?;
        let content = Content { format: FORMAT, keyspaces: BTreeMap::new(), newest_journal: 0 };
        let manifest = Manifest { path: directory.join(FILE), content };
        manifest.write()?;
        Ok(manifest)
    }

    /// Notes that a keyspace, in this directory, must be there.
    pub fn list(&mut self, name: &str, directory: &Path) -> io::Result<()> {
        let number = directory.file_name().and_then(|name| name.to_str()?.parse().ok());
        let number: u64 = number.expect("fjall calls the directory of a keyspace by its number");
        match self.content.keyspaces.insert(name.to_owned(), number) == Some(number) {
            true => Ok(()),
            false => self.write(),
        }
    }

    /// Notes that a keyspace need not be there any more.
    pub fn unlist(&mut self, name: &str) -> io::Result<()> {
        match self.content.keyspaces.remove(name) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    /// Notes journals that have come since. For after each write that is made
    /// durable: it asks the system for two files only when there are none.
    pub fn note_journals(&mut self) -> io::Result<()> {
        let known = self.content.newest_journal;
        let directory = self.path.parent().expect("the manifest is in a directory");
        let exists = |number| directory.join(journal_name(number)).try_exists();
        // The next one may be gone again, but only behind the one that is known.
        if exists(known)? && !exists(known + 1)? {
            return Ok(());
        }
        let newest = journal_files(directory)?.last().map_or(0, |(number, _)| *number);
        if newest > known {
            self.content.newest_journal = newest;
            self.write()?;
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        replace_json(&self.path, &self.content).map_err(|error| {
            io::Error::new(error.kind(), format!("writing {}: {error}", self.path.display()))
        })
    }
}

/// Checks that nothing is lost of a database that is not open. The error says
/// what is.
pub fn check(
    directory: &Path,
    manifest: Option<&Manifest>,
    journals: &[Journal],
) -> Result<(), String> {
    let unlisted = BTreeMap::new();
    let keyspaces = manifest.map_or(&unlisted, |manifest| &manifest.content.keyspaces);
    if manifest.is_some() || holds_data(directory, journals).map_err(|error| error.to_string())? {
        require(directory, Path::new(VERSION), "the sign that there is a database")?;
        require(directory, Path::new(LOCK), "what keeps two processes apart")?;
        check_keyspace(directory, NAMES, "the names of the keyspaces")?;
    }
    for (name, number) in keyspaces {
        check_keyspace(directory, *number, &format!("data of keyspace {name}"))?;
    }
    let newest = manifest.map(|manifest| manifest.content.newest_journal);
    match lost_journal(journals, newest) {
        None => Ok(()),
        Some(number) => Err(lost(&journal_name(number), "writes that were acknowledged")),
    }
}

/// Whether a database without a manifest is more than a creation that was
/// interrupted.
fn holds_data(directory: &Path, journals: &[Journal]) -> io::Result<bool> {
    if journals.iter().any(|journal| journal.end > 0) {
        return Ok(true);
    }
    let entries = match fs::read_dir(directory.join(KEYSPACES)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if entry?.path().join("current").try_exists()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number of a journal that must have been there.
fn lost_journal(journals: &[Journal], newest: Option<u64>) -> Option<u64> {
    let gap = journals.windows(2).find(|pair| pair[0].number + 1 < pair[1].number);
    let highest = journals.last().map(|journal| journal.number);
    gap.map(|pair| pair[0].number + 1).or(newest.filter(|_| highest < newest))
}

/// Checks that the files of a keyspace are there, as its list of tables has them.
fn check_keyspace(directory: &Path, number: u64, holds: &str) -> Result<(), String> {
    let keyspace = Path::new(KEYSPACES).join(number.to_string());
    let current = keyspace.join("current");
    require(directory, &current, holds)?;
    let damaged =
        |path: &Path, why: &dyn std::fmt::Display| format!("{} is damaged: {why}", path.display());
    let bytes = fs::read(directory.join(&current)).map_err(|error| damaged(&current, &error))?;
    let version = (&bytes[..]).try_get_u64_le().map_err(|error| damaged(&current, &error))?;
    let list = keyspace.join(format!("v{version}"));
    require(directory, &list, holds)?;
    let files = listed(&directory.join(&list)).map_err(|why| damaged(&list, &why))?;
    files.iter().try_for_each(|file| require(directory, &keyspace.join(file), holds))
}

/// Checks that something is there, and names the uppermost part of the path that
/// is not.
fn require(directory: &Path, path: &Path, holds: &str) -> Result<(), String> {
    let mut parts: Vec<&Path> = path.ancestors().filter(|part| *part != Path::new("")).collect();
    parts.reverse();
    for part in parts {
        match directory.join(part).try_exists() {
            Ok(true) => (),
            Ok(false) => return Err(lost(&part.display().to_string(), holds)),
            Err(error) => return Err(format!("{} cannot be found: {error}", part.display())),
        }
    }
    Ok(())
}

fn lost(path: &str, holds: &str) -> String {
    format!("{path} is missing, and with it {holds}; if it was only moved, put it back")
}

/// The files that a list of tables names, relative to the directory of the
/// keyspace. The list is an `sfa` archive; section `tables` has levels of runs of
/// tables, section `blob_files` the files of large values, each with its number
/// and what guards its content.
fn listed(path: &Path) -> Result<Vec<PathBuf>, String> {
    let archive = sfa::Reader::new(path).map_err(|error| error.to_string())?;
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let section = |name: &str| {
        let entry = archive.toc().section(name.as_bytes());
        let range = entry.map(|entry| entry.pos() as usize..(entry.pos() + entry.len()) as usize);
        range.and_then(|range| bytes.get(range)).ok_or_else(|| format!("it has no section {name}"))
    };
    let (tables, blobs) = (section("tables")?, section("blob_files")?);
    let files = tables_of(tables).and_then(|mut files| {
        files.extend(blobs_of(blobs)?);
        Ok(files)
    });
    files.map_err(|error| error.to_string())
}

fn tables_of(mut section: &[u8]) -> Result<Vec<PathBuf>, TryGetError> {
    let mut files = Vec::new();
    for _ in 0..section.try_get_u8()? {
        for _ in 0..section.try_get_u8()? {
            for _ in 0..section.try_get_u32_le()? {
                files.push(Path::new("tables").join(section.try_get_u64_le()?.to_string()));
                skip_checksum(&mut section)?;
                let _global_seqno = section.try_get_u64_le()?;
            }
        }
    }
    Ok(files)
}

fn blobs_of(mut section: &[u8]) -> Result<Vec<PathBuf>, TryGetError> {
    let mut files = Vec::new();
    for _ in 0..section.try_get_u32_le()? {
        files.push(Path::new("blobs").join(section.try_get_u64_le()?.to_string()));
        skip_checksum(&mut section)?;
    }
    Ok(files)
}

fn skip_checksum(section: &mut &[u8]) -> Result<(), TryGetError> {
    let (_kind, _checksum) = (section.try_get_u8()?, section.try_get_u128_le()?);
    Ok(())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
