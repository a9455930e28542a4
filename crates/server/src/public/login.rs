//! `GET /authorize` shows the login page; `POST /authorize` is its form (RFC 6749 §3.1).
//!
//! The authorization request, or the name of one that was pushed, is in the query both times and is validated
//! both times: the server remembers nothing about a person who has not logged in.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Secret;
use mandate_core::lifetimes::{BROWSER_LIFETIME, LOGIN_FORM_LIFETIME};
use mandate_oauth::form::Form;
use mandate_oauth::metadata::{AUTHORIZE_PATH, endpoint};
use mandate_oauth::{AuthorizeRefusal, LoginRefusal, Visitor};

use super::browser::{Asked, SameSite, cookie, error_page, see_other, set_cookie};
use super::parts::Public;
use super::{csrf, page, provider_login};
use crate::peer::source;
use crate::places::Guest;

fn cookie_name(public: &Public) -> &'static str {
    // The prefix makes browsers refuse a cookie that another host or plain HTTP has set (RFC 6265bis §4.1.3).
    if public.secure_cookies { "__Host-mandate-login" } else { "mandate-login" }
}

/// The cookie of a browser that has logged a person in. It does not say which person.
fn browser_cookie_name(public: &Public) -> &'static str {
    if public.secure_cookies { "__Host-mandate-browser" } else { "mandate-browser" }
}

fn refused(refusal: &AuthorizeRefusal) -> Response {
    match refusal {
        AuthorizeRefusal::Page(error) => error_page(error),
        AuthorizeRefusal::Redirect { location, .. } => see_other(location),
    }
}

