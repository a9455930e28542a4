//! From changes of the registry to cuts. Pure.
//!
//! Whatever stops being allowed by a change of the registry is cut, so that tokens that are out already stop working
//! too, and stay dead when the entry becomes active again.

use std::time::Duration;

use mandate_core::constraint::Constraints;
use mandate_core::registry::{
    ADMIN_SCOPE, Agent, AgentState, Client, DEFAULT_MANDATE_LIFETIME, Entry, Grant, MAX_MANDATE_LIFETIME, Permission, Person,
};
use mandate_core::{Cut, CutTarget, Lifetime, Timestamp, TokenId};

use crate::decide::{PERSON_TOKEN_LIFETIME, limits_on};

/// For how long a cut must be remembered: no token of ours lives longer than a person's, none of another issuer is taken
/// for longer, and clocks may differ a little.
pub const CUT_MEMORY: Duration = Duration::from_secs(PERSON_TOKEN_LIFETIME.as_secs() + CLOCK_LAG.as_secs());

/// How far a verifier's clock may be behind.
const CLOCK_LAG: Duration = Duration::from_mins(5);

/// A cut on `target`, as of `now`.
pub fn cut(target: CutTarget, now: Timestamp) -> Cut {
    Cut { target, at: now, forget: now.plus(CUT_MEMORY) }
}

/// A cut on one token that expires at `expires`. No descendant outlives it, so the cut need not either: a client that
/// revokes every token it gets fills no memory with them for an hour.
pub fn cut_token(token: TokenId, expires: Timestamp, now: Timestamp) -> Cut {
    let forget = expires.plus(CLOCK_LAG).min(now.plus(CUT_MEMORY));
    Cut { target: CutTarget::Token(token), at: now, forget }
}

/// The cuts that replacing `old` by `new` calls for. `new` is absent when the entry is removed.
pub fn cuts_for_change(old: &Entry, new: Option<&Entry>, now: Timestamp) -> Vec<Cut> {
    let target = match (old, new) {
        (Entry::Agent(old), Some(Entry::Agent(new))) if new.spiffe_id == old.spiffe_id => {
            let stopped = old.state == AgentState::Active && new.state != AgentState::Active;
            let narrowed = narrower(&old.ceiling, &new.ceiling, Times::MANDATE) || new.chain_depth < old.chain_depth;
            (stopped || narrowed).then(|| CutTarget::Agent(old.spiffe_id.as_str().to_owned()))
        }
        (Entry::Agent(old), _) => Some(CutTarget::Agent(old.spiffe_id.as_str().to_owned())),
        (Entry::Person(old), Some(Entry::Person(new))) if new.id == old.id => {
            let stopped = !old.disabled && new.disabled;
            (stopped || narrower(&old.may, &new.may, Times::PERSON)).then(|| CutTarget::Person(old.id.clone()))
        }
        (Entry::Person(old), _) => Some(CutTarget::Person(old.id.clone())),
        (Entry::Grant(old), Some(Entry::Grant(new))) => {
            let same_parties = (&old.person, &old.agent, &old.resource) == (&new.person, &new.agent, &new.resource);
            let stopped = !old.revoked && new.revoked;
            let narrowed = !old.scopes.is_subset(&new.scopes) || Times::MANDATE.are_shorter(&old.constraints, &new.constraints);
            (stopped || !same_parties || narrowed || ends_sooner(old, new, now)).then(|| CutTarget::Grant(old.id.clone()))
        }
        (Entry::Grant(old), _) => Some(CutTarget::Grant(old.id.clone())),
        (Entry::Client(old), Some(Entry::Client(new))) => less_trusted(old, new).then(|| CutTarget::Client(old.id.clone())),
        (Entry::Client(old), _) => Some(CutTarget::Client(old.id.clone())),
        // A resource that is gone has no server that would ask; an issuer or policy that is gone stops the next
        // decision, and what it permitted lives on for minutes only.
        (Entry::Resource(_) | Entry::Issuer(_) | Entry::Policy(_), _) => None,
    };
    target.map(|target| cut(target, now)).into_iter().collect()
}

