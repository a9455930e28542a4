//! The decision on an agent's own token: nobody's authority but what its entry lets it do by itself.

use std::sync::Arc;

use mandate_core::registry::OneTenant;
use mandate_core::{ActorChain, ResourceUri, ScopeSet, Terms, Timestamp, TokenId};
use mandate_policy::{NoRuling, OwnQuestion, Ruling};

use crate::VerifiedActor;
use crate::approval::{NeedsApproval, Withheld};
use crate::mandate::{Mandate, MandateView};
use crate::refusal::{RefusalReason, ScopeBounds};

use super::facts::{Facts, active_agent, actor_of, agent_client_id, delegable_resource, resource_of};
use super::limits::{asked_exists, intersect, own_behalf_expiry, own_bounds};
use super::proven::ProofBound;

/// An agent that asks for itself: there is no person.
#[derive(Clone, Debug)]
pub struct OwnBehalf {
    /// The agent, which is also the client.
    pub agent: VerifiedActor,
    /// The resource that the token is for.
    pub resource: ResourceUri,
    /// The scopes that are asked for; absent: everything that is permitted.
    pub scopes: Option<ScopeSet>,
    /// The `jti` of the new token.
    pub jti: TokenId,
}

pub(super) fn decide_own_behalf(
    own: OwnBehalf,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Mandate, Withheld> {
    let OwnBehalf { agent: proven, resource, scopes, jti } = own;
    let agent = active_agent(proven.spiffe_id(), facts.registry)?;
    if !proven.still_stands(facts.registry, facts.revocations, now) {
        return Err(RefusalReason::ProofOutdated.into());
    }
    // Checked before the resource: an agent that may do nothing by itself learns nothing about resources.
    if agent.may.is_empty() {
        return Err(RefusalReason::NotOnOwnBehalf.into());
    }
    // Somebody is always responsible for an agent, also if it acts for nobody.
    let owner = facts.registry.person(&agent.owner).ok_or(RefusalReason::NotOnOwnBehalf)?;
    if owner.disabled {
        return Err(RefusalReason::OwnerDisabled.into());
    }
    let target = delegable_resource(&resource, facts)?;
    let tenant = OneTenant::default()
        .with("agent", agent.tenant.as_ref())?
        .with("resource", target.tenant.as_ref())?
        .name()
        .cloned();
    if let Some(asked) = &scopes {
        asked_exists(asked, target)?;
    }
    let within = ProofBound::of([&proven], agent, target);
    let bounds = own_bounds(scopes.as_ref().unwrap_or(&target.scopes), agent, target);
    let narrowed = intersect(ScopeBounds { proof: within.scopes.clone(), ..bounds })?;

    let client = agent_client_id(&proven)?;
    let question =
        OwnQuestion { agent, owner, resource: target, scopes: &narrowed, client: client.as_str(), now };
    let ruling = facts.policies.evaluate_own(&question).map_err(|none| match none {
        NoRuling::Denied(denial) => denial.into(),
        NoRuling::Failed(why) => Withheld::Failed(why),
    })?;
    // As at an exchange: a policy can only take away.
    let scopes = narrowed.intersection(ruling.scopes());

    let expires = own_behalf_expiry(agent, &within.limits, target, (now, facts.behind))?;
    let chain = ActorChain::new(vec![actor_of(agent, facts)]).map_err(RefusalReason::from)?;
    // There is no subject token: nothing is inherited, and nobody has logged in.
    let terms = Terms {
        chain,
        tenant,
        ..Terms::new(facts.issuer.clone(), None, client, resource_of(target), scopes, jti, (now, expires))
    };
    let view = MandateView {
        terms: Arc::new(terms),
        reservations: Vec::new(),
        policies: Arc::clone(ruling.policies()),
        said_actors: None,
        evidence: within.on_record(proven.proof_evidence().map(Arc::clone)),
    };
    match &*ruling {
        Ruling::Permitted(_) => Ok(Mandate::decided(view)?),
        Ruling::NeedsApproval(demand) => {
            Err(Withheld::NeedsApproval(NeedsApproval::decided(&view, demand.by())?))
        }
    }
}
