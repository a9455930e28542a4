//! The directory that belongs to one server, with every kind of database: its lock, and the key that seals
//! columns.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_core::{Entropy, Secret};
use mandate_files::{Dir, Exposure, FileError, Making};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::seal::{KEY_LEN, Sealer};

pub(crate) const SEAL_KEY: &str = "seal.key";
/// The file of the sealing key during a first start, until the database is complete.
const WAITING_KEY: &str = "seal.key.new";
const LOCK: &str = "mandate.lock";

/// The largest process number that is read from the lock, in bytes.
const MAX_PID: u64 = 32;

pub(crate) fn unusable(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Directory { path: path.to_owned(), why: why.to_string() }
}

/// A directory that this process has for itself.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: Dir,
    /// Held for as long as somebody has a clone; the system frees it when the process ends, however it ends.
    lock: Arc<File>,
}

/// The sealing key of a directory.
#[derive(Debug)]
pub(crate) struct SealKey {
    secret: Secret,
    file: PathBuf,
    /// Whether the key still has that temporary name, because the database is not complete yet.
    pub(crate) first_start: bool,
}

impl Directory {
    /// Opens the directory, making it (mode 0700) if it is not there, and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let dir = Dir::open_or_make(path, Making::PRIVATE)?;
        let lock = Arc::new(lock(&dir)?);
        Ok(Self { dir, lock })
    }

    pub(crate) fn files(&self) -> &Dir {
        &self.dir
    }

    /// Keeps the directory from other processes until it is dropped.
    pub(crate) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// The sealing key. It is made if there is no database yet, which `there` says.
    ///
    /// The key of a first start has another name until the database is whole: where there is a key, there was
    /// a database. So if there is a key and no database, the database was `lost`.
    pub(crate) fn seal_key(
        &self,
        there: bool,
        entropy: &dyn Entropy,
        lost: impl FnOnce() -> StoreError,
    ) -> Result<SealKey, StoreError> {
        let file = self.dir.entry(SEAL_KEY);
        if let Some(secret) = read_seal_key(&self.dir, SEAL_KEY)? {
            return if there { Ok(SealKey { secret, file, first_start: false }) } else { Err(lost()) };
        }
        let secret = if there {
            let missing = || StoreError::SealKey {
                path: file.clone(),
                why: "the sealing key is missing though the database exists; restore it from a backup"
                    .to_owned(),
            };
            // A first start that was interrupted is continued.
            read_seal_key(&self.dir, WAITING_KEY)?.ok_or_else(missing)?
        } else {
            make_seal_key(&self.dir, entropy)?
        };
        Ok(SealKey { secret, file, first_start: true })
    }

    /// Gives the sealing key of a first start its final name. Call it once the database is complete and
    /// durable.
    pub(crate) fn settle(&self, key: &SealKey) -> Result<(), StoreError> {
        if key.first_start {
            self.dir.rename(WAITING_KEY, SEAL_KEY)?;
        }
        Ok(())
    }
}

impl SealKey {
    /// What seals and opens columns with this key.
    pub(crate) fn sealer(&self, entropy: Arc<dyn Entropy>) -> Result<Sealer, StoreError> {
        Sealer::new(&self.secret, entropy).ok_or_else(|| self.refused("the sealing key is damaged"))
    }

    /// The error for a database that was sealed with another key.
    pub(crate) fn is_anothers(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Corrupt(_) => self
                .refused("this is not the sealing key of this database; restore the right one from a backup"),
            other => other,
        }
    }

    fn refused(&self, why: &str) -> StoreError {
        StoreError::SealKey { path: self.file.clone(), why: why.to_owned() }
    }
}

/// Whether a process uses a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryHolder {
    /// No process uses the directory.
    Nobody,
    /// A process, with its number if it says so.
    Process(Option<u32>),
}

/// Who uses the directory now. Writes nothing.
pub(crate) fn holder_of(dir: &Dir) -> Result<DirectoryHolder, StoreError> {
    let Some(file) = dir.open_file(LOCK, Exposure::Readable)? else { return Ok(DirectoryHolder::Nobody) };
    match file.try_lock_shared() {
        Ok(()) => Ok(DirectoryHolder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(DirectoryHolder::Process(holder(dir))),
        Err(TryLockError::Error(e)) => Err(unusable(&dir.entry(LOCK), e)),
    }
}

/// The sealing key of a directory, if it has one.
pub(crate) fn seal_key(dir: &Dir) -> Result<Option<Secret>, StoreError> {
    read_seal_key(dir, SEAL_KEY)
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

/// The number of the process that has the lock, from the lock file.
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
