//! Registry routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use mandate_api::Problem;
use mandate_api::admin::{AgentStateRequest, ApplyRequest, ApplyResponse, PersonStateRequest, RegistryEntry, RegistryItem, parse_kind};
use mandate_core::registry::{Entry, Kind};

use super::problem::Named;
use super::{problem, to_the_end};
use crate::control::{Control, is_administration};
use crate::error::ControlError;
use crate::operator::Operator;

/// A JSON body, or the problem with it.
#[expect(clippy::result_large_err, reason = "the error is the response itself, made once for a request that ends with it")]
pub(super) fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Response> {
    body.map(|Json(value)| value).map_err(|rejection| problem::unreadable(&rejection.body_text(), rejection.status()))
}

/// Applies a registry file: creates, changes and with `prune` removes; all of it or nothing.
#[utoipa::path(post, path = "/v1/apply", tag = "registry", request_body = ApplyRequest,
    responses((status = 200, body = ApplyResponse), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn apply(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    request: Result<Json<ApplyRequest>, JsonRejection>,
) -> Response {
    let request = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    to_the_end(async move { control.apply(&by, request).await }).await.map(Json).into_response()
}

/// Changes the state of an agent, and nothing else of its entry, also if others change it at the same time.
#[utoipa::path(post, path = "/v1/agents/{name}/state", tag = "registry", params(("name" = String, Path)), request_body = AgentStateRequest,
    responses((status = 200, body = ApplyResponse), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn set_agent_state(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    Named(name): Named<String>,
    request: Result<Json<AgentStateRequest>, JsonRejection>,
) -> Response {
    let AgentStateRequest { state } = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let set = move |item: &mut RegistryItem| {
        if let RegistryItem::Agent(agent) = item {
            agent.state = Some(state);
        }
    };
    to_the_end(async move { control.change_entry(&by, Kind::Agent, &name, set).await }).await.map(Json).into_response()
}

/// Disables or enables a person, and changes nothing else of their entry, also if others change it at the same time.
#[utoipa::path(post, path = "/v1/people/{name}/state", tag = "people", params(("name" = String, Path)), request_body = PersonStateRequest,
    responses((status = 200, body = ApplyResponse), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn set_person_state(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    Named(name): Named<String>,
    request: Result<Json<PersonStateRequest>, JsonRejection>,
) -> Response {
    let PersonStateRequest { disabled } = match body(request) {
        Ok(request) => request,
        Err(response) => return response,
    };
    let set = move |item: &mut RegistryItem| {
        if let RegistryItem::Person(person) = item {
            person.disabled = Some(disabled);
        }
    };
    to_the_end(async move { control.change_entry(&by, Kind::Person, &name, set).await }).await.map(Json).into_response()
}

/// All entries of a kind, by name.
#[utoipa::path(get, path = "/v1/registry/{kind}", tag = "registry", params(("kind" = String, Path, description = "`agent`, `resource`, `person`, `client`, `issuer`, `grant` or `policy`")),
    responses((status = 200, body = Vec<RegistryEntry>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Named(kind): Named<String>,
) -> Result<Json<Vec<RegistryEntry>>, ControlError> {
    let kind = parse_kind(&kind).ok_or_else(|| ControlError::BadRequest(format!("there is no kind `{kind}`")))?;
    let entries = control.snapshot().registry.entries();
    Ok(Json(entries.iter().filter(|entry| entry.kind() == kind).map(|entry| describe(&control, entry)).collect()))
}

/// One entry.
#[utoipa::path(get, path = "/v1/registry/{kind}/{name}", tag = "registry", params(("kind" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = RegistryEntry), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn entry(
    State(control): State<Arc<Control>>,
    Named((kind, name)): Named<(String, String)>,
) -> Result<Json<RegistryEntry>, ControlError> {
    let kind = parse_kind(&kind).ok_or_else(|| ControlError::BadRequest(format!("there is no kind `{kind}`")))?;
    let found = control.snapshot().registry.get(kind, &name).ok_or(ControlError::NotFound { kind, name })?;
    Ok(Json(describe(&control, &found)))
}

fn describe(control: &Control, entry: &Entry) -> RegistryEntry {
    let uses = match entry {
        Entry::Grant(grant) => Some(control.live.uses(&grant.id)),
        _ => None,
    };
    let built_in = is_administration(entry, control.live.issuer());
    RegistryEntry { item: RegistryItem::of(entry, control.live.issuer()), uses, built_in }
}
