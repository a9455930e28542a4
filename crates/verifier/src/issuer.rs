//! What is fetched from the issuer: its metadata (RFC 8414) and its keys (RFC 7517). Bounded in size and
//! time, without redirects, and never from an address that a token names.

use std::time::{Duration, Instant};

use mandate_core::Issuer;
use mandate_core::uri::is_loopback;
use mandate_token::KeySet;
use mandate_token::discovery::{jwks_uri, metadata_urls};
use url::Url;

/// The largest metadata document, in bytes.
const MAX_METADATA: usize = 64 * 1024;
/// The largest JWK Set, in bytes.
const MAX_JWKS: usize = 256 * 1024;
/// How long one document may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all documents of one fetch may take.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the issuer's keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{url} cannot be reached: {detail}")]
    Unreachable { url: String, detail: String },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{0} does not answer with an event stream")]
    NotAStream(String),
    #[error("{url} is larger than {limit} bytes")]
    TooLarge { url: String, limit: usize },
    #[error("no address has the issuer's metadata: {0}")]
    Metadata(String),
    #[error("the metadata places the keys at {0:?}, which is not on the issuer's own origin")]
    ForeignKeys(String),
    #[error("the issuer's JWK Set is not usable: {0}")]
    Keys(String),
}

/// A fetched and parsed JWK Set, with the text it came from.
pub(crate) struct FetchedKeys {
    pub(crate) set: KeySet,
    pub(crate) json: Vec<u8>,
}

impl FetchError {
    /// Whether the server did not answer, so that the failure says nothing about what it has at this address.
    fn got_no_answer(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

struct Document {
    content_type: Option<String>,
    body: Vec<u8>,
}

/// The HTTP client for one issuer.
#[derive(Clone, Debug)]
pub(crate) struct IssuerClient {
    http: reqwest::Client,
    issuer: Issuer,
}

impl IssuerClient {
    /// `proxy` is not used for an issuer on loopback.
    pub(crate) fn new(
        issuer: Issuer,
        roots: Vec<reqwest::Certificate>,
        proxy: Option<reqwest::Proxy>,
    ) -> Result<Self, reqwest::Error> {
        // An environment variable must not decide which server is believed to be the issuer.
        #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .user_agent(concat!("mandate-verifier/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT);
        // An issuer without TLS, on loopback, needs no certificate authority, and the machine need not have
        // one.
        if !roots.is_empty() || issuer.as_str().starts_with("http:") {
            builder = builder.tls_certs_only(roots);
        }
        let local = Url::parse(issuer.as_str()).is_ok_and(|url| is_loopback(&url));
        if let Some(proxy) = proxy.filter(|_| !local) {
            builder = builder.proxy(proxy);
        }
        Ok(Self { http: builder.build()?, issuer })
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Opens the revocation feed. The stream itself has no time limit; the reader checks how long it is
    /// silent.
    pub(crate) async fn open_feed(&self) -> Result<reqwest::Response, FetchError> {
        let url = format!("{}/revocations", self.issuer.as_str().trim_end_matches('/'));
        let request =
            self.http.get(&url).header("accept", "text/event-stream").header("cache-control", "no-store");
        let opening = tokio::time::timeout(FETCH_TIMEOUT, request.send());
        let response = match opening.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unreachable(&url, &error)),
            Err(_) => return Err(FetchError::Unreachable { url, detail: "no answer in time".to_owned() }),
        };
        let status = response.status().as_u16();
        if status != 200 {
            return Err(FetchError::Status { url, status });
        }
        let kind =
            response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(FetchError::NotAStream(url));
        }
        Ok(response)
    }

    /// The issuer's keys, found through its metadata.
    pub(crate) async fn fetch_keys(&self) -> Result<FetchedKeys, FetchError> {
        let until = Instant::now() + KEYS_TIMEOUT;
        let url = self.discover(until).await?;
        let json = self.get(url.as_str(), MAX_JWKS, until).await?.body;
        let set = parse_keys(&json)?;
        Ok(FetchedKeys { set, json })
    }

    /// Asks one address after the other until one has a valid document: a proxy in front of the issuer may
    /// answer 200 with a page for any unknown path, or leave some path without an answer.
    async fn discover(&self, until: Instant) -> Result<Url, FetchError> {
        let (mut failures, mut unanswered) = (Vec::new(), Vec::new());
        for address in metadata_urls(&self.issuer) {
            match self.get(&address, MAX_METADATA, until).await {
                Ok(document) => {
                    match jwks_uri(document.content_type.as_deref(), &document.body, &self.issuer) {
                        Ok(uri) if same_origin(uri.as_str(), self.issuer.as_str()) => return Ok(uri),
                        Ok(uri) => {
                            return Err(FetchError::ForeignKeys(uri.as_str().chars().take(200).collect()));
                        }
                        Err(error) => failures.push(format!("{address}: {error}")),
                    }
                }
                Err(error) => {
                    failures.push(error.to_string());
                    if error.got_no_answer() {
                        unanswered.push(error);
                    }
                }
            }
        }
        let none_answered = unanswered.len() == failures.len();
        match unanswered.into_iter().next() {
            Some(first) if none_answered => Err(first),
            _ => Err(FetchError::Metadata(failures.join("; "))),
        }
    }

    /// `until`: when the whole fetch must have ended.
    async fn get(&self, url: &str, limit: usize, until: Instant) -> Result<Document, FetchError> {
        let left = until.saturating_duration_since(Instant::now()).min(FETCH_TIMEOUT);
        let request = self.http.get(url).header("accept", "application/json").timeout(left);
        let mut response = request.send().await.map_err(|error| unreachable(url, &error))?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status { url: url.to_owned(), status: response.status().as_u16() });
        }
        let content_type =
            response.headers().get("content-type").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLarge { url: url.to_owned(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Document { content_type, body })
    }
}

/// Parses a JWK Set and refuses one without a usable key: if good keys were replaced by none, that would be
/// an outage.
pub(crate) fn parse_keys(json: &[u8]) -> Result<KeySet, FetchError> {
    let set = KeySet::from_json(json).map_err(|error| FetchError::Keys(error.to_string()))?;
    if set.is_empty() { Err(FetchError::Keys("it has no usable key".to_owned())) } else { Ok(set) }
}

fn unreachable(url: &str, error: &reqwest::Error) -> FetchError {
    // The sources say what went wrong ("connection refused", "invalid peer certificate: UnknownIssuer"); the
    // outermost text only repeats the URL.
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        causes.push(inner.to_string());
        source = inner.source();
    }
    let detail = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
    FetchError::Unreachable { url: url.to_owned(), detail }
}

/// RFC 6454 §5. The keys of an issuer must come from the issuer itself, so that no other host can provide
/// them.
fn same_origin(a: &str, b: &str) -> bool {
    match (Url::parse(a), Url::parse(b)) {
        (Ok(a), Ok(b)) => {
            a.origin().is_tuple()
                && a.origin() == b.origin()
                && a.username().is_empty()
                && a.password().is_none()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::same_origin;

    #[test]
    fn keys_from_elsewhere_are_refused() {
        let issuer = "https://login.example/tenant";
        assert!(same_origin("https://login.example/jwks.json", issuer));
        for elsewhere in [
            "https://login.example.evil.test/jwks",
            "http://login.example/jwks",
            "https://login.example:8443/jwks",
            "https://login.example@evil.test/jwks",
            "https://user@login.example/jwks",
            "file:///etc/jwks.json",
            "data:application/json,{}",
            "/jwks",
            "",
        ] {
            assert!(!same_origin(elsewhere, issuer), "{elsewhere}");
        }
    }
}
