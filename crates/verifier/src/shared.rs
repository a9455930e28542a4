//! What a verifier and its background tasks have in common.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::{Clock, Entropy, Timestamp};
use tokio::sync::watch;

use crate::issuer::IssuerClient;
use crate::keys::{KeyCache, Refreshed};
use crate::revocations::Revocations;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// The state of a verifier's connection to its issuer. For health endpoints and for waiting; see
/// [`Verifier::status`](crate::Verifier::status).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// When the issuer last confirmed its keys. `None`: no keys are known.
    pub keys_fetched: Option<Timestamp>,
    /// Whether the revocation feed is connected and every cut in force is known.
    pub feed_synced: bool,
    /// How many cuts are known.
    pub cuts: usize,
}

impl Status {
    /// Whether keys are known and the feed is up to date.
    pub fn is_ready(&self) -> bool {
        self.keys_fetched.is_some() && self.feed_synced
    }
}

/// See [`crate::Builder`] for what each means.
#[derive(Clone, Debug)]
pub(crate) struct Intervals {
    pub(crate) keys_refresh: Duration,
    pub(crate) keys_max_age: Duration,
    pub(crate) unknown_key: Duration,
    pub(crate) feed_silence: Duration,
}

pub(crate) struct Shared {
    pub(crate) client: IssuerClient,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) keys: KeyCache,
    pub(crate) revocations: Revocations,
    pub(crate) intervals: Intervals,
    pub(crate) status: watch::Sender<Status>,
}

impl Shared {
    /// Changes the status. Wakes waiting tasks only if it did change.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// Refreshes the keys unless that was tried within `interval`.
    pub(crate) async fn refresh_keys(&self, interval: Duration) -> Refreshed {
        let outcome = self.keys.refresh(&self.client, &*self.clock, interval).await;
        match &outcome {
            Refreshed::Fetched => {
                let fetched = self.keys.last_good().map(|keys| keys.fetched);
                self.update(|status| status.keys_fetched = fetched);
            }
            Refreshed::Failed(error) => {
                tracing::warn!(issuer = %self.client.issuer(), %error, "the issuer's keys cannot be refreshed; the last good ones stay in use");
            }
            Refreshed::Recent => {}
        }
        outcome
    }

    /// Keeps the keys fresh and forgets ended cuts, for as long as the verifier exists.
    pub(crate) async fn maintain(&self) {
        let mut backoff = self.backoff();
        loop {
            let wait = match self.refresh_keys(Duration::ZERO).await {
                Refreshed::Fetched | Refreshed::Recent => {
                    backoff = self.backoff();
                    self.intervals.keys_refresh
                }
                Refreshed::Failed(_) => backoff.next_delay(),
            };
            let left = self.revocations.forget_before(self.clock.now());
            self.update(|status| status.cuts = left);
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn backoff(&self) -> Backoff<'_> {
        Backoff { delay: FIRST_DELAY, entropy: &*self.entropy }
    }
}

/// Growing delays with jitter, so that not all verifiers connect to a restarted issuer at once.
pub(crate) struct Backoff<'a> {
    delay: Duration,
    entropy: &'a dyn Entropy,
}

impl Backoff<'_> {
    /// Between half of the present delay and the whole; the next one is twice as long, up to a limit.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let mut random = [0u8; 1];
        self.entropy.fill(&mut random);
        let [random] = random;
        let delay = self.delay;
        self.delay = (delay * 2).min(LONGEST_DELAY);
        delay / 2 + delay / 2 * u32::from(random) / 255
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Entropy;

    use super::{Backoff, FIRST_DELAY, LONGEST_DELAY};

    struct Fixed(u8);
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    #[test]
    fn delays_grow_to_a_limit_and_are_never_zero() {
        for (random, divisor) in [(0, 2), (255, 1)] {
            let entropy = Fixed(random);
            let mut backoff = Backoff { delay: FIRST_DELAY, entropy: &entropy };
            assert_eq!(backoff.next_delay(), FIRST_DELAY / divisor);
            assert_eq!(backoff.next_delay(), FIRST_DELAY * 2 / divisor);
            let last = (0..20).map(|_| backoff.next_delay()).last();
            assert_eq!(last, Some(LONGEST_DELAY / divisor));
        }
    }
}
