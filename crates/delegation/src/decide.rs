//! The decision. Pure: everything it knows comes in through its arguments.
//!
//! The checks are in the order in which a refusal is the most useful to its reader: who, then through whom,
//! then where, then what, then how long. No check depends on which parameters the caller chose to send, only
//! on the credentials.

mod delegated_login;
mod facts;
mod grants;
pub(crate) mod limits;
mod own;
mod person;
mod proven;
mod tenants;

use std::sync::Arc;

use mandate_core::registry::{Agent, Client, Grant, ProofEvidence, Registry};
use mandate_core::{Actor, ClientId, Issuer, Lineage, ResourceUri, ScopeSet, Terms, Timestamp, TokenId};
use mandate_policy::{NoRuling, Question, Ruling};

use crate::VerifiedActor;
use crate::approval::{NeedsApproval, Withheld};
use crate::credential::{
    AuthenticatedClient, ForeignToken, LoggedInPerson, LoginClient, SubjectOrigin, VerifiedSubject,
};
use crate::liveness::{Asker, living_person};
use crate::mandate::{Mandate, MandateView};
use crate::refusal::{RefusalReason, ScopeBounds};

use delegated_login::of_one_tenant;
use facts::{active_agent, actor_of, agent_client_id, delegable_resource, resource_of};
use grants::{one_use, usable_grant};
use limits::{asked_is_askable, bounds, expiry, groups_on, intersect, limits_on};
use own::decide_own_behalf;
use person::decide_authorization;
use proven::ProofBound;

pub use delegated_login::{DelegatedLogin, NotRequestable, has_grant_for, requestable};
pub use facts::Facts;
pub use own::OwnBehalf;

/// The most ancestors, grants and clients that a token's lineage may name.
pub const MAX_LINEAGE: usize = 16;

/// The request to decide.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request is made once and moved once; a box would cost an allocation on the hot path"
)]
pub enum DecisionRequest {
    /// A token exchange (RFC 8693).
    Exchange(Exchange),
    /// A person's own access token, by the authorization code grant (RFC 6749 §4.1).
    Authorization(Authorization),
    /// A mandate for an agent for which a person has logged in, by the authorization code grant.
    DelegatedLogin(DelegatedLogin),
    /// An agent's own access token, by the client credentials grant (RFC 6749 §4.4).
    OwnBehalf(OwnBehalf),
}

/// A token exchange with verified credentials.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The client that presents the tokens.
    pub client: AuthenticatedClient,
    /// The token of the person for whom the agent will act.
    pub subject: VerifiedSubject,
    /// The agent of the actor token, if one was sent.
    pub actor: Option<VerifiedActor>,
    /// The resource that the new token is for.
    pub resource: ResourceUri,
    /// The scopes that are asked for; absent: everything that is permitted.
    pub scopes: Option<ScopeSet>,
    /// The `jti` of the new token.
    pub jti: TokenId,
}

/// A person who has logged in for a client.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// The client for which the person has logged in.
    pub client: LoginClient,
    /// The person, who has just logged in.
    pub person: LoggedInPerson,
    /// The resource that the token is for; absent: the token is addressed to us, to be exchanged.
    pub resource: Option<ResourceUri>,
    /// The scopes that are asked for; absent: everything that is permitted.
    pub scopes: Option<ScopeSet>,
    /// The `jti` of the new token.
    pub jti: TokenId,
    /// The login that the token continues, if it is given for a refresh token (RFC 6749 §6).
    pub continued: Option<ContinuedLogin>,
}

/// A login that goes on by refresh tokens while the person is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinuedLogin {
    /// The `jti` of the first token of the login. Every later one descends from it.
    pub root: TokenId,
    /// No token of the login is valid from this time on.
    pub ends: Timestamp,
}

