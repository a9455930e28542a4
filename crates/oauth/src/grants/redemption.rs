//! What a person's login gave, redeemed once: by an authorization code or by a device code.

use std::sync::Arc;

use mandate_core::lifetimes::PERSON_TOKEN_LIFETIME;
use mandate_core::registry::{RegistryVersion, login_key};
use mandate_core::{ScopeSet, SpiffeId, Timestamp};
use mandate_delegation::{
    Authorization, DecisionRequest, DelegatedLogin, LoginClient, Mandate, ProvenClient, VerifiedActor,
};
use mandate_live::Snapshot;
use mandate_store::Effect;
use mandate_store::codes::CodeHash;
use mandate_store::refresh::Upstream;

use super::handler::GrantParts;
use crate::basis::Basis;
use crate::codes::{Codes, Granted, StoredCode};
use crate::conclusion::{Conclusion, TokenResponse};
use crate::cuts::{Cuts, UsedTwice};
use crate::refresh_tokens::{Decision, RefreshPayload, RefreshTokens};
use crate::refusal::RequestRefusal;
use crate::trail::{Recorder, Trail};
use crate::wire::OAuthError;

/// What can be redeemed.
pub(super) struct Redeemable {
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

/// The agent for which a person gave a code, and its proof.
pub(super) struct ForAgent {
    /// The client that presents it.
    pub(super) client: ProvenClient,
    pub(super) actor: VerifiedActor,
    /// To which agent the person consented.
    pub(super) requested: SpiffeId,
}

/// What may be presented once.
#[derive(Clone, Copy)]
pub(super) struct Once {
    /// What it is, for the record of a second use.
    pub(super) what: &'static str,
    /// The refusal of a second use.
    pub(super) reused: fn() -> RequestRefusal,
}

/// Redeems what logins gave.
pub(super) struct Redemption {
    basis: Basis,
    recorder: Recorder,
    codes: Arc<Codes>,
    refresh: Arc<RefreshTokens>,
    cuts: Arc<Cuts>,
    conclusion: Arc<Conclusion>,
    once: Once,
}

impl Redemption {
    pub(super) fn new(parts: &GrantParts, once: Once) -> Self {
        Self {
            basis: parts.basis.clone(),
            recorder: parts.recorder.clone(),
            codes: Arc::clone(&parts.codes),
            refresh: Arc::clone(&parts.refresh),
            cuts: Arc::clone(&parts.cuts),
            conclusion: Arc::clone(&parts.conclusion),
            once,
        }
    }

    /// Decides on what `granted` says, which `client` has presented by the code with this hash.
    pub(super) fn decide(
        &self,
        client: LoginClient,
        (hash, granted): (CodeHash, &Granted),
        for_agent: Option<ForAgent>,
        snapshot: &Snapshot,
        trail: &mut Trail,
    ) -> Result<Redeemable, RequestRefusal> {
        // What the client's entry says now, and not at the login.
        let continues = match &client {
            LoginClient::App(client) => client
                .confirmed(&snapshot.registry, &snapshot.revocations)
                .is_some_and(|client| client.refresh),
            LoginClient::Unattested(_) => false,
        };
        let given = || RefreshPayload {
            client: granted.client.clone(),
            login: granted.login.clone(),
            resource: granted.resource.clone(),
            // Those of the decision.
            scopes: ScopeSet::new(),
        };
        let refreshing =
            (granted.offline && continues).then(|| (given(), granted.password, upstream(granted)));
        let registered = snapshot.registry.person(&granted.login.person);
        trail.sub = registered.map(|person| person.id.clone());
        trail.aud = granted.resource.as_ref().map(|resource| resource.as_str().to_owned());

        let (now, person) = (trail.now, granted.login.asserted());
        let (resource, scopes, jti) =
            (granted.resource.clone(), granted.scopes.clone(), self.basis.token_id(now));
        let mandate = match for_agent {
            None => {
                let own = Authorization { client, resource, scopes, person, jti, continued: None };
                let decided = self.basis.decide(DecisionRequest::Authorization(own), snapshot, now);
                decided.map_err(|withheld| trail.of_authorization(withheld))?
            }
            Some(ForAgent { client, actor, requested }) => {
                let resource = resource.ok_or(RequestRefusal::ResourceMissing)?;
                let login = DelegatedLogin { client, person, actor, requested, resource, scopes, jti };
                let decided = self.basis.decide(DecisionRequest::DelegatedLogin(login), snapshot, now);
                decided.map_err(|withheld| trail.of_delegated_login(withheld))?
            }
        };
        let scopes = mandate.view().terms.scopes.clone();
        let planned_from = snapshot.edition.version;
        let refreshes = refreshing.map(|(payload, password, upstream)| {
            let payload = RefreshPayload { scopes, ..payload };
            GoesOn { payload, password, upstream, planned_from }
        });
        Ok(Redeemable { mandate, hash, refreshes })
    }

    /// Records what was decided, and gives the token. What was presented is used up in the transaction of the
    /// record: of two requests at once, one is refused there.
    pub(super) async fn conclude(
        &self,
        trail: Trail,
        decided: Result<Redeemable, RequestRefusal>,
    ) -> Result<TokenResponse, OAuthError> {
        let now = trail.now;
        let Redeemable { mandate, hash, refreshes } = match decided {
            Ok(decided) => decided,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
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

    /// Cuts the tokens from the first use of what was presented again (RFC 6749 §4.1.2). Returns the refusal to
    /// give, whether or not there was anything to cut.
    pub(super) async fn cut_first_use(&self, hash: &CodeHash, now: Timestamp) -> RequestRefusal {
        let (granted, first) = match self.codes.look::<Granted>(*hash, now).await {
            Ok(StoredCode::Used(granted, Some(first))) => (granted, first),
            Ok(StoredCode::Used(_, None) | StoredCode::Unused(_) | StoredCode::Gone) => {
                return (self.once.reused)();
            }
            Err(refusal) => return refusal,
        };
        let Granted { login, client, offline, .. } = granted;
        let since = first.made_at().unwrap_or(now);
        // What is stored does not say when its token ends: at the latest so long after it was issued. One that
        // was refreshed may have been issued just now.
        let until = (if offline { now } else { since }).plus(PERSON_TOKEN_LIFETIME);
        let what = self.once.what;
        let used = UsedTwice { what, login, client, first, since, until, goes_on: offline };
        self.cuts.used_twice(used, now).await.err().unwrap_or_else(self.once.reused)
    }
}

/// The login at the identity provider that gave a refresh token.
fn upstream(granted: &Granted) -> Option<Upstream> {
    let (login, token) = (granted.login.provider.as_ref()?, granted.upstream.as_ref()?);
    let (provider, good) = (login_key(&login.id.iss), granted.login.logged_in);
    Some(Upstream { provider, token: token.0.clone(), good })
}
