//! What the store asks of a database. `SQLite` and `PostgreSQL` each have one implementation; the
//! repositories are above both.

use std::fmt;

use crate::error::StoreError;
use crate::seal::Sealer;
use crate::tx::{Statements, Tx};
use crate::write_trouble::WriteTrouble;

/// What happens in a transaction. It may run twice.
pub(crate) type Work<'w> = dyn FnMut(&Tx<'_>) -> Result<(), StoreError> + 'w;

/// A database. Everything blocks.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    /// Reads from one consistent snapshot, beside any writer.
    fn read(&self, work: &mut Work<'_>) -> Result<(), StoreError>;

    /// As [`Driver::read`], with the search index.
    fn search(&self, work: &mut Work<'_>) -> Result<(), StoreError>;

    /// Writes: durable on return, all or nothing, as if no other transaction ran at the same time.
    fn transact(&self, work: &mut Work<'_>) -> Result<(), StoreError>;

    /// Notes that this process uses the database from now on. Another one that has lost its lock on it for a
    /// moment ends then, and goes on otherwise.
    fn claim(&self) -> Result<(), StoreError>;

    /// Whether this process may still go on with the database. An error other than
    /// [`StoreError::Superseded`] says nothing about that.
    fn still_ours(&self) -> Result<(), StoreError>;

    /// Waits until every change of the registry has ended whose answer this process did not get. A read after
    /// that shows whether the change was made.
    fn settled(&self) -> Result<(), StoreError>;

    /// Why nothing can be written now, as far as the last writer noticed. Neither blocks nor waits for the
    /// database.
    fn write_trouble(&self) -> Option<WriteTrouble>;

    /// The transactions of the audit log's sequencer.
    fn log_session(&self) -> Result<Box<dyn LogSession>, StoreError>;

    /// For reading the whole log.
    fn log_reader(&self) -> Result<Box<dyn LogReader + '_>, StoreError>;

    fn sealer(&self) -> &Sealer;
}

/// The transactions in which the audit log is written: one for each batch of records.
pub(crate) trait LogSession: Send {
    /// The statements of the open transaction.
    fn statements(&self) -> &dyn Statements;

    /// Opens a transaction that reads.
    fn begin_reading(&mut self) -> Result<(), StoreError>;

    /// Opens a transaction that writes.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Whether a transaction is open that can go back to its mark. After some errors a database has rolled
    /// everything back.
    fn is_open(&self) -> bool;

    /// Marks the place to which [`LogSession::undo`] goes back.
    fn mark(&self) -> Result<(), StoreError>;

    /// Keeps what was written since the mark.
    fn keep(&self) -> Result<(), StoreError>;

    /// Undoes what was written since the mark.
    fn undo(&self) -> Result<(), StoreError>;

    /// Makes the transaction durable, with the `records` records in it.
    fn commit(&mut self, records: u64) -> Result<(), StoreError>;

    /// Drops the open transaction, if there is one.
    fn roll_back(&mut self);

    /// The connection, for tests of what only `SQLite` can do.
    #[cfg(test)]
    fn sqlite(&self) -> Option<&rusqlite::Connection> {
        None
    }
}

/// Reads the log in many short transactions.
pub(crate) trait LogReader {
    /// Calls `work` once, with one consistent snapshot. The read must be short.
    fn snapshot(&mut self, work: &mut dyn FnMut(&Tx<'_>)) -> Result<(), StoreError>;

    /// Reports that the search index is wrong. It is built again.
    fn search_is_wrong(&mut self);
}

impl dyn LogReader + '_ {
    /// Reads from one consistent snapshot. The read must be short.
    pub(crate) fn read<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (mut work, mut result) = (Some(work), None);
        self.snapshot(&mut |tx| result = work.take().map(|work| work(tx)))?;
        result.unwrap_or(Err(StoreError::Ending.into()))
    }
}
