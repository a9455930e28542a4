//! The authorization endpoint up to the login (RFC 6749 §4.1.1): a request that can be refused is refused
//! before the person types a password.
//!
//! Nothing is sent to the redirect URI until it is known to belong to the client: it could be an attacker's
//! (RFC 6749 §4.1.2.1).

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::RecordKind;
use mandate_core::lifetimes::REFRESH_LIFETIME;
use mandate_core::names::{ErrorCode, Parameter, ResponseParameter, ResponseType};
use mandate_core::registry::{Registry, Resource};
use mandate_core::uri::same;
use mandate_core::{
    AgentName, ClientId, Issuer, RequestSource, ResourceUri, Scope, ScopeSet, SelfDescribed, SpiffeId,
    Timestamp,
};
use mandate_delegation::{LoggedInPerson, NotRequestable, RefusalReason, requestable};

use crate::asking_client::AskingClient;
use crate::codes::{CodePayload, Granted};
use crate::engine::Engine;
use crate::form::Form;
use crate::parameter::{Required, without_details};
use crate::pkce::Challenge;
use crate::pushed_requests::{Moment, Pushed};
use crate::redirect::{is_loopback_uri, is_registered, with_parameters};
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::resource::{self, is_administration};
use crate::scope;
use crate::stored_login::StoredLogin;
use crate::trail::Trail;
use crate::wire::OAuthError;

/// A valid authorization request: only the login is missing.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    pub(crate) source: RequestSource,
    pub(crate) back: Back,
    challenge: Challenge,
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) scopes: Option<ScopeSet>,
    /// The agent that will act, with its name in the registry.
    pub(crate) actor: Option<(SpiffeId, AgentName)>,
    pub(crate) offline: bool,
    /// The pushed request that these parameters were in, which gives one code.
    pub(crate) pushed: Option<Arc<Pushed>>,
}

impl AuthorizationRequest {
    /// The id of the client that asks. For the login page.
    pub fn client_id(&self) -> &ClientId {
        self.back.client.id()
    }

    /// What the client says of itself, if it describes itself. The login page must say that nothing proves
    /// it.
    pub fn unattested(&self) -> Option<&SelfDescribed> {
        match &self.back.client {
            AskingClient::App(_) => None,
            AskingClient::Unattested(client) => Some(client),
        }
    }

    /// Where the browser will be sent. For the login page.
    pub fn redirect_uri(&self) -> &str {
        &self.back.redirect_uri
    }

    /// The resource that the token is for; `None`: the token is for this server, to be exchanged.
    pub fn resource(&self) -> Option<&ResourceUri> {
        self.resource.as_ref()
    }

    /// The scopes that are asked for; `None`: all that the person has.
    pub fn scopes(&self) -> Option<&ScopeSet> {
        self.scopes.as_ref()
    }

    /// The agent that will act for the person, if the request is for one. The login page must say so.
    pub fn actor(&self) -> Option<(&SpiffeId, &AgentName)> {
        self.actor.as_ref().map(|(id, name)| (id, name))
    }

    /// For how long after the login the client will be able to act for the person while they are away, if it
    /// asks for that and may. The login page must say so.
    pub fn offline_for(&self) -> Option<Duration> {
        self.offline.then_some(REFRESH_LIFETIME)
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            source: self.source,
            client: &self.back.client,
            resource: self.resource.as_ref(),
            scopes: self.scopes.as_ref(),
            actor: self.actor.as_ref().map(|(id, _)| id),
        }
    }

    /// The content of a code for this request once `person` has logged in. `password`: SHA-256 of the stored
    /// hash of the password, if it was by one.
    pub(crate) fn code_for(&self, person: &LoggedInPerson, password: Option<[u8; 32]>) -> CodePayload {
        CodePayload {
            redirect_uri: self.back.redirect_uri.clone(),
            challenge: self.challenge.clone(),
            actor: self.actor.as_ref().map(|(id, _)| id.clone()),
            granted: Granted {
                client: self.back.client.id().clone(),
                login: StoredLogin::of(person),
                resource: self.resource.clone(),
                scopes: self.scopes.clone(),
                offline: self.offline,
                password,
                upstream: None,
            },
        }
    }
}

