//! Meters: how much was taken from each.

use std::collections::HashMap;

use mandate_core::{MeterId, Reservation};

use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::tx::{Tx, parsed};
use crate::value::values;

/// What each meter shows; meters from which nothing was taken are absent.
pub fn load(tx: &Tx<'_>) -> Result<HashMap<MeterId, u64>, StoreError> {
    let mut all = HashMap::new();
    tx.each("SELECT grant_id, uses FROM grant_uses", &[], |row| {
        all.insert(MeterId::GrantUses(parsed("grant id", row.get(0)?)?), row.get(1)?);
        Ok::<_, StoreError>(true)
    })?;
    Ok(all)
}

/// Takes something from a meter, if there is enough left.
pub fn reserve(tx: &Tx<'_>, reservation: &Reservation) -> Result<(), StoreError> {
    let Reservation { meter, amount, limit } = reservation;
    let MeterId::GrantUses(grant) = meter;
    // One statement: the count is read and raised under the same lock.
    let changed = tx.execute(
        "INSERT INTO grant_uses (grant_id, uses) SELECT $1, CAST($2 AS BIGINT) WHERE CAST($2 AS BIGINT) <= CAST($3 AS BIGINT)
         ON CONFLICT (grant_id) DO UPDATE SET uses = grant_uses.uses + $2 WHERE grant_uses.uses <= $3 - $2",
        values![grant.as_str(), *amount, *limit],
    )?;
    if changed == 1 { Ok(()) } else { Err(EffectRefusal::MeterExhausted(meter.clone()).into()) }
}
