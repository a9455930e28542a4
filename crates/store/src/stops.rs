//! Which stops are in the log: each is written once, however often it is tried.

use mandate_core::RecordId;

use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::tx::Tx;
use crate::value::values;

/// Notes that the stop with this record is in the log. The caller does this in the record's own transaction.
pub(crate) fn insert(tx: &Tx<'_>, id: &RecordId) -> Result<(), StoreError> {
    let inserted =
        tx.execute("INSERT INTO stops (id) VALUES ($1) ON CONFLICT DO NOTHING", values![id.as_str()])?;
    if inserted == 1 { Ok(()) } else { Err(EffectRefusal::StopRecorded.into()) }
}

/// Whether the stop with this record is in the log.
pub fn is_recorded(tx: &Tx<'_>, id: &RecordId) -> Result<bool, StoreError> {
    tx.first("SELECT 1 FROM stops WHERE id = $1", values![id.as_str()], |_| Ok(()))
        .map(|found| found.is_some())
}