/// What a client wants from the login of a person, however its answer comes back.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) source: RequestSource,
    pub(crate) client: &'a AskingClient,
    pub(crate) resource: Option<&'a ResourceUri>,
    pub(crate) scopes: Option<&'a ScopeSet>,
    /// The agent that is to act.
    pub(crate) actor: Option<&'a SpiffeId>,
}

/// A client and its checked redirect URI: errors may be sent there.
#[derive(Clone, Debug)]
pub(crate) struct Back {
    pub(crate) client: AskingClient,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
}

impl Back {
    /// Whether the browser may go there before a person has seen where. Anybody can register any address for
    /// themselves, so a link to us must not lead there (RFC 9700 §4.11.2); a loopback host is the person's own
    /// machine.
    fn may_be_gone_to_at_once(&self) -> bool {
        match &self.client {
            AskingClient::App(_) => true,
            AskingClient::Unattested(_) => is_loopback_uri(&self.redirect_uri),
        }
    }

    /// The redirect with these parameters, `state` and `iss` (RFC 9207 §2: on success and on error).
    pub(crate) fn to(&self, issuer: &Issuer, parameters: &[(ResponseParameter, &str)]) -> String {
        let mut all = parameters.to_vec();
        if let Some(state) = &self.state {
            all.push((ResponseParameter::State, state));
        }
        all.push((ResponseParameter::Iss, issuer.as_str()));
        with_parameters(&self.redirect_uri, &all)
    }

    /// The redirect that tells the client of a refusal.
    pub(crate) fn with_error(&self, issuer: &Issuer, error: &OAuthError) -> String {
        // RFC 6749 §4.1.2.1 has no invalid_grant; there it is access_denied.
        let code = if error.error == ErrorCode::InvalidGrant { ErrorCode::AccessDenied } else { error.error };
        let parameters = [
            (ResponseParameter::Error, code.as_str()),
            (ResponseParameter::ErrorDescription, &error.description),
        ];
        self.to(issuer, &parameters)
    }
}

/// A refused authorization request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizeRefusal {
    /// Show a page; send the browser nowhere.
    Page(OAuthError),
    /// Send the browser back to the client with the error.
    Redirect {
        /// The `Location`, for a 303.
        location: String,
        /// The error it carries.
        error: OAuthError,
    },
}

impl AuthorizeRefusal {
    /// The error, either way.
    pub fn error(&self) -> &OAuthError {
        match self {
            Self::Page(error) | Self::Redirect { error, .. } => error,
        }
    }
}

impl Engine {
    /// The most that a token for `request` can permit. The person who logs in may have fewer rights. For the
    /// login page, which strangers see: it says no more than the metadata, so not which resource has which
    /// scope.
    pub fn at_most(&self, request: &AuthorizationRequest) -> ScopeSet {
        self.most_of(&request.wanted())
    }

    pub(crate) fn most_of(&self, wanted: &Wanted<'_>) -> ScopeSet {
        let snapshot = self.basis.snapshot();
        let is_meant = |one: &Resource| match wanted.resource {
            Some(uri) => one.uri == *uri,
            // A token that is to be exchanged never carries our own administration.
            None => !is_administration(one, self.issuer()),
        };
        let resources = snapshot.registry.resources().filter(|one| is_meant(one));
        let of = |one: &Arc<Resource>| match wanted.scopes {
            Some(asked) => one.scopes.intersection(asked),
            None => one.scopes.clone(),
        };
        resources.map(of).fold(ScopeSet::new(), |all, scopes| all.union(&scopes))
    }

    /// Validates an authorization request from its query string, sent from `source`. Nothing is issued yet
    /// and the person is not asked yet; a refusal is recorded.
    ///
    /// The query has the parameters, or names a request that was pushed before ([`Engine::push`]).
    pub async fn authorize(
        &self,
        query: &[u8],
        source: RequestSource,
    ) -> Result<AuthorizationRequest, AuthorizeRefusal> {
        self.requested(query, source, Moment::Begins).await
    }

