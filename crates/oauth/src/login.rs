//! From a login to a code: the embedded directory, and the answer that goes back through the browser.

mod provider;

use std::time::Duration;

use mandate_audit::RecordKind;
use mandate_core::names::{Parameter, ResponseParameter};
use mandate_core::{RequestSource, Secret, Timestamp};
use mandate_delegation::{Authorization, DecisionRequest, LoggedInPerson, MandateView, Withheld};
use mandate_store::login_sessions::SessionHash;

use crate::asking_client::AskingClient;
use crate::authorize::{AuthorizationRequest, Wanted};
use crate::codes::{CodePayload, Granted};
use crate::device::{DeviceLogin, DeviceRequest};
use crate::engine::Engine;
use crate::form::Form;
use crate::password_login::{KnownPerson, Visitor};
use crate::redirect::is_registered;
use crate::refusal::{Quota, RefusalClass, RequestRefusal};
use crate::self_registered;
use crate::stored_login::UpstreamToken;
use crate::trail::{Trail, unrecorded};
use crate::wire::OAuthError;

pub use provider::{Arrival, Callback, CallbackRefusal, Departure, LoginProvider};

/// Where to send the browser, with a 303 (RFC 9700 §4.12).
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect {
    location: String,
    browser: String,
}

impl Redirect {
    /// The `Location` header. Holds a code: not to be logged.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The value of the cookie by which [`Engine::log_in_from`] recognizes this browser. It is valid until
    /// the person's password changes.
    pub fn browser(&self) -> &str {
        &self.browser
    }
}

impl std::fmt::Debug for Redirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redirect(redacted)")
    }
}

/// A login that did not lead to a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Wrong name or password: show the form again.
    Wrong(OAuthError),
    /// Too many attempts: the next one is accepted after this time.
    Paused(Duration, OAuthError),
    /// The person is authenticated, but may not get what is asked for: send the browser back with the error.
    Redirect {
        /// The `Location`, for a 303.
        location: String,
        /// The error it carries.
        error: OAuthError,
    },
    /// We failed: show a page.
    Unavailable(OAuthError),
}

impl Engine {
    /// Logs a person of the embedded directory in and issues a code for the request.
    ///
    /// The request is one that [`Engine::authorize`] validated moments ago; client and resource are looked up
    /// again when the code is redeemed.
    pub async fn log_in(
        &self,
        request: &AuthorizationRequest,
        name: &str,
        password: Secret,
    ) -> Result<Redirect, LoginRefusal> {
        self.log_in_from(Visitor::default(), request, name, password).await
    }

    /// As [`Engine::log_in`], from a browser about which something is known. If its cookie is genuine and
    /// belongs to this person, its attempts are counted separately: strangers cannot make this browser wait.
    pub async fn log_in_from(
        &self,
        visitor: Visitor<'_>,
        request: &AuthorizationRequest,
        name: &str,
        password: Secret,
    ) -> Result<Redirect, LoginRefusal> {
        let now = self.basis.now();
        let trail = self.login_trail(request, now);
        let known = self.by_password(visitor, request.source, (name, password), trail).await?;
        let (KnownPerson { person, browser, password }, mut trail) = known;
        if !self.may_go_back(request) {
            let error = self.recorder.refuse(trail, RequestRefusal::Redirect).await;
            return Err(LoginRefusal::Unavailable(error));
        }
        let view = match self.preview(&request.wanted(), &person, now, &mut trail) {
            Ok(view) => view,
            Err(refusal) => {
                let error = self.recorder.refuse(trail, refusal).await;
                return Err(LoginRefusal::Redirect {
                    location: request.back.with_error(self.issuer(), &error),
                    error,
                });
            }
        };
        let location = self
            .issue_code(request, &person, Proof::Password(password), trail, view)
            .await
            .map_err(LoginRefusal::Unavailable)?;
        Ok(Redirect { location, browser })
    }

