//! The authorization code grant (RFC 6749 §4.1.3).

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::names::{GrantType, Parameter};
use mandate_core::{ClientId, Issuer, Timestamp};
use mandate_delegation::{LoginClient, ProvenClient};
use mandate_store::codes::CodeHash;

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use super::redemption::{ForAgent, Once, Redeemable, Redemption};
use crate::actor_token::{self, ActorTokens};
use crate::basis::Basis;
use crate::client::{Caller, Clients};
use crate::codes::{self, CodePayload, Codes, StoredCode};
use crate::conclusion::TokenResponse;
use crate::form::Form;
use crate::parameter::{Optional, Required};
use crate::redirect::is_registered;
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::resource;
use crate::trail::Trail;
use crate::wire::OAuthError;

const CODE: Required = Required(Parameter::Code);
const REDIRECT_URI: Required = Required(Parameter::RedirectUri);
/// Required too, but PKCE has its own error if it is missing.
const CODE_VERIFIER: Required = Required(Parameter::CodeVerifier);
const RESOURCE: Optional = Optional(Parameter::Resource);

/// A code proves that a person has logged in: at another grant it would be ignored, and is refused there.
///
/// A person consents to a code for their client, or for an agent that the client named. An actor token belongs
/// only to a code of the second kind, and there it is required: it is never ignored, and nothing is given
/// without it.
pub(super) static GRANT: GrantHandler = GrantHandler {
    name: GrantType::AuthorizationCode,
    parameters: &[
        &[CODE.row().here_only(), REDIRECT_URI.row(), CODE_VERIFIER.row(), RESOURCE.row()],
        actor_token::PARAMETERS,
    ],
    with: |parts| {
        let once = Once { what: "an authorization code", reused: || RequestRefusal::CodeReused };
        Box::new(CodeGrant {
            basis: parts.basis.clone(),
            clients: Arc::clone(&parts.clients),
            actors: Arc::clone(&parts.actors),
            codes: Arc::clone(&parts.codes),
            redemption: Redemption::new(parts, once),
        })
    },
};

struct CodeGrant {
    basis: Basis,
    clients: Arc<Clients>,
    actors: Arc<ActorTokens>,
    codes: Arc<Codes>,
    redemption: Redemption,
}

impl Run for CodeGrant {
    fn run<'c>(&'c self, call: Call<'c>) -> GrantAnswer<'c> {
        Box::pin(self.redeem(call))
    }
}

impl CodeGrant {
    async fn redeem(&self, Call { request, form, now }: Call<'_>) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(RecordKind::Token, now, request.source);
        trail.asks(form, None);
        let decided = self.decide(request, form, &mut trail).await;
        if decided.is_err() {
            // What the actor token claims is of interest only now: a refusal names whom it was about.
            trail.asks(form, actor_token::claimed(form).as_deref());
        }
        self.redemption.conclude(trail, decided).await
    }

    async fn decide(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<Redeemable, RequestRefusal> {
        let now = trail.now;
        let snapshot = self.basis.snapshot();
        let sent = actor_token::sent(form)?;
        let caller = self.clients.authenticate(request, form, &snapshot, trail).await?;
        let client = match caller.clone() {
            Caller::App(client) | Caller::Public(client) => LoginClient::App(client),
            Caller::Unattested(client) => LoginClient::Unattested(client),
            Caller::Agent(_) => {
                return Err(RequestRefusal::ClientNotAllowed(NotAllowed::CodeByAgent));
            }
        };
        trail.client = Some(client.id().shared());
        let hash = codes::hash(CODE.read(form)?);
        let payload = self.presented(&hash, client.id(), now).await?;
        bound(&payload, form, self.basis.issuer())?;
        trail.known();
        let for_agent = match (&payload.actor, sent) {
            (None, None) => None,
            (None, Some(_)) => return Err(RequestRefusal::Misplaced(Parameter::ActorToken)),
            (Some(_), None) => return Err(RequestRefusal::CodeActorMissing),
            (Some(requested), Some(token)) => {
                let verified = self.actors.verify(token, form, &caller, &snapshot, now).await;
                let verified = verified.map_err(|why| RequestRefusal::CodeActor(Box::new(why)))?;
                trail.acted_by(self.basis.issuer(), &verified);
                trail.proof = verified.proof_evidence().map(Arc::clone);
                // Keys may have been fetched. The time is read first, because a cut is later than every
                // decision on a snapshot without it.
                trail.now = self.basis.now();
                Some(ForAgent { client: proven(caller)?, actor: verified, requested: requested.clone() })
            }
        };
        // A client secret may have waited for its turn to be checked.
        let snapshot = self.basis.snapshot();
        // A redirect URI that was removed from the list since may now belong to someone else.
        let registered = match &client {
            LoginClient::App(client) => client
                .confirmed(&snapshot.registry, &snapshot.revocations)
                .map(|client| client.redirect_uris.as_slice()),
            LoginClient::Unattested(client) => Some(client.client().redirect_uris.as_slice()),
        };
        if registered.is_some_and(|uris| !is_registered(&payload.redirect_uri, uris)) {
            return Err(RequestRefusal::CodeRedirect);
        }
        self.redemption.decide(client, (hash, &payload.granted), for_agent, &snapshot, trail)
    }

    /// The content of the code, if the code belongs to this client and is unused.
    async fn presented(
        &self,
        hash: &CodeHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<CodePayload, RequestRefusal> {
        match self.codes.look::<CodePayload>(*hash, now).await? {
            // A stranger's attempt does not use the code up: it proves nothing, and would lock the right
            // client out.
            StoredCode::Unused(payload) if payload.granted.client != *client => {
                Err(RequestRefusal::CodeOtherClient)
            }
            StoredCode::Unused(payload) => Ok(payload),
            // A used code that is presented again counts as stolen, no matter which client presents it (RFC
            // 6749 §4.1.2).
            StoredCode::Used(..) => Err(self.redemption.cut_first_use(hash, now).await),
            StoredCode::Gone => Err(RequestRefusal::CodeUnknown),
        }
    }
}

/// The client, if it has proven who it is: only such a client presents an agent.
fn proven(caller: Caller) -> Result<ProvenClient, RequestRefusal> {
    match caller {
        Caller::App(client) => Ok(client),
        Caller::Public(_) | Caller::Unattested(_) | Caller::Agent(_) => {
            Err(RequestRefusal::ClientNotAllowed(NotAllowed::RequestActor))
        }
    }
}

/// The code is bound to its redirect URI, challenge and resource (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 8707
/// §2.2).
fn bound(payload: &CodePayload, form: &Form<'_>, issuer: &Issuer) -> Result<(), RequestRefusal> {
    if REDIRECT_URI.read(form)? != payload.redirect_uri {
        return Err(RequestRefusal::CodeRedirect);
    }
    payload.challenge.check(form.get(CODE_VERIFIER.0))?;
    resource::as_authorized(form, payload.granted.resource.as_ref(), issuer)
}
