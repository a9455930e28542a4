//! The audit log's own connection: one transaction for each batch of records.

use std::fs::File;
use std::sync::Arc;

use rusqlite::Connection;

use crate::driver::LogSession;
use crate::error::StoreError;
use crate::search_follower::Signal;
use crate::sqlite::gate::{Gate, Turn};
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
}

impl LogSession for LogConnection {
    fn statements(&self) -> &dyn Statements {
        &self.conn
    }

    fn begin_reading(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN DEFERRED")
    }

    /// Waits for its turn at the gate.
    fn begin(&mut self) -> Result<(), StoreError> {
        let turn = self.gate.enter()?;
        self.conn.busy_timeout(turn.patience())?;
        let begun = self.run("BEGIN IMMEDIATE");
        turn.begun(&begun);
        begun?;
        self.turn = Some(turn);
        Ok(())
    }

    /// After some errors `SQLite` has rolled everything back by itself.
    fn is_open(&self) -> bool {
        !self.conn.is_autocommit()
    }

    fn mark(&self) -> Result<(), StoreError> {
        self.run("SAVEPOINT entry")
    }

    fn keep(&self) -> Result<(), StoreError> {
        self.run("RELEASE entry")
    }

    fn undo(&self) -> Result<(), StoreError> {
        self.run("ROLLBACK TO entry")?;
        self.run("RELEASE entry")
    }

    fn commit(&mut self, records: u64) -> Result<(), StoreError> {
        self.run("COMMIT")?;
        self.turn = None;
        self.signal.written(records);
        Ok(())
    }

    fn roll_back(&mut self) {
        if self.is_open()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "roll-back failed");
        }
        self.turn = None;
    }

    #[cfg(test)]
    fn sqlite(&self) -> Option<&Connection> {
        Some(&self.conn)
    }
}

#[cfg(test)]
mod tests;