    /// As [`Engine::authorize`], when the login that began by it goes on: a pushed request counts for longer
    /// then.
    pub async fn authorize_again(
        &self,
        query: &[u8],
        source: RequestSource,
    ) -> Result<AuthorizationRequest, AuthorizeRefusal> {
        self.requested(query, source, Moment::GoesOn).await
    }

    async fn requested(
        &self,
        query: &[u8],
        source: RequestSource,
        moment: Moment,
    ) -> Result<AuthorizationRequest, AuthorizeRefusal> {
        let mut trail = Trail::new(RecordKind::Authorize, self.basis.now(), source);
        let snapshot = self.basis.snapshot();
        let read = Form::parse(query).map_err(RequestRefusal::Form);
        let read = read.and_then(|form| Ok((self.pushed.named(&form, moment, trail.now)?, form)));
        let (pushed, sent) = match read {
            Ok(read) => read,
            Err(refusal) => return Err(AuthorizeRefusal::Page(self.recorder.refuse(trail, refusal).await)),
        };
        let form = match &pushed {
            None => sent,
            Some(pushed) => match Form::parse(pushed.query.as_bytes()) {
                Ok(form) => form,
                Err(error) => {
                    let refusal = RequestRefusal::Form(error);
                    return Err(AuthorizeRefusal::Page(self.recorder.refuse(trail, refusal).await));
                }
            },
        };
        trail.asks(&form, form.get(Parameter::RequestedActor));
        let back = match self.way_back(&form, &snapshot.registry, trail.now).await {
            Ok(back) => back,
            Err(refusal) => return Err(AuthorizeRefusal::Page(self.recorder.refuse(trail, refusal).await)),
        };
        // A client is not authenticated here, but its registered redirect URI has been checked.
        trail.client = Some(back.client.id().shared());
        let valid = if pushed.is_none() && back.client.must_push() {
            Err(RequestRefusal::PushRequired)
        } else if pushed.is_none() && form.has(Parameter::RequestedActor) {
            Err(RequestRefusal::ActorNotPushed)
        } else {
            validate(&form, back.clone(), source, self.issuer(), &snapshot.registry)
        };
        drop(form);
        match valid {
            Ok(request) => Ok(AuthorizationRequest { pushed: pushed.map(Arc::new), ..request }),
            Err(refusal) => {
                let error = self.recorder.refuse(trail, refusal).await;
                Err(if back.may_be_gone_to_at_once() {
                    AuthorizeRefusal::Redirect { location: back.with_error(self.issuer(), &error), error }
                } else {
                    AuthorizeRefusal::Page(error)
                })
            }
        }
    }

    /// Client and redirect URI. Until both are correct, nothing may be sent to the redirect URI. An entry of
    /// the registry comes before a client that describes itself.
    pub(crate) async fn way_back(
        &self,
        form: &Form<'_>,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<Back, RequestRefusal> {
        let unknown = RequestRefusal::Unacceptable(Parameter::ClientId);
        let id: ClientId = Required(Parameter::ClientId).read(form)?.parse().map_err(|_| unknown.clone())?;
        if form.has(Parameter::RequestUri) && !form.has(Parameter::RedirectUri) {
            // It is in the request object, where nobody looks.
            return Err(RequestRefusal::RequestUri);
        }
        let client = if let Some(client) = registry.client(&id) {
            AskingClient::App(Arc::clone(client))
        } else {
            if id.metadata_url().is_some() {
                // No document is fetched for a request that cannot go on.
                Required(Parameter::RedirectUri).read(form)?;
            }
            let found = self.self_described.find(&id, registry, now).await?;
            AskingClient::Unattested(found.ok_or(unknown)?)
        };
        let redirect_uri = Required(Parameter::RedirectUri).read(form)?;
        if !is_registered(redirect_uri, client.redirect_uris()) {
            return Err(RequestRefusal::Redirect);
        }
        let state = form.get(Parameter::State).map(str::to_owned);
        Ok(Back { client, redirect_uri: redirect_uri.to_owned(), state })
    }
}

