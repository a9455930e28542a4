//! Devices that wait for a person who logs in elsewhere (RFC 8628): both codes kept by digest, the request
//! sealed. What an allowed one gives is a code of [`crate::codes`] with the hash of the device code.

use mandate_core::{ClientId, Secret, Timestamp};

use crate::codes::CodeHash;
use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::seal::SealedPlace;
use crate::tx::{Tx, parsed};
use crate::value::values;

/// A digest of a user code.
pub type UserCodeHash = [u8; 32];

/// A device that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingDevice {
    /// The hash of its device code.
    pub hash: CodeHash,
    /// The client that asks.
    pub client: ClientId,
    /// From this time on nobody can log in for it.
    pub expires: Timestamp,
    /// What it asks for. The store seals it and does not read it.
    pub payload: Secret,
}

/// What the person has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAnswer {
    /// No person has answered, in time or not.
    None,
    /// They have logged in and allowed it.
    Allowed,
    /// They have refused it.
    Refused,
}

impl DeviceAnswer {
    fn of(number: u64) -> Result<Self, StoreError> {
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::Allowed),
            2 => Ok(Self::Refused),
            other => Err(StoreError::Corrupt(format!("{other} is no answer to a device"))),
        }
    }
}

/// How many devices may wait.
#[derive(Clone, Copy, Debug)]
pub struct MostDevices {
    /// Of one client.
    pub of_a_client: u64,
    /// Of all clients.
    pub of_all: u64,
}

/// What became of a device that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKept {
    /// It waits now.
    Kept,
    /// Another device has this user code.
    CodeTaken,
    /// As many devices wait as may.
    Full,
}

fn place<'a>(row: &'a [&'a [u8]]) -> SealedPlace<'a> {
    SealedPlace { table: "device_requests", row, column: "sealed" }
}

/// Adds a device, which is forgotten at `forget` if nobody allows it.
pub fn insert(
    tx: &Tx<'_>,
    device: &WaitingDevice,
    user_code: &UserCodeHash,
    (now, forget): (Timestamp, Timestamp),
    most: MostDevices,
) -> Result<DeviceKept, StoreError> {
    let WaitingDevice { hash, client, expires, payload } = device;
    let taken = "SELECT 1 FROM device_requests WHERE user_code = $1";
    if tx.first(taken, values![user_code], |row| row.get::<u64>(0))?.is_some() {
        return Ok(DeviceKept::CodeTaken);
    }
    let waiting = "SELECT count(*), coalesce(sum(CASE WHEN client = $1 THEN 1 ELSE 0 END), 0) \
                   FROM device_requests WHERE expires > $2 AND answer = 0";
    let counts =
        tx.first(waiting, values![client.as_str(), now], |row| Ok((row.get::<u64>(0)?, row.get::<u64>(1)?)))?;
    let (of_all, of_client) = counts.unwrap_or_default();
    if of_all >= most.of_all || of_client >= most.of_a_client {
        return Ok(DeviceKept::Full);
    }
    let sealed = tx.seal(place(&[hash]), payload.expose_secret())?;
    tx.execute(
        "INSERT INTO device_requests (hash, user_code, client, expires, forget, answer, sealed) \
         VALUES ($1, $2, $3, $4, $5, 0, $6)",
        values![hash, user_code, client.as_str(), *expires, forget.max(*expires), &sealed],
    )?;
    Ok(DeviceKept::Kept)
}

const BY_HASH: &str = "SELECT hash, client, expires, answer, sealed FROM device_requests WHERE hash = $1";
const BY_USER_CODE: &str =
    "SELECT hash, client, expires, answer, sealed FROM device_requests WHERE user_code = $1";

fn found(
    tx: &Tx<'_>,
    sql: &str,
    digest: &[u8; 32],
) -> Result<Option<(WaitingDevice, DeviceAnswer)>, StoreError> {
    tx.first(sql, values![digest], |row| {
        let hash = row.get::<&[u8]>(0)?.try_into();
        let hash: CodeHash = hash.map_err(|_| StoreError::Corrupt("the hash of a device".to_owned()))?;
        let payload = tx.open(place(&[&hash]), row.get(4)?)?;
        let (client, expires) = (parsed("client id", row.get(1)?)?, row.get(2)?);
        Ok((WaitingDevice { hash, client, expires, payload }, DeviceAnswer::of(row.get(3)?)?))
    })
}

/// The device with this device code, and the answer to it, also after it has expired.
pub fn with_device_code(
    tx: &Tx<'_>,
    hash: &CodeHash,
) -> Result<Option<(WaitingDevice, DeviceAnswer)>, StoreError> {
    found(tx, BY_HASH, hash)
}

/// The device with this user code, if it still waits.
pub fn with_user_code(
    tx: &Tx<'_>,
    user_code: &UserCodeHash,
    now: Timestamp,
) -> Result<Option<WaitingDevice>, StoreError> {
    let found = found(tx, BY_USER_CODE, user_code)?;
    Ok(found
        .filter(|(device, answer)| now < device.expires && *answer == DeviceAnswer::None)
        .map(|(it, _)| it))
}

/// The person allows the device at `at`. Until `forget`, its device code is known. Refuses if it does not wait any
/// longer.
pub(crate) fn allow(
    tx: &Tx<'_>,
    hash: &CodeHash,
    at: Timestamp,
    forget: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE device_requests SET answer = 1, forget = $1 \
               WHERE hash = $2 AND answer = 0 AND expires > $3";
    if tx.execute(sql, values![forget, hash, at])? == 1 {
        Ok(())
    } else {
        Err(EffectRefusal::DeviceGone.into())
    }
}

/// The person refuses the device. Returns whether it still waited.
pub fn refuse(tx: &Tx<'_>, hash: &CodeHash, at: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE device_requests SET answer = 2 WHERE hash = $1 AND answer = 0 AND expires > $2";
    Ok(tx.execute(sql, values![hash, at])? == 1)
}

/// Forgets devices that need no longer be known, at most so many. Returns how many.
pub fn forget(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM device_requests WHERE hash IN (\
         SELECT hash FROM device_requests WHERE forget <= $1 ORDER BY forget LIMIT $2)",
        values![now, most],
    )
}
