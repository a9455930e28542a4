//! Devices that wait for a person (RFC 8628): their two codes, what they ask for, and how often they and
//! strangers may ask.
//!
//! How long a device has to wait between two requests is kept in memory: after a restart it is the interval of
//! the beginning again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256_of_list;
use mandate_core::lifetimes::DEVICE_CODE_LIFETIME;
use mandate_core::{ClientId, RequestSource, ResourceUri, ScopeSet, Secret, Timestamp};
use mandate_store::Store;
use mandate_store::codes::CodeHash;
use mandate_store::device_requests::{
    self, DeviceAnswer, DeviceKept, MostDevices, UserCodeHash, WaitingDevice,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::basis::Basis;
use crate::codes::opened;
use crate::device_refusal::DeviceRefusal;
use crate::refusal::RequestRefusal;
use crate::site_counts::{SiteCounts, SiteLimits};
use crate::user_code::UserCode;

/// How long a device waits between two requests at first, and by how much longer after each request that came too
/// early (RFC 8628 §3.2, §3.5).
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// By how much a request may come too early: a network does not carry each as fast as the one before.
const JITTER: Duration = Duration::from_secs(1);
/// The most devices that wait at a time. Strangers cannot take the places of all: in ten minutes that lie in two
/// windows, twice [`BEGINNINGS`] may begin.
const MOST: MostDevices = MostDevices { of_a_client: 1_000, of_all: 12_000 };
/// How long an expired device is known, so that it is told what happened.
const KNOWN: Duration = DEVICE_CODE_LIFETIME;
/// How often devices of public clients may begin: anybody can name such a client.
const BEGINNINGS: SiteLimits = SiteLimits { window: DEVICE_CODE_LIFETIME, of_a_site: 100, of_all: 5_000 };
/// How many wrong user codes are read. `docs/src/device-code.md` says what that means for guessing.
const GUESSES: SiteLimits = SiteLimits { window: DEVICE_CODE_LIFETIME, of_a_site: 50, of_all: 1_000 };

/// What a device asks for. It is sealed in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevicePayload {
    pub(crate) client: ClientId,
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) scopes: Option<ScopeSet>,
    pub(crate) offline: bool,
    pub(crate) began: Timestamp,
}

/// A device that waits, found by its user code.
pub(crate) struct FoundDevice {
    pub(crate) user_code: UserCode,
    pub(crate) hash: CodeHash,
    pub(crate) expires: Timestamp,
    pub(crate) payload: DevicePayload,
}

/// The two codes of a device that has begun.
pub(crate) struct BegunDevice {
    pub(crate) device_code: Secret,
    pub(crate) user_code: UserCode,
}

/// How a device asked last.
struct Poll {
    at: Timestamp,
    interval: Duration,
    ends: Timestamp,
}

/// The devices that wait.
pub(crate) struct DeviceCodes {
    basis: Basis,
    store: Store,
    polls: Mutex<HashMap<CodeHash, Poll>>,
    beginnings: SiteCounts,
    guesses: SiteCounts,
}

/// The digest under which what a device gets is kept. It is not that of the same text as an authorization code, so
/// neither is ever found as the other.
pub(crate) fn hash(device_code: &str) -> CodeHash {
    sha256_of_list([b"mandate device code".as_slice(), device_code.as_bytes()])
}

fn internal(error: &impl ToString) -> RequestRefusal {
    RequestRefusal::Internal(error.to_string())
}

impl DeviceCodes {
    pub(crate) fn new(basis: Basis, store: Store) -> Self {
        let (beginnings, guesses) = (SiteCounts::new(BEGINNINGS), SiteCounts::new(GUESSES));
        Self { basis, store, polls: Mutex::default(), beginnings, guesses }
    }

    /// Counts a device of a public client that begins at `source`, if there may be one more.
    pub(crate) fn one_more(&self, source: RequestSource, now: Timestamp) -> Result<(), DeviceRefusal> {
        if self.beginnings.one_more(source, now) { Ok(()) } else { Err(DeviceRefusal::TooManyDevices) }
    }

    /// A device begins to wait. Nothing is decided by that, so nothing is recorded.
    pub(crate) async fn begin(&self, payload: &DevicePayload) -> Result<BegunDevice, RequestRefusal> {
        let now = payload.began;
        let device_code = URL_SAFE_NO_PAD.encode(self.basis.random());
        let expires = now.plus(DEVICE_CODE_LIFETIME);
        let device = Arc::new(WaitingDevice {
            hash: hash(&device_code),
            client: payload.client.clone(),
            expires,
            payload: Secret::new(serde_json::to_vec(payload).map_err(|error| internal(&error))?),
        });
        loop {
            let user_code = UserCode::generate(|| self.basis.random());
            let (device, digest) = (Arc::clone(&device), user_code.hash());
            let times = (now, expires.plus(KNOWN));
            let insert =
                move |tx: &mandate_store::Tx<'_>| device_requests::insert(tx, &device, &digest, times, MOST);
            match self.store.transact("device", insert).await {
                Ok(DeviceKept::Kept) => {
                    return Ok(BegunDevice { device_code: Secret::new(device_code), user_code });
                }
                // Of 20^8 codes, at most some ten thousand are taken.
                Ok(DeviceKept::CodeTaken) => {}
                Ok(DeviceKept::Full) => return Err(DeviceRefusal::TooManyDevices.into()),
                Err(error) if error.is_environment() => {
                    tracing::error!(%error, "a device cannot begin to wait");
                    return Err(RequestRefusal::AuditUnavailable);
                }
                Err(error) => return Err(internal(&error)),
            }
        }
    }

