//! A browser that logs people in: the login page with a password, and the way to an identity provider and
//! back.

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Issuer;
use mandate_core::names::{ChallengeMethod, GrantType, Parameter, ResponseParameter, ResponseType};
use mandate_core::registry::{login_callback, login_key};
use serde_json::Value;

use crate::error::BenchError;
use crate::foreign_hosts::Host;
use crate::http::{Connection, form_encode, post_form};
use crate::registry::SCOPES;

/// The app that people log in to.
pub(crate) const APP: &str = "portal";
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1/callback";
pub(crate) const PASSWORD: &str = "the password of everybody here";

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A page of the server, as the browser keeps it.
struct Page {
    status: u16,
    cookie: String,
    location: String,
    text: String,
}

/// A browser with one connection to the server.
pub(crate) struct Browser {
    connection: Connection,
    authority: String,
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", form_encode(value))).collect();
    pairs.join("&")
}

/// The text behind `before`, up to the next quotation mark.
fn between<'a>(text: &'a str, before: &str) -> Result<&'a str, BenchError> {
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once('"'));
    found.map(|(found, _)| found).ok_or_else(|| BenchError(format!("the page has no {before}: {text}")))
}

/// A parameter of an address, which needs no decoding.
fn parameter<'a>(address: &'a str, name: &str) -> Result<&'a str, BenchError> {
    let pairs = address.split_once('?').map_or("", |(_, query)| query).split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
        .ok_or_else(|| BenchError(format!("no {name} in {address}")))
}

/// The address of the login page for a client.
pub(crate) fn authorize(client: &str, more: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
    let query = [
        (Parameter::ResponseType.as_str(), ResponseType::Code.as_str()),
        (Parameter::ClientId.as_str(), client),
        (Parameter::RedirectUri.as_str(), REDIRECT_URI),
        (Parameter::State.as_str(), "s"),
        (Parameter::CodeChallenge.as_str(), &challenge),
        (Parameter::CodeChallengeMethod.as_str(), ChallengeMethod::S256.as_str()),
    ];
    format!("/authorize?{}", encoded(&[&query[..], more].concat()))
}

/// The time that a login took.
pub(crate) struct LoginTime {
    /// Of this server, from the button to the code, in milliseconds.
    pub(crate) own_ms: f64,
    /// Of the provider's token endpoint.
    pub(crate) provider_ms: f64,
}

impl Browser {
    pub(crate) async fn open(authority: &str) -> Result<Self, BenchError> {
        Ok(Self { connection: Connection::open(authority).await?, authority: authority.to_owned() })
    }

    async fn send(&mut self, request: &[u8]) -> Result<Page, BenchError> {
        let answer = self.connection.exchange(request).await?;
        let head = String::from_utf8_lossy(answer.head);
        let header = |name: &str| {
            let line = head
                .lines()
                .find(|line| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
        };
        let cookie = header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let text = String::from_utf8_lossy(answer.body).into_owned();
        let ended = header("connection").eq_ignore_ascii_case("close");
        let page = Page { status: answer.status, cookie, location: header("location"), text };
        if ended {
            // As the server does after each password.
            self.connection = Connection::open(&self.authority).await?;
        }
        Ok(page)
    }

    async fn get(&mut self, path: &str, cookie: &str) -> Result<Page, BenchError> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n\r\n", self.authority);
        self.send(request.as_bytes()).await
    }

    /// Opens a login page. It must come.
    pub(crate) async fn login_page(&mut self, path: &str) -> Result<(), BenchError> {
        self.page(path).await.map(drop)
    }

    async fn page(&mut self, path: &str) -> Result<Page, BenchError> {
        let page = self.get(path, "").await?;
        if page.status == 200 { Ok(page) } else { Err(BenchError(format!("no login page: {}", page.text))) }
    }

    async fn post(&mut self, path: &str, cookie: &str, form: &[(&str, &str)]) -> Result<Page, BenchError> {
        let request = String::from_utf8(post_form(&self.authority, path, &encoded(form)))
            .map_err(BenchError::during("a form"))?;
        self.send(request.replacen("\r\naccept:", &format!("\r\ncookie: {cookie}\r\naccept:"), 1).as_bytes())
            .await
    }

