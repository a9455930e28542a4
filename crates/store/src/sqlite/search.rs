//! The search index: which records name which parties. It is a separate file, which is derived from the logs and follows them.
//! Each log is indexed by itself, under its number.
//!
//! If the index were written in the log's own transactions, every record would touch a page for each person and agent: most
//! of the cost of a record. So a thread reads what is durable and writes the index in large pieces, without an fsync for
//! each. Records that are not in the index yet are read one by one, so that a query misses none. Nothing is lost with the
//! file: when it is missing, damaged or does not belong to the logs, it is built again.

mod postings;

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mandate_audit::{LeafKeys, Tampered};
use mandate_files::Dir;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;

use crate::error::{LogError, StoreError};
use crate::log_number::LogNumber;
use crate::logs;
use crate::record_search::{Comparison, Each, RecordSearch, Wanted, every};
use crate::sqlite::connection::{self, Use};
use crate::tx::Tx;
use crate::value::values;

use postings::{Chunk, Filter, nothing_foreign};

/// How many records of a log are added to the index at once; at most this many of each log are read one by one.
#[cfg(not(test))]
const CHUNK: u64 = 4096;
/// Small in tests, so that few records are partly in the index and partly not.
#[cfg(test)]
const CHUNK: u64 = 16;

/// The version of the index's tables. Another version is not an error: the index is built again.
const VERSION: u32 = 5;

const SCHEMA: &str = "
CREATE TABLE state (
    log  INTEGER NOT NULL PRIMARY KEY,
    upto INTEGER NOT NULL,
    last BLOB    NOT NULL
) STRICT;
";

/// Opens the index beside the log in `log`, building an empty one where there is none that fits.
pub(crate) fn open(path: &Path, log: &Connection) -> Result<Connection, StoreError> {
    if path.exists() {
        match connection::open(path, Use::Index).and_then(|conn| Ok((fits(&conn, log)?, conn))) {
            Ok((true, conn)) => return Ok(conn),
            Ok((false, _)) => tracing::info!("the search index does not belong to the log; it is built again"),
            Err(error) => tracing::warn!(%error, "the search index is unusable; it is built again"),
        }
    }
    create(path)
}

/// An empty index. It replaces any existing file.
fn create(path: &Path) -> Result<Connection, StoreError> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(StoreError::Directory { path: path.to_owned(), why: "it is not the path of a file".to_owned() });
    };
    let dir = Dir::open(above)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut entry = name.to_owned();
        entry.push(suffix);
        dir.remove(entry)?;
    }
    // SQLite gives its journal files the mode of the database.
    dir.create(name, 0o600)?;
    let conn = connection::open(path, Use::Index)?;
    conn.execute_batch(&format!("BEGIN; {SCHEMA} {} PRAGMA user_version = {VERSION}; COMMIT;", postings::SCHEMA))?;
    Ok(conn)
}

/// Whether the index has this version and belongs to these logs: its last record of each is also in that log.
fn fits(index: &Connection, log: &Connection) -> Result<bool, StoreError> {
    let version: u32 = index.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        return Ok(false);
    }
    let mut fits = true;
    Tx::without_key(index).each("SELECT log, upto, last FROM state", &[], |row| {
        let (number, upto, last): (LogNumber, u64, &[u8]) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let sql = "SELECT hashes FROM records WHERE log = $1 AND idx = $2";
        fits = upto > 0
            && upto.is_multiple_of(CHUNK)
            && Tx::without_key(log).first(sql, values![number, upto - 1], |row| Ok(row.get::<&[u8]>(0)? == last))? == Some(true);
        Ok::<_, StoreError>(fits)
    })?;
    Ok(fits)
}

/// Lets a read connection search.
pub(crate) fn attach(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    conn.execute("ATTACH DATABASE ? AS search", [connection::as_value(path)])?;
    Ok(())
}

/// Whether the index is missing or damaged. Other causes for which it cannot be read end by themselves: too many open files,
/// a lock of another process.
pub(crate) fn is_spoiled(error: &StoreError, path: &Path) -> bool {
    match error {
        StoreError::Corrupt(_) | StoreError::Foreign | StoreError::Sql(_) => true,
        // A file that is gone and one that cannot be opened for now are one error to SQLite.
        StoreError::Io(_) => matches!(path.try_exists(), Ok(false)),
        _ => false,
    }
}

