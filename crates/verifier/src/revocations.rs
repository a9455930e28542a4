//! The cuts that are known, and how recently they were known to be all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use mandate_core::{Cut, RevocationSet, Timestamp, TokenFacts};

/// The most cuts that are held. Cuts are forgotten when no token they could hit is alive, so this is far beyond use.
pub(crate) const MAX_CUTS: usize = 100_000;

/// How far a sign of life may lie in the future before the clock must have been set back.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// The cuts could not be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_CUTS} cuts are in force")]
pub(crate) struct TooManyCuts;

#[derive(Debug, Default)]
pub(crate) struct Revocations {
    set: RwLock<RevocationSet>,
    /// Milliseconds; 0 is never.
    contact: AtomicU64,
}

impl Revocations {
    pub(crate) fn restored(cuts: Vec<Cut>, contact: Option<Timestamp>) -> Self {
        let mut set = RevocationSet::new();
        cuts.into_iter().take(MAX_CUTS).for_each(|cut| set.insert(cut));
        Self { set: RwLock::new(set), contact: AtomicU64::new(contact.map_or(0, Timestamp::millis)) }
    }

    /// Adds a cut, in force at once; returns how many there are. A cut is never taken back: it ends by itself.
    pub(crate) fn insert(&self, cut: Cut) -> Result<usize, TooManyCuts> {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        if set.len() >= MAX_CUTS {
            return Err(TooManyCuts);
        }
        set.insert(cut);
        Ok(set.len())
    }

    /// Forgets cuts that no living token can hang below; returns how many are left.
    pub(crate) fn forget_before(&self, now: Timestamp) -> usize {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        set.forget_before(now);
        set.len()
    }

    /// Records that at `now` every cut in force was known.
    pub(crate) fn in_contact(&self, now: Timestamp) {
        self.contact.store(now.millis(), Ordering::Release);
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
        // A clock that was set back would make an old sign of life look new for as long as it was set back.
        self.last_contact().is_some_and(|at| at <= now.plus(CLOCK_TOLERANCE) && now.since(at) <= max_age)
    }

    /// Whether the token hangs below a cut.
    pub(crate) fn cuts(&self, token: &TokenFacts<'_>) -> bool {
        self.set.read().unwrap_or_else(PoisonError::into_inner).find(token).is_some()
    }

    /// All cuts, for the cache file.
    pub(crate) fn all(&self) -> Vec<Cut> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
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
        assert_eq!(known.insert(cut(MAX_CUTS)), Err(TooManyCuts));
        assert_eq!(known.forget_before(Timestamp::from_secs(1000)), 0);
        assert_eq!(known.insert(cut(1)), Ok(1));
    }
}
