//! One transaction, as repositories see it.

use mandate_core::{Secret, Timestamp};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use crate::error::StoreError;
use crate::seal::{Place, Sealer};

/// An open transaction. Repositories take it; only the store makes one.
#[derive(Debug)]
pub struct Tx<'c> {
    conn: &'c Connection,
    sealer: Option<&'c Sealer>,
    searchable: bool,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(conn: &'c Connection, sealer: &'c Sealer) -> Self {
        Self { conn, sealer: Some(sealer), searchable: false }
    }

    /// A transaction in which nothing sealed can be opened.
    pub(crate) fn without_key(conn: &'c Connection) -> Self {
        Self { conn, sealer: None, searchable: false }
    }

    /// A transaction of a connection to which the search index is attached.
    pub(crate) fn searchable(conn: &'c Connection, sealer: &'c Sealer) -> Self {
        Self { conn, sealer: Some(sealer), searchable: true }
    }

    /// Whether the search index is attached. If not, every record is read.
    pub(crate) fn is_searchable(&self) -> bool {
        self.searchable
    }

    /// A prepared statement, kept for the next time.
    pub(crate) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.conn.prepare_cached(sql)?)
    }

    /// Runs a statement; returns how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.prepare(sql)?.execute(params)?)
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.prepare(sql)?.query_row(params, read).optional()?)
    }

    /// All rows.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<Vec<T>>>()?)
    }

    /// The row id that the last insert got.
    pub(crate) fn last_row_id(&self) -> u64 {
        u64::try_from(self.conn.last_insert_rowid()).unwrap_or(0)
    }

    pub(crate) fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.sealer.ok_or_else(without_key)?.seal(place, value)
    }

    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret, StoreError> {
        self.sealer.ok_or_else(without_key)?.open(place, sealed)
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        self.conn
    }
}

fn without_key() -> StoreError {
    StoreError::Corrupt("it is sealed, and was asked for without the sealing key".to_owned())
}

/// A count or time as the database holds it. Times past the year 292 million are all the same.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or time from the database, where none is negative.
pub(crate) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A time as the database holds it.
pub(crate) fn time(at: Timestamp) -> i64 {
    to_sql(at.millis())
}

/// A time from the database.
pub(crate) fn timestamp(value: i64) -> Timestamp {
    Timestamp::from_millis(from_sql(value))
}

/// A stored text as the type it was written from.
pub(crate) fn parsed<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("{what} {text:?}")))
}
