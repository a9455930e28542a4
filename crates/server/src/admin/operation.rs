//! What operators do besides the registry: nodes, secrets, revocation, keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mandate_api::Problem;
use mandate_api::admin::{
    ClientSecretRequest, JoinTokenRequest, JoinTokenResponse, KeyItem, KeyRotationRequest, KeyRotationResponse, PasswordRequest,
    RevocationRequest, RevocationResponse,
};
use mandate_authority::{Purpose, RotateError};
use mandate_core::{Clock as _, Secret};

use super::problem::Named;
use super::registry::body;
use super::to_the_end;
use crate::control::Control;
use crate::error::ControlError;
use crate::operator::Operator;
use crate::secret_body::ends_connection;

/// A single-use token with which one node joins.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "nodes", request_body = JoinTokenRequest,
    responses((status = 200, body = JoinTokenResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn join_token(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    request: Result<Json<JoinTokenRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    control.join_token(&by, request.ttl.map(|ttl| ttl.0)).await.map(Json).into_response()
}

/// Sets the password of a person of the embedded directory. Tokens from logins with the old one are revoked.
#[utoipa::path(post, path = "/v1/people/{name}/password", tag = "people", params(("name" = String, Path)), request_body = PasswordRequest,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn set_password(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    Named(name): Named<String>,
    request: Result<Json<PasswordRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let password = Secret::new(request.password);
    let set = to_the_end(async move { control.set_password(&by, &name, password).await }).await;
    ends_connection(set.map(|()| StatusCode::NO_CONTENT).into_response()).await
}

/// Sets the secret of a confidential client. Tokens that were issued under the old one are revoked.
#[utoipa::path(post, path = "/v1/clients/{id}/secret", tag = "clients", params(("id" = String, Path)), request_body = ClientSecretRequest,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn set_client_secret(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    Named(id): Named<String>,
    request: Result<Json<ClientSecretRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let secret = Secret::new(request.secret);
    let set = to_the_end(async move { control.set_client_secret(&by, &id, secret).await }).await;
    ends_connection(set.map(|()| StatusCode::NO_CONTENT).into_response()).await
}

/// Revokes tokens: one with its descendants, or all of a grant, agent, person or client.
#[utoipa::path(post, path = "/v1/revocations", tag = "revocation", request_body = RevocationRequest,
    responses((status = 200, body = RevocationResponse), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    request: Result<Json<RevocationRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let revoked = to_the_end(async move { control.revoke(&by, request.target).await }).await;
    revoked.map(Json).into_response()
}

/// Signs with the next keys from now on. Issued tokens stay valid until they expire.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "keys", request_body = KeyRotationRequest,
    responses((status = 200, body = KeyRotationResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn rotate(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    request: Result<Json<KeyRotationRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    to_the_end(async move { rotate_keys(control, &by, request.purpose.as_deref()).await }).await.map(Json).into_response()
}

async fn rotate_keys(control: Arc<Control>, by: &Operator, purpose: Option<&str>) -> Result<KeyRotationResponse, ControlError> {
    let purposes = match purpose {
        None => vec![Purpose::AccessToken, Purpose::JwtSvid],
        Some("access-token") => vec![Purpose::AccessToken],
        Some("jwt-svid") => vec![Purpose::JwtSvid],
        Some(other) => return Err(ControlError::BadRequest(format!("there is no key purpose `{other}`: use access-token or jwt-svid"))),
    };
    // All or none: what is known to fail is refused before anything is recorded as done.
    let now = control.clock.now();
    for purpose in &purposes {
        if let Some(ready) = control.authority.ready(*purpose).filter(|ready| *ready > now) {
            let error = RotateError::TooSoon { ready };
            return Err(rotation_refused(&control, by, *purpose, TOO_SOON, &error).await);
        }
    }
    for purpose in &purposes {
        control.record_act(by, format!("rotate the {purpose} key")).await?;
        let (authority, purpose) = (Arc::clone(&control.authority), *purpose);
        let rotated = tokio::task::spawn_blocking(move || authority.rotate(purpose, now)).await;
        match rotated.map_err(|error| ControlError::Internal(error.to_string()))? {
            Ok(()) => {}
            // Another rotation came between.
            Err(error @ RotateError::TooSoon { .. }) => return Err(rotation_refused(&control, by, purpose, TOO_SOON, &error).await),
            Err(error @ RotateError::Keys(_)) => return Err(rotation_refused(&control, by, purpose, "internal", &error).await),
        }
    }
    Ok(KeyRotationResponse { keys: keys(&control, &purposes) })
}

/// The reason for a rotation that must wait.
const TOO_SOON: &str = "key_published_too_recently";

/// Records that a key was not rotated, also if an earlier record says that it would be.
async fn rotation_refused(control: &Control, by: &Operator, purpose: Purpose, reason: &'static str, error: &RotateError) -> ControlError {
    match control.record_refused(Some(by.to_string()), None, reason, format!("rotate the {purpose} key: {error}")).await {
        Ok(()) => match error {
            RotateError::TooSoon { .. } => ControlError::Conflict(error.to_string()),
            RotateError::Keys(_) => ControlError::Internal(error.to_string()),
        },
        Err(unavailable) => unavailable,
    }
}

pub(super) fn keys(control: &Control, purposes: &[Purpose]) -> Vec<KeyItem> {
    let active = |purpose: &Purpose| KeyItem {
        purpose: purpose.as_str().replace('_', "-"),
        kid: control.authority.active_key(*purpose),
        state: "active".to_owned(),
    };
    purposes.iter().map(active).collect()
}
