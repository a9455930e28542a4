//! Keys of trusted foreign issuers: discovery (RFC 8414 §3, then OIDC Discovery §4), a cache per issuer, one
//! fetch at a time per issuer, everything bounded.
//!
//! Keys of one issuer never verify tokens of another (A22): the cache is asked by issuer. A set lives [`TTL`] and is
//! then fetched anew or refused; a set that was replaced is gone, so a key that was rotated out never comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mandate_core::{Issuer, Timestamp};
use mandate_token::KeySet;
use serde::Deserialize;
use tokio::sync::watch;
use url::Url;

/// How long a key set is used before it is fetched again.
pub const TTL: Duration = Duration::from_mins(5);
/// How long at least between two fetches that an unknown `kid` causes.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// How long a failure is remembered.
pub const FAILURE_TTL: Duration = Duration::from_secs(10);
/// The longest one fetch may take, from connecting to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 128 * 1024;
/// How many issuers are remembered.
const MAX_ISSUERS: usize = 256;

/// Why the keys of an issuer could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The HTTP client could not be set up.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// No connection, or it broke.
    #[error("connection failed")]
    Connection,
    /// An answer other than 200; redirects are not followed.
    #[error("answered with status {0}")]
    Status(u16),
    /// More than 128 KiB.
    #[error("the document is too large")]
    TooLarge,
    /// Not the expected JSON.
    #[error("the metadata is not the expected JSON")]
    Metadata,
    /// The `issuer` of the metadata is not byte for byte the issuer asked (RFC 8414 §3.3).
    #[error("the metadata names another issuer")]
    IssuerMismatch,
    /// `jwks_uri` is not an acceptable URL.
    #[error("jwks_uri must be https, or on loopback like its issuer")]
    JwksUri,
    /// Not a JWK Set.
    #[error("the key set is not acceptable: {0}")]
    KeySet(String),
    /// The fetch was given up.
    #[error("the fetch was given up")]
    Aborted,
}

type Outcome = Result<Arc<KeySet>, FetchError>;

#[derive(Default)]
struct State {
    keys: Option<(Arc<KeySet>, Timestamp)>,
    failed: Option<(FetchError, Timestamp)>,
    flight: Option<watch::Receiver<Option<Outcome>>>,
}

type Slot = Arc<Mutex<State>>;

/// The cache.
#[derive(Default)]
pub struct ForeignKeys {
    http: OnceLock<reqwest::Client>,
    slots: Mutex<HashMap<Issuer, Slot>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere is no reason to refuse.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which key set will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// One that is not older than [`TTL`].
    Cached,
    /// One that is not older than [`REFETCH_PAUSE`]: the cached one lacks a key.
    Fresh,
}

impl ForeignKeys {
    /// The keys of `issuer`, from the cache or fetched.
    pub async fn keys(&self, issuer: &Issuer, now: Timestamp) -> Outcome {
        self.obtain(issuer, Wanted::Cached, now).await
    }

    /// The keys of `issuer` after the cached ones lacked a key: fetched, unless that was done moments ago.
    pub async fn keys_after_rotation(&self, issuer: &Issuer, now: Timestamp) -> Outcome {
        self.obtain(issuer, Wanted::Fresh, now).await
    }

