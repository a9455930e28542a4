//! Generations of the keys of one purpose: one key signs, one waits, the others only verify until everything
//! that they signed has expired.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::lifetimes::{
    CA_KEY_PERIOD, CLOCK_SKEW, JWT_SVID_LIFETIME, PERSON_TOKEN_LIFETIME, PUBLISH_BEFORE_USE,
    TOKEN_KEY_PERIOD, X509_SVID_LIFETIME,
};

use crate::error::OpenError;

/// What a key signs. Keys of different purposes are never in one key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Access tokens, for resource servers.
    AccessToken,
    /// JWT-SVIDs, by which agents show who they are.
    JwtSvid,
    /// X.509-SVIDs of nodes and of the server's own listener.
    X509,
}

impl Purpose {
    /// Every purpose; each has keys of its own.
    pub const ALL: &'static [Self] = &[Self::AccessToken, Self::JwtSvid, Self::X509];

    /// Its name in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::JwtSvid => "jwt_svid",
            Self::X509 => "x509",
        }
    }

    /// How long a retired key is kept: the longest lifetime of what it may have signed, plus the clock skew.
    pub(crate) fn keep_retired(self) -> Duration {
        let longest = match self {
            Self::AccessToken => PERSON_TOKEN_LIFETIME,
            Self::JwtSvid => JWT_SVID_LIFETIME,
            Self::X509 => X509_SVID_LIFETIME,
        };
        longest + CLOCK_SKEW
    }

    /// After how long `maintain` replaces the active key.
    pub(crate) const fn replace_after(self) -> Duration {
        match self {
            Self::AccessToken | Self::JwtSvid => TOKEN_KEY_PERIOD,
            Self::X509 => CA_KEY_PERIOD,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key is used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingKeyState {
    /// Published, signs nothing yet.
    Standby,
    Active,
    /// No longer signs; published until everything that it signed has expired.
    Retired {
        until: Timestamp,
    },
}

pub(crate) struct KeySlot<K> {
    pub(crate) kid: String,
    pub(crate) key: Arc<K>,
    pub(crate) published: Timestamp,
    pub(crate) state: RingKeyState,
}

impl<K> Clone for KeySlot<K> {
    fn clone(&self) -> Self {
        Self {
            kid: self.kid.clone(),
            key: Arc::clone(&self.key),
            published: self.published,
            state: self.state,
        }
    }
}

/// All generations of one purpose. Exactly one is active and at most one waits.
pub(crate) struct Ring<K> {
    active: KeySlot<K>,
    standby: Option<KeySlot<K>>,
    retired: Vec<KeySlot<K>>,
}

/// What a rotation changes, for the store to make durable before the ring is swapped in.
pub(crate) struct Rotation<K> {
    pub(crate) ring: Ring<K>,
    /// Keys whose state changed.
    pub(crate) changed: Vec<(String, RingKeyState)>,
    /// Keys that were removed.
    pub(crate) removed: Vec<String>,
}

impl<K> Ring<K> {
    /// From what the store holds.
    pub(crate) fn from_slots(purpose: Purpose, slots: Vec<KeySlot<K>>) -> Result<Self, OpenError> {
        let (mut active, mut standby, mut retired) = (None, None, Vec::new());
        for slot in slots {
            let twice = match slot.state {
                RingKeyState::Active => active.replace(slot).is_some(),
                RingKeyState::Standby => standby.replace(slot).is_some(),
                RingKeyState::Retired { .. } => {
                    retired.push(slot);
                    false
                }
            };
            if twice {
                return Err(OpenError::KeyState(purpose.as_str()));
            }
        }
        Ok(Self { active: active.ok_or(OpenError::KeyState(purpose.as_str()))?, standby, retired })
    }

    /// The key that signs.
    pub(crate) fn active(&self) -> &KeySlot<K> {
        &self.active
    }

    /// Every key that is published: the active one first.
    pub(crate) fn published(&self) -> impl Iterator<Item = &KeySlot<K>> {
        std::iter::once(&self.active).chain(self.standby.as_ref()).chain(&self.retired)
    }

    /// From when on the waiting key may sign. `None`: no key waits.
    pub(crate) fn ready(&self) -> Option<Timestamp> {
        let published = self.standby.as_ref()?.published;
        // The first two keys are published together, so no key set without the waiting one was ever
        // published.
        let first_pair = self.retired.is_empty() && published <= self.active.published;
        Some(if first_pair { published } else { published.plus(PUBLISH_BEFORE_USE) })
    }

    /// Whether the active key has signed for its whole period. The period began when the key that waits now
    /// was made.
    pub(crate) fn is_due(&self, purpose: Purpose, now: Timestamp) -> bool {
        self.standby.as_ref().is_some_and(|standby| now.since(standby.published) >= purpose.replace_after())
    }

    /// Whether a retired key can be dropped.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.retired.iter().any(|slot| is_over(slot, now))
    }

    /// The waiting key signs, the active one retires, `next` waits, and expired keys are removed.
    pub(crate) fn rotated(&self, purpose: Purpose, next: KeySlot<K>, now: Timestamp) -> Option<Rotation<K>> {
        let mut active = self.standby.clone()?;
        let mut old = self.active.clone();
        active.state = RingKeyState::Active;
        old.state = RingKeyState::Retired { until: now.plus(purpose.keep_retired()) };
        let changed = vec![(active.kid.clone(), active.state), (old.kid.clone(), old.state)];
        let (removed, mut retired) = self.split_expired(now);
        retired.push(old);
        Some(Rotation { ring: Self { active, standby: Some(next), retired }, changed, removed })
    }

    /// The same ring without expired keys.
    pub(crate) fn pruned(&self, now: Timestamp) -> Rotation<K> {
        let (removed, retired) = self.split_expired(now);
        let ring = Self { active: self.active.clone(), standby: self.standby.clone(), retired };
        Rotation { ring, changed: Vec::new(), removed }
    }

    fn split_expired(&self, now: Timestamp) -> (Vec<String>, Vec<KeySlot<K>>) {
        let (over, kept): (Vec<_>, Vec<_>) =
            self.retired.iter().cloned().partition(|slot| is_over(slot, now));
        (over.into_iter().map(|slot| slot.kid).collect(), kept)
    }
}

fn is_over<K>(slot: &KeySlot<K>, now: Timestamp) -> bool {
    matches!(slot.state, RingKeyState::Retired { until } if until <= now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::Timestamp;

    use super::{KeySlot, PUBLISH_BEFORE_USE, Purpose, Ring, RingKeyState};

    const T0: Timestamp = Timestamp::from_secs(1_000_000);

    fn slot(kid: &str, published: Timestamp, state: RingKeyState) -> KeySlot<()> {
        KeySlot { kid: kid.to_owned(), key: Arc::new(()), published, state }
    }

    fn first() -> Ring<()> {
        let slots = vec![slot("a", T0, RingKeyState::Active), slot("b", T0, RingKeyState::Standby)];
        Ring::from_slots(Purpose::AccessToken, slots).unwrap()
    }

    fn kids(ring: &Ring<()>) -> Vec<&str> {
        ring.published().map(|slot| slot.kid.as_str()).collect()
    }

    #[test]
    fn a_successor_signs_only_after_it_has_been_published() {
        let ring = first();
        assert_eq!(ring.ready(), Some(T0), "both were published together");
        let later = T0.plus(Duration::from_secs(10));
        let ring =
            ring.rotated(Purpose::AccessToken, slot("c", later, RingKeyState::Standby), later).unwrap().ring;
        assert_eq!(ring.active().kid, "b");
        assert_eq!(kids(&ring), ["b", "c", "a"]);
        assert_eq!(ring.ready(), Some(later.plus(PUBLISH_BEFORE_USE)));
    }

    #[test]
    fn a_retired_key_verifies_until_the_last_token_it_signed_has_expired() {
        let ring =
            first().rotated(Purpose::AccessToken, slot("c", T0, RingKeyState::Standby), T0).unwrap().ring;
        let last = T0.plus(Purpose::AccessToken.keep_retired());
        let before = last.minus(Duration::from_millis(1));
        assert!(!ring.has_expired(before));
        assert_eq!(kids(&ring.pruned(before).ring), ["b", "c", "a"]);
        assert!(ring.has_expired(last));
        let pruned = ring.pruned(last);
        assert_eq!((kids(&pruned.ring), pruned.removed), (vec!["b", "c"], vec!["a".to_owned()]));
    }

    #[test]
    fn is_due_after_its_period_and_not_before() {
        let ring = first();
        let period = Purpose::AccessToken.replace_after();
        assert!(!ring.is_due(Purpose::AccessToken, T0.plus(period).minus(Duration::from_millis(1))));
        assert!(ring.is_due(Purpose::AccessToken, T0.plus(period)));
    }

    #[test]
    fn refuses_a_store_with_no_active_key_or_with_two() {
        let none = vec![slot("a", T0, RingKeyState::Standby)];
        assert!(Ring::from_slots(Purpose::JwtSvid, none).is_err());
        let active = RingKeyState::Active;
        assert!(
            Ring::from_slots(Purpose::JwtSvid, vec![slot("a", T0, active), slot("b", T0, active)]).is_err()
        );
        let waiting = vec![
            slot("a", T0, active),
            slot("b", T0, RingKeyState::Standby),
            slot("c", T0, RingKeyState::Standby),
        ];
        assert!(Ring::from_slots(Purpose::JwtSvid, waiting).is_err());
    }
}