/// Reads from the index: an error if it cannot be used.
pub(crate) fn probe(tx: &Tx<'_>) -> Result<(), StoreError> {
    tx.first("SELECT upto FROM search.state", &[], |row| row.get::<u64>(0)).map(drop)
}

/// How many records of a log, from the first, are in the index. None if it is not attached.
pub(crate) fn upto(tx: &Tx<'_>, log: LogNumber) -> Result<u64, StoreError> {
    if tx.search().is_none() {
        return Ok(0);
    }
    Ok(tx.first("SELECT upto FROM search.state WHERE log = $1", values![log], |row| row.get(0))?.unwrap_or(0))
}

/// The index, attached to the connection of a transaction.
pub(crate) struct Attached;

impl RecordSearch for Attached {
    fn candidates(&self, tx: &Tx<'_>, log: LogNumber, wanted: Wanted<'_>, end: u64, each: &mut Each<'_>) -> Result<(), StoreError> {
        let upto = upto(tx, log)?;
        let mut more = true;
        // Those that are not in the index yet come first.
        every(tx, log, upto, end, &mut |index, leaf| {
            more = each(index, leaf)?;
            Ok(more)
        })?;
        if more && upto > 0 { Filter::of(log, wanted).each(tx, end.min(upto), each) } else { Ok(()) }
    }

    fn comparison(&self, tx: &Tx<'_>, log: LogNumber) -> Result<Box<dyn Comparison>, StoreError> {
        Ok(Box::new(Compared { log, upto: upto(tx, log)?, chunk: Chunk::new(log, 0), names: 0 }))
    }
}

/// The index of a log as far as it was compared with that log.
struct Compared {
    log: LogNumber,
    upto: u64,
    chunk: Chunk,
    /// How many names the index has of the chunks before.
    names: u64,
}

impl Comparison for Compared {
    fn record(&mut self, tx: &Tx<'_>, index: u64, leaf: &[u8]) -> Result<(), LogError> {
        if index >= self.upto {
            return Ok(());
        }
        let keys = LeafKeys::of(leaf).map_err(|_| Tampered::Changed { index })?;
        self.chunk.add(index, &keys);
        let next = index + 1;
        if next.is_multiple_of(CHUNK) {
            self.names += mem::replace(&mut self.chunk, Chunk::new(self.log, next)).check(tx)??;
        }
        Ok(())
    }

    fn finish(&self, tx: &Tx<'_>, size: u64) -> Result<(), LogError> {
        let upto = self.upto;
        // The index grows by whole chunks of what the log has. One that claims more would hide what it does not hold.
        if !upto.is_multiple_of(CHUNK) || upto > size {
            return Err(Tampered::Index { index: upto, column: "idx" }.into());
        }
        if upto == 0 { Ok(()) } else { Ok(nothing_foreign(tx, self.log, self.names, upto, self::upto(tx, self.log)?)??) }
    }
}

enum Piece {
    Taken,
    /// There is no complete piece of any log before so many more records are written.
    NotYet {
        missing: u64,
    },
}

/// Adds the next piece of each log to the index, if there is a complete one.
fn take_chunks(logs: &Connection, index: &mut Connection) -> Result<Piece, StoreError> {
    let mut least = CHUNK;
    for (log, _) in logs::all(&Tx::without_key(logs))? {
        least = least.min(take_chunk(logs, log, index)?);
    }
    Ok(if least == 0 { Piece::Taken } else { Piece::NotYet { missing: least } })
}

