//! The authorization code grant (RFC 6749 §4.1.3).

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::lifetimes::PERSON_TOKEN_LIFETIME;
use mandate_core::names::{GrantType, Parameter};
use mandate_core::registry::RegistryVersion;
use mandate_core::{ClientId, Issuer, ScopeSet, Timestamp};
use mandate_delegation::{
    Authorization, DecisionRequest, DelegatedLogin, LoginClient, Mandate, ProvenClient,
};
use mandate_store::Effect;
use mandate_store::codes::CodeHash;

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use crate::actor_token::{self, ActorTokens};
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
        Box::new(CodeGrant {
            basis: parts.basis.clone(),
            recorder: parts.recorder.clone(),
            clients: Arc::clone(&parts.clients),
            actors: Arc::clone(&parts.actors),
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
    refreshes: Option<(RefreshPayload, Option<[u8; 32]>, RegistryVersion)>,
}

struct CodeGrant {
    basis: Basis,
    recorder: Recorder,
    clients: Arc<Clients>,
    actors: Arc<ActorTokens>,
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
            Err(refusal) => {
                // What the actor token claims is of interest only now: a refusal names whom it was about.
                trail.asks(form, actor_token::claimed(form).as_deref());
                return Err(self.recorder.refuse(trail, refusal).await);
            }
        };
        let now = trail.now;
        // The code is used up in the transaction of the record: of two requests at once, one is refused
        // there.
        let jti = mandate.view().terms.jti.clone();
        let mut effects = vec![Effect::RedeemCode { hash, token: jti.clone(), at: now }];
        let (mut refresh, mut guard) = (None, None);
        if let (Some((payload, password, planned_from)), Some(person)) =
            (refreshes, mandate.view().terms.subject.clone())
        {
            let decided = Decision { code: hash, password, planned_from };
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
        let actor = match (&payload.actor, sent) {
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
                Some((requested.clone(), verified))
            }
        };
        let now = trail.now;
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
        let refreshing = (payload.offline && continues).then(|| (given(), payload.password));
        let registered = snapshot.registry.person(&payload.login.person);
        trail.sub = registered.map(|person| person.id.clone());
        trail.aud = payload.resource.as_ref().map(|resource| resource.as_str().to_owned());

        let (person, jti) = (payload.login.asserted(), self.basis.token_id(now));
        let (resource, scopes) = (payload.resource.clone(), payload.scopes.clone());
        let mandate = match actor {
            None => {
                let own = Authorization { client, resource, scopes, person, jti, continued: None };
                let decided = self.basis.decide(DecisionRequest::Authorization(own), &snapshot, now);
                decided.map_err(|withheld| trail.of_authorization(withheld))?
            }
            Some((requested, actor)) => {
                let resource = resource.ok_or(RequestRefusal::ResourceMissing)?;
                let client = proven(caller)?;
                let login = DelegatedLogin { client, person, actor, requested, resource, scopes, jti };
                let decided = self.basis.decide(DecisionRequest::DelegatedLogin(login), &snapshot, now);
                decided.map_err(|withheld| trail.of_delegated_login(withheld))?
            }
        };
        let granted = mandate.view().terms.scopes.clone();
        let refreshes = refreshing.map(|(payload, password)| {
            (RefreshPayload { scopes: granted, ..payload }, password, snapshot.edition.version)
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
    resource::as_authorized(form, payload.resource.as_ref(), issuer)
}
