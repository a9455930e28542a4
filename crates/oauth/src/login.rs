//! From a login to a code: the embedded directory, and the answer that goes back through the browser.

mod provider;

use std::time::Duration;

use mandate_audit::RecordKind;
use mandate_core::names::{Parameter, ResponseParameter};
use mandate_core::{Secret, Timestamp};
use mandate_delegation::{Authorization, LoggedInPerson, MandateView};
use mandate_store::login_sessions::SessionHash;

use crate::asking_client::AskingClient;
use crate::authorize::AuthorizationRequest;
use crate::codes::CodePayload;
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
        let mut trail = self.login_trail(request, now);
        let KnownPerson { person, browser, password } =
            match self.passwords.check(visitor, request.source, name, password, &mut trail).await {
                Ok(known) => known,
                Err(refusal) => return Err(unauthenticated(&self.recorder.refused(trail, refusal).await)),
            };
        if !self.may_go_back(request) {
            let error = self.recorder.refuse(trail, RequestRefusal::Redirect).await;
            return Err(LoginRefusal::Unavailable(error));
        }
        let view = match self.preview(request, &person, now, &mut trail) {
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
        let mut trail = Trail::new(RecordKind::Authorize, now, request.source);
        let scope = request.scopes().map(ToString::to_string);
        trail.asked = mandate_audit::Asked::new(
            request.resource().map(mandate_core::ResourceUri::as_str),
            scope.as_deref(),
            None,
        );
        trail.client = Some(request.client_id().shared());
        trail.aud = Some(
            request
                .resource()
                .map_or_else(|| self.issuer().as_str(), mandate_core::ResourceUri::as_str)
                .to_owned(),
        );
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
    fn preview(
        &self,
        request: &AuthorizationRequest,
        person: &LoggedInPerson,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<MandateView, RequestRefusal> {
        let snapshot = self.basis.snapshot();
        trail.sub = snapshot.registry.person(person.name()).map(|person| person.id.clone());
        let authorization = mandate_delegation::DecisionRequest::Authorization(Authorization {
            client: request.back.client.at_login(now),
            person: person.clone(),
            resource: request.resource.clone(),
            scopes: request.scopes.clone(),
            jti: self.basis.token_id(now),
            continued: None,
        });
        let decided = self.basis.decide(authorization, &snapshot, now);
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
        let payload = CodePayload { upstream, ..request.code_for(person, password) };
        let (code, mut effects) = match self.codes.issue(&payload, session, now) {
            Ok(issued) => issued,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        if request.unattested().is_some_and(|client| client.id.is_self_registered()) {
            effects.push(self_registered::used(request.client_id(), now));
        }
        let recorded = self.recorder.permit(trail, effects, |record, known| {
            known.sub.clone_from(&view.terms.subject);
            known.scope = view.terms.scopes.clone();
            record.policies = view.policies;
        });
        recorded.await.map_err(|error| unrecorded(&error).to_error())?;
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
        C::Quota(Quota::Checks | Quota::Revocations | Quota::Registrations | Quota::Documents)
        | C::Registration(_)
        | C::Ours { .. }
        // No refusal of a password.
        | C::Request
        | C::Unsupported(_)
        | C::Client
        | C::ClientDocument
        | C::ClientNotAllowed
        | C::Credential(_)
        | C::Target
        | C::Scope
        | C::Decision(_) => LoginRefusal::Unavailable(error),
    }
}
