//! Assertions that were seen: none is accepted twice.

use mandate_core::Timestamp;

use crate::error::StoreError;
use crate::tx::Tx;
use crate::value::values;

/// Remembers an assertion of a client until it expires. False if it was seen before.
///
/// An assertion that was forgotten after its expiry is remembered again; the caller refuses it because it has
/// expired.
pub fn remember(
    tx: &Tx<'_>,
    client: &str,
    jti: &str,
    exp: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "INSERT INTO replay (client, jti, exp) VALUES ($1, $2, $3)
         ON CONFLICT (client, jti) DO UPDATE SET exp = excluded.exp WHERE replay.exp < $4",
        values![client, jti, exp, now],
    )?;
    Ok(changed == 1)
}

/// Whether an assertion is remembered that has not expired.
pub fn is_remembered(tx: &Tx<'_>, client: &str, jti: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM replay WHERE client = $1 AND jti = $2 AND exp >= $3";
    let found = tx.first(sql, values![client, jti, now], |row| row.get::<u64>(0))?;
    Ok(found.is_some())
}

/// Forgets assertions that have expired, at most so many. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM replay WHERE (client, jti) IN (\
         SELECT client, jti FROM replay WHERE exp < $1 ORDER BY exp LIMIT $2)",
        values![now, most],
    )
}
