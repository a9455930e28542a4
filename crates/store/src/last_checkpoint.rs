//! The last checkpoint that a server has seen as durable, in a file of its directory.
//!
//! A database that went back to what it was, as an older copy or a standby that was behind, is consistent in
//! itself. What the server knew of it must be kept elsewhere.

use std::path::PathBuf;

use mandate_audit::{Checkpoint, CheckpointError, CheckpointVerifier};
use mandate_core::Entropy;
use mandate_files::{Dir, FileError};

use crate::error::StoreError;
use crate::store::Store;
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
    let Some(note) = dir.read(LAST_CHECKPOINT, LARGEST)? else { return Ok(()) };
    let path = dir.entry(LAST_CHECKPOINT);
    let Checkpoint { origin, size: kept, root } =
        verifier.open(&note).map_err(|source| WentBack::Foreign { path: path.clone(), source })?;
    let (found, then) = store.read_blocking("compare the last checkpoint", |tx| {
        let Some(log) = logs::number(tx, &origin)? else { return Ok((0, None)) };
        Ok((log_rows::size_of(tx, log)?, log_rows::root_of(tx, log, kept)?))
    })?;
    match then {
        Some(then) if then == root => Ok(()),
        Some(_) => Err(WentBack::Other { path, kept }),
        None => Err(WentBack::Shorter { path, kept, found }),
    }
}

/// Keeps a checkpoint that is durable, in place of the one before. Blocks.
pub fn keep_last_checkpoint(dir: &Dir, note: &[u8], entropy: &dyn Entropy) -> Result<(), FileError> {
    dir.replace(LAST_CHECKPOINT, 0o600, note, entropy)
}