    /// Logs a person of the embedded directory in for a device that waits, and allows it. Returns the value of the
    /// cookie by which [`Engine::log_in_from`] recognizes this browser.
    ///
    /// # Errors
    /// As [`Engine::log_in_from`], but nothing sends the browser anywhere.
    pub async fn log_in_for_device(
        &self,
        visitor: Visitor<'_>,
        request: &DeviceRequest,
        name: &str,
        password: Secret,
    ) -> Result<String, LoginRefusal> {
        let wanted = request.wanted();
        let trail = self.trail_of(&wanted, self.basis.now());
        let known = self.by_password(visitor, wanted.source, (name, password), trail).await?;
        let (KnownPerson { person, browser, password }, trail) = known;
        let login = DeviceLogin { person: &person, password: Some(password), session: None, refresh: None };
        self.allow_device(request, login, trail).await.map_err(LoginRefusal::Unavailable)?;
        Ok(browser)
    }

    /// The person with this name and password. A refusal is recorded.
    pub(crate) async fn by_password(
        &self,
        visitor: Visitor<'_>,
        source: RequestSource,
        (name, password): (&str, Secret),
        mut trail: Trail,
    ) -> Result<(KnownPerson, Trail), LoginRefusal> {
        match self.passwords.check(visitor, source, name, password, &mut trail).await {
            Ok(known) => Ok((known, trail)),
            Err(refusal) => Err(unauthenticated(&self.recorder.refused(trail, refusal).await)),
        }
    }

    /// Refuses a login form with an OAuth parameter in it. The authorization request is in the query: a
    /// parameter in the form would be ignored, or read by somebody else. A refusal is recorded.
    pub async fn check_login_form(
        &self,
        request: &AuthorizationRequest,
        form: &Form<'_>,
    ) -> Result<(), OAuthError> {
        // Here it is the person's password, and not the parameter of RFC 6749 §4.3.2.
        let Some(name) = form.oauth_parameter_besides(&[Parameter::Password]) else { return Ok(()) };
        let trail = self.login_trail(request, self.basis.now());
        Err(self.recorder.refuse(trail, RequestRefusal::InLoginForm(name)).await)
    }

    /// The person declined: the browser goes back with `access_denied`.
    pub async fn decline(&self, request: &AuthorizationRequest) -> String {
        let trail = self.login_trail(request, self.basis.now());
        let error = self.recorder.refuse(trail, RequestRefusal::Declined).await;
        request.back.with_error(self.issuer(), &error)
    }

    fn login_trail(&self, request: &AuthorizationRequest, now: Timestamp) -> Trail {
        self.trail_of(&request.wanted(), now)
    }

    pub(crate) fn trail_of(&self, wanted: &Wanted<'_>, now: Timestamp) -> Trail {
        let mut trail = Trail::new(RecordKind::Authorize, now, wanted.source);
        let scope = wanted.scopes.map(ToString::to_string);
        let resource = wanted.resource.map(mandate_core::ResourceUri::as_str);
        let actor = wanted.actor.map(mandate_core::SpiffeId::as_str);
        trail.asked = mandate_audit::Asked::new(resource, scope.as_deref(), actor);
        trail.client = Some(wanted.client.id().shared());
        trail.aud = Some(resource.unwrap_or_else(|| self.issuer().as_str()).to_owned());
        trail
    }

    /// Whether the client still has the redirect URI of the request, or the client no longer exists: the
    /// password may have waited for its turn to be checked.
    fn may_go_back(&self, request: &AuthorizationRequest) -> bool {
        // What one that describes itself says of itself is looked up again when the code is redeemed.
        let AskingClient::App(app) = &request.back.client else { return true };
        let snapshot = self.basis.snapshot();
        let client = snapshot.registry.client(&app.id);
        client.is_none_or(|client| is_registered(request.redirect_uri(), &client.redirect_uris))
    }