/// As [`take_chunks`], for one log. Returns how many records it lacks for a complete piece: none if one was taken.
fn take_chunk(logs: &Connection, log: LogNumber, index: &mut Connection) -> Result<u64, StoreError> {
    let from: u64 = Tx::without_key(&*index).first("SELECT upto FROM state WHERE log = $1", values![log], |row| row.get(0))?.unwrap_or(0);
    let end = from + CHUNK;
    let logs = Tx::without_key(logs);
    let highest: Option<u64> = logs.first("SELECT max(idx) FROM records WHERE log = $1", values![log], |row| row.get(0))?.flatten();
    let missing = end.saturating_sub(highest.map_or(0, |idx| idx + 1));
    if missing > 0 {
        return Ok(missing);
    }
    let tx = index.transaction()?;
    let mut last: Vec<u8> = Vec::new();
    let mut chunk = Chunk::new(log, from);
    let sql = "SELECT idx, leaf, hashes FROM records WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
    logs.each(sql, values![log, from, end], |row| {
        let index = row.get(0)?;
        last = row.get(2)?;
        chunk.add(index, &LeafKeys::of(row.get(1)?).map_err(|e| StoreError::Corrupt(format!("audit record {index}: {e}")))?);
        Ok::<_, StoreError>(true)
    })?;
    let written = Tx::without_key(&*tx);
    chunk.write(&written)?;
    let sql = "INSERT INTO state (log, upto, last) VALUES ($1, $2, $3) ON CONFLICT (log) DO UPDATE SET upto = $2, last = $3";
    written.execute(sql, values![log, end, &last])?;
    tx.commit()?;
    Ok(0)
}

#[derive(Debug, Default)]
struct Pending {
    /// How many records were written to all logs together, as far as the indexer was told.
    written: u64,
    /// The number that it waits for.
    wanted: u64,
    rebuild: bool,
    /// Whether an empty index is being made: until that is done, there is no complete index.
    rebuilding: bool,
    stop: bool,
}

/// Tells the indexer what was written.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl Signal {
    // Plain values, whole after each statement.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }

    /// So many records were written to a log, and are durable.
    pub(crate) fn written(&self, records: u64) {
        let mut pending = self.lock();
        pending.written = pending.written.saturating_add(records);
        if pending.written >= pending.wanted {
            self.changed.notify_one();
        }
    }

    /// Tells that the index cannot be used. If it is being built again already, this changes nothing.
    pub(crate) fn rebuild(&self) {
        let mut pending = self.lock();
        if !pending.rebuilding {
            pending.rebuild = true;
            self.changed.notify_one();
        }
    }

    /// Whether the index is to be built again, from now until [`Signal::rebuilt`].
    fn begin_rebuild(&self) -> bool {
        let mut pending = self.lock();
        pending.rebuilding = mem::take(&mut pending.rebuild);
        pending.rebuilding
    }

    /// Tells that there is an index again, or that none can be made for now.
    fn rebuilt(&self) {
        self.lock().rebuilding = false;
    }

    /// Waits until `wanted` records were written in all or the index is to be built again; false when it is time to stop.
    fn wait(&self, wanted: u64) -> bool {
        let mut pending = self.lock();
        pending.wanted = wanted;
        while pending.written < wanted && !pending.rebuild && !pending.stop {
            self.changed.wait(&mut pending);
        }
        !pending.stop
    }
}

/// The thread that keeps the index. Ends with the store.
#[derive(Debug)]
pub(crate) struct Indexer {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts with the records that are not in the index yet. `log` reads the logs; `index` writes the file at `path`.
    pub(crate) fn start(log: Connection, index: Connection, path: PathBuf) -> Result<Self, StoreError> {
        let signal = Arc::new(Signal::default());
        let own = Arc::clone(&signal);
        let run = move || {
            let mut index = Some(index);
            // What the logs have from before is not signalled.
            let mut goes_on = true;
            while goes_on {
                if own.begin_rebuild() {
                    // Closed first: a file that is gone and its successor have one name.
                    index = None;
                }
                let made = index.take().map_or_else(|| create(&path), Ok);
                own.rebuilt();
                // What is written from here on may be read already: at most it is waited for too short a time.
                let written = own.lock().written;
                let taken = match made {
                    Ok(made) => take_chunks(&log, index.insert(made)),
                    Err(error) => Err(error),
                };
                goes_on = match taken {
                    Ok(Piece::Taken) => !own.lock().stop,
                    Ok(Piece::NotYet { missing }) => own.wait(written.saturating_add(missing)),
                    Err(error) => {
                        // Queries look at the records themselves meanwhile.
                        tracing::warn!(%error, "the search index cannot be continued for now");
                        own.wait(written.saturating_add(CHUNK))
                    }
                };
            }
        };
        let thread = thread::Builder::new().name("search-index".to_owned()).spawn(run).map_err(|e| StoreError::Io(Box::new(e)))?;
        Ok(Self { signal, thread: Some(thread) })
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.signal.lock().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the search index's thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