/// Decides a request at the time `now`.
///
/// # Errors
/// A [`DecisionRefusal`](crate::DecisionRefusal) with the first reason found. Only scopes can be permitted in
/// part: they are intersected. Every other check passes or refuses the whole request. Or [`NeedsApproval`],
/// if nothing refuses and a policy demands that a person approves it.
pub fn decide(request: DecisionRequest, facts: &Facts<'_>, now: Timestamp) -> Result<Mandate, Withheld> {
    match request {
        DecisionRequest::Exchange(exchange) => decide_exchange(exchange, facts, now),
        DecisionRequest::Authorization(authorization) => decide_authorization(authorization, facts, now),
        DecisionRequest::DelegatedLogin(login) => decide_delegated_login(login, facts, now),
        DecisionRequest::OwnBehalf(own) => decide_own_behalf(own, facts, now),
    }
}

fn decide_exchange(exchange: Exchange, facts: &Facts<'_>, now: Timestamp) -> Result<Mandate, Withheld> {
    let parent = exchange.subject.terms.jti.clone();
    decide_delegation(exchange, Some(parent), facts, now)
}

/// `parent`: the token from which the new one descends, if there is one.
fn decide_delegation(
    exchange: Exchange,
    parent: Option<TokenId>,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Mandate, Withheld> {
    let Exchange { client, subject, actor, resource, scopes, jti } = exchange;

    let subject = as_trusted_now(subject, facts.registry)?;
    // Invariant 5: nothing descends from a token that no longer counts.
    let person =
        living_person(&subject.terms, facts.issuer, Asker::Ourselves, facts.registry, facts.revocations, now)
            .map_err(|dead| tenants::named(dead, &subject.terms, facts))?;
    if let Some(issuer) = subject.trusted_issuer() {
        tenants::as_the_issuer_says(person, issuer, subject.mapped.tenant.as_deref())?;
    }
    let tenants = facts.registry.tenant_of_token(&subject.terms, facts.issuer, Some(person))?;

    let groups = subject.groups(facts.registry);
    let person = &*person.with_groups(&groups);

    // Such a client gets no more than its ceiling at one resource. No agent takes it further.
    if subject.terms.issuer == *facts.issuer && subject.terms.actor_is_unattested() {
        return Err(RefusalReason::ChainActorUnattested.into());
    }

    let agent = acting_agent(&client, actor.as_ref(), facts.registry)?;
    proofs_still_stand(&client, actor.as_ref(), facts, now)?;
    let evidence = proof_evidence(&client, actor.as_ref());
    let (actor_token, actor) = (actor, actor_of(agent, facts));
    may_act_names(&subject, &actor)?;
    presenter_is_entitled(&client, agent, (&subject, &resource), facts)?;
    no_actor_of_ours_is_theirs(&subject, facts.issuer)?;
    let chain =
        subject.terms.chain.extended(actor, usize::from(agent.chain_depth)).map_err(RefusalReason::from)?;
    history_is_their_own(&subject, agent)?;

    let target = delegable_resource(&resource, facts)?;
    let app = registered_app(&client, facts.registry);
    let tenant = tenants
        .with("client", app.and_then(|app| app.tenant.as_ref()))?
        .with("agent", agent.tenant.as_ref())?
        .with("resource", target.tenant.as_ref())?
        .name()
        .cloned();
    if let Some(asked) = &scopes {
        asked_is_askable(asked, &subject, target)?;
    }
    let wanted = scopes.as_ref().unwrap_or(&target.scopes);
    let grant = usable_grant(facts, person, agent, target, wanted, now)?;
    let of_app = app.map(|app| app.may_ask_of(target, facts.issuer));
    let proven = ProofBound::of(actors_of(&client, actor_token.as_ref()), agent, target);
    let bounds = bounds(wanted, &subject, of_app, person, agent, target, grant);
    let narrowed = intersect(ScopeBounds { proof: proven.scopes.clone(), ..bounds })?;

    let depth = u8::try_from(chain.depth()).unwrap_or(u8::MAX);
    let question = Question {
        person,
        groups: &groups,
        agent: Some(agent),
        resource: target,
        scopes: &narrowed,
        grant: Some(grant),
        client: client.name(),
        depth,
        now,
    };
    let ruling = facts.policies.evaluate(&question).map_err(|none| match none {
        NoRuling::Denied(denial) => denial.into(),
        NoRuling::Failed(why) => Withheld::Failed(why),
    })?;
    // What the policy answers is intersected once more: a policy can only take away. A ruling is never empty.
    let scopes = narrowed.intersection(ruling.scopes());

    let limits = limits_on(&agent.ceiling, &target.name).intersection(&proven.limits);
    let expires = expiry(&subject, person, &limits, target, grant, (now, facts.behind))?;
    let lineage = descend(&subject, parent, grant, facts.issuer)?;
    let audience = resource_of(target);
    let groups = groups_on(&groups, &target.name);
    let said_actors = subject.said_actors.clone();
    let Terms { subject, auth_time, acr, amr, .. } = subject.terms;
    // Every term that is not named here is absent: none is taken over from the subject token by itself.
    let terms = Terms {
        chain,
        lineage,
        auth_time,
        acr,
        amr,
        groups,
        tenant,
        ..Terms::new(
            facts.issuer.clone(),
            subject,
            client_id(&client)?,
            audience,
            scopes,
            jti,
            (now, expires),
        )
    };
    let reservations = one_use(grant).into_iter().collect();
    let policies = Arc::clone(ruling.policies());
    let evidence = proven.on_record(evidence);
    let view = MandateView { terms: Arc::new(terms), reservations, policies, evidence, said_actors };
    match &*ruling {
        Ruling::Permitted(_) => Ok(Mandate::decided(view)?),
        Ruling::NeedsApproval(demand) => {
            Err(Withheld::NeedsApproval(NeedsApproval::decided(&view, demand.by())?))
        }
    }
}

/// Decides the person's own token first, as if it were addressed to us, then its exchange: so nothing is
/// given that the two requests would not give one after the other. There is no token of the login, so the
/// mandate has no ancestor.
fn decide_delegated_login(
    login: DelegatedLogin,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Mandate, Withheld> {
    let DelegatedLogin { client, person, actor, requested, resource, scopes, jti } = login;
    if *actor.spiffe_id() != requested {
        return Err(RefusalReason::ActorNotRequested.into());
    }
    of_one_tenant((&person, client.id()), &requested, &resource, facts)?;
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

/// Checks what the client and the actor proved against the present state: they proved it before keys were
/// fetched.
fn proofs_still_stand(
    client: &AuthenticatedClient,
    actor: Option<&VerifiedActor>,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<(), RefusalReason> {
    let client = client.still_stands(facts.registry, facts.revocations, now);
    let actor = actor.is_none_or(|actor| actor.still_stands(facts.registry, facts.revocations, now));
    if client && actor { Ok(()) } else { Err(RefusalReason::ProofOutdated) }
}

/// The token of others that proved the agent. An agent that proved itself twice may have used one in only
/// one of the two.
fn proof_evidence(client: &AuthenticatedClient, actor: Option<&VerifiedActor>) -> Option<Arc<ProofEvidence>> {
    actors_of(client, actor).find_map(VerifiedActor::proof_evidence).map(Arc::clone)
}

/// Each proof of the agent: the actor token, and the credential of the client if it is the agent.
fn actors_of<'a>(
    client: &'a AuthenticatedClient,
    actor: Option<&'a VerifiedActor>,
) -> impl Iterator<Item = &'a VerifiedActor> {
    let client = match client {
        AuthenticatedClient::Agent(agent) => Some(agent),
        AuthenticatedClient::App(_) => None,
    };
    actor.into_iter().chain(client)
}

/// The subject token with its issuer's present registry entry: the entry may have changed while keys were
/// fetched.
fn as_trusted_now(
    mut subject: VerifiedSubject,
    registry: &Registry,
) -> Result<VerifiedSubject, RefusalReason> {
    if let SubjectOrigin::Foreign(issuer, _) = &mut subject.origin {
        let now = registry.issuer(&issuer.url).ok_or(RefusalReason::SubjectRevoked)?;
        // Its keys were fetched from servers with certificates of other authorities, or through another
        // proxy; or its claims were read, or what they must say was checked, as the entry no longer says.
        let same_claims = now.groups_claim == issuer.groups_claim
            && now.tenant_claim == issuer.tenant_claim
            && now.oldest_actor_first == issuer.oldest_actor_first
            && now.required_claims == issuer.required_claims
            && now.profile == issuer.profile;
        if now.ca != issuer.ca || now.proxy != issuer.proxy || !same_claims {
            return Err(RefusalReason::ProofOutdated);
        }
        *issuer = Arc::clone(now);
    }
    Ok(subject)
}

/// The agent that will act: the one whose actor token was verified, or the client itself if it is an agent.
///
/// No actor at all would be impersonation (RFC 8693 §1.1), and is refused.
fn acting_agent<'a>(
    client: &AuthenticatedClient,
    actor: Option<&VerifiedActor>,
    registry: &'a Registry,
) -> Result<&'a Agent, RefusalReason> {
    let id = match (client, actor) {
        (AuthenticatedClient::Agent(client), Some(actor)) if client.spiffe_id() != actor.spiffe_id() => {
            return Err(RefusalReason::ActorNotClient);
        }
        (AuthenticatedClient::Agent(agent), _) | (AuthenticatedClient::App(_), Some(agent)) => {
            agent.spiffe_id()
        }
        (AuthenticatedClient::App(_), None) => return Err(RefusalReason::ActorRequired),
    };
    let agent = active_agent(id, registry)?;
    // What the registry says of the client now, not when it was authenticated.
    if let AuthenticatedClient::App(app) = client
        && registry.client(app.id()).is_none_or(|app| !app.agents.contains(&agent.name))
    {
        return Err(RefusalReason::ClientMayNotPresent);
    }
    Ok(agent)
}

