//! Finding records without reading all of them.

use mandate_audit::Query;
use mandate_core::RecordId;

use crate::error::{LogError, StoreError};
use crate::log_number::LogNumber;
use crate::tx::Tx;
use crate::value::values;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WantedRecords<'q> {
    /// The record with this id.
    Record(&'q RecordId),
    /// The records that match a query.
    Query(&'q Query),
}

/// Is given the index and the bytes of a record, and says whether it wants more.
pub(crate) type Each<'e> = dyn FnMut(u64, &[u8]) -> Result<bool, StoreError> + 'e;

/// A faster way to the records that are wanted. What it knows is derived from the log and is never evidence:
/// it may name records that do not match, so each record is compared itself.
pub(crate) trait RecordSearch {
    /// How many records of a log, from the first, it knows. It reads the others.
    fn reach(&self, tx: &Tx<'_>, log: LogNumber) -> Result<u64, StoreError>;

    /// Calls `each` with every record of a log before `end` that may be wanted, the newest first, until it
    /// returns false.
    fn candidates(
        &self,
        tx: &Tx<'_>,
        log: LogNumber,
        wanted: WantedRecords<'_>,
        end: u64,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError>;

    /// Begins to compare what it knows of a log with that log.
    fn comparison(&self, tx: &Tx<'_>, log: LogNumber) -> Result<Box<dyn Comparison>, StoreError>;
}

/// Compares what a search knows with the records of one log. A search that differs from them would hide a
/// record from queries.
pub(crate) trait Comparison {
    /// Takes the next record of the log.
    fn record(&mut self, tx: &Tx<'_>, index: u64, leaf: &[u8]) -> Result<(), LogError>;

    /// After the last of `size` records.
    fn finish(&self, tx: &Tx<'_>, size: u64) -> Result<(), LogError>;
}

/// How many records of a log, from the first, are found without reading all of them.
pub(crate) fn reach(tx: &Tx<'_>, log: LogNumber) -> Result<u64, StoreError> {
    tx.search().map_or(Ok(0), |search| search.reach(tx, log))
}

/// An error if the search index of the transaction cannot be used.
pub(crate) fn probe(tx: &Tx<'_>) -> Result<(), StoreError> {
    // Any log will do: the index is one for all.
    reach(tx, LogNumber(1)).map(drop)
}

/// Calls `each` with every record of a log from `begin` on and before `end`, the newest first, until it
/// returns false.
pub(crate) fn every(
    tx: &Tx<'_>,
    log: LogNumber,
    begin: u64,
    end: u64,
    each: &mut Each<'_>,
) -> Result<(), StoreError> {
    let sql = "SELECT idx, leaf FROM records WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx DESC";
    tx.each(sql, values![log, begin, end], |row| each(row.get(0)?, row.get(1)?))
}

/// As [`RecordSearch::candidates`], with the search index if the transaction has one, otherwise with every
/// record.
pub(crate) fn candidates(
    tx: &Tx<'_>,
    log: LogNumber,
    wanted: WantedRecords<'_>,
    end: u64,
    each: &mut Each<'_>,
) -> Result<(), StoreError> {
    match tx.search() {
        Some(search) => search.candidates(tx, log, wanted, end, each),
        None => every(tx, log, 0, end, each),
    }
}
