//! The audit log's own connection: one transaction for each batch of records.

use std::fs::File;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::StoreError;
use crate::sqlite::gate::{Gate, Turn};
use crate::sqlite::search::Signal;
use crate::tx::Statements;

/// The connection on which the sequencer writes, and its turn at the gate.
pub(crate) struct LogConnection {
    conn: Connection,
    gate: Arc<Gate>,
    turn: Option<Turn>,
    signal: Arc<Signal>,
    _lock: Arc<File>,
}

impl LogConnection {
    pub(crate) fn new(conn: Connection, gate: Arc<Gate>, signal: Arc<Signal>, lock: Arc<File>) -> Self {
        Self { conn, gate, turn: None, signal, _lock: lock }
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        Statements::execute(&self.conn, sql, &[]).map(drop)
    }

    pub(crate) fn statements(&self) -> &dyn Statements {
        &self.conn
    }

    /// Opens a transaction that reads.
    pub(crate) fn begin_reading(&self) -> Result<(), StoreError> {
        self.run("BEGIN DEFERRED")
    }

    /// Opens a transaction that writes, when it has its turn.
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        let turn = self.gate.enter()?;
        self.conn.busy_timeout(turn.patience())?;
        let begun = self.run("BEGIN IMMEDIATE");
        turn.begun(&begun);
        begun?;
        self.turn = Some(turn);
        Ok(())
    }

    /// Whether a transaction is open. After some errors `SQLite` has rolled everything back by itself.
    pub(crate) fn is_open(&self) -> bool {
        !self.conn.is_autocommit()
    }

    /// Marks the place to which [`LogConnection::undo`] goes back.
    pub(crate) fn mark(&self) -> Result<(), StoreError> {
        self.run("SAVEPOINT entry")
    }

    /// Keeps what was written since the mark.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        self.run("RELEASE entry")
    }

    /// Undoes what was written since the mark.
    pub(crate) fn undo(&self) -> Result<(), StoreError> {
        self.run("ROLLBACK TO entry")?;
        self.run("RELEASE entry")
    }

    /// Makes the transaction durable. The log has `size` records then.
    pub(crate) fn commit(&mut self, size: u64) -> Result<(), StoreError> {
        self.run("COMMIT")?;
        self.turn = None;
        self.signal.written(size);
        Ok(())
    }

    /// Drops the open transaction, if there is one.
    pub(crate) fn roll_back(&mut self) {
        if self.is_open()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "roll-back failed");
        }
        self.turn = None;
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }
}

#[cfg(test)]
mod tests;
