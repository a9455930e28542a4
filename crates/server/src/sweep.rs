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
/// by the time that went by. A start is such a leap: nothing tells whether the clock it finds is right.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Timestamp,
    seen: Instant,
    /// Since when the clock has gone with time.
    since: Instant,
}

impl Steady {
    /// Watches from now on.
    pub(crate) fn from(clock: Timestamp, seen: Instant) -> Self {
        Self { clock, seen, since: seen }
    }

    /// Looks again: whether the clock has leapt ahead since the last look.
    pub(crate) fn leapt(&mut self, clock: Timestamp, seen: Instant) -> bool {
        let leapt = clock.since(self.clock) > seen.saturating_duration_since(self.seen) + SLACK;
        if leapt {
            self.since = seen;
        }
        (self.clock, self.seen) = (clock, seen);
        leapt
    }

    /// Whether the clock has gone with time for long enough.
    pub(crate) fn is_steady(&self) -> bool {
        self.seen.saturating_duration_since(self.since) > CUT_MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::{CUT_MEMORY, Instant, SLACK, Steady, Timestamp};
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_mins(1);

    /// A clock that has been watched for long enough, where it stands, and when that was seen.
    fn watched() -> (Steady, Timestamp, Instant) {
        let (clock, seen) = (Timestamp::from_secs(1_000_000), Instant::now());
        let mut steady = Steady::from(clock, seen);
        assert!(!steady.is_steady(), "a start trusts no clock");
        let after = CUT_MEMORY + MINUTE;
        assert!(!steady.leapt(clock.plus(after), seen + after));
        assert!(steady.is_steady());
        (steady, clock.plus(after), seen + after)
    }

    #[test]
    fn a_clock_that_goes_with_time_or_is_set_back_is_steady() {
        let (mut steady, mut clock, mut seen) = watched();
        for _ in 0..100 {
            (clock, seen) = (clock.plus(MINUTE + SLACK / 2), seen + MINUTE);
            assert!(!steady.leapt(clock, seen) && steady.is_steady());
        }
        assert!(!steady.leapt(clock.minus(CUT_MEMORY), seen + MINUTE) && steady.is_steady());
    }

    #[test]
    fn after_a_leap_nothing_is_swept_until_what_was_alive_has_expired_by_the_time_that_went_by() {
        let (mut steady, clock, seen) = watched();
        let (clock, seen) = (clock.plus(Duration::from_hours(24)), seen + MINUTE);
        assert!(steady.leapt(clock, seen) && !steady.is_steady());
        assert!(!steady.leapt(clock.plus(CUT_MEMORY), seen + CUT_MEMORY) && !steady.is_steady());
        let after = CUT_MEMORY + MINUTE;
        assert!(!steady.leapt(clock.plus(after), seen + after) && steady.is_steady());
    }

    #[test]
    fn a_leap_that_is_taken_back_does_not_hurry_the_sweep() {
        let (mut steady, clock, seen) = watched();
        assert!(steady.leapt(clock.plus(CUT_MEMORY * 2), seen + MINUTE));
        assert!(!steady.leapt(clock.plus(MINUTE * 2), seen + MINUTE * 2) && !steady.is_steady());
    }
}
