//! The directory that holds everything: the database, its sealing key, the lock of the one process that uses it.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_core::{Entropy, Secret};
use mandate_files::{Dir, Exposure, FileError, Making};
use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::seal::KEY_LEN;
use crate::sqlite::connection::{self, Company};
use crate::sqlite::journal::{self, JOURNAL};
use crate::sqlite::migration;

pub(crate) const DATABASE: &str = "mandate.db";
const SEARCH: &str = "search.db";
pub(crate) const SEAL_KEY: &str = "seal.key";
/// The sealing key of a first start, until the database is whole.
const WAITING_KEY: &str = "seal.key.new";
const LOCK: &str = "mandate.lock";

/// The largest process number that is read from the lock, in bytes.
const MAX_PID: u64 = 32;

fn unusable(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Directory { path: path.to_owned(), why: why.to_string() }
}

/// What opening the directory yields.
#[derive(Debug)]
pub(crate) struct Opened {
    dir: Dir,
    pub(crate) database: PathBuf,
    /// The search index; may not be there.
    pub(crate) search: PathBuf,
    pub(crate) seal_key_file: PathBuf,
    pub(crate) seal_key: Secret,
    /// The sealing key waits for its name until the database is there.
    pub(crate) first_start: bool,
    /// Set if the database was in use and lacks its write-ahead log.
    pub(crate) journal_missing: bool,
    /// Held as long as the store is open; the system frees it when the process ends, however it ends.
    pub(crate) lock: Arc<File>,
}

/// Opens the directory, creating what is not there yet.
pub(crate) fn open(dir: &Path, entropy: &dyn Entropy) -> Result<Opened, StoreError> {
    let dir = Dir::open_or_make(dir, Making::PRIVATE)?;
    let lock = Arc::new(lock(&dir)?);
    let (database, search, seal_key_file) = (dir.entry(DATABASE), dir.entry(SEARCH), dir.entry(SEAL_KEY));
    // SQLite opens its files by their names: each that is there must be a file of ours that nobody else can read.
    judge(&dir)?;
    for name in [SEARCH, "search.db-wal", "search.db-shm"] {
        if let Err(error) = dir.open_file(name, Exposure::Private) {
            tracing::warn!(%error, "a file of the search index is removed; the index is built again");
            dir.remove(name)?;
        }
    }
    let there = has_database(&dir)?;
    // Before anything opens it and makes an empty one.
    let journal_missing = there && lacks_journal(&dir)?;
    if let Some(seal_key) = read_seal_key(&dir, SEAL_KEY)? {
        if !there {
            return Err(unusable(
                &database,
                "it is missing or empty, though the directory has a sealing key: restore it from a backup; to start without its content, use an empty directory",
            ));
        }
        return Ok(Opened { dir, database, search, seal_key_file, seal_key, first_start: false, journal_missing, lock });
    }
    // The key of a first start has another name until the database is whole: where there is a key, there was a database.
    let seal_key = if there {
        let missing = || StoreError::SealKey {
            path: seal_key_file.clone(),
            why: "the sealing key is missing though the database exists; restore it from a backup".to_owned(),
        };
        // A first start that was interrupted is continued.
        read_seal_key(&dir, WAITING_KEY)?.ok_or_else(missing)?
    } else {
        let seal_key = make_seal_key(&dir, entropy)?;
        // SQLite gives its journal files the mode of the database.
        match dir.create(DATABASE, 0o600) {
            // The file is empty. Otherwise `there` would be true.
            Ok(_) | Err(FileError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        dir.sync()?;
        seal_key
    };
    Ok(Opened { dir, database, search, seal_key_file, seal_key, first_start: true, journal_missing, lock })
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
    // What is damaged or another's is for the caller that opens it to say.
    if migration::is_empty(&conn).unwrap_or(false) {
        // A sealing key has its name only beside a database with something in it; before, a first start was cut short.
        return Ok(dir.open_file(SEAL_KEY, Exposure::Private)?.is_some());
    }
    Ok(migration::version(&conn).is_ok() && journal::is_in_use(&conn).unwrap_or(false))
}

/// Who uses a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process, with its number if it says so.
    Process(Option<u32>),
}

/// Who uses the directory now. Writes nothing.
pub(crate) fn holder_of(dir: &Dir) -> Result<Holder, StoreError> {
    let Some(file) = dir.open_file(LOCK, Exposure::Readable)? else { return Ok(Holder::Nobody) };
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(holder(dir))),
        Err(TryLockError::Error(e)) => Err(unusable(&dir.entry(LOCK), e)),
    }
}

/// Opens the database of a directory to look at it, whether or not a server uses it.
pub(crate) fn inspect(dir: &Dir) -> Result<Connection, StoreError> {
    judge(dir)?;
    if !has_database(dir)? {
        return Err(unusable(&dir.entry(DATABASE), "it is missing or empty"));
    }
    let company = match holder_of(dir)? {
        Holder::Process(_) => Company::Server,
        Holder::Nobody => Company::None { journal: dir.open_file(JOURNAL, Exposure::Private)?.is_some() },
    };
    if company == (Company::None { journal: false }) && lacks_journal(dir)? {
        return Err(StoreError::JournalMissing(dir.entry(DATABASE)));
    }
    connection::inspect(&dir.entry(DATABASE), company)
}

/// The sealing key of a directory, if it has one.
pub(crate) fn seal_key(dir: &Dir) -> Result<Option<Secret>, StoreError> {
    read_seal_key(dir, SEAL_KEY)
}

impl Opened {
    /// Gives the sealing key of a first start its name. To be called once the database is whole and durable.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        if self.first_start {
            self.dir.rename(WAITING_KEY, SEAL_KEY)?;
        }
        Ok(())
    }
}

/// Takes the lock, and writes into it which process has it, so that a process that finds it taken can say so.
fn lock(dir: &Dir) -> Result<File, StoreError> {
    let path = dir.entry(LOCK);
    let mut file = dir.open_or_create(LOCK, Exposure::Readable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let which = holder(dir).map(|pid| format!(" (process {pid})")).unwrap_or_default();
            return Err(unusable(&path, format!("another process uses this directory{which}")));
        }
        Err(TryLockError::Error(e)) => return Err(unusable(&path, e)),
    }
    // Only for people to read: on a full disk the server must start all the same.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The process that says in the lock file that it has the directory.
pub(crate) fn holder(dir: &Dir) -> Option<u32> {
    let bytes = dir.read(LOCK, MAX_PID).ok()??;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

/// The sealing key in the file `name`, if there is one. Errors use the name that it has in the end.
fn read_seal_key(dir: &Dir, name: &str) -> Result<Option<Secret>, StoreError> {
    let refused = |why: String| StoreError::SealKey { path: dir.entry(SEAL_KEY), why };
    let damaged = || refused("the sealing key is damaged; restore it from a backup".to_owned());
    match dir.read_secret(name, KEY_LEN as u64) {
        Ok(Some(key)) if key.expose_secret().len() == KEY_LEN => Ok(Some(key)),
        Ok(Some(_)) | Err(FileError::TooLarge { .. }) => Err(damaged()),
        Ok(None) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a sealing key. It replaces an incomplete one that a crash may have left.
fn make_seal_key(dir: &Dir, entropy: &dyn Entropy) -> Result<Secret, StoreError> {
    let mut bytes = Zeroizing::new([0u8; KEY_LEN]);
    entropy.fill(bytes.as_mut_slice());
    dir.replace(WAITING_KEY, 0o600, bytes.as_slice(), entropy)?;
    Ok(Secret::new(bytes.as_slice()))
}

#[cfg(test)]
mod tests;