/// A request whose client and redirect URI are known, from its parameters.
pub(crate) fn validate(
    form: &Form<'_>,
    back: Back,
    source: RequestSource,
    issuer: &Issuer,
    registry: &Registry,
) -> Result<AuthorizationRequest, RequestRefusal> {
    no_request_object(form)?;
    nothing_of_an_exchange(form)?;
    without_details(form)?;
    response_is_code_in_query(form)?;
    let challenge = Challenge::from_parameters(
        form.get(Parameter::CodeChallenge),
        form.get(Parameter::CodeChallengeMethod),
    )?;
    let Asking { resource, scopes, offline } = asking(form, &back.client, issuer, registry)?;
    let actor = requested_actor(form, &back.client, resource.as_ref(), registry)?;
    // An agent acts with a token of its own each time.
    let offline = offline && actor.is_none();
    Ok(AuthorizationRequest { source, back, challenge, resource, scopes, actor, offline, pushed: None })
}

/// The agent that the client asks the person to let act, by its SPIFFE ID (OAuth for AI agents on behalf of
/// users, draft -02 §4.1). It is refused, and never ignored, if it cannot be given.
fn requested_actor(
    form: &Form<'_>,
    client: &AskingClient,
    resource: Option<&ResourceUri>,
    registry: &Registry,
) -> Result<Option<(SpiffeId, AgentName)>, RequestRefusal> {
    const PARAMETER: Parameter = Parameter::RequestedActor;
    let Some(named) = form.get(PARAMETER) else { return Ok(None) };
    let id: SpiffeId = named.parse().map_err(|_| RequestRefusal::Unacceptable(PARAMETER))?;
    let not_allowed = RequestRefusal::ClientNotAllowed(NotAllowed::RequestActor);
    let Some(client) = client.confidential() else { return Err(not_allowed) };
    let name = requestable(client, &id, registry).map_err(|why| match why {
        NotRequestable::Agent => RequestRefusal::Unacceptable(PARAMETER),
        NotRequestable::Client => not_allowed,
    })?;
    // The person lets it act at one place.
    if resource.is_none() {
        return Err(RequestRefusal::ResourceMissing);
    }
    Ok(Some((id, name.clone())))
}

/// What a client asks a person to allow.
pub(crate) struct Asking {
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) scopes: Option<ScopeSet>,
    pub(crate) offline: bool,
}

/// What the parameters of `client` ask a person to allow.
pub(crate) fn asking(
    form: &Form<'_>,
    client: &AskingClient,
    issuer: &Issuer,
    registry: &Registry,
) -> Result<Asking, RequestRefusal> {
    let (asked, offline) = scope::asked_of_a_login(form)?;
    let resource = known_resource(form, asked.as_ref(), issuer, registry)?;
    let scopes = narrowed(asked.as_ref(), client, resource.as_ref(), issuer, registry)?;
    // OpenID Connect Core 1.0 §11: where it cannot be given, it is ignored. Operators administrate while they are
    // there.
    let administration = resource.as_ref().is_some_and(|uri| same(uri.as_str(), issuer.as_str()));
    let offline = offline && client.may_refresh() && !administration;
    Ok(Asking { resource, scopes, offline })
}

/// RFC 9101 §7: request objects are not supported, so they are refused, never ignored. A `request_uri` of
/// ours names no request object; it was resolved before.
pub(crate) fn no_request_object(form: &Form<'_>) -> Result<(), RequestRefusal> {
    if form.has(Parameter::Request) {
        return Err(RequestRefusal::RequestObject);
    }
    if form.has(Parameter::RequestUri) { Err(RequestRefusal::RequestUri) } else { Ok(()) }
}

