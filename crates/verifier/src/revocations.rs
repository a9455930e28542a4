//! The known cuts, and the last time at which they were known to be complete.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mandate_core::{Cut, RevocationSet, Timestamp, TokenFacts};
use parking_lot::RwLock;

/// The most cuts that are kept. A cut is forgotten when no valid token can be below it, so real use needs far
/// fewer.
pub(crate) const MAX_CUTS: usize = 100_000;

/// How much later another thread may have read the same clock. If the time of a contact is further in the
/// future, the clock must have been set back.
const BETWEEN_READINGS: Duration = Duration::from_secs(1);

/// The cuts could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_CUTS} cuts are in force")]
pub(crate) struct TooManyCuts;

#[derive(Debug, Default)]
pub(crate) struct Revocations {
    set: RwLock<RevocationSet>,
    /// Milliseconds; 0 is never.
    contact: AtomicU64,
    /// The latest time, in milliseconds, of any operation here: cuts that had ended by then may have been
    /// removed.
    latest: AtomicU64,
}

impl Revocations {
    pub(crate) fn restored(cuts: Vec<Cut>, contact: Option<Timestamp>) -> Self {
        let mut set = RevocationSet::new();
        cuts.into_iter().take(MAX_CUTS).for_each(|cut| set.insert(cut));
        let contact = contact.map_or(0, Timestamp::millis);
        Self { set: RwLock::new(set), contact: AtomicU64::new(contact), latest: AtomicU64::new(contact) }
    }

    /// Adds a cut, in force at once; returns how many there are. A cut is never taken back: it ends by
    /// itself.
    pub(crate) fn insert(&self, cut: Cut, now: Timestamp) -> Result<usize, TooManyCuts> {
        let mut set = self.set.write();
        // A known cut needs no room, and ended cuts are removed first.
        if set.len() >= MAX_CUTS && !set.contains(&cut.target) {
            self.latest.fetch_max(now.millis(), Ordering::AcqRel);
            set.forget_before(now);
            if set.len() >= MAX_CUTS {
                return Err(TooManyCuts);
            }
        }
        set.insert(cut);
        Ok(set.len())
    }

    /// Forgets cuts that no valid token can be below; returns how many are left.
    pub(crate) fn forget_before(&self, now: Timestamp) -> usize {
        let mut set = self.set.write();
        self.latest.fetch_max(now.millis(), Ordering::AcqRel);
        set.forget_before(now);
        set.len()
    }

    /// Records that at `now` every cut in force was known.
    pub(crate) fn in_contact(&self, now: Timestamp) {
        self.latest.fetch_max(now.millis(), Ordering::AcqRel);
        self.contact.store(now.millis(), Ordering::Release);
    }

    fn is_ahead(&self, now: Timestamp) -> bool {
        self.latest.load(Ordering::Acquire) > now.plus(BETWEEN_READINGS).millis()
    }

    /// Whether the clock was set back. Cuts that were forgotten while it was ahead may be needed again, so
    /// nothing counts as known until the next contact. Returns true only once.
    pub(crate) fn clock_was_set_back(&self, now: Timestamp) -> bool {
        let ahead = self.is_ahead(now);
        if ahead {
            self.contact.store(0, Ordering::Release);
            self.latest.store(0, Ordering::Release);
        }
        ahead
    }

    /// When every cut in force was last known.
    pub(crate) fn last_contact(&self) -> Option<Timestamp> {
        match self.contact.load(Ordering::Acquire) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis)),
        }
    }

    /// Whether every cut was known within `max_age` before `now`.
    pub(crate) fn is_fresh(&self, now: Timestamp, max_age: Duration) -> bool {
        // After the clock was set back, an old contact would look recent.
        !self.is_ahead(now) && self.last_contact().is_some_and(|at| now.since(at) <= max_age)
    }

    /// Whether the token is below a cut.
    pub(crate) fn cuts(&self, token: &TokenFacts<'_>) -> bool {
        self.set.read().find(token).is_some()
    }

    /// All cuts, for the cache file.
    pub(crate) fn all(&self) -> Vec<Cut> {
        self.set.read().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::{Cut, CutTarget, Timestamp};

    use super::{MAX_CUTS, Revocations, TooManyCuts};

    fn cut(n: usize) -> Cut {
        let target = CutTarget::Token(format!("t{n}").parse().unwrap());
        Cut { target, at: Timestamp::from_secs(100), forget: Timestamp::from_secs(1000) }
    }

    #[test]
    fn never_in_contact_is_never_fresh() {
        assert!(!Revocations::default().is_fresh(Timestamp::from_secs(5), Duration::MAX));
    }

    #[test]
    fn freshness_ends_at_max_age_and_when_the_clock_is_set_back() {
        let known = Revocations::default();
        known.in_contact(Timestamp::from_secs(100));
        let fresh = |now| known.is_fresh(Timestamp::from_secs(now), Duration::from_secs(15));
        assert!(fresh(100) && fresh(115));
        assert!(!fresh(116));
        assert!(fresh(99), "another thread may have taken its time a moment earlier");
        assert!(!fresh(98), "set back: an hour-old sign of life must not look new");
    }

    #[test]
    fn is_bounded_and_says_so() {
        let known = Revocations::restored((0..MAX_CUTS).map(cut).collect(), None);
        let at = Timestamp::from_secs;
        assert_eq!(known.insert(cut(MAX_CUTS), at(200)), Err(TooManyCuts));
        assert_eq!(
            known.insert(cut(1), at(200)),
            Ok(MAX_CUTS),
            "what is known already is no more than before"
        );
        assert_eq!(known.insert(cut(MAX_CUTS), at(1000)), Ok(1), "what is over makes room");
        assert_eq!(known.forget_before(at(1000)), 0, "it is over as well");
    }

    #[test]
    fn cuts_that_were_forgotten_in_the_future_are_missed_at_once() {
        let known = Revocations::default();
        let at = Timestamp::from_secs;
        known.in_contact(at(100));
        known.forget_before(at(5000));
        assert!(!known.is_fresh(at(101), Duration::MAX));
        assert!(known.clock_was_set_back(at(101)));
        known.in_contact(at(101));
        assert!(known.is_fresh(at(101), Duration::ZERO));
    }

    #[test]
    fn a_contact_in_the_future_is_noticed_once_and_counts_no_more() {
        let known = Revocations::default();
        known.in_contact(Timestamp::from_secs(100));
        assert!(
            !known.clock_was_set_back(Timestamp::from_secs(99)),
            "another thread may have taken its time a moment later"
        );
        assert!(known.clock_was_set_back(Timestamp::from_secs(50)));
        assert!(!known.clock_was_set_back(Timestamp::from_secs(50)));
        assert!(!known.is_fresh(Timestamp::from_secs(100), Duration::MAX));
    }
}
