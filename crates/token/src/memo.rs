//! Remembering which signatures have verified.

use std::hash::RandomState;

use mandate_core::Timestamp;
use mandate_core::digest::Sha256;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter};

/// How many locks the memo has. By default it would ask the machine for the number of its processors.
const SHARDS: usize = 16;

/// A bounded memo of verified signatures, safe to share between threads.
///
/// The key is a SHA-256 over the fingerprint of the key set and the whole token. A hit skips only the
/// arithmetic of the signature: header rules, choice of the key, and every claim are checked each time. Any
/// change of the key set changes its fingerprint, so that no earlier entry matches. Only tokens that verified
/// are stored, so nobody can push entries out with invalid tokens.
pub struct SignatureMemo(Cache<Mark, Timestamp, UnitWeighter, RandomState>);

/// What is remembered of a token under a key set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark([u8; 32]);

impl Mark {
    pub(crate) fn of(fingerprint: &[u8; 32], token: &str) -> Self {
        let mut digest = Sha256::default();
        digest.update(fingerprint);
        digest.update(token.as_bytes());
        Self(digest.finish())
    }
}

impl SignatureMemo {
    /// A memo of at most about `capacity` signatures (about 120 bytes each), of which those that are used are
    /// kept.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "options with both capacities are complete"
    )]
    pub fn new(capacity: usize) -> Self {
        let mut options = OptionsBuilder::new();
        // Half of the memo is for entries that were used again. In the other half, a new entry is dropped
        // only after as many newer entries have been added as fit there.
        options.hot_allocation(0.5);
        options.shards(SHARDS).estimated_items_capacity(capacity).weight_capacity(capacity as u64);
        let options = options.build().expect("both capacities");
        Self(Cache::with_options(options, UnitWeighter, RandomState::new(), DefaultLifecycle::default()))
    }

    /// How many signatures it remembers, expired ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it remembers nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, mark: &Mark, now: Timestamp) -> bool {
        self.0.get(mark).is_some_and(|until| now < until)
    }

    pub(crate) fn insert(&self, mark: Mark, until: Timestamp) {
        self.0.insert(mark, until);
    }
}

impl std::fmt::Debug for SignatureMemo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignatureMemo").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, SignatureMemo};
    use mandate_core::Timestamp;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn stays_within_its_bound_and_keeps_what_is_in_use() {
        let memo = SignatureMemo::new(64);
        let mark = |n: u32| Mark::of(&[0; 32], &n.to_string());
        let kept = Mark::of(&[0; 32], "kept");
        memo.insert(kept, at(10));
        for n in 0..10_000 {
            memo.insert(mark(n), at(10));
            assert!(memo.contains(&mark(n), at(1)), "{n}, the newest");
            assert!(memo.contains(&kept, at(1)), "in use after {n}");
        }
        assert!(memo.len() <= 64, "{}", memo.len());
        assert!(!memo.contains(&mark(0), at(1)), "the oldest is gone");
    }

    #[test]
    fn an_entry_ends_with_the_token() {
        let memo = SignatureMemo::new(8);
        let mark = Mark::of(&[0; 32], "t");
        memo.insert(mark, at(10));
        assert!(memo.contains(&mark, Timestamp::from_millis(9_999)));
        assert!(!memo.contains(&mark, at(10)));
    }

    #[test]
    fn another_key_set_or_token_is_another_entry() {
        let memo = SignatureMemo::new(8);
        memo.insert(Mark::of(&[0; 32], "t"), at(10));
        assert!(!memo.contains(&Mark::of(&[1; 32], "t"), at(1)), "keys changed");
        assert!(!memo.contains(&Mark::of(&[0; 32], "u"), at(1)));
    }
}
