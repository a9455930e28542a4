//! The audit log's transactions.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use mandate_audit::{Backend, Leaf, Loaded, Staged, StagedBy};
use mandate_core::Timestamp;
use rusqlite::Connection;

use crate::effect::{Effect, EffectRefusal};
use crate::error::StoreError;
use crate::records;
use crate::seal::Sealer;
use crate::sqlite::gate::{Gate, Turn};
use crate::sqlite::search::Signal;
use crate::tx::Tx;

const EPOCH: Timestamp = Timestamp::from_millis(0);

/// The database as the audit log's sequencer sees it: a connection of its own, one transaction per batch.
pub struct AuditBackend {
    conn: Connection,
    sealer: Sealer,
    gate: Arc<Gate>,
    turn: Option<Turn>,
    /// The size of the log with what is staged.
    size: u64,
    /// The latest time of a record that is staged, if it is later than what is durable.
    newest: Timestamp,
    /// The latest time of a durable record.
    newest_durable: Timestamp,
    signal: Arc<Signal>,
    _lock: Arc<File>,
}

impl fmt::Debug for AuditBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditBackend").field("open", &self.turn.is_some()).finish_non_exhaustive()
    }
}

impl AuditBackend {
    pub(crate) fn new(conn: Connection, sealer: Sealer, gate: Arc<Gate>, signal: Arc<Signal>, lock: Arc<File>) -> Self {
        Self { conn, sealer, gate, turn: None, size: 0, newest: EPOCH, newest_durable: EPOCH, signal, _lock: lock }
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn keep(&self, leaf: Leaf<'_>, effects: &[Effect]) -> Result<(), StoreError> {
        let tx = Tx::new(&self.conn, &self.sealer);
        // Effects first: what refuses most often costs least.
        effects.iter().try_for_each(|effect| effect.apply(&tx))?;
        records::insert(&tx, leaf)
    }
}

impl Backend for AuditBackend {
    type Effect = Effect;
    type Error = StoreError;

    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.run("BEGIN DEFERRED")?;
        let tx = Tx::new(&self.conn, &self.sealer);
        let loaded = records::load(&tx).and_then(|loaded| Ok((loaded, records::newest(&tx)?)));
        self.run("ROLLBACK")?;
        let (loaded, newest) = loaded?;
        (self.newest, self.newest_durable) = (newest, newest);
        Ok(loaded)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let turn = self.gate.enter()?;
        self.conn.busy_timeout(turn.patience())?;
        let begun = self.run("BEGIN IMMEDIATE");
        turn.begun(&begun);
        begun?;
        self.turn = Some(turn);
        Ok(())
    }

    fn stage(&mut self, leaf: Leaf<'_>, effects: &[Effect]) -> StagedBy<Self> {
        // Without effects an entry is one statement, which SQLite undoes by itself when it fails.
        let several = !effects.is_empty();
        if several {
            self.run("SAVEPOINT entry")?;
        }
        let Err(error) = self.keep(leaf, effects) else {
            if several {
                self.run("RELEASE entry")?;
            }
            self.size = leaf.index + 1;
            self.newest = self.newest.max(leaf.record.time);
            return Ok(Staged::Kept);
        };
        // After some errors SQLite has rolled everything back: what came next would be written by itself, unsigned.
        if error.is_environment() || self.conn.is_autocommit() {
            return Err(error);
        }
        if several {
            self.run("ROLLBACK TO entry")?;
            self.run("RELEASE entry")?;
        }
        if let Some(refusal) = error.refusal() {
            return Ok(Staged::Refused(refusal));
        }
        // One entry's fault must not refuse its neighbours.
        tracing::error!(record = %leaf.record.id, %error, cause = ?std::error::Error::source(&error), "an effect failed");
        Ok(Staged::Refused(EffectRefusal::Internal))
    }

    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), StoreError> {
        let tx = Tx::new(&self.conn, &self.sealer);
        if self.newest > self.newest_durable {
            records::put_newest(&tx, self.newest)?;
        }
        records::put_checkpoint(&tx, checkpoint)?;
        self.run("COMMIT")?;
        self.newest_durable = self.newest_durable.max(self.newest);
        self.turn = None;
        self.signal.written(self.size);
        Ok(())
    }

    fn roll_back(&mut self) {
        // After some errors SQLite has rolled back by itself already.
        if !self.conn.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "roll-back failed");
        }
        self.turn = None;
    }
}

#[cfg(test)]
mod tests;
