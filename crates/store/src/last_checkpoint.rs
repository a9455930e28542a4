//! The last checkpoint that a server has seen as durable, in a file of its directory.
//!
//! A database that went back to what it was, as an older copy or a standby that was behind, is consistent in
//! itself. What the server knew of it must be kept elsewhere.

use std::path::PathBuf;

use mandate_audit::{Checkpoint, CheckpointError, CheckpointVerifier};
use mandate_core::Entropy;
use mandate_files::{Dir, FileError};

use crate::error::{LogError, StoreError};
use crate::store::Store;
use crate::tx::Tx;
use crate::{log_rows, logs};

/// The name of the file in the server's directory: a signed checkpoint (C2SP tlog-checkpoint).
pub const LAST_CHECKPOINT: &str = "last.checkpoint";

/// The largest checkpoint that is read, in bytes.
const LARGEST: u64 = 16 * 1024;

/// The audit log of the database is not the one that the server of the directory has written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum WentBack {
    /// The file cannot be read or trusted.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no checkpoint of the log.
    #[error(
        "{path} is no checkpoint of the audit log in the database ({source}): the database is another one, or \
         the file is damaged",
        path = path.display()
    )]
    Foreign {
        path: PathBuf,
        #[source]
        source: CheckpointError,
    },
    /// The log has fewer records.
    #[error(
        "the audit log went back: this server wrote {kept} records, as {path} shows, and the database has \
         {found}. It is an older copy, or a standby took over that was behind. What was issued, revoked and \
         suspended in the missing records is not in it",
        path = path.display()
    )]
    Shorter {
        path: PathBuf,
        /// How many records the server has written.
        kept: u64,
        /// How many there are.
        found: u64,
    },
    /// The log has other records.
    #[error(
        "the audit log was replaced: its first {kept} records are not those that this server wrote, as {path} \
         shows. The database is another copy, which another server has used",
        path = path.display()
    )]
    Other {
        path: PathBuf,
        /// How many records the server has written.
        kept: u64,
    },
}

impl WentBack {
    /// Whether the log itself is at fault, and a start may accept it.
    pub fn is_of_the_log(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Store(_))
    }
}

/// The file of a directory, as it was read.
#[derive(Clone, Debug)]
pub struct KeptCheckpoint {
    path: PathBuf,
    note: Vec<u8>,
}

impl KeptCheckpoint {
    /// Reads the file, if there is one.
    pub fn read(dir: &Dir) -> Result<Option<Self>, FileError> {
        let note = dir.read(LAST_CHECKPOINT, LARGEST)?;
        Ok(note.map(|note| Self { path: dir.entry(LAST_CHECKPOINT), note }))
    }

    /// Whether the log still has what it shows. Returns how many records that are.
    fn compare(&self, tx: &Tx<'_>, verifier: &CheckpointVerifier) -> Result<u64, WentBack> {
        let path = || self.path.clone();
        let Checkpoint { origin, size: kept, root } =
            verifier.open(&self.note).map_err(|source| WentBack::Foreign { path: path(), source })?;
        let Some(log) = logs::number(tx, &origin)? else {
            return Err(WentBack::Shorter { path: path(), kept, found: 0 });
        };
        match log_rows::root_of(tx, log, kept)? {
            Some(then) if then == root => Ok(kept),
            Some(_) => Err(WentBack::Other { path: path(), kept }),
            None => Err(WentBack::Shorter { path: path(), kept, found: log_rows::size_of(tx, log)? }),
        }
    }

    /// As [`check_last_checkpoint`], for a database that is only looked at, with the keys that it has itself.
    /// Returns how many records the file shows.
    pub(crate) fn inspect(&self, tx: &Tx<'_>) -> Result<u64, WentBack> {
        let verifiers = logs::verifiers(tx).map_err(|error| match error {
            LogError::Store(error) => error,
            other => StoreError::Corrupt(other.to_string()),
        })?;
        let mut compared = Err(StoreError::Corrupt("it has no key of an audit log".to_owned()).into());
        for verifier in verifiers.values() {
            compared = self.compare(tx, verifier);
            if !matches!(compared, Err(WentBack::Foreign { .. })) {
                break;
            }
        }
        compared
    }
}

/// Whether the log still has all that the server of `dir` has written to it, as far as the directory knows.
/// Where there is no file, there is nothing to compare. Blocks.
///
/// # Errors
/// The log went back, or is another one; or that cannot be found out.
pub fn check_last_checkpoint(
    dir: &Dir,
    store: &Store,
    verifier: &CheckpointVerifier,
) -> Result<(), WentBack> {
    let Some(kept) = KeptCheckpoint::read(dir)? else { return Ok(()) };
    // What is wrong with the file or the log is no failure of the read.
    let compared =
        store.read_blocking("compare the last checkpoint", |tx| match kept.compare(tx, verifier) {
            Err(WentBack::Store(error)) => Err(error),
            compared => Ok(compared),
        });
    compared?.map(drop)
}

/// Keeps a checkpoint that is durable, in place of the one before. Blocks.
pub fn keep_last_checkpoint(dir: &Dir, note: &[u8], entropy: &dyn Entropy) -> Result<(), FileError> {
    dir.replace(LAST_CHECKPOINT, 0o600, note, entropy)
}
