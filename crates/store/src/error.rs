//! Why the database did not do what was asked, grouped by the cause.

use std::path::PathBuf;

use mandate_audit::Tampered;
use mandate_audit::inclusion::InclusionError;
use mandate_audit::offline::BundleError;

use crate::refusal::EffectRefusal;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An effect is not possible in the current state: used up, seen before, unknown. Only its own entry is
    /// rolled back.
    #[error("refused: {0}")]
    Refused(#[from] EffectRefusal),
    /// The disk is full. Work continues by itself once there is room.
    #[error("the disk is full")]
    Full(#[source] Cause),
    /// A read or a write failed for another reason than a full disk.
    #[error("the disk or file system fails")]
    Io(#[source] Cause),
    /// Another process holds the database.
    #[error("another process holds the database")]
    Busy(#[source] Cause),
    /// Other calls use the database, and did not end within so many seconds.
    #[error("other calls have kept the database busy for more than {0} s")]
    Overloaded(u64),
    /// The database server cannot be reached, does not answer in time, or takes no connection of ours. Work
    /// continues by itself once it does.
    #[error("the database server cannot be reached")]
    Unreachable(#[source] Cause),
    /// The database server takes no writes: it is a standby, or was set to be read-only.
    #[error("the database server takes no writes")]
    ReadOnly(#[source] Cause),
    /// The database server may lose what it has committed. The text says why, and what to do.
    #[error("{0}")]
    LosesCommits(String),
    /// Another server has used the database since this one lost its lock. What it revoked is not known here.
    #[error("another server has used this database meanwhile: this one must end, and be started again")]
    Superseded,
    /// Another transaction came in between. Nothing was written; another try may succeed.
    #[error("the transaction conflicts with others")]
    Conflict(#[source] Cause),
    /// The content of the database is not what was written to it.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// A write was begun inside a write. A fault of the program.
    #[error("a transaction was begun inside another on the same thread")]
    Nested,
    /// The log was written by somebody else since it was read.
    #[error("another writer has appended to the audit log")]
    OtherWriter,
    /// The program ends, and nothing new is begun.
    #[error("the program ends")]
    Ending,
    /// The statement failed otherwise. A fault of the program.
    #[error("the database refused a statement")]
    Sql(#[source] Cause),
    /// The directory or a file in it cannot be used.
    #[error("{path}: {why}")]
    Directory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The directory, or a file in it, is not safe from other users, or cannot be used.
    #[error(transparent)]
    File(#[from] mandate_files::FileError),
    /// The address of the database cannot be used.
    #[error("the address of the database: {0}")]
    Address(#[from] crate::postgres::address::AddressError),
    /// The sealing key is missing, damaged, readable by others, or another database's.
    #[error("{path}: {why}")]
    SealKey {
        /// The file of the key.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The database was written by a newer program.
    #[error(
        "the database has schema {found}, this program knows up to {known}: use the program that wrote it, or a newer one"
    )]
    Newer {
        /// The version of the schema in the database.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The database was in use when it was copied, and the newest transactions were not copied with it.
    #[error(
        "{0} is not whole: a server was using it, and mandate.db-wal, which has the newest transactions, is missing or not its own. Restore mandate.db together with mandate.db-wal, or a file of mandate backup with mandate restore"
    )]
    JournalMissing(PathBuf),
    /// The file or database is not one of ours.
    #[error("it is not a Mandate database")]
    Foreign,
}

impl StoreError {
    /// Whether the environment is at fault, so that every other attempt would fail now too.
    pub fn is_environment(&self) -> bool {
        matches!(
            self,
            Self::Full(_)
                | Self::Io(_)
                | Self::Busy(_)
                | Self::Overloaded(_)
                | Self::Unreachable(_)
                | Self::ReadOnly(_)
                | Self::LosesCommits(_)
                | Self::Conflict(_)
                | Self::Superseded
                | Self::Nested
                | Self::OtherWriter
                | Self::Ending
        )
    }

    /// Whether a damaged file is at fault.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Corrupt(_) | Self::Foreign | Self::Sql(_))
    }

    /// The refusal, if an effect refused.
    pub fn refusal(&self) -> Option<EffectRefusal> {
        if let Self::Refused(refusal) = self { Some(refusal.clone()) } else { None }
    }
}

/// Why the logs cannot be verified, or a log cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is not what was written.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// One of several logs is not what was written.
    #[error("the log {origin:?}: {source}")]
    TamperedLog {
        /// The origin of the log.
        origin: String,
        /// What is wrong with it.
        source: Tampered,
    },
    /// The database has no key of a log: the key was removed, or the log was added by somebody else.
    #[error("the database has no key of the log {origin:?}, so nothing in that log can be verified")]
    NoKey {
        /// The origin of the log.
        origin: String,
    },
    /// There are records of a log that is not in the list of logs.
    #[error("the database has records of log number {log}, which is not in its list of logs")]
    NotListed {
        /// The number of the log in the table of records.
        log: u64,
    },
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The record cannot be proven.
    #[error(transparent)]
    Inclusion(#[from] InclusionError),
}
