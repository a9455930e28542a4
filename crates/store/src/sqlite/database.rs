//! The embedded database in one directory: its connections, and whose turn it is to write.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mandate_core::Entropy;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, TransactionBehavior};

use crate::driver::{Driver, LogReader, LogSession, Work};
use crate::error::StoreError;
use crate::meta;
use crate::record_search;
use crate::seal::Sealer;
use crate::search_follower::{Follower, Signal};
use crate::search_rows::SearchRows;
use crate::sqlite::backfill::Backfill;
use crate::sqlite::connection::{self, Use};
use crate::sqlite::directory;
use crate::sqlite::gate::Gate;
use crate::sqlite::journal;
use crate::sqlite::log_connection::LogConnection;
use crate::sqlite::migration;
use crate::sqlite::search::{self, IndexFile};
use crate::turns::Seats;
use crate::tx::Tx;
use crate::write_trouble::WriteTrouble;

/// How many idle read connections are kept.
const IDLE_READERS: usize = 4;

/// Each thread keeps its connection and its share of the allocator's memory, about 600 KiB, and more of them
/// answer no sooner: there is one disk and one writer.
pub(crate) const SEATS: Seats = Seats { reads: IDLE_READERS, searches: 2, writes: 1 };

/// The database of one directory. While it is open, no other process opens the directory.
#[derive(Debug)]
pub(crate) struct Database {
    file: PathBuf,
    sealer: Sealer,
    gate: Arc<Gate>,
    backfill: Backfill,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    search: PathBuf,
    follower: Follower,
    lock: Arc<File>,
}

impl Drop for Database {
    fn drop(&mut self) {
        // The other thread must not move pages while the last ones are moved here.
        self.backfill.end();
        let writer = self.writer.get_mut();
        // Another process that reads keeps the write-ahead log for as long as it does, which does no harm.
        let ended =
            writer.busy_timeout(Duration::ZERO).map_err(StoreError::from).and_then(|()| journal::end(writer));
        if let Err(error) = ended {
            tracing::warn!(%error, "the database keeps its write-ahead log: mandate.db and mandate.db-wal belong together");
        }
    }
}

impl Database {
    /// Opens `dir`, creating what is not there yet, and brings the schema up to date.
    pub(crate) fn open(dir: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let opened = directory::open(dir, entropy.as_ref())?;
        let sealer = opened.seal_key.sealer(entropy)?;
        if opened.journal_missing {
            return Err(StoreError::JournalMissing(opened.database.clone()));
        }
        let mut writer = connection::open(&opened.database, Use::Write)?;
        // The sealing key gets its final name only beside a database that has content.
        if !opened.seal_key.first_start && migration::is_empty(&writer)? {
            return Err(StoreError::JournalMissing(opened.database.clone()));
        }
        migration::run(&mut writer)?;
        match journal::begin(&writer) {
            // On a full disk the server must start all the same: what was stopped has to be in force. After a
            // crash the file says already that it is in use.
            Err(error @ StoreError::Full(_)) => {
                tracing::warn!(%error, "the disk is full: mandate.db may not say that it belongs together with mandate.db-wal");
            }
            begun => begun?,
        }
        let gate = Arc::<Gate>::default();
        let backfill =
            Backfill::start(connection::open(&opened.database, Use::Backfill)?, Arc::clone(&gate))?;
        backfill.follow(&mut writer)?;
        let index = IndexFile::open(&opened.search, &opened.database)?;
        let signal = Arc::<Signal>::default();
        if !index.is_there() {
            signal.rebuild();
        }
        let follower = Follower::start(signal, index)?;
        let database = Self {
            file: opened.database.clone(),
            search: opened.search.clone(),
            follower,
            sealer,
            gate,
            backfill,
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            lock: opened.directory.lock(),
        };
        database.transact(&mut meta::check_seal).map_err(|error| opened.seal_key.is_anothers(error))?;
        opened.directory.settle(&opened.seal_key)?;
        Ok(database)
    }

