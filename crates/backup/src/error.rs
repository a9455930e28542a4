//! Why a backup is not made or not restored.

use std::io;
use std::path::PathBuf;

use mandate_files::FileError;
use mandate_store::StoreError;
use mandate_store::records::LogError;

/// Why a backup is not made or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum BackupError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(StoreError),
    /// The newest transactions are lost.
    #[error(transparent)]
    JournalMissing(StoreError),
    /// The archive cannot be read or written.
    #[error("cannot {doing} the backup")]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    /// The directory has no sealing key. Without it, its database cannot be used.
    #[error("{0} is missing: without it nobody can use the database")]
    NoSealingKey(PathBuf),
    /// The sealing key is another database's.
    #[error("the sealing key does not open the database: it is the key of another database")]
    OtherSealingKey,
    /// The database does not contain its installation yet.
    #[error(
        "{0} does not name its issuer: start the server of this version once with it, or give the directory together with its serve.json"
    )]
    Nameless(PathBuf),
    /// The file beside the database is another server's.
    #[error(
        "{0} names another server than the database: remove it; it is written again from the database at the next start"
    )]
    OtherServer(PathBuf),
    /// The database file is damaged.
    #[error("the database is damaged: {}", .0.join("; "))]
    Faults(Vec<String>),
    /// The audit log does not verify.
    #[error("the audit log does not verify: {0}")]
    Log(#[from] LogError),
    /// The file is something else.
    #[error("this is not a backup of a Mandate server")]
    NotABackup,
    /// Another version made it.
    #[error(
        "this is a backup of format {0:?}, which this program does not know: use the program that made it, or a newer one"
    )]
    Format(String),
    /// The archive, or something in it, is not what was written.
    #[error("the backup is damaged: {0}. Use another copy of it, or another backup")]
    Damaged(String),
    /// It ends too early.
    #[error("the backup ends too early: it was not copied completely. Copy it again, or use another backup")]
    Truncated,
    /// The sealing key is not in it and was not given.
    #[error("the sealing key is not in this backup: give the file that holds it")]
    KeyNeeded,
    /// The sealing key is in it, and a file was given too.
    #[error("the sealing key is in this backup, under a passphrase: give the passphrase, and no file")]
    KeyIsSealed,
    /// The passphrase does not open the sealing key.
    #[error("the passphrase is wrong, or the sealing key in the backup is damaged")]
    Passphrase,
    /// The given sealing key is not one.
    #[error("the file with the sealing key does not have 32 bytes: it is not a sealing key")]
    NotAKey,
    /// The disk has not enough free space.
    #[error("the database has {needed} bytes, and {free} are free at {place}")]
    NoSpace {
        /// How many are needed.
        needed: u64,
        /// How many there are.
        free: u64,
        place: PathBuf,
    },
    /// It was asked to end.
    #[error("it was stopped")]
    Stopped,
    /// A key could not be derived or used.
    #[error("the sealing key could not be sealed")]
    Sealing,
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::File(error) => Self::File(error),
            StoreError::JournalMissing(_) => Self::JournalMissing(error),
            other => Self::Store(other),
        }
    }
}

impl BackupError {
    pub(crate) fn reading(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else {
            Self::Io { doing: "read", source }
        }
    }

    pub(crate) fn writing(source: io::Error) -> Self {
        Self::Io { doing: "write", source }
    }

    /// Whether the given file is at fault, and not this machine.
    pub fn is_of_the_file(&self) -> bool {
        matches!(
            self,
            Self::NotABackup
                | Self::Format(_)
                | Self::Damaged(_)
                | Self::Truncated
                | Self::KeyNeeded
                | Self::KeyIsSealed
                | Self::Passphrase
                | Self::NotAKey
                | Self::OtherSealingKey
                | Self::File(_)
                | Self::NoSealingKey(_)
        )
    }
}
