//! A clock that stands still until it is told to move, and an entropy source that repeats itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mandate_core::{Clock, Entropy, Timestamp};

/// 2026-11-24T09:30:00Z: the time at which the worlds of tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_795_512_600);

/// A clock that stands still until it is set or advanced. Share it by `Arc`.
#[derive(Debug)]
pub struct SteppedClock {
    now: AtomicU64,
    steady: AtomicU64,
}

impl SteppedClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: AtomicU64::new(now.millis()), steady: AtomicU64::new(0) }
    }

    /// Sets it to `now`, which may be earlier than before. No time passes.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::SeqCst);
    }

    /// Moves the clock ahead as if so much time had passed.
    pub fn advance(&self, by: Duration) {
        self.steady.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.set(self.now().plus(by));
    }
}

impl Default for SteppedClock {
    fn default() -> Self {
        Self::at(START)
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.load(Ordering::SeqCst))
    }
}

/// A clock that is a millisecond later each time it is read.
#[derive(Debug)]
pub struct TickingClock(AtomicU64);

impl TickingClock {
    /// A clock that shows `first` when it is read the first time.
    pub fn at(first: Timestamp) -> Self {
        Self(AtomicU64::new(first.millis()))
    }
}

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::ZERO
    }
}

/// Entropy that is a function of its seed (SplitMix64): two runs of a test make the same ids. Predictable on
/// purpose.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// A source that returns the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Default for SeededEntropy {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::{Clock, Entropy, Timestamp};

    use super::{START, SeededEntropy, SteppedClock};

    #[test]
    fn the_clock_stands_until_moved() {
        let clock = SteppedClock::default();
        assert_eq!(clock.now(), "2026-11-24T09:30:00Z".parse::<Timestamp>().unwrap());
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), START.plus(Duration::from_secs(60)));
        clock.set(START);
        assert_eq!(clock.now(), START);
    }

    #[test]
    fn the_same_seed_yields_the_same_bytes_and_another_seed_others() {
        let take = |seed| {
            let mut out = [0u8; 21];
            SeededEntropy::new(seed).fill(&mut out);
            out
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }
}
