//! The search index: which records name which parties. It is a separate file, which is derived from the log and follows it.
//!
//! If the index were written in the log's own transactions, every record would touch a page for each person and agent: most
//! of the cost of a record. So a thread reads what is durable and writes the index in large pieces, without an fsync for
//! each. Records that are not in the index yet are read one by one, so that a query misses none. Nothing is lost with the
//! file: when it is missing, damaged or does not belong to the log, it is built again.

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
use crate::record_search::{Comparison, Each, RecordSearch, Wanted, every};
use crate::sqlite::connection::{self, Use};
use crate::tx::Tx;
use crate::value::values;

use postings::{Chunk, Filter, nothing_foreign};

/// How many records are added to the index at once; at most this many are read one by one.
#[cfg(not(test))]
const CHUNK: u64 = 4096;
/// Small in tests, so that few records are partly in the index and partly not.
#[cfg(test)]
const CHUNK: u64 = 16;

/// The version of the index's tables. Another version is not an error: the index is built again.
const VERSION: u32 = 4;

const SCHEMA: &str = "
CREATE TABLE state (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
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

/// Whether the index has this version and belongs to this log: its last record is also in the log.
fn fits(index: &Connection, log: &Connection) -> Result<bool, StoreError> {
    let version: u32 = index.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        return Ok(false);
    }
    let Some((upto, last)) = state(index)? else { return Ok(true) };
    if upto == 0 || !upto.is_multiple_of(CHUNK) {
        return Ok(false);
    }
    let sql = "SELECT hashes FROM records WHERE idx = $1";
    Ok(Tx::without_key(log).first(sql, values![upto - 1], |row| Ok(row.get::<&[u8]>(0)? == last))? == Some(true))
}

fn state(index: &Connection) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    Tx::without_key(index).first("SELECT upto, last FROM state", &[], |row| Ok((row.get(0)?, row.get(1)?)))
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

/// How many records, from the first, are in the index. None if it is not attached.
pub(crate) fn upto(tx: &Tx<'_>) -> Result<u64, StoreError> {
    if tx.search().is_none() {
        return Ok(0);
    }
    Ok(tx.first("SELECT upto FROM search.state", &[], |row| row.get(0))?.unwrap_or(0))
}

/// The index, attached to the connection of a transaction.
pub(crate) struct Attached;

impl RecordSearch for Attached {
    fn candidates(&self, tx: &Tx<'_>, wanted: Wanted<'_>, end: u64, each: &mut Each<'_>) -> Result<(), StoreError> {
        let upto = upto(tx)?;
        let mut more = true;
        // Those that are not in the index yet come first.
        every(tx, upto, end, &mut |index, leaf| {
            more = each(index, leaf)?;
            Ok(more)
        })?;
        if more && upto > 0 { Filter::of(wanted).each(tx, end.min(upto), each) } else { Ok(()) }
    }

    fn comparison(&self, tx: &Tx<'_>) -> Result<Box<dyn Comparison>, StoreError> {
        Ok(Box::new(Compared { upto: upto(tx)?, chunk: Chunk::new(0), names: 0 }))
    }
}

/// The index as far as it was compared with the log.
struct Compared {
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
            self.names += mem::replace(&mut self.chunk, Chunk::new(next)).check(tx)??;
        }
        Ok(())
    }

    fn finish(&self, tx: &Tx<'_>, size: u64) -> Result<(), LogError> {
        let upto = self.upto;
        // The index grows by whole chunks of what the log has. One that claims more would hide what it does not hold.
        if !upto.is_multiple_of(CHUNK) || upto > size {
            return Err(Tampered::Index { index: upto, column: "idx" }.into());
        }
        if upto == 0 { Ok(()) } else { Ok(nothing_foreign(tx, self.names, upto, self::upto(tx)?)??) }
    }
}

enum Piece {
    Taken,
    /// There is no complete piece before the log has `wanted` records.
    NotYet {
        wanted: u64,
    },
}

/// Adds the next piece of the log to the index, if there is a complete one.
fn take_chunk(log: &Connection, index: &mut Connection) -> Result<Piece, StoreError> {
    let from = state(index)?.map_or(0, |(upto, _)| upto);
    let log = Tx::without_key(log);
    let size: Option<u64> = log.first("SELECT max(idx) + 1 FROM records", &[], |row| row.get(0))?.flatten();
    if size.unwrap_or(0) < from + CHUNK {
        return Ok(Piece::NotYet { wanted: from + CHUNK });
    }
    let tx = index.transaction()?;
    let mut last: Vec<u8> = Vec::new();
    let mut chunk = Chunk::new(from);
    let sql = "SELECT idx, leaf, hashes FROM records WHERE idx >= $1 AND idx < $2 ORDER BY idx";
    log.each(sql, values![from, from + CHUNK], |row| {
        let index = row.get(0)?;
        last = row.get(2)?;
        chunk.add(index, &LeafKeys::of(row.get(1)?).map_err(|e| StoreError::Corrupt(format!("audit record {index}: {e}")))?);
        Ok::<_, StoreError>(true)
    })?;
    let written = Tx::without_key(&*tx);
    chunk.write(&written)?;
    let sql = "INSERT INTO state (one, upto, last) VALUES (1, $1, $2) ON CONFLICT (one) DO UPDATE SET upto = $1, last = $2";
    written.execute(sql, values![from + CHUNK, &last])?;
    tx.commit()?;
    Ok(Piece::Taken)
}

#[derive(Debug, Default)]
struct Pending {
    /// The size of the log, as far as the indexer was told.
    size: u64,
    /// The size that it waits for.
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

    /// The log has so many durable records.
    pub(crate) fn written(&self, size: u64) {
        let mut pending = self.lock();
        pending.size = size;
        if size >= pending.wanted {
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

    /// Waits until the log has `wanted` records or the index is to be built again; false when it is time to stop.
    fn wait(&self, wanted: u64) -> bool {
        let mut pending = self.lock();
        pending.wanted = wanted;
        while pending.size < wanted && !pending.rebuild && !pending.stop {
            self.changed.wait(&mut pending);
        }
        !pending.stop
    }

    /// As [`Signal::wait`], for one complete piece more than there is now.
    fn wait_for_more(&self) -> bool {
        let size = self.lock().size;
        self.wait(size + CHUNK)
    }
}

/// The thread that keeps the index. Ends with the store.
#[derive(Debug)]
pub(crate) struct Indexer {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts with the records that are not in the index yet. `log` reads the log; `index` writes the file at `path`.
    pub(crate) fn start(log: Connection, index: Connection, path: PathBuf) -> Result<Self, StoreError> {
        let signal = Arc::new(Signal::default());
        let own = Arc::clone(&signal);
        let run = move || {
            let mut index = Some(index);
            // What the log has from before is not signalled.
            let mut goes_on = true;
            while goes_on {
                if own.begin_rebuild() {
                    // Closed first: a file that is gone and its successor have one name.
                    index = None;
                }
                let made = index.take().map_or_else(|| create(&path), Ok);
                own.rebuilt();
                let taken = match made {
                    Ok(made) => take_chunk(&log, index.insert(made)),
                    Err(error) => Err(error),
                };
                goes_on = match taken {
                    Ok(Piece::Taken) => !own.lock().stop,
                    Ok(Piece::NotYet { wanted }) => own.wait(wanted),
                    Err(error) => {
                        // Queries look at the records themselves meanwhile.
                        tracing::warn!(%error, "the search index cannot be continued for now");
                        own.wait_for_more()
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
