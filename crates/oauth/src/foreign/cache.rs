//! A cache with at most one fetch at a time for each issuer, and everything bounded.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::Timestamp;
use mandate_single_flight::SingleFlight;
use parking_lot::Mutex;

use super::fetch::FetchError;
use super::fetched::Fetched;
use super::key_source::KeySource;

/// The shortest time between two fetches because of an unknown `kid`.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// How long a failure is remembered.
pub const FAILURE_TTL: Duration = Duration::from_secs(10);
/// How many issuers are remembered. Ten keys are some KiB.
const MAX_ISSUERS: usize = 4096;

/// Something of an issuer cannot be fetched now. It is worth asking again after a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) error: FetchError,
    /// Until then the answer is the same.
    pub(crate) retry_after: Duration,
}

/// What the cache has of an issuer.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) value: Arc<T>,
    /// When it may be fetched again because it lacks something; `None` if it was fetched while the caller
    /// waited, so that there is nothing newer.
    pub(super) again: Option<Duration>,
}

/// What a fetch ends with.
pub(super) type Outcome<T> = Result<Fetched<T>, FetchError>;

struct State<T> {
    fetched: Option<(Fetched<T>, Timestamp)>,
    failed: Option<(FetchError, Timestamp)>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { fetched: None, failed: None }
    }
}

// The state is consistent whenever its lock is free, also after a panic.
type Slot<T> = Arc<Mutex<State<T>>>;

/// What issuers publish, each fetched when it is needed and kept for a while.
pub(super) struct Cache<T> {
    slots: Mutex<HashMap<KeySource, Slot<T>>>,
    fetches: SingleFlight<KeySource, Outcome<T>>,
}

impl<T: Send + Sync + 'static> Default for Cache<T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), fetches: SingleFlight::default() }
    }
}

/// What is accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What is still used.
    Cached,
    /// What is not older than [`REFETCH_PAUSE`]: the cached one lacks something.
    Fresh,
}

impl<T: Send + Sync + 'static> Cache<T> {
    /// From the cache, or by `fetch`. A failure to begin the fetch is not remembered.
    pub(super) async fn obtain<W>(
        &self,
        source: &KeySource,
        wanted: Wanted,
        now: Timestamp,
        fetch: impl FnOnce() -> Result<W, FetchError>,
    ) -> Result<Found<T>, Unavailable>
    where
        W: Future<Output = Outcome<T>> + Send + 'static,
    {
        let slot = self.slot(source);
        let settled = || settled(&slot.lock(), wanted, now);
        if let Some(settled) = settled() {
            return settled;
        }
        let flight = self.fetches.join(source, || {
            if let Some(settled) = settled() {
                return Err(settled);
            }
            let fetch = fetch().map_err(|error| Err(failed_now(error)))?;
            let (source, slot) = (source.clone(), Arc::clone(&slot));
            Ok(async move {
                let outcome = fetch.await;
                land(&slot, &source, outcome, now)
            })
        });
        match flight {
            Ok(flight) => {
                let outcome = flight.landed().await.unwrap_or(Err(FetchError::Aborted));
                outcome.map(|fetched| Found { value: fetched.value, again: None }).map_err(failed_now)
            }
            Err(settled) => settled,
        }
    }

    fn slot(&self, source: &KeySource) -> Slot<T> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(source) {
            return Arc::clone(slot);
        }
        if slots.len() >= MAX_ISSUERS {
            // Only issuers of the registry get here. One that is forgotten costs its next token a fetch, so
            // only that one goes whose content is the oldest.
            let fetched_at = |slot: &Slot<T>| slot.lock().fetched.as_ref().map(|(_, at)| *at);
            let oldest =
                slots.iter().min_by_key(|(_, slot)| fetched_at(slot)).map(|(source, _)| source.clone());
            oldest.map(|oldest| slots.remove(&oldest));
        }
        Arc::clone(slots.entry(source.clone()).or_default())
    }
}

/// The answer to a caller whose own fetch has failed; the failure is remembered from now on.
fn failed_now(error: FetchError) -> Unavailable {
    Unavailable { error, retry_after: FAILURE_TTL }
}

/// What the cache answers without a fetch.
fn settled<T>(state: &State<T>, wanted: Wanted, now: Timestamp) -> Option<Result<Found<T>, Unavailable>> {
    // A time in the future was read before the clock was set back, so the age of that entry is unknown.
    let left = |at: Timestamp, limit: Duration| {
        if at <= now { limit.checked_sub(now.since(at)).filter(|left| !left.is_zero()) } else { None }
    };
    if let Some((Fetched { value, ttl, .. }, at)) = &state.fetched {
        let pause = REFETCH_PAUSE.min(*ttl);
        if left(*at, if wanted == Wanted::Cached { *ttl } else { pause }).is_some() {
            let again = Some(left(*at, pause).unwrap_or_default());
            return Some(Ok(Found { value: Arc::clone(value), again }));
        }
    }
    let (error, at) = state.failed.as_ref()?;
    left(*at, FAILURE_TTL).map(|retry_after| Err(Unavailable { error: error.clone(), retry_after }))
}

