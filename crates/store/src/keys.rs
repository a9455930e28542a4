//! Private keys, sealed.

use mandate_core::{Secret, Timestamp};
use rusqlite::params;

use crate::error::StoreError;
use crate::seal::Place;
use crate::tx::{Tx, time, timestamp};

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, not yet used.
    Next,
    /// Used for new signatures.
    Active,
    /// Still published, so that its earlier signatures can be verified; no longer used for new ones.
    Retired,
}

impl KeyState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "next" => Ok(Self::Next),
            "active" => Ok(Self::Active),
            "retired" => Ok(Self::Retired),
            other => Err(StoreError::Corrupt(format!("key state {other:?}"))),
        }
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What it signs.
    pub purpose: String,
    /// Its id, unique within the purpose.
    pub kid: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// For a retired key: when the last thing it signed expires.
    pub until: Option<Timestamp>,
    /// Its public half, or the certificate over it; not sealed.
    pub public: Vec<u8>,
    /// Its private half.
    pub private: Secret,
}

fn place<'a>(row: &'a [&'a [u8]]) -> Place<'a> {
    Place { table: "keys", row, column: "sealed" }
}

/// Adds a key, or replaces the one with the same purpose and id.
pub fn put(tx: &Tx<'_>, key: &StoredKey) -> Result<(), StoreError> {
    let sealed = tx.seal(place(&[key.purpose.as_bytes(), key.kid.as_bytes()]), key.private.expose_secret())?;
    tx.execute(
        "INSERT OR REPLACE INTO keys (purpose, kid, state, created, until, public, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![key.purpose, key.kid, key.state.as_str(), time(key.created), key.until.map(time), key.public, sealed],
    )?;
    Ok(())
}

/// All keys of a purpose, oldest first.
pub fn list(tx: &Tx<'_>, purpose: &str) -> Result<Vec<StoredKey>, StoreError> {
    let sql = "SELECT kid, state, created, until, public, sealed FROM keys WHERE purpose = ? ORDER BY created, kid";
    let rows = tx.all(sql, [purpose], |row| {
        let head = (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, Option<i64>>(3)?);
        Ok((head, row.get::<_, Vec<u8>>(4)?, row.get::<_, Vec<u8>>(5)?))
    })?;
    rows.into_iter()
        .map(|((kid, state, created, until), public, sealed)| {
            let private = tx.open(place(&[purpose.as_bytes(), kid.as_bytes()]), &sealed)?;
            let (state, created, until) = (KeyState::parse(&state)?, timestamp(created), until.map(timestamp));
            Ok(StoredKey { purpose: purpose.to_owned(), kid, state, created, until, public, private })
        })
        .collect()
}

/// Moves a key on in its life.
pub fn set_state(tx: &Tx<'_>, purpose: &str, kid: &str, state: KeyState, until: Option<Timestamp>) -> Result<(), StoreError> {
    let changed = tx.execute(
        "UPDATE keys SET state = ?, until = ? WHERE purpose = ? AND kid = ?",
        params![state.as_str(), until.map(time), purpose, kid],
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Corrupt(format!("there is no key {kid} for {purpose}"))) }
}

/// Removes a key.
pub fn remove(tx: &Tx<'_>, purpose: &str, kid: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM keys WHERE purpose = ? AND kid = ?", [purpose, kid])?;
    Ok(())
}
