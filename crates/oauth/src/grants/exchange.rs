//! The token-exchange grant (RFC 8693 §2): a person's token and an agent's identity become a mandate.

use std::sync::Arc;

use mandate_audit::{Asked, Kind};
use mandate_core::registry::{Registry, TrustedIssuer};
use mandate_core::{Actor, GrantId, Issuer, ResourceUri, ScopeSet, SubjectProfile, Timestamp, TokenId};
use mandate_delegation::{AuthenticatedClient, Exchange, RefusalReason, Snapshot, VerifiedActor, VerifiedSubject, decide};
use mandate_store::Effect;
use mandate_token::access_token::{self, Decoded, Expect, Profile, Unverified};
use mandate_token::{KeySet, TokenError};

use crate::client::Caller;
use crate::engine::Engine;
use crate::form::Form;
use crate::names::{Parameter, TokenType};
use crate::refusal::{Refusal, whole_seconds};
use crate::request::Request;
use crate::resource;
use crate::token::{TokenResponse, claimed_issuer, claimed_subject, scopes};
use crate::trail::Trail;
use crate::wire::OAuthError;

/// The parameters, each in its required form. Nothing is verified yet.
struct Parameters<'f> {
    subject_token: &'f str,
    subject_type: SubjectType,
    actor_token: Option<&'f str>,
    resource: ResourceUri,
    scopes: Option<ScopeSet>,
}

/// What `subject_token_type` says the subject token is. The token itself must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubjectType {
    /// An access token that we issued.
    Own,
    /// A JWT access token: of a trusted issuer, or of ours.
    Any,
}

impl<'f> Parameters<'f> {
    fn read(form: &'f Form<'_>, registry: &Registry) -> Result<Self, Refusal> {
        let subject_token = form.get(Parameter::SubjectToken).ok_or(Refusal::Missing(Parameter::SubjectToken))?;
        let subject_type = subject_type(form)?;
        let actor_token = actor_token(form)?;
        requested_token_type(form)?;
        let resource = resource::of_exchange(form, registry)?;
        let scopes = scopes(form)?;
        Ok(Self { subject_token, subject_type, actor_token, resource, scopes })
    }
}

/// RFC 8693 §3: `access_token` is a token that we issued, `jwt` is any JWT. Our tokens are JWTs too, and clients such as
/// Spring's call them `jwt`. No other type identifies a person.
fn subject_type(form: &Form<'_>) -> Result<SubjectType, Refusal> {
    let name = form.get(Parameter::SubjectTokenType).ok_or(Refusal::Missing(Parameter::SubjectTokenType))?;
    match TokenType::named(name).ok_or(Refusal::Unacceptable(Parameter::SubjectTokenType))? {
        TokenType::AccessToken => Ok(SubjectType::Own),
        TokenType::Jwt => Ok(SubjectType::Any),
    }
}

/// RFC 8693 §2.1: `actor_token_type` must be present if, and only if, `actor_token` is. An actor token is a JWT-SVID.
fn actor_token<'f>(form: &'f Form<'_>) -> Result<Option<&'f str>, Refusal> {
    match (form.get(Parameter::ActorToken), form.get(Parameter::ActorTokenType)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Refusal::Missing(Parameter::ActorTokenType)),
        (None, Some(_)) => Err(Refusal::Misplaced(Parameter::ActorTokenType)),
        (Some(token), Some(name)) if name == TokenType::Jwt.as_str() => Ok(Some(token)),
        (Some(_), Some(_)) => Err(Refusal::Unacceptable(Parameter::ActorTokenType)),
    }
}

/// An exchange issues only access tokens; no refresh tokens, no ID tokens.
fn requested_token_type(form: &Form<'_>) -> Result<(), Refusal> {
    match form.get(Parameter::RequestedTokenType) {
        None => Ok(()),
        Some(name) if name == TokenType::AccessToken.as_str() => Ok(()),
        Some(_) => Err(Refusal::Unacceptable(Parameter::RequestedTokenType)),
    }
}

