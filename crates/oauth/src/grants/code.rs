//! The authorization code grant (RFC 6749 §4.1.3).

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::lifetimes::PERSON_TOKEN_LIFETIME;
use mandate_core::names::{GrantType, Parameter};
use mandate_core::registry::{RegistryVersion, login_key};
use mandate_core::{ClientId, Issuer, ScopeSet, Timestamp};
use mandate_delegation::{Authorization, LoginClient, Mandate};
use mandate_store::Effect;
use mandate_store::codes::CodeHash;
use mandate_store::refresh::Upstream;

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use crate::basis::Basis;
use crate::client::{Caller, Clients};
use crate::codes::{self, CodePayload, Codes, StoredCode};
use crate::conclusion::{Conclusion, TokenResponse};
use crate::cuts::{Cuts, UsedTwice};
use crate::form::Form;
use crate::parameter::{Optional, Required};
use crate::redirect::is_registered;
use crate::refresh_tokens::{Decision, RefreshPayload, RefreshTokens};
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::resource;
use crate::trail::{Recorder, Trail};
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
        Box::new(CodeGrant {
            basis: parts.basis.clone(),
            recorder: parts.recorder.clone(),
            clients: Arc::clone(&parts.clients),
            codes: Arc::clone(&parts.codes),
            refresh: Arc::clone(&parts.refresh),
            cuts: Arc::clone(&parts.cuts),
            conclusion: Arc::clone(&parts.conclusion),
        })
    },
};

/// A code that can be redeemed.
struct Decided {
    mandate: Mandate,
    hash: CodeHash,
    /// What the login gives, if the client may go on while the person is away.
    refreshes: Option<GoesOn>,
}

/// What a login gives whose client may go on while the person is away.
struct GoesOn {
    payload: RefreshPayload,
    password: Option<[u8; 32]>,
    upstream: Option<Upstream>,
    planned_from: RegistryVersion,
}

struct CodeGrant {
    basis: Basis,
    recorder: Recorder,
    clients: Arc<Clients>,
    codes: Arc<Codes>,
    refresh: Arc<RefreshTokens>,
    cuts: Arc<Cuts>,
    conclusion: Arc<Conclusion>,
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
        let Decided { mandate, hash, refreshes } = match self.decide(request, form, &mut trail).await {
            Ok(decided) => decided,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        // The code is used up in the transaction of the record: of two requests at once, one is refused
        // there.
        let jti = mandate.view().terms.jti.clone();
        let mut effects = vec![Effect::RedeemCode { hash, token: jti.clone(), at: now }];
        let (mut refresh, mut guard) = (None, None);
        if let (Some(goes_on), Some(person)) = (refreshes, mandate.view().terms.subject.clone()) {
            let GoesOn { payload, password, upstream, planned_from } = goes_on;
            let decided = Decision { code: hash, password, planned_from, upstream };
            let (token, keep) = match self.refresh.first(&jti, person.clone(), &payload, decided, now) {
                Ok(first) => first,
                Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
            };
            effects.push(keep);
            refresh = Some(token);
            guard = Some(self.refresh.still_counts(jti, person, &payload));
        }
        match self.conclusion.conclude_while(trail, mandate, effects, None, guard).await {
            Ok(response) => Ok(response.with_refresh_token(refresh)),
            Err((trail, RequestRefusal::CodeReused)) => {
                let refusal = self.cut_first_use(&hash, now).await;
                Err(self.recorder.refuse(trail, refusal).await)
            }
            Err((trail, refusal)) => Err(self.recorder.refuse(trail, refusal).await),
        }
    }

