//! Brings the schema of a file up to date. The file says which version it has.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;
use crate::migrations;

/// "Mdt1": distinguishes our files from other `SQLite` databases (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x4d64_7431;

/// Brings a database up to date. Refuses a database that a newer program or another program wrote.
pub(crate) fn run(conn: &mut Connection) -> Result<(), StoreError> {
    let found = if is_empty(conn)? { 0 } else { version(conn)? };
    for (number, sql) in (1u32..).zip(migrations::SQLITE).skip(found as usize) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", number)?;
        tx.commit()?;
    }
    Ok(())
}

/// Whether nothing was ever written to the database.
pub(crate) fn is_empty(conn: &Connection) -> Result<bool, StoreError> {
    let (version, application): (u32, i32) = (pragma(conn, "user_version")?, pragma(conn, "application_id")?);
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(version == 0 && application == 0 && tables == 0)
}

/// The version of its schema. Refuses a database that a newer program or another program wrote.
pub(crate) fn version(conn: &Connection) -> Result<u32, StoreError> {
    let known = u32::try_from(migrations::SQLITE.len()).unwrap_or(u32::MAX);
    if pragma::<i32>(conn, "application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    match pragma(conn, "user_version")? {
        found if found > known => Err(StoreError::Newer { found, known }),
        found => Ok(found),
    }
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> Result<T, StoreError> {
    Ok(conn.pragma_query_value(None, name, |row| row.get(0))?)
}

#[cfg(test)]
mod tests;
