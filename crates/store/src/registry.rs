//! The registry and how often its grants were used.

use std::collections::HashMap;

use mandate_core::GrantId;
use mandate_core::registry::{Entry, Kind};
use rusqlite::params;

use crate::effect::EffectRefusal;
use crate::error::StoreError;
use crate::secrets;
use crate::tx::{Tx, from_sql, parsed, to_sql};

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Resource => "resource",
        Kind::Person => "person",
        Kind::Agent => "agent",
        Kind::Client => "client",
        Kind::Issuer => "issuer",
        Kind::Grant => "grant",
        Kind::Policy => "policy",
    }
}

/// Every entry, in the order of kinds' names and then keys.
pub fn load(tx: &Tx<'_>) -> Result<Vec<Entry>, StoreError> {
    let mut statement = tx.prepare("SELECT kind, key, body FROM registry ORDER BY kind, key")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let broken = || StoreError::Corrupt("a registry entry".to_owned());
        let (kind, key, body) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str(), row.get_ref(2)?.as_str());
        let (Ok(kind), Ok(key), Ok(body)) = (kind, key, body) else { return Err(broken()) };
        entries.push(understood(kind, key, body)?);
    }
    Ok(entries)
}

fn understood(kind: &str, key: &str, body: &str) -> Result<Entry, StoreError> {
    let entry: Entry = serde_json::from_str(body).map_err(|e| StoreError::Corrupt(format!("{kind} {key:?}: {e}")))?;
    if kind_name(entry.kind()) != kind || entry.key() != key {
        return Err(StoreError::Corrupt(format!("{kind} {key:?} holds another entry")));
    }
    Ok(entry)
}

/// One entry.
pub fn get(tx: &Tx<'_>, kind: Kind, key: &str) -> Result<Option<Entry>, StoreError> {
    let kind = kind_name(kind);
    let body: Option<String> = tx.first("SELECT body FROM registry WHERE kind = ? AND key = ?", [kind, key], |row| row.get(0))?;
    body.map(|body| understood(kind, key, &body)).transpose()
}

/// Adds an entry, or replaces the one with the same key.
pub fn put(tx: &Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    let body = serde_json::to_string(entry).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    tx.execute(
        "INSERT INTO registry (kind, key, body) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
        params![kind_name(entry.kind()), entry.key(), body],
    )?;
    Ok(())
}

/// Removes an entry, and with a person or client their secret: a later person or client of that name must not get it.
pub fn remove(tx: &Tx<'_>, kind: Kind, key: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM registry WHERE kind = ? AND key = ?", [kind_name(kind), key])?;
    match kind {
        Kind::Person => secrets::forget_password(tx, key),
        Kind::Client => secrets::forget_client_secret(tx, key),
        Kind::Resource | Kind::Agent | Kind::Issuer | Kind::Grant | Kind::Policy => Ok(()),
    }
}

/// How many mandates were issued under each grant; grants without any are absent.
pub fn load_uses(tx: &Tx<'_>) -> Result<HashMap<GrantId, u64>, StoreError> {
    let rows = tx.all("SELECT grant_id, uses FROM grant_uses", [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    rows.into_iter().map(|(id, uses)| Ok((parsed("grant id", &id)?, from_sql(uses)))).collect()
}

/// Counts one use of a grant, of which `max` may be made.
pub fn use_grant(tx: &Tx<'_>, grant: &GrantId, max: u64) -> Result<(), StoreError> {
    let max = to_sql(max);
    // One statement: the count is read and raised under the same lock.
    let changed = tx.execute(
        "INSERT INTO grant_uses (grant_id, uses) SELECT ?1, 1 WHERE ?2 > 0
         ON CONFLICT (grant_id) DO UPDATE SET uses = uses + 1 WHERE uses < ?2",
        params![grant.as_str(), max],
    )?;
    if changed == 1 { Ok(()) } else { Err(EffectRefusal::GrantExhausted.into()) }
}
