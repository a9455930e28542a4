//! A login that goes on at its provider, which is asked by the refresh token that it gave (RFC 6749 §6, `OpenID`
//! Connect Core §12).

use form_urlencoded::Serializer;
use mandate_core::names::{ErrorCode, GrantType, Parameter};
use mandate_core::registry::{TrustedIssuer, UpstreamClient};
use mandate_core::{Secret, Timestamp};
use mandate_token::id_token::{self, Expect, RenewedTokens};
use mandate_token::{Mapping, TokenError};

use super::{AGAIN, Providers, text_of, unverified};
use crate::foreign::{KeySource, NotVerified, Posted};
use crate::provider_refusal::ProviderRefusal;

/// What a provider answers.
pub(crate) enum Renewed {
    /// The login goes on; with the token that takes the place of the one that was used.
    Good(Option<Secret>),
    /// It has ended there, and why.
    Ended(&'static str),
    /// The answer says neither.
    Unknown(ProviderRefusal),
}

impl Providers {
    /// Asks `provider` whether the login of `sub` goes on that gave this refresh `token`.
    pub(crate) async fn renew(
        &self,
        provider: &TrustedIssuer,
        sub: &str,
        token: &Secret,
        now: Timestamp,
    ) -> Renewed {
        let Some(client) = &provider.login else { return Renewed::Unknown(ProviderRefusal::Unknown) };
        let posted = match self.send_refresh_token(provider, client, token, now).await {
            Ok(posted) => posted,
            Err(refusal) => return Renewed::Unknown(refusal),
        };
        let body = posted.body.expose_secret();
        if posted.status != 200 {
            let code = id_token::error_code(body);
            // RFC 6749 §5.2: the refresh token is invalid, expired or revoked.
            if posted.status == 400 && code.as_deref() == Some(ErrorCode::InvalidGrant.as_str()) {
                return Renewed::Ended("no longer takes the refresh token of the login");
            }
            let code = code.as_deref().unwrap_or("without a code that can be shown");
            return unknown(format!("its token endpoint answers {}: {code}", posted.status));
        }
        let tokens = match id_token::renewed(body) {
            Ok(tokens) => tokens,
            Err(error) => return unknown(error.to_string()),
        };
        match self.is_still(provider, client, sub, &tokens, now).await {
            Ok(true) => Renewed::Good(tokens.refresh_token),
            // OpenID Connect Core §12.2.
            Ok(false) => Renewed::Ended("names another person in the login"),
            Err(refusal) => Renewed::Unknown(refusal),
        }
    }

    async fn send_refresh_token(
        &self,
        provider: &TrustedIssuer,
        client: &UpstreamClient,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Posted, ProviderRefusal> {
        let metadata = self.metadata(provider, now).await?;
        let credential = self.credential(&provider.url, client, &metadata).await?;
        let to_post = {
            let mut form = Serializer::new(String::new());
            form.append_pair(Parameter::GrantType.as_str(), GrantType::RefreshToken.as_str())
                .append_pair(Parameter::RefreshToken.as_str(), text_of(token));
            Self::to_post(&metadata, client, &credential, form)
        };
        self.post(provider, to_post).await
    }

    /// Whether the ID token of the answer, if it has one, is of the same person.
    async fn is_still(
        &self,
        provider: &TrustedIssuer,
        client: &UpstreamClient,
        sub: &str,
        tokens: &RenewedTokens,
        now: Timestamp,
    ) -> Result<bool, ProviderRefusal> {
        let Some(id_token) = &tokens.id_token else { return Ok(true) };
        let verify = |keys: &_| {
            id_token::verify(
                text_of(id_token),
                &Expect {
                    issuer: &provider.url,
                    keys,
                    client_id: &client.client_id,
                    nonce: None,
                    since: now,
                    access_token: text_of(&tokens.access_token),
                    subject: id_token::person_claim(provider.profile),
                    required: &provider.required_claims,
                    mapping: Mapping::of(provider),
                    now,
                },
            )
        };
        match self.foreign.verified(&KeySource::of_issuer(provider), now, verify).await {
            Ok(said) => Ok(said.subject == sub),
            Err(NotVerified::Token(TokenError::Issuer)) => Ok(false),
            Err(error) => Err(unverified(error, |error| unavailable(format!("its ID token: {error}")))),
        }
    }
}

fn unknown(error: String) -> Renewed {
    Renewed::Unknown(unavailable(error))
}

fn unavailable(error: String) -> ProviderRefusal {
    ProviderRefusal::Unavailable { error, retry_after: AGAIN }
}
