//! From changes of the registry to cuts. Pure.
//!
//! Whatever stops being allowed by a change of the registry is cut, so that tokens that are out already stop working
//! too, and stay dead when the entry becomes active again.

use std::time::Duration;

use mandate_core::registry::{AgentState, Entry};
use mandate_core::{Cut, CutTarget, Timestamp, TokenId};

use crate::decide::PERSON_TOKEN_LIFETIME;

/// For how long a cut must be remembered: no token of ours lives longer than a person's, and a verifier's clock may be
/// a little behind.
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
            (stopped || narrower(&old.ceiling, &new.ceiling)).then(|| CutTarget::Agent(old.spiffe_id.as_str().to_owned()))
        }
        (Entry::Agent(old), _) => Some(CutTarget::Agent(old.spiffe_id.as_str().to_owned())),
        (Entry::Person(old), Some(Entry::Person(new))) if new.id == old.id => {
            let stopped = !old.disabled && new.disabled;
            (stopped || narrower(&old.may, &new.may)).then(|| CutTarget::Person(old.id.clone()))
        }
        (Entry::Person(old), _) => Some(CutTarget::Person(old.id.clone())),
        (Entry::Grant(old), Some(Entry::Grant(new))) => {
            let same_parties = (&old.person, &old.agent, &old.resource) == (&new.person, &new.agent, &new.resource);
            let stopped = !old.revoked && new.revoked;
            (stopped || !same_parties || !old.scopes.is_subset(&new.scopes)).then(|| CutTarget::Grant(old.id.clone()))
        }
        (Entry::Grant(old), _) => Some(CutTarget::Grant(old.id.clone())),
        (Entry::Client(old), None) => Some(CutTarget::Client(old.id.clone())),
        // A resource that is gone has no server that would ask; an issuer or policy that is gone stops the next
        // decision, and what it permitted lives on for minutes only.
        (Entry::Client(_) | Entry::Resource(_) | Entry::Issuer(_) | Entry::Policy(_), _) => None,
    };
    target.map(|target| cut(target, now)).into_iter().collect()
}

/// Whether `new` leaves out a scope that `old` had.
fn narrower(old: &[mandate_core::registry::Permission], new: &[mandate_core::registry::Permission]) -> bool {
    old.iter().any(|before| {
        let after = new.iter().filter(|p| p.resource == before.resource).flat_map(|p| p.scopes.iter().cloned()).collect();
        !before.scopes.is_subset(&after)
    })
}
