//! The answer of the policies when they do not deny.

use std::collections::BTreeSet;
use std::sync::Arc;

use mandate_core::ScopeSet;

/// Proof that policy permitted some of the scopes asked for. Only
/// [`Policies::evaluate`](crate::Policies::evaluate) makes one.
#[derive(Debug)]
pub struct PolicyPermit {
    scopes: ScopeSet,
    policies: Arc<[String]>,
}

/// Policy permits some of the scopes asked for, once a person has approved that. Only
/// [`Policies::evaluate`](crate::Policies::evaluate) makes one. It is no [`PolicyPermit`], and cannot be
/// made into one.
#[derive(Debug)]
pub struct Demand {
    scopes: ScopeSet,
    policies: Arc<[String]>,
    by: Arc<[String]>,
}

impl Demand {
    /// The names of the policies that demand the approval, sorted.
    pub fn by(&self) -> &[String] {
        &self.by
    }
}

/// The answer to a question that is not denied.
#[derive(Debug)]
pub enum Ruling {
    /// Permitted at once, and by which policies.
    Permitted(PolicyPermit),
    /// Permitted as a whole once a person has approved it. If one scope needs an approval, no scope is
    /// permitted without it: the request is never narrowed to the scopes that need none, because then no
    /// person would be asked.
    NeedsApproval(Demand),
}

impl Ruling {
    /// `permitted` are the names of the policies that permitted these scopes, of which those in `demanding`
    /// demand an approval.
    pub(super) fn of(scopes: ScopeSet, permitted: BTreeSet<String>, demanding: &BTreeSet<String>) -> Self {
        let by: Arc<[String]> = permitted.intersection(demanding).cloned().collect();
        let policies = permitted.into_iter().collect();
        if by.is_empty() {
            Self::Permitted(PolicyPermit { scopes, policies })
        } else {
            Self::NeedsApproval(Demand { scopes, policies, by })
        }
    }

    /// The scopes that both the person and the agent are permitted, now or after an approval. Never empty,
    /// never more than was asked for.
    pub fn scopes(&self) -> &ScopeSet {
        match self {
            Self::Permitted(PolicyPermit { scopes, .. }) | Self::NeedsApproval(Demand { scopes, .. }) => {
                scopes
            }
        }
    }

    /// The names of the policies that permitted, sorted.
    pub fn policies(&self) -> &Arc<[String]> {
        match self {
            Self::Permitted(PolicyPermit { policies, .. }) | Self::NeedsApproval(Demand { policies, .. }) => {
                policies
            }
        }
    }
}
