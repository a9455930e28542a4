//! What a verifier and its background tasks have in common.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::{Backoff, Clock, Entropy, Timestamp};
use mandate_single_flight::SingleFlight;
use tokio::sync::watch;

use crate::issuer::IssuerClient;
use crate::keys::{KeyCache, Refreshed};
use crate::revocations::Revocations;

/// The state of a verifier's connection to its issuer. For health endpoints and for waiting; see
/// [`Verifier::status`](crate::Verifier::status).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifierStatus {
    /// When the issuer last confirmed its keys. `None`: no keys are known.
    pub keys_fetched: Option<Timestamp>,
    /// Whether the revocation feed is connected and every cut in force is known.
    pub feed_synced: bool,
    /// How many cuts are known.
    pub cuts: usize,
}

impl VerifierStatus {
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
    /// The fetch of keys: whether it succeeded.
    pub(crate) fetches: SingleFlight<(), bool>,
    pub(crate) revocations: Revocations,
    pub(crate) intervals: Intervals,
    pub(crate) status: watch::Sender<VerifierStatus>,
}

impl Shared {
    /// Changes the status. Wakes waiting tasks only if it did change.
    pub(crate) fn update(&self, change: impl FnOnce(&mut VerifierStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// Refreshes the keys unless that was tried within `interval`. Callers that come during a fetch wait for
    /// it and share its outcome.
    pub(crate) async fn refresh_keys(self: &Arc<Self>, interval: Duration) -> Refreshed {
        let flight = self.fetches.join(&(), || {
            if self.keys.was_tried(self.clock.now(), interval) {
                return Err(Refreshed::Recent);
            }
            let this = Arc::clone(self);
            Ok(async move { this.fetch_keys().await })
        });
        match flight {
            Err(recent) => recent,
            Ok(flight) => match (flight.is_new, flight.landed().await) {
                (true, Some(true)) => Refreshed::Fetched,
                (false, Some(true)) => Refreshed::Recent,
                (_, Some(false) | None) => Refreshed::Failed,
            },
        }
    }

    async fn fetch_keys(&self) -> bool {
        let outcome = self.keys.fetch(&self.client, &*self.clock).await;
        match &outcome {
            Ok(()) => {
                let fetched = self.keys.last_good().map(|keys| keys.fetched);
                self.update(|status| status.keys_fetched = fetched);
            }
            Err(error) => {
                tracing::warn!(issuer = %self.client.issuer(), %error, "the issuer's keys cannot be refreshed; the last good ones stay in use");
            }
        }
        outcome.is_ok()
    }

    /// Keeps the keys fresh and forgets ended cuts, for as long as the verifier exists.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        let mut backoff = Backoff::new();
        loop {
            let wait = match self.refresh_keys(Duration::ZERO).await {
                Refreshed::Fetched | Refreshed::Recent => {
                    backoff = Backoff::new();
                    self.intervals.keys_refresh
                }
                Refreshed::Failed => backoff.wait(&*self.entropy),
            };
            let left = self.revocations.forget_before(self.clock.now());
            self.update(|status| status.cuts = left);
            tokio::time::sleep(wait).await;
        }
    }
}
