//! The client credentials grant (RFC 6749 §4.4): an agent gets a token of its own, for nobody.

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::names::GrantType;
use mandate_core::{Actor, ActorChain, SubjectProfile};
use mandate_delegation::{DecisionRequest, Mandate, OwnBehalf, RefusalReason, VerifiedActor, Withheld};

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use crate::basis::Basis;
use crate::client::{Caller, Clients};
use crate::conclusion::{Conclusion, TokenResponse};
use crate::form::Form;
use crate::refusal::{CredentialKind, NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::trail::{Recorder, Trail};
use crate::wire::OAuthError;
use crate::{resource, scope};

/// No parameter names or proves another party: the agent asks for itself.
pub(super) static GRANT: GrantHandler = GrantHandler {
    name: GrantType::ClientCredentials,
    parameters: &[resource::PARAMETERS, scope::PARAMETERS],
    with: |parts| {
        Box::new(OwnBehalfGrant {
            basis: parts.basis.clone(),
            recorder: parts.recorder.clone(),
            clients: Arc::clone(&parts.clients),
            conclusion: Arc::clone(&parts.conclusion),
        })
    },
};

struct OwnBehalfGrant {
    basis: Basis,
    recorder: Recorder,
    clients: Arc<Clients>,
    conclusion: Arc<Conclusion>,
}

impl Run for OwnBehalfGrant {
    fn run<'c>(&'c self, call: Call<'c>) -> GrantAnswer<'c> {
        Box::pin(self.issue(call))
    }
}

impl OwnBehalfGrant {
    async fn issue(&self, Call { request, form, now }: Call<'_>) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(RecordKind::Token, now, request.source);
        trail.asks(form, None);
        let mandate = match self.decide(request, form, &mut trail).await {
            Ok(mandate) => mandate,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        match self.conclusion.conclude(trail, mandate, Vec::new(), None).await {
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
        let snapshot = self.basis.snapshot();
        let agent = match self.clients.authenticate(request, form, &snapshot, trail).await? {
            Caller::Agent(agent) => agent,
            Caller::App(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::OwnBehalfByApp)),
            Caller::Unattested(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Unattested)),
            // RFC 6749 §4.4: only for confidential clients. A public client has proven nothing.
            Caller::Public(_) => return Err(RequestRefusal::ClientMissing),
        };
        trail.act = self.alone(&agent);
        let resource = resource::the_one(form, &snapshot.registry)?;
        let scopes = scope::asked(form)?;

        // The time is read before the snapshot, as at an exchange.
        trail.now = self.basis.now();
        let (now, snapshot) = (trail.now, self.basis.snapshot());
        let (place, jti) = (resource.clone(), self.basis.token_id(now));
        let own = DecisionRequest::OwnBehalf(OwnBehalf { agent, resource, scopes, jti });
        self.basis.decide(own, &snapshot, now).map_err(|withheld| {
            let registered = snapshot.registry.resource_by_uri(&place);
            trail.aud = registered.map(|resource| resource.uri.as_str().to_owned());
            let mut refused = match withheld {
                Withheld::Refusal(refused) => refused,
                Withheld::Failed(why) => return RequestRefusal::Internal(why),
                Withheld::NeedsApproval(needs) => {
                    trail.policies = Arc::clone(needs.by());
                    let hash = needs.request().to_string();
                    return RequestRefusal::ApprovalRequired(CredentialKind::Client, hash);
                }
            };
            trail.decided(&mut refused);
            match refused.reason {
                RefusalReason::ResourceUnknown => RequestRefusal::ResourceUnknown(resource::probably_meant(
                    place.as_str(),
                    &snapshot.registry,
                )),
                reason => RequestRefusal::OwnBehalf(reason, refused.bounds),
            }
        })
    }

    /// The chain of which a record of the agent's own token speaks: the agent, and no person.
    fn alone(&self, agent: &VerifiedActor) -> ActorChain {
        let actor = Actor {
            sub: agent.spiffe_id().as_str().to_owned(),
            iss: self.basis.issuer().clone(),
            sub_profile: Some(SubjectProfile::AiAgent),
        };
        // A SPIFFE ID is never empty nor oversized, and one actor is no loop.
        ActorChain::new(vec![actor]).unwrap_or_default()
    }
}
