//! What other issuers publish, of people and of workloads: a cache and at most one fetch at a time for each
//! issuer, everything bounded.
//!
//! Keys of one issuer never verify tokens of another: the cache is indexed by issuer and by the way in which
//! it is reached. A set is used for [`TTL`]. Then it is fetched again, or the token is refused. A replaced
//! set is dropped, so a key that was rotated out never comes back. The endpoints of an identity provider are
//! kept in the same way.

mod cache;
mod fetch;

use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::{AgentProof, TokenProfile, TrustedIssuer};
use mandate_core::{Issuer, Timestamp};
use mandate_token::discovery::ProviderMetadata;
use mandate_token::{KeySet, TokenError};

pub use fetch::{FetchError, check_ca, check_proxy};
pub(crate) use fetch::{Posted, ToPost};

use cache::{Cache, Wanted};
use fetch::HttpClients;

/// How long a key set is used before it is fetched again.
pub const TTL: Duration = Duration::from_mins(5);
/// The shortest time between two fetches because of an unknown `kid`.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// How long a failure is remembered.
pub const FAILURE_TTL: Duration = Duration::from_secs(10);

/// Something of an issuer cannot be fetched now. It is worth asking again after a while.
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

/// What trusted issuers publish, each fetched when it is needed and kept for a while.
#[derive(Default)]
pub struct ForeignKeys {
    clients: HttpClients,
    keys: Cache<KeySet>,
    providers: Cache<ProviderMetadata>,
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
        let found = self.keys(source, Wanted::Cached, now).await.map_err(NotVerified::Unavailable)?;
        let error = match verify(&found.value) {
            Err(error) if error.may_be_stale_keys() && found.again.is_some() => error,
            other => return other.map_err(NotVerified::Token),
        };
        tracing::debug!(issuer = %source.issuer, %error, "the keys of a trusted issuer are looked at again");
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
    ) -> Result<cache::Found<KeySet>, Unavailable> {
        let fetched = || {
            let http = self.client(source)?;
            let source = source.clone();
            Ok(async move { fetch::keys(&http, &source.issuer, source.profile).await })
        };
        self.keys.obtain(source, wanted, now, fetched).await
    }

    /// The endpoints of an identity provider at which people log in.
    pub(crate) async fn provider(
        &self,
        source: &KeySource,
        now: Timestamp,
    ) -> Result<Arc<ProviderMetadata>, Unavailable> {
        let fetched = || {
            let http = self.client(source)?;
            let source = source.clone();
            Ok(async move { fetch::provider(&http, &source.issuer, source.profile).await })
        };
        self.providers.obtain(source, Wanted::Cached, now, fetched).await.map(|found| found.value)
    }

    /// Posts a form to an endpoint of an issuer. It is sent once: the form may have a code, which counts once.
    pub(crate) async fn post(&self, source: &KeySource, form: &ToPost<'_>) -> Result<Posted, FetchError> {
        fetch::post(&self.client(source)?, form).await
    }

    fn client(&self, source: &KeySource) -> Result<reqwest::Client, FetchError> {
        self.clients.of(&source.issuer, source.ca.as_deref(), source.proxy.as_deref())
    }
}
