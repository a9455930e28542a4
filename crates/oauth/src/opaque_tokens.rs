//! Opaque access tokens of other issuers, about which their issuer is asked (RFC 7662).
//!
//! Nothing in such a token says whose it is. So the entry of an issuer names the clients of ours whose opaque
//! tokens are its own: a token is shown to one issuer, never to several in turn, and a token of any other
//! client to none. A JWT is never sent, and neither is a code or a refresh token of ours. No answer is kept: that
//! its issuer can take a token back at once is why it is opaque.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use mandate_core::names::{ClientMethod, Parameter, ResponseParameter};
use mandate_core::registry::{IntrospectionClient, TrustedIssuer};
use mandate_core::{Issuer, Secret, Timestamp};
use mandate_delegation::AuthenticatedClient;
use mandate_live::Snapshot;
use mandate_token::TokenError;
use mandate_token::access_token::{AccessToken, IntrospectionFault, introspected};
use mandate_token::discovery::ProviderMetadata;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tokio::sync::Semaphore;
use url::Url;

use crate::codes::{self, Codes, StoredCode};
use crate::device_codes;
use crate::foreign::{ForeignKeys, ToPost, Unavailable};
use crate::providers::{ReadSecret, basic, text_of};
use crate::refresh_tokens::{self, RefreshTokens};
use crate::refusal::RequestRefusal;

/// How many questions to one issuer there are at a time: each has a connection of its own. An issuer that is slow
/// keeps no place of another.
const AT_ONCE: usize = 16;
/// The longest opaque token, in bytes.
const MAX_LEN: usize = 4096;
/// After a failure, in seconds: the next question may be answered.
const AGAIN: u64 = 1;

/// The issuer whose opaque tokens the client presents; `None` also if several name the client.
pub(crate) fn issuer_of<'s>(
    client: &AuthenticatedClient,
    snapshot: &'s Snapshot,
) -> Option<(&'s Arc<TrustedIssuer>, &'s IntrospectionClient)> {
    let named = |issuer: &'s Arc<TrustedIssuer>| {
        let asks = issuer.introspection_for(client.name()).filter(|_| issuer.has_subject_tokens())?;
        Some((issuer, asks))
    };
    let mut all = snapshot.registry.issuers().filter_map(named);
    all.next().filter(|_| all.next().is_none())
}

/// Whether it could be an opaque token: visible characters (RFC 6749 Appendix A.12), and neither a JWS nor a JWE.
/// Those have parts with dots between them, and the first is the base64url of a JSON object (RFC 7515 §7.1, RFC
/// 7516 §7.1); one that only begins so is a broken one.
pub(crate) fn is_opaque(token: &str) -> bool {
    let visible = (1..=MAX_LEN).contains(&token.len()) && token.bytes().all(|b| (0x21..=0x7e).contains(&b));
    let is_object = |part: &str| {
        let decoded = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).unwrap_or_default();
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&decoded).is_ok()
    };
    let is_jwt = token.split_once('.').is_some_and(|(first, _)| first.starts_with("eyJ") || is_object(first));
    visible && !is_jwt
}

/// Asks issuers about opaque tokens.
pub(crate) struct OpaqueTokens {
    foreign: Arc<ForeignKeys>,
    codes: Arc<Codes>,
    refresh: Arc<RefreshTokens>,
    secret: ReadSecret,
    places: Mutex<HashMap<Issuer, Arc<Semaphore>>>,
}

impl OpaqueTokens {
    pub(crate) fn new(
        foreign: Arc<ForeignKeys>,
        codes: Arc<Codes>,
        refresh: Arc<RefreshTokens>,
        secret: ReadSecret,
    ) -> Self {
        Self { foreign, codes, refresh, secret, places: Mutex::default() }
    }

    /// What `issuer` says now of a token for which [`is_opaque`] holds.
    pub(crate) async fn verify(
        &self,
        token: &str,
        (issuer, ours): (&Arc<TrustedIssuer>, &IntrospectionClient),
        now: Timestamp,
    ) -> Result<AccessToken, RequestRefusal> {
        let failed = |error: String| failure(issuer, error);
        // Before anything is read for the question: database, metadata and secret cost something too.
        let places = self.places(&issuer.url);
        let place = places.try_acquire().map_err(|_| failed("too many questions at a time".to_owned()))?;
        self.is_not_ours(token, now).await?;
        let metadata =
            self.foreign.provider(issuer, now).await.map_err(|error| unavailable(issuer, &error))?;
        let endpoint = metadata.introspection_endpoint.as_ref();
        let endpoint = endpoint
            .ok_or_else(|| failed("its metadata have no usable introspection_endpoint".to_owned()))?;
        let secret = self.secret(&issuer.url, ours).await.map_err(failed)?;
        let form = question(token, endpoint, ours, &metadata, &secret).map_err(failed)?;
        let posted = self.foreign.post(issuer, &form).await;
        drop(place);
        let posted = posted.map_err(|error| failed(error.to_string()))?;
        if posted.status != 200 {
            return Err(failed(format!("{endpoint} answered with status {}", posted.status)));
        }
        let answer = (posted.content_type.as_deref(), posted.body.expose_secret());
        introspected(token, answer, issuer, now).map_err(|fault| match fault {
            IntrospectionFault::Token(error) => RequestRefusal::Subject(error),
            IntrospectionFault::Answer(why) => failed(format!("{endpoint}: {why}")),
        })
    }

