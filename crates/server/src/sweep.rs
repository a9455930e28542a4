//! When expired data may be removed.

use std::time::{Duration, Instant};

use mandate_core::Timestamp;
use mandate_delegation::revocation::CUT_MEMORY;

/// How much more the clock may advance than real time, between two checks, without having been set.
const SLACK: Duration = Duration::from_mins(1);

/// Watches the clock for jumps ahead.
///
/// If the clock is wrong for a moment, cuts and assertions look expired and would be removed. When the clock
/// is right again, revoked tokens would be valid again. So after a jump nothing is removed until enough real
/// time has passed for everything that was valid before to expire. A start counts as a jump, because it is
/// not known whether the clock is right then.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Timestamp,
    seen: Instant,
    /// Since when the clock has advanced with real time.
    since: Instant,
}

impl Steady {
    /// Begins to watch. No clock is trusted at first.
    pub(crate) fn from(clock: Timestamp, seen: Instant) -> Self {
        Self { clock, seen, since: seen }
    }

    /// Checks again whether the clock has jumped ahead since the last check.
    pub(crate) fn leapt(&mut self, clock: Timestamp, seen: Instant) -> bool {
        let leapt = clock.since(self.clock) > seen.saturating_duration_since(self.seen) + SLACK;
        if leapt {
            self.since = seen;
        }
        (self.clock, self.seen) = (clock, seen);
        leapt
    }

    /// Whether the clock has advanced with real time for long enough.
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
