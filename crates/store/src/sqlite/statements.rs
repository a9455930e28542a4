//! Statements of repositories, run by `rusqlite`.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, Statement, ToSql};

use crate::error::StoreError;
use crate::tx::{Columns, Rows, Statements};
use crate::value::Value;

impl Statements for Connection {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()?)
    }

    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        _: Rows,
        each: &mut dyn FnMut(&dyn Columns) -> bool,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if !each(row) {
                break;
            }
        }
        Ok(())
    }
}

/// `SQLite` takes `$1` as a name, and numbers names in the order in which a statement first mentions them
/// (<https://www.sqlite.org/c3ref/bind_blob.html>). So each is bound by what it says.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> Result<(), StoreError> {
    let mismatch = || StoreError::Sql("the parameters of a statement are not those that it was given".into());
    if statement.parameter_count() != values.len() {
        return Err(mismatch());
    }
    for index in 1..=values.len() {
        let number =
            statement.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?)).ok_or_else(mismatch)?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Integer(value) => ValueRef::Integer(value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

impl Columns for Row<'_> {
    fn value(&self, column: usize) -> Result<Value<'_>, StoreError> {
        let unusable = |what| StoreError::Corrupt(format!("column `{}` holds {what}", self.name(column)));
        match self.get_ref(column)? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(value) => Ok(Value::Integer(value)),
            ValueRef::Text(value) => {
                std::str::from_utf8(value).map(Value::Text).map_err(|_| unusable("text that is not UTF-8"))
            }
            ValueRef::Blob(value) => Ok(Value::Bytes(value)),
            ValueRef::Real(_) => Err(unusable("a fraction")),
        }
    }

    fn name(&self, column: usize) -> &str {
        self.as_ref().column_name(column).unwrap_or("?")
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(Box::new(error)),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied,
            ) => Self::Io(Box::new(error)),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(Box::new(error)),
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::NotADatabase) => Self::Foreign,
            _ => Self::Sql(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests;