    /// Codes and refresh tokens of ours are opaque too. One that a client sends by mistake is shown to nobody.
    async fn is_not_ours(&self, token: &str, now: Timestamp) -> Result<(), RequestRefusal> {
        let refresh = self.refresh.look(refresh_tokens::hash(token), now).await?.is_some();
        let mut ours = refresh;
        for hash in [codes::hash(token), device_codes::hash(token)] {
            let found = self.codes.look::<IgnoredAny>(hash, now).await?;
            ours |= !matches!(found, StoredCode::Gone);
        }
        if ours {
            return Err(RequestRefusal::Subject(TokenError::Malformed("not an access token")));
        }
        Ok(())
    }

    async fn secret(&self, issuer: &Issuer, ours: &IntrospectionClient) -> Result<Secret, String> {
        let (read, issuer, file) =
            (Arc::clone(&self.secret), issuer.clone(), ours.client_secret_file.clone());
        let reading = tokio::task::spawn_blocking(move || read(&issuer, &file)).await;
        reading.map_err(|error| error.to_string())?
    }

    fn places(&self, issuer: &Issuer) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        // Only issuers of the registry get here; those that have no question are made again.
        if places.len() >= 256 {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(places.entry(issuer.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }
}

/// The request (RFC 7662 §2.1), with this server's authentication in the way that the issuer offers.
fn question<'m>(
    token: &str,
    endpoint: &'m Url,
    ours: &IntrospectionClient,
    metadata: &ProviderMetadata,
    secret: &Secret,
) -> Result<ToPost<'m>, String> {
    let mut form = Serializer::new(String::new());
    form.append_pair(Parameter::Token.as_str(), token)
        .append_pair(Parameter::TokenTypeHint.as_str(), ResponseParameter::AccessToken.as_str());
    let offered = |method| metadata.introspection_methods.contains(&method);
    let authorization = if offered(ClientMethod::ClientSecretBasic) {
        Some(basic(&ours.client_id, secret))
    } else if offered(ClientMethod::ClientSecretPost) {
        form.append_pair(Parameter::ClientId.as_str(), &ours.client_id)
            .append_pair(Parameter::ClientSecret.as_str(), text_of(secret));
        None
    } else {
        return Err("it offers no method of authentication with a client secret".to_owned());
    };
    Ok(ToPost { url: endpoint, authorization, body: Secret::new(form.finish()) })
}

fn unavailable(issuer: &TrustedIssuer, error: &Unavailable) -> RequestRefusal {
    let seconds = error.retry_after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
    tracing::warn!(issuer = %issuer.url, error = %error.error, "an issuer cannot be asked about a token");
    let (error, retry_after) = (error.error.to_string(), AGAIN.max(seconds));
    RequestRefusal::IntrospectionUnavailable { error, retry_after }
}

fn failure(issuer: &TrustedIssuer, error: String) -> RequestRefusal {
    tracing::warn!(issuer = %issuer.url, %error, "an issuer cannot be asked about a token");
    RequestRefusal::IntrospectionUnavailable { error, retry_after: AGAIN }
}

#[cfg(test)]
mod tests {
    use super::is_opaque;

    #[test]
    fn a_jwt_is_never_opaque_however_broken() {
        // Without a dot it is no JWT, whatever its characters decode to.
        for opaque in
            ["x", "ya29.a0AfH6SMB", "a.b.c", "2YotnFZFEjr1zCsicMWpAA", "at-01/+~_==", "ezAbCd", "ez9-.x"]
        {
            assert!(is_opaque(opaque), "{opaque}");
        }
        let long = "x".repeat(4097);
        for other in [
            "",
            " ",
            "a b",
            "a\u{e9}",
            "a\n",
            "eyJhbGciOiJFUzI1NiJ9.e30.x",
            "eyJhbGciOiJFUzI1NiJ9.e30",
            "eyJ.broken",
            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..a.b.c",
            // White space before the object, and padding.
            "IHsiYWxnIjoiRVMyNTYifQ.e30.x",
            "e30=.e30=.x",
            "e30.e30.x",
            &long,
        ] {
            assert!(!is_opaque(other), "{other}");
        }
    }
}
