//! The way to an identity provider and back: `POST /authorize` with a provider, and `GET
//! /login/callback/PROVIDER`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::Response;
use mandate_core::lifetimes::LOGIN_FORM_LIFETIME;
use mandate_oauth::{Arrival, Callback, CallbackRefusal, Departure, OAuthError, PendingLogin};

use super::browser::{Asked, SameSite, cookie, error_page, see_other, set_cookie};
use super::page;
use super::parts::Public;
use crate::peer::source;
use crate::places::Guest;

/// The cookie of a browser whose person is at a provider. Only the newest login of a browser counts.
fn cookie_name(public: &Public) -> &'static str {
    if public.secure_cookies { "__Host-mandate-provider" } else { "mandate-provider" }
}

/// Sends the browser to the provider with this key.
///
/// By a page, not by a redirect: the redirect that answers a form would have to be allowed by `form-action`
/// of the login page, before it is known where the provider's endpoint is.
pub(super) async fn leave(asked: &Asked<'_>, provider: &str) -> Response {
    let Asked { public, query, request, .. } = *asked;
    leave_by(public, public.engine.leave_for_provider(request, query, provider).await)
}

/// Sends the browser to the provider for which it leaves.
pub(super) fn leave_by(public: &Public, left: Result<Departure, OAuthError>) -> Response {
    match left {
        Ok(Departure { location, pending }) => {
            let Some(sealed) = public.login_seal.seal(&pending.to_bytes()) else {
                return page::error(
                    StatusCode::BAD_REQUEST,
                    "This request is too long",
                    "The application's request is too long for a login at an identity provider: the browser has to keep it meanwhile. Its developer can make it shorter, such as its state.",
                );
            };
            let mut response = page::leaving(&location);
            // Lax: the answer comes from another site.
            let same_site = SameSite::Lax;
            set_cookie(public, &mut response, (cookie_name(public), &sealed), same_site, LOGIN_FORM_LIFETIME);
            response
        }
        Err(error) => {
            public.note(&error);
            error_page(&error)
        }
    }
}

/// `GET /login/callback/PROVIDER`
pub(super) async fn come_back(
    State(public): State<Arc<Public>>,
    Extension(guest): Extension<Arc<Guest>>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let pending = cookie(&headers, cookie_name(&public))
        .and_then(|value| public.login_seal.open(value))
        .and_then(|bytes| PendingLogin::from_bytes(&bytes));
    let callback = Callback {
        provider: &provider,
        query: query.as_bytes(),
        pending: pending.as_ref(),
        source: source(&extensions),
    };
    let mut response = match public.engine.return_from_provider(&callback).await {
        Ok(Arrival { location, person }) => {
            guest.is_known(&format!("person {person}").into());
            match location {
                Some(location) => see_other(&location),
                None => page::device_answered(page::DeviceAnswered::Allowed),
            }
        }
        Err(CallbackRefusal::Redirect { location, .. }) => see_other(&location),
        Err(CallbackRefusal::Stranger(person, _)) => page::unknown_person(&person),
        Err(CallbackRefusal::Page(error)) => {
            public.note(&error);
            // The login that the browser has begun goes on: another site can send it here at any time.
            return error_page(&error);
        }
    };
    set_cookie(&public, &mut response, (cookie_name(&public), ""), SameSite::Lax, Duration::ZERO);
    response
}
