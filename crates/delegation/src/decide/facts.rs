//! What one decision is made on: the snapshot, and what the registry says of a party or a resource.

use std::time::Duration;

use mandate_core::registry::{Agent, AgentState, Registry, Resource};
use mandate_core::uri::same;
use mandate_core::{
    Actor, Audience, ClientId, Issuer, MeterId, ResourceUri, RevocationSet, SpiffeId, SubjectProfile,
};
use mandate_policy::Policies;

use crate::VerifiedActor;
use crate::refusal::RefusalReason;

/// What is known at the time of the decision: one immutable snapshot.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The `iss` of the tokens that this server issues.
    pub issuer: &'a Issuer,
    /// The entries of the snapshot.
    pub registry: &'a Registry,
    /// The policies of the same snapshot.
    pub policies: &'a Policies,
    /// The cuts in force.
    pub revocations: &'a RevocationSet,
    /// The count of a meter: how much of it is used up.
    pub used: &'a dyn Fn(&MeterId) -> u64,
    /// How far the machine's clock is behind the time of the decision. The lifetime of the token is shorter
    /// by this.
    pub behind: Duration,
}

/// An agent, if it is registered and active.
pub(super) fn active_agent<'a>(id: &SpiffeId, registry: &'a Registry) -> Result<&'a Agent, RefusalReason> {
    let agent = registry.agent_by_id(id).ok_or(RefusalReason::ActorUnknown)?;
    if agent.state == AgentState::Active { Ok(agent) } else { Err(RefusalReason::AgentNotActive) }
}

/// The agent, as tokens name it.
pub(super) fn actor_of(agent: &Agent, facts: &Facts<'_>) -> Actor {
    Actor {
        sub: agent.spiffe_id.as_str().to_owned(),
        iss: facts.issuer.clone(),
        sub_profile: Some(SubjectProfile::AiAgent),
    }
}

pub(super) fn agent_client_id(agent: &VerifiedActor) -> Result<ClientId, RefusalReason> {
    // Every SPIFFE ID is printable ASCII of at most 2048 bytes, so it is a client id too.
    ClientId::try_from(agent.spiffe_id().shared()).map_err(|_| RefusalReason::ActorUnknown)
}

/// A resource, if it is registered and not our own administration.
pub(super) fn delegable_resource<'a>(
    uri: &ResourceUri,
    facts: &Facts<'a>,
) -> Result<&'a Resource, RefusalReason> {
    let resource = facts.registry.resource_by_uri(uri).ok_or(RefusalReason::ResourceUnknown)?;
    if same(resource.uri.as_str(), facts.issuer.as_str()) {
        Err(RefusalReason::ResourceNotDelegable)
    } else {
        Ok(resource)
    }
}

/// As it is registered: the caller may have written an empty path in the other way.
pub(super) fn resource_of(target: &Resource) -> Audience {
    Audience::one(target.uri.as_str().to_owned())
}