impl Engine {
    pub(crate) async fn exchange(&self, request: &Request<'_>, form: &Form<'_>, now: Timestamp) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(Kind::Exchange, now, request.source);
        trail.asked = Asked::new(form.get(Parameter::Resource), form.get(Parameter::Scope), None);
        let mandate = match self.decide_exchange(request, form, &mut trail).await {
            Ok(mandate) => mandate,
            Err(refusal) => {
                // What the actor token claims is of interest only now: a refusal names whom it was about.
                let actor =
                    form.get(Parameter::ActorToken).map(|token| claimed_subject(token).unwrap_or_else(|| "(unreadable)".to_owned()));
                trail.asks(form, actor.as_deref());
                return Err(self.refuse(trail, refusal).await);
            }
        };
        let effects = mandate.view().grant.as_ref().and_then(use_up).into_iter().collect();
        match self.conclude(trail, mandate, effects).await {
            Ok(response) => Ok(response),
            Err((trail, refusal)) => Err(self.refuse(trail, refusal).await),
        }
    }

    async fn decide_exchange(
        &self,
        request: &Request<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<mandate_delegation::Mandate, Refusal> {
        let now = trail.now;
        let snapshot = self.snapshot();
        let caller = self.authenticate(request, form, &snapshot, trail).await?;
        let client = caller.clone().confidential("A public client may not exchange tokens.")?;
        let parameters = Parameters::read(form, &snapshot.registry)?;
        let subject = self.verify_subject(&parameters, &snapshot, now).await?;
        trail.sub = Some(subject.person().clone());
        trail.act = subject.chain().clone();
        let issuer = subject.trusted_issuer().map(|issuer| issuer.url.clone());
        let actor = self.verify_actor(&parameters, form, &caller, now)?;

        // Time went by and the snapshot may have changed while foreign keys were fetched: decide now on what is true now.
        // The time first: a cut is later than every decision on a snapshot without it.
        trail.now = self.now();
        let (now, snapshot) = (trail.now, self.snapshot());
        let jti = TokenId::generate(now, self.entropy.as_ref());
        let Parameters { resource, scopes, .. } = parameters;
        let (proven, place) = (proven_actor(&client, actor.as_ref()).cloned(), resource.clone());
        let exchange = mandate_delegation::Request::Exchange(Exchange { client, subject, actor, resource, scopes, jti });
        let decided = self.live.with_facts(&snapshot, self.clock.behind(), |facts| decide(exchange, facts, now));
        decided.map_err(|refused| {
            // The record of a mandate takes all this from the mandate.
            if let Some(proven) = proven {
                self.note_actor(trail, &proven);
            }
            trail.aud = snapshot.registry.resource_by_uri(&place).map(|resource| resource.uri.as_str().to_owned());
            trail.policies = refused.policies.into();
            let issuer = issuer.and_then(|url| snapshot.registry.issuer(&url));
            match (refused.reason, issuer, refused.bounds) {
                (RefusalReason::SubjectNotForPresenter, Some(issuer), _) => Refusal::SubjectAudience(issuer.audience.clone()),
                (RefusalReason::ResourceUnknown, ..) => {
                    Refusal::ResourceUnknown(resource::probably_meant(place.as_str(), &snapshot.registry))
                }
                (reason, _, Some(bounds)) => Refusal::ExchangeScopes(reason, bounds),
                (reason, _, None) => Refusal::Exchange(reason),
            }
        })
    }

    /// The actors of a refused exchange, as far as they are proven: the history of the subject token and the current actor.
    fn note_actor(&self, trail: &mut Trail, proven: &VerifiedActor) {
        let actor =
            Actor { sub: proven.spiffe_id().as_str().to_owned(), iss: self.issuer().clone(), sub_profile: Some(SubjectProfile::AiAgent) };
        // A chain that would loop or be too long is refused by the decision; the record then keeps the history alone.
        if let Ok(chain) = trail.act.extended(actor, mandate_core::subject::MAX_PARSED_DEPTH) {
            trail.act = chain;
        }
    }

    /// Verifies the subject token with the keys of its issuer. The token itself decides, not the type that the caller sends.
    async fn verify_subject(&self, parameters: &Parameters<'_>, snapshot: &Snapshot, now: Timestamp) -> Result<VerifiedSubject, Refusal> {
        let token = parameters.subject_token;
        match parameters.subject_type {
            SubjectType::Own => self.verify_own(token, now).map_err(|error| {
                let elsewhere = claimed_issuer(token).is_some_and(|issuer| issuer != self.issuer().as_str());
                if elsewhere { Refusal::SubjectElsewhere(error) } else { Refusal::Subject(error) }
            }),
            SubjectType::Any => {
                let decoded = Decoded::of(token).map_err(Refusal::Subject)?;
                let unverified = decoded.read().map_err(Refusal::Subject)?;
                let claimed = unverified.issuer().map_err(Refusal::Subject)?;
                if claimed == self.issuer().as_str() {
                    return self.verify_own(token, now).map_err(Refusal::Subject);
                }
                let untrusted = Refusal::SubjectProvenance("The iss of the subject token is neither this server nor a trusted issuer.");
                let trusted = snapshot.registry.issuer(claimed).ok_or(untrusted)?;
                let verified = self.verify_foreign(&unverified, trusted, now).await?;
                Ok(VerifiedSubject::foreign(verified, Arc::clone(trusted)))
            }
        }
    }

    fn verify_own(&self, token: &str, now: Timestamp) -> Result<VerifiedSubject, TokenError> {
        let keys = self.authority.access_token_jwks();
        self.verify_access_token(token, self.issuer(), &keys, Profile::Own, now).map(VerifiedSubject::own)
    }

    /// An unknown key may have been published after the keys were fetched. If the keys were fetched after this token arrived,
    /// that is not possible.
    async fn verify_foreign(
        &self,
        token: &Unverified<'_>,
        issuer: &TrustedIssuer,
        now: Timestamp,
    ) -> Result<access_token::AccessToken, Refusal> {
        let verify = |keys: &KeySet| token.verify(issuer, keys, now, Some(&self.memo));
        let found = self.foreign.keys(issuer, now).await?;
        let error = match verify(&found.keys) {
            Err(error) if error.may_be_stale_keys() && found.again.is_some() => error,
            other => return other.map_err(Refusal::Subject),
        };
        tracing::debug!(issuer = %issuer.url, %error, "the keys of a trusted issuer are looked at again");
        let newer = self.foreign.keys_after_rotation(issuer, now).await?;
        verify(&newer.keys).map_err(|error| match newer.again {
            Some(again) if error.may_be_stale_keys() => Refusal::IssuerKeyUnknown { retry_after: whole_seconds(again) },
            _ => Refusal::Subject(error),
        })
    }

    pub(crate) fn verify_access_token(
        &self,
        token: &str,
        issuer: &Issuer,
        keys: &KeySet,
        profile: Profile,
        now: Timestamp,
    ) -> Result<access_token::AccessToken, TokenError> {
        access_token::verify(token, &Expect { issuer, keys, now, profile, memo: Some(&self.memo) })
    }

    /// Verifies the actor token, for every kind of client: an actor token that was sent is never ignored.
    fn verify_actor(
        &self,
        parameters: &Parameters<'_>,
        form: &Form<'_>,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Option<VerifiedActor>, Refusal> {
        let Some(token) = parameters.actor_token else { return Ok(None) };
        // The same JWT-SVID as credential and as actor token has been verified for the same audience already.
        match caller {
            Caller::Agent(agent) if form.get(Parameter::ClientAssertion) == Some(token) => Ok(Some(agent.clone())),
            _ => self.verify_svid(token, now).map(Some).map_err(|error| match error {
                TokenError::Audience => Refusal::ActorAudience(self.issuer().as_str().to_owned()),
                error => Refusal::Actor(error),
            }),
        }
    }
}

