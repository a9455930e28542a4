//! From changes of the registry to cuts. Pure.
//!
//! Everything that a change of the registry no longer allows is cut, so that tokens that were already issued
//! stop working too, and stay revoked when the entry becomes active again.

use std::time::Duration;

use mandate_core::constraint::Constraints;
use mandate_core::lifetimes::{
    DEFAULT_MANDATE_LIFETIME, MAX_MANDATE_LIFETIME, PERSON_TOKEN_LIFETIME, VERIFIER_CLOCK_SKEW,
};
use mandate_core::registry::{Agent, AgentState, Client, Entry, Grant, Group, Permission, Person};
use mandate_core::{Cut, CutTarget, Lifetime, Role, ScopeSet, TenantName, Timestamp, TokenId};

use crate::decide::limits::limits_on;

/// For how long a cut must be remembered: no token of ours is valid longer than a person's token, no token of
/// another issuer is accepted for longer, and the clock of a verifier may be behind.
pub const CUT_MEMORY: Duration = PERSON_TOKEN_LIFETIME.saturating_add(VERIFIER_CLOCK_SKEW);

/// A cut on `target`, as of `now`.
pub fn cut(target: CutTarget, now: Timestamp) -> Cut {
    Cut { target, at: now, forget: now.plus(CUT_MEMORY) }
}

/// A cut on one token that expires at `expires`. No descendant outlives the token, so the cut need not
/// outlive it either. So a client that revokes every token that it gets does not fill the memory with cuts
/// for an hour.
pub fn cut_token(token: TokenId, expires: Timestamp, now: Timestamp) -> Cut {
    let forget = expires.plus(VERIFIER_CLOCK_SKEW).min(now.plus(CUT_MEMORY));
    Cut { target: CutTarget::Token(token), at: now, forget }
}

/// The cuts that are needed when `new` replaces `old`. `new` is absent when the entry is removed.
pub fn cuts_for_change(old: &Entry, new: Option<&Entry>, now: Timestamp) -> Vec<Cut> {
    let target = match (old, new) {
        (Entry::Agent(old), Some(Entry::Agent(new))) if new.spiffe_id == old.spiffe_id => {
            let stopped = old.state == AgentState::Active && new.state != AgentState::Active;
            let narrowed = narrower(&old.ceiling, &new.ceiling, Times::MANDATE)
                || narrower(&old.may, &new.may, Times::MANDATE)
                || new.chain_depth < old.chain_depth;
            // What was proven in a way that no longer counts is not believed any more.
            let unproven = old.proofs.iter().any(|proof| !new.proofs.contains(proof));
            let moved = moves(old.tenant.as_ref(), new.tenant.as_ref());
            (stopped || narrowed || unproven || moved)
                .then(|| CutTarget::Agent(old.spiffe_id.as_str().to_owned()))
        }
        (Entry::Agent(old), _) => Some(CutTarget::Agent(old.spiffe_id.as_str().to_owned())),
        (Entry::Person(old), Some(Entry::Person(new))) if new.id == old.id => {
            let stopped = !old.disabled && new.disabled;
            let moved = moves(old.tenant.as_ref(), new.tenant.as_ref());
            (stopped || moved || narrower(&old.may, &new.may, Times::PERSON))
                .then(|| CutTarget::Person(old.id.clone()))
        }
        (Entry::Person(old), _) => Some(CutTarget::Person(old.id.clone())),
        (Entry::Grant(old), Some(Entry::Grant(new))) => {
            let same_parties =
                (&old.person, &old.agent, &old.resource) == (&new.person, &new.agent, &new.resource);
            let stopped = !old.revoked && new.revoked;
            let narrowed = !old.scopes.is_subset(&new.scopes)
                || Times::MANDATE.are_shorter(&old.constraints, &new.constraints);
            (stopped || !same_parties || narrowed || ends_sooner(old, new, now))
                .then(|| CutTarget::Grant(old.id.clone()))
        }
        (Entry::Grant(old), _) => Some(CutTarget::Grant(old.id.clone())),
        (Entry::Client(old), Some(Entry::Client(new))) => {
            let moved = moves(old.tenant.as_ref(), new.tenant.as_ref());
            (moved || less_trusted(old, new)).then(|| CutTarget::Client(old.id.clone()))
        }
        (Entry::Client(old), _) => Some(CutTarget::Client(old.id.clone())),
        // Another group under this name, or fewer rights of its members: what rests on it does not count any
        // more.
        (Entry::Group(old), Some(Entry::Group(new))) => {
            let same = (&old.issuer, &old.id) == (&new.issuer, &new.id);
            (!same || narrower(&old.may, &new.may, Times::PERSON)).then(|| CutTarget::Group(old.name.clone()))
        }
        (Entry::Group(old), _) => Some(CutTarget::Group(old.name.clone())),
        // These change the next decision. An agent whose trust domain is removed loses its proof with it, and
        // is cut for that. No token names a policy, or the issuer of the token that it was
        // exchanged from; a removed resource has no API that this server would answer. What was issued is
        // valid until it expires: a mandate for minutes, a person's own token for an hour at most.
        (Entry::Resource(_) | Entry::Issuer(_) | Entry::TrustDomain(_) | Entry::Policy(_), _) => None,
    };
    target.map(|target| cut(target, now)).into_iter().collect()
}

