//! The bounds of scopes and of time: what each party allows, and the intersection of it.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::constraint::Constraints;
use mandate_core::hybrid_clock::shortened;
use mandate_core::lifetimes::{DEFAULT_MANDATE_LIFETIME, MAX_MANDATE_LIFETIME, PERSON_TOKEN_LIFETIME};
use mandate_core::registry::{Agent, Grant, Group, Permission, Person, Resource};
use mandate_core::{GroupName, ResourceName, ScopeSet, Timestamp};

use crate::credential::VerifiedSubject;
use crate::refusal::{DecisionRefusal, RefusalReason, ScopeBounds};

/// The scopes that are asked for must exist.
pub(super) fn asked_exists(asked: &ScopeSet, target: &Resource) -> Result<(), DecisionRefusal> {
    if !asked.is_subset(&target.scopes) {
        let bounds = ScopeBounds {
            asked: asked.clone(),
            resource: Some(target.scopes.clone()),
            ..ScopeBounds::default()
        };
        return Err(DecisionRefusal::of_scopes(RefusalReason::ScopeUnknown, bounds));
    }
    Ok(())
}

/// The scopes that are asked for must exist and must not exceed the subject token.
pub(super) fn asked_is_askable(
    asked: &ScopeSet,
    subject: &VerifiedSubject,
    target: &Resource,
) -> Result<(), DecisionRefusal> {
    asked_exists(asked, target)?;
    if subject.scopes_bound_the_result() && !asked.is_subset(&subject.terms.scopes) {
        let bounds = ScopeBounds {
            asked: asked.clone(),
            subject: Some(subject.terms.scopes.clone()),
            ..ScopeBounds::default()
        };
        return Err(DecisionRefusal::of_scopes(RefusalReason::ScopeExceedsSubject, bounds));
    }
    Ok(())
}

/// What each party allows on the resource. `of_app`: what the client may ask for, if it is not an agent.
pub(super) fn bounds(
    asked: &ScopeSet,
    subject: &VerifiedSubject,
    of_app: Option<ScopeSet>,
    person: &Person,
    agent: &Agent,
    target: &Resource,
    grant: &Grant,
) -> ScopeBounds {
    ScopeBounds {
        asked: asked.clone(),
        resource: None,
        subject: subject.scopes_bound_the_result().then(|| subject.terms.scopes.clone()),
        client: of_app,
        person: Some(scopes_on(&person.may, &target.name)),
        own: None,
        ceiling: Some(scopes_on(&agent.ceiling, &target.name)),
        proof: None,
        grant: Some(grant.scopes.clone()),
    }
}

/// What bounds an agent that asks on its own behalf.
pub(super) fn own_bounds(asked: &ScopeSet, agent: &Agent, target: &Resource) -> ScopeBounds {
    ScopeBounds {
        asked: asked.clone(),
        own: Some(scopes_on(&agent.may, &target.name)),
        ceiling: Some(scopes_on(&agent.ceiling, &target.name)),
        ..ScopeBounds::default()
    }
}

/// Invariant 1 for scopes: subject token ∩ client ∩ person ∩ what the agent may do by itself ∩ ceiling ∩
/// ceiling of the proof ∩ grant ∩ request, as far as there are these. An empty result is a refusal, which says which of them left
/// nothing.
pub(super) fn intersect(bounds: ScopeBounds) -> Result<ScopeSet, DecisionRefusal> {
    let parties = [
        (&bounds.client, RefusalReason::ScopeBeyondClient),
        (&bounds.person, RefusalReason::ScopeBeyondPerson),
        (&bounds.own, RefusalReason::ScopeBeyondOwn),
        (&bounds.ceiling, RefusalReason::ScopeBeyondCeiling),
        (&bounds.proof, RefusalReason::ScopeBeyondProof),
        (&bounds.grant, RefusalReason::ScopeBeyondGrant),
        (&bounds.subject, RefusalReason::NothingInCommon),
    ];
    let mut all = bounds.asked.clone();
    let mut beyond = None;
    for (allowed, reason) in parties {
        let Some(allowed) = allowed else { continue };
        if bounds.asked.intersection(allowed).is_empty() {
            beyond = beyond.or(Some(reason));
        }
        all = all.intersection(allowed);
    }
    match beyond {
        Some(reason) => Err(DecisionRefusal::of_scopes(reason, bounds)),
        None if all.is_empty() => Err(DecisionRefusal::of_scopes(RefusalReason::NothingInCommon, bounds)),
        None => Ok(all),
    }
}