/// The current actor, if one was proven.
fn proven_actor<'a>(client: &'a AuthenticatedClient, actor: Option<&'a VerifiedActor>) -> Option<&'a VerifiedActor> {
    match (actor, client) {
        (Some(actor), _) | (None, AuthenticatedClient::Agent(actor)) => Some(actor),
        (None, AuthenticatedClient::App(_)) => None,
    }
}

/// Counts a use of a limited grant, in the transaction of the record: two exchanges cannot both take the last use.
fn use_up((grant, max): &(GrantId, Option<u64>)) -> Option<Effect> {
    Some(Effect::UseGrant { grant: grant.clone(), max: (*max)? })
}

#[cfg(test)]
mod tests {
    use super::{Parameters, SubjectType};
    use crate::form::Form;
    use crate::names::{Parameter, TokenType};
    use crate::refusal::Refusal;
    use mandate_core::InvalidScope;
    use mandate_core::registry::Registry;

    const ACCESS_TOKEN: &str = TokenType::AccessToken.as_str();
    const JWT: &str = TokenType::Jwt.as_str();

    fn read(extra: &str) -> Result<(), Refusal> {
        let body = format!("subject_token=s&subject_token_type={ACCESS_TOKEN}&resource=https://crm.example&{extra}");
        Parameters::read(&Form::parse(body.as_bytes()).unwrap(), &Registry::default()).map(|_| ())
    }

