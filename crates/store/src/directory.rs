//! The directory that holds everything: the database, its sealing key, the lock of the one process that uses it.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_core::{Entropy, Secret};
use mandate_files::{Dir, Exposure, FileError, Making};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::seal::KEY_LEN;

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
    first_start: bool,
    /// Held as long as the store is open; the system frees it when the process ends, however it ends.
    pub(crate) lock: Arc<File>,
}

/// Opens the directory, creating what is not there yet.
pub(crate) fn open(dir: &Path, entropy: &dyn Entropy) -> Result<Opened, StoreError> {
    let dir = Dir::open_or_make(dir, Making::PRIVATE)?;
    let lock = Arc::new(lock(&dir)?);
    let (database, search, seal_key_file) = (dir.entry(DATABASE), dir.entry(SEARCH), dir.entry(SEAL_KEY));
    // SQLite opens its files by their names: each that is there must be a file of ours that nobody else can read.
    for name in [DATABASE, "mandate.db-wal", "mandate.db-shm"] {
        dir.open_file(name, Exposure::Private)?;
    }
    for name in [SEARCH, "search.db-wal", "search.db-shm"] {
        if let Err(error) = dir.open_file(name, Exposure::Private) {
            tracing::warn!(%error, "a file of the search index is removed; the index is built anew");
            dir.remove(name)?;
        }
    }
    let there = has_database(&dir)?;
    if let Some(seal_key) = read_seal_key(&dir, SEAL_KEY)? {
        if !there {
            return Err(unusable(
                &database,
                "it is missing or empty, though the directory has a sealing key: restore it from a backup; to start anew without what was in it, use an empty directory",
            ));
        }
        return Ok(Opened { dir, database, search, seal_key_file, seal_key, first_start: false, lock });
    }
    // The key of a first start has another name until the database is whole: where there is a key, there was a database.
    let seal_key = if there {
        let missing = || StoreError::SealKey {
            path: seal_key_file.clone(),
            why: "the sealing key is missing though the database exists; restore it from a backup".to_owned(),
        };
        // A first start that was cut short is carried on.
        read_seal_key(&dir, WAITING_KEY)?.ok_or_else(missing)?
    } else {
        let seal_key = make_seal_key(&dir, entropy)?;
        // SQLite gives its journal files the mode of the database.
        match dir.create(DATABASE, 0o600) {
            // Empty, or it were there.
            Ok(_) | Err(FileError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        dir.sync()?;
        seal_key
    };
    Ok(Opened { dir, database, search, seal_key_file, seal_key, first_start: true, lock })
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

impl Opened {
    /// Gives the sealing key of a first start its name. To be called once the database is whole and durable.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        if self.first_start {
            self.dir.rename(WAITING_KEY, SEAL_KEY)?;
        }
        Ok(())
    }
}

/// Takes the lock, and writes into it which process has it, for whoever finds it taken.
fn lock(dir: &Dir) -> Result<File, StoreError> {
    let path = dir.entry(LOCK);
    let mut file = dir.open_or_create(LOCK)?;
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

/// The sealing key in the file `name`, if there is one. Errors speak of the name that it has in the end.
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

/// Makes a sealing key, in place of what a crash may have left half written.
fn make_seal_key(dir: &Dir, entropy: &dyn Entropy) -> Result<Secret, StoreError> {
    let mut bytes = Zeroizing::new([0u8; KEY_LEN]);
    entropy.fill(bytes.as_mut_slice());
    dir.replace(WAITING_KEY, 0o600, bytes.as_slice(), entropy)?;
    Ok(Secret::new(bytes.as_slice()))
}

#[cfg(test)]
mod tests;
