//! Fetching a client's metadata from an address that a stranger chose: from public addresses only, which are
//! checked when the name is resolved and used for this connection alone; without redirects, proxies and
//! settings from the environment; bounded in size and time.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mandate_core::uri::is_loopback;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use url::{Host, Url};

use super::addresses::is_public;

/// The longest time from the resolution of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document, in bytes (draft-ietf-oauth-client-id-metadata-document-02 §8.7).
pub(super) const MAX_DOCUMENT: usize = 5 * 1024;
/// The shortest and the longest time for which a document is used, whatever its server says (§5.2), and the
/// time if it says nothing.
const SHORTEST: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(1);
const UNSAID: Duration = Duration::from_mins(5);

/// Why there is no document. For records: strangers are told none of it, because it would show them what is
/// behind an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// The host has an address at which no public host is.
    #[error("{0} is not a public address")]
    Address(String),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it broke: name resolution, TCP, TLS.
    #[error("no connection: {0}")]
    Connection(String),
    /// An answer other than 200. A redirect is one: it is not followed (§5).
    #[error("the answer has the status {0}")]
    Status(u16),
    /// Larger than 5 KiB.
    #[error("the document is larger than 5 KiB")]
    TooLarge,
    /// Too many documents are being fetched.
    #[error("too many documents are being fetched")]
    Crowded,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
    /// For how long it may be used.
    pub(super) lifetime: Duration,
}

/// Names as the system resolves them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A special-purpose address, as an error of name resolution.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a public address")]
struct Refused(IpAddr);

/// Resolves names to addresses that may be connected to. There is no second resolution between the check and
/// the connection, so a name that resolves to something else a moment later changes nothing.
struct CheckedNames {
    names: Arc<dyn Resolve>,
    may_connect: fn(IpAddr) -> bool,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, may_connect) = (self.names.resolve(name), self.may_connect);
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await?.collect();
            // One that is not public is enough: an honest host has none.
            match found.iter().find(|address| !may_connect(address.ip())) {
                Some(refused) => Err(Refused(refused.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// The HTTP clients, made at first use. A failure is not kept.
pub(super) struct Fetcher {
    names: Arc<dyn Resolve>,
    /// Whether loopback hosts may be asked: our own issuer is one.
    loopback: bool,
    public_hosts: OnceLock<reqwest::Client>,
    loopback_hosts: OnceLock<reqwest::Client>,
}

impl Fetcher {
    pub(super) fn new(names: Arc<dyn Resolve>, loopback: bool) -> Self {
        Self { names, loopback, public_hosts: OnceLock::new(), loopback_hosts: OnceLock::new() }
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client, NotFetched> {
        // A name is checked when it is resolved; an address in the URL is not resolved.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        let (kept, may_connect): (_, fn(IpAddr) -> bool) = if self.loopback && is_loopback(url) {
            (&self.loopback_hosts, |address| address.is_loopback())
        } else {
            (&self.public_hosts, is_public)
        };
        if let Some(address) = literal.filter(|address| !may_connect(*address)) {
            return Err(NotFetched::Address(address.to_string()));
        }
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        let names = CheckedNames { names: Arc::clone(&self.names), may_connect };
        #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            // A connection is for one document: the next one resolves the name again.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(names))
            .timeout(TIMEOUT)
            .user_agent(concat!("mandate/", env!("CARGO_PKG_VERSION")));
        let made = builder.build().map_err(|error| NotFetched::Client(causes(&error)))?;
        Ok(kept.get_or_init(|| made).clone())
    }

    /// The document at `url`.
    pub(super) async fn fetch(&self, url: &Url) -> Result<Fetched, NotFetched> {
        let request = self.client(url)?.get(url.clone()).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(|error| why(&error))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(NotFetched::Status(response.status().as_u16()));
        }
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = text(CONTENT_TYPE).map(str::to_owned);
        let lifetime = lifetime(text(CACHE_CONTROL));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| why(&error))? {
            if body.len() + chunk.len() > MAX_DOCUMENT {
                return Err(NotFetched::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { content_type, body, lifetime })
    }
}

/// For how long an answer may be used (RFC 9111 §5.2.2), within our bounds.
fn lifetime(cache_control: Option<&str>) -> Duration {
    let mut said = None;
    for directive in cache_control.unwrap_or_default().split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return SHORTEST,
            "max-age" => said = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs),
            _ => {}
        }
    }
    said.unwrap_or(UNSAID).clamp(SHORTEST, LONGEST)
}

fn why(error: &reqwest::Error) -> NotFetched {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(Refused(address)) = inner.downcast_ref::<Refused>() {
            return NotFetched::Address(address.to_string());
        }
        source = inner.source();
    }
    if error.is_timeout() { NotFetched::Timeout } else { NotFetched::Connection(causes(error)) }
}

