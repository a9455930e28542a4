//! What the forms of the login pages share: the browser that each belongs to, and what is said of a form that
//! cannot be read.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::lifetimes::LOGIN_FORM_LIFETIME;

use super::browser::{SameSite, cookie, set_cookie};
use super::parts::Public;
use super::{csrf, page};

fn cookie_name(public: &Public) -> &'static str {
    // The prefix makes browsers refuse a cookie that another host or plain HTTP has set (RFC 6265bis §4.1.3).
    if public.secure_cookies { "__Host-mandate-login" } else { "mandate-login" }
}

/// The cookie of a browser that has logged a person in. It does not say which person.
pub(super) fn browser_cookie_name(public: &Public) -> &'static str {
    if public.secure_cookies { "__Host-mandate-browser" } else { "mandate-browser" }
}

/// The number that binds a form to a browser: the number in its cookie, so that forms in several tabs work,
/// or a new one.
pub(super) fn form_browser(public: &Public, headers: &HeaderMap) -> String {
    let mut random = [0u8; 32];
    let known = cookie(headers, cookie_name(public))
        .filter(|id| URL_SAFE_NO_PAD.decode(id).is_ok_and(|bytes| bytes.len() == random.len()));
    if let Some(known) = known {
        return known.to_owned();
    }
    public.entropy.fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

/// The response, by which the browser keeps the number of its forms.
pub(super) fn keep_browser(public: &Public, mut response: Response, browser: &str) -> Response {
    let form_cookie = (cookie_name(public), browser);
    set_cookie(public, &mut response, form_cookie, SameSite::Strict, LOGIN_FORM_LIFETIME);
    response
}

/// Whether `token` is that of a form which this browser was shown for `shown`.
///
/// The token is the proof. Browsers also say whether one of our own pages sent the form (Fetch Metadata).
pub(super) fn genuine(public: &Public, headers: &HeaderMap, shown: &str, token: &str) -> bool {
    let from_elsewhere =
        headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let browser = cookie(headers, cookie_name(public)).unwrap_or_default();
    !from_elsewhere && csrf::is_genuine(&public.csrf_key, browser, shown, token, public.clock.now())
}

/// The page for a form that no browser would send like this.
pub(super) fn unreadable(status: StatusCode, text: &str) -> Response {
    page::error(status, "This form cannot be read", text)
}

/// What is said after too many attempts, and in how many seconds the next one is accepted.
pub(super) fn too_many(pause: Duration) -> (u64, String) {
    let seconds = pause.as_secs() + 1;
    (seconds, format!("Too many attempts. Try again in {seconds} seconds."))
}
