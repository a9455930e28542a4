//! Revocations, numbered for the feed.

use mandate_core::{Cut, Timestamp};
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{Tx, from_sql, time};

/// A cut and its place in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedCut {
    /// Grows with every cut, and is never given twice.
    pub seq: u64,
    /// The cut.
    pub cut: Cut,
}

/// Adds a cut and returns its number.
pub fn insert(tx: &Tx<'_>, cut: &Cut) -> Result<u64, StoreError> {
    let body = serde_json::to_string(cut).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    tx.execute("INSERT INTO cuts (forget, body) VALUES (?, ?)", params![time(cut.forget), body])?;
    Ok(tx.last_row_id())
}

/// The cuts that have not been forgotten, in the order in which they were made. No clock is read: with a clock that is wrong
/// at a start, revoked tokens would become valid again.
pub fn load(tx: &Tx<'_>) -> Result<Vec<NumberedCut>, StoreError> {
    let rows = tx.all("SELECT seq, body FROM cuts ORDER BY seq", [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    rows.into_iter()
        .map(|(seq, body)| {
            let cut = serde_json::from_str(&body).map_err(|e| StoreError::Corrupt(format!("cut {seq}: {e}")))?;
            Ok(NumberedCut { seq: from_sql(seq), cut })
        })
        .collect()
}

/// Forgets cuts that can no longer match a valid token. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    tx.execute("DELETE FROM cuts WHERE forget <= ?", [time(now)])
}
