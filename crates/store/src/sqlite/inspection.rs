//! Reading a database without changing it: whether a server uses it, and whether a server would start with
//! it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_core::{Entropy, Secret, Timestamp};
use mandate_files::Dir;
use rusqlite::Connection;

use crate::directory::{DirectoryHolder, holder_of, seal_key};
use crate::driver::LogReader;
use crate::error::{LogError, StoreError};
use crate::installation::{self, Installation};
use crate::last_checkpoint::{KeptCheckpoint, WentBack};
use crate::log_verification::{self, CheckedLog};
use crate::logs;
use crate::meta;
use crate::seal::Sealer;
use crate::sqlite::connection::{self, Company};
use crate::sqlite::directory;
use crate::sqlite::migration;
use crate::tx::Tx;

/// How many faults of the file are reported.
const MOST_FAULTS: u32 = 10;

/// After so many steps of `SQLite`'s virtual machine, a statement checks whether it is to end: many times a
/// second.
const STEPS: i32 = 1_000;

/// The tables of the logs as a database has them that is older than they are: its one log is log 1. They are
/// views of this connection alone, which come before the database's own tables where a statement names no
/// database.
const OF_ONE_LOG: &str = "
CREATE TEMP VIEW logs AS
    SELECT 1 AS log, CAST(substr(note, 1, instr(note, x'0a') - 1) AS TEXT) AS origin, NULL AS newest, note FROM main.checkpoint;
CREATE TEMP VIEW records AS SELECT 1 AS log, idx, hashes, leaf FROM main.records;
";

/// The first version of the schema in which a database has several logs.
const SEVERAL_LOGS: u32 = 4;

/// A database that is only read. Neither it nor any file beside it is written or made.
#[derive(Debug)]
pub struct Inspection {
    conn: Connection,
}

impl Inspection {
    /// The database of a server's directory, whether or not a server uses it now. Refuses one without the
    /// write-ahead log that it needs.
    pub fn of_directory(dir: &Path) -> Result<Self, StoreError> {
        Self::over(directory::inspect(&Dir::open(dir)?)?)
    }

    /// As [`Inspection::of_directory`], also for a database whose write-ahead log is lost: the content of the
    /// file itself.
    pub fn of_directory_without_journal(dir: &Path) -> Result<Self, StoreError> {
        match Self::of_directory(dir) {
            Err(StoreError::JournalMissing(database)) => Self::of_file(&database),
            inspected => inspected,
        }
    }

    /// A file that nobody writes to, and that is a database by itself.
    pub fn of_file(path: &Path) -> Result<Self, StoreError> {
        Self::over(connection::inspect(path, Company::None { journal: false })?)
    }

    fn over(conn: Connection) -> Result<Self, StoreError> {
        // A damaged or foreign file is an error of `schema`.
        if migration::version(&conn).is_ok_and(|version| version < SEVERAL_LOGS) {
            writing(&conn, || Ok(conn.execute_batch(OF_ONE_LOG)?))?;
        }
        Ok(Self { conn })
    }

    /// Lets every statement end with an error once `stop` is set.
    pub fn until(mut self, stop: &Arc<AtomicBool>) -> Result<Self, StoreError> {
        let stop = Arc::clone(stop);
        self.conn.progress_handler(STEPS, Some(move || stop.load(Ordering::Relaxed)))?;
        Ok(self)
    }

    /// Whether a process uses a directory, and which.
    pub fn holder(dir: &Path) -> Result<DirectoryHolder, StoreError> {
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

    /// The installation that the database belongs to; none in a database of an older version.
    pub fn installation(&self) -> Result<Option<Installation>, StoreError> {
        installation::load(&Tx::without_key(&self.conn))
    }

    /// The latest time of a record in any log.
    pub fn newest(&self) -> Result<Timestamp, StoreError> {
        logs::newest(&Tx::without_key(&self.conn))
    }

    /// The latest checkpoint of its audit log, a signed note. None if there are several logs: only a server
    /// knows which of them is its own.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let tx = Tx::without_key(&self.conn);
        match *logs::all(&tx)? {
            [(log, _)] => logs::note(&tx, log),
            _ => Ok(None),
        }
    }

    /// Whether it was sealed with this key.
    pub fn is_sealed_with(&self, key: &Secret, entropy: Arc<dyn Entropy>) -> Result<bool, StoreError> {
        match Sealer::new(key, entropy) {
            Some(sealer) => meta::opens_seal(&Tx::new(&self.conn, &sealer)),
            None => Ok(false),
        }
    }

    /// Verifies every audit log with the key that the database has for it: every record, the tree, the
    /// checkpoint. The search index is left out. `progress` is told how many of how many records are done.
    /// Returns one for each log, at least one, in the order in which they were added.
    pub fn verify_logs(&self, mut progress: impl FnMut(u64, u64)) -> Result<Vec<CheckedLog>, LogError> {
        log_verification::verify_inspected(&mut Snapshots(&self.conn), &mut progress)
    }

    /// Whether its log still has what a server has kept of it. Returns how many records that are.
    pub fn compare(&self, kept: &KeptCheckpoint) -> Result<u64, WentBack> {
        let _one_snapshot = self.conn.unchecked_transaction().map_err(StoreError::from)?;
        kept.inspect(&Tx::without_key(&self.conn))
    }

    /// Writes a copy of everything into an empty file. The copy has the state of one moment. A server can
    /// write meanwhile without waiting; these writes are not in the copy. The copy needs no write-ahead log.
    pub fn copy_to(&self, empty: &Path) -> Result<(), StoreError> {
        // It writes to the other file alone.
        writing(&self.conn, || {
            Ok(self.conn.execute("VACUUM INTO ?", [connection::as_value(empty)]).map(drop)?)
        })
    }
}

/// Reads of one database, each of one snapshot.
struct Snapshots<'c>(&'c Connection);

impl LogReader for Snapshots<'_> {
    fn snapshot(&mut self, work: &mut dyn FnMut(&Tx<'_>)) -> Result<(), StoreError> {
        let _one_snapshot = self.0.unchecked_transaction()?;
        work(&Tx::without_key(self.0));
        Ok(())
    }

    // It is not looked at here.
    fn search_is_wrong(&mut self) {}
}

/// For a statement that writes nothing to the database, and that `SQLite` counts as a write all the same.
fn writing(conn: &Connection, f: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    conn.execute_batch("PRAGMA query_only = OFF;")?;
    let written = f();
    conn.execute_batch("PRAGMA query_only = ON;")?;
    written
}

#[cfg(test)]
mod tests;
