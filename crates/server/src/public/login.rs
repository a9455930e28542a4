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
use mandate_core::Secret;
use mandate_core::lifetimes::{BROWSER_LIFETIME, LOGIN_FORM_LIFETIME};
use mandate_oauth::form::Form;
use mandate_oauth::metadata::{AUTHORIZE_PATH, endpoint};
use mandate_oauth::{AuthorizeRefusal, LoginRefusal, Visitor};

use super::browser::{Asked, SameSite, cookie, error_page, see_other, set_cookie};
use super::forms::{browser_cookie_name, form_browser, genuine, keep_browser, too_many, unreadable};
use super::parts::Public;
use super::{csrf, page, provider_login};
use crate::peer::source;
use crate::places::Guest;

fn refused(refusal: &AuthorizeRefusal) -> Response {
    match refusal {
        AuthorizeRefusal::Page(error) => error_page(error),
        AuthorizeRefusal::Redirect { location, .. } => see_other(location),
    }
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
        actor: request.actor().map(|(id, name)| (name.as_str(), id.as_str())),
        answer: page::Answer::SentBack(request.redirect_uri()),
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
    keep_browser(public, page::login(status, &login), &browser)
}

/// Whether the form is one that this browser was shown for this request.
fn is_genuine(asked: &Asked<'_>, token: &str) -> bool {
    genuine(asked.public, asked.headers, &shown(asked), token)
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
            return unreadable(rejection.status(), "It is too large, or it was not sent completely.");
        }
    };
    let query = query.unwrap_or_default();
    let request = match public.engine.authorize_again(query.as_bytes(), source(&extensions)).await {
        Ok(request) => request,
        Err(refusal) => return refused(&refusal),
    };
    let asked = Asked { public: &public, headers: &headers, query: &query, request: &request };
    let bad = |text| unreadable(StatusCode::BAD_REQUEST, text);
    let Ok(fields) = Form::parse(&body) else {
        return bad("The form was sent in a way that no browser sends it.");
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
            return bad("It both names an identity provider and answers the form of the password.");
        }
        return provider_login::leave(&asked, provider).await;
    }
    match fields.get("decision") {
        Some("deny") => return see_other(&public.engine.decline(&request).await),
        Some("allow") | None => {}
        Some(_) => return bad("It neither allows nor denies."),
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
            let (seconds, text) = too_many(pause);
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
