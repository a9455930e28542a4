//! An authorization server as its clients see it: metadata (RFC 8414), keys, and the token endpoint (RFC 6749
//! §3.2).

use std::path::Path;
use std::time::Duration;

use mandate_core::{Issuer, Secret};
use mandate_files::text;
use mandate_token::discovery::metadata_urls;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::failure::{Failure, Fault};
use crate::input_file;
use crate::screen::one_line;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes: key sets and tokens are far smaller.
const MAX_ANSWER: usize = 1024 * 1024;

/// What an issuer says about itself (RFC 8414 §2), as far as it is needed here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    #[serde(default, deserialize_with = "url")]
    pub(crate) authorization_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "url")]
    pub(crate) token_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "url")]
    pub(crate) jwks_uri: Option<Url>,
    /// Where the keys of its JWT-SVIDs are; Mandate's own member.
    #[serde(default, deserialize_with = "url")]
    pub(crate) spiffe_bundle_endpoint: Option<Url>,
    /// Whether its answers always name it (RFC 9207 §3).
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// An invalid address counts as absent.
fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}

/// A document as it came.
pub(crate) struct Document {
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The client of one issuer.
pub(crate) struct IssuerClient {
    issuer: Issuer,
    http: Client,
    has_ca: bool,
}

impl IssuerClient {
    /// A client that trusts the platform's certificate authorities, or the one in `ca` and no other.
    pub(crate) fn new(issuer: &Issuer, ca: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = ca else { return Self::trusting(issuer, None, None) };
        // Who can change it could answer for the issuer.
        let pem = input_file::read_trusted(file, MAX_ANSWER as u64)?;
        Self::trusting(issuer, Some((&pem, &file.display().to_string())), None)
    }

    /// A client for an issuer as its registry entry declares it.
    pub(crate) fn of_entry(issuer: &Issuer, ca: Option<&str>, proxy: Option<&str>) -> Result<Self, Failure> {
        Self::trusting(issuer, ca.map(|pem| (pem.as_bytes(), "`ca` of the issuer's entry")), proxy)
    }

