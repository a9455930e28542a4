//! Clients that registered themselves, beside the registry.

use mandate_core::{ClientId, SelfDescribed, Timestamp};

use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::tx::Tx;
use crate::value::values;

fn client(body: &str) -> Result<SelfDescribed, StoreError> {
    serde_json::from_str(body)
        .map_err(|error| StoreError::Corrupt(format!("a client that registered itself: {error}")))
}

/// Adds a client, which may be forgotten at `forget`. Refuses if there are `most` already.
pub(crate) fn insert(
    tx: &Tx<'_>,
    client: &SelfDescribed,
    forget: Timestamp,
    most: u64,
) -> Result<(), StoreError> {
    let count = tx.first("SELECT count(*) FROM self_registered", &[], |row| row.get::<u64>(0))?;
    if count.unwrap_or_default() >= most {
        return Err(EffectRefusal::ClientsFull.into());
    }
    let body = serde_json::to_string(client).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    tx.execute(
        "INSERT INTO self_registered (id, forget, body) VALUES ($1, $2, $3)",
        values![client.id.as_str(), forget, &body],
    )?;
    Ok(())
}

/// The client with that id, unless it is to be forgotten at `now`.
pub fn get(tx: &Tx<'_>, id: &ClientId, now: Timestamp) -> Result<Option<SelfDescribed>, StoreError> {
    let sql = "SELECT body FROM self_registered WHERE id = $1 AND forget > $2";
    tx.first(sql, values![id.as_str(), now], |row| client(row.get(0)?))
}

/// Keeps a client that is used until `forget` at least. Refuses if it is gone.
pub(crate) fn keep(tx: &Tx<'_>, id: &ClientId, forget: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE self_registered SET forget = $1 WHERE id = $2";
    if tx.execute(sql, values![forget, id.as_str()])? == 1 {
        Ok(())
    } else {
        Err(EffectRefusal::ClientGone.into())
    }
}

/// Removes a client, if it is there.
pub(crate) fn remove(tx: &Tx<'_>, id: &ClientId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM self_registered WHERE id = $1", values![id.as_str()])?;
    Ok(())
}

/// Forgets clients that nobody used in time, at most so many. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM self_registered WHERE id IN (\
         SELECT id FROM self_registered WHERE forget <= $1 ORDER BY forget LIMIT $2)",
        values![now, most],
    )
}