/// RFC 8693 §4.4: if there is `may_act`, only the actor that it names, by issuer and subject, may act.
fn may_act_names(subject: &VerifiedSubject, actor: &Actor) -> Result<(), RefusalReason> {
    let Some(may_act) = &subject.may_act else { return Ok(()) };
    let named =
        may_act.sub == actor.sub && may_act.iss.as_ref().unwrap_or(&subject.terms.issuer) == &actor.iss;
    if named { Ok(()) } else { Err(RefusalReason::MayActMismatch) }
}

/// A subject token may be exchanged by the agent that serves the resource to which it is addressed, by the
/// actor that its `may_act` names, and, if it is addressed to us, by every entitled client. The client to which
/// it was issued may exchange it for the resource to which it is addressed, and aims it at no other one.
fn presenter_is_entitled(
    client: &AuthenticatedClient,
    agent: &Agent,
    (subject, resource): (&VerifiedSubject, &ResourceUri),
    facts: &Facts<'_>,
) -> Result<(), RefusalReason> {
    let audience = &subject.terms.audience;
    let addressed_to_us = match &subject.origin {
        SubjectOrigin::Own => audience.iter().all(|aud| aud == facts.issuer.as_str()),
        SubjectOrigin::Foreign(issuer, ForeignToken::AccessToken) => issuer.takes(audience),
        SubjectOrigin::Foreign(issuer, ForeignToken::OpaqueAccessToken) => {
            issuer.takes(audience) && issuer.introspection_for(client.name()).is_some()
        }
        SubjectOrigin::Foreign(issuer, ForeignToken::IdToken) => {
            issuer.takes_id_token(audience, subject.terms.client.as_str(), client.name())
        }
    };
    let addressed_to = audience
        .sole()
        .and_then(|aud| facts.registry.resource_uri(aud))
        .and_then(|uri| facts.registry.resource_by_uri(uri))
        .filter(|_| subject.origin == SubjectOrigin::Own);
    let issued_to_presenter = subject.terms.client.as_str() == client.name()
        && addressed_to.is_some_and(|addressed| {
            facts.registry.resource_by_uri(resource).is_some_and(|asked| asked.name == addressed.name)
        });
    let addressed_to_agent =
        addressed_to.is_some_and(|resource| resource.agent.as_ref() == Some(&agent.name));
    // `may_act_names` has already refused a `may_act` that names somebody else.
    let named_by_may_act = subject.origin == SubjectOrigin::Own && subject.may_act.is_some();
    if addressed_to_us || issued_to_presenter || addressed_to_agent || named_by_may_act {
        Ok(())
    } else {
        Err(RefusalReason::SubjectNotForPresenter)
    }
}

