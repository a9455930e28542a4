//! What the proof of an agent limits: a run that a stranger can start is given less than others, whatever the
//! agent's own ceiling allows.

use std::sync::Arc;

use mandate_core::ScopeSet;
use mandate_core::constraint::Constraints;
use mandate_core::registry::{Agent, Permission, ProofEvidence, Resource};

use crate::VerifiedActor;

use super::limits::{limits_on, scopes_on};

/// The bound that proofs with a ceiling of their own set on one resource.
pub(super) struct ProofBound {
    /// The scopes that all of them allow; `None` if none of them has a ceiling.
    pub(super) scopes: Option<ScopeSet>,
    /// The limits that any of them sets.
    pub(super) limits: Constraints,
}

impl ProofBound {
    /// Of what `actors` proved, which is the same agent: the client and the actor token.
    pub(super) fn of<'a>(
        actors: impl IntoIterator<Item = &'a VerifiedActor>,
        agent: &Agent,
        target: &Resource,
    ) -> Self {
        let ceilings: Vec<&[Permission]> =
            actors.into_iter().flat_map(|actor| actor.ceilings(agent)).collect();
        let scopes = ceilings.iter().map(|ceiling| scopes_on(ceiling, &target.name));
        let limits = ceilings.iter().map(|ceiling| limits_on(ceiling, &target.name));
        Self {
            scopes: scopes.reduce(|all, more| all.intersection(&more)),
            limits: limits.fold(Constraints::default(), |all, more| all.intersection(&more)),
        }
    }

    /// What the token said, for the record, with this bound.
    pub(super) fn on_record(&self, evidence: Option<Arc<ProofEvidence>>) -> Option<Arc<ProofEvidence>> {
        let Some(scopes) = &self.scopes else { return evidence };
        evidence.map(|said| {
            Arc::new(ProofEvidence { ceiling: Some(scopes.clone()), ..ProofEvidence::clone(&said) })
        })
    }
}
