//! Plain HTTP calls like those of an agent or an app.

use mandate_core::Secret;
use mandate_core::names::{AccessTokenType, ResponseParameter};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use serde_json::Value;

use super::error::DemoError;

/// The demo uses only plain HTTP on loopback: it also works on a machine without certificate authorities.
const NO_AUTHORITIES: [reqwest::Certificate; 0] = [];

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A client that follows no redirects.
#[derive(Clone)]
pub(super) struct Http(reqwest::Client);

/// An answer, read whole.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it is an OAuth error of a server that understood the request and refused it (RFC 6749 §5.2,
    /// RFC 6750 §3.1). A server that fails, or that asks to try again later, has refused nothing.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status, 400 | 401 | 403) && self.text_member(ResponseParameter::Error).is_some()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn text_member(&self, name: ResponseParameter) -> Option<String> {
        self.json().get(name.as_str())?.as_str().map(str::to_owned)
    }

    /// The status and the error, without anything secret.
    pub(super) fn summary(&self) -> String {
        let error = self.text_member(ResponseParameter::Error).unwrap_or_default();
        let why = self.text_member(ResponseParameter::ErrorDescription).unwrap_or_default();
        let code = why.split(':').next().unwrap_or_default();
        [self.status.to_string(), error, code.to_owned()]
            .iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl Http {
    pub(super) fn new() -> Result<Self, DemoError> {
        #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .tls_certs_only(NO_AUTHORITIES)
            .build();
        client.map(Self).map_err(DemoError::Http)
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        bearer: Option<&Secret>,
    ) -> Result<Reply, DemoError> {
        let request = match bearer {
            Some(secret) => {
                let text =
                    format!("{} {}", AccessTokenType::Bearer, secret.expose_secret_str().unwrap_or_default());
                let mut value = HeaderValue::from_str(&text).map_err(|_| DemoError::Credential)?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            None => request,
        };
        let mut response = request.send().await.map_err(DemoError::Http)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(DemoError::Http)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(DemoError::TooLarge);
            }
        }
        Ok(Reply { status, headers, body })
    }

    pub(super) async fn get(&self, url: &str, bearer: Option<&Secret>) -> Result<Reply, DemoError> {
        self.send(self.0.get(url), bearer).await
    }

    pub(super) async fn post_json(
        &self,
        url: &str,
        bearer: Option<&Secret>,
        body: &Value,
    ) -> Result<Reply, DemoError> {
        self.send(self.0.post(url).json(body), bearer).await
    }

    pub(super) async fn post_form(&self, url: &str, form: &[(&str, String)]) -> Result<Reply, DemoError> {
        self.send(self.0.post(url).form(form), None).await
    }

    pub(super) async fn post_form_with_cookie(
        &self,
        url: &str,
        form: &[(&str, String)],
        cookie: &str,
    ) -> Result<Reply, DemoError> {
        self.send(self.0.post(url).form(form).header("cookie", cookie), None).await
    }
}

#[cfg(test)]
mod tests {
    use super::Reply;

    #[test]
    fn a_server_that_fails_has_refused_nothing() {
        let reply = |status, body: &str| Reply {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: body.into(),
        };
        assert!(reply(403, r#"{"error":"insufficient_scope"}"#).is_refusal());
        for (status, body) in [
            (500, r#"{"error":"server_error"}"#),
            (503, ""),
            (429, r#"{"error":"x"}"#),
            (403, "a proxy's page"),
            (200, "{}"),
        ] {
            assert!(!reply(status, body).is_refusal(), "{status} {body}");
        }
    }
}
