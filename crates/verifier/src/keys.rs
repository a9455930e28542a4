//! The issuer's keys as last seen: fetched by one request at a time, kept through outages.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mandate_core::{Clock, Timestamp};
use mandate_token::KeySet;
use tokio::sync::Mutex;

use crate::issuer::{FetchError, IssuerClient};

/// A key set and its times.
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    /// The JWK Set as the issuer served it, for the cache file.
    pub(crate) json: Vec<u8>,
    /// When the issuer was asked for them: it may have published another key since.
    pub(crate) fetched: Timestamp,
}

/// The result of a refresh.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// The issuer's present keys are in place.
    Fetched,
    /// Another caller's attempt is recent enough.
    Recent,
    /// The attempt failed; the last good keys stay.
    Failed(FetchError),
}

/// The cache. Reading is one atomic load.
pub(crate) struct KeyCache {
    current: ArcSwapOption<Keys>,
    /// Held during a fetch, so that there is one at a time; the time of the last attempt.
    flight: Mutex<Option<Timestamp>>,
}

impl KeyCache {
    pub(crate) fn new(restored: Option<Keys>) -> Self {
        Self { current: ArcSwapOption::from(restored.map(Arc::new)), flight: Mutex::new(None) }
    }

    /// The last good keys, no matter how old they are.
    pub(crate) fn last_good(&self) -> Option<Arc<Keys>> {
        self.current.load_full()
    }

    /// The last good keys unless the issuer has not confirmed them for `max_age`: then a key that was withdrawn in the
    /// meantime would still be trusted.
    pub(crate) fn usable(&self, now: Timestamp, max_age: Duration) -> Option<Arc<Keys>> {
        self.last_good().filter(|keys| now.since(keys.fetched) <= max_age)
    }

    /// Fetches the keys unless an attempt began within `interval`. Callers that arrive during a fetch wait for it and share its
    /// outcome.
    pub(crate) async fn refresh(&self, client: &IssuerClient, clock: &dyn Clock, interval: Duration) -> Refreshed {
        let mut last = self.flight.lock().await;
        let now = clock.now();
        // A last attempt in the future means that the clock was set back: it says nothing about how recent it is.
        let recent = last.is_some_and(|at| at <= now && now.since(at) < interval);
        if recent {
            return Refreshed::Recent;
        }
        // Before the fetch, so that a caller who gives up does not give back the attempt.
        *last = Some(now);
        match client.fetch_keys().await {
            Ok(fetched) => {
                *last = Some(clock.now());
                self.current.store(Some(Arc::new(Keys { set: fetched.set, json: fetched.json, fetched: now })));
                Refreshed::Fetched
            }
            Err(error) => {
                *last = Some(clock.now());
                Refreshed::Failed(error)
            }
        }
    }
}