/// Only the person is proven here, later. A client that sends tokens must not get a token without them.
pub(crate) fn nothing_of_an_exchange(form: &Form<'_>) -> Result<(), RequestRefusal> {
    let of_exchanges = [
        Parameter::ActorToken,
        Parameter::ActorTokenType,
        Parameter::SubjectToken,
        Parameter::SubjectTokenType,
    ];
    match of_exchanges.into_iter().find(|parameter| form.has(*parameter)) {
        Some(parameter) => Err(RequestRefusal::Misplaced(parameter)),
        None => Ok(()),
    }
}

fn response_is_code_in_query(form: &Form<'_>) -> Result<(), RequestRefusal> {
    if ResponseType::named(Required(Parameter::ResponseType).read(form)?) != Some(ResponseType::Code) {
        return Err(RequestRefusal::ResponseType);
    }
    match form.get(Parameter::ResponseMode) {
        None | Some("query") => Ok(()),
        Some(_) => Err(RequestRefusal::Unacceptable(Parameter::ResponseMode)),
    }
}

/// At most one resource, which must be registered, before the login. None, or our issuer: a token to be
/// exchanged here. Our own administration has the issuer as its URI; the request means it only if it asks for
/// its scopes, and no others.
fn known_resource(
    form: &Form<'_>,
    scopes: Option<&ScopeSet>,
    issuer: &Issuer,
    registry: &Registry,
) -> Result<Option<ResourceUri>, RequestRefusal> {
    let mut all = form.all(Parameter::Resource);
    let Some(resource) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(RequestRefusal::ResourceRepeated);
    }
    let uri = resource::named(resource, registry)?;
    let registered = registry.resource_by_uri(&uri);
    if same(uri.as_str(), issuer.as_str()) {
        let administration =
            registered.is_some_and(|ours| scopes.is_some_and(|asked| asked.is_subset(&ours.scopes)));
        return Ok(administration.then_some(uri));
    }
    if registered.is_some() { Ok(Some(uri)) } else { Err(RequestRefusal::ResourceUnknown(None)) }
}

/// The requested scopes that the resource has and that the client may ask for. The `scope` of the answer
/// shows the client which scopes were left out (RFC 6749 §3.3). If nothing is left, the client gets an error
/// before the person types a password.
fn narrowed(
    asked: Option<&ScopeSet>,
    client: &AskingClient,
    resource: Option<&ResourceUri>,
    issuer: &Issuer,
    registry: &Registry,
) -> Result<Option<ScopeSet>, RequestRefusal> {
    let target = resource.and_then(|uri| registry.resource_by_uri(uri));
    // Without a resource the token is for us, to be exchanged; it never carries our own administration.
    let kept = registry
        .resources()
        .find(|resource| is_administration(resource, issuer))
        .filter(|_| target.is_none());
    let open = |scope: &Scope| kept.is_none_or(|own| !own.scopes.contains(scope));
    let within = |set: &ScopeSet, of: &dyn Fn(&Resource) -> ScopeSet| -> ScopeSet {
        let targets =
            registry.resources().filter(|resource| target.is_none_or(|target| target.name == resource.name));
        let sets = targets.map(|resource| set.intersection(&of(resource)));
        sets.flat_map(|set| set.iter().cloned().collect::<Vec<_>>()).filter(|scope| open(scope)).collect()
    };
    let askable = |resource: &Resource| client.may_ask_of(resource, issuer, target.is_some());
    let left = match (asked, client) {
        (None, AskingClient::App(app)) => match &app.scopes {
            // Everything that the person may delegate at that time.
            None => return Ok(None),
            Some(listed) => within(listed, &askable),
        },
        (None, AskingClient::Unattested(_)) => target.map(|target| askable(target)).unwrap_or_default(),
        (Some(asked), _) if within(asked, &|resource| resource.scopes.clone()).is_empty() => {
            return Err(RequestRefusal::Authorization(RefusalReason::ScopeUnknown));
        }
        (Some(asked), _) => within(asked, &askable),
    };
    if left.is_empty() {
        Err(RequestRefusal::Authorization(RefusalReason::ScopeBeyondClient))
    } else {
        Ok(Some(left))
    }
}