    /// The device that waits with the user code that a person at `source` typed. `shown`: this browser was shown
    /// the device before, so it does not guess.
    pub(crate) async fn with_user_code(
        &self,
        typed: &str,
        shown: bool,
        source: RequestSource,
        now: Timestamp,
    ) -> Result<FoundDevice, RequestRefusal> {
        // Counted before it is read: of many at the same time each would find room for one more. Whose request is
        // cut off may have guessed.
        let guess = (!shown).then(|| self.guesses.take(source, now)).transpose();
        let guess = guess.map_err(DeviceRefusal::TooManyGuesses)?;
        let unknown = DeviceRefusal::UserCodeUnknown;
        let Some(user_code) = UserCode::typed(typed) else { return Err(unknown.into()) };
        let digest: UserCodeHash = user_code.hash();
        let find = move |tx: &mandate_store::Tx<'_>| device_requests::with_user_code(tx, &digest, now);
        let found = self.store.read("device", find).await.map_err(|error| internal(&error))?;
        let Some(found) = found else { return Err(unknown.into()) };
        if let Some(guess) = guess {
            self.guesses.give_back(guess);
        }
        let WaitingDevice { hash, expires, payload, .. } = found;
        Ok(FoundDevice { user_code, hash, expires, payload: opened(&payload)? })
    }

    /// The person refuses the device. `false`: it did not wait any longer.
    pub(crate) async fn refuse(&self, hash: CodeHash, now: Timestamp) -> Result<bool, RequestRefusal> {
        let refuse = move |tx: &mandate_store::Tx<'_>| device_requests::refuse(tx, &hash, now);
        self.store.transact("device", refuse).await.map_err(|error| {
            if error.is_environment() { RequestRefusal::AuditUnavailable } else { internal(&error) }
        })
    }

    /// Whether a person has allowed the device with this code, which `client` has presented.
    ///
    /// # Errors
    /// They have not, or refused; the device code is unknown, has expired or is another client's.
    pub(crate) async fn answer(
        &self,
        hash: CodeHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<(), RequestRefusal> {
        use DeviceRefusal as D;
        let find = move |tx: &mandate_store::Tx<'_>| device_requests::with_device_code(tx, &hash);
        let found = self.store.read("device", find).await.map_err(|error| internal(&error))?;
        let (device, answer) = found.ok_or(D::CodeUnknown)?;
        match answer {
            // Whose it is, is looked at where a second use has been looked for.
            DeviceAnswer::Allowed => Ok(()),
            // A stranger learns nothing, and changes nothing.
            DeviceAnswer::None | DeviceAnswer::Refused if device.client != *client => {
                Err(D::CodeOtherClient.into())
            }
            DeviceAnswer::Refused => Err(D::Refused.into()),
            DeviceAnswer::None if now >= device.expires => Err(D::Expired.into()),
            DeviceAnswer::None => Err(self.polled(hash, device.expires, now).into()),
        }
    }

    /// Whether a device that waits asks too often. From then on it has to wait longer.
    fn polled(&self, hash: CodeHash, ends: Timestamp, now: Timestamp) -> DeviceRefusal {
        let mut polls = self.polls.lock();
        // There are never more than wait, if those whose time is over are forgotten.
        if u64::try_from(polls.len()).is_ok_and(|len| len >= MOST.of_all) {
            polls.retain(|_, poll| poll.ends > now);
        }
        let Some(poll) = polls.get_mut(&hash) else {
            polls.insert(hash, Poll { at: now, interval: INTERVAL, ends });
            return DeviceRefusal::Pending;
        };
        let early = now.since(poll.at) + JITTER < poll.interval;
        poll.at = now;
        if !early {
            return DeviceRefusal::Pending;
        }
        poll.interval += INTERVAL;
        DeviceRefusal::SlowDown
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGINNINGS, MOST};

    #[test]
    fn devices_of_public_clients_leave_places_to_clients_that_have_proven_who_they_are() {
        // In ten minutes that lie in two windows.
        assert!(MOST.of_all >= u64::from(BEGINNINGS.of_all) * 2 + MOST.of_a_client);
    }
}
