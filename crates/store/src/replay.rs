//! Assertions that were seen: none is accepted twice.

use std::borrow::Cow;

use mandate_core::Timestamp;
use mandate_core::digest::sha256_of_list;

use crate::error::StoreError;
use crate::tx::Tx;
use crate::value::values;

/// The most bytes of a client and a `jti` that are stored as they are. PostgreSQL indexes 2,704 bytes at most, and
/// both may be longer together.
const LONGEST: usize = 512;

/// Under what an assertion is remembered: client and `jti`, or their digest. No client has an id with a tab in it.
fn key<'t>(client: &'t str, jti: &'t str) -> (&'t str, Cow<'t, str>) {
    if client.len() + jti.len() <= LONGEST {
        return (client, jti.into());
    }
    let digest = sha256_of_list([client.as_bytes(), jti.as_bytes()]);
    ("long\t", base16ct::lower::encode_string(&digest).into())
}

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
    let (client, jti) = key(client, jti);
    let changed = tx.execute(
        "INSERT INTO replay (client, jti, exp) VALUES ($1, $2, $3)
         ON CONFLICT (client, jti) DO UPDATE SET exp = excluded.exp WHERE replay.exp < $4",
        values![client, &*jti, exp, now],
    )?;
    Ok(changed == 1)
}

/// Whether an assertion is remembered that has not expired.
pub fn is_remembered(tx: &Tx<'_>, client: &str, jti: &str, now: Timestamp) -> Result<bool, StoreError> {
    let (client, jti) = key(client, jti);
    let sql = "SELECT 1 FROM replay WHERE client = $1 AND jti = $2 AND exp >= $3";
    let found = tx.first(sql, values![client, &*jti, now], |row| row.get::<u64>(0))?;
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
