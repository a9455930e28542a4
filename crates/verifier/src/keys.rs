//! The issuer's keys as last seen, kept through outages.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mandate_core::{Clock, Timestamp};
use mandate_token::KeySet;
use parking_lot::Mutex;

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
    /// The issuer's present keys are in use. They were fetched after the request of this caller arrived.
    Fetched,
    /// The issuer's keys are in use. They were fetched before that.
    Recent,
    /// The keys could not be fetched: the last good ones stay in use.
    Failed,
}

/// The cache. Reading is one atomic load.
pub(crate) struct KeyCache {
    current: ArcSwapOption<Keys>,
    /// When the last fetch ended.
    tried: Mutex<Option<Timestamp>>,
}

impl KeyCache {
    pub(crate) fn new(restored: Option<Keys>) -> Self {
        Self { current: ArcSwapOption::from(restored.map(Arc::new)), tried: Mutex::new(None) }
    }

    /// The last good keys, no matter how old they are.
    pub(crate) fn last_good(&self) -> Option<Arc<Keys>> {
        self.current.load_full()
    }

    /// The last good keys unless the issuer has not confirmed them for `max_age`: then a key that was
    /// withdrawn in the meantime would still be trusted.
    pub(crate) fn usable(&self, now: Timestamp, max_age: Duration) -> Option<Arc<Keys>> {
        self.last_good().filter(|keys| now.since(keys.fetched) <= max_age)
    }

    /// Whether a fetch ended within `interval`. A time in the future is from before the clock was set back,
    /// and does not count.
    pub(crate) fn was_tried(&self, now: Timestamp, interval: Duration) -> bool {
        self.tried.lock().is_some_and(|at| at <= now && now.since(at) < interval)
    }

    pub(crate) async fn fetch(&self, client: &IssuerClient, clock: &dyn Clock) -> Result<(), FetchError> {
        let asked = clock.now();
        let fetched = client.fetch_keys().await;
        *self.tried.lock() = Some(clock.now());
        let fetched = fetched?;
        self.current.store(Some(Arc::new(Keys { set: fetched.set, json: fetched.json, fetched: asked })));
        Ok(())
    }
}