/// The innermost cause, which names the reason of a failed resolution or TLS handshake.
fn causes(error: &reqwest::Error) -> String {
    let mut inner: &dyn Error = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_testkit::hostile_issuer::{HostileIssuer, Trouble};
    use mandate_testkit::listed_names::ListedNames;
    use url::Url;

    use super::{Fetched, Fetcher, LONGEST, NotFetched as N, SHORTEST, UNSAID, lifetime};

    /// Asks `names` for the host of `url`, as a server on a loopback host or on another one does.
    async fn fetch(names: &Arc<ListedNames>, loopback: bool, url: &str) -> Result<Fetched, N> {
        let url = Url::parse(url).unwrap();
        Fetcher::new(Arc::clone(names) as _, loopback).fetch(&url).await
    }

    #[tokio::test]
    async fn a_host_with_one_address_that_is_not_public_is_not_connected_to() {
        let names = Arc::new(ListedNames::default());
        for (addresses, refused) in [
            (["127.0.0.1"].as_slice(), "127.0.0.1"),
            (&["169.254.169.254"], "169.254.169.254"),
            (&["10.1.2.3"], "10.1.2.3"),
            (&["::1"], "::1"),
            (&["::ffff:127.0.0.1"], "::ffff:127.0.0.1"),
            (&["64:ff9b::7f00:1"], "64:ff9b::7f00:1"),
            (&["1.1.1.1", "192.168.0.1"], "192.168.0.1"),
        ] {
            names.list("client.example", &[addresses]);
            for loopback in [false, true] {
                let found = fetch(&names, loopback, "https://client.example/client.json").await;
                assert_eq!(found.unwrap_err(), N::Address(refused.to_owned()), "{addresses:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_address_in_the_url_is_judged_as_one_that_a_name_has() {
        let names = Arc::new(ListedNames::default());
        for url in [
            "https://169.254.169.254/latest/meta-data",
            "https://10.0.0.1/client.json",
            "https://[::1]/client.json",
            "https://[::ffff:127.0.0.1]/client.json",
            "https://2130706433/client.json",
            "https://0x7f.1/client.json",
            "https://0177.0.0.1/client.json",
            "http://127.0.0.1/client.json",
        ] {
            let found = fetch(&names, false, url).await;
            assert!(matches!(found, Err(N::Address(_))), "{url}: {found:?}");
        }
        names.list("localhost", &[&["127.0.0.1"]]);
        let found = fetch(&names, false, "http://localhost/client.json").await;
        assert_eq!(found.unwrap_err(), N::Address("127.0.0.1".into()));
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_for_the_check_and_the_connection() {
        let host = HostileIssuer::start();
        host.serve_at("/client.json", "application/json", "{}");
        let names = Arc::new(ListedNames::default());
        let port = Url::parse(host.issuer().as_str()).unwrap().port().unwrap();
        let url = format!("http://localhost:{port}/client.json");
        // It would be refused at the second resolution.
        names.list("localhost", &[&["127.0.0.1"], &["10.0.0.1"]]);
        assert_eq!(fetch(&names, true, &url).await.unwrap().body, b"{}");
        assert_eq!(names.left("localhost"), 1);
        let found = fetch(&names, true, &url).await;
        assert_eq!(found.unwrap_err(), N::Address("10.0.0.1".into()), "the next document");
        names.list("localhost", &[&["1.1.1.1"]]);
        let found = fetch(&names, true, &url).await;
        assert_eq!(
            found.unwrap_err(),
            N::Address("1.1.1.1".into()),
            "a loopback host has loopback addresses"
        );
        assert_eq!(host.pages_served(), 1);
    }

    #[tokio::test]
    async fn a_hostile_host_gets_no_further_than_its_answer() {
        let host = HostileIssuer::start();
        let names = Arc::new(ListedNames::default());
        let at = |path: &str| format!("{}{path}", host.issuer());
        host.serve_at("/full", "application/json", &" ".repeat(5 * 1024));
        host.serve_at("/large", "application/json", &" ".repeat(5 * 1024 + 1));
        host.serve_at("/secret", "application/json", "{}");
        host.redirect_at("/elsewhere", "/secret");
        host.fail_at("/broken", Trouble::Break);
        host.fail_at("/none", Trouble::Status(204));
        host.fail_at("/fault", Trouble::Status(500));
        assert_eq!(fetch(&names, true, &at("/full")).await.unwrap().body.len(), 5 * 1024);
        assert_eq!(fetch(&names, true, &at("/large")).await.unwrap_err(), N::TooLarge);
        let before = host.pages_served();
        assert_eq!(fetch(&names, true, &at("/elsewhere")).await.unwrap_err(), N::Status(302));
        assert_eq!(host.pages_served(), before + 1, "the redirect is not followed");
        assert!(matches!(fetch(&names, true, &at("/broken")).await, Err(N::Connection(_))));
        assert_eq!(fetch(&names, true, &at("/none")).await.unwrap_err(), N::Status(204));
        assert_eq!(fetch(&names, true, &at("/fault")).await.unwrap_err(), N::Status(500));
        assert_eq!(fetch(&names, true, &at("/absent")).await.unwrap_err(), N::Status(404));
        host.fail_at("/silent", Trouble::Silence);
        assert_eq!(fetch(&names, true, &at("/silent")).await.unwrap_err(), N::Timeout);
    }

    #[test]
    fn a_document_is_used_as_long_as_its_server_says_within_bounds() {
        for (said, expected) in [
            (None, UNSAID),
            (Some("public"), UNSAID),
            (Some("max-age=600"), Duration::from_secs(600)),
            (Some("public, Max-Age=\"600\""), Duration::from_secs(600)),
            (Some("max-age=0"), SHORTEST),
            (Some("max-age=31536000"), LONGEST),
            (Some("max-age=99999999999999999999"), UNSAID),
            (Some("max-age=-1"), UNSAID),
            (Some("max-age=600, no-store"), SHORTEST),
            (Some("no-cache"), SHORTEST),
        ] {
            assert_eq!(lifetime(said), expected, "{said:?}");
        }
    }
}
