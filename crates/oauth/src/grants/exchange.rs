//! The token-exchange grant (RFC 8693 §2): a person's token and an agent's identity become a mandate.

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::names::{GrantType, Parameter, TokenType};
use mandate_core::registry::Registry;
use mandate_core::{Actor, ResourceUri, ScopeSet, SubjectProfile};
use mandate_delegation::{AuthenticatedClient, Exchange, Mandate, RefusalReason, VerifiedActor, Withheld};

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use crate::actor_token::ActorTokens;
use crate::basis::Basis;
use crate::client::{Caller, Clients};
use crate::conclusion::{Conclusion, TokenResponse};
use crate::form::Form;
use crate::opaque_tokens::OpaqueTokens;
use crate::parameter::Optional;
use crate::refusal::{CredentialKind, NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::subject_token::{SubjectToken, SubjectTokens};
use crate::trail::{Recorder, Trail};
use crate::wire::OAuthError;
use crate::{actor_token, resource, scope, subject_token};

const REQUESTED_TOKEN_TYPE: Optional = Optional(Parameter::RequestedTokenType);

pub(super) static GRANT: GrantHandler = GrantHandler {
    name: GrantType::TokenExchange,
    parameters: &[
        subject_token::PARAMETERS,
        actor_token::PARAMETERS,
        &[REQUESTED_TOKEN_TYPE.row()],
        resource::PARAMETERS,
        scope::PARAMETERS,
    ],
    with: |parts| {
        Box::new(ExchangeGrant {
            basis: parts.basis.clone(),
            recorder: parts.recorder.clone(),
            clients: Arc::clone(&parts.clients),
            subjects: SubjectTokens::new(
                parts.basis.clone(),
                Arc::clone(&parts.tokens),
                Arc::clone(&parts.foreign),
                OpaqueTokens::new(
                    Arc::clone(&parts.foreign),
                    Arc::clone(&parts.codes),
                    Arc::clone(&parts.refresh),
                    Arc::clone(&parts.login_secrets),
                ),
            ),
            actors: ActorTokens {
                basis: parts.basis.clone(),
                own: Arc::clone(&parts.tokens),
                platforms: Arc::clone(&parts.platforms),
                svids: Arc::clone(&parts.svids),
            },
            conclusion: Arc::clone(&parts.conclusion),
        })
    },
};

struct ExchangeGrant {
    basis: Basis,
    recorder: Recorder,
    clients: Arc<Clients>,
    subjects: SubjectTokens,
    actors: ActorTokens,
    conclusion: Arc<Conclusion>,
}

/// The parameters, each in its required form. Nothing is verified yet.
struct Parameters<'f> {
    subject: SubjectToken<'f>,
    actor: Option<&'f str>,
    resource: ResourceUri,
    scopes: Option<ScopeSet>,
}

impl<'f> Parameters<'f> {
    fn read(form: &'f Form<'_>, registry: &Registry) -> Result<Self, RequestRefusal> {
        let subject = SubjectToken::read(form)?;
        let actor = actor_token::sent(form)?;
        requested_token_type(form)?;
        let resource = resource::the_one(form, registry)?;
        let scopes = scope::asked(form)?;
        Ok(Self { subject, actor, resource, scopes })
    }
}

/// An exchange issues only access tokens; no refresh tokens, no ID tokens.
fn requested_token_type(form: &Form<'_>) -> Result<(), RequestRefusal> {
    match REQUESTED_TOKEN_TYPE.read(form) {
        Some(name) if name != TokenType::AccessToken.as_str() => {
            Err(RequestRefusal::Unacceptable(REQUESTED_TOKEN_TYPE.0))
        }
        Some(_) | None => Ok(()),
    }
}

impl Run for ExchangeGrant {
    fn run<'c>(&'c self, call: Call<'c>) -> GrantAnswer<'c> {
        Box::pin(self.exchange(call))
    }
}

impl ExchangeGrant {
    async fn exchange(&self, Call { request, form, now }: Call<'_>) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(RecordKind::Exchange, now, request.source);
        trail.asks(form, None);
        let mandate = match self.decide(request, form, &mut trail).await {
            Ok(mandate) => mandate,
            Err(refusal) => {
                // What the actor token claims is of interest only now: a refusal names whom it was about.
                trail.asks(form, actor_token::claimed(form).as_deref());
                return Err(self.recorder.refuse(trail, refusal).await);
            }
        };
        match self.conclusion.conclude(trail, mandate, Vec::new(), Some(TokenType::AccessToken)).await {
            Ok(response) => Ok(response),
            Err((trail, refusal)) => Err(self.recorder.refuse(trail, refusal).await),
        }
    }

