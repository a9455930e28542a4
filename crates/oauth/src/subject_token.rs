//! The subject token of a request (RFC 8693 §2.1): an access token of ours, or an access token, a JWT or opaque,
//! or ID token of an issuer that we trust.

use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_core::names::{Parameter, TokenType};
use mandate_core::registry::{TokenProfile, TrustedIssuer};
use mandate_delegation::{AuthenticatedClient, VerifiedSubject};
use mandate_live::Snapshot;
use mandate_token::access_token::{AccessToken, Decoded, Profile, Unverified};
use mandate_token::{KeySet, TokenError, id_token};

use crate::basis::Basis;
use crate::claimed;
use crate::foreign::{ForeignKeys, KeySource};
use crate::form::Form;
use crate::opaque_tokens::{self, OpaqueTokens};
use crate::own_tokens::OwnTokens;
use crate::parameter::{ParameterRow, Required};
use crate::refusal::RequestRefusal;

const TOKEN: Required = Required(Parameter::SubjectToken);
const TYPE: Required = Required(Parameter::SubjectTokenType);
pub(crate) const PARAMETERS: &[ParameterRow] = &[TOKEN.row().here_only(), TYPE.row().here_only()];

/// The token and what the request says that it is. Nothing is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubjectToken<'f> {
    token: &'f str,
    /// RFC 8693 §3: `access_token` is a token that we issued, or an opaque one, `jwt` is any JWT. Our tokens are JWTs too, and
    /// clients such as Spring's call them `jwt`. `id_token` is an ID token of another issuer. No other type
    /// identifies a person. The token itself must agree.
    kind: TokenType,
}

impl<'f> SubjectToken<'f> {
    pub(crate) fn read(form: &'f Form<'_>) -> Result<Self, RequestRefusal> {
        let token = TOKEN.read(form)?;
        let kind = TokenType::named(TYPE.read(form)?)
            .ok_or(RequestRefusal::Unacceptable(Parameter::SubjectTokenType))?;
        Ok(Self { token, kind })
    }
}

pub(crate) struct SubjectTokens {
    basis: Basis,
    own: Arc<OwnTokens>,
    foreign: Arc<ForeignKeys>,
    opaque: OpaqueTokens,
}

impl SubjectTokens {
    pub(crate) fn new(
        basis: Basis,
        own: Arc<OwnTokens>,
        foreign: Arc<ForeignKeys>,
        opaque: OpaqueTokens,
    ) -> Self {
        Self { basis, own, foreign, opaque }
    }

