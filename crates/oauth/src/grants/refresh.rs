//! The refresh token grant (RFC 6749 §6): a login goes on while the person is away.
//!
//! A refresh token is used up by its use and the answer has the next one (RFC 9700 §4.14.2). A client that did not
//! get the answer cannot be told from a thief, so the person logs in again.

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::lifetimes::PERSON_TOKEN_LIFETIME;
use mandate_core::names::{GrantType, Parameter};
use mandate_core::{ClientId, CutTarget, RequestSource, ScopeSet, Subject, Timestamp};
use mandate_delegation::revocation::cut;
use mandate_delegation::{DecisionRequest, Mandate, ProvenClient};
use mandate_store::refresh::{RefreshHash, RefreshState};

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use crate::basis::Basis;
use crate::client::{Caller, Clients};
use crate::conclusion::{Conclusion, TokenResponse};
use crate::cuts::{Cuts, UsedTwice};
use crate::form::Form;
use crate::parameter::{Optional, Required};
use crate::refresh_tokens::{self, RefreshTokens, StoredRefresh};
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::trail::{Recorder, Trail};
use crate::upstream_logins::{Stopped, UpstreamLogins};
use crate::wire::OAuthError;
use crate::{resource, scope};

const REFRESH_TOKEN: Required = Required(Parameter::RefreshToken);
const RESOURCE: Optional = Optional(Parameter::Resource);

/// A refresh token proves that a person has logged in: at another grant it would be ignored, and is refused there.
pub(super) static GRANT: GrantHandler = GrantHandler {
    name: GrantType::RefreshToken,
    parameters: &[&[REFRESH_TOKEN.row().here_only(), RESOURCE.row()], scope::PARAMETERS],
    with: |parts| {
        Box::new(RefreshGrant {
            basis: parts.basis.clone(),
            recorder: parts.recorder.clone(),
            clients: Arc::clone(&parts.clients),
            tokens: Arc::clone(&parts.refresh),
            cuts: Arc::clone(&parts.cuts),
            upstream: Arc::clone(&parts.upstream),
            conclusion: Arc::clone(&parts.conclusion),
        })
    },
};

struct RefreshGrant {
    basis: Basis,
    recorder: Recorder,
    clients: Arc<Clients>,
    tokens: Arc<RefreshTokens>,
    cuts: Arc<Cuts>,
    upstream: Arc<UpstreamLogins>,
    conclusion: Arc<Conclusion>,
}

impl Run for RefreshGrant {
    fn run<'c>(&'c self, call: Call<'c>) -> GrantAnswer<'c> {
        Box::pin(self.refresh(call))
    }
}

impl RefreshGrant {
    async fn refresh(&self, Call { request, form, now }: Call<'_>) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(RecordKind::Token, now, request.source);
        trail.asks(form, None);
        let (mandate, stored, hash) = match self.decide(request, form, &mut trail).await {
            Ok(decided) => decided,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        // The token is used up in the transaction of the record: of two requests at once, one is refused there.
        let (next, rotate) = self.tokens.next(hash, now);
        let person = self.person(&stored);
        let guard = self.tokens.still_counts(stored.login.root.clone(), person, &stored.payload);
        let concluded = self.conclusion.conclude_while(trail, mandate, vec![rotate], None, Some(guard)).await;
        match concluded {
            Ok(response) => Ok(response.with_refresh_token(Some(next))),
            Err((trail, RequestRefusal::RefreshReused)) => {
                let refusal = self.end(&stored, trail.now).await;
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
    ) -> Result<(Mandate, StoredRefresh, RefreshHash), RequestRefusal> {
        let now = trail.now;
        let client = self.client(request, form, trail).await?;
        let hash = refresh_tokens::hash(REFRESH_TOKEN.read(form)?);
        let stored = self.presented(hash, client.id(), trail).await?;
        resource::as_authorized(form, stored.payload.resource.as_ref(), self.basis.issuer())?;
        let scopes = narrowed(form, &stored.payload.scopes)?;
        trail.known();
        match self.upstream.goes_on(&stored).await {
            Ok(()) => {}
            Err(Stopped::Ended(why)) => return Err(self.over(&stored, why, now).await),
            Err(Stopped::Refused(refusal)) => return Err(refusal),
        }
        // A client secret may have waited for its turn to be checked, and a provider may have taken its time.
        let snapshot = self.basis.snapshot();
        let request = stored.authorization(client, scopes, self.basis.token_id(now));
        let mandate = self
            .basis
            .decide(DecisionRequest::Authorization(request), &snapshot, now)
            .map_err(|withheld| trail.of_authorization(withheld))?;
        Ok((mandate, stored, hash))
    }

    /// The client, if it is one that may refresh tokens.
    async fn client(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<ProvenClient, RequestRefusal> {
        let snapshot = self.basis.snapshot();
        let client = match self.clients.authenticate(request, form, &snapshot, trail).await? {
            Caller::App(client) | Caller::Public(client) => client,
            Caller::Unattested(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Unattested)),
            Caller::Agent(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::RefreshByAgent)),
        };
        trail.client = Some(client.id().shared());
        if snapshot.registry.client(client.id()).is_none_or(|client| !client.refresh) {
            return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Refresh));
        }
        Ok(client)
    }

