//! The directory that holds everything: the database, its sealing key, the lock of the one process that uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_core::{Entropy, Secret};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::seal::KEY_LEN;

const DATABASE: &str = "mandate.db";
const SEARCH: &str = "search.db";
const SEAL_KEY: &str = "seal.key";
const LOCK: &str = "mandate.lock";

fn unusable(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Directory { path: path.to_owned(), why: why.to_string() }
}

/// What opening the directory yields.
#[derive(Debug)]
pub(crate) struct Opened {
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
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(unusable(dir, e)),
    }
    let meta = fs::metadata(dir).map_err(|e| unusable(dir, e))?;
    // Whoever may write to the directory may put other files in place of ours.
    if meta.mode() & 0o022 != 0 {
        return Err(unusable(dir, format!("others may write to it (mode {:o}); run chmod 700", meta.mode() & 0o7777)));
    }
    let lock = Arc::new(lock(&dir.join(LOCK))?);
    let (database, search) = (dir.join(DATABASE), dir.join(SEARCH));
    let seal_key_file = dir.join(SEAL_KEY);
    let there = is_there(dir)?;
    if let Some(seal_key) = read_seal_key(&seal_key_file, &seal_key_file)? {
        if !there {
            return Err(unusable(
                &database,
                "it is missing or empty, though the directory has a sealing key: restore it from a backup; to start anew without what was in it, use an empty directory",
            ));
        }
        refuse_if_readable_by_others(&database).map_err(|why| unusable(&database, why))?;
        return Ok(Opened { database, search, seal_key_file, seal_key, first_start: false, lock });
    }
    // The key of a first start has another name until the database is whole: where there is a key, there was a database.
    let waiting = waiting(&seal_key_file);
    let seal_key = if there {
        refuse_if_readable_by_others(&database).map_err(|why| unusable(&database, why))?;
        let missing = || StoreError::SealKey {
            path: seal_key_file.clone(),
            why: "the sealing key is missing though the database exists; restore it from a backup".to_owned(),
        };
        // A first start that was cut short is carried on.
        read_seal_key(&waiting, &seal_key_file)?.ok_or_else(missing)?
    } else {
        let seal_key = make_seal_key(&waiting, entropy)?;
        // SQLite gives its journal files the mode of the database.
        match create(&database) {
            // Empty, or it were there.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                refuse_if_readable_by_others(&database).map_err(|why| unusable(&database, why))?;
            }
            created => drop(created.map_err(|e| unusable(&database, e))?),
        }
        sync(dir)?;
        seal_key
    };
    Ok(Opened { database, search, seal_key_file, seal_key, first_start: true, lock })
}

/// Whether a directory has a database with something in it.
pub(crate) fn is_there(dir: &Path) -> Result<bool, StoreError> {
    let database = dir.join(DATABASE);
    match fs::metadata(&database) {
        Ok(meta) => Ok(meta.len() > 0),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(unusable(&database, e)),
    }
}

impl Opened {
    /// Gives the sealing key of a first start its name. To be called once the database is whole and durable.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        if !self.first_start {
            return Ok(());
        }
        fs::rename(waiting(&self.seal_key_file), &self.seal_key_file).map_err(|e| unusable(&self.seal_key_file, e))?;
        self.seal_key_file.parent().map_or(Ok(()), sync)
    }
}

fn waiting(seal_key_file: &Path) -> PathBuf {
    seal_key_file.with_extension("key.new")
}

/// Creates a file that only its owner may read.
pub(crate) fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| unusable(dir, e))
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(|e| unusable(path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unusable(path, "another process uses this directory")),
        Err(TryLockError::Error(e)) => Err(unusable(path, e)),
    }
}

fn refuse_if_readable_by_others(path: &Path) -> Result<(), String> {
    let mode = fs::metadata(path).map_err(|e| e.to_string())?.mode();
    let by_others = mode & 0o077;
    if by_others == 0 { Ok(()) } else { Err(format!("others may read it (mode {:o}); run chmod 600", mode & 0o7777)) }
}

/// The sealing key in `path`, if there is one. Errors speak of `named`.
fn read_seal_key(path: &Path, named: &Path) -> Result<Option<Secret>, StoreError> {
    let refused = |why: String| StoreError::SealKey { path: named.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(refused(e.to_string())),
    };
    refuse_if_readable_by_others(path).map_err(refused)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
    file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(|e| refused(e.to_string()))?;
    if bytes.len() != KEY_LEN {
        return Err(refused("the sealing key is damaged; restore it from a backup".to_owned()));
    }
    Ok(Some(Secret::new(bytes.as_slice())))
}

/// Makes a sealing key, in place of what a crash may have left half written.
fn make_seal_key(path: &Path, entropy: &dyn Entropy) -> Result<Secret, StoreError> {
    let mut bytes = Zeroizing::new([0u8; KEY_LEN]);
    entropy.fill(bytes.as_mut_slice());
    let write = || -> std::io::Result<()> {
        if let Err(e) = fs::remove_file(path)
            && e.kind() != ErrorKind::NotFound
        {
            return Err(e);
        }
        let mut file = create(path)?;
        file.write_all(bytes.as_slice())?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|e| StoreError::SealKey { path: path.to_owned(), why: e.to_string() })?;
    Ok(Secret::new(bytes.as_slice()))
}

#[cfg(test)]
mod tests;
