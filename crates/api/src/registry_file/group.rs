//! `[[group]]`: groups of identity providers.

use mandate_core::registry::Group;
use mandate_core::{GroupName, Issuer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PermissionItem;
use super::permission::permissions;

/// `[[group]]`: a group of an identity provider, with what its members may do besides what their own entries
/// allow. Who is a member, the issuer's tokens say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupItem {
    /// Its name in the registry, by which our tokens name it.
    #[schema(value_type = String, example = "support")]
    pub name: GroupName,
    /// The issuer whose tokens say who is a member, in the claim that `claims.groups` of its entry names.
    #[schema(value_type = String, example = "https://login.acme.example")]
    pub issuer: Issuer,
    /// What they say: the exact text, 1 to 128 bytes. Absent: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "support-staff")]
    pub id: Option<String>,
    /// What its members may do.
    #[serde(default)]
    pub may: Vec<PermissionItem>,
}

impl GroupItem {
    /// The item that declares a group.
    pub(super) fn of(group: &Group) -> Self {
        let Group { name, issuer, id, may } = group.clone();
        Self { name, issuer, id: Some(id), may: permissions(&may) }
    }
}