    /// Verifies the token with the keys of its issuer. The token itself decides, not the type that the caller
    /// sends: a token of one type is never taken as one of another.
    pub(crate) async fn verify(
        &self,
        sent: SubjectToken<'_>,
        client: &AuthenticatedClient,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<VerifiedSubject, RequestRefusal> {
        let (token, issuer) = (sent.token, self.basis.issuer());
        match sent.kind {
            TokenType::AccessToken => {
                let opaque = opaque_tokens::is_opaque(token);
                if let Some(asked) = opaque.then(|| opaque_tokens::issuer_of(client, snapshot)).flatten() {
                    let verified = self.opaque.verify(token, asked, now).await?;
                    return Ok(VerifiedSubject::introspected(verified, Arc::clone(asked.0)));
                }
                self.own(token, now).map_err(|error| {
                    let elsewhere = claimed::issuer(token).is_some_and(|claimed| claimed != issuer.as_str());
                    if elsewhere {
                        RequestRefusal::SubjectElsewhere(error)
                    } else {
                        RequestRefusal::Subject(error)
                    }
                })
            }
            TokenType::Jwt => {
                let decoded = Decoded::of(token).map_err(RequestRefusal::Subject)?;
                // Without an issuer that is known, what is no access token by its type is refused as such.
                let refused = |refusal: RequestRefusal| {
                    let usual = decoded.check_header(Profile::Foreign(TokenProfile::Rfc9068));
                    usual.map_or_else(RequestRefusal::Subject, |()| refusal)
                };
                let unverified = decoded.read().map_err(|error| refused(RequestRefusal::Subject(error)))?;
                let claimed = unverified.issuer().map_err(|error| refused(RequestRefusal::Subject(error)))?;
                if claimed == issuer.as_str() {
                    return self.own(token, now).map_err(RequestRefusal::Subject);
                }
                // One that is for logins alone is not trusted to name people here.
                let trusted =
                    snapshot.registry.issuer(claimed).filter(|trusted| trusted.has_subject_tokens());
                let trusted = trusted.ok_or_else(|| refused(RequestRefusal::SubjectProvenance))?;
                let verified = self.of_another(&unverified, trusted, now).await?;
                Ok(VerifiedSubject::foreign(verified, Arc::clone(trusted)))
            }
            TokenType::IdToken => self.identified(token, client, snapshot, now).await,
        }
    }

    fn own(&self, token: &str, now: Timestamp) -> Result<VerifiedSubject, TokenError> {
        self.own.access_token(token, now).map(VerifiedSubject::own)
    }

    /// An ID token. We issue none, so that no entry is about one that names us. Nothing is fetched for a client
    /// that may present none of its issuer.
    async fn identified(
        &self,
        token: &str,
        client: &AuthenticatedClient,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<VerifiedSubject, RequestRefusal> {
        let decoded = Decoded::of(token).map_err(RequestRefusal::Subject)?;
        let unverified = decoded.read().map_err(RequestRefusal::Subject)?;
        let claimed = unverified.issuer().map_err(RequestRefusal::Subject)?;
        let issuer = snapshot.registry.issuer(claimed).filter(|it| it.has_id_tokens_for(client.name()));
        let issuer = issuer.ok_or(RequestRefusal::IdTokenNotTaken)?;
        let verify =
            |keys: &KeySet| id_token::identify(&unverified, issuer, keys, now, Some(self.own.memo()));
        let verified = self.foreign.verified(&KeySource::of_issuer(issuer), now, verify).await;
        let verified =
            verified.map_err(|error| RequestRefusal::unverified(error, RequestRefusal::Subject))?;
        Ok(VerifiedSubject::identified(verified, Arc::clone(issuer)))
    }

    async fn of_another(
        &self,
        token: &Unverified<'_>,
        issuer: &TrustedIssuer,
        now: Timestamp,
    ) -> Result<AccessToken, RequestRefusal> {
        let verify = |keys: &KeySet| token.verify(issuer, keys, now, Some(self.own.memo()));
        let verified = self.foreign.verified(&KeySource::of_issuer(issuer), now, verify).await;
        verified.map_err(|error| RequestRefusal::unverified(error, RequestRefusal::Subject))
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::names::{Parameter, TokenType};

    use super::SubjectToken;
    use crate::form::Form;
    use crate::refusal::RequestRefusal;

    fn read(text: &str) -> Result<TokenType, RequestRefusal> {
        SubjectToken::read(&Form::parse(text.as_bytes()).unwrap()).map(|sent| sent.kind)
    }

    #[test]
    fn the_types_are_told_apart() {
        for kind in [TokenType::AccessToken, TokenType::Jwt, TokenType::IdToken] {
            assert_eq!(read(&format!("subject_token=s&subject_token_type={kind}")), Ok(kind));
        }
    }

    #[test]
    fn other_types_are_refused() {
        for kind in ["refresh_token", "saml2", "saml1", "id-jag", "txn_token"] {
            let text = format!("subject_token=s&subject_token_type=urn:ietf:params:oauth:token-type:{kind}");
            assert_eq!(read(&text), Err(RequestRefusal::Unacceptable(Parameter::SubjectTokenType)));
        }
    }

    #[test]
    fn missing_parameters_are_named() {
        assert_eq!(read("subject_token_type=x"), Err(RequestRefusal::Missing(Parameter::SubjectToken)));
        assert_eq!(read("subject_token=s"), Err(RequestRefusal::Missing(Parameter::SubjectTokenType)));
    }
}