    /// `ca`: a PEM text and where it is from.
    fn trusting(issuer: &Issuer, ca: Option<(&[u8], &str)>, proxy: Option<&str>) -> Result<Self, Failure> {
        // Codes and tokens are not sent to a proxy that only the environment names.
        #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
        let mut builder =
            Client::builder().no_proxy().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if let Some((pem, place)) = ca {
            let bad = |why: &str| Failure::usage(format!("{place} holds no certificate authority: {why}"));
            let trusted = reqwest::Certificate::from_pem_bundle(text::without_mark(pem))
                .map_err(|_| bad("it is not PEM"))?;
            if trusted.is_empty() {
                return Err(bad("there is no certificate in it"));
            }
            builder = builder.tls_certs_only(trusted);
        } else if issuer.as_str().starts_with("http:") {
            // Without TLS no authority is asked: a machine without any will do.
            builder = builder.tls_certs_only([]);
        }
        let is_local = Url::parse(issuer.as_str()).is_ok_and(|url| mandate_core::uri::is_loopback(&url));
        if let Some(proxy) = proxy.filter(|_| !is_local) {
            let proxy = reqwest::Proxy::all(proxy).map_err(|error| {
                Failure::caused(Fault::Failed, "the issuer's proxy cannot be used", &error)
            })?;
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(|error| Failure::caused(Fault::Failed, "cannot start", &error))?;
        Ok(Self { issuer: issuer.clone(), http, has_ca: ca.is_some() })
    }

    /// The issuer's metadata, from the first address whose document is about this issuer and has what is
    /// needed. The addresses and their order are those by which the server finds other issuers' keys.
    pub(crate) async fn metadata(
        &self,
        has_what_is_needed: impl Fn(&Metadata) -> bool,
    ) -> Result<Metadata, Failure> {
        let no_issuer = || Failure::usage(format!("{} is no issuer", self.issuer));
        // What is said if no address helps: that another issuer answers says most, that the server does not
        // answer says least.
        let says = |failure: &Failure| match failure.fault() {
            Fault::Refused => 2,
            Fault::Unreachable => 0,
            _ => 1,
        };
        let (mut incomplete, mut failed) = (None, None::<Failure>);
        for address in metadata_urls(&self.issuer) {
            let url = Url::parse(&address).map_err(|_| no_issuer())?;
            match self.metadata_at(&url).await {
                Ok(metadata) if has_what_is_needed(&metadata) => return Ok(metadata),
                Ok(metadata) => incomplete = incomplete.or(Some(metadata)),
                Err(failure) => {
                    if failed.as_ref().is_none_or(|first| says(first) < says(&failure)) {
                        failed = Some(failure);
                    }
                }
            }
        }
        incomplete.ok_or_else(|| failed.unwrap_or_else(no_issuer))
    }

    async fn metadata_at(&self, url: &Url) -> Result<Metadata, Failure> {
        let metadata: Metadata = self.json(url).await?;
        // RFC 8414 §3.3: a document about another issuer is not used.
        if metadata.issuer != self.issuer.as_str() {
            return Err(Failure::new(
                Fault::Refused,
                format!(
                    "what answers at {} is the issuer {}; give that one",
                    self.issuer,
                    one_line(&metadata.issuer)
                ),
            ));
        }
        Ok(metadata)
    }

    /// A JSON document of the issuer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, url: &Url) -> Result<T, Failure> {
        self.check(url)?;
        let response = self.http.get(url.clone()).send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure::failed(format!("{url} answered {status}: is {} an issuer?", self.issuer)));
        }
        let body = self.body(response).await?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("{url} answered something unexpected: {error}")))
    }

    /// A document as the server fetches those of other issuers: status 200, without redirects, bounded in
    /// size and time.
    pub(crate) async fn document(
        &self,
        url: &Url,
        patience: Duration,
        most: usize,
    ) -> Result<Document, Failure> {
        self.check(url)?;
        let request = self.http.get(url.clone()).header(ACCEPT, "application/json").timeout(patience);
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Failure::failed(format!("{url} answered {status}; redirects are not followed")));
        }
        if status != reqwest::StatusCode::OK {
            return Err(Failure::failed(format!("{url} answered {status}")));
        }
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = self.read(&mut response, most).await?;
        Ok(Document { content_type, body })
    }

    /// Sends a form to the token endpoint. `secret` is that of a confidential client (RFC 6749 §2.3.1).
    pub(crate) async fn token(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        client: &str,
        secret: Option<&Secret>,
    ) -> Result<TokenAnswer, Failure> {
        self.check(url)?;
        let mut request = self.http.post(url.clone()).form(form);
        if let Some(secret) = secret.and_then(Secret::expose_secret_str) {
            let encoded =
                |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encoded(client), Some(encoded(secret)));
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| Failure::failed(format!("{url} answered something unexpected: {error}")));
        }
        match serde_json::from_slice::<OAuthError>(&body) {
            Ok(error) if status.is_client_error() => Err(error.into_failure()),
            _ => Err(Failure::failed(format!("{url} answered {status}"))),
        }
    }

    /// A password, a secret or a code is only sent over https, or stays on this machine.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Failure> {
        let local = url.scheme() == "http" && mandate_core::uri::is_loopback(url);
        if url.scheme() == "https" || local {
            return Ok(());
        }
        Err(Failure::new(
            Fault::Refused,
            format!("the issuer {} names {url}, which is not https; nothing was sent there", self.issuer),
        ))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        self.read(&mut response, MAX_ANSWER).await
    }

    async fn read(&self, response: &mut Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + piece.len() > most {
                return Err(Failure::failed(format!("the answer of {} is too large", self.issuer)));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let failure =
            Failure::caused(Fault::Unreachable, &format!("cannot reach the issuer {}", self.issuer), error);
        if failure.message().contains("UnknownIssuer") && !self.has_ca {
            return failure
                .next("the same command with --ca FILE   (the PEM file of your certificate authority)");
        }
        failure
    }
}

/// The successful answer of a token endpoint (RFC 6749 §5.1).
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    pub(crate) access_token: String,
    #[serde(default)]
    pub(crate) token_type: String,
    #[serde(default)]
    pub(crate) expires_in: Option<u64>,
    #[serde(default)]
    pub(crate) scope: Option<String>,
}

/// An error of OAuth (RFC 6749 §4.1.2.1, §5.2).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct OAuthError {
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) error_description: Option<String>,
}

impl OAuthError {
    pub(crate) fn into_failure(self) -> Failure {
        let description =
            self.error_description.map(|text| format!(": {}", one_line(&text))).unwrap_or_default();
        Failure::new(Fault::Refused, format!("the issuer refused: {}{description}", one_line(&self.error)))
    }
}

#[cfg(test)]
mod tests {
    use super::OAuthError;

    #[test]
    fn an_error_of_the_issuer_is_one_line_and_drives_no_terminal() {
        let error = OAuthError {
            error: "access_denied".to_owned(),
            error_description: Some("\u{1b}[2J\n next: rm -rf /".to_owned()),
        };
        let text = error.into_failure().text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
