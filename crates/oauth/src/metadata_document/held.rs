//! What is fetched from the hosts of clients: kept for a while, fetched once for all who ask for it at the same
//! time. Failures are not kept (§5.2).

use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_single_flight::SingleFlight;
use quick_cache::sync::Cache;
use url::Url;

use super::document::DocumentFault;
use super::fetch::{Fetched, Fetcher, NotFetched};
use super::places::Places;

/// How many documents of a kind are kept. Each has at most 5 KiB.
const MOST_KEPT: usize = 1000;

/// Why there is nothing to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRead {
    #[error(transparent)]
    Fetch(NotFetched),
    #[error(transparent)]
    Document(DocumentFault),
}

/// How documents are fetched.
pub(super) struct Means {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) places: Places,
}

/// When a document is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) now: Timestamp,
    /// What was fetched before this time is fetched again.
    pub(super) fetched_since: Timestamp,
}

/// What was read from a document, and for which time it may be used.
#[derive(Clone)]
struct Kept<V> {
    value: V,
    fetched: Timestamp,
    until: Timestamp,
}

/// The documents of one kind.
pub(super) struct Held<V> {
    kept: Arc<Cache<String, Kept<V>>>,
    fetches: SingleFlight<String, Result<V, NotRead>>,
}

impl<V: Clone + Send + Sync + 'static> Held<V> {
    pub(super) fn new() -> Self {
        Self { kept: Arc::new(Cache::new(MOST_KEPT)), fetches: SingleFlight::default() }
    }

    /// What `read` finds in the document at `url`.
    pub(super) async fn get<R>(&self, means: &Means, url: &Url, asked: Asked, read: R) -> Result<V, NotRead>
    where
        R: FnOnce(&Fetched) -> Result<V, DocumentFault> + Send + 'static,
    {
        let Asked { now, fetched_since } = asked;
        let key = url.as_str().to_owned();
        let is_fresh = |kept: &Kept<V>| now < kept.until && kept.fetched >= fetched_since;
        let kept = || self.kept.get(&key).filter(is_fresh).map(|kept| kept.value);
        if let Some(value) = kept() {
            return Ok(value);
        }
        let flight = self.fetches.join(&key, || {
            if let Some(value) = kept() {
                return Err(Ok(value));
            }
            let place = means.places.take(url.host_str().unwrap_or_default());
            let place = place.ok_or(Err(NotRead::Fetch(NotFetched::Crowded)))?;
            let (url, fetcher, kept) = (url.clone(), Arc::clone(&means.fetcher), Arc::clone(&self.kept));
            Ok(async move {
                let answer = fetcher.fetch(&url).await;
                drop(place);
                let answer = answer.map_err(NotRead::Fetch)?;
                let value = read(&answer).map_err(NotRead::Document)?;
                let until = now.plus(answer.lifetime);
                kept.insert(url.into(), Kept { value: value.clone(), fetched: now, until });
                Ok(value)
            })
        });
        match flight {
            Ok(flight) => flight.landed().await.unwrap_or(Err(NotRead::Fetch(NotFetched::Timeout))),
            Err(settled) => settled,
        }
    }
}
