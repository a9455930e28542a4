//! One transaction, as repositories see it: SQL that every database of ours understands, and values of four
//! types.
//!
//! Parameters are `$1`, `$2` and so on. A repository names no driver and uses nothing that only one database
//! has.

use std::fmt;

use mandate_core::Secret;

use crate::error::StoreError;
use crate::record_search::RecordSearch;
use crate::seal::{SealedPlace, Sealer};
use crate::value::{FromValue, Value};

/// How many rows of an answer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All of them, of which there may be one or none.
    All,
    /// As many as the caller takes, which may be few of very many.
    UntilEnough,
}

/// What a driver does for a transaction. It blocks.
pub(crate) trait Statements {
    /// Runs a statement; returns how many rows it changed.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError>;

    /// Runs a statement and calls `each` with every row, until it returns false. The database is not asked
    /// for the rows after that.
    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        rows: Rows,
        each: &mut dyn FnMut(&dyn Columns) -> bool,
    ) -> Result<(), StoreError>;
}

/// The columns of one row, as a driver has them.
pub(crate) trait Columns {
    /// The value of a column, the first being 0.
    fn value(&self, column: usize) -> Result<Value<'_>, StoreError>;

    /// The name of a column.
    fn name(&self, column: usize) -> &str;
}

/// One row of an answer.
pub(crate) struct Row<'r> {
    sql: &'r str,
    columns: &'r dyn Columns,
}

impl<'r> Row<'r> {
    /// A column, the first being 0.
    pub(crate) fn get<T: FromValue<'r>>(&self, column: usize) -> Result<T, StoreError> {
        let value = self.columns.value(column)?;
        T::from_value(value).ok_or_else(|| {
            let (name, sql) = (self.columns.name(column), self.sql);
            StoreError::Corrupt(format!(
                "column `{name}` of `{sql}` must be {}, and is {}",
                T::TYPE,
                value.type_name()
            ))
        })
    }
}

/// An open transaction. Repositories take it; only the store makes one.
pub struct Tx<'c> {
    statements: &'c dyn Statements,
    sealer: Option<&'c Sealer>,
    search: Option<&'c dyn RecordSearch>,
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}

impl<'c> Tx<'c> {
    pub(crate) fn new(statements: &'c dyn Statements, sealer: &'c Sealer) -> Self {
        Self { statements, sealer: Some(sealer), search: None }
    }

    /// A transaction in which nothing sealed can be opened.
    pub(crate) fn without_key(statements: &'c dyn Statements) -> Self {
        Self { statements, sealer: None, search: None }
    }

    /// A transaction in which records are found with `search`.
    pub(crate) fn searching(
        statements: &'c dyn Statements,
        sealer: &'c Sealer,
        search: &'c dyn RecordSearch,
    ) -> Self {
        Self { statements, sealer: Some(sealer), search: Some(search) }
    }

    /// How records are found. None: every record is read.
    pub(crate) fn search(&self) -> Option<&'c dyn RecordSearch> {
        self.search
    }

    /// Runs a statement; returns how many rows it changed. A text with a NUL character is refused.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        if values.iter().any(|value| value.is_unstorable()) {
            return Err(StoreError::Sql(
                "a text has a NUL character, which no text in a database has".into(),
            ));
        }
        self.statements.execute(sql, values)
    }

    /// Calls `each` with every row, until it returns false. Nothing is found by a text with a NUL character.
    pub(crate) fn each<E: From<StoreError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: impl FnMut(&Row<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.rows(sql, values, Rows::UntilEnough, each)
    }

    fn rows<E: From<StoreError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        rows: Rows,
        mut each: impl FnMut(&Row<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        if values.iter().any(|value| value.is_unstorable()) {
            return Ok(());
        }
        let mut failed = None;
        self.statements.query(sql, values, rows, &mut |columns| match each(&Row { sql, columns }) {
            Ok(more) => more,
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The first row, if there is one. For statements that answer with few rows.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut found = None;
        self.rows(sql, values, Rows::All, |row| {
            found = Some(read(row)?);
            Ok::<_, StoreError>(false)
        })?;
        Ok(found)
    }

    /// All rows, each as `read` makes it.
    pub(crate) fn all<T, E: From<StoreError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut rows = Vec::new();
        self.rows(sql, values, Rows::All, |row| {
            rows.push(read(row)?);
            Ok::<_, E>(true)
        })?;
        Ok(rows)
    }

    pub(crate) fn seal(&self, place: SealedPlace<'_>, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.sealer.ok_or_else(without_key)?.seal(place, value)
    }

    pub(crate) fn open(&self, place: SealedPlace<'_>, sealed: &[u8]) -> Result<Secret, StoreError> {
        self.sealer.ok_or_else(without_key)?.open(place, sealed)
    }
}

fn without_key() -> StoreError {
    StoreError::Corrupt("it is sealed, and was asked for without the sealing key".to_owned())
}

/// A stored text as the type it was written from.
pub(crate) fn parsed<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("{what} {text:?}")))
}
