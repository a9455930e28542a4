//! Nodes: which have joined, and stopping one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use mandate_administration::act;
use mandate_api::Problem;
use mandate_api::admin::{BanResponse, NodeItem};

use super::authentication::Permitted;
use super::pages::{Asked, answer};
use super::parts::Admin;
use super::problem::{Failed, Named};

/// Nodes that have ever joined, by name.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes",
    params(("limit" = Option<usize>, Query, description = "at most this many, 1 to 500"), ("after" = Option<String>, Query, description = "the cursor of an earlier page")),
    responses((status = 200, body = Vec<NodeItem>, headers(("link" = Option<String>, description = "the next page, if there is one: `<?after=…>; rel=\"next\"`"))), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadNodes>,
    asked: Asked,
) -> Result<Response, Failed> {
    Ok(answer(&asked, admin.administration.nodes(&permit, asked.page()?).await?))
}

/// Bans a node permanently: from this moment on it gets no information and no identities, no matter which
/// certificate it has.
#[utoipa::path(post, path = "/v1/nodes/{name}/ban", tag = "nodes", params(("name" = String, Path)),
    responses((status = 200, body = BanResponse), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn ban(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::BanNode>,
    Named(name): Named<String>,
) -> Result<Json<BanResponse>, Failed> {
    Ok(Json(admin.administration.ban_node(permit, name).await?))
}
