//! The last steps of every grant: record, mint, answer.

use std::sync::Arc;

use mandate_authority::{AccessTokenString, Authority};
use mandate_core::names::{AccessTokenType, TokenType};
use mandate_core::{RequestSource, ScopeSet, ScopeText, Secret};
use mandate_delegation::{Mandate, MandateView};
use mandate_sequencer::Guard;
use mandate_store::{AppendError, Effect, EffectRefusal};
use serde::Serialize;

use crate::refusal::RequestRefusal;
use crate::trail::{Recorder, Trail, unrecorded};

/// A token that was issued (RFC 6749 §5.1, RFC 8693 §2.2.1). To be sent with `Cache-Control: no-store`.
#[derive(Debug)]
pub struct TokenResponse {
    token: AccessTokenString,
    issued: Option<TokenType>,
    expires_in: u64,
    scopes: ScopeSet,
    refresh: Option<Secret>,
}

impl TokenResponse {
    /// The `access_token` of the response (RFC 6749 §5.1).
    pub fn access_token(&self) -> &AccessTokenString {
        &self.token
    }

    /// The `scope` of the response, which may be less than was asked for.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Its lifetime in seconds.
    pub fn expires_in(&self) -> u64 {
        self.expires_in
    }

    /// The same, with the `refresh_token` of the response (RFC 6749 §5.1), if the client gets one.
    pub(crate) fn with_refresh_token(self, refresh: Option<Secret>) -> Self {
        Self { refresh, ..self }
    }

    /// The `refresh_token` of the response (RFC 6749 §5.1), if there is one.
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh.as_ref()
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
            #[serde(skip_serializing_if = "Option::is_none")]
            refresh_token: Option<&'a str>,
        }
        let body = Body {
            access_token: self.token.expose_token(),
            issued_token_type: self.issued.map(TokenType::as_str),
            token_type: AccessTokenType::Bearer.as_str(),
            expires_in: self.expires_in,
            scope: self.scopes.as_text(),
            refresh_token: self.refresh.as_ref().and_then(Secret::expose_secret_str),
        };
        // Room for the token and for the JSON around it.
        let mut json = Vec::with_capacity(body.access_token.len() + 256);
        let written = serde_json::to_writer(&mut json, &body).ok();
        written.and_then(|()| String::from_utf8(json).ok()).unwrap_or_default()
    }
}

/// Records mandates and mints their tokens.
pub(crate) struct Conclusion {
    pub(crate) recorder: Recorder,
    pub(crate) authority: Arc<Authority>,
}

impl Conclusion {
    /// Records a mandate, with its effects and these, then mints its token. There is no token whose record is
    /// not durable. What a mandate uses up is taken in the transaction of its record: of two mandates, only
    /// one can take the last use.
    ///
    /// `issued`: the `issued_token_type` of the answer, for grants that have one.
    pub(crate) async fn conclude(
        &self,
        trail: Trail,
        mandate: Mandate,
        effects: Vec<Effect>,
        issued: Option<TokenType>,
    ) -> Result<TokenResponse, (Trail, RequestRefusal)> {
        self.conclude_while(trail, mandate, effects, issued, None).await
    }

    /// As [`Conclusion::conclude`], if `guard` still agrees at the moment in which the record becomes durable.
    pub(crate) async fn conclude_while(
        &self,
        trail: Trail,
        mandate: Mandate,
        mut effects: Vec<Effect>,
        issued: Option<TokenType>,
        guard: Option<Guard>,
    ) -> Result<TokenResponse, (Trail, RequestRefusal)> {
        let view = mandate.view();
        if !view.reservations.is_empty() {
            effects.push(Effect::Reserve(view.reservations.clone()));
        }
        let again =
            Trail { stranger: trail.stranger, ..Trail::new(trail.kind, trail.now, RequestSource::Other) };
        let (asked, note) = (trail.asked.clone(), trail.note.clone());
        let (expires_in, scopes) =
            (view.terms.expires.secs().saturating_sub(view.terms.issued.secs()), view.terms.scopes.clone());
        let receipt = match self.recorder.mandate(trail, view, effects, guard).await {
            Ok(receipt) => receipt,
            Err(error) => {
                if let AppendError::EffectRefused(EffectRefusal::MeterExhausted(meter)) = &error {
                    let refused = view.reservations.iter().filter(|reservation| reservation.meter == *meter);
                    refused.for_each(|reservation| self.recorder.basis.live.refused(reservation));
                }
                let trail = Trail { asked, note, ..refused_after_all(again, view) };
                return Err((trail, unrecorded(&error)));
            }
        };
        self.recorder.basis.live.count(&view.reservations);
        match self.authority.mint(mandate, receipt) {
            Ok(token) => Ok(TokenResponse { token, issued, expires_in, scopes, refresh: None }),
            Err(error) => Err((again, RequestRefusal::Internal(error.to_string()))),
        }
    }
}

fn refused_after_all(trail: Trail, view: &MandateView) -> Trail {
    Trail {
        client: Some(view.terms.client.shared()),
        sub: view.terms.subject.clone(),
        act: view.terms.chain.clone(),
        aud: view.terms.audience.sole().map(str::to_owned),
        policies: Arc::clone(&view.policies),
        proof: view.evidence.clone(),
        said_actors: view.said_actors.clone(),
        ..trail
    }
}
