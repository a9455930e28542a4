//! Reading a database without changing it: whether a server uses it, and whether a server would start with it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_audit::{CheckpointVerifier, Tampered, TreeVerification};
use mandate_core::{Entropy, Secret, Timestamp};
use mandate_files::Dir;
use rusqlite::Connection;

use crate::directory::{Holder, holder_of, seal_key};
use crate::error::{LogError, StoreError};
use crate::installation::{self, Installation};
use crate::meta;
use crate::records::{self, PIECE, Verified};
use crate::seal::Sealer;
use crate::sqlite::connection::{self, Company};
use crate::sqlite::directory;
use crate::sqlite::migration;
use crate::tx::Tx;

/// How many faults of the file are reported.
const MOST_FAULTS: u32 = 10;

/// After so many steps of `SQLite`'s virtual machine a statement looks whether it should end: many times a second.
const STEPS: i32 = 1_000;

/// A database that is only read. Neither it nor any file beside it is written or made.
#[derive(Debug)]
pub struct Inspection {
    conn: Connection,
}

impl Inspection {
    /// The database of a server's directory, whether or not a server uses it now. Refuses one without the write-ahead log
    /// that it needs.
    pub fn of_directory(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { conn: directory::inspect(&Dir::open(dir)?)? })
    }

    /// As [`Inspection::of_directory`], also for a database whose write-ahead log is lost: the content of the file itself.
    pub fn of_directory_without_journal(dir: &Path) -> Result<Self, StoreError> {
        match Self::of_directory(dir) {
            Err(StoreError::JournalMissing(database)) => Self::of_file(&database),
            inspected => inspected,
        }
    }

    /// A file that nobody writes to, and that is a database by itself.
    pub fn of_file(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { conn: connection::inspect(path, Company::None { journal: false })? })
    }

    /// Lets every statement end with an error once `stop` is set.
    pub fn until(mut self, stop: &Arc<AtomicBool>) -> Result<Self, StoreError> {
        let stop = Arc::clone(stop);
        self.conn.progress_handler(STEPS, Some(move || stop.load(Ordering::Relaxed)))?;
        Ok(self)
    }

    /// Who uses a directory.
    pub fn holder(dir: &Path) -> Result<Holder, StoreError> {
        holder_of(&Dir::open(dir)?)
    }

    /// The sealing key of a directory, if it has one.
    pub fn seal_key(dir: &Path) -> Result<Option<Secret>, StoreError> {
        seal_key(&Dir::open(dir)?)
    }

    /// The version of its schema. Refuses a newer version, and a file that is not a database of ours.
    pub fn schema(&self) -> Result<u32, StoreError> {
        migration::version(&self.conn)
    }

    /// What `SQLite` finds wrong with the file.
    pub fn faults(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.conn.prepare(&format!("PRAGMA quick_check({MOST_FAULTS})"))?;
        let said = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        Ok(said.into_iter().filter(|line| line != "ok").collect())
    }

    /// Whose data it is, if it says so.
    pub fn installation(&self) -> Result<Option<Installation>, StoreError> {
        installation::load(&Tx::without_key(&self.conn))
    }

    /// The latest time of a record.
    pub fn newest(&self) -> Result<Timestamp, StoreError> {
        records::newest(&Tx::without_key(&self.conn))
    }

    /// Whether it was sealed with this key.
    pub fn is_sealed_with(&self, key: &Secret, entropy: Arc<dyn Entropy>) -> Result<bool, StoreError> {
        match Sealer::new(key, entropy) {
            Some(sealer) => meta::opens_seal(&Tx::new(&self.conn, &sealer)),
            None => Ok(false),
        }
    }

    /// The verifier key of its audit log. None before the keys are made.
    pub fn audit_key(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT public FROM keys WHERE purpose = 'checkpoint'";
        let key: Option<Vec<u8>> = Tx::without_key(&self.conn).first(sql, &[], |row| row.get(0))?;
        key.map(|bytes| String::from_utf8(bytes).map_err(|_| StoreError::Corrupt("the audit log's key".to_owned()))).transpose()
    }

    /// Verifies the audit log with the key that the database has: every record, the tree, the checkpoint. The search index is
    /// left out. `progress` is told how many of how many records are done.
    pub fn verify_log(&self, mut progress: impl FnMut(u64, u64)) -> Result<Verified, LogError> {
        let key = self.audit_key()?.ok_or(Tampered::NoCheckpoint { size: 0 })?;
        let verifier = CheckpointVerifier::new(&key).map_err(Tampered::from)?;
        let tx = Tx::without_key(&self.conn);
        let head = {
            let _one_snapshot = self.conn.unchecked_transaction().map_err(StoreError::from)?;
            records::head(&tx)?
        };
        let mut tree = TreeVerification::new();
        loop {
            let rows = records::piece(&tx, tree.next_index(), head.size)?;
            for (index, leaf, hashes) in &rows {
                tree.push(*index, leaf, hashes)?;
            }
            progress(tree.next_index(), head.size);
            if rows.len() < PIECE {
                break;
            }
        }
        let summary = tree.finish(Some(&head.checkpoint), &verifier)?;
        Ok(Verified { summary, checkpoint: head.checkpoint })
    }

    /// Writes a copy of everything into an empty file. The copy has the state of one moment. A server can write meanwhile without
    /// waiting; these writes are not in the copy. The copy needs no write-ahead log.
    pub fn copy_to(&self, empty: &Path) -> Result<(), StoreError> {
        // It writes to the other file alone; SQLite counts it as a write all the same.
        self.conn.execute_batch("PRAGMA query_only = OFF;")?;
        let copied = self.conn.execute("VACUUM INTO ?", [connection::as_value(empty)]);
        self.conn.execute_batch("PRAGMA query_only = ON;")?;
        Ok(copied.map(drop)?)
    }
}

#[cfg(test)]
mod tests;
