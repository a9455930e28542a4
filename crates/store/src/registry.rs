//! The entries of the registry, and its version.

use mandate_core::registry::{Entry, EntryKind, Person, RegistryVersion};

use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::secrets;
use crate::tx::Tx;
use crate::value::values;

/// The number of changes that the registry has had; see [`RegistryVersion`].
pub fn version(tx: &Tx<'_>) -> Result<RegistryVersion, StoreError> {
    let version = tx.first("SELECT version FROM registry_version", &[], |row| row.get(0))?;
    version
        .map(RegistryVersion::from_number)
        .ok_or_else(|| StoreError::Corrupt("the registry has no version".to_owned()))
}

/// Counts one change of the registry. If it was planned from a version, it is refused if there is a newer
/// one.
pub(crate) fn advance(tx: &Tx<'_>, planned_from: Option<RegistryVersion>) -> Result<(), StoreError> {
    let changed = match planned_from {
        Some(from) => tx.execute(
            "UPDATE registry_version SET version = version + 1 WHERE version = $1",
            values![from.number()],
        )?,
        None => tx.execute("UPDATE registry_version SET version = version + 1", &[])?,
    };
    if changed == 1 { Ok(()) } else { Err(EffectRefusal::RegistryChanged.into()) }
}

/// Refuses if the registry has another version, and lets nobody else change it in this transaction.
pub(crate) fn still_at(tx: &Tx<'_>, at: RegistryVersion) -> Result<(), StoreError> {
    let same =
        tx.execute("UPDATE registry_version SET version = version WHERE version = $1", values![at.number()])?;
    if same == 1 { Ok(()) } else { Err(EffectRefusal::RegistryChanged.into()) }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Resource => "resource",
        EntryKind::Person => "person",
        EntryKind::Agent => "agent",
        EntryKind::Client => "client",
        EntryKind::Issuer => "issuer",
        EntryKind::Group => "group",
        EntryKind::TrustDomain => "trust_domain",
        EntryKind::Grant => "grant",
        EntryKind::Policy => "policy",
    }
}

/// Every entry, in the order of kinds' names and then keys.
pub fn load(tx: &Tx<'_>) -> Result<Vec<Entry>, StoreError> {
    tx.all("SELECT kind, key, body FROM registry ORDER BY kind, key", &[], |row| {
        understood(row.get(0)?, row.get(1)?, row.get(2)?)
    })
}

fn understood(kind: &str, key: &str, body: &str) -> Result<Entry, StoreError> {
    let entry: Entry =
        serde_json::from_str(body).map_err(|e| StoreError::Corrupt(format!("{kind} {key:?}: {e}")))?;
    if kind_name(entry.kind()) != kind || entry.key() != key {
        return Err(StoreError::Corrupt(format!("{kind} {key:?} holds another entry")));
    }
    Ok(entry)
}

/// The entry with this kind and key.
pub fn get(tx: &Tx<'_>, kind: EntryKind, key: &str) -> Result<Option<Entry>, StoreError> {
    let kind = kind_name(kind);
    let sql = "SELECT body FROM registry WHERE kind = $1 AND key = $2";
    tx.first(sql, values![kind, key], |row| understood(kind, key, row.get(0)?))
}

/// Adds an entry, or replaces the one with the same key.
pub fn put(tx: &Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    let body = serde_json::to_string(entry).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    tx.execute(
        "INSERT INTO registry (kind, key, body) VALUES ($1, $2, $3) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
        values![kind_name(entry.kind()), entry.key(), &body],
    )?;
    Ok(())
}

/// Forgets a secret that must not count again if an entry is changed back later: the password of a person who
/// becomes another one, and the secret of a client that needs none any longer.
pub(crate) fn forget_secret_of_another(
    tx: &Tx<'_>,
    before: Option<&Entry>,
    after: &Entry,
) -> Result<(), StoreError> {
    match after {
        Entry::Person(Person { name, id, .. }) => {
            let is_same = matches!(before, Some(Entry::Person(before)) if before.id == *id);
            if is_same { Ok(()) } else { secrets::forget_password(tx, name.as_str()) }
        }
        Entry::Client(client) if !client.authentication.has_secret() => {
            secrets::forget_client_secret(tx, client.id.as_str())
        }
        Entry::Client(_)
        | Entry::Resource(_)
        | Entry::Agent(_)
        | Entry::Issuer(_)
        | Entry::Group(_)
        | Entry::TrustDomain(_)
        | Entry::Grant(_)
        | Entry::Policy(_) => Ok(()),
    }
}

/// Removes an entry, and with a person or client their secret: a later person or client of that name must not
/// get it.
pub fn remove(tx: &Tx<'_>, kind: EntryKind, key: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM registry WHERE kind = $1 AND key = $2", values![kind_name(kind), key])?;
    match kind {
        EntryKind::Person => secrets::forget_password(tx, key),
        EntryKind::Client => secrets::forget_client_secret(tx, key),
        EntryKind::Resource
        | EntryKind::Agent
        | EntryKind::Issuer
        | EntryKind::Group
        | EntryKind::TrustDomain
        | EntryKind::Grant
        | EntryKind::Policy => Ok(()),
    }
}
