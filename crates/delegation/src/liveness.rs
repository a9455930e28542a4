//! Whether a token still *counts*, that is, is neither expired, revoked nor otherwise worthless: one rule for
//! all who ask.
//!
//! | what the rule asks | subject of an exchange | introspected by its resource | bearer at the admin API |
//! |---|---|---|---|
//! | it has not expired | yes | yes | yes |
//! | no cut on it, its ancestors, its grants, its agents, its person, its groups, its clients | yes | yes | yes |
//! | if it is bound to a key (`cnf`, RFC 7800), the key is proven | yes | no | yes |
//! | it has a person: it is not an agent's own | yes | no | yes |
//! | its person, if it has one, is registered and not disabled | yes | yes | yes |
//! | if it is an agent's own, the person who is responsible for the agent is registered and not disabled | yes | yes | yes |
//! | every agent of ours in its chain is registered and active, or is the client that describes itself | yes | yes | yes |
//! | every grant that it depends on is registered and in force | yes | yes | yes |
//! | it, its person, agents, clients and resource are of one tenant, or of none | yes | yes | yes |
//! | every client of ours that it came through is registered, by an operator or by itself; an agent as a client is active | yes | yes | yes |
//!
//! Three things differ on purpose:
//!
//! - The key of a bound token is proven to the party that is given the token. We cannot see the proof that a
//!   resource got, so an introspected token is active, and its `cnf` tells the resource what to check (RFC
//!   8705 §3.2, RFC 9449 §6.2). Where the token is shown to us, a bound token without a proof would become a
//!   bearer token, so it is refused. No proof can be shown yet.
//! - Only a person's authority can be delegated, and only people administrate: where the token is shown to
//!   us, an agent's own token is refused ([`living_person`]). Its resource is told its state like that of
//!   every other token.
//! - Only the subject of an exchange may be of another issuer. The rows about agents, grants and clients are
//!   about names that we gave: of a token of another issuer they ask nothing. Its actors are history that
//!   `decide` checks, and its clients and grants are not ours. Of tenants, the row asks of such a token for
//!   those of the person and of the person's issuer.
//!
//! A client that revokes its own token (RFC 7009) asks only for the cut: a token that does not count for
//! another reason may count again. Only a cut is permanent.

use std::sync::Arc;

use mandate_core::registry::{GrantEnd, Person, Registry};
use mandate_core::{ClientId, Issuer, RevocationSet, SpiffeId, Terms, Timestamp};

use crate::refusal::{DecisionRefusal, RefusalReason};

/// Who asks, and so who checks the key of a bound token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// We do: the token is shown to us, as a subject token or as a bearer token.
    Ourselves,
    /// The resource to which the token was shown.
    Resource,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dead {
    /// The time of its `exp` has come.
    Expired,
    /// It is revoked: a cut in force refuses it.
    Cut,
    /// It is bound to a key that was not proven. It may count for someone who proves the key.
    KeyNotProven,
    /// It is an agent's own token: there is no person.
    NoPerson,
    /// Its person is not registered.
    PersonUnknown,
    /// Its person is disabled.
    PersonDisabled,
    /// It is an agent's own token, and the agent's owner is not registered, or disabled.
    OwnerDisabled,
    /// An agent in its chain is not registered, or not active.
    ActorNotActive,
    /// A grant that it depends on is removed or revoked.
    GrantRevoked,
    /// A grant that it depends on has expired.
    GrantExpired,
    /// What it names belongs to different tenants.
    TenantsDiffer,
    /// A client that it came through is removed, or is an agent that is not active.
    ClientGone,
}

impl From<Dead> for DecisionRefusal {
    fn from(dead: Dead) -> Self {
        Self::from(RefusalReason::from(dead))
    }
}

impl From<Dead> for RefusalReason {
    fn from(dead: Dead) -> Self {
        match dead {
            // A token never outlives its grant.
            Dead::Expired | Dead::GrantExpired => Self::SubjectExpired,
            Dead::Cut | Dead::GrantRevoked | Dead::ClientGone => Self::SubjectRevoked,
            Dead::KeyNotProven => Self::SubjectKeyNotProven,
            Dead::NoPerson => Self::SubjectIsAgent,
            Dead::PersonUnknown => Self::PersonUnknown,
            Dead::PersonDisabled => Self::PersonDisabled,
            Dead::OwnerDisabled => Self::OwnerDisabled,
            Dead::TenantsDiffer => Self::PartiesApart,
            Dead::ActorNotActive => Self::ChainActorNotActive,
        }
    }
}

