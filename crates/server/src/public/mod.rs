//! The public listener: OAuth endpoints, login pages, metadata, keys and the revocation feed.

mod browser;
mod cross_origin;
mod csrf;
mod device;
mod feed;
mod form_endpoints;
mod forms;
mod login;
mod login_seal;
mod page;
mod parts;
mod paths;
mod provider_login;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use mandate_core::registry::{EVENTS_PATH, LOGIN_CALLBACK_PATH, LOGOUT_PATH};
use mandate_core::{Entropy, Secret};
use mandate_oauth::{form, metadata};

pub(crate) use login_seal::LoginSeal;
pub(crate) use parts::Public;

use crate::admin;
use crate::host::Hosts;
use crate::listener::{ListenerDefaults, Site};
use crate::secret_body::ends_connection;
use paths::{base_path, metadata_paths, openid_paths};

/// How long a form may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A new key for the tokens of login forms.
pub(crate) fn csrf_key(entropy: &dyn Entropy) -> Secret {
    let mut key = [0; 32];
    entropy.fill(&mut key);
    Secret::new(key)
}

pub(crate) fn site(public: Arc<Public>, hosts: Hosts, defaults: ListenerDefaults) -> Site {
    // A connection alone makes nobody an operator here.
    Site { router: router(public), max_body: (form::MAX_BODY, BODY_TIMEOUT), hosts, defaults }
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
        .route(&at(metadata::PAR_PATH), for_scripts(post(form_endpoints::push)))
        .route(&at(metadata::INTROSPECT_PATH), post(form_endpoints::introspect))
        .route(&at(metadata::REVOKE_PATH), for_scripts(post(form_endpoints::revoke)))
        .route(
            &at(metadata::AUTHORIZE_PATH),
            get(login::show).merge(post(login::submit).layer(map_response(ends_connection))),
        )
        .route(&at(metadata::DEVICE_AUTHORIZATION_PATH), post(form_endpoints::device_authorization))
        .route(
            &at(metadata::DEVICE_PATH),
            get(device::show).merge(post(device::submit).layer(map_response(ends_connection))),
        )
        .route(&at(&format!("{LOGIN_CALLBACK_PATH}/{{provider}}")), get(provider_login::come_back))
        .route(&at(LOGOUT_PATH), post(form_endpoints::end_provider_session))
        .route(&at(&format!("{EVENTS_PATH}/{{provider}}")), post(form_endpoints::take_security_event))
        .route(&at(metadata::JWKS_PATH), for_scripts(get(jwks)))
        .route(&at("/revocations"), get(feed::revocations).with_state(feeds))
        .route(&at("/spiffe-bundle.json"), for_scripts(get(spiffe_bundle)))
        .route(&at("/openapi.json"), get(move || async move { admin::openapi_response(&document) }))
        .route(&at("/healthz"), get(health))
        .route(&at("/v1/{*path}"), any(administration_is_elsewhere))
        .route(&at("/"), get(home))
        .fallback(nothing_here);
    if public.engine.registers_clients() {
        let register = post(form_endpoints::register);
        router = router.route(&at(metadata::REGISTER_PATH), for_scripts(register));
    }
    if !base.is_empty() {
        router = router.route(&base, get(home));
    }
    for path in metadata_paths(&base) {
        router = router.route(&path, for_scripts(get(server_metadata)));
    }
    for path in openid_paths(&base) {
        router = router.route(&path, for_scripts(get(openid_configuration)));
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
    cacheable_json(metadata_of(&public).to_string())
}

/// The same values for clients that only know `OpenID` Connect Discovery.
async fn openid_configuration(State(public): State<Arc<Public>>) -> Response {
    cacheable_json(metadata::for_openid_clients(metadata_of(&public)).to_string())
}

/// The metadata of the engine, and of what only this listener serves.
fn metadata_of(public: &Public) -> serde_json::Value {
    let mut document = public.engine.metadata();
    if let Some(members) = document.as_object_mut() {
        let issuer = public.engine.issuer();
        members.insert("revocation_feed".to_owned(), metadata::endpoint(issuer, "/revocations").into());
        members.insert(
            "spiffe_bundle_endpoint".to_owned(),
            metadata::endpoint(issuer, "/spiffe-bundle.json").into(),
        );
    }
    document
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
