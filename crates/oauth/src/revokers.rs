//! Bounds on the cuts that clients cause.
//!
//! Every cut is in the memory of every verifier until it is forgotten, and a client may get as many tokens as
//! it likes. So the cuts of clients are bounded, for each client and for all together, below what a verifier
//! keeps. A client beyond its bound is told to try again later: its tokens expire by themselves. The cuts
//! that follow when somebody uses authorization codes or refresh tokens twice are within the same bound. An operator's cuts are
//! not counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::{PersonName, Timestamp, TokenId};
use parking_lot::{Mutex, MutexGuard};

/// How many cuts on single tokens an agent may have in force. Its tokens are valid for minutes.
const AGENT_CUTS: usize = 2_000;
/// How many an app may have. People's tokens are valid for an hour, and many people log out in an hour.
const APP_CUTS: usize = 20_000;
/// How many the used authorization codes and refresh tokens of a person may have. A correct client never uses
/// one twice.
const USED_TWICE_CUTS: usize = 32;
/// How many all of them together may have: verifiers keep 100,000, and operators need room.
const ALL_CUTS: usize = 80_000;
/// How often ended cuts are searched for when the maximum is reached.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who is the cause of a cut that no operator made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// An agent that revokes its tokens.
    Agent(Arc<str>),
    /// Another client that revokes its tokens.
    App(Arc<str>),
    /// A person whose codes or refresh tokens were used twice.
    UsedTwice(PersonName),
}

impl Cause {
    /// How many cuts it may have in force.
    fn max(&self) -> usize {
        match self {
            Self::Agent(_) => AGENT_CUTS,
            Self::App(_) => APP_CUTS,
            Self::UsedTwice(_) => USED_TWICE_CUTS,
        }
    }
}

/// The tokens that were cut for each cause, and when their cuts are forgotten. In memory: a restart begins
/// with zero.
#[derive(Debug, Default)]
pub(crate) struct Revokers(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    by_cause: HashMap<Cause, HashMap<TokenId, Timestamp>>,
    total: usize,
    looked: Option<Timestamp>,
}

impl Held {
    /// Drops ended cuts, but not at every call, so that a party at its bound costs no more time than others.
    fn look(&mut self, now: Timestamp) {
        if self.looked.is_some_and(|looked| now >= looked && now.since(looked) < LOOK_AGAIN) {
            return;
        }
        self.looked = Some(now);
        self.by_cause.retain(|_, tokens| {
            tokens.retain(|_, forget| *forget > now);
            !tokens.is_empty()
        });
        self.total = self.by_cause.values().map(HashMap::len).sum();
    }

    fn is_full(&self, cause: &Cause, max: usize, all: usize) -> bool {
        self.total >= all || self.by_cause.get(cause).is_some_and(|tokens| tokens.len() >= max)
    }
}

impl Revokers {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // Counts that are consistent after each statement, except `total`, which is counted again at
        // intervals.
        self.0.lock()
    }

    /// Counts one more cut, unless the maximum is reached. The same token counts once.
    pub(crate) fn admit(&self, cause: &Cause, token: &TokenId, forget: Timestamp, now: Timestamp) -> bool {
        self.admit_within(cause, token, forget, now, (cause.max(), ALL_CUTS))
    }

    fn admit_within(
        &self,
        cause: &Cause,
        token: &TokenId,
        forget: Timestamp,
        now: Timestamp,
        (max, all): (usize, usize),
    ) -> bool {
        let mut held = self.lock();
        if held.by_cause.get(cause).is_some_and(|tokens| tokens.contains_key(token)) {
            return true;
        }
        if held.is_full(cause, max, all) {
            held.look(now);
            if held.is_full(cause, max, all) {
                return false;
            }
        }
        held.by_cause.entry(cause.clone()).or_default().insert(token.clone(), forget);
        held.total += 1;
        true
    }

    /// Removes the count of a cut that was not made.
    pub(crate) fn release(&self, cause: &Cause, token: &TokenId) {
        let mut held = self.lock();
        if held.by_cause.get_mut(cause).is_some_and(|tokens| tokens.remove(token).is_some()) {
            held.total = held.total.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::{Timestamp, TokenId};

    use super::{Cause, Revokers, USED_TWICE_CUTS};

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn app(name: &str) -> Cause {
        Cause::App(name.into())
    }

    fn token(n: u64) -> TokenId {
        format!("t{n}").parse().unwrap()
    }

    #[test]
    fn a_client_has_no_more_cuts_in_force_than_it_may_and_they_end() {
        let revokers = Revokers::default();
        let admit = |client: &str, n: u64, forget, now| {
            revokers.admit_within(&app(client), &token(n), at(forget), at(now), (3, 100))
        };
        assert!((0..3).all(|n| admit("a", n, 100 + n, 0)));
        assert!(!admit("a", 9, 200, 50));
        assert!(admit("a", 2, 102, 50), "the same token again costs nothing");
        assert!(admit("b", 9, 200, 50), "each client has its own");
        assert!(admit("a", 9, 200, 100), "one has ended");
        assert!(!admit("a", 10, 200, 100));
    }

    #[test]
    fn all_clients_together_have_no_more_than_a_verifier_can_keep() {
        let revokers = Revokers::default();
        let admit = |client: &str, n: u64, forget, now| {
            revokers.admit_within(&app(client), &token(n), at(forget), at(now), (100, 4))
        };
        assert!((0..4).all(|n| admit(&format!("c{n}"), n, 100, 0)));
        assert!(!admit("another", 9, 200, 50));
        assert!(admit("another", 9, 200, 100));
    }

    #[test]
    fn codes_that_are_used_twice_are_counted_with_everything_else() {
        let revokers = Revokers::default();
        let codes = Cause::UsedTwice("riley".parse().unwrap());
        let admit = |cause: &Cause, n: usize, all| {
            revokers.admit_within(cause, &token(n as u64), at(200), at(0), (cause.max(), all))
        };
        assert!(admit(&app("riley"), 999, 100));
        assert!((0..USED_TWICE_CUTS).all(|n| admit(&codes, n, 100)));
        assert!(!admit(&codes, USED_TWICE_CUTS, 100), "a person has a bound");
        assert!(
            !admit(&app("a"), USED_TWICE_CUTS, USED_TWICE_CUTS + 1),
            "and what the person used up is missing for all"
        );
    }

    #[test]
    fn a_cut_that_was_not_made_after_all_does_not_count() {
        let revokers = Revokers::default();
        for _ in 0..10 {
            assert!(revokers.admit_within(&app("a"), &token(1), at(100), at(0), (1, 1)));
            revokers.release(&app("a"), &token(1));
        }
        assert!(revokers.admit_within(&app("b"), &token(2), at(100), at(0), (1, 1)));
    }

    #[test]
    fn clients_that_have_nothing_in_force_are_forgotten() {
        let revokers = Revokers::default();
        for n in 0..5000 {
            assert!(
                revokers.admit_within(&app(&format!("c{n}")), &token(n), at(2 * n + 1), at(2 * n), (1, 100)),
                "{n}"
            );
        }
        assert!(revokers.lock().by_cause.len() <= 100);
    }
}