/// Whether the replacement of `old` by `new` can only take authority away: an agent, person, group, grant or
/// client that gets less in every respect, or an entry that is removed. `new` is absent when the entry is removed.
///
/// A policy can forbid, so the removal or change of a policy may give authority. A resource or issuer that
/// changes becomes another one. If the registry has its own `policies`, fewer rights may give authority too:
/// a policy may forbid something to those who have a right, and permit it to those who have lost the right.
pub fn only_takes(old: &Entry, new: Option<&Entry>, policies: bool) -> bool {
    match (old, new) {
        (Entry::Policy(_), _) => false,
        // A policy may forbid something to the members of a group: without the group it would permit it.
        (Entry::Group(_), None) if policies => false,
        (_, None) => true,
        (_, Some(new)) if policies => only_stops(old, new),
        (Entry::Agent(old), Some(Entry::Agent(new))) => {
            let Agent { state, ceiling, may, chain_depth, proofs, .. } = old.clone();
            let same_otherwise = Agent { state, ceiling, may, chain_depth, proofs, ..new.clone() } == *old;
            same_otherwise
                && new.proofs.iter().all(|proof| old.proofs.contains(proof))
                && new.state >= old.state
                && fewer(&old.ceiling, &new.ceiling)
                && fewer(&old.may, &new.may)
                && new.chain_depth <= old.chain_depth
        }
        (Entry::Person(old), Some(Entry::Person(new))) => {
            let same_otherwise =
                Person { may: old.may.clone(), disabled: old.disabled, ..new.clone() } == *old;
            same_otherwise && (new.disabled || !old.disabled) && fewer(&old.may, &new.may)
        }
        (Entry::Group(old), Some(Entry::Group(new))) => {
            Group { may: old.may.clone(), ..new.clone() } == *old && fewer(&old.may, &new.may)
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
            let Client { agents, scopes, refresh, device, .. } = old.clone();
            let same_otherwise = Client { agents, scopes, refresh, device, ..new.clone() } == *old;
            let fewer_scopes = match (&old.scopes, &new.scopes) {
                (None, None) => true,
                (Some(_), None) => false,
                // Without a list it may not ask for a role of operators.
                (None, Some(new)) => !names_a_role(new),
                (Some(old), Some(new)) => new.is_subset(old),
            };
            same_otherwise
                && fewer_scopes
                && (old.refresh || !new.refresh)
                && (old.device || !new.device)
                && new.agents.iter().all(|agent| old.agents.contains(agent))
        }
        (
            Entry::Agent(_)
            | Entry::Person(_)
            | Entry::Grant(_)
            | Entry::Client(_)
            | Entry::Resource(_)
            | Entry::Issuer(_)
            | Entry::Group(_)
            | Entry::TrustDomain(_),
            Some(_),
        ) => false,
    }
}

