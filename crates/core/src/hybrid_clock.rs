//! One clock orders everything that a server records, issues and cuts: a hybrid logical clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::time::{Clock, Timestamp};

/// A change of the machine's clock this large is a step, not the drift that time synchronization corrects.
pub const STEP: Duration = Duration::from_secs(1);

/// A token or identity that is issued while the machine's clock is behind is valid for at least this long, or
/// for its usual lifetime if that is shorter.
const SHORTEST: Duration = Duration::from_mins(1);

/// The machine's clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// By how much, in milliseconds; negative: back.
    pub millis: i64,
    /// What this clock showed then.
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Microseconds since the epoch: the latest time that was given.
    last: u64,
    /// What the machine's clock and its steady counter showed at the last look.
    seen: Option<(Timestamp, Duration)>,
    step: Option<ClockStep>,
    steps: u64,
}

/// A clock that never goes back, no matter what happens to the machine's clock, also over restarts.
///
/// It shows the machine's time, but no time earlier than the one it was given ([`HybridClock::new`]) or one
/// it has shown. After the machine's clock was set back, this clock runs at half speed until the machine's
/// clock has caught up. It never stands still, so that what was issued by it still expires, and it
/// does not stay ahead. Expiry is checked by it too. It is never behind the machine's clock, so that nothing
/// stays valid longer than by the machine's time.
pub struct HybridClock {
    wall: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl fmt::Debug for HybridClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridClock").field("state", &*self.lock()).finish_non_exhaustive()
    }
}

impl HybridClock {
    /// A clock over the machine's that shows nothing earlier than `newest`: the latest time that is durable.
    pub fn new(wall: Arc<dyn Clock>, newest: Timestamp) -> Self {
        let last = newest.millis().saturating_mul(1000);
        Self { wall, state: Mutex::new(State { last, seen: None, step: None, steps: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after each statement, also if a thread panics while it holds the lock.
        self.state.lock()
    }

    /// Moves the clock forward by a millisecond and returns the new time: every later time is later than
    /// every time before the call.
    pub fn tick(&self) -> Timestamp {
        let (mut state, _) = self.look();
        state.last = state.last.saturating_add(1000);
        shown(&state)
    }

    /// The machine's clock. Only for times that others compare with their own clocks, and by which nothing is
    /// ordered: those of X.509 certificates.
    pub fn wall(&self) -> Timestamp {
        self.wall.now()
    }

    /// How far the machine's clock is behind this one.
    pub fn behind(&self) -> Duration {
        let (state, wall) = self.look();
        shown(&state).since(wall)
    }

    /// The last step of the machine's clock since the start, and how many there were.
    pub fn steps(&self) -> (Option<ClockStep>, u64) {
        let (state, _) = self.look();
        (state.step, state.steps)
    }

    fn look(&self) -> (MutexGuard<'_, State>, Timestamp) {
        let mut state = self.lock();
        let (wall, steady) = (self.wall.now(), self.wall.steady());
        if let Some((wall_before, steady_before)) = state.seen {
            let went = steady.saturating_sub(steady_before);
            let millis = difference(wall, wall_before.plus(went));
            state.last = state.last.saturating_add(u64::try_from(went.as_micros() / 2).unwrap_or(u64::MAX));
            if millis.unsigned_abs() >= STEP.as_millis().try_into().unwrap_or(u64::MAX) {
                state.steps += 1;
                state.step =
                    Some(ClockStep { millis, at: Timestamp::from_millis(state.last / 1000).max(wall) });
            }
        }
        state.seen = Some((wall, steady));
        state.last = state.last.max(wall.millis().saturating_mul(1000));
        (state, wall)
    }
}

fn shown(state: &State) -> Timestamp {
    Timestamp::from_millis(state.last / 1000)
}

fn difference(a: Timestamp, b: Timestamp) -> i64 {
    let millis = |ahead: Duration| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    if a >= b { millis(a.since(b)) } else { -millis(b.since(a)) }
}

/// The `lifetime` of something that is issued while the machine's clock is `behind` this one. By the
/// machine's clock it is as long as usual, if at least a minute is left.
#[must_use]
pub fn shortened(lifetime: Duration, behind: Duration) -> Duration {
    lifetime.saturating_sub(behind).max(lifetime.min(SHORTEST))
}

impl Clock for HybridClock {
    fn now(&self) -> Timestamp {
        shown(&self.look().0)
    }

    fn steady(&self) -> Duration {
        self.wall.steady()
    }
}

#[cfg(test)]
mod tests;
