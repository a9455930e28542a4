//! Moves keys between the store, where they are sealed, and memory, where they are parsed.

use std::sync::Arc;

use mandate_audit::CheckpointSigner;
use mandate_core::{Entropy, Secret, Timestamp, TrustDomain};
use mandate_store::keys::{self, CHECKPOINT, StoredKey};
use mandate_store::{Store, StoreError, records};
use mandate_token::KeyUse;

use crate::error::{OpenError, RotateError};
use crate::jws_key::JwsKey;
use crate::published::Published;
use crate::ring::{KeySlot, Purpose, Ring, RingKeyState, Rotation};
use crate::x509::SigningAuthority;

/// What is needed to make a key.
struct Maker<'a> {
    purpose: Purpose,
    trust_domain: &'a TrustDomain,
    now: Timestamp,
    entropy: &'a dyn Entropy,
}

/// A key that can be made, and read back from its sealed form.
trait Material: Sized {
    fn generate(maker: &Maker<'_>) -> Result<(Self, Secret), OpenError>;
    fn from_stored(purpose: Purpose, stored: &StoredKey) -> Result<Self, OpenError>;
    fn kid(&self) -> &str;
    fn public(&self) -> &[u8];
}

fn key_use(purpose: Purpose) -> Result<KeyUse, OpenError> {
    match purpose {
        Purpose::AccessToken => Ok(KeyUse::Signature),
        Purpose::JwtSvid => Ok(KeyUse::JwtSvid),
        Purpose::X509 => Err(OpenError::KeyState(purpose.as_str())),
    }
}

impl Material for JwsKey {
    fn generate(maker: &Maker<'_>) -> Result<(Self, Secret), OpenError> {
        Self::generate(key_use(maker.purpose)?)
    }

    fn from_stored(purpose: Purpose, stored: &StoredKey) -> Result<Self, OpenError> {
        Self::from_sealed(&stored.private, key_use(purpose)?)
    }

    fn kid(&self) -> &str {
        self.jwk().key_id()
    }

    fn public(&self) -> &[u8] {
        self.point()
    }
}

impl Material for SigningAuthority {
    fn generate(maker: &Maker<'_>) -> Result<(Self, Secret), OpenError> {
        Self::generate(maker.trust_domain, maker.now, maker.entropy)
    }

    fn from_stored(_: Purpose, stored: &StoredKey) -> Result<Self, OpenError> {
        Self::from_parts(stored.public.clone(), &stored.private)
    }

    fn kid(&self) -> &str {
        self.pin()
    }