pub(super) fn scopes_on(permissions: &[Permission], resource: &ResourceName) -> ScopeSet {
    let sets =
        permissions.iter().filter(|p| p.resource == *resource).map(|permission| permission.scopes.clone());
    sets.reduce(|all, more| more.union(&all)).unwrap_or_default()
}

/// The names of those groups that may do something on the resource: a token for it names no others. Also one
/// that gives none of the token's scopes: its limits count for all that the person has there, and would be
/// lost at the next exchange.
pub(super) fn groups_on(groups: &[Arc<Group>], resource: &ResourceName) -> Vec<GroupName> {
    let is_there = |group: &&Arc<Group>| group.may.iter().any(|permission| permission.resource == *resource);
    groups.iter().filter(is_there).map(|group| group.name.clone()).collect()
}

/// All limits that permissions on one resource set together.
pub(crate) fn limits_on(permissions: &[Permission], resource: &ResourceName) -> Constraints {
    permissions
        .iter()
        .filter(|p| p.resource == *resource)
        .fold(Constraints::default(), |all, permission| all.intersection(&permission.constraints))
}

/// Invariant 1 for time: never past the subject token, the person's rights, the ceiling, the grant or our own
/// limits. `ceiling`: the limits of the agent's ceiling and of that of its proof.
pub(super) fn expiry(
    subject: &VerifiedSubject,
    person: &Person,
    ceiling: &Constraints,
    target: &Resource,
    grant: &Grant,
    (now, behind): (Timestamp, Duration),
) -> Result<Timestamp, RefusalReason> {
    let given = ceiling.intersection(&grant.constraints).lifetime.unwrap_or(DEFAULT_MANDATE_LIFETIME);
    let lifetime = own_lifetime(person, target).min(given.0).min(MAX_MANDATE_LIFETIME.0);
    let mut expires = now.plus(shortened(lifetime, behind)).min(subject.terms.expires);
    if let Some(end) = grant.expires {
        expires = expires.min(end);
    }
    some_lifetime(expires, now)
}

/// The end of a person's own token. One that is addressed to us is limited again at each exchange. `ends`: the
/// end of the login that it continues.
pub(super) fn own_expiry(
    person: &Person,
    target: Option<&Arc<Resource>>,
    ends: Option<Timestamp>,
    (now, behind): (Timestamp, Duration),
) -> Result<Timestamp, RefusalReason> {
    let lifetime = target.map_or(PERSON_TOKEN_LIFETIME, |target| own_lifetime(person, target));
    let expires = now.plus(shortened(lifetime, behind));
    some_lifetime(ends.map_or(expires, |ends| expires.min(ends)), now)
}

/// The end of the token of a client that describes itself: as that of a mandate.
pub(super) fn unattested_expiry(
    person: &Person,
    target: Option<&Arc<Resource>>,
    (now, behind): (Timestamp, Duration),
) -> Result<Timestamp, RefusalReason> {
    let lifetime = target.map_or(PERSON_TOKEN_LIFETIME, |target| own_lifetime(person, target));
    some_lifetime(now.plus(shortened(lifetime.min(MAX_MANDATE_LIFETIME.0), behind)), now)
}

/// The end of an agent's own token: as that of a mandate, within the limits of its entry.
pub(super) fn own_behalf_expiry(
    agent: &Agent,
    proven: &Constraints,
    target: &Resource,
    (now, behind): (Timestamp, Duration),
) -> Result<Timestamp, RefusalReason> {
    let limits = limits_on(&agent.ceiling, &target.name).intersection(&limits_on(&agent.may, &target.name));
    let limits = limits.intersection(proven);
    let lifetime = limits.lifetime.unwrap_or(DEFAULT_MANDATE_LIFETIME).min(MAX_MANDATE_LIFETIME);
    some_lifetime(now.plus(shortened(lifetime.0, behind)), now)
}

/// The longest time for which a token of the person may be valid on a resource.
fn own_lifetime(person: &Person, target: &Resource) -> Duration {
    limits_on(&person.may, &target.name)
        .lifetime
        .map_or(PERSON_TOKEN_LIFETIME, |limit| limit.0.min(PERSON_TOKEN_LIFETIME))
}

fn some_lifetime(expires: Timestamp, now: Timestamp) -> Result<Timestamp, RefusalReason> {
    // `exp` is whole seconds; a token of less than one second would have expired when it arrives.
    if expires.secs() <= now.secs() { Err(RefusalReason::NoLifetime) } else { Ok(expires) }
}
