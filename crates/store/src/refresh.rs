//! Refresh tokens: kept by hash, each usable once. The tokens of one login are a *family*, which ends as a
//! whole.
//!
//! A cut is forgotten when no access token below it can be valid any longer. A family lives longer, so every
//! cut ends the families of its target in its own transaction.

use mandate_core::{ClientId, Cut, CutTarget, Secret, Subject, Timestamp, TokenId};

use crate::codes::CodeHash;
use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::seal::SealedPlace;
use crate::tx::{Tx, parsed};
use crate::value::values;

/// SHA-256 of a refresh token. The token itself is never stored.
pub type RefreshHash = [u8; 32];

/// A login whose client may act while the person is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The id of the first access token: every later one descends from it.
    pub root: TokenId,
    /// The client that may use the refresh tokens.
    pub client: ClientId,
    /// The person who logged in.
    pub person: Subject,
    /// From this time on nothing can be refreshed.
    pub ends: Timestamp,
    /// What was granted. The store seals it and does not read it.
    pub payload: Secret,
    /// The login at the identity provider, if the provider gave a refresh token.
    pub upstream: Option<Upstream>,
}

/// The login of a family at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The key of the provider. The token is sealed for it, and opened for no other.
    pub provider: String,
    /// The refresh token that the provider gave.
    pub token: Secret,
    /// When the provider last said that the login goes on.
    pub good: Timestamp,
}

/// What would become of a refresh token that is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshState {
    /// It can be used.
    Unused,
    /// It was used before: an attack, or a client that repeats its request. Its family should end (RFC 9700
    /// §4.14.2).
    Used,
    /// Its family was ended before its time.
    Ended,
    /// It was not used in time, or its family is too old.
    Expired,
}

/// A refresh token that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRefresh {
    /// What would become of it.
    pub state: RefreshState,
    /// The id of the first access token of its family.
    pub root: TokenId,
    /// When its family ends.
    pub ends: Timestamp,
    /// Before this time it must be used.
    pub expires: Timestamp,
    /// What was granted.
    pub payload: Secret,
}