/// Puts the outcome of a fetch into the cache, and returns what it is after that. After a failure, what is
/// not too old stays in use, and what a file had until the file is put right. A sequence that went back is a
/// failure: what a bundle had been replaced for must not come back.
fn land<T>(slot: &Slot<T>, source: &KeySource, outcome: Outcome<T>, now: Timestamp) -> Outcome<T> {
    let mut state = slot.lock();
    let before = state.fetched.as_ref().and_then(|(fetched, _)| fetched.sequence);
    let outcome = outcome.and_then(|fetched| match (before, fetched.sequence) {
        (Some(before), now) if now.is_none_or(|now| now < before) => {
            Err(FetchError::Sequence { before, now })
        }
        _ => Ok(fetched),
    });
    let error = match outcome {
        Ok(fetched) => {
            (state.fetched, state.failed) = (Some((fetched.clone(), now)), None);
            return Ok(fetched);
        }
        Err(error) => error,
    };
    match &mut state.fetched {
        Some((kept, at)) if source.keeps_the_last() => {
            tracing::warn!(issuer = %source, %error, "the keys of a trust domain cannot be read; the last ones stay in use");
            *at = now;
            Ok(kept.clone())
        }
        _ => {
            tracing::warn!(issuer = %source, %error, "what a trusted issuer publishes cannot be fetched");
            state.failed = Some((error.clone(), now));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::Timestamp;
    use mandate_core::registry::TokenProfile;
    use mandate_token::KeySet;

    use super::super::fetched::TTL;
    use super::super::key_source::Whose;
    use super::{
        Cache, FAILURE_TTL, FetchError, Fetched, KeySource, MAX_ISSUERS, REFETCH_PAUSE, State, Wanted, land,
        settled,
    };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn keys() -> Fetched<KeySet> {
        Fetched::of_issuer(KeySet::from_json(b"{\"keys\":[]}").unwrap())
    }

    #[test]
    fn keys_from_before_the_clock_was_set_back_are_fetched_again() {
        let state =
            State { fetched: Some((keys(), at(10_000))), failed: Some((FetchError::Aborted, at(10_000))) };
        assert!(matches!(settled(&state, Wanted::Cached, at(10_000)), Some(Ok(_))));
        assert!(
            settled(&state, Wanted::Cached, at(9_999)).is_none(),
            "else a key that was rotated out would be used for longer"
        );
        assert!(settled(&state, Wanted::Cached, at(10_000).plus(TTL)).is_none());
    }

    #[test]
    fn what_the_cache_answers_says_when_to_ask_again() {
        let state = State { fetched: Some((keys(), at(10_000))), ..State::<KeySet>::default() };
        let again = |now| settled(&state, Wanted::Fresh, at(now)).map(|found| found.unwrap().again);
        assert_eq!(again(10_000), Some(Some(REFETCH_PAUSE)));
        assert_eq!(again(10_029), Some(Some(Duration::from_secs(1))));
        assert_eq!(again(10_030), None, "then it is fetched");
        let state = State { failed: Some((FetchError::Aborted, at(10_000))), ..State::<KeySet>::default() };
        let retry =
            |now| settled(&state, Wanted::Cached, at(now)).map(|found| found.unwrap_err().retry_after);
        assert_eq!(
            (retry(10_000), retry(10_009), retry(10_010)),
            (Some(FAILURE_TTL), Some(Duration::from_secs(1)), None)
        );
    }

    fn put(all: &Cache<KeySet>, source: &KeySource, now: Timestamp) {
        land(&all.slot(source), source, Ok(keys()), now).unwrap();
    }

    fn source(host: &str) -> KeySource {
        let issuer = format!("https://{host}.example").parse().unwrap();
        KeySource { whose: Whose::Issuer(issuer, TokenProfile::Rfc9068), ca: None, proxy: None }
    }

    #[test]
    fn of_too_many_issuers_the_one_whose_keys_are_oldest_is_forgotten() {
        let all = Cache::<KeySet>::default();
        let has = |host: &str| all.slots.lock().contains_key(&source(host));
        for n in 0..MAX_ISSUERS {
            // The one in the middle is the oldest.
            let age = u64::try_from(n.abs_diff(MAX_ISSUERS / 2)).unwrap();
            put(&all, &source(&format!("i{n}")), at(age));
        }
        let oldest = format!("i{}", MAX_ISSUERS / 2);
        assert!(has(&oldest) && has("i0"));
        put(&all, &source("another"), at(MAX_ISSUERS as u64));
        assert!(!has(&oldest) && has("i0") && has("another"));
        assert_eq!(all.slots.lock().len(), MAX_ISSUERS);
    }

    #[test]
    fn keys_that_another_authority_vouched_for_are_not_taken_in() {
        let usual = source("login");
        let other = KeySource { ca: Some("new".into()), ..usual.clone() };
        let all = Cache::<KeySet>::default();
        put(&all, &usual, at(1));
        assert!(all.slot(&usual).lock().fetched.is_some() && all.slot(&other).lock().fetched.is_none());
    }
}
