//! One structured log event for each decision.

use mandate_core::{ResourceUri, Terms};

use crate::refusal::Refusal;

/// The target of the decision lines: filter on it to send them elsewhere.
pub const DECISION_TARGET: &str = "mandate::decision";

pub(crate) fn permitted(token: &Terms, resource: &ResourceUri) {
    line("permitted", "ok", 200, resource.as_str(), Some(token));
}

pub(crate) fn refused(refusal: &Refusal, resource: &str, token: Option<&Terms>) {
    line("refused", refusal.reason().code(), refusal.status(), resource, token);
}

/// `said`: what the signed token said. Unverified claims are never logged as facts.
fn line(decision: &'static str, reason: &str, status: u16, resource: &str, said: Option<&Terms>) {
    let act = said.and_then(|terms| terms.chain.outermost()).map(|actor| actor.sub.as_str());
    let person = said.and_then(|terms| terms.subject.as_ref());
    let depth = said.map(|terms| terms.chain.depth());
    tracing::info!(
        target: DECISION_TARGET,
        decision,
        reason,
        status,
        aud = resource,
        sub = person.map(|person| person.sub.as_str()),
        sub_iss = person.map(|person| person.iss.as_str()),
        act,
        depth,
        jti = said.map(|terms| terms.jti.as_str()),
        client_id = said.map(|terms| terms.client.as_str()),
        scope = said.map(|terms| tracing::field::display(&terms.scopes)),
    );
}
