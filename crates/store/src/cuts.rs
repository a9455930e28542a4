//! Revocations.

use mandate_core::{Cut, Timestamp};

use crate::error::StoreError;
use crate::tx::Tx;
use crate::value::values;

/// Adds a cut. Its number in the table is larger than that of every earlier cut, and says only their order.
pub fn insert(tx: &Tx<'_>, cut: &Cut) -> Result<(), StoreError> {
    let body = serde_json::to_string(cut).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    tx.execute("INSERT INTO cuts (forget, body) VALUES ($1, $2)", values![cut.forget, &body]).map(drop)
}

/// The cuts that have not been forgotten, in the order in which they were made. No clock is read: with a
/// clock that is wrong at a start, revoked tokens would become valid again.
pub fn load(tx: &Tx<'_>) -> Result<Vec<Cut>, StoreError> {
    tx.all("SELECT seq, body FROM cuts ORDER BY seq", &[], |row| {
        let seq: u64 = row.get(0)?;
        serde_json::from_str(row.get(1)?).map_err(|e| StoreError::Corrupt(format!("cut {seq}: {e}")))
    })
}

/// Forgets cuts that can no longer match a valid token, at most so many. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM cuts WHERE seq IN (\
         SELECT seq FROM cuts WHERE forget <= $1 ORDER BY forget LIMIT $2)",
        values![now, most],
    )
}
