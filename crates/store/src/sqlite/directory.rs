//! The files of the embedded database in a server's directory.

use std::path::{Path, PathBuf};

use mandate_core::Entropy;
use mandate_files::{Dir, Exposure, FileError};
use rusqlite::Connection;

use crate::directory::{Directory, DirectoryHolder, SEAL_KEY, SealKey, holder_of, unusable};
use crate::error::StoreError;
use crate::sqlite::connection::{self, Company};
use crate::sqlite::journal::{self, JOURNAL};
use crate::sqlite::migration;

pub(crate) const DATABASE: &str = "mandate.db";
const SEARCH: &str = "search.db";

/// What opening the directory yields.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) database: PathBuf,
    /// The search index; may not be there.
    pub(crate) search: PathBuf,
    pub(crate) seal_key: SealKey,
    /// Set if the database was in use and lacks its write-ahead log.
    pub(crate) journal_missing: bool,
}

/// Opens the directory, creating what is not there yet.
pub(crate) fn open(dir: &Path, entropy: &dyn Entropy) -> Result<Opened, StoreError> {
    let directory = Directory::open(dir)?;
    let dir = directory.files();
    let (database, search) = (dir.entry(DATABASE), dir.entry(SEARCH));
    // SQLite opens its files by their names: each that is there must be a file of ours that nobody else can
    // read.
    judge(dir)?;
    for name in [SEARCH, "search.db-wal", "search.db-shm"] {
        if let Err(error) = dir.open_file(name, Exposure::Private) {
            tracing::warn!(%error, "a file of the search index is removed; the index is built again");
            dir.remove(name)?;
        }
    }
    let there = has_database(dir)?;
    // Before anything opens it and makes an empty one.
    let journal_missing = there && lacks_journal(dir)?;
    let seal_key = directory.seal_key(there, entropy, || {
        unusable(
            &database,
            "it is missing or empty, though the directory has a sealing key: restore it from a backup; to start without its content, use an empty directory; to start with a PostgreSQL database, name it with --store",
        )
    })?;
    if !there {
        // SQLite gives its journal files the mode of the database.
        match dir.create(DATABASE, 0o600) {
            // The file is empty. Otherwise `there` would be true.
            Ok(_) | Err(FileError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        dir.sync()?;
    }
    Ok(Opened { directory, database, search, seal_key, journal_missing })
}

/// Whether a directory has a database with something in it.
pub(crate) fn is_there(dir: &Path) -> Result<bool, StoreError> {
    match Dir::open(dir) {
        Ok(dir) => has_database(&dir),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn has_database(dir: &Dir) -> Result<bool, StoreError> {
    let Some(database) = dir.open_file(DATABASE, Exposure::Private)? else { return Ok(false) };
    Ok(database.metadata().map_err(|e| unusable(&dir.entry(DATABASE), e))?.len() > 0)
}

/// Each file of the database that exists must belong to us, and no other user may read it.
fn judge(dir: &Dir) -> Result<(), StoreError> {
    for name in [DATABASE, JOURNAL, "mandate.db-shm"] {
        dir.open_file(name, Exposure::Private)?;
    }
    Ok(())
}

/// Whether the newest transactions are in a write-ahead log that is not there.
fn lacks_journal(dir: &Dir) -> Result<bool, StoreError> {
    if dir.open_file(JOURNAL, Exposure::Private)?.is_some() || !journal::has_journal_format(dir)? {
        return Ok(false);
    }
    let conn = connection::inspect(&dir.entry(DATABASE), Company::None { journal: false })?;
    // The caller reports a damaged or foreign file when it opens it.
    if migration::is_empty(&conn).unwrap_or(false) {
        // The sealing key gets its final name only beside a database that has content. Without it, a first
        // start was interrupted.
        return Ok(dir.open_file(SEAL_KEY, Exposure::Private)?.is_some());
    }
    Ok(migration::version(&conn).is_ok() && journal::is_in_use(&conn).unwrap_or(false))
}

/// Opens the database of a directory to look at it, whether or not a server uses it.
pub(crate) fn inspect(dir: &Dir) -> Result<Connection, StoreError> {
    judge(dir)?;
    if !has_database(dir)? {
        return Err(unusable(&dir.entry(DATABASE), "it is missing or empty"));
    }
    let company = match holder_of(dir)? {
        DirectoryHolder::Process(_) => Company::Server,
        DirectoryHolder::Nobody => {
            Company::None { journal: dir.open_file(JOURNAL, Exposure::Private)?.is_some() }
        }
    };
    if company == (Company::None { journal: false }) && lacks_journal(dir)? {
        return Err(StoreError::JournalMissing(dir.entry(DATABASE)));
    }
    connection::inspect(&dir.entry(DATABASE), company)
}

#[cfg(test)]
mod tests;
