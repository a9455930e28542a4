//! Hashes of passwords and client secrets (argon2id, PHC text), sealed.

use mandate_core::{ClientId, PersonName, Secret};

use crate::error::StoreError;
use crate::seal::SealedPlace;
use crate::tx::Tx;
use crate::value::values;

const PASSWORD: &str = "password";
const CLIENT_SECRET: &str = "client_secret";

fn put(tx: &Tx<'_>, kind: &str, name: &str, phc: &Secret) -> Result<(), StoreError> {
    let place = SealedPlace { table: "secrets", row: &[kind.as_bytes(), name.as_bytes()], column: "sealed" };
    let sealed = tx.seal(place, phc.expose_secret())?;
    tx.execute(
        "INSERT INTO secrets (kind, name, sealed) VALUES ($1, $2, $3) ON CONFLICT (kind, name) DO UPDATE SET sealed = excluded.sealed",
        values![kind, name, &sealed],
    )?;
    Ok(())
}

fn get(tx: &Tx<'_>, kind: &str, name: &str) -> Result<Option<Secret>, StoreError> {
    let place = SealedPlace { table: "secrets", row: &[kind.as_bytes(), name.as_bytes()], column: "sealed" };
    let sql = "SELECT sealed FROM secrets WHERE kind = $1 AND name = $2";
    tx.first(sql, values![kind, name], |row| tx.open(place, row.get(0)?))
}

fn forget(tx: &Tx<'_>, kind: &str, name: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM secrets WHERE kind = $1 AND name = $2", values![kind, name])?;
    Ok(())
}

/// Sets the hash of a person's password, as PHC text.
pub fn set_password(tx: &Tx<'_>, person: &PersonName, phc: &Secret) -> Result<(), StoreError> {
    put(tx, PASSWORD, person.as_str(), phc)
}

/// The hash of a person's password, PHC text.
pub fn password(tx: &Tx<'_>, person: &PersonName) -> Result<Option<Secret>, StoreError> {
    get(tx, PASSWORD, person.as_str())
}

pub(crate) fn forget_password(tx: &Tx<'_>, person: &str) -> Result<(), StoreError> {
    forget(tx, PASSWORD, person)
}

/// Sets the hash of a client's secret, as PHC text.
pub fn set_client_secret(tx: &Tx<'_>, client: &ClientId, phc: &Secret) -> Result<(), StoreError> {
    put(tx, CLIENT_SECRET, client.as_str(), phc)
}

/// The hash of a client's secret, PHC text.
pub fn client_secret(tx: &Tx<'_>, client: &ClientId) -> Result<Option<Secret>, StoreError> {
    get(tx, CLIENT_SECRET, client.as_str())
}

pub(crate) fn forget_client_secret(tx: &Tx<'_>, client: &str) -> Result<(), StoreError> {
    forget(tx, CLIENT_SECRET, client)
}
