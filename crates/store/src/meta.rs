//! Named values of the installation: its issuer, its trust domain, its log's origin.

use rusqlite::params;

use crate::error::StoreError;
use crate::seal::Place;
use crate::tx::Tx;

const SEAL_CHECK: &str = "seal-check";

/// The value of that name.
pub fn get(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    let value: Option<Vec<u8>> = tx.first("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0))?;
    value.map(|bytes| String::from_utf8(bytes).map_err(|_| StoreError::Corrupt(format!("meta {name:?}")))).transpose()
}

/// Sets the value of that name.
pub fn put(tx: &Tx<'_>, name: &str, value: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value.as_bytes()],
    )?;
    Ok(())
}

/// Tells a wrong sealing key at once, instead of at the first sealed value.
pub(crate) fn check_seal(tx: &Tx<'_>) -> Result<(), StoreError> {
    let place = Place { table: "meta", row: &[SEAL_CHECK.as_bytes()], column: "value" };
    let stored: Option<Vec<u8>> = tx.first("SELECT value FROM meta WHERE name = ?", [SEAL_CHECK], |row| row.get(0))?;
    if let Some(sealed) = stored {
        return tx.open(place, &sealed).map(drop);
    }
    let sealed = tx.seal(place, b"mandate")?;
    tx.execute("INSERT INTO meta (name, value) VALUES (?, ?)", params![SEAL_CHECK, sealed])?;
    Ok(())
}
