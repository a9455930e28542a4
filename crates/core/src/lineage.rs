//! Lineage: from which tokens and grants a token descends. With it, a revocation is one cut instead of a
//! search for descendants.

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, GrantId, TokenId};

/// The `lineage` claim of an access token.
///
/// A token is revoked when its own `jti` or any of `parents` has been revoked, or any of `grants` or
/// `clients` since it was issued. Because each token carries its whole ancestry (bounded by the chain depth),
/// cutting one ancestor refuses every descendant at the cost of one entry, however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The `jti` of every ancestor token, nearest first. Tokens of other issuers appear as `<issuer>#<jti>`
    /// digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<TokenId>,
    /// Every grant that this token and its ancestors depend on, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantId>,
    /// Every client that an ancestor was issued to, nearest first. An agent that was the client is in `act`
    /// and is not repeated here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientId>,
}

impl Lineage {
    /// Whether the token has no ancestors and depends on no grant.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty() && self.grants.is_empty() && self.clients.is_empty()
    }

    /// The length of its longest list.
    pub fn longest(&self) -> usize {
        self.parents.len().max(self.grants.len()).max(self.clients.len())
    }
}
