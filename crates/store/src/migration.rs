//! Numbered migrations. One that was released never changes; a later one corrects it.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// "Mdt1": tells our files from other `SQLite` databases (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x4d64_7431;

/// All migrations in order; the first is number 1.
pub(crate) const MIGRATIONS: &[&str] = &[include_str!("../migrations/sqlite/0001_initial.sql")];

/// Brings a database up to date. Refuses what a newer program or another program wrote.
pub(crate) fn run(conn: &mut Connection) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = found == 0 && application == 0 && tables == 0;
    if !empty && application != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (number, sql) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", number)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
