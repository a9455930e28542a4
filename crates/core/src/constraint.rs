//! Constraints: what a ceiling or grant limits besides scopes. A constraint can only narrow.

use serde::{Deserialize, Serialize};

use crate::time::Lifetime;

/// The limits of a ceiling or a grant. The constraints of a mandate are the intersection of all that apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// The longest time for which a token under this may be valid. Absent: only the authority's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
}

impl Constraints {
    /// The narrower of both, member by member.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let lifetime = match (self.lifetime, other.lifetime) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { lifetime }
    }
}
