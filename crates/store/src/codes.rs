//! Authorization codes: kept by hash, sealed, usable once.

use mandate_core::{Secret, Timestamp, TokenId};

use crate::error::StoreError;
use crate::seal::SealedPlace;
use crate::tx::{Tx, parsed};
use crate::value::values;

/// SHA-256 of a code. The code itself is never stored.
pub type CodeHash = [u8; 32];

/// The result of presenting a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// Its first use; it is used up now.
    First {
        /// What was stored with the code.
        payload: Secret,
    },
    /// A second use: an attack, or a client that repeats its request. The tokens from the first use should be
    /// revoked (RFC 6749 §4.1.2).
    Again {
        /// What was stored with the code.
        payload: Secret,
        /// The token of the first use.
        token: Option<TokenId>,
    },
    /// It was never used, and has expired.
    Expired,
    /// There is no such code.
    Unknown,
}

fn place<'a>(row: &'a [&'a [u8]]) -> SealedPlace<'a> {
    SealedPlace { table: "codes", row, column: "sealed" }
}

/// Adds a code that may be used before `expires`, and whose second use is noticed until `forget`.
pub fn insert(
    tx: &Tx<'_>,
    hash: &CodeHash,
    payload: &[u8],
    expires: Timestamp,
    forget: Timestamp,
) -> Result<(), StoreError> {
    let sealed = tx.seal(place(&[hash]), payload)?;
    tx.execute(
        "INSERT INTO codes (hash, expires, forget, sealed) VALUES ($1, $2, $3, $4)",
        values![hash, expires, forget.max(expires), &sealed],
    )?;
    Ok(())
}

/// What the result of presenting the code now would be. This changes nothing; only [`consume`] decides.
pub fn peek(tx: &Tx<'_>, hash: &CodeHash, now: Timestamp) -> Result<Redemption, StoreError> {
    let sql = "SELECT expires, used, jti, sealed FROM codes WHERE hash = $1";
    let found = tx.first(sql, values![hash], |row| {
        let payload = tx.open(place(&[hash]), row.get(3)?)?;
        if row.get::<Option<Timestamp>>(1)?.is_some() {
            let token = row.get::<Option<&str>>(2)?.map(|jti| parsed("token id", jti)).transpose()?;
            return Ok(Redemption::Again { payload, token });
        }
        // A code that was used is reported above even after its expiry. Here it was never used.
        Ok(if now >= row.get(0)? { Redemption::Expired } else { Redemption::First { payload } })
    })?;
    Ok(found.unwrap_or(Redemption::Unknown))
}

/// Presents a code: uses it up if this is its first use and it has not expired. `token` is the token that
/// will be issued for it.
pub fn consume(
    tx: &Tx<'_>,
    hash: &CodeHash,
    token: &TokenId,
    now: Timestamp,
) -> Result<Redemption, StoreError> {
    let redemption = peek(tx, hash, now)?;
    if matches!(redemption, Redemption::First { .. }) {
        let sql = "UPDATE codes SET used = $1, jti = $2 WHERE hash = $3 AND used IS NULL";
        tx.execute(sql, values![now, token.as_str(), hash])?;
    }
    Ok(redemption)
}

/// Expires the codes of a session at an identity provider that were not used.
pub(crate) fn expire_of(tx: &Tx<'_>, session: &[u8; 32]) -> Result<(), StoreError> {
    let sql = "UPDATE codes SET expires = 0 WHERE used IS NULL \
         AND hash IN (SELECT code FROM login_sessions WHERE session = $1)";
    tx.execute(sql, values![session])?;
    Ok(())
}

/// Forgets codes whose second use need no longer be noticed, at most so many. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM codes WHERE hash IN (\
         SELECT hash FROM codes WHERE forget <= $1 ORDER BY forget LIMIT $2)",
        values![now, most],
    )
}
