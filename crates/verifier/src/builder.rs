//! Configuring a verifier.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::{Clock, Entropy, Issuer, ResourceUri, ScopeSet, SystemClock, SystemEntropy};
use mandate_files::text;
use mandate_single_flight::SingleFlight;
use mandate_token::SignatureMemo;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::cache_file::{self, CacheFileError, Restored};
use crate::feed;
use crate::issuer::IssuerClient;
use crate::keys::KeyCache;
use crate::metadata::ResourceMetadata;
use crate::shared::{Intervals, Shared, VerifierStatus};
use crate::verifier::{Inner, Verifier};

/// Why a verifier cannot be built. Each of these is a mistake in the configuration, and is found before the
/// first request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not called within a tokio runtime, which the background tasks need.
    #[error("a verifier has to be built within a tokio runtime")]
    NoRuntime,
    /// A trust root is not a PEM certificate, or there is no trust root and the machine has no certificate
    /// authorities.
    #[error(
        "the TLS client cannot be set up; a machine without certificate authorities needs ca-certificates, or a trust_root"
    )]
    Tls(#[source] reqwest::Error),
    /// The proxy is not a URL that can be used.
    #[error("the proxy cannot be used")]
    Proxy(#[source] reqwest::Error),
    /// The cache file cannot be used.
    #[error(transparent)]
    CacheFile(#[from] CacheFileError),
}

/// Configures a [`Verifier`]. Everything has a safe default.
#[must_use]
pub struct Builder {
    issuer: Issuer,
    resource: ResourceUri,
    metadata: ResourceMetadata,
    cache_file: Option<PathBuf>,
    trust_roots: Vec<Vec<u8>>,
    proxy: Option<String>,
    intervals: Intervals,
    memo: Option<usize>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Builder {
    pub(crate) fn new(issuer: Issuer, resource: ResourceUri) -> Self {
        Self {
            metadata: ResourceMetadata::new(resource.clone(), issuer.clone()),
            issuer,
            resource,
            cache_file: None,
            trust_roots: Vec::new(),
            proxy: None,
            intervals: Intervals {
                keys_refresh: Duration::from_mins(5),
                keys_max_age: Duration::from_hours(24),
                unknown_key: Duration::from_secs(5),
                feed_silence: Duration::from_secs(15),
            },
            memo: Some(10_000),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// The scopes to be named in the resource metadata (`scopes_supported`).
    pub fn scopes_supported(mut self, scopes: ScopeSet) -> Self {
        self.metadata.set_scopes(scopes);
        self
    }

    /// A name for people, in the resource metadata (`resource_name`).
    pub fn resource_name(mut self, name: impl Into<String>) -> Self {
        self.metadata.set_name(name.into());
        self
    }

    /// Where developers read about the API, in the resource metadata (`resource_documentation`).
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.metadata.set_documentation(url.into());
        self
    }

    /// Keeps keys and known cuts in a file, so that a restart during an outage of the issuer still works.
    ///
    /// The file and its directory must belong to the service's user (or root), and no other user may be able
    /// to write to them, or [`Builder::build`] refuses them: a user who can write the file decides whose
    /// tokens are accepted. The directory must exist; make it with mode 0700.
    pub fn cache_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache_file = Some(path.into());
        self
    }

    /// Trusts this CA (PEM, one certificate) for connections to the issuer, instead of those of the system.
    /// May be called more than once.
    ///
    /// Read it from a file that only the service's user and root may change: a user who can change it can
    /// pretend to be the issuer.
    pub fn trust_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust_roots.push(pem.into());
        self
    }

    /// Reaches the issuer through this proxy, such as `http://proxy.acme.example:3128`. Default: none.
    /// `HTTP_PROXY` and similar variables are ignored, because the environment must not decide which server
    /// is believed to be the issuer. An issuer on loopback is always reached directly.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// How often the keys are fetched again. Default: 5 minutes.
    pub fn keys_refresh(mut self, interval: Duration) -> Self {
        self.intervals.keys_refresh = interval;
        self
    }

    /// For how long keys are used that the issuer has not confirmed. Default: 24 hours. A key that was
    /// withdrawn during an outage is trusted for at most that long.
    pub fn keys_max_age(mut self, age: Duration) -> Self {
        self.intervals.keys_max_age = age;
        self
    }

    /// If a token has an unknown key id, the keys are fetched again, at most once in this time. Default: 5
    /// seconds.
    pub fn unknown_key_interval(mut self, interval: Duration) -> Self {
        self.intervals.unknown_key = interval;
        self
    }

    /// A revocation feed that is silent for this time is closed and opened again. Default: 15 seconds, three
    /// of the issuer's heartbeats.
    pub fn feed_silence(mut self, silence: Duration) -> Self {
        self.intervals.feed_silence = silence;
        self
    }

    /// How many verified signatures are remembered (about 120 bytes each); 0 remembers none. Default: 10,000.
    /// Only the signature's arithmetic is saved; every claim and every cut is checked each time.
    pub fn remembered_signatures(mut self, capacity: usize) -> Self {
        self.memo = (capacity > 0).then_some(capacity);
        self
    }

    /// Another clock. For tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness, which is used for jitter only. For tests.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Builds the verifier and starts to fetch keys and to follow the revocation feed, in the background.
    ///
    /// Blocks while it reads the cache file and the machine's certificate authorities: call it before the
    /// service answers requests, or on a thread that may block (`spawn_blocking`).
    ///
    /// Succeeds also when the issuer cannot be reached: see [`Verifier::ready`].
    pub fn build(self) -> Result<Verifier, BuildError> {
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let roots =
            self.trust_roots.iter().map(|pem| reqwest::Certificate::from_pem(text::without_mark(pem)));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(BuildError::Tls)?;
        let proxy = self.proxy.map(reqwest::Proxy::all).transpose().map_err(BuildError::Proxy)?;
        let client = IssuerClient::new(self.issuer, roots, proxy).map_err(BuildError::Tls)?;
        let restored = match &self.cache_file {
            Some(path) => cache_file::read(path, client.issuer())?,
            None => Restored::default(),
        };
        let (keys, revocations) = restored.into_parts();
        let status = VerifierStatus {
            keys_fetched: keys.as_ref().map(|keys| keys.fetched),
            feed_synced: false,
            cuts: revocations.forget_before(self.clock.now()),
        };
        let shared = Arc::new(Shared {
            client,
            clock: self.clock,
            entropy: self.entropy,
            keys: KeyCache::new(keys),
            fetches: SingleFlight::default(),
            revocations,
            intervals: self.intervals,
            status: watch::Sender::new(status),
        });
        let mut tasks = Vec::with_capacity(3);
        let of = Arc::clone(&shared);
        tasks.push(runtime.spawn(async move { of.maintain().await }).abort_handle());
        let of = Arc::clone(&shared);
        tasks.push(runtime.spawn(async move { feed::follow(&of).await }).abort_handle());
        if let Some(path) = self.cache_file {
            let of = Arc::clone(&shared);
            tasks.push(runtime.spawn(async move { cache_file::keep(&of, &path).await }).abort_handle());
        }
        Ok(Verifier::from_inner(Inner {
            shared,
            resource: self.resource,
            metadata_url: self.metadata.url(),
            metadata: self.metadata,
            memo: self.memo.map(SignatureMemo::new),
            tasks,
        }))
    }
}