/// Whether `new` is `old` and nothing but stopped further: a suspended agent, a disabled person, a revoked
/// grant.
pub fn only_stops(old: &Entry, new: &Entry) -> bool {
    new.halt().is_some_and(|halt| {
        let mut stopped = old.clone();
        stopped.stop(halt);
        stopped == *new
    })
}

/// Whether each scope of `new` was there before, within the same limits.
fn fewer(old: &[Permission], new: &[Permission]) -> bool {
    new.iter().all(|after| {
        let had = old
            .iter()
            .filter(|p| p.resource == after.resource)
            .flat_map(|p| p.scopes.iter().cloned())
            .collect();
        after.scopes.is_subset(&had) && limits_on(old, &after.resource) == limits_on(new, &after.resource)
    })
}

/// Whether a limit is unchanged or stricter. `None` means no limit.
fn no_more<T: Ord>(old: Option<T>, new: Option<T>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => new <= old,
    }
}

/// Whether what it had as one of the tenant `old`, or as shared by all, is not for one of the tenant `new`.
fn moves(old: Option<&TenantName>, new: Option<&TenantName>) -> bool {
    new.is_some() && new != old
}

/// Whether `new` lacks a scope that `old` had, or gives less time for a scope.
fn narrower(old: &[Permission], new: &[Permission], times: Times) -> bool {
    old.iter().any(|before| {
        let after = new
            .iter()
            .filter(|p| p.resource == before.resource)
            .flat_map(|p| p.scopes.iter().cloned())
            .collect();
        let (had, has) = (limits_on(old, &before.resource), limits_on(new, &before.resource));
        !before.scopes.is_subset(&after) || times.are_shorter(&had, &has)
    })
}

/// How long tokens of one kind may be valid.
#[derive(Clone, Copy)]
struct Times {
    /// The lifetime where no ceiling or grant has a limit.
    default: Lifetime,
    /// The maximum, even if the limit is higher.
    longest: Lifetime,
}

impl Times {
    const MANDATE: Self = Self { default: DEFAULT_MANDATE_LIFETIME, longest: MAX_MANDATE_LIFETIME };
    const PERSON: Self =
        Self { default: Lifetime(PERSON_TOKEN_LIFETIME), longest: Lifetime(PERSON_TOKEN_LIFETIME) };

    /// Whether a token that was issued before could be valid for longer than is now allowed. If there was no
    /// limit here, another limit may have allowed the maximum.
    fn are_shorter(self, before: &Constraints, now: &Constraints) -> bool {
        let had = before.lifetime.unwrap_or(self.longest).min(self.longest);
        before.lifetime != now.lifetime && now.lifetime.unwrap_or(self.default) < had
    }
}

/// Whether a grant ends earlier than before, at a time at which a mandate under it may still be valid.
fn ends_sooner(old: &Grant, new: &Grant, now: Timestamp) -> bool {
    let longest = now.plus(MAX_MANDATE_LIFETIME.0);
    let end = |grant: &Grant| grant.expires.map_or(longest, |expires| expires.min(longest));
    end(new) < end(old)
}

fn names_a_role(scopes: &ScopeSet) -> bool {
    scopes.iter().any(|scope| Role::of_scope(scope.as_str()).is_some())
}

/// Whether a client lost an agent, a scope, its refresh tokens or the logins on other devices, or authenticates
/// by another method or key than before: tokens that were obtained with the old one are revoked with it.
fn less_trusted(old: &Client, new: &Client) -> bool {
    let lost_scopes = match (&old.scopes, &new.scopes) {
        (_, None) => old.scopes.as_ref().is_some_and(names_a_role),
        (None, Some(_)) => true,
        (Some(old), Some(new)) => !old.is_subset(new),
    };
    lost_scopes
        || (old.refresh && !new.refresh)
        || (old.device && !new.device)
        || old.agents.iter().any(|agent| !new.agents.contains(agent))
        || old.authentication != new.authentication
}

#[cfg(test)]
mod tests;
