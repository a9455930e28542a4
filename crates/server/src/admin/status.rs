//! What is running, and what is wrong with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mandate_administration::{Overview, StoredStatus, act};
use mandate_api::Problem;
use mandate_api::admin::{Status, StatusProblem};

use super::authentication::Permitted;
use super::parts::Admin;
use crate::health;

/// What is running, and what is wrong with it. What a disk does not tell in time is left out, with a problem
/// that says so.
#[utoipa::path(get, path = "/v1/status", tag = "status",
    responses((status = 200, body = Status), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn status(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadStatus>,
) -> Json<Status> {
    let engine = &admin.administration;
    let Overview { issuer, trust_domain, registry, cuts, keys, audit_key, at } = engine.overview(&permit);
    let (checks, disk) = (Arc::clone(&admin.health), admin.disk.clone());
    let checked = engine.look(&permit, move || (checks.problems(at.now), disk.space()));
    let (stored, checked) = tokio::join!(engine.stored(&permit), checked);
    let mut problems = Vec::new();
    let (audit_size, nodes) = match stored {
        Some(Ok(StoredStatus { audit_size, nodes })) => (Some(audit_size), Some(nodes)),
        Some(Err(error)) => {
            problems.push(health::database::unreadable(&error, &admin.database));
            (None, None)
        }
        None => {
            problems.push(health::database::silent(&admin.database));
            (None, None)
        }
    };
    let (found, disk) = checked.unwrap_or_else(|| (vec![health::database::checks_wait()], None));
    problems.extend(found);
    problems.extend(nodes.as_deref().and_then(|nodes| health::nodes_away(nodes, at)));
    // Stable: within a severity, what was found first comes first.
    problems.sort_by_key(|problem: &StatusProblem| problem.severity);
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        issuer: issuer.to_string(),
        trust_domain: trust_domain.to_string(),
        node_server: Some(admin.node_server.clone()),
        started: admin.started.to_string(),
        registry,
        audit_size,
        audit_key,
        cuts,
        keys,
        nodes: nodes.map(|nodes| health::count_nodes(&nodes, at)),
        disk,
        problems,
    })
}
