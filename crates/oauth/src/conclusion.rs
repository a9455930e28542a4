//! The token endpoint (RFC 6749 §3.2): which grant type, and the answer.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_audit::Kind;
use mandate_authority::AccessTokenString;
use mandate_core::{RequestSource, ScopeSet, ScopeText};
use mandate_delegation::{Mandate, MandateView, RefusalReason};
use mandate_store::{AppendError, Effect, EffectRefusal};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::form::Form;
use crate::names::{GrantType, Parameter, TokenType};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::trail::{Trail, unrecorded};
use crate::wire::OAuthError;

/// A token that was issued (RFC 6749 §5.1, RFC 8693 §2.2.1). To be sent with `Cache-Control: no-store`.
#[derive(Debug)]
pub struct TokenResponse {
    token: AccessTokenString,
    exchanged: bool,
    expires_in: u64,
    scopes: ScopeSet,
}

impl TokenResponse {
    /// The access token.
    pub fn access_token(&self) -> &AccessTokenString {
        &self.token
    }

    /// Its scopes.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Its lifetime in seconds.
    pub fn expires_in(&self) -> u64 {
        self.expires_in
    }

    /// The response body. `scope` is always named: an exchange may give less than was asked.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            access_token: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            issued_token_type: Option<&'static str>,
            token_type: &'static str,
            expires_in: u64,
            scope: ScopeText<'a>,
        }
        let body = Body {
            access_token: self.token.expose_token(),
            issued_token_type: self.exchanged.then_some(TokenType::AccessToken.as_str()),
            token_type: "Bearer",
            expires_in: self.expires_in,
            scope: self.scopes.as_text(),
        };
        // Room for the token and for the JSON around it.
        let mut json = Vec::with_capacity(body.access_token.len() + 256);
        let written = serde_json::to_writer(&mut json, &body).ok();
        written.and_then(|()| String::from_utf8(json).ok()).unwrap_or_default()
    }
}

impl Engine {
    /// Answers a request to the token endpoint. The outcome is durable in the audit log when this returns.
    pub async fn token(&self, request: Request<'_>) -> Result<TokenResponse, OAuthError> {
        let now = self.now();
        let form = match request.form() {
            Ok(form) => form,
            Err(refusal) => return Err(self.refuse(Trail::new(Kind::Token, now, request.source), refusal).await),
        };
        match form.get(Parameter::GrantType) {
            Some(name) if name == GrantType::TokenExchange.as_str() => self.exchange(&request, &form, now).await,
            Some(name) if name == GrantType::AuthorizationCode.as_str() => self.redeem(&request, &form, now).await,
            other => {
                let mut trail = Trail::new(Kind::Token, now, request.source);
                trail.asks(&form, None);
                let refusal =
                    if other.is_some() { Refusal::GrantType(GrantType::ALL.to_vec()) } else { Refusal::Missing(Parameter::GrantType) };
                Err(self.refuse(trail, refusal).await)
            }
        }
    }

    /// The last steps of every grant: record, then mint. There is no token whose record is not durable.
    pub(crate) async fn conclude(&self, trail: Trail, mandate: Mandate, effects: Vec<Effect>) -> Result<TokenResponse, (Trail, Refusal)> {
        let view = mandate.view();
        let exchanged = trail.kind == Kind::Exchange;
        let again = Trail { stranger: trail.stranger, ..Trail::new(trail.kind, trail.now, RequestSource::Other) };
        let (asked, note) = (trail.asked.clone(), trail.note.clone());
        let (expires_in, scopes) = (view.expires.secs().saturating_sub(view.issued.secs()), view.scopes.clone());
        let receipt = match self.record_mandate(trail, view, effects).await {
            Ok(receipt) => receipt,
            Err(error) => {
                let is_exhausted = matches!(error, AppendError::EffectRefused(EffectRefusal::GrantExhausted));
                if let (Some((grant, Some(max))), true) = (&view.grant, is_exhausted) {
                    self.live.used_up(grant, *max);
                }
                let trail = Trail { asked, note, ..refused_after_all(again, view) };
                return Err((trail, effect_refusal(&error)));
            }
        };
        if let Some((grant, Some(max))) = &view.grant {
            self.live.count_use(grant, *max);
        }
        match self.authority.mint(mandate, receipt) {
            Ok(token) => Ok(TokenResponse { token, exchanged, expires_in, scopes }),
            Err(error) => Err((again, Refusal::Internal(error.to_string()))),
        }
    }
}

fn refused_after_all(trail: Trail, view: &MandateView) -> Trail {
    Trail {
        client: Some(view.client.shared()),
        sub: Some(view.subject.clone()),
        act: view.chain.clone(),
        aud: Some(view.resource.clone()),
        policies: Arc::clone(&view.policies),
        ..trail
    }
}

/// The refusal if the record of a mandate was not written.
fn effect_refusal(error: &AppendError) -> Refusal {
    use EffectRefusal as E;
    let AppendError::EffectRefused(refusal) = error else { return unrecorded(error) };
    match refusal {
        E::GrantExhausted => Refusal::Exchange(RefusalReason::GrantExhausted),
        E::CodeUsed => Refusal::CodeReused,
        E::CodeExpired | E::CodeUnknown => Refusal::CodeUnknown,
        // No effect of a mandate.
        E::JoinTokenUnknown
        | E::JoinTokenUsed
        | E::JoinTokenExpired
        | E::NodeNameTaken
        | E::NodeBanned
        | E::NodeCertificateExpired
        | E::RegistryChanged
        | E::StopRecorded
        | E::Internal => unrecorded(error),
    }
}

/// The `sub` that a JWT claims, unverified: for records of refusals, never for decisions.
pub(crate) fn claimed_subject(token: &str) -> Option<String> {
    claimed(token)?.sub
}

/// The `iss` that a JWT claims, unverified: for the text of a refusal, never for decisions.
pub(crate) fn claimed_issuer(token: &str) -> Option<String> {
    claimed(token)?.iss
}

#[derive(Deserialize)]
struct Claimed {
    sub: Option<String>,
    iss: Option<String>,
}

fn claimed(token: &str) -> Option<Claimed> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Reads `scope` (RFC 6749 §3.3).
pub(crate) fn scopes(form: &Form<'_>) -> Result<Option<ScopeSet>, Refusal> {
    form.get(Parameter::Scope).map(|text| text.parse().map_err(Refusal::ScopeMalformed)).transpose()
}
