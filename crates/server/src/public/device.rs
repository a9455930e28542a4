//! `GET /device` asks a person for the code that a device shows; `POST /device` is the form of that page, and of
//! the login that follows (RFC 8628 §3.3).
//!
//! The code is sent by the form both times and is looked up both times: the server remembers nothing about a
//! person who has not logged in.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use mandate_core::lifetimes::{BROWSER_LIFETIME, LOGIN_FORM_LIFETIME};
use mandate_core::names::Parameter;
use mandate_core::{RequestSource, Secret};
use mandate_oauth::form::Form;
use mandate_oauth::metadata::{DEVICE_PATH, endpoint};
use mandate_oauth::{DeviceRequest, Fault, LoginRefusal, OAuthError, Visitor};

use super::browser::{SameSite, cookie, error_page, set_cookie};
use super::forms::{browser_cookie_name, genuine, keep_browser, too_many, unreadable};
use super::parts::Public;
use super::{csrf, page, provider_login};
use crate::peer::source;
use crate::places::Guest;

/// The longest code that is shown again: what was typed may be anything.
const MAX_TYPED: usize = 32;

/// What the form that asks for a code was shown for. No query of an authorization request has a `#`.
const ENTRY: &str = "#device";

/// What a person was shown for a code: also whether the client may go on while they are away, which the registry
/// decides and may change.
fn shown(code: &str, away: bool) -> String {
    format!("{ENTRY} {code}{}", if away { " away" } else { "" })
}

/// A browser that asks, and who it is.
struct Asking<'a> {
    public: &'a Public,
    headers: &'a HeaderMap,
    source: RequestSource,
}

impl Asking<'_> {
    /// A token for a form that this browser is shown.
    fn token(&self, browser: &str, shown: &str) -> String {
        csrf::token(&self.public.csrf_key, browser, shown, self.public.clock.now())
    }

    fn action(&self) -> String {
        endpoint(self.public.engine.issuer(), DEVICE_PATH)
    }

    /// The page that asks for a code.
    fn entry(&self, status: StatusCode, typed: &str, error: Option<&str>) -> Response {
        let (browser, action) = (super::forms::form_browser(self.public, self.headers), self.action());
        let entry = page::DeviceEntry {
            issuer: self.public.engine.issuer(),
            action: &action,
            csrf: &self.token(&browser, ENTRY),
            typed: Some(typed).filter(|typed| typed.len() <= MAX_TYPED).unwrap_or_default(),
            error,
        };
        keep_browser(self.public, page::device_entry(status, &entry), &browser)
    }

    /// The page where the person logs in for a device.
    fn login(
        &self,
        request: &DeviceRequest,
        status: StatusCode,
        name: &str,
        error: Option<&str>,
    ) -> Response {
        let engine = &self.public.engine;
        let (browser, code) = (super::forms::form_browser(self.public, self.headers), request.user_code());
        let login = page::Login {
            issuer: engine.issuer(),
            client: request.client_id(),
            unattested: None,
            actor: None,
            answer: page::Answer::Device(&code),
            resource: request.resource().map(mandate_core::ResourceUri::as_str),
            scopes: request
                .resource()
                .and(request.scopes())
                .map(|scopes| scopes.iter().map(mandate_core::Scope::as_str).collect()),
            at_most: engine.at_most_for(request),
            offline_for: request.offline_for(),
            providers: engine.login_providers(),
            action: &self.action(),
            csrf: &self.token(&browser, &shown(&code, request.offline_for().is_some())),
            name,
            error,
        };
        keep_browser(self.public, page::login(status, &login), &browser)
    }

    /// What a code that is refused is answered with. Nothing says why no device waits with it.
    fn refused(&self, error: &OAuthError, typed: &str) -> Response {
        self.public.note(error);
        if error.fault != Fault::Caller || error.status >= 500 {
            return error_page(error);
        }
        let text = error.description.split_once(": ").map_or(&*error.description, |(_, sentence)| sentence);
        self.entry(StatusCode::BAD_REQUEST, typed, Some(text))
    }
}

