//! Whether a database is complete without its write-ahead log.
//!
//! While a process uses the database, the newest transactions are only in `mandate.db-wal`. A `mandate.db`
//! that is copied without it is a complete database of an earlier time, and could pass for the newest one. So
//! the file itself contains a mark that it is in use. The mark is set at the start and removed at the end;
//! both times everything is first written into the file. A process that is killed leaves both files, and the
//! next start uses them together.
//!
//! Our connections never remove the write-ahead log: if a file has the mark and there is no write-ahead log,
//! it was lost.

use std::io::Read as _;

use mandate_files::{Dir, Exposure};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::sqlite::directory::DATABASE;

/// The name in `meta` of the mark.
const IN_USE: &str = "in-use";

/// The file of the write-ahead log.
pub(crate) const JOURNAL: &str = "mandate.db-wal";

/// Writes into the database file itself that it is in use.
pub(crate) fn begin(conn: &Connection) -> Result<(), StoreError> {
    conn.execute("INSERT INTO meta (name, value) VALUES (?, x'31') ON CONFLICT (name) DO NOTHING", [IN_USE])?;
    take_in(conn)
}

/// Writes everything into the database file, which is complete from then on.
pub(crate) fn end(conn: &Connection) -> Result<(), StoreError> {
    conn.execute("DELETE FROM meta WHERE name = ?", [IN_USE])?;
    take_in(conn)
}

/// Another process may read from the write-ahead log meanwhile: then it stays, with the same content.
fn take_in(conn: &Connection) -> Result<(), StoreError> {
    Ok(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// Whether the database says that it is in use.
pub(crate) fn is_in_use(conn: &Connection) -> Result<bool, StoreError> {
    Ok(conn.query_row("SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?)", [IN_USE], |row| row.get(0))?)
}

/// Whether the database file was written with a write-ahead log: the read version in its header
/// (<https://www.sqlite.org/fileformat2.html#file_format_version_numbers>). A copy that `SQLite` made has
/// none, and is complete.
pub(crate) fn has_journal_format(dir: &Dir) -> Result<bool, StoreError> {
    const VERSION: usize = 19;
    let mut header = Vec::new();
    if let Some(file) = dir.open_file(DATABASE, Exposure::Private)? {
        file.take(100).read_to_end(&mut header).map_err(|error| StoreError::Io(Box::new(error)))?;
    }
    Ok(header.get(VERSION) == Some(&2))
}
