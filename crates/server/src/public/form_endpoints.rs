//! The OAuth form endpoints: HTTP on one side, the engine on the other, nothing in between.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use mandate_core::RequestSource;
use mandate_core::names::{ErrorCode, ResponseParameter};
use mandate_oauth::{EventError, FormRequest, Headers, OAuthError, PushedEvent};

use super::cross_origin;
use super::parts::Public;
use super::paths::origin;
use crate::peer::source;
use crate::places::Guest;

const JSON: [(axum::http::HeaderName, &str); 2] =
    [(CONTENT_TYPE, "application/json"), (axum::http::header::CACHE_CONTROL, "no-store")];

/// The wire form of an OAuth error (RFC 6749 §5.2).
fn refused(public: &Public, error: &OAuthError) -> Response {
    public.note(error);
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, JSON, error.to_json()).into_response();
    if let Some(value) = error.www_authenticate.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// RFC 9110 §15.5.14, in the form every OAuth client reads.
fn unreadable(rejection: &BytesRejection) -> Response {
    let body = serde_json::json!({
        (ResponseParameter::Error.as_str()): ErrorCode::InvalidRequest.as_str(),
        (ResponseParameter::ErrorDescription.as_str()):
            "body_unreadable: The body is too large or broke off.",
    });
    (rejection.status(), JSON, body.to_string()).into_response()
}

/// A request that has arrived.
pub(super) struct Posted {
    source: RequestSource,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    /// Set by the engine, once the client has proven who it is.
    proven: OnceLock<Arc<str>>,
    guest: Option<Arc<Guest>>,
}

impl Posted {
    /// A client that has proven who it is gets one of the places of known holders. So does a browser or app
    /// that got a token for a person's code.
    fn gives_place(&self, was_given_a_token: bool) {
        let Some(guest) = self.guest.as_ref().filter(|guest| !guest.has_known_place()) else { return };
        match self.proven.get() {
            Some(client) => guest.is_known(client),
            None if was_given_a_token => {
                guest.is_known(&format!("network {}", guest.network().site()).into());
            }
            None => {}
        }
    }

    /// The headers as text. A value that is not visible ASCII means nothing here; it is kept, and fails.
    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("\u{fffd}")))
            .collect()
    }

    fn request<'r>(&'r self, headers: &'r [(&'r str, &'r str)]) -> FormRequest<'r> {
        FormRequest {
            source: self.source,
            method: self.method.as_str(),
            url: &self.url,
            headers: Headers::new(headers),
            body: &self.body,
            proven: Some(&self.proven),
        }
    }
}

impl FromRequest<Arc<Public>> for Posted {
    type Rejection = Response;

    async fn from_request(request: axum::extract::Request, public: &Arc<Public>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let posted = Self {
            source: source(&parts.extensions),
            method: parts.method.clone(),
            url: format!("{}{path}", origin(public.engine.issuer().as_str())),
            headers: std::mem::take(&mut parts.headers),
            body: Bytes::new(),
            proven: OnceLock::new(),
            guest: parts.extensions.get::<Arc<Guest>>().cloned(),
        };
        let body = Bytes::from_request(axum::extract::Request::from_parts(parts, body), public).await;
        Ok(Self { body: body.map_err(|error| unreadable(&error))?, ..posted })
    }
}

/// `POST /token`
pub(super) async fn token(State(public): State<Arc<Public>>, posted: Result<Posted, Response>) -> Response {
    cross_origin::readable(match posted {
        Ok(posted) => {
            let answer = public.engine.token(posted.request(&posted.headers())).await;
            posted.gives_place(answer.is_ok());
            match answer {
                Ok(token) => (JSON, token.to_json()).into_response(),
                Err(error) => refused(&public, &error),
            }
        }
        Err(unreadable) => unreadable,
    })
}

