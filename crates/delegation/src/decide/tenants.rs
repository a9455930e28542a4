//! A decision never crosses tenants.

use mandate_core::Terms;
use mandate_core::registry::{Person, TenantCrossing, TrustedIssuer};

use crate::liveness::Dead;
use crate::refusal::DecisionRefusal;

use super::facts::Facts;

/// Why a token does not count, with both tenants if it crosses them.
pub(super) fn named(dead: Dead, token: &Terms, facts: &Facts<'_>) -> DecisionRefusal {
    let person = token.subject.as_ref().and_then(|id| facts.registry.person_by_id(id));
    let crossing = || {
        facts
            .registry
            .tenant_of_token(token, facts.issuer, person.map(|person| &**person))
            .err()
            .map(Into::into)
    };
    match dead {
        Dead::TenantsDiffer => crossing().unwrap_or_else(|| dead.into()),
        _ => dead.into(),
    }
}

/// Where an issuer's entry reads the tenant from its tokens, they must say that of the person.
pub(super) fn as_the_issuer_says(
    person: &Person,
    issuer: &TrustedIssuer,
    said: Option<&str>,
) -> Result<(), TenantCrossing> {
    if issuer.tenant_claim.is_none() {
        return Ok(());
    }
    let entry = person.tenant.as_ref().or(issuer.tenant.as_ref());
    let same = entry.is_some_and(|entry| said == Some(entry.as_str()));
    if same { Ok(()) } else { Err(TenantCrossing::of_claim(said, entry)) }
}