fn place<'a>(row: &'a [&'a [u8]]) -> SealedPlace<'a> {
    SealedPlace { table: "refresh_families", row, column: "sealed" }
}

fn place_of_upstream<'a>(row: &'a [&'a [u8]]) -> SealedPlace<'a> {
    SealedPlace { table: "refresh_families", row, column: "upstream" }
}

fn seal_upstream(tx: &Tx<'_>, root: &TokenId, upstream: &Upstream) -> Result<Vec<u8>, StoreError> {
    let row = [root.as_str().as_bytes(), upstream.provider.as_bytes()];
    tx.seal(place_of_upstream(&row), upstream.token.expose_secret())
}

/// Issuer and subject as one text. JSON, because another issuer's subject may have characters that no text in
/// a database has, and a cut on it must not fail.
fn named(person: &Subject) -> Result<String, StoreError> {
    serde_json::to_string(person).map_err(|e| StoreError::Corrupt(e.to_string()))
}

/// Adds a family with its first refresh token, which must be used before `expires`. It came from `code`, and from
/// the session at an identity provider from which that came.
pub(crate) fn insert(
    tx: &Tx<'_>,
    family: &Family,
    (hash, expires): (&RefreshHash, Timestamp),
    code: &CodeHash,
) -> Result<(), StoreError> {
    let Family { root, client, person, ends, payload, upstream } = family;
    let sealed = tx.seal(place(&[root.as_str().as_bytes()]), payload.expose_secret())?;
    let good = upstream.as_ref().map(|upstream| upstream.good);
    let upstream = upstream.as_ref().map(|upstream| seal_upstream(tx, root, upstream)).transpose()?;
    let (person, upstream) = (named(person)?, upstream.as_deref());
    tx.execute(
        "INSERT INTO refresh_families (root, client, person, ends, sealed, upstream, upstream_good, session) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT session FROM login_sessions WHERE code = $8))",
        values![root.as_str(), client.as_str(), &person, *ends, &sealed, upstream, good, code],
    )?;
    add(tx, root, hash, expires.min(*ends), *ends)
}

fn add(
    tx: &Tx<'_>,
    root: &TokenId,
    hash: &RefreshHash,
    expires: Timestamp,
    forget: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO refresh_tokens (hash, root, expires, forget) VALUES ($1, $2, $3, $4)",
        values![hash, root.as_str(), expires, forget],
    )?;
    Ok(())
}

/// What would become of a refresh token that is presented now; `None` if it is unknown. This changes nothing.
pub fn peek(tx: &Tx<'_>, hash: &RefreshHash, now: Timestamp) -> Result<Option<FoundRefresh>, StoreError> {
    let sql = "SELECT t.root, t.expires, t.used, f.ends, f.ended, f.sealed \
               FROM refresh_tokens t JOIN refresh_families f ON f.root = t.root WHERE t.hash = $1";
    tx.first(sql, values![hash], |row| {
        let root: &str = row.get(0)?;
        let (expires, ends): (Timestamp, Timestamp) = (row.get(1)?, row.get(3)?);
        let (used, ended): (Option<Timestamp>, Option<Timestamp>) = (row.get(2)?, row.get(4)?);
        let state = if ended.is_some() {
            RefreshState::Ended
        } else if used.is_some() {
            RefreshState::Used
        } else if now >= expires.min(ends) {
            RefreshState::Expired
        } else {
            RefreshState::Unused
        };
        let payload = tx.open(place(&[root.as_bytes()]), row.get(5)?)?;
        Ok(FoundRefresh { state, root: parsed("token id", root)?, ends, expires, payload })
    })
}

/// The login of a family at the provider with this key; `None` if it gave no refresh token, or the family ended.
pub fn upstream(tx: &Tx<'_>, root: &TokenId, provider: &str) -> Result<Option<Upstream>, StoreError> {
    let sql = "SELECT upstream, upstream_good FROM refresh_families \
               WHERE root = $1 AND ended IS NULL AND upstream IS NOT NULL";
    tx.first(sql, values![root.as_str()], |row| {
        let place = [root.as_str().as_bytes(), provider.as_bytes()];
        let token = tx.open(place_of_upstream(&place), row.get(0)?)?;
        Ok(Upstream { provider: provider.to_owned(), token, good: row.get(1)? })
    })
}

/// Keeps what a provider gave for the refresh token of a family, in place of that. One that ended keeps nothing.
pub fn keep_upstream(tx: &Tx<'_>, root: &TokenId, upstream: &Upstream) -> Result<(), StoreError> {
    let sealed = seal_upstream(tx, root, upstream)?;
    tx.execute(
        "UPDATE refresh_families SET upstream = $1, upstream_good = $2 WHERE root = $3 AND ended IS NULL",
        values![&sealed, upstream.good, root.as_str()],
    )?;
    Ok(())
}

/// Uses a refresh token up; `next` takes its place and must be used before `expires`.
pub(crate) fn rotate(
    tx: &Tx<'_>,
    hash: &RefreshHash,
    next: &RefreshHash,
    expires: Timestamp,
    at: Timestamp,
) -> Result<(), StoreError> {
    let found = peek(tx, hash, at)?.ok_or(EffectRefusal::RefreshUnknown)?;
    match found.state {
        RefreshState::Unused => {}
        RefreshState::Used => return Err(EffectRefusal::RefreshUsed.into()),
        RefreshState::Ended => return Err(EffectRefusal::RefreshEnded.into()),
        RefreshState::Expired => return Err(EffectRefusal::RefreshExpired.into()),
    }
    let sql = "UPDATE refresh_tokens SET used = $1 WHERE hash = $2 AND used IS NULL";
    tx.execute(sql, values![at, hash])?;
    add(tx, &found.root, next, expires.min(found.ends), found.ends)
}

/// Ends the families of what was cut. No time is compared: a stop that is recorded late may end a family that
/// began after it, and none that began before it stays.
pub(crate) fn end(tx: &Tx<'_>, cut: &Cut) -> Result<(), StoreError> {
    match &cut.target {
        CutTarget::Token(root) => tx.execute(
            "UPDATE refresh_families SET ended = $1, upstream = NULL WHERE root = $2 AND ended IS NULL",
            values![cut.at, root.as_str()],
        )?,
        CutTarget::Person(person) => tx.execute(
            "UPDATE refresh_families SET ended = $1, upstream = NULL WHERE person = $2 AND ended IS NULL",
            values![cut.at, &named(person)?],
        )?,
        CutTarget::Client(client) => tx.execute(
            "UPDATE refresh_families SET ended = $1, upstream = NULL WHERE client = $2 AND ended IS NULL",
            values![cut.at, client.as_str()],
        )?,
        // A login depends on neither, and groups are asked for at each refresh.
        CutTarget::Grant(_) | CutTarget::Agent(_) | CutTarget::Group(_) => 0,
    };
    Ok(())
}

/// The first access tokens of the families that came from a session at an identity provider, and have not ended.
pub(crate) fn of_session(tx: &Tx<'_>, session: &[u8; 32]) -> Result<Vec<TokenId>, StoreError> {
    let sql = "SELECT root FROM refresh_families WHERE session = $1 AND ended IS NULL ORDER BY root";
    tx.all(sql, values![session], |row| parsed("token id", row.get(0)?))
}

/// Forgets tokens of families that are too old, at most so many. Returns how many.
pub fn forget_tokens(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM refresh_tokens WHERE hash IN (\
         SELECT hash FROM refresh_tokens WHERE forget <= $1 ORDER BY forget LIMIT $2)",
        values![now, most],
    )
}

/// Forgets families that are too old, at most so many. Returns how many.
pub fn forget_families(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM refresh_families WHERE root IN (\
         SELECT root FROM refresh_families WHERE ends <= $1 ORDER BY ends LIMIT $2)",
        values![now, most],
    )
}