/// Only our own tokens may say that actors of ours have acted.
fn no_actor_of_ours_is_theirs(subject: &VerifiedSubject, issuer: &Issuer) -> Result<(), RefusalReason> {
    let claimed =
        subject.origin != SubjectOrigin::Own && subject.terms.chain.iter().any(|actor| actor.iss == *issuer);
    if claimed { Err(RefusalReason::ChainNotTheirs) } else { Ok(()) }
}

/// Another issuer may only name its own actors. A statement about actors of a third issuer is unverified, and
/// our signature would make it look verified. It must not give its actors names of our form either: many
/// readers of `act` compare `sub` and nothing else. `agent` has proven an identity of our trust domain.
fn history_is_their_own(subject: &VerifiedSubject, agent: &Agent) -> Result<(), RefusalReason> {
    if subject.origin == SubjectOrigin::Own {
        return Ok(());
    }
    let ours = agent.spiffe_id.trust_domain();
    let chain = &subject.terms.chain;
    let theirs =
        chain.is_of(&subject.terms.issuer) && chain.iter().all(|actor| !ours.is_named_in(&actor.sub));
    if theirs { Ok(()) } else { Err(RefusalReason::ChainNotTheirs) }
}

/// The client's present entry, if the client is not an agent.
fn registered_app<'a>(client: &AuthenticatedClient, registry: &'a Registry) -> Option<&'a Client> {
    match client {
        AuthenticatedClient::App(app) => registry.client(app.id()).map(|app| &**app),
        AuthenticatedClient::Agent(_) => None,
    }
}