    #[test]
    fn the_two_subject_types_are_told_apart() {
        for (name, wanted) in [(ACCESS_TOKEN, SubjectType::Own), (JWT, SubjectType::Any)] {
            let body = format!("subject_token=s&subject_token_type={name}&resource=https://crm.example");
            assert_eq!(Parameters::read(&Form::parse(body.as_bytes()).unwrap(), &Registry::default()).unwrap().subject_type, wanted);
        }
    }

    #[test]
    fn other_subject_and_requested_types_are_refused() {
        for kind in ["id_token", "refresh_token", "saml2", "saml1", "id-jag", "txn_token"] {
            let body = format!("subject_token=s&subject_token_type=urn:ietf:params:oauth:token-type:{kind}&resource=https://crm.example");
            assert_eq!(
                Parameters::read(&Form::parse(body.as_bytes()).unwrap(), &Registry::default()).err(),
                Some(Refusal::Unacceptable(Parameter::SubjectTokenType))
            );
            let requested = format!("requested_token_type=urn:ietf:params:oauth:token-type:{kind}");
            assert_eq!(read(&requested), Err(Refusal::Unacceptable(Parameter::RequestedTokenType)));
        }
        assert_eq!(read(&format!("requested_token_type={ACCESS_TOKEN}")), Ok(()));
    }

    #[test]
    fn actor_token_and_its_type_stand_together() {
        assert_eq!(read("actor_token=a"), Err(Refusal::Missing(Parameter::ActorTokenType)));
        assert_eq!(read(&format!("actor_token_type={JWT}")), Err(Refusal::Misplaced(Parameter::ActorTokenType)));
        assert_eq!(read(&format!("actor_token=a&actor_token_type={ACCESS_TOKEN}")), Err(Refusal::Unacceptable(Parameter::ActorTokenType)));
        assert_eq!(read(&format!("actor_token=a&actor_token_type={JWT}")), Ok(()));
    }

    #[test]
    fn missing_and_malformed_parameters_are_named() {
        let body = format!("subject_token_type={ACCESS_TOKEN}&resource=https://crm.example");
        assert_eq!(
            Parameters::read(&Form::parse(body.as_bytes()).unwrap(), &Registry::default()).err(),
            Some(Refusal::Missing(Parameter::SubjectToken))
        );
        let body = "subject_token=s&resource=https://crm.example";
        assert_eq!(
            Parameters::read(&Form::parse(body.as_bytes()).unwrap(), &Registry::default()).err(),
            Some(Refusal::Missing(Parameter::SubjectTokenType))
        );
        assert_eq!(read("scope=a++b"), Err(Refusal::ScopeMalformed(InvalidScope::Empty)));
        assert_eq!(read("scope=a+b"), Ok(()));
    }
}
