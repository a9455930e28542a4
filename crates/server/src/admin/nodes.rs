//! Nodes: which have joined, and stopping one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use mandate_api::Problem;
use mandate_api::admin::{BanResponse, NodeItem, NodeState};
use mandate_identity::IdentityError;
use mandate_store::nodes::{self, Node};

use super::problem::Named;
use super::status::PATIENCE;
use super::to_the_end;
use crate::control::{self, Control};
use crate::error::ControlError;
use crate::operator::Operator;

fn item(node: Node, control: &Control) -> NodeItem {
    let banned = control.stops.has_banned(&node.id);
    NodeItem {
        name: node.id,
        spiffe_id: node.spiffe_id.to_string(),
        state: match node.state {
            nodes::NodeState::Joined if !banned => NodeState::Joined,
            nodes::NodeState::Joined | nodes::NodeState::Banned => NodeState::Banned,
        },
        joined: node.joined.to_string(),
        renewed: node.renewed.to_string(),
        expires: node.expires.to_string(),
    }
}

/// Every node that has ever joined, by name.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes",
    responses((status = 200, body = Vec<NodeItem>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(State(control): State<Arc<Control>>) -> Result<Json<Vec<NodeItem>>, ControlError> {
    let found = control.store.read("list nodes", nodes::list).await?;
    Ok(Json(found.into_iter().map(|node| item(node, &control)).collect()))
}

/// Bans a node permanently: from this moment on it is told nothing and issued nothing, no matter which certificate it has.
#[utoipa::path(post, path = "/v1/nodes/{name}/ban", tag = "nodes", params(("name" = String, Path)),
    responses((status = 200, body = BanResponse), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn ban(
    State(control): State<Arc<Control>>,
    Extension(by): Extension<Operator>,
    Named(name): Named<String>,
) -> Result<Json<BanResponse>, ControlError> {
    let banned = to_the_end(async move {
        control.confirm(&by, "ban a node").await?;
        let recorded = control.identity.ban_node(&by.to_string(), &name).await.map_err(|error| match error {
            IdentityError::NodeUnknown => ControlError::NoSuchNode(name.clone()),
            other => ControlError::Internal(other.to_string()),
        })?;
        // The ban is in force, and the answer does not wait for a disk that hangs.
        let store = control.store.clone();
        let found = control.looks.look(PATIENCE, move || store.read_blocking("read a node", |tx| nodes::get(tx, &name))).await;
        let node = found.and_then(Result::ok).flatten();
        Ok(BanResponse { node: node.map(|node| item(node, &control)), recorded: control::recorded(recorded) })
    });
    banned.await.map(Json)
}