    async fn decide(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<Mandate, RequestRefusal> {
        let now = trail.now;
        let snapshot = self.basis.snapshot();
        let caller = self.clients.authenticate(request, form, &snapshot, trail).await?;
        if matches!(caller, Caller::Unattested(_)) {
            return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Unattested));
        }
        let client = caller
            .clone()
            .confidential()
            .ok_or(RequestRefusal::ClientNotAllowed(NotAllowed::ExchangeByPublicClient))?;
        let Parameters { subject, actor, resource, scopes } = Parameters::read(form, &snapshot.registry)?;
        let subject = self.subjects.verify(subject, &client, &snapshot, now).await?;
        trail.sub = subject.person().cloned();
        trail.act = subject.chain().clone();
        trail.said_actors = subject.said_actors().cloned();
        // The `audience` of the entry is for access tokens.
        let issuer = subject.trusted_issuer().filter(|_| !subject.is_id_token());
        let issuer = issuer.map(|issuer| issuer.url.clone());
        let actor = match actor {
            Some(token) => Some(self.actors.verify(token, form, &caller, &snapshot, now).await?),
            None => None,
        };
        if let Some(evidence) = actor.as_ref().and_then(VerifiedActor::proof_evidence) {
            trail.proof = Some(Arc::clone(evidence));
        }

        // The snapshot may have changed while another issuer's keys were fetched: decide on the present one,
        // at the present time. The time is read first, because a cut is later than every decision on a
        // snapshot without it.
        trail.now = self.basis.now();
        let (now, snapshot) = (trail.now, self.basis.snapshot());
        let jti = self.basis.token_id(now);
        let (proven, place) = (proven_actor(&client, actor.as_ref()).cloned(), resource.clone());
        let exchange = mandate_delegation::DecisionRequest::Exchange(Exchange {
            client,
            subject,
            actor,
            resource,
            scopes,
            jti,
        });
        self.basis.decide(exchange, &snapshot, now).map_err(|withheld| {
            // The record of a mandate takes all this from the mandate.
            if let Some(proven) = proven {
                self.note_actor(trail, &proven);
            }
            trail.aud =
                snapshot.registry.resource_by_uri(&place).map(|resource| resource.uri.as_str().to_owned());
            let mut refused = match withheld {
                Withheld::Refusal(refused) => refused,
                Withheld::Failed(why) => return RequestRefusal::Internal(why),
                Withheld::NeedsApproval(needs) => {
                    trail.policies = Arc::clone(needs.by());
                    return RequestRefusal::ApprovalRequired(
                        CredentialKind::Tokens,
                        needs.request().to_string(),
                    );
                }
            };
            trail.decided(&mut refused);
            let issuer = issuer.and_then(|url| snapshot.registry.issuer(&url));
            match (refused.reason, issuer, refused.bounds) {
                (RefusalReason::SubjectNotForPresenter, Some(issuer), _) => {
                    RequestRefusal::SubjectAudience(issuer.audience.clone())
                }
                (RefusalReason::ResourceUnknown, ..) => RequestRefusal::ResourceUnknown(
                    resource::probably_meant(place.as_str(), &snapshot.registry),
                ),
                (reason, _, Some(bounds)) => RequestRefusal::ExchangeScopes(reason, bounds),
                (reason, _, None) => RequestRefusal::Exchange(reason),
            }
        })
    }

    /// The actors of a refused exchange, as far as they are proven: the history of the subject token and the
    /// current actor.
    fn note_actor(&self, trail: &mut Trail, proven: &VerifiedActor) {
        let actor = Actor {
            sub: proven.spiffe_id().as_str().to_owned(),
            iss: self.basis.issuer().clone(),
            sub_profile: Some(SubjectProfile::AiAgent),
        };
        // A chain that would loop or be too long is refused by the decision; the record then keeps the
        // history alone.
        if let Ok(chain) = trail.act.extended(actor, mandate_core::subject::MAX_PARSED_DEPTH) {
            trail.act = chain;
        }
    }
}

/// The current actor, if one was proven.
fn proven_actor<'a>(
    client: &'a AuthenticatedClient,
    actor: Option<&'a VerifiedActor>,
) -> Option<&'a VerifiedActor> {
    match (actor, client) {
        (Some(actor), _) | (None, AuthenticatedClient::Agent(actor)) => Some(actor),
        (None, AuthenticatedClient::App(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::InvalidScope;
    use mandate_core::names::{Parameter, TokenType};
    use mandate_core::registry::Registry;

    use super::Parameters;
    use crate::form::Form;
    use crate::refusal::RequestRefusal;

    fn read(extra: &str) -> Result<(), RequestRefusal> {
        let kind = TokenType::AccessToken;
        let body = format!("subject_token=s&subject_token_type={kind}&resource=https://crm.example&{extra}");
        Parameters::read(&Form::parse(body.as_bytes()).unwrap(), &Registry::default()).map(|_| ())
    }

    #[test]
    fn an_access_token_can_be_asked_for_and_nothing_else() {
        for kind in ["id_token", "refresh_token", "saml2", "saml1", "jwt", "id-jag", "txn_token"] {
            let requested = format!("requested_token_type=urn:ietf:params:oauth:token-type:{kind}");
            assert_eq!(read(&requested), Err(RequestRefusal::Unacceptable(Parameter::RequestedTokenType)));
        }
        assert_eq!(read(&format!("requested_token_type={}", TokenType::AccessToken)), Ok(()));
    }

    #[test]
    fn a_malformed_scope_is_refused() {
        assert_eq!(read("scope=a++b"), Err(RequestRefusal::ScopeMalformed(InvalidScope::Empty)));
        assert_eq!(read("scope=a+b"), Ok(()));
    }
}
