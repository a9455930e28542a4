//! The public listener: OAuth endpoints, login pages, metadata, keys and the revocation feed.

mod feed;
mod form_endpoints;
mod login;
mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use mandate_authority::Authority;
use mandate_core::Entropy;
use mandate_delegation::Live;
use mandate_oauth::{Engine, form, metadata};

use crate::admin;
use crate::listener::{Shutdown, Site};
use crate::secret_body::ends_connection;

/// What the public endpoints work with.
pub(crate) struct Public {
    pub(crate) engine: Engine,
    pub(crate) authority: Arc<Authority>,
    pub(crate) live: Arc<Live>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) shutdown: Shutdown,
    /// Cookies are marked `Secure` when browsers reach us over TLS.
    pub(crate) secure_cookies: bool,
}

/// Where the issuer's paths start: empty, or `/path` for an issuer with a path.
fn base_path(issuer: &str) -> &str {
    let after_scheme = issuer.find("://").map_or(issuer, |at| issuer.get(at + 3..).unwrap_or_default());
    after_scheme.find('/').map_or("", |at| after_scheme.get(at..).unwrap_or_default()).trim_end_matches('/')
}

/// The public site.
pub(crate) fn site(public: Arc<Public>) -> Site {
    // Nobody is anybody here by the connection that they come by.
    Site { router: router(public), tells_peer: false, max_body: form::MAX_BODY, defaults: safe_defaults }
}

fn router(public: Arc<Public>) -> Router {
    let document: Arc<str> = admin::openapi().into();
    let issuer = public.engine.issuer().clone();
    let base = base_path(issuer.as_str()).to_owned();
    let at = |path: &str| format!("{base}{path}");
    let feeds = Arc::new(feed::Feeds::new(Arc::clone(&public.live), public.shutdown.clone()));
    Router::new()
        .route(&at(metadata::TOKEN_PATH), post(form_endpoints::token))
        .route(&at(metadata::INTROSPECT_PATH), post(form_endpoints::introspect))
        .route(&at(metadata::REVOKE_PATH), post(form_endpoints::revoke))
        .route(&at(metadata::AUTHORIZE_PATH), get(login::show).merge(post(login::submit).layer(map_response(ends_connection))))
        .route(&at(metadata::JWKS_PATH), get(jwks))
        .route(&at("/revocations"), get(feed::revocations).with_state(feeds))
        .route(&at("/spiffe-bundle.json"), get(spiffe_bundle))
        // RFC 8414 §3: the well-known part stands between host and path.
        .route(&format!("/.well-known/oauth-authorization-server{base}"), get(server_metadata))
        .route(&at("/openapi.json"), get(move || async move { admin::openapi_response(&document) }))
        .route(&at("/healthz"), get(health))
        .route(&at("/v1/{*path}"), any(administration_is_elsewhere))
        .with_state(public)
}

/// What every response has unless its handler said otherwise.
fn safe_defaults(headers: &mut HeaderMap) {
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Z9: administration has a listener of its own. Here there is nobody to authorize, so everybody is refused.
async fn administration_is_elsewhere() -> Response {
    admin::problem::unauthorized(admin::problem::Unauthorized::Elsewhere)
}

fn cacheable_json(body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "public, max-age=60"),
        // RFC 9700 §2.6: browsers' clients may read metadata and keys from anywhere; they hold no secret.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, body).into_response()
}

async fn server_metadata(State(public): State<Arc<Public>>) -> Response {
    let mut document = public.engine.metadata();
    if let Some(members) = document.as_object_mut() {
        let issuer = public.engine.issuer();
        members.insert("revocation_feed".to_owned(), metadata::endpoint(issuer, "/revocations").into());
        members.insert("spiffe_bundle_endpoint".to_owned(), metadata::endpoint(issuer, "/spiffe-bundle.json").into());
    }
    cacheable_json(document.to_string())
}

/// Whether it serves; one that is about to end does not.
async fn health(State(public): State<Arc<Public>>) -> Response {
    if *public.shutdown.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn jwks(State(public): State<Arc<Public>>) -> Response {
    cacheable_json(public.authority.access_token_jwks_json().to_string())
}

async fn spiffe_bundle(State(public): State<Arc<Public>>) -> Response {
    cacheable_json(public.authority.jwt_bundle_json().to_string())
}

#[cfg(test)]
mod tests {
    use super::base_path;

    #[test]
    fn an_issuers_path_is_where_its_endpoints_are() {
        assert_eq!(base_path("http://127.0.0.1:8420"), "");
        assert_eq!(base_path("https://login.example/"), "");
        assert_eq!(base_path("https://login.example/tenant/1"), "/tenant/1");
    }
}
