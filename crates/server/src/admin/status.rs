//! What is running, and what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use mandate_api::Problem;
use mandate_api::admin::{RegistryCounts, Status, StatusProblem};
use mandate_authority::Purpose;
use mandate_identity::Moment;
use mandate_store::nodes::{self, Node};
use mandate_store::{StoreError, records};

use super::operation::keys;
use crate::control::Control;
use crate::health;

/// How long a disk may take. What it does not tell in that time is left out, with a problem that says so.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How many looks may wait for the disk at the same time, over all requests.
pub(crate) const LOOKS: usize = 4;

/// What is running, and what is wrong with it.
#[utoipa::path(get, path = "/v1/status", tag = "status",
    responses((status = 200, body = Status), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn status(State(control): State<Arc<Control>>) -> Json<Status> {
    let snapshot = control.snapshot();
    let registry = &snapshot.registry;
    let count = |n: usize| n as u64;
    let at = Moment::of(&control.clock);
    let now = at.now;
    let (store, stops) = (control.store.clone(), Arc::clone(&control.stops));
    let stored = control.looks.look(PATIENCE, move || {
        let (size, mut nodes) = store.read_blocking("read the status", |tx| Ok((records::size(tx)?, nodes::list(tx)?)))?;
        // A ban that is not in the database yet counts.
        for node in &mut nodes {
            if stops.has_banned(&node.id) {
                node.state = nodes::NodeState::Banned;
            }
        }
        Ok::<_, StoreError>((size, nodes))
    });
    let (checks, disk) = (Arc::clone(&control.health), control.disk.clone());
    let checked = control.looks.look(PATIENCE, move || (checks.problems(now), disk.space()));
    let (stored, checked) = tokio::join!(stored, checked);
    let mut problems = Vec::new();
    let (audit_size, nodes) = match stored {
        Some(Ok((size, nodes))) => (Some(size), Some(nodes)),
        Some(Err(error)) => {
            problems.push(health::database::unreadable(&error));
            (None, None)
        }
        None => {
            problems.push(health::database::silent());
            (None, None)
        }
    };
    let (found, disk) = checked.unwrap_or_else(|| (vec![health::database::checks_wait()], None));
    problems.extend(found);
    problems.extend(nodes.as_deref().and_then(|nodes: &[Node]| health::nodes_away(nodes, at)));
    // Stable: within a severity, what was found first comes first.
    problems.sort_by_key(|problem: &StatusProblem| problem.severity);
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        issuer: control.live.issuer().to_string(),
        trust_domain: control.trust_domain.to_string(),
        node_server: Some(control.node_server.clone()),
        started: control.started.to_string(),
        registry: RegistryCounts {
            resources: count(registry.resources().count()),
            people: count(registry.people().count()),
            agents: count(registry.agents().count()),
            clients: count(registry.clients().count()),
            issuers: count(registry.issuers().count()),
            grants: count(registry.grants().count()),
            policies: count(registry.policies().count()),
        },
        audit_size,
        audit_key: control.authority.checkpoint_vkey().to_owned(),
        cuts: count(snapshot.revocations.len()),
        keys: keys(&control, Purpose::ALL),
        nodes: nodes.map(|nodes| health::count_nodes(&nodes, at)),
        disk,
        problems,
    })
}