    fn public(&self) -> &[u8] {
        self.certificate()
    }
}

/// A new key that waits, and the row to store it in.
fn make<K: Material>(maker: &Maker<'_>) -> Result<(KeySlot<K>, StoredKey), OpenError> {
    let (key, private) = K::generate(maker)?;
    let row = StoredKey {
        purpose: maker.purpose.as_str().to_owned(),
        kid: key.kid().to_owned(),
        state: keys::KeyState::Next,
        created: maker.now,
        until: None,
        public: key.public().to_vec(),
        private,
    };
    Ok((
        KeySlot {
            kid: row.kid.clone(),
            key: Arc::new(key),
            published: maker.now,
            state: RingKeyState::Standby,
        },
        row,
    ))
}

fn to_stored(state: RingKeyState) -> (keys::KeyState, Option<Timestamp>) {
    match state {
        RingKeyState::Standby => (keys::KeyState::Next, None),
        RingKeyState::Active => (keys::KeyState::Active, None),
        RingKeyState::Retired { until } => (keys::KeyState::Retired, Some(until)),
    }
}

fn from_stored(row: &StoredKey) -> Option<RingKeyState> {
    match (row.state, row.until) {
        (keys::KeyState::Next, None) => Some(RingKeyState::Standby),
        (keys::KeyState::Active, None) => Some(RingKeyState::Active),
        (keys::KeyState::Retired, Some(until)) => Some(RingKeyState::Retired { until }),
        _ => None,
    }
}

/// Loads every key; makes those that are missing.
pub(crate) fn open(
    store: &Store,
    trust_domain: &TrustDomain,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(Published, CheckpointSigner), OpenError> {
    let maker = |purpose| Maker { purpose, trust_domain, now, entropy };
    let keys = Published::new(
        Arc::new(open_ring(store, &maker(Purpose::AccessToken))?),
        Arc::new(open_ring(store, &maker(Purpose::JwtSvid))?),
        Arc::new(open_ring(store, &maker(Purpose::X509))?),
    )?;
    Ok((keys, open_checkpoint(store, trust_domain, now, entropy)?))
}

fn open_ring<K: Material>(store: &Store, maker: &Maker<'_>) -> Result<Ring<K>, OpenError> {
    let name = maker.purpose.as_str();
    let mut stored = store.read_blocking("authority.keys", |tx| keys::list(tx, name))?;
    if stored.is_empty() {
        let (mut first, second) = (make::<K>(maker)?.1, make::<K>(maker)?.1);
        first.state = keys::KeyState::Active;
        store.transact_blocking("authority.first_keys", |tx| {
            // If there are keys now, another caller made them first.
            if keys::list(tx, name)?.is_empty() {
                keys::put(tx, &first)?;
                keys::put(tx, &second)?;
            }
            Ok(())
        })?;
        stored = store.read_blocking("authority.keys", |tx| keys::list(tx, name))?;
    }
    let mut slots = Vec::with_capacity(stored.len());
    for row in stored {
        let key = K::from_stored(maker.purpose, &row)?;
        let state = from_stored(&row).ok_or(OpenError::KeyState(name))?;
        // The name under which a key is stored is a digest of its public half.
        if key.kid() != row.kid {
            return Err(OpenError::KeyUnreadable);
        }
        slots.push(KeySlot { kid: row.kid, key: Arc::new(key), published: row.created, state });
    }
    Ring::from_slots(maker.purpose, slots)
}

fn open_checkpoint(
    store: &Store,
    trust_domain: &TrustDomain,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<CheckpointSigner, OpenError> {
    let list = || store.read_blocking("authority.checkpoint_key", |tx| keys::list(tx, CHECKPOINT));
    let mut stored = list()?;
    if stored.is_empty() {
        // Each log has an origin of its own, so that two logs of one trust domain are never taken for one.
        let mut tag = [0u8; 4];
        entropy.fill(&mut tag);
        let origin = format!("{trust_domain}/audit/{:08x}", u32::from_be_bytes(tag));
        // The key is never rotated: its name is the log's.
        let (signer, private) = CheckpointSigner::generate(&origin, entropy)?;
        let first = signer.first_checkpoint()?;
        let row = StoredKey {
            purpose: CHECKPOINT.to_owned(),
            kid: origin.clone(),
            state: keys::KeyState::Active,
            created: now,
            until: None,
            public: signer.verifier().vkey().as_bytes().to_vec(),
            private,
        };
        store.transact_blocking("authority.first_checkpoint_key", |tx| {
            if keys::list(tx, CHECKPOINT)?.is_empty() {
                keys::put(tx, &row)?;
                // In the transaction of the key, so that a log that has lost its checkpoint is never taken
                // for a new one.
                records::add_log(tx, &origin, &first)?;
            }
            Ok(())
        })?;
        stored = list()?;
    }
    match stored.as_slice() {
        [only] => Ok(CheckpointSigner::from_secret(&only.private)?),
        _ => Err(OpenError::KeyState(CHECKPOINT)),
    }
}

/// Rotates the keys of one purpose, durably, and returns the keys after that.
pub(crate) fn rotate(
    store: &Store,
    current: &Published,
    purpose: Purpose,
    trust_domain: &TrustDomain,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Published, RotateError> {
    let maker = Maker { purpose, trust_domain, now, entropy };
    let (access_token, jwt_svid, x509) =
        (Arc::clone(&current.access_token), Arc::clone(&current.jwt_svid), Arc::clone(&current.x509));
    let next = match purpose {
        Purpose::AccessToken => Published::new(rotate_ring(store, &access_token, &maker)?, jwt_svid, x509),
        Purpose::JwtSvid => Published::new(access_token, rotate_ring(store, &jwt_svid, &maker)?, x509),
        Purpose::X509 => Published::new(access_token, jwt_svid, rotate_ring(store, &x509, &maker)?),
    };
    Ok(next?)
}

fn rotate_ring<K: Material>(
    store: &Store,
    ring: &Ring<K>,
    maker: &Maker<'_>,
) -> Result<Arc<Ring<K>>, RotateError> {
    let (next, row) = make::<K>(maker)?;
    let rotation = match ring.ready() {
        Some(ready) if ready > maker.now => return Err(RotateError::TooSoon { ready }),
        Some(_) => ring.rotated(maker.purpose, next, maker.now),
        None => None,
    };
    let rotation = rotation.ok_or(OpenError::KeyState(maker.purpose.as_str()))?;
    write(store, maker.purpose, &rotation, Some(&row)).map_err(OpenError::Store)?;
    Ok(Arc::new(rotation.ring))
}

/// Drops expired keys, durably, and returns the keys after that.
pub(crate) fn prune(
    store: &Store,
    current: &Published,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Published, OpenError> {
    fn pruned<K>(
        store: &Store,
        ring: &Ring<K>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Arc<Ring<K>>, OpenError> {
        let rotation = ring.pruned(now);
        write(store, purpose, &rotation, None)?;
        Ok(Arc::new(rotation.ring))
    }
    let (access_token, jwt_svid, x509) =
        (Arc::clone(&current.access_token), Arc::clone(&current.jwt_svid), Arc::clone(&current.x509));
    match purpose {
        Purpose::AccessToken => Published::new(pruned(store, &access_token, purpose, now)?, jwt_svid, x509),
        Purpose::JwtSvid => Published::new(access_token, pruned(store, &jwt_svid, purpose, now)?, x509),
        Purpose::X509 => Published::new(access_token, jwt_svid, pruned(store, &x509, purpose, now)?),
    }
}

fn write<K>(
    store: &Store,
    purpose: Purpose,
    rotation: &Rotation<K>,
    new: Option<&StoredKey>,
) -> Result<(), StoreError> {
    let name = purpose.as_str();
    store.transact_blocking("authority.rotate", |tx| {
        for (kid, state) in &rotation.changed {
            let (state, until) = to_stored(*state);
            keys::set_state(tx, name, kid, state, until)?;
        }
        for kid in &rotation.removed {
            keys::remove(tx, name, kid)?;
        }
        let Some(row) = new else { return Ok(()) };
        // Another key that waits is of a rotation whose answer was lost: this process has never published it.
        for other in keys::list(tx, name)?.into_iter().filter(|key| key.state == keys::KeyState::Next) {
            keys::remove(tx, name, &other.kid)?;
        }
        keys::put(tx, row)
    })
}