    /// What the login gave, if the token belongs to this client and can be used.
    async fn presented(
        &self,
        hash: RefreshHash,
        client: &ClientId,
        trail: &mut Trail,
    ) -> Result<StoredRefresh, RequestRefusal> {
        let now = trail.now;
        let stored = self.tokens.look(hash, now).await?.ok_or(RequestRefusal::RefreshUnknown)?;
        match stored.state {
            // A used token that is presented again counts as stolen, no matter which client presents it.
            RefreshState::Used => return Err(self.end(&stored, now).await),
            // A stranger's attempt does not use the token up: it would lock the right client out.
            _ if stored.payload.client != *client => return Err(RequestRefusal::RefreshOtherClient),
            RefreshState::Ended => return Err(RequestRefusal::RefreshEnded),
            RefreshState::Expired => return Err(RequestRefusal::RefreshUnknown),
            RefreshState::Unused => {}
        }
        trail.sub = Some(self.person(&stored));
        let resource = stored.payload.resource.as_ref();
        trail.aud = resource.map(|resource| resource.as_str().to_owned());
        Ok(stored)
    }

    /// Ends a login one of whose tokens was used twice. Returns the refusal to give.
    async fn end(&self, stored: &StoredRefresh, now: Timestamp) -> RequestRefusal {
        let used = UsedTwice {
            what: "a refresh token",
            login: stored.payload.login.clone(),
            client: stored.payload.client.clone(),
            first: stored.login.root.clone(),
            since: stored.payload.login.logged_in,
            until: now.plus(PERSON_TOKEN_LIFETIME),
            goes_on: true,
        };
        self.cuts.used_twice(used, now).await.err().unwrap_or(RequestRefusal::RefreshReused)
    }

    /// Ends a login that has ended at the provider. Returns the refusal to give.
    async fn over(&self, stored: &StoredRefresh, why: String, now: Timestamp) -> RequestRefusal {
        let root = stored.login.root.clone();
        let mut trail = Trail::new(RecordKind::Revoke, now, RequestSource::Other);
        trail.known();
        trail.sub = Some(self.person(stored));
        trail.note = Some(why);
        let cut = cut(CutTarget::Token(root.clone()), now);
        self.cuts.make(trail, cut, Some(root), None).await.err().unwrap_or(RequestRefusal::RefreshEnded)
    }

    fn person(&self, stored: &StoredRefresh) -> Subject {
        stored.payload.login.subject(self.basis.issuer())
    }
}

/// What is asked for of `granted`: all of it, or less (RFC 6749 §6).
fn narrowed(form: &Form<'_>, granted: &ScopeSet) -> Result<ScopeSet, RequestRefusal> {
    match scope::asked_of_a_login(form)? {
        (None, _) => Ok(granted.clone()),
        (Some(asked), _) if asked.is_subset(granted) => Ok(asked),
        (Some(_), _) => Err(RequestRefusal::ScopeNotGranted),
    }
}