    /// A separate connection to the log and its index. Only queries of the log have one: decisions do not
    /// depend on the index.
    fn indexed_reader(&self) -> Result<IndexedReader<'_>, StoreError> {
        let conn = connection::open(&self.file, Use::Read)?;
        // What is in the place of the index may be another log's.
        let searchable = self.follower.signal().is_usable();
        let mut reader = IndexedReader { conn, searchable, database: self };
        if !searchable {
            return Ok(reader);
        }
        let usable = connection::attach_index(&reader.conn, &self.search)
            .and_then(|()| reader.read(record_search::probe));
        if let Err(error) = usable {
            reader.forgo_index(&error);
        }
        Ok(reader)
    }

    /// An idle read connection, or a new one.
    fn reader(&self) -> Result<Connection, StoreError> {
        if let Some(conn) = self.readers().pop() {
            return Ok(conn);
        }
        connection::open(&self.file, Use::Read)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        // The list is whole at any moment; a panic in a reader does not spoil it.
        self.readers.lock()
    }
}

impl Driver for Database {
    /// The lock on the directory is never lost.
    fn claim(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// It is, as long as the directory is locked.
    fn still_ours(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// With `SQLite`, no answer to a commit is lost.
    fn settled(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn write_trouble(&self) -> Option<WriteTrouble> {
        self.gate.trouble()
    }

    fn read(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let mut conn = self.reader()?;
        let result = (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&Tx::new(&*tx, &self.sealer))
        })();
        let mut readers = self.readers();
        if readers.len() < IDLE_READERS {
            readers.push(conn);
        }
        result
    }

    /// As [`Database::read`], with the search index attached. If the index cannot be used, that is reported,
    /// and every record is read instead. If it is damaged, it is also built again.
    fn search(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let mut reader = self.indexed_reader()?;
        match reader.read(&mut *work) {
            Err(error) if reader.searchable && error.is_damage() => {
                reader.forgo_index(&error);
                reader.read(work)
            }
            result => result,
        }
    }

    /// Writes, in its turn beside the audit log's sequencer.
    fn transact(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let turn = self.gate.enter()?;
        let mut conn = self.writer.lock();
        conn.busy_timeout(turn.patience())?;
        let begun = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from);
        turn.begun(&begun);
        let tx = begun?;
        work(&Tx::new(&*tx, &self.sealer))?;
        Ok(tx.commit()?)
    }

    /// A connection of its own. The directory stays locked for as long as it is there.
    fn log_session(&self) -> Result<Box<dyn LogSession>, StoreError> {
        let mut conn = connection::open(&self.file, Use::Log)?;
        self.backfill.follow(&mut conn)?;
        Ok(Box::new(LogConnection::new(
            conn,
            Arc::clone(&self.gate),
            Arc::clone(self.follower.signal()),
            Arc::clone(&self.lock),
        )))
    }

    fn log_reader(&self) -> Result<Box<dyn LogReader + '_>, StoreError> {
        Ok(Box::new(self.indexed_reader()?))
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

/// Reads the log in many short transactions, so that none keeps the write-ahead log from being used again.
#[derive(Debug)]
struct IndexedReader<'d> {
    conn: Connection,
    searchable: bool,
    database: &'d Database,
}

impl IndexedReader<'_> {
    fn read<T>(&mut self, f: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let sealer = &self.database.sealer;
        f(&if self.searchable { Tx::searching(&*tx, sealer, &SearchRows) } else { Tx::new(&*tx, sealer) })
    }

    fn forgo_index(&mut self, error: &StoreError) {
        self.searchable = false;
        if search::is_spoiled(error, &self.database.search) {
            tracing::warn!(%error, "the search index cannot be used; it is built again, and queries look at every record until then");
            self.database.follower.signal().rebuild();
        } else {
            tracing::warn!(%error, "the search index cannot be read for now; this query looks at every record");
        }
    }
}

impl LogReader for IndexedReader<'_> {
    fn snapshot(&mut self, work: &mut dyn FnMut(&Tx<'_>)) -> Result<(), StoreError> {
        self.read(|tx| {
            work(tx);
            Ok(())
        })
    }

    fn search_is_wrong(&mut self) {
        self.database.follower.signal().rebuild();
    }
}
