//! The system clock and the system's entropy source. Only composition roots construct these.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Clock, Entropy, Timestamp};

/// The machine's clock, which its administrator can set back.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system clock")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as the epoch: every expiry check then fails closed on `iat` in the
        // future.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn steady(&self) -> Duration {
        static FIRST_LOOK: OnceLock<Instant> = OnceLock::new();
        FIRST_LOOK.get_or_init(Instant::now).elapsed()
    }
}

/// The operating system's cryptographic random generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::expect_used,
        reason = "getrandom(2) fails only before the kernel pool is seeded; going on would mint guessable ids"
    )]
    fn fill(&self, out: &mut [u8]) {
        // PANIC: without entropy no identifier, key or token may be made.
        getrandom::fill(out).expect("the operating system has no entropy source");
    }
}
