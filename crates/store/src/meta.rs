//! Named values of the database: its installation, whether it is in use, and a value to check its sealing
//! key.

use crate::error::StoreError;
use crate::seal::SealedPlace;
use crate::tx::Tx;
use crate::value::values;

const SEAL_CHECK: &str = "seal-check";
const SEAL_CHECK_ROW: &[u8] = SEAL_CHECK.as_bytes();

/// The value of that name.
pub fn get(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    value(tx, name)?
        .map(|bytes| String::from_utf8(bytes).map_err(|_| StoreError::Corrupt(format!("meta {name:?}"))))
        .transpose()
}

fn value(tx: &Tx<'_>, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    tx.first("SELECT value FROM meta WHERE name = $1", values![name], |row| row.get(0))
}

/// Sets the value of that name.
pub fn put(tx: &Tx<'_>, name: &str, value: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        values![name, value.as_bytes()],
    )?;
    Ok(())
}

fn seal_check() -> SealedPlace<'static> {
    SealedPlace { table: "meta", row: &[SEAL_CHECK_ROW], column: "value" }
}

/// Whether the transaction's sealing key is the database's.
pub(crate) fn opens_seal(tx: &Tx<'_>) -> Result<bool, StoreError> {
    match value(tx, SEAL_CHECK)?.map(|sealed| tx.open(seal_check(), &sealed)) {
        Some(Err(StoreError::Corrupt(_))) => Ok(false),
        Some(opened) => opened.map(|_| true),
        // The check is made again at a start; a key that was made for nothing opens nothing.
        None => Err(StoreError::Corrupt("the check of the sealing key is missing".to_owned())),
    }
}

/// Detects a wrong sealing key at once, not only at the first sealed value.
pub(crate) fn check_seal(tx: &Tx<'_>) -> Result<(), StoreError> {
    let place = seal_check();
    if let Some(sealed) = value(tx, SEAL_CHECK)? {
        return tx.open(place, &sealed).map(drop);
    }
    let sealed = tx.seal(place, b"mandate")?;
    tx.execute("INSERT INTO meta (name, value) VALUES ($1, $2)", values![SEAL_CHECK, &sealed])?;
    Ok(())
}
