//! The authorization code grant (RFC 6749 §4.1.3).

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::names::{GrantType, Parameter};
use mandate_core::{ClientId, Issuer, Timestamp};
use mandate_delegation::LoginClient;
use mandate_store::codes::CodeHash;

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use super::redemption::{Once, Redeemable, Redemption};
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
/// A person consents to a code for their client, not for an actor: an actor token here would be ignored, or
/// would change what the person consented to. This grant has no parameters for the parties of an exchange, so
/// they are refused.
pub(super) static GRANT: GrantHandler = GrantHandler {
    name: GrantType::AuthorizationCode,
    parameters: &[&[CODE.row().here_only(), REDIRECT_URI.row(), CODE_VERIFIER.row(), RESOURCE.row()]],
    with: |parts| {
        let once = Once { what: "an authorization code", reused: || RequestRefusal::CodeReused };
        Box::new(CodeGrant {
            basis: parts.basis.clone(),
            clients: Arc::clone(&parts.clients),
            codes: Arc::clone(&parts.codes),
            redemption: Redemption::new(parts, once),
        })
    },
};

struct CodeGrant {
    basis: Basis,
    clients: Arc<Clients>,
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
        let client = match self.clients.authenticate(request, form, &snapshot, trail).await? {
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
        self.redemption.decide(client, (hash, &payload.granted), &snapshot, trail)
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

/// The code is bound to its redirect URI, challenge and resource (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 8707
/// §2.2).
fn bound(payload: &CodePayload, form: &Form<'_>, issuer: &Issuer) -> Result<(), RequestRefusal> {
    if REDIRECT_URI.read(form)? != payload.redirect_uri {
        return Err(RequestRefusal::CodeRedirect);
    }
    payload.challenge.check(form.get(CODE_VERIFIER.0))?;
    resource::as_authorized(form, payload.granted.resource.as_ref(), issuer)
}
