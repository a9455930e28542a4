//! The authorization endpoint up to the login (RFC 6749 §4.1.1): a request that can be refused is refused
//! before the person types a password.
//!
//! Nothing is sent to the redirect URI until it is known to belong to the client: it could be an attacker's
//! (RFC 6749 §4.1.2.1).

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Asked, RecordKind};
use mandate_core::lifetimes::REFRESH_LIFETIME;
use mandate_core::names::{ErrorCode, Parameter, ResponseParameter, ResponseType};
use mandate_core::registry::{Registry, Resource};
use mandate_core::uri::same;
use mandate_core::{ClientId, Issuer, RequestSource, ResourceUri, Scope, ScopeSet, SelfDescribed, Timestamp};
use mandate_delegation::{LoggedInPerson, RefusalReason};

use crate::asking_client::AskingClient;
use crate::codes::CodePayload;
use crate::engine::Engine;
use crate::form::Form;
use crate::parameter::{NEVER_IGNORED, Required};
use crate::pkce::Challenge;
use crate::redirect::{is_loopback_uri, is_registered, with_parameters};
use crate::refusal::RequestRefusal;
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
    pub(crate) offline: bool,
}

impl AuthorizationRequest {
    /// The id of the client that asks. For the login page.
    pub fn client_id(&self) -> &ClientId {
        self.back.client.id()
    }

    /// What the client says of itself, if it describes itself. The login page must say that nothing proves it.
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

    /// For how long after the login the client will be able to act for the person while they are away, if it
    /// asks for that and may. The login page must say so.
    pub fn offline_for(&self) -> Option<Duration> {
        self.offline.then_some(REFRESH_LIFETIME)
    }

    /// The content of a code for this request once `person` has logged in. `password`: SHA-256 of the stored
    /// hash of the password, if it was by one.
    pub(crate) fn code_for(&self, person: &LoggedInPerson, password: Option<[u8; 32]>) -> CodePayload {
        CodePayload {
            client: self.back.client.id().clone(),
            redirect_uri: self.back.redirect_uri.clone(),
            challenge: self.challenge.clone(),
            login: StoredLogin::of(person),
            resource: self.resource.clone(),
            scopes: self.scopes.clone(),
            offline: self.offline,
            password,
            upstream: None,
        }
    }
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
        let snapshot = self.basis.snapshot();
        let is_meant = |one: &Resource| match &request.resource {
            Some(uri) => one.uri == *uri,
            // A token that is to be exchanged never carries our own administration.
            None => !is_administration(one, self.issuer()),
        };
        let resources = snapshot.registry.resources().filter(|one| is_meant(one));
        let of = |one: &Arc<Resource>| match &request.scopes {
            Some(asked) => one.scopes.intersection(asked),
            None => one.scopes.clone(),
        };
        resources.map(of).fold(ScopeSet::new(), |all, scopes| all.union(&scopes))
    }

    /// Validates an authorization request from its query string, sent from `source`. Nothing is issued yet
    /// and the person is not asked yet; a refusal is recorded.
    pub async fn authorize(
        &self,
        query: &[u8],
        source: RequestSource,
    ) -> Result<AuthorizationRequest, AuthorizeRefusal> {
        let mut trail = Trail::new(RecordKind::Authorize, self.basis.now(), source);
        let snapshot = self.basis.snapshot();
        let form = match Form::parse(query) {
            Ok(form) => form,
            Err(error) => {
                return Err(AuthorizeRefusal::Page(
                    self.recorder.refuse(trail, RequestRefusal::Form(error)).await,
                ));
            }
        };
        trail.asked = Asked::new(form.get(Parameter::Resource), form.get(Parameter::Scope), None);
        let back = match self.way_back(&form, &snapshot.registry, trail.now).await {
            Ok(back) => back,
            Err(refusal) => return Err(AuthorizeRefusal::Page(self.recorder.refuse(trail, refusal).await)),
        };
        // A client is not authenticated here, but its registered redirect URI has been checked.
        trail.client = Some(back.client.id().shared());
        match validate(&form, back.clone(), source, self.issuer(), &snapshot.registry) {
            Ok(request) => Ok(request),
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

    /// Client and redirect URI. Until both are correct, nothing may be sent to the redirect URI. An entry of the
    /// registry comes before a client that describes itself.
    async fn way_back(
        &self,
        form: &Form<'_>,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<Back, RequestRefusal> {
        let unknown = RequestRefusal::Unacceptable(Parameter::ClientId);
        let id: ClientId = Required(Parameter::ClientId).read(form)?.parse().map_err(|_| unknown.clone())?;
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

fn validate(
    form: &Form<'_>,
    back: Back,
    source: RequestSource,
    issuer: &Issuer,
    registry: &Registry,
) -> Result<AuthorizationRequest, RequestRefusal> {
    no_request_object(form)?;
    nothing_of_an_actor(form)?;
    response_is_code_in_query(form)?;
    let challenge = Challenge::from_parameters(
        form.get(Parameter::CodeChallenge),
        form.get(Parameter::CodeChallengeMethod),
    )?;
    let (asked, offline) = scope::asked_of_a_login(form)?;
    let resource = known_resource(form, asked.as_ref(), issuer, registry)?;
    let scopes = narrowed(asked.as_ref(), &back.client, resource.as_ref(), issuer, registry)?;
    // OpenID Connect Core 1.0 §11: where it cannot be given, it is ignored. Operators administrate while they are
    // there.
    let administration = resource.as_ref().is_some_and(|uri| same(uri.as_str(), issuer.as_str()));
    let offline = offline && back.client.may_refresh() && !administration;
    Ok(AuthorizationRequest { source, back, challenge, resource, scopes, offline })
}

/// RFC 9101 §7: request objects are not supported, so they are refused, never ignored.
fn no_request_object(form: &Form<'_>) -> Result<(), RequestRefusal> {
    if form.has(Parameter::Request) {
        return Err(RequestRefusal::RequestObject);
    }
    if form.has(Parameter::RequestUri) { Err(RequestRefusal::RequestUri) } else { Ok(()) }
}

/// No actor is chosen or proven here, and no details are granted. A client that asks for them must not get a
/// token without them.
fn nothing_of_an_actor(form: &Form<'_>) -> Result<(), RequestRefusal> {
    let of_exchanges = [
        Parameter::ActorToken,
        Parameter::ActorTokenType,
        Parameter::SubjectToken,
        Parameter::SubjectTokenType,
    ];
    match NEVER_IGNORED.into_iter().chain(of_exchanges).find(|parameter| form.has(*parameter)) {
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
