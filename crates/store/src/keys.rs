//! Private keys, sealed.

use mandate_core::{Secret, Timestamp};

use crate::error::StoreError;
use crate::seal::SealedPlace;
use crate::tx::Tx;
use crate::value::values;

/// The purpose of the keys that sign checkpoints. The id of such a key is the origin of its log, and its
/// public half is the verifier key as text.
pub const CHECKPOINT: &str = "checkpoint";

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

/// A key as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What it signs: [`CHECKPOINT`], or a name that the authority chooses.
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
    /// Its private half. The column is sealed.
    pub private: Secret,
}

fn place<'a>(row: &'a [&'a [u8]]) -> SealedPlace<'a> {
    SealedPlace { table: "keys", row, column: "sealed" }
}

/// Adds a key, or replaces the one with the same purpose and id.
pub fn put(tx: &Tx<'_>, key: &StoredKey) -> Result<(), StoreError> {
    let sealed =
        tx.seal(place(&[key.purpose.as_bytes(), key.kid.as_bytes()]), key.private.expose_secret())?;
    tx.execute(
        "INSERT INTO keys (purpose, kid, state, created, until, public, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (purpose, kid) DO UPDATE SET state = excluded.state, created = excluded.created, until = excluded.until,
         public = excluded.public, sealed = excluded.sealed",
        values![&key.purpose, &key.kid, key.state.as_str(), key.created, key.until, &key.public, &sealed],
    )?;
    Ok(())
}

/// All keys of a purpose, oldest first.
pub fn list(tx: &Tx<'_>, purpose: &str) -> Result<Vec<StoredKey>, StoreError> {
    let sql = "SELECT kid, state, created, until, public, sealed FROM keys WHERE purpose = $1 ORDER BY created, kid";
    tx.all(sql, values![purpose], |row| {
        let kid: String = row.get(0)?;
        let private = tx.open(place(&[purpose.as_bytes(), kid.as_bytes()]), row.get(5)?)?;
        let (state, created, until) = (KeyState::parse(row.get(1)?)?, row.get(2)?, row.get(3)?);
        Ok(StoredKey {
            purpose: purpose.to_owned(),
            kid,
            state,
            created,
            until,
            public: row.get(4)?,
            private,
        })
    })
}

/// Id and public half of all keys of a purpose, by id. They are not sealed: only what they verify shows whose
/// they are.
pub fn public(tx: &Tx<'_>, purpose: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let sql = "SELECT kid, public FROM keys WHERE purpose = $1 ORDER BY kid";
    tx.all(sql, values![purpose], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Moves a key to another state of its life.
pub fn set_state(
    tx: &Tx<'_>,
    purpose: &str,
    kid: &str,
    state: KeyState,
    until: Option<Timestamp>,
) -> Result<(), StoreError> {
    let changed = tx.execute(
        "UPDATE keys SET state = $1, until = $2 WHERE purpose = $3 AND kid = $4",
        values![state.as_str(), until, purpose, kid],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Corrupt(format!("there is no key {kid} for {purpose}")))
    }
}

/// Removes the key with this purpose and id, if it is there.
pub fn remove(tx: &Tx<'_>, purpose: &str, kid: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM keys WHERE purpose = $1 AND kid = $2", values![purpose, kid])?;
    Ok(())
}
