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

/// What the token endpoint of a provider answers to a refresh token.
pub(crate) enum Renewed {
    /// Tokens. Nothing in them is verified.
    Tokens(RenewedTokens),
    /// The login has ended there, and why.
    Ended(&'static str),
    /// It is not known, and of which logins.
    Unknown(ProviderRefusal, Silence),
}

/// Of which logins a provider says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It was not asked: this server asks about too many logins at a time.
    NotAsked,
    /// Of all its logins: it cannot be reached, or fails.
    Provider,
    /// Of this login.
    Login,
}

impl Providers {
    /// Shows `provider` the refresh `token` that it gave for a login.
    ///
    /// After the answer the token may not count any longer: a token that takes its place is to be stored before
    /// anything else is looked at.
    pub(crate) async fn renew(&self, provider: &TrustedIssuer, token: &Secret, now: Timestamp) -> Renewed {
        let Some(client) = &provider.login else {
            return Renewed::Unknown(ProviderRefusal::Unknown, Silence::Login);
        };
        // Apart from the places of people who log in: neither keeps the other waiting.
        let Ok(_place) = self.renewals.try_acquire() else {
            let error = "too many logins are being renewed at providers".to_owned();
            return Renewed::Unknown(unavailable(error), Silence::NotAsked);
        };
        let posted = match self.send_refresh_token(provider, client, token, now).await {
            Ok(posted) => posted,
            Err(refusal) => return Renewed::Unknown(refusal, Silence::Provider),
        };
        let body = posted.body.expose_secret();
        if posted.status != 200 {
            let code = id_token::error_code(body);
            // RFC 6749 §5.2: the refresh token is invalid, expired or revoked.
            if posted.status == 400 && code.as_deref() == Some(ErrorCode::InvalidGrant.as_str()) {
                return Renewed::Ended("no longer takes the refresh token of the login");
            }
            let code = code.as_deref().unwrap_or("without a code that can be shown");
            let error = unavailable(format!("its token endpoint answers {}: {code}", posted.status));
            let fails = posted.status == 429 || posted.status >= 500;
            return Renewed::Unknown(error, if fails { Silence::Provider } else { Silence::Login });
        }
        match id_token::renewed(body) {
            Ok(tokens) => Renewed::Tokens(tokens),
            Err(error) => Renewed::Unknown(unavailable(error.to_string()), Silence::Login),
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

    /// Why the login of `sub` has ended, by the ID token of the answer, if it has one; `None`: it goes on.
    ///
    /// # Errors
    /// The ID token cannot be verified, and says nothing.
    pub(crate) async fn ended_by(
        &self,
        provider: &TrustedIssuer,
        sub: &str,
        tokens: &RenewedTokens,
        now: Timestamp,
    ) -> Result<Option<&'static str>, ProviderRefusal> {
        let Some(id_token) = &tokens.id_token else { return Ok(None) };
        let client = provider.login.as_ref().ok_or(ProviderRefusal::Unknown)?;
        // OpenID Connect Core §12.2.
        let another = "names another person in the login";
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
            Ok(said) => Ok((said.subject != sub).then_some(another)),
            Err(NotVerified::Token(TokenError::Issuer)) => Ok(Some(another)),
            // Signature, audience and times are right.
            Err(NotVerified::Token(TokenError::RequiredClaim(_))) => {
                Ok(Some("no longer says of the person what its entry requires"))
            }
            Err(error) => Err(unverified(error, |error| unavailable(format!("its ID token: {error}")))),
        }
    }
}

fn unavailable(error: String) -> ProviderRefusal {
    ProviderRefusal::Unavailable { error, retry_after: AGAIN }
}
