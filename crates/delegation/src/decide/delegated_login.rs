//! A code that a person gives for one agent: what is asked, and what is known before the agent is proven.

use mandate_core::registry::{AgentState, Client, Registry};
use mandate_core::{AgentName, ClientId, ResourceUri, ScopeSet, SpiffeId, Timestamp, TokenId};

use crate::VerifiedActor;
use crate::credential::{LoggedInPerson, ProvenClient};
use crate::liveness::enabled;
use crate::refusal::{DecisionRefusal, RefusalReason};

use super::facts::{Facts, active_agent, delegable_resource};
use super::grants::usable_grant;

/// A person who has logged in so that one agent acts for them, and the agent.
#[derive(Clone, Debug)]
pub struct DelegatedLogin {
    /// The client for which the person has logged in, which presents the agent's proof.
    pub client: ProvenClient,
    /// The person, who has just logged in.
    pub person: LoggedInPerson,
    /// The agent that has proven who it is.
    pub actor: VerifiedActor,
    /// The agent to which the person consented.
    pub requested: SpiffeId,
    /// The resource that the token is for.
    pub resource: ResourceUri,
    /// The scopes to which the person consented; absent: everything that is permitted.
    pub scopes: Option<ScopeSet>,
    /// The `jti` of the new token.
    pub jti: TokenId,
}

/// Why a client may not ask people to log in for an agent. Nothing is proven yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRequestable {
    /// There is no such agent, or it is not active.
    Agent,
    /// The client may not present this agent.
    Client,
}

/// Whether the client may ask for that agent. The decision checks it again.
///
/// Returns the agent's name.
///
/// # Errors
/// There is no such agent, or it is not the client's to present.
pub fn requestable<'r>(
    client: &Client,
    agent: &SpiffeId,
    registry: &'r Registry,
) -> Result<&'r AgentName, NotRequestable> {
    let agent = registry.agent_by_id(agent).filter(|agent| agent.state == AgentState::Active);
    let name = &agent.ok_or(NotRequestable::Agent)?.name;
    if client.agents.contains(name) { Ok(name) } else { Err(NotRequestable::Client) }
}

/// Whether no party is of another tenant. The login alone would only leave out what the person has at a resource
/// of another tenant.
pub(super) fn of_one_tenant(
    (person, client): (&LoggedInPerson, &ClientId),
    agent: &SpiffeId,
    resource: &ResourceUri,
    facts: &Facts<'_>,
) -> Result<(), DecisionRefusal> {
    let person = enabled(facts.registry.person(&person.name)).map_err(RefusalReason::from)?;
    let agent = active_agent(agent, facts.registry)?;
    let target = delegable_resource(resource, facts)?;
    facts
        .registry
        .tenant_of_person(person)?
        .with("client", facts.registry.tenant_of_client(client))?
        .with("agent", agent.tenant.as_ref())?
        .with("resource", target.tenant.as_ref())?;
    Ok(())
}

/// Whether the person has a grant by which the agent could act for them, so that no client gets a code that
/// cannot be redeemed. The decision looks again.
///
/// # Errors
/// The reason for which a decision would refuse the agent.
pub fn has_grant_for(
    (person, client): (&LoggedInPerson, &ClientId),
    agent: &SpiffeId,
    (resource, scopes): (&ResourceUri, Option<&ScopeSet>),
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<(), DecisionRefusal> {
    of_one_tenant((person, client), agent, resource, facts)?;
    let person = enabled(facts.registry.person(&person.name)).map_err(RefusalReason::from)?;
    let agent = active_agent(agent, facts.registry)?;
    let target = delegable_resource(resource, facts)?;
    usable_grant(facts, person, agent, target, scopes.unwrap_or(&target.scopes), now)?;
    Ok(())
}