/// The person for whom a token speaks, if the token counts at `now` at the issuer `ours`; `None` for an
/// agent's own token.
///
/// # Errors
/// The first reason in the order of the table.
pub fn living<'r>(
    token: &Terms,
    ours: &Issuer,
    asker: Asker,
    registry: &'r Registry,
    revocations: &RevocationSet,
    now: Timestamp,
) -> Result<Option<&'r Person>, Dead> {
    if token.expires <= now {
        return Err(Dead::Expired);
    }
    if revocations.find(&token.facts(ours)).is_some() {
        return Err(Dead::Cut);
    }
    if token.cnf.is_some() && asker == Asker::Ourselves {
        return Err(Dead::KeyNotProven);
    }
    let person = token.subject.as_ref().map(|id| enabled(registry.person_by_id(id))).transpose()?;
    registry.tenant_of_token(token, ours, person).map_err(|_| Dead::TenantsDiffer)?;
    if token.issuer == *ours {
        names_of_ours(token, registry, now)?;
        if token.subject.is_none() && !owners_are_there(token, registry) {
            return Err(Dead::OwnerDisabled);
        }
    }
    Ok(person)
}

/// As [`living`], where only a person's token is accepted.
///
/// # Errors
/// As [`living`]; [`Dead::NoPerson`] for an agent's own token that counts otherwise.
pub fn living_person<'r>(
    token: &Terms,
    ours: &Issuer,
    asker: Asker,
    registry: &'r Registry,
    revocations: &RevocationSet,
    now: Timestamp,
) -> Result<&'r Person, Dead> {
    living(token, ours, asker, registry, revocations, now)?.ok_or(Dead::NoPerson)
}

/// A person, if they are registered and not disabled.
pub(crate) fn enabled(person: Option<&Arc<Person>>) -> Result<&Person, Dead> {
    let person = person.ok_or(Dead::PersonUnknown)?;
    if person.disabled { Err(Dead::PersonDisabled) } else { Ok(person) }
}

/// Whether somebody is responsible for each agent of an agent's own token.
fn owners_are_there(token: &Terms, registry: &Registry) -> bool {
    let agent = |name: &str| name.parse::<SpiffeId>().ok().and_then(|id| registry.active_agent(&id));
    token
        .chain
        .iter()
        .all(|actor| agent(&actor.sub).is_some_and(|agent| enabled(registry.person(&agent.owner)).is_ok()))
}

/// The rows about actors, grants and clients, for a token of ours.
fn names_of_ours(token: &Terms, registry: &Registry, now: Timestamp) -> Result<(), Dead> {
    let is_active =
        |name: &str| name.parse::<SpiffeId>().is_ok_and(|id| registry.active_agent(&id).is_some());
    // We cannot look up actors of other issuers: they are history.
    let ours =
        || token.chain.iter().filter(|actor| actor.iss == token.issuer).map(|actor| actor.sub.as_str());
    // A client that describes itself is no agent of the registry. Only a cut ends what it was given.
    let unattested = token.actor_is_unattested();
    if !unattested && !ours().all(is_active) {
        return Err(Dead::ActorNotActive);
    }
    for id in &token.lineage.grants {
        match registry.grant(id).map(|grant| grant.ended(now)) {
            None | Some(Some(GrantEnd::Revoked)) => return Err(Dead::GrantRevoked),
            Some(Some(GrantEnd::Expired)) => return Err(Dead::GrantExpired),
            Some(None) => {}
        }
    }
    // An agent that was the client is in the chain, and so has been looked at.
    let stands = |id: &ClientId| {
        unattested
            || registry.client(id).is_some()
            || ours().any(|actor| actor == id.as_str())
            || is_active(id.as_str())
    };
    let all_stand = std::iter::once(&token.client).chain(&token.lineage.clients).all(stands);
    if all_stand { Ok(()) } else { Err(Dead::ClientGone) }
}
