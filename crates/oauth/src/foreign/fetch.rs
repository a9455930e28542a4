//! Fetching an issuer's metadata and keys: bounded in size and time, without redirects, never from an address
//! that a token names, and without settings from the environment.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mandate_core::registry::TokenProfile;
use mandate_core::uri::is_loopback;
use mandate_core::{Issuer, Secret};
use mandate_token::KeySet;
use mandate_token::discovery::{self, MetadataError, ProviderMetadata, jwks_uri, metadata_urls_of};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use url::Url;

use super::fetched::Fetched;

/// The longest time for one document, from connecting to the last byte.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for all documents of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 128 * 1024;
/// The most certificates that `ca` may hold.
const MAX_CERTIFICATES: usize = 64;

/// Why the keys of an issuer could not be fetched. For logs and records: it names addresses and their
/// servers' answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum FetchError {
    /// The HTTP client could not be set up: most likely, the machine has no certificate authorities.
    #[error(
        "the HTTP client for {issuer} cannot be set up: {why}; if this machine has no certificate authorities, install ca-certificates, or name the issuer's own as `ca`"
    )]
    Client {
        issuer: String,
        /// The whole chain of causes.
        why: String,
    },
    /// It took too long.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// No connection, or it broke, and why: name resolution, TCP, TLS.
    #[error("no connection to {url}: {why}")]
    Connection {
        url: String,
        /// The whole chain of causes.
        why: String,
    },
    /// An answer other than 200; redirects are not followed.
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    /// More than 128 KiB.
    #[error("{0} is larger than 128 KiB")]
    TooLarge(String),
    /// No address has the issuer's metadata; with the reason for each address.
    #[error("no address has the metadata of the issuer: {0}")]
    Metadata(String),
    /// Not a JWK Set.
    #[error("the key set at {url} is not acceptable: {why}")]
    KeySet {
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a bundle of a trust domain.
    #[error("the bundle at {place} is not acceptable: {why}")]
    Bundle {
        /// Its address or path.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file with a bundle cannot be read.
    #[error("the bundle cannot be read: {0}")]
    File(String),
    /// The bundle is older than one that was fetched before, or no longer says how old it is.
    #[error(
        "spiffe_sequence of the bundle went back from {before} to {}; if that is intended, restart the server",
        now.map_or_else(|| "none".to_owned(), |now| now.to_string())
    )]
    Sequence { before: u64, now: Option<u64> },
    /// The client's credential cannot be written into a header.
    #[error("the client's credential for {0} cannot be sent in a header")]
    Credential(String),
    /// The fetch was cancelled, because the server is stopping or the task panicked.
    #[error("the fetch was cancelled")]
    Aborted,
}

impl FetchError {
    /// Whether the server did not answer, so that the failure says nothing about what it has at this address.
    fn got_no_answer(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Connection { .. })
    }
}

/// The HTTP clients: one for all issuers that are reached directly and use the system's certificate
/// authorities.
#[derive(Default)]
pub(super) struct HttpClients {
    /// Made at first use, because most servers trust no other issuer. A failure is not kept, because there
    /// may be no free file descriptor for a moment.
    direct: OnceLock<reqwest::Client>,
}

impl HttpClients {
    /// The client for an issuer or a bundle endpoint, as its registry entry says.
    pub(super) fn of(
        &self,
        address: &str,
        ca: Option<&str>,
        proxy: Option<&str>,
    ) -> Result<reqwest::Client, FetchError> {
        if ca.is_some() || proxy.is_some() || is_plain(address) {
            // A new client for each fetch: the entry may have changed, and there are minutes between two
            // fetches.
            return client(address, ca, proxy);
        }
        if let Some(client) = self.direct.get() {
            return Ok(client.clone());
        }
        let made = client(address, None, None)?;
        Ok(self.direct.get_or_init(|| made).clone())
    }
}

fn client(address: &str, ca: Option<&str>, proxy: Option<&str>) -> Result<reqwest::Client, FetchError> {
    let fault =
        |error: reqwest::Error| FetchError::Client { issuer: address.to_owned(), why: causes(&error) };
    // `no_proxy` first: proxies that the environment names are ignored.
    #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .pool_max_idle_per_host(1)
        .user_agent(concat!("mandate/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = ca {
        builder =
            builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(fault)?);
    } else if is_plain(address) {
        // Without TLS, the machine needs no certificate authorities.
        builder = builder.tls_certs_only([]);
    }
    if let Some(proxy) = proxy.filter(|_| !is_local(address)) {
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(fault)?);
    }
    builder.build().map_err(fault)
}

fn is_plain(address: &str) -> bool {
    address.starts_with("http:")
}

fn is_local(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| is_loopback(&url))
}

/// Whether `pem` can be the `ca` of an issuer, or what is wrong with it.
pub fn check_ca(pem: &str) -> Result<(), String> {
    let certificates =
        reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| causes(&error))?;
    if certificates.is_empty() || certificates.len() > MAX_CERTIFICATES {
        return Err(format!(
            "expected 1 to {MAX_CERTIFICATES} certificates in PEM form, found {}",
            certificates.len()
        ));
    }
    #[expect(clippy::disallowed_methods, reason = "this client is thrown away")]
    let built = reqwest::Client::builder().no_proxy().tls_certs_only(certificates).build();
    built.map(drop).map_err(|error| causes(&error))
}

/// Whether `proxy` can be the `proxy` of an issuer, or what is wrong with it. Credentials do not belong in
/// the registry.
pub fn check_proxy(proxy: &str) -> Result<(), String> {
    let url = Url::parse(proxy).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("expected http://host:port or https://host:port".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a proxy's user name and password cannot be kept in the registry".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("expected nothing after host and port".to_owned());
    }
    reqwest::Proxy::all(proxy).map(drop).map_err(|error| causes(&error))
}

