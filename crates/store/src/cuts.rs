//! Revocations, numbered for the feed.

use mandate_core::{Cut, Timestamp};

use crate::error::StoreError;
use crate::tx::Tx;
use crate::value::values;

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
    let sql = "INSERT INTO cuts (forget, body) VALUES ($1, $2) RETURNING seq";
    tx.first(sql, values![cut.forget, &body], |row| row.get(0))?.ok_or_else(|| StoreError::Corrupt("a cut got no number".to_owned()))
}

/// The cuts that have not been forgotten, in the order in which they were made. No clock is read: with a clock that is wrong
/// at a start, revoked tokens would become valid again.
pub fn load(tx: &Tx<'_>) -> Result<Vec<NumberedCut>, StoreError> {
    tx.all("SELECT seq, body FROM cuts ORDER BY seq", &[], |row| {
        let seq = row.get(0)?;
        let cut = serde_json::from_str(row.get(1)?).map_err(|e| StoreError::Corrupt(format!("cut {seq}: {e}")))?;
        Ok(NumberedCut { seq, cut })
    })
}

/// Forgets cuts that can no longer match a valid token. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    tx.execute("DELETE FROM cuts WHERE forget <= $1", values![now])
}
