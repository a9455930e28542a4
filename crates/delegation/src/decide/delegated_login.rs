//! The decision on a code that a person gave for an agent by name: the login and the delegation, as one.

use mandate_core::registry::{AgentState, Client, Registry};
use mandate_core::{AgentName, ResourceUri, ScopeSet, SpiffeId, Terms, Timestamp, TokenId};

use crate::VerifiedActor;
use crate::approval::Withheld;
use crate::credential::{AuthenticatedClient, LoggedInPerson, LoginClient, ProvenClient, VerifiedSubject};
use crate::liveness::enabled;
use crate::mandate::Mandate;
use crate::refusal::RefusalReason;

use super::facts::{Facts, active_agent, delegable_resource};
use super::person::decide_authorization;
use super::{Authorization, Exchange, decide_delegation, usable_grant};

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

/// Decides the person's own token first, as if it were addressed to us, then its exchange: so nothing is
/// given that the two requests would not give one after the other. There is no token of the login, so the
/// mandate has no ancestor.
pub(super) fn decide_delegated_login(
    login: DelegatedLogin,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Mandate, Withheld> {
    let DelegatedLogin { client, person, actor, requested, resource, scopes, jti } = login;
    if *actor.spiffe_id() != requested {
        return Err(RefusalReason::ActorNotRequested.into());
    }
    let of_resource = &delegable_resource(&resource, facts)?.scopes;
    let asked = scopes.as_ref().unwrap_or(of_resource).clone();
    let own = Authorization {
        client: LoginClient::App(client.clone()),
        person,
        resource: None,
        scopes: Some(asked),
        jti: jti.clone(),
        continued: None,
    };
    let own = decide_authorization(own, facts, now)?;
    let own = &own.view().terms;
    let exchange = Exchange {
        client: AuthenticatedClient::App(client),
        subject: VerifiedSubject::of_login(Terms::clone(own)),
        actor: Some(actor),
        resource,
        // What the login cannot give is left out, as at every login (RFC 6749 §3.3).
        scopes: Some(own.scopes.intersection(of_resource)),
        jti,
    };
    decide_delegation(exchange, None, facts, now)
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

/// Whether the person has a grant by which the agent could act for them, so that nobody is given a code that
/// cannot be redeemed. The decision looks again.
///
/// # Errors
/// The reason for which a decision would refuse the agent.
pub fn has_grant_for(
    person: &LoggedInPerson,
    agent: &SpiffeId,
    resource: &ResourceUri,
    scopes: Option<&ScopeSet>,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<(), RefusalReason> {
    let person = enabled(facts.registry.person(&person.name))?;
    let agent = active_agent(agent, facts.registry)?;
    let target = delegable_resource(resource, facts)?;
    usable_grant(facts, person, agent, target, scopes.unwrap_or(&target.scopes), now).map(|_| ())
}
