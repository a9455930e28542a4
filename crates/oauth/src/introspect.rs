//! Introspection (RFC 7662): the claims of a token, for the parties that it concerns.

use mandate_audit::RecordKind;
use mandate_core::names::{AccessTokenType, IntrospectionMember, Parameter};
use mandate_core::registry::Registry;
use mandate_delegation::AuthenticatedClient;
use mandate_delegation::liveness::{Asker, living};
use mandate_token::access_token::AccessToken;
use serde_json::{Map, Value};

use crate::engine::Engine;
use crate::parameter::Required;
use crate::refusal::RequestRefusal;
use crate::request::FormRequest;
use crate::trail::Trail;
use crate::wire::OAuthError;

/// The answer to an introspection request.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspection {
    /// The token is valid and concerns the caller: its signed claims.
    Active(Map<String, Value>),
    /// Every other case. The answer says no more than that (RFC 7662 §2.2).
    Inactive,
}

impl Introspection {
    /// The response body (RFC 7662 §2.2), as JSON.
    pub fn to_json(&self) -> String {
        let body = match self {
            Self::Active(claims) => {
                // The signed claims as they are; beside them only what the endpoint itself knows.
                let mut body = claims.clone();
                body.insert(IntrospectionMember::Active.to_string(), Value::Bool(true));
                body.insert(
                    IntrospectionMember::TokenType.to_string(),
                    Value::from(AccessTokenType::Bearer.as_str()),
                );
                body
            }
            Self::Inactive => Map::from_iter([(IntrospectionMember::Active.to_string(), Value::Bool(false))]),
        };
        Value::Object(body).to_string()
    }
}

impl Engine {
    /// Answers an introspection request. A caller that fails to authenticate is refused, and the refusal is
    /// recorded. An answer to an authenticated caller is not a decision, and is not recorded.
    pub async fn introspect(&self, request: FormRequest<'_>) -> Result<Introspection, OAuthError> {
        let mut trail = Trail::new(RecordKind::Admin, self.basis.now(), request.source);
        match self.try_introspect(&request, &mut trail).await {
            Ok(answer) => Ok(answer),
            Err(refusal) => {
                trail.note = Some(
                    trail
                        .note
                        .map_or_else(|| "introspection".to_owned(), |note| format!("introspection, {note}")),
                );
                Err(self.recorder.refuse(trail, refusal).await)
            }
        }
    }

    async fn try_introspect(
        &self,
        request: &FormRequest<'_>,
        trail: &mut Trail,
    ) -> Result<Introspection, RequestRefusal> {
        let form = request.form()?;
        let snapshot = self.basis.snapshot();
        let caller = self.clients.authenticate_confidential(request, &form, &snapshot, trail).await?;
        let token = Required(Parameter::Token).read(&form)?;
        // The caller's secret may have waited for its turn to be checked.
        let (snapshot, now) = (self.basis.snapshot(), self.basis.now());
        let (registry, revocations) = (&snapshot.registry, &snapshot.revocations);
        let Ok((token, claims)) = self.tokens.access_token_with_claims(token, now) else {
            return Ok(Introspection::Inactive);
        };
        let counts = living(&token.terms, self.issuer(), Asker::Resource, registry, revocations, now).is_ok();
        Ok(if counts && concerns(&token, &caller, registry) {
            Introspection::Active(claims)
        } else {
            Introspection::Inactive
        })
    }
}

/// A token concerns the client it was issued to, and the resource it is addressed to: the client or agent
/// that the registry names for it.
fn concerns(token: &AccessToken, caller: &AuthenticatedClient, registry: &Registry) -> bool {
    if token.terms.client.as_str() == caller.name() {
        return true;
    }
    let addressed = token
        .terms
        .audience
        .iter()
        .filter_map(|aud| aud.parse().ok().and_then(|uri| registry.resource_by_uri(&uri)));
    addressed.into_iter().any(|resource| match caller {
        AuthenticatedClient::App(client) => resource.client.as_ref() == Some(client.id()),
        AuthenticatedClient::Agent(agent) => {
            let serving = resource.agent.as_ref().and_then(|name| registry.agent(name));
            serving.is_some_and(|serving| serving.spiffe_id == *agent.spiffe_id())
        }
    })
}
