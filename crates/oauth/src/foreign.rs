//! Keys of other issuers and trust domains that are trusted, of people and of workloads: a cache and at most
//! one fetch at a time for each of them, everything bounded.
//!
//! Keys of one issuer never verify tokens of another: the cache is indexed by issuer and by the way in which
//! it is reached. A set is used for [`TTL`], the bundle of a trust domain for as long as it says, within
//! bounds. Then it is fetched again, or the token is refused. A replaced set is dropped, so a key that was
//! rotated out never comes back.

mod bundle;
mod fetch;
mod fetched;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::{
    BundleSource, ForeignDomain, Platform, PlatformProof, TokenProfile, TrustedIssuer,
};
use mandate_core::{Issuer, Timestamp, TrustDomain};
use mandate_single_flight::SingleFlight;
use mandate_token::{KeySet, TokenError};
use parking_lot::Mutex;

pub use fetch::{FetchError, check_ca, check_proxy};
pub use fetched::TTL;

use fetch::HttpClients;
use fetched::Fetched;

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

type Outcome = Result<Fetched, FetchError>;

/// Whose keys, how the servers that have them are reached, and which certificate authorities are trusted for
/// them. Keys that were fetched in one way are not used after the registry names another way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeySource {
    whose: Whose,
    ca: Option<String>,
    proxy: Option<String>,
}

/// Whose keys, and where they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// An issuer's, found through its metadata.
    Issuer(Issuer, TokenProfile),
    /// A trust domain's, in its bundle.
    Domain(TrustDomain, BundleSource),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whose {
            Whose::Issuer(issuer, _) => issuer.fmt(f),
            Whose::Domain(domain, _) => domain.id().fmt(f),
        }
    }
}

impl KeySource {
    /// Of an identity provider.
    pub(crate) fn of_issuer(issuer: &TrustedIssuer) -> Self {
        let TrustedIssuer { url, ca, proxy, profile, .. } = issuer;
        let whose = Whose::Issuer(url.clone(), *profile);
        Self { whose, ca: ca.clone(), proxy: proxy.clone() }
    }

    /// Of a platform whose keys are not pinned.
    pub(crate) fn of_proof(proof: &PlatformProof) -> Self {
        let PlatformProof { platform, issuer, ca, proxy, .. } = proof;
        // Entra publishes the keys of several issuers together, and those of its older issuer elsewhere.
        let profile = match platform {
            Platform::Azure if issuer.as_str().ends_with("/v2.0") => TokenProfile::EntraV2,
            Platform::Azure => TokenProfile::EntraV1,
            _ => TokenProfile::Rfc9068,
        };
        let whose = Whose::Issuer(issuer.clone(), profile);
        Self { whose, ca: ca.clone(), proxy: proxy.clone() }
    }

    /// Of a trust domain of another organization.
    pub(crate) fn of_domain(domain: &ForeignDomain) -> Self {
        let ForeignDomain { name, bundle, ca, proxy } = domain;
        let whose = Whose::Domain(name.clone(), bundle.clone());
        Self { whose, ca: ca.clone(), proxy: proxy.clone() }
    }

    /// A file stays readable or is put right by the operator of this machine. Until then, what was in it last
    /// counts; a key that was withdrawn is in force again only if somebody breaks the file.
    const fn keeps_the_last(&self) -> bool {
        matches!(&self.whose, Whose::Domain(_, BundleSource::File { .. }))
    }
}

#[derive(Default)]
struct State {
    keys: Option<(Fetched, Timestamp)>,
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
    /// One that is still used.
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
        tracing::debug!(issuer = %source, %error, "the keys of a trusted issuer are looked at again");
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
            let client = |address: &str| {
                let made = self.clients.of(address, source.ca.as_deref(), source.proxy.as_deref());
                made.map_err(|error| Err(failed_now(error)))
            };
            let fetch: Pin<Box<dyn Future<Output = Outcome> + Send>> = match source.whose.clone() {
                Whose::Issuer(issuer, profile) => {
                    let http = client(issuer.as_str())?;
                    Box::pin(async move { fetch::keys(&http, &issuer, profile).await })
                }
                Whose::Domain(_, BundleSource::HttpsWeb { url }) => {
                    let http = client(url.as_str())?;
                    Box::pin(async move { bundle::fetched(&http, &url).await })
                }
                Whose::Domain(_, BundleSource::File { path }) => Box::pin(bundle::read(path)),
            };
            let (source, slot) = (source.clone(), Arc::clone(&slot));
            Ok(async move {
                let outcome = fetch.await;
                land(&slot, &source, outcome, now)
            })
        });
        match flight {
            Ok(flight) => {
                let outcome = flight.landed().await.unwrap_or(Err(FetchError::Aborted));
                outcome.map(|fetched| FoundKeys { keys: fetched.keys, again: None }).map_err(failed_now)
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
    // A time in the future was read before the clock was set back, so the age of that entry is unknown.
    let left = |at: Timestamp, limit: Duration| {
        if at <= now { limit.checked_sub(now.since(at)).filter(|left| !left.is_zero()) } else { None }
    };
    if let Some((Fetched { keys, ttl, .. }, fetched)) = &state.keys {
        let pause = REFETCH_PAUSE.min(*ttl);
        if left(*fetched, if wanted == Wanted::Cached { *ttl } else { pause }).is_some() {
            let again = Some(left(*fetched, pause).unwrap_or_default());
            return Some(Ok(FoundKeys { keys: Arc::clone(keys), again }));
        }
    }
    let (error, at) = state.failed.as_ref()?;
    left(*at, FAILURE_TTL).map(|retry_after| Err(Unavailable { error: error.clone(), retry_after }))
}

/// Puts the outcome of a fetch into the cache, and returns what it is after that. After a failure, a set that
/// is not too old stays in use, and one of a file until the file is put right. A bundle that is older than
/// the last one is a failure: what it had been replaced for must not come back.
fn land(slot: &Slot, source: &KeySource, outcome: Outcome, now: Timestamp) -> Outcome {
    let mut state = slot.lock();
    let before = state.keys.as_ref().and_then(|(fetched, _)| fetched.sequence);
    let outcome = outcome.and_then(|fetched| match (before, fetched.sequence) {
        (Some(before), now) if now.is_none_or(|now| now < before) => {
            Err(FetchError::Sequence { before, now })
        }
        _ => Ok(fetched),
    });
    let error = match outcome {
        Ok(fetched) => {
            (state.keys, state.failed) = (Some((fetched.clone(), now)), None);
            return Ok(fetched);
        }
        Err(error) => error,
    };
    match &mut state.keys {
        Some((kept, at)) if source.keeps_the_last() => {
            tracing::warn!(issuer = %source, %error, "the keys of a trust domain cannot be read; the last ones stay in use");
            *at = now;
            Ok(kept.clone())
        }
        _ => {
            tracing::warn!(issuer = %source, %error, "the keys of a trusted issuer cannot be fetched");
            state.failed = Some((error.clone(), now));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
