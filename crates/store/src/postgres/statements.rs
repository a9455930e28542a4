//! Statements of repositories, run by `tokio-postgres`.

use std::cell::Cell;
use std::error::Error;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Transaction};
use futures_util::{StreamExt as _, pin_mut};
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{IsolationLevel, Row, RowStream, Statement};

use crate::error::StoreError;
use crate::postgres::connections::{Connections, DEADLINE};
use crate::tx::{Columns, Rows, Statements};
use crate::value::Value;
use crate::write_trouble::WriteTrouble;

/// How many rows are asked for at a time, where the caller may want only the first of them.
const PORTION: i32 = 256;

/// Where a statement runs.
pub(crate) enum StatementPlace<'a> {
    /// In the transaction that the connection has open.
    Connection(&'a ClientWrapper),
    Transaction(&'a Transaction<'a>),
}

pub(crate) struct Session<'a> {
    pub(crate) connections: &'a Connections,
    pub(crate) place: StatementPlace<'a>,
    pub(crate) deadline: Duration,
    pub(crate) state: &'a State,
}

/// What went wrong in a transaction.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The server did not answer: the connection cannot be used any longer.
    lost: Cell<bool>,
    /// What kept it from writing.
    trouble: Cell<Option<WriteTrouble>>,
}

impl State {
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    pub(crate) fn trouble(&self) -> Option<WriteTrouble> {
        self.trouble.get()
    }

    /// Notes what an error means for the connection and for writers.
    pub(crate) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.lost.set(self.lost.get() || matches!(error, StoreError::Unreachable(_)));
            self.trouble.set(trouble_of(error).or(self.trouble.get()));
        }
        result
    }
}

/// Reads from one consistent snapshot. Each statement of `work` may take as long as `deadline`.
pub(crate) fn read<T>(
    connections: &Connections,
    mut client: Object,
    deadline: Duration,
    work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let state = State::default();
    let result = (|| {
        let begin = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start();
        let tx = state.note(connections.wait(DEADLINE, begin))?;
        // Dropped, it is rolled back: there is nothing to keep.
        work(&Session { connections, place: StatementPlace::Transaction(&tx), deadline, state: &state })
    })();
    give_back(client, &state);
    result
}

/// Gives a connection back, or closes it if the server did not answer on it.
pub(crate) fn give_back(client: Object, state: &State) {
    if state.is_lost() {
        drop(Object::take(client));
    }
}

/// What an error says about all writers.
pub(crate) fn trouble_of(error: &StoreError) -> Option<WriteTrouble> {
    match error {
        StoreError::Unreachable(_) => Some(WriteTrouble::Unreachable),
        StoreError::ReadOnly(_) => Some(WriteTrouble::ReadOnly),
        StoreError::LosesCommits(_) => Some(WriteTrouble::LosesCommits),
        StoreError::Busy(_) => Some(WriteTrouble::HeldElsewhere),
        StoreError::Superseded => Some(WriteTrouble::Superseded),
        _ => None,
    }
}

/// Whether the server answered with this error.
pub(crate) fn has_code(cause: &(dyn Error + Send + Sync + 'static), code: &SqlState) -> bool {
    cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code) == Some(code)
}

impl Session<'_> {
    async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        match self.place {
            StatementPlace::Connection(client) => client.prepare_cached(sql).await,
            StatementPlace::Transaction(tx) => tx.prepare_cached(sql).await,
        }
    }

    async fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<RowStream, tokio_postgres::Error> {
        let statement = self.prepare(sql).await?;
        match self.place {
            StatementPlace::Connection(client) => client.query_raw(&statement, values.iter().copied()).await,
            StatementPlace::Transaction(tx) => tx.query_raw(&statement, values.iter().copied()).await,
        }
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        self.state.note(self.connections.wait(self.deadline, answer))
    }

    /// Asks for a few rows at a time.
    fn in_portions(
        &self,
        tx: &Transaction<'_>,
        sql: &str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Columns) -> bool,
    ) -> Result<(), StoreError> {
        let portal =
            self.wait(async { tx.bind_raw(&self.prepare(sql).await?, values.iter().copied()).await })?;
        loop {
            let rows = self.wait(tx.query_portal(&portal, PORTION))?;
            let last = rows.len() < usize::try_from(PORTION).unwrap_or(usize::MAX);
            if !rows.iter().all(|row| each(row)) || last {
                return Ok(());
            }
        }
    }
}