/// `GET /device`, also as `verification_uri_complete` (RFC 8628 §3.3.1): the code in the address only fills the
/// form in.
pub(super) async fn show(
    State(public): State<Arc<Public>>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    headers: HeaderMap,
) -> Response {
    let asking = Asking { public: &public, headers: &headers, source: source(&extensions) };
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes()).ok();
    let typed = form.as_ref().and_then(|form| form.get(Parameter::UserCode)).unwrap_or_default();
    asking.entry(StatusCode::OK, typed, None)
}

/// `POST /device`
pub(super) async fn submit(
    State(public): State<Arc<Public>>,
    Extension(guest): Extension<Arc<Guest>>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return unreadable(rejection.status(), "It is too large, or it was not sent completely.");
        }
    };
    let bad = |text| unreadable(StatusCode::BAD_REQUEST, text);
    let Ok(fields) = Form::parse(&body) else {
        return bad("The form was sent in a way that no browser sends it.");
    };
    let asking = Asking { public: &public, headers: &headers, source: source(&extensions) };
    if let Err(error) = public.engine.check_device_form(asking.source, &fields).await {
        public.note(&error);
        return error_page(&error);
    }
    let typed = fields.get(Parameter::UserCode).unwrap_or_default();
    let token = fields.get("csrf").unwrap_or_default();
    let is_entry = genuine(&public, &headers, ENTRY, token);
    let was_shown =
        [true, false].into_iter().any(|away| genuine(&public, &headers, &shown(typed, away), token));
    if !is_entry && !was_shown {
        let minutes = LOGIN_FORM_LIFETIME.as_secs() / 60;
        let text = format!("The form was not sent from this page, or it is older than {minutes} minutes.");
        return asking.entry(StatusCode::FORBIDDEN, typed, Some(&text));
    }
    let request = match public.engine.device_request(typed, was_shown, asking.source).await {
        Ok(request) => request,
        Err(error) => return asking.refused(&error, typed),
    };
    let now_shown = shown(&request.user_code(), request.offline_for().is_some());
    if !genuine(&public, &headers, &now_shown, token) {
        // The code was entered; or the client may do more or less than when the page was shown.
        return asking.login(&request, StatusCode::OK, "", None);
    }
    if let Some(provider) = fields.get("provider") {
        if ["decision", "name", "password"].into_iter().any(|field| fields.has(field)) {
            return bad("It both names an identity provider and answers the form of the password.");
        }
        let left = public.engine.leave_for_device(&request, provider).await;
        return provider_login::leave_by(&public, left);
    }
    match fields.get("decision") {
        Some("deny") => {
            return match public.engine.refuse_device(&request).await {
                Ok(()) => page::device_answered(page::DeviceAnswered::Refused),
                Err(error) => asking.refused(&error, ""),
            };
        }
        Some("allow") => {}
        Some(_) | None => return bad("It neither allows nor denies."),
    }
    let name = fields.get("name").unwrap_or_default();
    let password = Secret::new(fields.get("password").unwrap_or_default().as_bytes());
    let visitor = Visitor { browser: cookie(&headers, browser_cookie_name(&public)) };
    match public.engine.log_in_for_device(visitor, &request, name, password).await {
        Ok(browser) => {
            guest.is_known(&format!("person {name}").into());
            let mut response = page::device_answered(page::DeviceAnswered::Allowed);
            let known = (browser_cookie_name(&public), &*browser);
            set_cookie(&public, &mut response, known, SameSite::Strict, BROWSER_LIFETIME);
            response
        }
        Err(LoginRefusal::Wrong(_)) => {
            asking.login(&request, StatusCode::UNAUTHORIZED, name, Some("The name or the password is wrong."))
        }
        Err(LoginRefusal::Paused(pause, _)) => {
            let (seconds, text) = too_many(pause);
            let mut response = asking.login(&request, StatusCode::TOO_MANY_REQUESTS, name, Some(&text));
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        Err(LoginRefusal::Redirect { error, .. } | LoginRefusal::Unavailable(error)) => {
            public.note(&error);
            error_page(&error)
        }
    }
}
