//! What the login pages share: cookies, redirects and the page of an error.

use std::time::Duration;

use axum::http::header::{COOKIE, LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use mandate_oauth::{AuthorizationRequest, OAuthError};

use super::page;
use super::parts::Public;

/// An authorization request, and the browser that brings it.
pub(super) struct Asked<'a> {
    pub(super) public: &'a Public,
    pub(super) headers: &'a HeaderMap,
    pub(super) query: &'a str,
    pub(super) request: &'a AuthorizationRequest,
}

/// Which requests bring a cookie (RFC 6265bis §5.4.7).
#[derive(Clone, Copy, Debug)]
pub(super) enum SameSite {
    /// Those of this site's own pages alone.
    Strict,
    /// Also those by which another site sends the browser here.
    Lax,
}

/// A cookie that no script reads: its name and value.
pub(super) fn set_cookie(
    public: &Public,
    response: &mut Response,
    (name, value): (&str, &str),
    same_site: SameSite,
    max_age: Duration,
) {
    let secure = if public.secure_cookies { "; Secure" } else { "" };
    let max_age = max_age.as_secs();
    let cookie =
        format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site:?}; Max-Age={max_age}{secure}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

/// The value of a cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Sends the browser to `location`.
pub(super) fn see_other(location: &str) -> Response {
    // 303, so that the form's body, a password, is not sent along (RFC 9700 §4.12).
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => page::error(
            StatusCode::BAD_REQUEST,
            "This request cannot continue",
            "The address to return to cannot be written in a header.",
        ),
    }
}

/// A page that says why a request is refused.
pub(super) fn error_page(error: &OAuthError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response =
        page::error(status, "This request is refused", &format!("{}: {}", error.error, error.description));
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