impl Statements for Session<'_> {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        let changed = self.wait(async {
            let statement = self.prepare(sql).await?;
            match self.place {
                StatementPlace::Connection(client) => {
                    client.execute_raw(&statement, values.iter().copied()).await
                }
                StatementPlace::Transaction(tx) => tx.execute_raw(&statement, values.iter().copied()).await,
            }
        })?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        rows: Rows,
        each: &mut dyn FnMut(&dyn Columns) -> bool,
    ) -> Result<(), StoreError> {
        if let (Rows::UntilEnough, StatementPlace::Transaction(tx)) = (rows, &self.place) {
            return self.in_portions(tx, sql, values, each);
        }
        let answer = self.wait(self.rows(sql, values))?;
        pin_mut!(answer);
        // To the end, also if no more rows are wanted: an error may come behind them.
        let mut wanted = true;
        while let Some(row) = self.wait(async { answer.next().await.transpose() })? {
            wanted = wanted && each(&row);
        }
        Ok(())
    }
}

/// A value and a parameter that do not fit: a fault of the program.
#[derive(Debug, thiserror::Error)]
#[error("{value} was given for a parameter of type {parameter}")]
struct WrongType {
    value: &'static str,
    parameter: Type,
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (*self, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(value), &Type::INT8) => value.to_sql(ty, out),
            (Value::Integer(value), &Type::INT4) => i32::try_from(value)?.to_sql(ty, out),
            (Value::Text(value), &Type::TEXT) => value.to_sql(ty, out),
            (Value::Bytes(value), &Type::BYTEA) => value.to_sql(ty, out),
            _ => Err(Box::new(WrongType { value: self.type_name(), parameter: ty.clone() })),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Columns for Row {
    fn value(&self, column: usize) -> Result<Value<'_>, StoreError> {
        let unusable = |what: &str| {
            StoreError::Corrupt(format!("column `{}` holds {what}", Columns::name(self, column)))
        };
        let ty = self
            .columns()
            .get(column)
            .map(tokio_postgres::Column::type_)
            .ok_or_else(|| unusable("nothing: there is no such column"))?;
        let value = match *ty {
            Type::INT8 => self.try_get::<_, Option<i64>>(column).map(|value| value.map(Value::Integer)),
            Type::INT4 => self
                .try_get::<_, Option<i32>>(column)
                .map(|value| value.map(|value| Value::Integer(value.into()))),
            Type::TEXT => self.try_get::<_, Option<&str>>(column).map(|value| value.map(Value::Text)),
            Type::BYTEA => self.try_get::<_, Option<&[u8]>>(column).map(|value| value.map(Value::Bytes)),
            _ => return Err(unusable(&format!("a value of type {ty}"))),
        };
        value.map(|value| value.unwrap_or(Value::Null)).map_err(|error| unusable(&error.to_string()))
    }

    fn name(&self, column: usize) -> &str {
        self.columns().get(column).map_or("?", tokio_postgres::Column::name)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    /// By the classes of `PostgreSQL` 15, appendix A.
    fn from(error: tokio_postgres::Error) -> Self {
        // The session has ended, whatever for: what it was doing may be done. A full disk, for one, may also
        // be noticed behind the record of a commit.
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        if matches!(severity, Some(Severity::Fatal | Severity::Panic)) {
            return Self::Unreachable(Box::new(error));
        }
        let Some(code) = error.code() else {
            let ours = error
                .source()
                .is_some_and(|source| source.is::<WrongType>() || source.is::<std::num::TryFromIntError>());
            return if ours { Self::Sql(Box::new(error)) } else { Self::Unreachable(Box::new(error)) };
        };
        match code {
            &SqlState::DISK_FULL => Self::Full(Box::new(error)),
            &SqlState::IO_ERROR => Self::Io(Box::new(error)),
            &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => {
                Self::Conflict(Box::new(error))
            }
            // Neither done nor undone, as far as is known.
            &SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Self::Unreachable(Box::new(error)),
            &SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly(Box::new(error)),
            &SqlState::LOCK_NOT_AVAILABLE => Self::Busy(Box::new(error)),
            &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => Self::Corrupt(error.to_string()),
            // Connections (08), roles and passwords (28), databases (3D), resources (53), operators (57).
            code if ["08", "28", "3D", "53", "57"].iter().any(|class| code.code().starts_with(class)) => {
                Self::Unreachable(Box::new(error))
            }
            _ => Self::Sql(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests;
