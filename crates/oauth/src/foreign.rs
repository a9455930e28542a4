//! What other issuers and trust domains publish, of people and of workloads: a cache and at most one fetch at
//! a time for each of them, everything bounded.
//!
//! Keys of one issuer never verify tokens of another: the cache is indexed by issuer and by the way in which
//! it is reached. A set is used for [`TTL`], the bundle of a trust domain for as long as it says, within
//! bounds. Then it is fetched again, or the token is refused. A replaced set is dropped, so a key that was
//! rotated out never comes back. The endpoints of an identity provider are kept in the same way.

mod bundle;
mod cache;
mod fetch;
mod fetched;
mod key_source;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::registry::{BundleSource, TrustedIssuer};
use mandate_token::discovery::ProviderMetadata;
use mandate_token::{KeySet, TokenError};

pub(crate) use cache::Unavailable;
pub use cache::{FAILURE_TTL, REFETCH_PAUSE};
pub use fetch::{FetchError, check_ca, check_proxy};
pub(crate) use fetch::{Posted, ToPost};
pub use fetched::TTL;
pub(crate) use key_source::KeySource;

use cache::{Cache, Found, Outcome, Wanted};
use fetch::HttpClients;
use key_source::Whose;

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

/// What trusted issuers and trust domains publish, each fetched when it is needed and kept for a while.
#[derive(Default)]
pub struct ForeignKeys {
    clients: HttpClients,
    keys: Cache<KeySet>,
    providers: Cache<ProviderMetadata>,
}

/// A fetch of keys that has begun.
type KeyFetch = Pin<Box<dyn Future<Output = Outcome<KeySet>> + Send>>;

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
        let found = self.keys(source, Wanted::Cached, now).await.map_err(NotVerified::Unavailable)?;
        let error = match verify(&found.value) {
            Err(error) if error.may_be_stale_keys() && found.again.is_some() => error,
            other => return other.map_err(NotVerified::Token),
        };
        tracing::debug!(issuer = %source, %error, "the keys of a trusted issuer are looked at again");
        let newer = self.keys(source, Wanted::Fresh, now).await.map_err(NotVerified::Unavailable)?;
        verify(&newer.value).map_err(|error| match newer.again {
            Some(retry_after) if error.may_be_stale_keys() => NotVerified::KeyUnknown { retry_after },
            _ => NotVerified::Token(error),
        })
    }

    async fn keys(
        &self,
        source: &KeySource,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Found<KeySet>, Unavailable> {
        self.keys.obtain(source, wanted, now, || self.key_fetch(source)).await
    }

    fn key_fetch(&self, source: &KeySource) -> Result<KeyFetch, FetchError> {
        let client = |address: &str| self.clients.of(address, source.ca.as_deref(), source.proxy.as_deref());
        Ok(match source.whose.clone() {
            Whose::Issuer(issuer, profile) => {
                let http = client(issuer.as_str())?;
                Box::pin(async move { fetch::keys(&http, &issuer, profile).await })
            }
            Whose::Domain(_, BundleSource::HttpsWeb { url }) => {
                let http = client(url.as_str())?;
                Box::pin(async move { bundle::fetched(&http, &url).await })
            }
            Whose::Domain(_, BundleSource::File { path }) => Box::pin(bundle::read(path)),
        })
    }

    /// The endpoints of an identity provider at which people log in.
    pub(crate) async fn provider(
        &self,
        provider: &TrustedIssuer,
        now: Timestamp,
    ) -> Result<Arc<ProviderMetadata>, Unavailable> {
        let fetch = || {
            let http = self.client_for(provider)?;
            let (issuer, profile) = (provider.url.clone(), provider.profile);
            Ok(async move { fetch::provider(&http, &issuer, profile).await })
        };
        let source = KeySource::of_issuer(provider);
        self.providers.obtain(&source, Wanted::Cached, now, fetch).await.map(|found| found.value)
    }

    /// Posts a form to an endpoint of an identity provider. It is sent once: the form may have a code, which
    /// counts once.
    pub(crate) async fn post(
        &self,
        provider: &TrustedIssuer,
        form: &ToPost<'_>,
    ) -> Result<Posted, FetchError> {
        fetch::post(&self.client_for(provider)?, form).await
    }

    fn client_for(&self, provider: &TrustedIssuer) -> Result<reqwest::Client, FetchError> {
        let TrustedIssuer { url, ca, proxy, .. } = provider;
        self.clients.of(url.as_str(), ca.as_deref(), proxy.as_deref())
    }
}

#[cfg(test)]
mod tests;
