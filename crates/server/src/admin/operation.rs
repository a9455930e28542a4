//! What operators do besides the registry: nodes, secrets, revocation, keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mandate_administration::act;
use mandate_api::Problem;
use mandate_api::admin::{
    ClientSecretRequest, JoinTokenRequest, JoinTokenResponse, KeyRotationRequest, KeyRotationResponse,
    PasswordRequest, RevocationRequest, RevocationResponse,
};
use mandate_core::Secret;

use super::authentication::Permitted;
use super::parts::Admin;
use super::problem::{Failed, Named};
use super::registry::body;
use crate::secret_body::ends_connection;

/// Makes a single-use token with which one node joins.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "nodes", request_body = JoinTokenRequest,
    responses((status = 200, body = JoinTokenResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn join_token(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::MakeJoinToken>,
    request: Result<Json<JoinTokenRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    admin
        .administration
        .join_token(permit, request.ttl.map(|ttl| ttl.0))
        .await
        .map(Json)
        .map_err(Failed)
        .into_response()
}

/// Sets the password of a person of the embedded directory. Tokens from logins with the old one are revoked.
#[utoipa::path(post, path = "/v1/people/{name}/password", tag = "people", params(("name" = String, Path)), request_body = PasswordRequest,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_password(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::SetPassword>,
    Named(name): Named<String>,
    request: Result<Json<PasswordRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let password = Secret::new(request.password);
    let set = admin.administration.set_password(permit, name, password).await;
    ends_connection(set.map(|()| StatusCode::NO_CONTENT).map_err(Failed).into_response()).await
}

/// Sets the secret of a confidential client. Tokens that were issued under the old one are revoked.
#[utoipa::path(post, path = "/v1/clients/{id}/secret", tag = "clients", params(("id" = String, Path)), request_body = ClientSecretRequest,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_client_secret(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::SetClientSecret>,
    Named(id): Named<String>,
    request: Result<Json<ClientSecretRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let secret = Secret::new(request.secret);
    let set = admin.administration.set_client_secret(permit, id, secret).await;
    ends_connection(set.map(|()| StatusCode::NO_CONTENT).map_err(Failed).into_response()).await
}

/// Revokes tokens: one with its descendants, or all of a grant, agent, person or client.
#[utoipa::path(post, path = "/v1/revocations", tag = "revocation", request_body = RevocationRequest,
    responses((status = 200, body = RevocationResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::Revoke>,
    request: Result<Json<RevocationRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    admin.administration.revoke(permit, request.target).await.map(Json).map_err(Failed).into_response()
}

/// Signs with the next keys from now on. Issued tokens stay valid until they expire.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "keys", request_body = KeyRotationRequest,
    responses((status = 200, body = KeyRotationResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn rotate(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::RotateKeys>,
    request: Result<Json<KeyRotationRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    admin.administration.rotate_keys(permit, request.purpose).await.map(Json).map_err(Failed).into_response()
}
