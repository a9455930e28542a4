//! Registry routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use mandate_administration::{AdministrationError, OnAgent, OnPerson, act};
use mandate_api::Problem;
use mandate_api::admin::{
    AgentStateRequest, ApplyRequest, ApplyResponse, PersonStateRequest, RegistryEntry, parse_kind,
};
use mandate_core::registry::{AgentState, EntryKind};

use super::authentication::{Caller, Permitted};
use super::pages::{Asked, answer};
use super::parts::Admin;
use super::problem::{self, Failed, Named};

/// A JSON body, or the problem with it.
#[expect(
    clippy::result_large_err,
    reason = "the error is the response itself, made once for a request that ends with it"
)]
pub(super) fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Response> {
    body.map(|Json(value)| value)
        .map_err(|rejection| problem::unreadable(&rejection.body_text(), rejection.status()))
}

/// Applies a registry file: creates, changes and with `prune` removes; all of it or nothing.
#[utoipa::path(post, path = "/v1/apply", tag = "registry", request_body = ApplyRequest,
    responses((status = 200, body = ApplyResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn apply(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ApplyRegistry>,
    request: Result<Json<ApplyRequest>, JsonRejection>,
) -> Result<Json<ApplyResponse>, Response> {
    let request = body(request)?;
    admin.administration.apply(permit, request).await.map(Json).map_err(|error| Failed(error).into_response())
}

/// Changes the state of an agent, and nothing else of its entry, also if others change it at the same time.
#[utoipa::path(post, path = "/v1/agents/{name}/state", tag = "registry", params(("name" = String, Path)), request_body = AgentStateRequest,
    responses((status = 200, body = ApplyResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn set_agent_state(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(name): Named<String>,
    request: Result<Json<AgentStateRequest>, JsonRejection>,
) -> Result<Json<ApplyResponse>, Response> {
    let AgentStateRequest { state } = body(request)?;
    match state {
        AgentState::Active => change_agent::<act::ActivateAgent>(&admin, &caller, name).await,
        AgentState::Suspended => change_agent::<act::SuspendAgent>(&admin, &caller, name).await,
        AgentState::Contained => change_agent::<act::ContainAgent>(&admin, &caller, name).await,
        AgentState::Retired => change_agent::<act::RetireAgent>(&admin, &caller, name).await,
    }
}

/// Ends the containment of an agent, which is then suspended.
#[utoipa::path(post, path = "/v1/agents/{name}/release", tag = "registry", params(("name" = String, Path)),
    responses((status = 200, body = ApplyResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn release_agent(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<ApplyResponse>, Response> {
    change_agent::<act::ReleaseAgent>(&admin, &caller, name).await
}

async fn change_agent<A: OnAgent>(
    admin: &Admin,
    caller: &Caller,
    name: String,
) -> Result<Json<ApplyResponse>, Response> {
    let permit = caller.permit::<A>(admin).await?;
    admin
        .administration
        .change_agent(permit, name)
        .await
        .map(Json)
        .map_err(|error| Failed(error).into_response())
}

/// Disables or enables a person, and changes nothing else of their entry, also if others change it at the
/// same time.
#[utoipa::path(post, path = "/v1/people/{name}/state", tag = "people", params(("name" = String, Path)), request_body = PersonStateRequest,
    responses((status = 200, body = ApplyResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn set_person_state(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(name): Named<String>,
    request: Result<Json<PersonStateRequest>, JsonRejection>,
) -> Result<Json<ApplyResponse>, Response> {
    if body(request)?.disabled {
        change_person::<act::DisablePerson>(&admin, &caller, name).await
    } else {
        change_person::<act::EnablePerson>(&admin, &caller, name).await
    }
}

async fn change_person<A: OnPerson>(
    admin: &Admin,
    caller: &Caller,
    name: String,
) -> Result<Json<ApplyResponse>, Response> {
    let permit = caller.permit::<A>(admin).await?;
    admin
        .administration
        .change_person(permit, name)
        .await
        .map(Json)
        .map_err(|error| Failed(error).into_response())
}

/// Entries of a kind, by name.
#[utoipa::path(get, path = "/v1/registry/{kind}", tag = "registry",
    params(("kind" = String, Path, description = "`agent`, `resource`, `person`, `client`, `issuer`, `trust_domain`, `grant` or `policy`"), ("limit" = Option<usize>, Query, description = "at most this many, 1 to 500"), ("after" = Option<String>, Query, description = "the cursor of an earlier page")),
    responses((status = 200, body = Vec<RegistryEntry>, headers(("link" = Option<String>, description = "the next page, if there is one: `<?after=…>; rel=\"next\"`"))), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadRegistry>,
    Named(kind): Named<String>,
    asked: Asked,
) -> Result<Response, Failed> {
    let kind = known(&kind)?;
    Ok(answer(&asked, admin.administration.list(&permit, kind, &asked.page()?)))
}

/// The entry with this kind and name.
#[utoipa::path(get, path = "/v1/registry/{kind}/{name}", tag = "registry", params(("kind" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = RegistryEntry), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn entry(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadRegistry>,
    Named((kind, name)): Named<(String, String)>,
) -> Result<Json<RegistryEntry>, Failed> {
    Ok(Json(admin.administration.entry(&permit, known(&kind)?, &name)?))
}

fn known(kind: &str) -> Result<EntryKind, AdministrationError> {
    parse_kind(kind).ok_or_else(|| AdministrationError::BadRequest(format!("there is no kind `{kind}`")))
}