/// The number that binds a form to a browser: the number in its cookie, so that forms in several tabs work,
/// or a new one.
fn form_browser(public: &Public, headers: &HeaderMap) -> String {
    let mut random = [0u8; 32];
    let known = cookie(headers, cookie_name(public))
        .filter(|id| URL_SAFE_NO_PAD.decode(id).is_ok_and(|bytes| bytes.len() == random.len()));
    if let Some(known) = known {
        return known.to_owned();
    }
    public.entropy.fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

/// What the person was shown: the request, and whether the client may go on while they are away, which the registry
/// decides and may change. No query has a `#`.
fn shown(asked: &Asked<'_>) -> String {
    let away = if asked.request.offline_for().is_some() { "#away" } else { "" };
    format!("{}{away}", asked.query)
}

/// Shows the form, with a token that only this browser can send back, and only with this request.
fn form(asked: &Asked<'_>, status: StatusCode, name: &str, error: Option<&str>) -> Response {
    let Asked { public, headers, query, request } = *asked;
    let browser = form_browser(public, headers);
    let csrf = csrf::token(&public.csrf_key, &browser, &shown(asked), public.clock.now());
    let action = format!("{}?{query}", endpoint(public.engine.issuer(), AUTHORIZE_PATH));
    let login = page::Login {
        issuer: public.engine.issuer(),
        client: request.client_id().as_str(),
        unattested: request.unattested(),
        redirect_uri: request.redirect_uri(),
        resource: request.resource().map(mandate_core::ResourceUri::as_str),
        // Without a resource, only those that exist are shown: the token has no others.
        scopes: request
            .resource()
            .and(request.scopes())
            .map(|scopes| scopes.iter().map(mandate_core::Scope::as_str).collect()),
        at_most: public.engine.at_most(request),
        offline_for: request.offline_for(),
        providers: public.engine.login_providers(),
        action: &action,
        csrf: &csrf,
        name,
        error,
    };
    let mut response = page::login(status, &login);
    let form_cookie = (cookie_name(public), browser.as_str());
    set_cookie(public, &mut response, form_cookie, SameSite::Strict, LOGIN_FORM_LIFETIME);
    response
}

/// Whether the form is one that this browser was shown for this request.
///
/// The token is the proof. Browsers also say whether one of our own pages sent the form (Fetch Metadata).
fn is_genuine(asked: &Asked<'_>, token: &str) -> bool {
    let Asked { public, headers, .. } = *asked;
    let from_elsewhere =
        headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let browser = cookie(headers, cookie_name(public)).unwrap_or_default();
    !from_elsewhere && csrf::is_genuine(&public.csrf_key, browser, &shown(asked), token, public.clock.now())
}

/// `GET /authorize`
pub(super) async fn show(
    State(public): State<Arc<Public>>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    match public.engine.authorize(query.as_bytes(), source(&extensions)).await {
        Ok(request) => {
            let asked = Asked { public: &public, headers: &headers, query: &query, request: &request };
            form(&asked, StatusCode::OK, "", None)
        }
        Err(refusal) => refused(&refusal),
    }
}

/// `POST /authorize`
pub(super) async fn submit(
    State(public): State<Arc<Public>>,
    Extension(guest): Extension<Arc<Guest>>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return page::error(
                rejection.status(),
                "This form cannot be read",
                "It is too large, or it was not sent completely.",
            );
        }
    };
    let query = query.unwrap_or_default();
    let request = match public.engine.authorize_again(query.as_bytes(), source(&extensions)).await {
        Ok(request) => request,
        Err(refusal) => return refused(&refusal),
    };
    let asked = Asked { public: &public, headers: &headers, query: &query, request: &request };
    let Ok(fields) = Form::parse(&body) else {
        return page::error(
            StatusCode::BAD_REQUEST,
            "This form cannot be read",
            "The form was sent in a way that no browser sends it.",
        );
    };
    if !is_genuine(&asked, fields.get("csrf").unwrap_or_default()) {
        // The login begins with the form that is shown now.
        if let Err(refusal) = public.engine.authorize(query.as_bytes(), source(&extensions)).await {
            return refused(&refusal);
        }
        let minutes = LOGIN_FORM_LIFETIME.as_secs() / 60;
        let text = format!("The form was not sent from this page, or it is older than {minutes} minutes.");
        return form(&asked, StatusCode::FORBIDDEN, "", Some(&text));
    }
    if let Err(error) = public.engine.check_login_form(&request, &fields).await {
        public.note(&error);
        return error_page(&error);
    }
    if let Some(provider) = fields.get("provider") {
        if ["decision", "name", "password"].into_iter().any(|field| fields.has(field)) {
            return page::error(
                StatusCode::BAD_REQUEST,
                "This form cannot be read",
                "It both names an identity provider and answers the form of the password.",
            );
        }
        return provider_login::leave(&asked, provider).await;
    }
    match fields.get("decision") {
        Some("deny") => return see_other(&public.engine.decline(&request).await),
        Some("allow") | None => {}
        Some(_) => {
            return page::error(
                StatusCode::BAD_REQUEST,
                "This form cannot be read",
                "It neither allows nor denies.",
            );
        }
    }
    let name = fields.get("name").unwrap_or_default();
    let password = Secret::new(fields.get("password").unwrap_or_default().as_bytes());
    let visitor = Visitor { browser: cookie(&headers, browser_cookie_name(&public)) };
    match public.engine.log_in_from(visitor, &request, name, password).await {
        Ok(redirect) => {
            guest.is_known(&format!("person {name}").into());
            let mut response = see_other(redirect.location());
            let known = (browser_cookie_name(&public), redirect.browser());
            set_cookie(&public, &mut response, known, SameSite::Strict, BROWSER_LIFETIME);
            response
        }
        Err(LoginRefusal::Wrong(_)) => {
            form(&asked, StatusCode::UNAUTHORIZED, name, Some("The name or the password is wrong."))
        }
        Err(LoginRefusal::Paused(pause, _)) => {
            let seconds = pause.as_secs() + 1;
            let text = format!("Too many attempts. Try again in {seconds} seconds.");
            let mut response = form(&asked, StatusCode::TOO_MANY_REQUESTS, name, Some(&text));
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        Err(LoginRefusal::Redirect { location, .. }) => see_other(&location),
        Err(LoginRefusal::Unavailable(error)) => {
            public.note(&error);
            error_page(&error)
        }
    }
}