    /// What the decision will be when the code is redeemed, so that a useless code is not issued. The mandate
    /// is thrown away: no token can be minted from it.
    pub(crate) fn preview(
        &self,
        wanted: &Wanted<'_>,
        person: &LoggedInPerson,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<MandateView, RequestRefusal> {
        let snapshot = self.basis.snapshot();
        trail.sub = snapshot.registry.person(person.name()).map(|person| person.id.clone());
        let mut own = Authorization {
            client: wanted.client.at_login(now),
            person: person.clone(),
            resource: wanted.resource.cloned(),
            scopes: wanted.scopes.cloned(),
            jti: self.basis.token_id(now),
            continued: None,
        };
        // For an agent, the decision is on the login alone: the agent proves itself when the code is redeemed.
        if let Some((agent, resource)) = wanted.actor.zip(wanted.resource) {
            let login = (person, wanted.client.id());
            let granted = self.basis.has_grant_for(login, agent, (resource, wanted.scopes), &snapshot, now);
            granted.map_err(|refused| trail.of_delegated_login(Withheld::Refusal(refused)))?;
            let of_resource =
                || snapshot.registry.resource_by_uri(resource).map(|found| found.scopes.clone());
            (own.scopes, own.resource) = (own.scopes.or_else(of_resource), None);
        }
        let decided = self.basis.decide(DecisionRequest::Authorization(own), &snapshot, now);
        decided.map(|mandate| mandate.view().clone()).map_err(|withheld| trail.of_authorization(withheld))
    }

    async fn issue_code(
        &self,
        request: &AuthorizationRequest,
        person: &LoggedInPerson,
        by: Proof,
        trail: Trail,
        view: MandateView,
    ) -> Result<String, OAuthError> {
        let now = trail.now;
        let (password, session, upstream) = match by {
            Proof::Password(hash) => (Some(hash), None, None),
            Proof::Provider(session, upstream) => (None, session, upstream),
        };
        let upstream = upstream.filter(|_| request.offline).map(UpstreamToken);
        let payload = request.code_for(person, password);
        let payload = CodePayload { granted: Granted { upstream, ..payload.granted }, ..payload };
        let (code, mut effects) = match self.codes.issue(&payload, session, now) {
            Ok(issued) => issued,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        if request.unattested().is_some_and(|client| client.id.is_self_registered()) {
            effects.push(self_registered::used(request.client_id(), now));
        }
        effects.extend(request.pushed.as_ref().map(|pushed| pushed.used(now)));
        // For the record of a refusal by an effect.
        let again =
            Trail { stranger: trail.stranger, sub: trail.sub.clone(), ..self.login_trail(request, now) };
        let wanted = request.wanted();
        let recorded = self.recorder.permit(trail, effects, |record, known| {
            known.sub.clone_from(&view.terms.subject);
            known.scope = view.terms.scopes.clone();
            record.policies = view.policies;
            record.detail = wanted.actor.map(|agent| format!("for the agent {agent}"));
        });
        if let Err(error) = recorded.await {
            let refusal = unrecorded(&error);
            let used = refusal == RequestRefusal::PushedRequestUsed;
            return Err(if used { self.recorder.refuse(again, refusal).await } else { refusal.to_error() });
        }
        let code = code.expose_secret_str().unwrap_or_default();
        Ok(request.back.to(self.issuer(), &[(ResponseParameter::Code, code)]))
    }
}

/// By what a person has proven who they are.
pub(crate) enum Proof {
    /// A password; SHA-256 of its stored hash.
    Password([u8; 32]),
    /// An identity provider, which may end the session that it names, and may have given a refresh token.
    Provider(Option<SessionHash>, Option<Secret>),
}

/// What is shown to a person whose password was refused, or could not be checked or recorded.
fn unauthenticated(refusal: &RequestRefusal) -> LoginRefusal {
    use RefusalClass as C;
    let error = refusal.to_error();
    match refusal.class() {
        C::Person => LoginRefusal::Wrong(error),
        C::Quota(Quota::Logins { pause }) => LoginRefusal::Paused(pause, error),
        C::Quota(
            Quota::Checks | Quota::Revocations | Quota::Registrations | Quota::Documents | Quota::Devices,
        )
        | C::Registration(_)
        | C::Ours { .. }
        // No refusal of a password.
        | C::Request
        | C::RequestTooLarge
        | C::PushedRequest
        | C::Unsupported(_)
        | C::Client
        | C::ClientDocument
        | C::ClientNotAllowed
        | C::Device(_)
        | C::Credential(_)
        | C::Target
        | C::Scope
        | C::Decision(_) => LoginRefusal::Unavailable(error),
    }
}