/// The lineage of the new token: the subject token comes before its own ancestors, the grant and the client
/// before earlier ones.
fn descend(
    subject: &VerifiedSubject,
    parent: Option<TokenId>,
    grant: &Grant,
    issuer: &Issuer,
) -> Result<Lineage, RefusalReason> {
    let (before, is_a_token) = (&subject.terms.lineage, parent.is_some());
    let mut parents = Vec::with_capacity(1 + before.parents.len());
    parents.extend(parent);
    parents.extend(before.parents.iter().cloned());
    let mut grants = Vec::with_capacity(1 + before.grants.len());
    grants.push(grant.id.clone());
    grants.extend(before.grants.iter().filter(|id| **id != grant.id).cloned());
    // We cannot cut clients of other issuers, and an agent of ours is in the chain already. An actor that
    // another issuer names like our client is a different party.
    let in_chain = |actor: &Actor| actor.iss == *issuer && actor.sub == subject.terms.client.as_str();
    let ours =
        is_a_token && subject.origin == SubjectOrigin::Own && !subject.terms.chain.iter().any(in_chain);
    let mut clients = Vec::with_capacity(usize::from(ours) + before.clients.len());
    clients.extend(ours.then(|| subject.terms.client.clone()));
    clients.extend(before.clients.iter().filter(|id| **id != subject.terms.client).cloned());
    let lineage = Lineage { parents, grants, clients };
    if lineage.longest() > MAX_LINEAGE { Err(RefusalReason::LineageTooLong) } else { Ok(lineage) }
}

fn client_id(client: &AuthenticatedClient) -> Result<ClientId, RefusalReason> {
    match client {
        AuthenticatedClient::App(app) => Ok(app.id().clone()),
        AuthenticatedClient::Agent(agent) => agent_client_id(agent),
    }
}

#[cfg(test)]
mod tests;
