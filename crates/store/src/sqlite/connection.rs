//! How every connection is set up.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

/// How long a connection waits for another process at the start, when no caller waits for an answer yet.
/// Later only the writer at the gate waits, for [`crate::sqlite::gate::PATIENCE`]: with a write-ahead log,
/// readers never wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Queries, introspection: a few pages each.
    Read,
    /// Bookkeeping, which happens rarely.
    Write,
    /// The audit log's transactions: the right edge, and the pages of grants, codes and assertions in use.
    Log,
    /// The thread that moves pages from the write-ahead log into the file.
    Backfill,
}

impl Use {
    /// The most memory that a connection keeps pages in, in KiB.
    fn cache(self) -> u32 {
        match self {
            Self::Read | Self::Write | Self::Backfill => 1_000,
            Self::Log => 4_000,
        }
    }
}

/// Opens a connection to an existing file.
pub(crate) fn open(path: &Path, what_for: Use) -> Result<Connection, StoreError> {
    // No shared cache, no URI names; one thread at a time uses a connection.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(128);
    // `journal` says when the write-ahead log has ended.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // synchronous=FULL: a commit returns after the fsync of the log. A receipt means that.
    conn.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    conn.execute_batch(&format!("PRAGMA cache_size = -{};", what_for.cache()))?;
    if what_for == Use::Read {
        conn.execute_batch("PRAGMA query_only = ON;")?;
    }
    Ok(conn)
}

/// Opens a connection that writes the search index, an existing file. It is attached to an empty database in
/// memory, because statements name it `search`.
pub(crate) fn open_index(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_in_memory_with_flags(
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(128);
    attach_index(&conn, path)?;
    // A commit of what can be derived again need not wait for the disk; the file stays whole across a crash.
    conn.execute_batch(
        "PRAGMA search.journal_mode = WAL;
         PRAGMA search.synchronous = NORMAL;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 500;
         PRAGMA search.journal_size_limit = 67108864;
         PRAGMA search.cache_size = -2000;",
    )?;
    Ok(conn)
}

/// Lets a connection read the search index.
pub(crate) fn attach_index(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    conn.execute("ATTACH DATABASE ? AS search", [as_value(path)])?;
    Ok(())
}

/// Opens a database to look at it. Nothing is written to it, and no file is made beside it.
pub(crate) fn inspect(path: &Path, company: Company) -> Result<Connection, StoreError> {
    let conn = match company {
        Company::Server => Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
        // In exclusive mode the index of the write-ahead log is in memory
        // (https://www.sqlite.org/wal.html#noshm).
        Company::None { journal: true } => {
            let conn = Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
            conn
        }
        // Without that, SQLite would make an empty one, and the next start could not tell that it was
        // missing.
        Company::None { journal: false } => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(format!("file:{}?immutable=1", in_uri(path)), flags)?
        }
    };
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4000; PRAGMA query_only = ON;")?;
    Ok(conn)
}

/// Who else uses a database that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// The server of its directory.
    Server,
    None {
        /// Whether there is a write-ahead log.
        journal: bool,
    },
}

/// A path as the value of a statement that opens a file. `SQLite` takes the bytes as they are, also where
/// they are not UTF-8; a path that was converted to UTF-8 would name another file.
pub(crate) fn as_value(path: &Path) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(path.as_os_str().as_bytes()))
}

/// A path as it is written in a URI (RFC 3986 §2.1).
fn in_uri(path: &Path) -> String {
    const PATH: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encode(path.as_os_str().as_bytes(), PATH).to_string()
}
