//! Permissions as a file writes them.

use mandate_core::registry::Permission;
use mandate_core::{Lifetime, ResourceName, Scope, ScopeSet};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Scopes on one resource, in `may` of a person or an agent and `ceiling` of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionItem {
    /// The name of the resource.
    #[schema(value_type = String)]
    pub resource: ResourceName,
    /// The scopes of that resource.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// The longest time for which a token under this may be valid, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5m")]
    pub lifetime: Option<Lifetime>,
}

pub(super) fn list(scopes: &ScopeSet) -> Vec<Scope> {
    scopes.iter().cloned().collect()
}

pub(super) fn permissions(all: &[Permission]) -> Vec<PermissionItem> {
    let item = |p: &Permission| PermissionItem {
        resource: p.resource.clone(),
        scopes: list(&p.scopes),
        lifetime: p.constraints.lifetime,
    };
    all.iter().map(item).collect()
}
