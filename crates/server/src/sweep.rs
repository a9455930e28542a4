//! When what has expired may be swept.

use std::time::{Duration, Instant};

use mandate_core::Timestamp;
use mandate_delegation::revocation::CUT_MEMORY;

/// How much further the clock may go than time does, between two looks, without having been set.
const SLACK: Duration = Duration::from_mins(1);

/// Watches the clock for leaps ahead.
///
/// By a clock that is wrong for a moment, cuts and assertions would look expired and be swept; once it is right again,
/// revoked tokens would live again. After a leap nothing is swept until everything that was alive before it has expired
/// by the time that went by.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Timestamp,
    seen: Instant,
    leapt: Option<Instant>,
}

impl Steady {
    /// Watches from now on.
    pub(crate) fn from(clock: Timestamp, seen: Instant) -> Self {
        Self { clock, seen, leapt: None }
    }

    /// Looks again: whether the clock has gone with time for long enough.
    pub(crate) fn is(&mut self, clock: Timestamp, seen: Instant) -> bool {
        if clock.since(self.clock) > seen.saturating_duration_since(self.seen) + SLACK {
            self.leapt = Some(seen);
        }
        (self.clock, self.seen) = (clock, seen);
        self.leapt.is_none_or(|leapt| seen.saturating_duration_since(leapt) > CUT_MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::{CUT_MEMORY, Instant, SLACK, Steady, Timestamp};
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_clock_that_goes_with_time_or_is_set_back_is_steady() {
        let (mut clock, mut seen) = (Timestamp::from_secs(1_000_000), Instant::now());
        let mut steady = Steady::from(clock, seen);
        for _ in 0..100 {
            (clock, seen) = (clock.plus(MINUTE + SLACK / 2), seen + MINUTE);
            assert!(steady.is(clock, seen));
        }
        assert!(steady.is(clock.minus(CUT_MEMORY), seen + MINUTE));
    }

    #[test]
    fn after_a_leap_nothing_is_swept_until_what_was_alive_has_expired_by_the_time_that_went_by() {
        let (clock, seen) = (Timestamp::from_secs(1_000_000), Instant::now());
        let mut steady = Steady::from(clock, seen);
        let day = Duration::from_hours(24);
        assert!(!steady.is(clock.plus(day), seen + MINUTE));
        let (clock, seen) = (clock.plus(day), seen + MINUTE);
        assert!(!steady.is(clock.plus(CUT_MEMORY), seen + CUT_MEMORY));
        assert!(steady.is(clock.plus(CUT_MEMORY + MINUTE), seen + CUT_MEMORY + MINUTE));
    }

    #[test]
    fn a_leap_that_is_taken_back_does_not_hurry_the_sweep() {
        let (clock, seen) = (Timestamp::from_secs(1_000_000), Instant::now());
        let mut steady = Steady::from(clock, seen);
        assert!(!steady.is(clock.plus(CUT_MEMORY * 2), seen + MINUTE));
        assert!(!steady.is(clock.plus(MINUTE * 2), seen + MINUTE * 2));
    }
}