    async fn obtain(&self, issuer: &Issuer, wanted: Wanted, now: Timestamp) -> Outcome {
        let slot = self.slot(issuer);
        let http = self.http()?;
        let mut flight = {
            let mut state = lock(&slot);
            if let Some(outcome) = settled(&state, wanted, now) {
                return outcome;
            }
            // A flight whose sender is gone crashed; the next caller starts over.
            let in_air = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()).cloned();
            in_air.unwrap_or_else(|| {
                let (sender, receiver) = watch::channel(None);
                state.flight = Some(receiver.clone());
                let (issuer, slot) = (issuer.clone(), Arc::clone(&slot));
                tokio::spawn(async move {
                    let outcome = fetch(&http, &issuer).await;
                    land(&slot, &outcome, now);
                    // Nobody waiting any more is no error: the cache has it.
                    let _ = sender.send(Some(outcome));
                });
                receiver
            })
        };
        let outcome = flight.wait_for(Option::is_some).await.map_err(|_| FetchError::Aborted)?;
        outcome.clone().unwrap_or(Err(FetchError::Aborted))
    }

    fn slot(&self, issuer: &Issuer) -> Slot {
        let mut slots = lock(&self.slots);
        if !slots.contains_key(issuer) && slots.len() >= MAX_ISSUERS {
            // Only issuers of the registry come here. More than this have been registered over time: start over.
            slots.clear();
        }
        Arc::clone(slots.entry(issuer.clone()).or_default())
    }

    /// Made at first use: most servers trust nobody else. A failure, for want of file descriptors perhaps, is not kept.
    fn http(&self) -> Result<reqwest::Client, FetchError> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_TIMEOUT)
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(1)
            .user_agent(concat!("mandate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}

/// What the cache answers without a fetch.
fn settled(state: &State, wanted: Wanted, now: Timestamp) -> Option<Outcome> {
    let limit = if wanted == Wanted::Cached { TTL } else { REFETCH_PAUSE };
    // What lies in the future is from before the clock was set back: nobody knows how old it is.
    let within = |at: Timestamp, limit| at <= now && now.since(at) < limit;
    if let Some((keys, fetched)) = &state.keys
        && within(*fetched, limit)
    {
        return Some(Ok(Arc::clone(keys)));
    }
    let (error, at) = state.failed.as_ref()?;
    within(*at, FAILURE_TTL).then(|| Err(error.clone()))
}

/// Puts the outcome of a fetch into the cache. A failure leaves a set that is still within its time in use.
fn land(slot: &Slot, outcome: &Outcome, now: Timestamp) {
    let mut state = lock(slot);
    state.flight = None;
    match outcome {
        Ok(keys) => {
            state.keys = Some((Arc::clone(keys), now));
            state.failed = None;
        }
        Err(error) => state.failed = Some((error.clone(), now)),
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

async fn fetch(http: &reqwest::Client, issuer: &Issuer) -> Outcome {
    let jwks_uri = discover(http, issuer).await?;
    let body = get(http, jwks_uri).await?;
    KeySet::from_json(&body).map(Arc::new).map_err(|error| FetchError::KeySet(error.to_string()))
}

async fn discover(http: &reqwest::Client, issuer: &Issuer) -> Result<Url, FetchError> {
    let rfc_8414 = issuer.well_known("oauth-authorization-server");
    let openid = format!("{}/.well-known/openid-configuration", issuer.as_str().trim_end_matches('/'));
    let body = match get(http, parse_url(&rfc_8414)?).await {
        Err(FetchError::Status(_)) => get(http, parse_url(&openid)?).await?,
        other => other?,
    };
    let metadata: Metadata = serde_json::from_slice(&body).map_err(|_| FetchError::Metadata)?;
    if metadata.issuer != issuer.as_str() {
        return Err(FetchError::IssuerMismatch);
    }
    jwks_url(&metadata.jwks_uri, issuer)
}

fn parse_url(text: &str) -> Result<Url, FetchError> {
    Url::parse(text).map_err(|_| FetchError::Metadata)
}

/// Plain HTTP only from a loopback issuer to loopback: otherwise metadata could lower the protection of its own keys.
fn jwks_url(text: &str, issuer: &Issuer) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| FetchError::JwksUri)?;
    let plain_is_fine = issuer.as_str().starts_with("http://") && mandate_core::uri::is_loopback(&url);
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && plain_is_fine);
    let clean = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if scheme && clean { Ok(url) } else { Err(FetchError::JwksUri) }
}

async fn get(http: &reqwest::Client, url: Url) -> Result<Vec<u8>, FetchError> {
    let mut response = http.get(url).header("accept", "application/json").send().await.map_err(|error| classify(&error))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn classify(error: &reqwest::Error) -> FetchError {
    if error.is_timeout() { FetchError::Timeout } else { FetchError::Connection }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mandate_core::Timestamp;
    use mandate_token::KeySet;

    use super::{FetchError, State, TTL, Wanted, jwks_url, settled};

    #[test]
    fn a22_keys_from_before_the_clock_was_set_back_are_fetched_again() {
        let at = Timestamp::from_secs;
        let keys = Arc::new(KeySet::from_json(b"{\"keys\":[]}").unwrap());
        let state = State { keys: Some((keys, at(10_000))), failed: Some((FetchError::Timeout, at(10_000))), flight: None };
        assert!(matches!(settled(&state, Wanted::Cached, at(10_000)), Some(Ok(_))));
        assert!(settled(&state, Wanted::Cached, at(9_999)).is_none(), "else a key that was rotated out would be used for longer");
        assert!(settled(&state, Wanted::Cached, at(10_000).plus(TTL)).is_none());
    }

    #[test]
    fn a22_a_jwks_uri_never_lowers_the_protection_of_its_issuer() {
        let https = "https://login.acme.example".parse().unwrap();
        let loopback = "http://127.0.0.1:8080".parse().unwrap();
        assert!(jwks_url("https://keys.acme.example/jwks", &https).is_ok());
        assert!(jwks_url("http://127.0.0.1:8080/jwks", &loopback).is_ok());
        for (uri, issuer) in [
            ("http://login.acme.example/jwks", &https),
            ("http://127.0.0.1/jwks", &https),
            ("http://169.254.169.254/jwks", &loopback),
            ("file:///etc/passwd", &https),
            ("https://u:p@login.acme.example/jwks", &https),
            ("https://login.acme.example/jwks#x", &https),
            ("/jwks", &https),
        ] {
            assert_eq!(jwks_url(uri, issuer), Err(FetchError::JwksUri), "{uri}");
        }
    }
}