    async fn decide(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<Decided, RequestRefusal> {
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
        // What the client's entry says now, and not at the login.
        let continues = match &client {
            LoginClient::App(client) => client
                .confirmed(&snapshot.registry, &snapshot.revocations)
                .is_some_and(|client| client.refresh),
            LoginClient::Unattested(_) => false,
        };
        let given = || RefreshPayload {
            client: payload.client.clone(),
            login: payload.login.clone(),
            resource: payload.resource.clone(),
            // Those of the decision.
            scopes: ScopeSet::new(),
        };
        let refreshing =
            (payload.offline && continues).then(|| (given(), payload.password, upstream(&payload)));
        let registered = snapshot.registry.person(&payload.login.person);
        trail.sub = registered.map(|person| person.id.clone());
        trail.aud = payload.resource.as_ref().map(|resource| resource.as_str().to_owned());

        let authorization = mandate_delegation::DecisionRequest::Authorization(Authorization {
            client,
            resource: payload.resource.clone(),
            scopes: payload.scopes.clone(),
            person: payload.login.asserted(),
            jti: self.basis.token_id(now),
            continued: None,
        });
        let mandate = self
            .basis
            .decide(authorization, &snapshot, now)
            .map_err(|withheld| trail.of_authorization(withheld))?;
        let granted = mandate.view().terms.scopes.clone();
        let planned_from = snapshot.edition.version;
        let refreshes = refreshing.map(|(payload, password, upstream)| {
            let payload = RefreshPayload { scopes: granted, ..payload };
            GoesOn { payload, password, upstream, planned_from }
        });
        Ok(Decided { mandate, hash, refreshes })
    }

    /// The content of the code, if the code belongs to this client and is unused.
    async fn presented(
        &self,
        hash: &CodeHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<CodePayload, RequestRefusal> {
        match self.codes.look(*hash, now).await? {
            // A stranger's attempt does not use the code up: it proves nothing, and would lock the right
            // client out.
            StoredCode::Unused(payload) if payload.client != *client => Err(RequestRefusal::CodeOtherClient),
            StoredCode::Unused(payload) => Ok(payload),
            // A used code that is presented again counts as stolen, no matter which client presents it (RFC
            // 6749 §4.1.2).
            StoredCode::Used(..) => Err(self.cut_first_use(hash, now).await),
            StoredCode::Gone => Err(RequestRefusal::CodeUnknown),
        }
    }

    /// Cuts the tokens from the first use of a code. Returns the refusal to give, whether or not there was
    /// anything to cut.
    async fn cut_first_use(&self, hash: &CodeHash, now: Timestamp) -> RequestRefusal {
        let (payload, first) = match self.codes.look(*hash, now).await {
            Ok(StoredCode::Used(payload, Some(first))) => (payload, first),
            Ok(StoredCode::Used(_, None) | StoredCode::Unused(_) | StoredCode::Gone) => {
                return RequestRefusal::CodeReused;
            }
            Err(refusal) => return refusal,
        };
        let CodePayload { login, client, offline, .. } = payload;
        let since = first.made_at().unwrap_or(now);
        // What is stored of the code does not say when its token ends: at the latest so long after it was
        // issued. One that was refreshed may have been issued just now.
        let until = (if offline { now } else { since }).plus(PERSON_TOKEN_LIFETIME);
        let used =
            UsedTwice { what: "an authorization code", login, client, first, since, until, goes_on: offline };
        self.cuts.used_twice(used, now).await.err().unwrap_or(RequestRefusal::CodeReused)
    }
}

/// The login at the identity provider that gave a refresh token.
fn upstream(payload: &CodePayload) -> Option<Upstream> {
    let (login, token) = (payload.login.provider.as_ref()?, payload.upstream.as_ref()?);
    let (provider, good) = (login_key(&login.id.iss), payload.login.logged_in);
    Some(Upstream { provider, token: token.0.clone(), good })
}

/// The code is bound to its redirect URI, challenge and resource (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 8707
/// §2.2).
fn bound(payload: &CodePayload, form: &Form<'_>, issuer: &Issuer) -> Result<(), RequestRefusal> {
    if REDIRECT_URI.read(form)? != payload.redirect_uri {
        return Err(RequestRefusal::CodeRedirect);
    }
    payload.challenge.check(form.get(CODE_VERIFIER.0))?;
    resource::as_authorized(form, payload.resource.as_ref(), issuer)
}
