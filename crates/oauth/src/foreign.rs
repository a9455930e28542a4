//! Keys of other issuers that are trusted, of people and of workloads: a cache and at most one fetch at a
//! time for each issuer, everything bounded.
//!
//! Keys of one issuer never verify tokens of another: the cache is indexed by issuer and by the way in which
//! it is reached. A set is used for [`TTL`]. Then it is fetched again, or the token is refused. A replaced
//! set is dropped, so a key that was rotated out never comes back.

mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::{AgentProof, TokenProfile, TrustedIssuer};
use mandate_core::{Issuer, Timestamp};
use mandate_single_flight::SingleFlight;
use mandate_token::{KeySet, TokenError};
use parking_lot::Mutex;

pub use fetch::{FetchError, check_ca, check_proxy};

use fetch::HttpClients;

/// How long a key set is used before it is fetched again.
pub const TTL: Duration = Duration::from_mins(5);
/// The shortest time between two fetches because of an unknown `kid`.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// How long a failure is remembered.
pub const FAILURE_TTL: Duration = Duration::from_secs(10);
/// How many issuers are remembered. Ten keys are some KiB.
const MAX_ISSUERS: usize = 4096;

/// A key set of an issuer.
#[derive(Clone, Debug)]
struct FoundKeys {
    keys: Arc<KeySet>,
    /// When they may be fetched again because they lack a key; `None` if they were fetched while the caller
    /// waited, so that there is nothing newer.
    again: Option<Duration>,
}

/// The keys cannot be fetched now. It is worth asking again after a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) error: FetchError,
    /// Until then the answer is the same.
    pub(crate) retry_after: Duration,
}

/// Why a token of another issuer is not verified.
#[derive(Debug)]
pub(crate) enum NotVerified {
    /// It is refused.
    Token(TokenError),
    /// The keys cannot be fetched.
    Unavailable(Unavailable),
    /// The key set was fetched moments ago and lacks its key. It may be fetched again after this time.
    KeyUnknown { retry_after: Duration },
}

type Outcome = Result<Arc<KeySet>, FetchError>;

/// Whose keys, how the servers of the issuer are reached, and which certificate authorities are trusted for
/// them. Keys that were fetched in one way are not used after the registry names another way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeySource {
    issuer: Issuer,
    ca: Option<String>,
    proxy: Option<String>,
    profile: TokenProfile,
}

impl KeySource {
    /// Of an identity provider.
    pub(crate) fn of_issuer(issuer: &TrustedIssuer) -> Self {
        let TrustedIssuer { url, ca, proxy, profile, .. } = issuer;
        Self { issuer: url.clone(), ca: ca.clone(), proxy: proxy.clone(), profile: *profile }
    }

    /// Of a platform whose keys are not pinned. Its keys are published in the usual way.
    pub(crate) fn of_proof(proof: &AgentProof) -> Self {
        let AgentProof { issuer, ca, proxy, .. } = proof;
        let profile = TokenProfile::Rfc9068;
        Self { issuer: issuer.clone(), ca: ca.clone(), proxy: proxy.clone(), profile }
    }
}

#[derive(Default)]
struct State {
    keys: Option<(Arc<KeySet>, Timestamp)>,
    failed: Option<(FetchError, Timestamp)>,
}

// The state is consistent whenever its lock is free, also after a panic.
type Slot = Arc<Mutex<State>>;

/// The key sets of trusted issuers, each fetched when it is needed and kept for a while.
#[derive(Default)]
pub struct ForeignKeys {
    clients: HttpClients,
    slots: Mutex<HashMap<KeySource, Slot>>,
    fetches: SingleFlight<KeySource, Outcome>,
}

/// Which key set is accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// One that is not older than [`TTL`].
    Cached,
    /// One that is not older than [`REFETCH_PAUSE`]: the cached one lacks a key.
    Fresh,
}

impl ForeignKeys {
    /// Verifies a token with the keys of its issuer, from the cache or fetched.
    ///
    /// An unknown key may have been published after the keys were fetched. This is not possible if they were
    /// fetched after the token arrived.
    pub(crate) async fn verified<T>(
        &self,
        source: &KeySource,
        now: Timestamp,
        verify: impl Fn(&KeySet) -> Result<T, TokenError>,
    ) -> Result<T, NotVerified> {
        let found = self.obtain(source, Wanted::Cached, now).await.map_err(NotVerified::Unavailable)?;
        let error = match verify(&found.keys) {
            Err(error) if error.may_be_stale_keys() && found.again.is_some() => error,
            other => return other.map_err(NotVerified::Token),
        };
        tracing::debug!(issuer = %source.issuer, %error, "the keys of a trusted issuer are looked at again");
        let newer = self.obtain(source, Wanted::Fresh, now).await.map_err(NotVerified::Unavailable)?;
        verify(&newer.keys).map_err(|error| match newer.again {
            Some(retry_after) if error.may_be_stale_keys() => NotVerified::KeyUnknown { retry_after },
            _ => NotVerified::Token(error),
        })
    }