/// `POST /par` (RFC 9126 §2).
pub(super) async fn push(State(public): State<Arc<Public>>, posted: Result<Posted, Response>) -> Response {
    cross_origin::readable(match posted {
        Ok(posted) => {
            let answer = public.engine.push(posted.request(&posted.headers())).await;
            posted.gives_place(false);
            match answer {
                Ok(pushed) => (StatusCode::CREATED, JSON, pushed.to_json()).into_response(),
                Err(error) => refused(&public, &error),
            }
        }
        Err(unreadable) => unreadable,
    })
}

/// `POST /register` (RFC 7591 §3.1).
pub(super) async fn register(
    State(public): State<Arc<Public>>,
    posted: Result<Posted, Response>,
) -> Response {
    cross_origin::readable(match posted {
        Ok(posted) => {
            let content_type = posted.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            match public.engine.register(content_type, &posted.body, posted.source).await {
                Ok(body) => (StatusCode::CREATED, JSON, body).into_response(),
                Err(error) => refused(&public, &error),
            }
        }
        Err(unreadable) => unreadable,
    })
}

/// `POST /device_authorization` (RFC 8628 §3.1). Devices have no browser: scripts of other origins may not call it.
pub(super) async fn device_authorization(State(public): State<Arc<Public>>, posted: Posted) -> Response {
    let answer = public.engine.device_authorization(posted.request(&posted.headers())).await;
    posted.gives_place(false);
    match answer {
        Ok(answer) => (JSON, answer.to_json()).into_response(),
        Err(error) => refused(&public, &error),
    }
}

/// `POST /introspect`. Only for servers: scripts of other origins may not call it.
pub(super) async fn introspect(State(public): State<Arc<Public>>, posted: Posted) -> Response {
    let answer = public.engine.introspect(posted.request(&posted.headers())).await;
    posted.gives_place(false);
    match answer {
        Ok(answer) => (JSON, answer.to_json()).into_response(),
        Err(error) => refused(&public, &error),
    }
}

/// `POST /login/backchannel-logout`: an identity provider ends a session.
pub(super) async fn end_provider_session(State(public): State<Arc<Public>>, posted: Posted) -> Response {
    let no_store = [(axum::http::header::CACHE_CONTROL, "no-store")];
    match public.engine.end_provider_session(posted.request(&posted.headers())).await {
        Ok(()) => (StatusCode::OK, no_store).into_response(),
        Err(error) => refused(&public, &error),
    }
}

/// `POST /login/security-events/PROVIDER`: an identity provider pushes a security event (RFC 8935 §2.1).
pub(super) async fn take_security_event(
    State(public): State<Arc<Public>>,
    Path(provider): Path<String>,
    posted: Posted,
) -> Response {
    let pushed = PushedEvent {
        provider: &provider,
        content_type: posted.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()),
        body: &posted.body,
        source: posted.source,
    };
    match public.engine.take_security_event(&pushed).await {
        Ok(()) => (StatusCode::ACCEPTED, [(CACHE_CONTROL, "no-store")]).into_response(),
        Err(EventError { err: None, error }) => refused(&public, &error),
        Err(refusal) => {
            public.note(&refusal.error);
            let status = StatusCode::from_u16(refusal.error.status).unwrap_or(StatusCode::BAD_REQUEST);
            // §2.3: the language of the description.
            (status, JSON, [(CONTENT_LANGUAGE, "en")], refusal.to_json()).into_response()
        }
    }
}

/// `POST /revoke`
pub(super) async fn revoke(State(public): State<Arc<Public>>, posted: Result<Posted, Response>) -> Response {
    cross_origin::readable(match posted {
        Ok(posted) => {
            let answer = public.engine.revoke(posted.request(&posted.headers())).await;
            posted.gives_place(false);
            match answer {
                Ok(()) => StatusCode::OK.into_response(),
                Err(error) => refused(&public, &error),
            }
        }
        Err(unreadable) => unreadable,
    })
}
