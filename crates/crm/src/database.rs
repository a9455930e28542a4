//! The database: one `SQLite` file, one connection.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::caller::Caller;
use crate::error::RequestError;

#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<Connection>>);

impl Database {
    /// Opens the file; a new one gets its tables and the demo's content, or nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => {
                transaction.execute_batch(include_str!("schema.sql"))?;
                transaction.execute_batch(include_str!("seed.sql"))?;
            }
            // A person is a name and the issuer that gives it; the first version stored only the name.
            1 => transaction.execute_batch("ALTER TABLE call ADD COLUMN sub_iss TEXT")?,
            _ => {}
        }
        transaction.pragma_update(None, "user_version", version.max(2))?;
        transaction.commit()?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs `work` in one transaction, off the async threads. An error rolls everything back.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, RequestError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, RequestError> + Send + 'static,
    {
        let connection = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = work(&transaction)?;
            transaction.commit()?;
            Ok(out)
        });
        task.await.map_err(|_| RequestError::Interrupted)?
    }
}

/// Records who causes the change that the same transaction makes; returns the id that the changed row refers
/// to.
pub(crate) fn cause(transaction: &Transaction<'_>, caller: &Caller) -> Result<i64, rusqlite::Error> {
    let (sub, sub_iss, act, jti) = match caller.verified() {
        Some(verified) => (
            Some(verified.subject().sub.as_str()),
            Some(verified.subject().iss.as_str()),
            verified.actor().map(|actor| actor.sub.as_str()),
            Some(verified.jti().as_str()),
        ),
        None => (None, None, None, None),
    };
    let label = caller.label();
    transaction.execute(
        "INSERT INTO cause (sub, sub_iss, act, jti, label) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![sub, sub_iss, act, jti, label],
    )?;
    Ok(transaction.last_insert_rowid())
}
