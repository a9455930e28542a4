//! The public listener: OAuth endpoints, login pages, metadata, keys and the revocation feed.

mod cross_origin;
mod csrf;
mod feed;
mod form_endpoints;
mod login;
mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use mandate_authority::Authority;
use mandate_core::{Clock, Entropy, Secret};
use mandate_live::Live;
use mandate_oauth::{Engine, Fault, OAuthError, form, metadata};

use crate::admin;
use crate::health::Counter;
use crate::host::Hosts;
use crate::listener::{Defaults, Shutdown, Site};
use crate::secret_body::ends_connection;

/// How long a form may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A new key for the tokens of login forms.
pub(crate) fn csrf_key(entropy: &dyn Entropy) -> Secret {
    let mut key = [0; 32];
    entropy.fill(&mut key);
    Secret::new(key)
}

/// What the public endpoints work with.
pub(crate) struct Public {
    pub(crate) engine: Engine,
    pub(crate) authority: Arc<Authority>,
    pub(crate) live: Arc<Live>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Makes the tokens of login forms. A restart makes a new one: forms that were open are shown again.
    pub(crate) csrf_key: Secret,
    pub(crate) shutdown: Shutdown,
    /// Cookies are marked `Secure` when browsers reach us over TLS.
    pub(crate) secure_cookies: bool,
    /// Counts the requests for which the queue of slow checks had no place.
    pub(crate) checks_full: Arc<Counter>,
}

impl Public {
    /// Logs an error of an OAuth request. Only one that is the server's own fault is for operators: the others can be caused by
    /// anybody, and are recorded or counted.
    fn note(&self, error: &OAuthError) {
        match error.fault {
            Fault::Server => tracing::error!(error = %error.error, private = %error.private, "an OAuth request failed"),
            Fault::Caller => tracing::debug!(error = %error.error, private = %error.private, "an OAuth request was refused"),
            Fault::Crowd => {
                self.checks_full.add(1);
                tracing::debug!(error = %error.error, private = %error.private, "an OAuth request was refused");
            }
        }
    }
}

/// Where the issuer's paths start: empty, or `/path` for an issuer with a path.
fn base_path(issuer: &str) -> &str {
    let after_scheme = issuer.find("://").map_or(issuer, |at| issuer.get(at + 3..).unwrap_or_default());
    after_scheme.find('/').map_or("", |at| after_scheme.get(at..).unwrap_or_default()).trim_end_matches('/')
}

/// The issuer without its path. Requests have the whole path, so this and it are the URL that a client used.
fn origin(issuer: &str) -> &str {
    let path = base_path(issuer).len();
    let origin = issuer.trim_end_matches('/');
    origin.get(..origin.len().saturating_sub(path)).unwrap_or(origin)
}

/// The public site.
pub(crate) fn site(public: Arc<Public>, hosts: Hosts, defaults: Defaults) -> Site {
    // A connection alone makes nobody an operator here.
    Site { router: router(public), max_body: (form::MAX_BODY, BODY_TIMEOUT), hosts, defaults }
}

/// The addresses at which clients look for the metadata of an issuer with this path.
///
/// RFC 8414 §3 puts the well-known part between host and path. MCP clients of earlier protocol versions leave the path out.
/// Other clients put the path in front, as `OpenID` Connect Discovery does.
fn metadata_paths(base: &str) -> Vec<String> {
    const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
    let mut paths =
        vec![WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}{base}"), format!("{base}{WELL_KNOWN}"), format!("{WELL_KNOWN}{base}/")];
    paths.sort();
    paths.dedup();
    paths
}

fn router(public: Arc<Public>) -> Router {
    let document: Arc<str> = admin::openapi().into();
    let issuer = public.engine.issuer().clone();
    let base = base_path(issuer.as_str()).to_owned();
    let at = |path: &str| format!("{base}{path}");
    let for_scripts = |route: MethodRouter<Arc<Public>>| route.options(cross_origin::preflight);
    let feeds = Arc::new(feed::Feeds::new(Arc::clone(&public.live), public.shutdown.clone()));
    let mut router = Router::new()
        .route(&at(metadata::TOKEN_PATH), for_scripts(post(form_endpoints::token)))
        .route(&at(metadata::INTROSPECT_PATH), post(form_endpoints::introspect))
        .route(&at(metadata::REVOKE_PATH), for_scripts(post(form_endpoints::revoke)))
        .route(&at(metadata::AUTHORIZE_PATH), get(login::show).merge(post(login::submit).layer(map_response(ends_connection))))
        .route(&at(metadata::JWKS_PATH), for_scripts(get(jwks)))
        .route(&at("/revocations"), get(feed::revocations).with_state(feeds))
        .route(&at("/spiffe-bundle.json"), for_scripts(get(spiffe_bundle)))
        .route(&at("/openapi.json"), get(move || async move { admin::openapi_response(&document) }))
        .route(&at("/healthz"), get(health))
        .route(&at("/v1/{*path}"), any(administration_is_elsewhere))
        .route(&at("/"), get(home))
        .fallback(nothing_here);
    if !base.is_empty() {
        router = router.route(&base, get(home));
    }
    for path in metadata_paths(&base) {
        router = router.route(&path, for_scripts(get(server_metadata)));
    }
    router.with_state(public)
}

/// The page at the issuer's URL.
async fn home(State(public): State<Arc<Public>>) -> Response {
    page::home(public.engine.issuer())
}

async fn nothing_here() -> Response {
    page::nothing_here()
}

/// Administration has its own listener. Here nobody can be authorized for it, so every caller is refused.
async fn administration_is_elsewhere() -> Response {
    admin::problem::unauthorized(admin::problem::Unauthorized::Elsewhere)
}

fn cacheable_json(body: String) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=60")];
    cross_origin::readable((headers, body).into_response())
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

/// Whether the server serves requests. A server that is about to end does not.
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
    use super::{base_path, metadata_paths, origin};

    #[test]
    fn metadata_is_where_every_client_looks_for_it() {
        assert_eq!(metadata_paths(""), ["/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/"]);
        assert_eq!(
            metadata_paths("/tenant/1"),
            [
                "/.well-known/oauth-authorization-server",
                "/.well-known/oauth-authorization-server/tenant/1",
                "/.well-known/oauth-authorization-server/tenant/1/",
                "/tenant/1/.well-known/oauth-authorization-server",
            ]
        );
    }

    #[test]
    fn an_issuers_path_is_where_its_endpoints_are() {
        assert_eq!(base_path("http://127.0.0.1:8420"), "");
        assert_eq!(base_path("https://login.example/"), "");
        assert_eq!(base_path("https://login.example/tenant/1"), "/tenant/1");
        assert_eq!(origin("http://127.0.0.1:8420"), "http://127.0.0.1:8420");
        assert_eq!(origin("https://login.example/"), "https://login.example");
        assert_eq!(origin("https://login.example/tenant/1/"), "https://login.example");
    }
}
