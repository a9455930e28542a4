//! The answers of identity providers that were used, by their `state`: each counts once.
//!
//! In memory alone: the logins that a browser has begun are sealed with a key of this process, so none can be
//! answered after a restart. Strangers can begin logins, so the memory is bounded.

use std::collections::{BTreeSet, HashSet};

use mandate_core::Timestamp;
use mandate_core::digest::sha256;
use parking_lot::Mutex;

/// How many are remembered. Each takes about 150 bytes.
const MOST: usize = 100_000;

type Digest = [u8; 32];

#[derive(Default)]
struct Used {
    states: HashSet<Digest>,
    /// The same, by when they may be forgotten.
    by_end: BTreeSet<(Timestamp, Digest)>,
}

/// What remembering a state found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    First,
    Again,
    /// There is no room, so nobody knows.
    Full,
}

#[derive(Default)]
pub(crate) struct UsedStates(Mutex<Used>);

impl UsedStates {
    /// Remembers until `ends` that a state was used.
    pub(super) fn remember(&self, state: &str, ends: Timestamp, now: Timestamp) -> Use {
        let digest = sha256(state.as_bytes());
        let mut used = self.0.lock();
        while let Some((end, old)) = used.by_end.first().copied().filter(|(end, _)| *end <= now) {
            used.by_end.remove(&(end, old));
            used.states.remove(&old);
        }
        if used.states.contains(&digest) {
            return Use::Again;
        }
        if used.states.len() >= MOST {
            return Use::Full;
        }
        used.states.insert(digest);
        used.by_end.insert((ends, digest));
        Use::First
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;

    use super::{MOST, Use, UsedStates};

    #[test]
    fn a_state_counts_once_and_a_full_memory_takes_none() {
        let at = Timestamp::from_secs;
        let used = UsedStates::default();
        assert_eq!(used.remember("a", at(60), at(1)), Use::First);
        assert_eq!(used.remember("a", at(60), at(59)), Use::Again);
        for n in 1..MOST {
            assert_eq!(used.remember(&n.to_string(), at(100), at(2)), Use::First);
        }
        assert_eq!(used.remember("b", at(60), at(59)), Use::Full);
        assert_eq!(used.remember("a", at(60), at(59)), Use::Again, "what was used stays used");
        assert_eq!(used.remember("b", at(120), at(60)), Use::First, "the first one has ended");
    }
}
