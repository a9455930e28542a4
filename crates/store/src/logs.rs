//! The audit logs of a database. Each has an origin, the name in its checkpoints, and one writer, which has
//! the key for it.

use std::collections::BTreeMap;

use mandate_audit::{CheckpointVerifier, LeafKeys, Tampered};
use mandate_core::Timestamp;

use crate::error::{LogError, StoreError};
use crate::keys;
use crate::log_number::LogNumber;
use crate::meta;
use crate::tx::Tx;
use crate::value::values;

/// The name in `meta` under which older versions kept the latest time of a record.
const NEWEST: &str = "newest-record";

/// Every log with its origin, in the order of their numbers.
pub(crate) fn all(tx: &Tx<'_>) -> Result<Vec<(LogNumber, String)>, StoreError> {
    tx.all("SELECT log, origin FROM logs ORDER BY log", &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The number of the log with that origin.
pub(crate) fn number(tx: &Tx<'_>, origin: &str) -> Result<Option<LogNumber>, StoreError> {
    tx.first("SELECT log FROM logs WHERE origin = $1", values![origin], |row| row.get(0))
}

/// Every log that has a record, whether or not it is one of [`all`].
pub(crate) fn with_records(tx: &Tx<'_>) -> Result<Vec<LogNumber>, StoreError> {
    let mut found = Vec::new();
    let mut last: Option<LogNumber> = None;
    loop {
        // One look at the index for each log, however many records it has.
        let next = match last {
            None => tx.first("SELECT min(log) FROM records", &[], |row| row.get(0))?,
            Some(last) => {
                tx.first("SELECT min(log) FROM records WHERE log > $1", values![last], |row| row.get(0))?
            }
        };
        let Some(next) = next.flatten() else { return Ok(found) };
        found.push(next);
        last = Some(next);
    }
}

/// The latest checkpoint of a log. None if it was removed.
pub(crate) fn note(tx: &Tx<'_>, log: LogNumber) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx.first("SELECT note FROM logs WHERE log = $1", values![log], |row| row.get(0))?.flatten())
}

/// The latest checkpoint of the log with that origin, a signed note. None if there is no such log, or if its
/// checkpoint was removed.
pub fn checkpoint(tx: &Tx<'_>, origin: &str) -> Result<Option<Vec<u8>>, StoreError> {
    number(tx, origin)?.map_or(Ok(None), |log| note(tx, log))
}

/// Replaces the checkpoint that the writer read or wrote last. If there is another one, another writer was
/// there. `newest` is the latest time of a record.
pub(crate) fn swap_checkpoint(
    tx: &Tx<'_>,
    log: LogNumber,
    last: &[u8],
    next: &[u8],
    newest: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE logs SET note = $1, newest = $2 WHERE log = $3 AND note = $4";
    let swapped = tx.execute(sql, values![next, newest, log, last])?;
    if swapped == 1 { Ok(()) } else { Err(StoreError::OtherWriter) }
}

/// The latest time of a record in any log: a clock must not show an earlier one. The epoch if there is no
/// record.
pub fn newest(tx: &Tx<'_>) -> Result<Timestamp, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("the time of the newest record: {what}"));
    let before = meta::get(tx, NEWEST)?
        .map(|text| text.parse::<Timestamp>().map_err(|_| corrupt("not a time")))
        .transpose()?;
    let mut newest = before.unwrap_or(Timestamp::from_millis(0));
    let logs: Vec<(LogNumber, Option<Timestamp>)> =
        tx.all("SELECT log, newest FROM logs", &[], |row| Ok::<_, StoreError>((row.get(0)?, row.get(1)?)))?;
    for (log, own) in logs {
        if let Some(own) = own {
            newest = newest.max(own);
        } else if before.is_none() {
            // A log of an older version: every record is looked at, once.
            tx.each("SELECT leaf FROM records WHERE log = $1", values![log], |row| {
                newest = newest.max(LeafKeys::of(row.get(0)?).map_err(|e| corrupt(&e.to_string()))?.time);
                Ok::<_, StoreError>(true)
            })?;
        }
    }
    Ok(newest)
}

/// Adds a log without records with its first checkpoint, in the transaction that stores the log's key.
///
/// If there is already a log with that origin, or one whose key is lost, everything is left as it is, and
/// [`mandate_sequencer::Log::start`] refuses it.
pub fn add_log(tx: &Tx<'_>, origin: &str, note: &[u8]) -> Result<(), StoreError> {
    let listed = all(tx)?;
    let known = keys::public(tx, keys::CHECKPOINT)?;
    let has_key = |origin: &str| known.iter().any(|(kid, _)| kid == origin);
    let is_listed = |log: &LogNumber| listed.iter().any(|(number, _)| number == log);
    if listed.iter().any(|(_, other)| other == origin || !has_key(other))
        || !with_records(tx)?.iter().all(is_listed)
    {
        return Ok(());
    }
    let next = LogNumber(listed.last().map_or(1, |(last, _)| last.0.saturating_add(1)));
    let sql = "INSERT INTO logs (log, origin, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    // Another server may have taken the number meanwhile.
    if tx.execute(sql, values![next, origin, note])? == 1 { Ok(()) } else { Err(StoreError::OtherWriter) }
}

/// The verifier keys that the database has, by origin.
pub(crate) fn verifiers(tx: &Tx<'_>) -> Result<BTreeMap<String, CheckpointVerifier>, LogError> {
    let mut verifiers = BTreeMap::new();
    for (kid, public) in keys::public(tx, keys::CHECKPOINT)? {
        let corrupt = || StoreError::Corrupt(format!("the key of the audit log {kid:?}"));
        let verifier = CheckpointVerifier::new(std::str::from_utf8(&public).map_err(|_| corrupt())?)
            .map_err(Tampered::from)?;
        if verifier.origin() != kid {
            return Err(corrupt().into());
        }
        verifiers.insert(kid, verifier);
    }
    Ok(verifiers)
}

/// The verifier key of the log with that origin: `own` if it is that one's, or else the one in the database.
pub fn verifier(
    tx: &Tx<'_>,
    own: &CheckpointVerifier,
    origin: &str,
) -> Result<Option<CheckpointVerifier>, LogError> {
    if own.origin() == origin { Ok(Some(own.clone())) } else { Ok(verifiers(tx)?.remove(origin)) }
}
