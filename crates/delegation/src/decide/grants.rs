//! Which grant of a person a delegation uses, and what it takes from it.

use mandate_core::registry::{Agent, Grant, GrantEnd, Person, Resource};
use mandate_core::{MeterId, Reservation, ScopeSet, Timestamp};

use crate::refusal::RefusalReason;

use super::facts::Facts;

/// The grant to use: of the grants in force, the one that covers most of the request.
pub(super) fn usable_grant<'a>(
    facts: &Facts<'a>,
    person: &Person,
    agent: &Agent,
    target: &Resource,
    wanted: &ScopeSet,
    now: Timestamp,
) -> Result<&'a Grant, RefusalReason> {
    let mut best: Option<(usize, &Grant)> = None;
    let mut why = RefusalReason::NoGrant;
    for grant in facts.registry.grants_between(&person.name, &agent.name, &target.name) {
        if let Some(ended) = grant.ended(now) {
            why = match ended {
                GrantEnd::Revoked => RefusalReason::GrantRevoked,
                GrantEnd::Expired => RefusalReason::GrantExpired,
            };
        } else if one_use(grant).is_some_and(|one| !one.fits((facts.used)(&one.meter))) {
            why = RefusalReason::GrantExhausted;
        } else {
            let covers = grant.scopes.intersection(wanted).len();
            if best.is_none_or(|(most, _)| covers > most) {
                best = Some((covers, grant));
            }
        }
    }
    best.map(|(_, grant)| grant).ok_or(why)
}

/// What one mandate takes from the grant's meter, if its uses are limited.
pub(super) fn one_use(grant: &Grant) -> Option<Reservation> {
    grant.max_uses.map(|limit| Reservation { meter: MeterId::GrantUses(grant.id.clone()), amount: 1, limit })
}