/// The issuer's keys, found through its metadata.
pub(super) async fn keys(
    http: &reqwest::Client,
    issuer: &Issuer,
    profile: TokenProfile,
) -> Result<Fetched<KeySet>, FetchError> {
    let until = Instant::now() + FETCH_TIMEOUT;
    let url = discover(http, issuer, profile, until, jwks_uri).await?;
    let document = get(http, &url, until).await?;
    let why = |error: mandate_token::KeySetError| FetchError::KeySet {
        url: url.to_string(),
        why: error.to_string(),
    };
    discovery::keys(&document.body, issuer, profile).map(Fetched::of_issuer).map_err(why)
}

/// The document at one address.
pub(super) async fn document(http: &reqwest::Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    get(http, url, Instant::now() + FETCH_TIMEOUT).await.map(|document| document.body)
}

/// The issuer's endpoints, found through its metadata.
pub(super) async fn provider(
    http: &reqwest::Client,
    issuer: &Issuer,
    profile: TokenProfile,
) -> Result<Fetched<ProviderMetadata>, FetchError> {
    let until = Instant::now() + FETCH_TIMEOUT;
    discover(http, issuer, profile, until, discovery::provider).await.map(Fetched::of_issuer)
}

/// Asks one address after the other until one has a valid document: a site may answer 200 with a page for any
/// path, and a filter in front of it may leave a path without an answer.
async fn discover<T>(
    http: &reqwest::Client,
    issuer: &Issuer,
    profile: TokenProfile,
    until: Instant,
    read: impl Fn(Option<&str>, &[u8], &Issuer) -> Result<T, MetadataError>,
) -> Result<T, FetchError> {
    let (mut failures, mut unanswered) = (Vec::new(), Vec::new());
    for address in metadata_urls_of(issuer, profile) {
        let url =
            Url::parse(&address).map_err(|error| FetchError::Metadata(format!("{address}: {error}")))?;
        match get(http, &url, until).await {
            Ok(document) => match read(document.content_type.as_deref(), &document.body, issuer) {
                Ok(found) => return Ok(found),
                Err(error) => failures.push(format!("{address}: {error}")),
            },
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

struct Document {
    content_type: Option<String>,
    body: Vec<u8>,
}

/// `until`: when the whole fetch must have ended.
async fn get(http: &reqwest::Client, url: &Url, until: Instant) -> Result<Document, FetchError> {
    let left = until.saturating_duration_since(Instant::now()).min(DOCUMENT_TIMEOUT);
    let request = http.get(url.clone()).header(ACCEPT, "application/json").timeout(left);
    let response = request.send().await.map_err(|error| classify(url, &error))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status { url: url.to_string(), status: response.status().as_u16() });
    }
    let content_type = content_type(&response);
    let body = whole_body(url, response).await?;
    Ok(Document { content_type, body })
}

fn content_type(response: &reqwest::Response) -> Option<String> {
    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A form for an endpoint of an issuer.
pub(crate) struct ToPost<'a> {
    /// An endpoint of the issuer's own metadata.
    pub(crate) url: &'a Url,
    /// The value of the header `Authorization`, if there is one.
    pub(crate) authorization: Option<Secret>,
    /// The form, encoded.
    pub(crate) body: Secret,
}

/// The answer to a form.
pub(crate) struct Posted {
    /// The status, such as 200 or 400. No redirect was followed.
    pub(crate) status: u16,
    /// The header `Content-Type`, if there is one.
    pub(crate) content_type: Option<String>,
    /// The body, of at most 128 KiB. It may have tokens in it.
    pub(crate) body: Secret,
}

pub(super) async fn post(http: &reqwest::Client, form: &ToPost<'_>) -> Result<Posted, FetchError> {
    let ToPost { url, authorization, body } = form;
    let mut request = http
        .post((*url).clone())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .timeout(DOCUMENT_TIMEOUT)
        .body(body.expose_secret().to_vec());
    if let Some(value) = authorization {
        let unsendable = |_| FetchError::Credential(url.to_string());
        let mut value = HeaderValue::from_bytes(value.expose_secret()).map_err(unsendable)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let response = request.send().await.map_err(|error| classify(url, &error))?;
    let status = response.status().as_u16();
    let content_type = content_type(&response);
    Ok(Posted { status, content_type, body: Secret::new(whole_body(url, response).await?) })
}

async fn whole_body(url: &Url, mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(url, &error))? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge(url.to_string()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn classify(url: &Url, error: &reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout(url.to_string());
    }
    FetchError::Connection { url: url.to_string(), why: causes(error) }
}

/// What went wrong, from the outermost to the innermost cause: only the innermost names the reason of a
/// failed TLS handshake.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {inner}");
        source = inner.source();
    }
    text.chars().filter(|c| !c.is_control()).take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::{check_ca, check_proxy};

    #[test]
    fn a_proxy_is_an_address_and_nothing_else() {
        for good in
            ["http://proxy.acme.example:3128", "https://proxy.acme.example", "http://[2001:db8::1]:8080/"]
        {
            assert_eq!(check_proxy(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "proxy.acme.example:3128",
            "socks5://proxy.acme.example",
            "http://user:secret@proxy.acme.example",
            "http://proxy.acme.example/path",
            "http://proxy.acme.example?x",
        ] {
            let why = check_proxy(bad).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn an_authority_is_at_least_one_certificate() {
        for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(check_ca(bad).is_err(), "{bad}");
        }
    }
}