    async fn obtain(
        &self,
        source: &KeySource,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<FoundKeys, Unavailable> {
        let slot = self.slot(source);
        let settled = || settled(&slot.lock(), wanted, now);
        if let Some(settled) = settled() {
            return settled;
        }
        let flight = self.fetches.join(source, || {
            if let Some(settled) = settled() {
                return Err(settled);
            }
            let http = self
                .clients
                .of(&source.issuer, source.ca.as_deref(), source.proxy.as_deref())
                .map_err(|error| Err(failed_now(error)))?;
            let (source, slot) = (source.clone(), Arc::clone(&slot));
            Ok(async move {
                let outcome = fetch::keys(&http, &source.issuer, source.profile).await;
                if let Err(error) = &outcome {
                    tracing::warn!(issuer = %source.issuer, %error, "the keys of a trusted issuer cannot be fetched");
                }
                land(&slot, &outcome, now);
                outcome
            })
        });
        match flight {
            Ok(flight) => {
                let outcome = flight.landed().await.unwrap_or(Err(FetchError::Aborted));
                outcome.map(|keys| FoundKeys { keys, again: None }).map_err(failed_now)
            }
            Err(settled) => settled,
        }
    }

    fn slot(&self, source: &KeySource) -> Slot {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(source) {
            return Arc::clone(slot);
        }
        if slots.len() >= MAX_ISSUERS {
            // Only issuers of the registry get here. One that is forgotten costs its next token a fetch, so
            // only that one goes whose keys would be fetched again first.
            let fetched = |slot: &Slot| slot.lock().keys.as_ref().map(|(_, fetched)| *fetched);
            let oldest = slots.iter().min_by_key(|(_, slot)| fetched(slot)).map(|(source, _)| source.clone());
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
fn settled(state: &State, wanted: Wanted, now: Timestamp) -> Option<Result<FoundKeys, Unavailable>> {
    let limit = if wanted == Wanted::Cached { TTL } else { REFETCH_PAUSE };
    // A time in the future was read before the clock was set back, so the age of that entry is unknown.
    let left = |at: Timestamp, limit: Duration| {
        if at <= now { limit.checked_sub(now.since(at)).filter(|left| !left.is_zero()) } else { None }
    };
    if let Some((keys, fetched)) = &state.keys
        && left(*fetched, limit).is_some()
    {
        let again = Some(left(*fetched, REFETCH_PAUSE).unwrap_or_default());
        return Some(Ok(FoundKeys { keys: Arc::clone(keys), again }));
    }
    let (error, at) = state.failed.as_ref()?;
    left(*at, FAILURE_TTL).map(|retry_after| Err(Unavailable { error: error.clone(), retry_after }))
}

/// Puts the outcome of a fetch into the cache. After a failure, a set that is not too old stays in use.
fn land(slot: &Slot, outcome: &Outcome, now: Timestamp) {
    let mut state = slot.lock();
    match outcome {
        Ok(keys) => {
            state.keys = Some((Arc::clone(keys), now));
            state.failed = None;
        }
        Err(error) => state.failed = Some((error.clone(), now)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::Timestamp;
    use mandate_core::registry::TokenProfile;
    use mandate_token::KeySet;

    use super::{
        FAILURE_TTL, FetchError, ForeignKeys, KeySource, MAX_ISSUERS, REFETCH_PAUSE, State, TTL, Wanted,
        land, settled,
    };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn keys() -> Arc<KeySet> {
        Arc::new(KeySet::from_json(b"{\"keys\":[]}").unwrap())
    }

    #[test]
    fn keys_from_before_the_clock_was_set_back_are_fetched_again() {
        let state =
            State { keys: Some((keys(), at(10_000))), failed: Some((FetchError::Aborted, at(10_000))) };
        assert!(matches!(settled(&state, Wanted::Cached, at(10_000)), Some(Ok(_))));
        assert!(
            settled(&state, Wanted::Cached, at(9_999)).is_none(),
            "else a key that was rotated out would be used for longer"
        );
        assert!(settled(&state, Wanted::Cached, at(10_000).plus(TTL)).is_none());
    }

    #[test]
    fn what_the_cache_answers_says_when_to_ask_again() {
        let state = State { keys: Some((keys(), at(10_000))), ..State::default() };
        let again = |now| settled(&state, Wanted::Fresh, at(now)).map(|found| found.unwrap().again);
        assert_eq!(again(10_000), Some(Some(REFETCH_PAUSE)));
        assert_eq!(again(10_029), Some(Some(Duration::from_secs(1))));
        assert_eq!(again(10_030), None, "then it is fetched");
        let state = State { failed: Some((FetchError::Aborted, at(10_000))), ..State::default() };
        let retry =
            |now| settled(&state, Wanted::Cached, at(now)).map(|found| found.unwrap_err().retry_after);
        assert_eq!(
            (retry(10_000), retry(10_009), retry(10_010)),
            (Some(FAILURE_TTL), Some(Duration::from_secs(1)), None)
        );
    }

    fn source(host: &str) -> KeySource {
        let issuer = format!("https://{host}.example").parse().unwrap();
        KeySource { issuer, ca: None, proxy: None, profile: TokenProfile::Rfc9068 }
    }

    #[test]
    fn of_too_many_issuers_the_one_whose_keys_are_oldest_is_forgotten() {
        let all = ForeignKeys::default();
        let has = |host: &str| all.slots.lock().contains_key(&source(host));
        for n in 0..MAX_ISSUERS {
            // The one in the middle is the oldest.
            let age = u64::try_from(n.abs_diff(MAX_ISSUERS / 2)).unwrap();
            land(&all.slot(&source(&format!("i{n}"))), &Ok(keys()), at(age));
        }
        let oldest = format!("i{}", MAX_ISSUERS / 2);
        assert!(has(&oldest) && has("i0"));
        land(&all.slot(&source("another")), &Ok(keys()), at(MAX_ISSUERS as u64));
        assert!(!has(&oldest) && has("i0") && has("another"));
        assert_eq!(all.slots.lock().len(), MAX_ISSUERS);
    }

    #[test]
    fn keys_that_another_authority_vouched_for_are_not_taken_in() {
        let usual = source("login");
        let other = KeySource { ca: Some("new".into()), ..usual.clone() };
        let all = ForeignKeys::default();
        land(&all.slot(&usual), &Ok(keys()), at(1));
        assert!(all.slot(&usual).lock().keys.is_some() && all.slot(&other).lock().keys.is_none());
    }
}
