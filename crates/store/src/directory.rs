//! The directory that holds everything: the database, its sealing key, the lock of the one process that uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    /// Held as long as the store is open; the system frees it when the process ends, however it ends.
    pub(crate) lock: File,
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
    let lock = lock(&dir.join(LOCK))?;
    let database = dir.join(DATABASE);
    let fresh = !database.try_exists().map_err(|e| unusable(&database, e))?;
    let seal_key_file = dir.join(SEAL_KEY);
    let seal_key = seal_key(&seal_key_file, fresh, entropy)?;
    if fresh {
        // SQLite gives its journal files the mode of the database.
        create(&database).map_err(|e| unusable(&database, e))?;
        sync(dir)?;
    } else {
        refuse_if_readable_by_others(&database).map_err(|why| unusable(&database, why))?;
    }
    Ok(Opened { database, search: dir.join(SEARCH), seal_key_file, seal_key, lock })
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

fn seal_key(path: &Path, fresh: bool, entropy: &dyn Entropy) -> Result<Secret, StoreError> {
    let refused = |why: String| StoreError::SealKey { path: path.to_owned(), why };
    match File::open(path) {
        Ok(file) => {
            refuse_if_readable_by_others(path).map_err(refused)?;
            let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
            file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(|e| refused(e.to_string()))?;
            if bytes.len() != KEY_LEN {
                return Err(refused("the sealing key is damaged; restore it from a backup".to_owned()));
            }
            Ok(Secret::new(bytes.as_slice()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound && fresh => {
            let mut bytes = Zeroizing::new([0u8; KEY_LEN]);
            entropy.fill(bytes.as_mut_slice());
            // Written whole under another name first: a crash leaves no half key behind.
            let half = path.with_extension("key.new");
            let write = || -> std::io::Result<()> {
                if let Err(e) = fs::remove_file(&half)
                    && e.kind() != ErrorKind::NotFound
                {
                    return Err(e);
                }
                let mut file = create(&half)?;
                file.write_all(bytes.as_slice())?;
                file.sync_all()?;
                fs::rename(&half, path)
            };
            write().map_err(|e| refused(e.to_string()))?;
            Ok(Secret::new(bytes.as_slice()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(refused("the sealing key is missing though the database exists; restore it from a backup".to_owned()))
        }
        Err(e) => Err(refused(e.to_string())),
    }
}

#[cfg(test)]
mod tests;
