//! The file of the search index: how it is opened, when it is made again, and the thread's connections.

use std::path::{Path, PathBuf};

use mandate_files::Dir;
use rusqlite::Connection;

use crate::error::StoreError;
use crate::search_follower::IndexPlace;
use crate::search_rows::{self, VERSION};
use crate::sqlite::connection::{self, Use};
use crate::tx::Tx;

/// A row's key begins with its chunk, so that the rows of a chunk are beside one another.
pub(crate) const SCHEMA: &str = "
CREATE TABLE search.chunks (
    log      INTEGER NOT NULL,
    chunk    INTEGER NOT NULL,
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL,
    last     BLOB    NOT NULL,
    PRIMARY KEY (log, chunk)
) STRICT, WITHOUT ROWID;
CREATE TABLE search.names (
    log   INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    name  INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    PRIMARY KEY (log, chunk, name, idx)
) STRICT, WITHOUT ROWID;
";

/// The logs and the file of their index, as the thread uses them.
pub(crate) struct IndexFile {
    logs: Connection,
    /// None until it is made.
    index: Option<Connection>,
    path: PathBuf,
}

impl IndexFile {
    /// Opens the index at `path` of the logs at `logs`. Where there is none that fits, it makes an empty one.
    /// Where that cannot be made, as on a full disk, there is none yet: the server starts all the same.
    pub(crate) fn open(path: &Path, logs: &Path) -> Result<Self, StoreError> {
        let logs = connection::open(logs, Use::Read)?;
        let mut found = None;
        if path.exists() {
            match connection::open_index(path).and_then(|index| Ok((fits(&index, &logs)?, index))) {
                Ok((true, index)) => found = Some(index),
                Ok((false, _)) => tracing::info!(
                    "the search index is another version's or another log's; it is built again"
                ),
                Err(error) => tracing::warn!(%error, "the search index is unusable; it is built again"),
            }
        }
        let index = found.or_else(|| {
            let failed = |error: &StoreError| {
                tracing::warn!(%error, "no search index can be made; it is tried again, and queries look at every record until then");
            };
            create(path).inspect_err(failed).ok()
        });
        Ok(Self { logs, index, path: path.to_owned() })
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.index.is_some()
    }
}

impl IndexPlace for IndexFile {
    fn create(&mut self) -> Result<(), StoreError> {
        // Closed first: the old file and the new one have the same name.
        self.index = None;
        self.index = Some(create(&self.path)?);
        Ok(())
    }

    fn take(&mut self) -> Result<u64, StoreError> {
        let index =
            self.index.as_mut().ok_or_else(|| StoreError::Corrupt("there is no search index".to_owned()))?;
        let tx = index.transaction()?;
        let missing = search_rows::take_chunk(&Tx::without_key(&self.logs), &Tx::without_key(&*tx))?;
        tx.commit()?;
        Ok(missing)
    }
}

/// An empty index. It replaces any existing file.
fn create(path: &Path) -> Result<Connection, StoreError> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(StoreError::Directory {
            path: path.to_owned(),
            why: "it is not the path of a file".to_owned(),
        });
    };
    let dir = Dir::open(above)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut entry = name.to_owned();
        entry.push(suffix);
        dir.remove(entry)?;
    }
    // SQLite gives its journal files the mode of the database.
    dir.create(name, 0o600)?;
    let conn = connection::open_index(path)?;
    conn.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA search.user_version = {VERSION}; COMMIT;"))?;
    Ok(conn)
}

fn fits(index: &Connection, logs: &Connection) -> Result<bool, StoreError> {
    let version: u32 = index.query_row("PRAGMA search.user_version", [], |row| row.get(0))?;
    Ok(version == VERSION && search_rows::fits(&Tx::without_key(logs), &Tx::without_key(index))?)
}

/// Whether the index is missing or damaged. Other causes for which it cannot be read end by themselves: too
/// many open files, a lock of another process.
pub(crate) fn is_spoiled(error: &StoreError, path: &Path) -> bool {
    match error {
        StoreError::Corrupt(_) | StoreError::Foreign | StoreError::Sql(_) => true,
        // A file that is gone and one that cannot be opened for now are one error to SQLite.
        StoreError::Io(_) => matches!(path.try_exists(), Ok(false)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
