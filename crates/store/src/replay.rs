//! Assertions that were seen: none is accepted twice.

use mandate_core::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{Tx, time};

/// What [`remember`] refuses with for an assertion that was seen before.
pub const REPLAYED: &str = "replayed";

/// Remembers an assertion of a client until it expires; [`REPLAYED`] if it was seen.
///
/// An assertion that was forgotten after its expiry is remembered again; the caller refuses it because it has expired.
pub fn remember(tx: &Tx<'_>, client: &str, jti: &str, exp: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let changed = tx.execute(
        "INSERT INTO replay (client, jti, exp) VALUES (?1, ?2, ?3)
         ON CONFLICT (client, jti) DO UPDATE SET exp = excluded.exp WHERE exp < ?4",
        params![client, jti, time(exp), time(now)],
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Refused(REPLAYED)) }
}

/// Forgets assertions that have expired. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    tx.execute("DELETE FROM replay WHERE exp < ?", [time(now)])
}
