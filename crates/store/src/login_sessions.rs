//! The sessions of people at identity providers: which codes came from a session, so that the provider can
//! end what came from it.

use mandate_core::digest::sha256_of_list;
use mandate_core::{Issuer, Timestamp, TokenId};

use crate::codes::{self, CodeHash};
use crate::error::StoreError;
use crate::refresh;
use crate::tx::{Tx, parsed};
use crate::value::values;

/// A digest of a provider and of its name for a session.
pub type SessionHash = [u8; 32];

/// The digest of the session `sid` at `provider`.
pub fn session_hash(provider: &Issuer, sid: &str) -> SessionHash {
    sha256_of_list([b"mandate login session".as_slice(), provider.as_str().as_bytes(), sid.as_bytes()])
}

/// Remembers until `forget` that a code came from a session.
pub fn insert(
    tx: &Tx<'_>,
    session: &SessionHash,
    code: &CodeHash,
    forget: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO login_sessions (session, code, forget) VALUES ($1, $2, $3)",
        values![session, code, forget],
    )?;
    Ok(())
}

/// Ends the codes of a session: those that were not redeemed can no longer be. Returns the first tokens of those
/// that were, which have to be cut: a code is remembered for a while, and a login with refresh tokens as long as it
/// goes on.
pub fn end(tx: &Tx<'_>, session: &SessionHash) -> Result<Vec<TokenId>, StoreError> {
    codes::expire_of(tx, session)?;
    let sql = "SELECT codes.jti FROM login_sessions JOIN codes ON codes.hash = login_sessions.code \
         WHERE login_sessions.session = $1 AND codes.jti IS NOT NULL ORDER BY codes.jti";
    let mut tokens: Vec<TokenId> = tx.all(sql, values![session], |row| parsed("token id", row.get(0)?))?;
    tokens.extend(refresh::of_session(tx, session)?);
    tokens.sort_unstable();
    tokens.dedup();
    Ok(tokens)
}

/// Forgets what need no longer be remembered, at most so many. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM login_sessions WHERE (session, code) IN (\
         SELECT session, code FROM login_sessions WHERE forget <= $1 ORDER BY forget LIMIT $2)",
        values![now, most],
    )
}
