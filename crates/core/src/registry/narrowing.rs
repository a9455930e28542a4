//! A narrowing of an entry, made to an entry that may have become another one since it was planned.

use super::{Agent, AgentProof, Client, Entry, Grant, Group, Permission, Person};
use crate::constraint::Constraints;
use crate::role::Role;
use crate::scope::ScopeSet;

impl Entry {
    /// This entry without what the narrowing of `from` to `to` takes away. If it still is `from`, it becomes
    /// `to`. If it was changed since, the change stays, except for what the narrowing takes.
    ///
    /// If `to` is no more than `from`, the result is no more than this entry was. To make the same narrowing
    /// again changes nothing: a stop is put in force again after a restart, and beside a change that was on
    /// its way.
    #[must_use]
    pub fn narrowed(self, from: &Self, to: &Self) -> Self {
        match self {
            Self::Agent(now) => Self::Agent(if let (Self::Agent(from), Self::Agent(to)) = (from, to) {
                agent(now, from, to)
            } else {
                now
            }),
            Self::Person(now) => Self::Person(if let (Self::Person(from), Self::Person(to)) = (from, to) {
                person(now, from, to)
            } else {
                now
            }),
            Self::Grant(now) => Self::Grant(if let (Self::Grant(from), Self::Grant(to)) = (from, to) {
                grant(now, from, to)
            } else {
                now
            }),
            Self::Client(now) => Self::Client(if let (Self::Client(from), Self::Client(to)) = (from, to) {
                client(now, from, to)
            } else {
                now
            }),
            Self::Group(now) => Self::Group(if let (Self::Group(from), Self::Group(to)) = (from, to) {
                group(now, from, to)
            } else {
                now
            }),
            // They are removed, and otherwise not narrowed.
            other @ (Self::Resource(_) | Self::Issuer(_) | Self::TrustDomain(_) | Self::Policy(_)) => other,
        }
    }
}

fn agent(now: Agent, from: &Agent, to: &Agent) -> Agent {
    Agent {
        state: if to.state > from.state { now.state.max(to.state) } else { now.state },
        chain_depth: if to.chain_depth < from.chain_depth {
            now.chain_depth.min(to.chain_depth)
        } else {
            now.chain_depth
        },
        proofs: proofs(now.proofs, &from.proofs, &to.proofs),
        ceiling: permissions(now.ceiling, &from.ceiling, &to.ceiling),
        may: permissions(now.may, &from.may, &to.may),
        ..now
    }
}

fn proofs(mut now: Vec<AgentProof>, from: &[AgentProof], to: &[AgentProof]) -> Vec<AgentProof> {
    now.retain(|proof| to.contains(proof) || !from.contains(proof));
    now
}

fn person(now: Person, from: &Person, to: &Person) -> Person {
    let disabled = now.disabled || (to.disabled && !from.disabled);
    Person { may: permissions(now.may, &from.may, &to.may), disabled, ..now }
}

fn group(now: Group, from: &Group, to: &Group) -> Group {
    Group { may: permissions(now.may, &from.may, &to.may), ..now }
}

fn grant(now: Grant, from: &Grant, to: &Grant) -> Grant {
    let as_planned = (now.expires, now.span) == (from.expires, from.span);
    let (expires, span) = if as_planned || is_less(to.expires, now.expires) && to.expires != from.expires {
        (to.expires, to.span)
    } else {
        (now.expires, now.span)
    };
    let max_uses = if is_less(to.max_uses, now.max_uses) && to.max_uses != from.max_uses {
        to.max_uses
    } else {
        now.max_uses
    };
    let scopes = fewer(&now.scopes, &from.scopes, &to.scopes);
    Grant { scopes, expires, span, max_uses, revoked: now.revoked || (to.revoked && !from.revoked), ..now }
}

fn client(mut now: Client, from: &Client, to: &Client) -> Client {
    now.refresh &= to.refresh || !from.refresh;
    now.require_pushed_authorization_requests |=
        to.require_pushed_authorization_requests && !from.require_pushed_authorization_requests;
    now.device &= to.device || !from.device;
    if now.agents == from.agents {
        now.agents.clone_from(&to.agents);
    } else {
        now.agents.retain(|agent| to.agents.contains(agent) || !from.agents.contains(agent));
    }
    if now.scopes == from.scopes {
        now.scopes.clone_from(&to.scopes);
    } else if to.scopes != from.scopes {
        now.scopes = match (now.scopes, &from.scopes, &to.scopes) {
            (Some(now), Some(from), Some(to)) => Some(fewer(&now, from, to)),
            // From all scopes to those of a list.
            (Some(now), None, Some(to)) => Some(now.intersection(to)),
            // The list was lifted since. Without one, it may not ask for a role of operators: none may come
            // back by this.
            (None, _, Some(to)) => Some(to.filter(|scope| Role::of_scope(scope.as_str()).is_none())),
            (now, _, None) => now,
        };
    }
    now
}

/// Whether a limit is stricter than another. None is no limit.
fn is_less<T: Ord>(limit: Option<T>, other: Option<T>) -> bool {
    limit.is_some_and(|limit| other.is_none_or(|other| limit < other))
}

fn fewer(now: &ScopeSet, from: &ScopeSet, to: &ScopeSet) -> ScopeSet {
    now.filter(|scope| to.contains(scope) || !from.contains(scope))
}

fn permissions(now: Vec<Permission>, from: &[Permission], to: &[Permission]) -> Vec<Permission> {
    // As it was written, and not only what it means: the same file planned again must find nothing to change.
    if now == from {
        return to.to_vec();
    }
    let without = |permission: Permission| {
        let on = |list: &[Permission]| {
            list.iter()
                .filter(|p| p.resource == permission.resource)
                .flat_map(|p| p.scopes.iter().cloned())
                .collect()
        };
        let (had, has): (ScopeSet, ScopeSet) = (on(from), on(to));
        let scopes = fewer(&permission.scopes, &had, &has);
        // One without scopes still limits those beside it.
        let is_gone = scopes.is_empty()
            && !permission.scopes.is_empty()
            && permission.constraints == Constraints::default();
        (!is_gone).then_some(Permission { scopes, ..permission })
    };
    now.into_iter().filter_map(without).collect()
}