/// Whether replacing `old` by `new` can only take authority away: from agents, people, grants and clients in every respect,
/// or by removing an entry. `new` is absent when the entry is removed.
///
/// A policy can forbid, so that removing or changing one may give; and a resource or issuer that changes becomes another.
/// Where the registry has `policies` of its own, fewer rights may give as well: a policy may forbid something to those who
/// have a right, and permit it to those who have lost it.
pub fn only_takes(old: &Entry, new: Option<&Entry>, policies: bool) -> bool {
    match (old, new) {
        (Entry::Agent(old), Some(Entry::Agent(new))) if policies && *new != (Agent { state: new.state, ..old.clone() }) => false,
        (Entry::Person(old), Some(Entry::Person(new))) if policies && *new != (Person { disabled: new.disabled, ..old.clone() }) => false,
        (Entry::Grant(old), Some(Entry::Grant(new))) if policies && *new != (Grant { revoked: new.revoked, ..old.clone() }) => false,
        (Entry::Client(_), Some(_)) if policies => false,
        (Entry::Policy(_), _) => false,
        (_, None) => true,
        (Entry::Agent(old), Some(Entry::Agent(new))) => {
            let Agent { state, ceiling, chain_depth, .. } = old.clone();
            let same_otherwise = Agent { state, ceiling, chain_depth, ..new.clone() } == *old;
            same_otherwise
                && severity(new.state) >= severity(old.state)
                && fewer(&old.ceiling, &new.ceiling)
                && new.chain_depth <= old.chain_depth
        }
        (Entry::Person(old), Some(Entry::Person(new))) => {
            let same_otherwise = Person { may: old.may.clone(), disabled: old.disabled, ..new.clone() } == *old;
            same_otherwise && (new.disabled || !old.disabled) && fewer(&old.may, &new.may)
        }
        (Entry::Grant(old), Some(Entry::Grant(new))) => {
            let Grant { scopes, expires, span, max_uses, revoked, .. } = old.clone();
            let same_otherwise = Grant { scopes, expires, span, max_uses, revoked, ..new.clone() } == *old;
            same_otherwise
                && new.scopes.is_subset(&old.scopes)
                && no_more(old.expires, new.expires)
                && no_more(old.max_uses, new.max_uses)
                && (new.revoked || !old.revoked)
        }
        (Entry::Client(old), Some(Entry::Client(new))) => {
            let same_otherwise = Client { agents: old.agents.clone(), scopes: old.scopes.clone(), ..new.clone() } == *old;
            let fewer_scopes = match (&old.scopes, &new.scopes) {
                (None, None) => true,
                (Some(_), None) => false,
                // Without a list it may not ask for the admin scope.
                (None, Some(new)) => new.iter().all(|scope| scope.as_str() != ADMIN_SCOPE),
                (Some(old), Some(new)) => new.is_subset(old),
            };
            same_otherwise && fewer_scopes && new.agents.iter().all(|agent| old.agents.contains(agent))
        }
        (Entry::Agent(_) | Entry::Person(_) | Entry::Grant(_) | Entry::Client(_) | Entry::Resource(_) | Entry::Issuer(_), Some(_)) => false,
    }
}

/// How far an agent is from acting again.
fn severity(state: AgentState) -> u8 {
    match state {
        AgentState::Active => 0,
        AgentState::Suspended => 1,
        AgentState::Contained => 2,
        AgentState::Retired => 3,
    }
}

/// Whether each scope of `new` was there before, within the same limits.
fn fewer(old: &[Permission], new: &[Permission]) -> bool {
    new.iter().all(|after| {
        let had = old.iter().filter(|p| p.resource == after.resource).flat_map(|p| p.scopes.iter().cloned()).collect();
        after.scopes.is_subset(&had) && limits_on(old, &after.resource) == limits_on(new, &after.resource)
    })
}

/// Whether a limit is as it was, or tighter. None is no limit.
fn no_more<T: Ord>(old: Option<T>, new: Option<T>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => new <= old,
    }
}

/// Whether `new` leaves out a scope that `old` had, or gives less time for one.
fn narrower(old: &[Permission], new: &[Permission], times: Times) -> bool {
    old.iter().any(|before| {
        let after = new.iter().filter(|p| p.resource == before.resource).flat_map(|p| p.scopes.iter().cloned()).collect();
        let (had, has) = (limits_on(old, &before.resource), limits_on(new, &before.resource));
        !before.scopes.is_subset(&after) || times.are_shorter(&had, &has)
    })
}

/// How long a token may live.
#[derive(Clone, Copy)]
struct Times {
    /// Without any limit.
    default: Lifetime,
    /// At most, whatever the limit.
    longest: Lifetime,
}

impl Times {
    const MANDATE: Self = Self { default: DEFAULT_MANDATE_LIFETIME, longest: MAX_MANDATE_LIFETIME };
    const PERSON: Self = Self { default: Lifetime(PERSON_TOKEN_LIFETIME), longest: Lifetime(PERSON_TOKEN_LIFETIME) };

    /// Whether something issued before could live longer than it now may. Where there was no limit here, another may
    /// have given all there is.
    fn are_shorter(self, before: &Constraints, now: &Constraints) -> bool {
        let had = before.lifetime.unwrap_or(self.longest).min(self.longest);
        before.lifetime != now.lifetime && now.lifetime.unwrap_or(self.default) < had
    }
}

/// Whether a grant ends sooner than it did, and while a mandate under it may still be alive.
fn ends_sooner(old: &Grant, new: &Grant, now: Timestamp) -> bool {
    let longest = now.plus(MAX_MANDATE_LIFETIME.0);
    let end = |grant: &Grant| grant.expires.map_or(longest, |expires| expires.min(longest));
    end(new) < end(old)
}

/// Whether a client lost an agent or a scope, or proves itself by other means than before: what the old ones opened ends
/// with them.
fn less_trusted(old: &Client, new: &Client) -> bool {
    let lost_scopes = match (&old.scopes, &new.scopes) {
        (_, None) => old.scopes.as_ref().is_some_and(|old| old.iter().any(|scope| scope.as_str() == ADMIN_SCOPE)),
        (None, Some(_)) => true,
        (Some(old), Some(new)) => !old.is_subset(new),
    };
    lost_scopes || old.agents.iter().any(|agent| !new.agents.contains(agent)) || old.authentication != new.authentication
}

#[cfg(test)]
mod tests;