    /// A token endpoint's answer.
    async fn token(&mut self, form: &[(&str, &str)]) -> Result<Value, BenchError> {
        let page = self.post("/token", "", form).await?;
        let answer: Value =
            serde_json::from_str(&page.text).map_err(BenchError::during("a token response"))?;
        if page.status == 200 { Ok(answer) } else { Err(BenchError(format!("no token: {answer}"))) }
    }

    /// A person's own token for exchanges, and the refresh token with which the next one is asked for.
    pub(crate) async fn log_in(&mut self, name: &str) -> Result<(String, String), BenchError> {
        let path = authorize(APP, &[("scope", &format!("{SCOPES} offline_access"))]);
        let page = self.page(&path).await?;
        let csrf = between(&page.text, "name=\"csrf\" value=\"")?.to_owned();
        let fields = [("csrf", &csrf[..]), ("name", name), ("password", PASSWORD), ("decision", "allow")];
        let back = self.post(&path, &page.cookie, &fields).await?;
        let code = parameter(&back.location, "code")?;
        let redemption = [
            (Parameter::GrantType.as_str(), GrantType::AuthorizationCode.as_str()),
            (Parameter::ClientId.as_str(), APP),
            (Parameter::RedirectUri.as_str(), REDIRECT_URI),
            (Parameter::CodeVerifier.as_str(), VERIFIER),
            (Parameter::Code.as_str(), code),
        ];
        tokens(&self.token(&redemption).await?)
    }

    /// The next token of a person, and the next refresh token.
    pub(crate) async fn refresh(&mut self, refresh_token: &str) -> Result<(String, String), BenchError> {
        let form = [
            (Parameter::GrantType.as_str(), GrantType::RefreshToken.as_str()),
            (Parameter::ClientId.as_str(), APP),
            (Parameter::RefreshToken.as_str(), refresh_token),
        ];
        tokens(&self.token(&form).await?)
    }

    /// Logs a person in at the provider.
    pub(crate) async fn log_in_at(&mut self, ours: &str, provider: &Host) -> Result<LoginTime, BenchError> {
        let path = authorize(APP, &[("scope", SCOPES)]);
        let page = self.page(&path).await?;
        let issuer: Issuer = provider.url.parse().map_err(BenchError::during("the provider"))?;
        let (csrf, key) = (between(&page.text, "name=\"csrf\" value=\"")?.to_owned(), login_key(&issuer));
        let ours: Issuer = ours.parse().map_err(BenchError::during("the issuer"))?;
        let callback = login_callback(&ours, &issuer);
        let callback = callback.strip_prefix(ours.as_str().trim_end_matches('/')).unwrap_or_default();
        provider.take_answering_ms();

        let began = Instant::now();
        let away = self.post(&path, &page.cookie, &[("csrf", &csrf), ("provider", &key)]).await?;
        let link = between(&away.text, "<a href=\"")?.replace("&amp;", "&");
        // The provider's own pages take no time here.
        let back =
            format!("{callback}?code={}&state={}", parameter(&link, "nonce")?, parameter(&link, "state")?);
        let done = self.get(&back, &away.cookie).await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        parameter(&done.location, "code").map_err(|_| BenchError(format!("no code: {}", done.text)))?;
        let provider_ms = provider.take_answering_ms();
        Ok(LoginTime { own_ms: took - provider_ms, provider_ms })
    }
}

fn tokens(answer: &Value) -> Result<(String, String), BenchError> {
    let member = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    member(ResponseParameter::AccessToken.as_str())
        .zip(member(Parameter::RefreshToken.as_str()))
        .ok_or_else(|| BenchError("no token, or no refresh token".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{between, parameter};

    #[test]
    fn what_a_browser_reads_is_found() {
        assert_eq!(between("<a href=\"x\">", "<a href=\"").unwrap(), "x");
        assert!(between("<a>", "<a href=\"").is_err());
        assert_eq!(parameter("http://h/?a=1&code=2", "code").unwrap(), "2");
        assert!(parameter("http://h/?a=1", "code").is_err());
    }
}
