//! Introspection (RFC 7662): the claims of a token, for the parties that it concerns.

use mandate_audit::RecordKind;
use mandate_core::names::{AccessTokenType, IntrospectionMember, Parameter};
use mandate_core::registry::Registry;
use mandate_delegation::liveness::{Asker, living};
use mandate_delegation::{AuthenticatedClient, DecisionRequest};
use mandate_store::refresh::RefreshState;
use mandate_token::access_token::AccessToken;
use mandate_token::access_token::subject_claim;
use serde_json::{Map, Value};

use crate::engine::Engine;
use crate::parameter::Required;
use crate::refresh_tokens::{self, StoredRefresh};
use crate::refusal::RequestRefusal;
use crate::request::FormRequest;
use crate::trail::Trail;
use crate::wire::OAuthError;

/// The answer to an introspection request.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspection {
    /// The token is valid and concerns the caller: its signed claims.
    Active(Map<String, Value>),
    /// The token is a refresh token of the caller that can be used now: what the next access token would say of
    /// the login. It has no `token_type`, because no resource accepts it.
    Refreshes(Map<String, Value>),
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
            Self::Refreshes(claims) => {
                let mut body = claims.clone();
                body.insert(IntrospectionMember::Active.to_string(), Value::Bool(true));
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
        let sent = Required(Parameter::Token).read(&form)?;
        // The caller's secret may have waited for its turn to be checked.
        let (snapshot, now) = (self.basis.snapshot(), self.basis.now());
        let (registry, revocations) = (&snapshot.registry, &snapshot.revocations);
        let Ok((token, claims)) = self.tokens.access_token_with_claims(sent, now) else {
            return self.introspect_refresh_token(sent, caller).await;
        };
        let counts = living(&token.terms, self.issuer(), Asker::Resource, registry, revocations, now).is_ok();
        Ok(if counts && concerns(&token, &caller, registry) {
            Introspection::Active(claims)
        } else {
            Introspection::Inactive
        })
    }
}

impl Engine {
    /// A refresh token concerns the client that may use it, and nobody else.
    async fn introspect_refresh_token(
        &self,
        sent: &str,
        caller: AuthenticatedClient,
    ) -> Result<Introspection, RequestRefusal> {
        let AuthenticatedClient::App(client) = caller else { return Ok(Introspection::Inactive) };
        let found = self.refresh.look(refresh_tokens::hash(sent), self.basis.now()).await?;
        let usable = |stored: &StoredRefresh| {
            stored.state == RefreshState::Unused && stored.payload.client == *client.id()
        };
        let Some(stored) = found.filter(usable) else { return Ok(Introspection::Inactive) };
        // It counts if it would be refreshed now. The mandate is thrown away: no token is minted from it.
        let (now, snapshot) = (self.basis.now(), self.basis.snapshot());
        let scopes = stored.payload.scopes.clone();
        let authorization = stored.authorization(client, scopes, self.basis.token_id(now));
        let decided = self.basis.decide(DecisionRequest::Authorization(authorization), &snapshot, now);
        let Ok(mandate) = decided else { return Ok(Introspection::Inactive) };
        let terms = &mandate.view().terms;
        let name = |parameter: Parameter| parameter.as_str().to_owned();
        let subject = stored.payload.login.subject(self.issuer());
        let mut claims = Map::from_iter([
            ("iss".to_owned(), terms.issuer.as_str().into()),
            ("sub".to_owned(), subject_claim(&subject, self.issuer()).into_owned().into()),
            ("aud".to_owned(), terms.audience.first().into()),
            (name(Parameter::ClientId), terms.client.as_str().into()),
            (name(Parameter::Scope), terms.scopes.to_string().into()),
            ("exp".to_owned(), stored.expires.min(stored.login.ends).secs().into()),
        ]);
        let auth_time = terms.auth_time.map(|time| ("auth_time".to_owned(), time.secs().into()));
        claims.extend(auth_time);
        Ok(Introspection::Refreshes(claims))
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
