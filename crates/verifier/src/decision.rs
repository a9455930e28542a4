//! One structured line per decision.

use mandate_core::{ActorChain, ClientId, Person, ScopeSet, TokenId};
use mandate_token::access_token::AccessToken;

use crate::refusal::Refusal;
use crate::verified::Verified;

/// The target of the decision lines: filter on it to send them elsewhere.
pub const DECISION_TARGET: &str = "mandate::decision";

/// What the signed token said. Unverified claims are never logged as facts.
struct Facts<'a> {
    subject: &'a Person,
    chain: &'a ActorChain,
    jti: &'a TokenId,
    client: &'a ClientId,
    scopes: &'a ScopeSet,
}

pub(crate) fn permitted(verified: &Verified) {
    let facts = Facts {
        subject: verified.subject(),
        chain: verified.chain(),
        jti: verified.jti(),
        client: verified.client_id(),
        scopes: verified.scopes(),
    };
    line("permitted", "ok", 200, verified.resource().as_str(), Some(&facts));
}

pub(crate) fn refused(refusal: &Refusal, resource: &str, token: Option<&AccessToken>) {
    let facts = token.map(|token| Facts {
        subject: &token.subject,
        chain: &token.chain,
        jti: &token.jti,
        client: &token.client_id,
        scopes: &token.scope,
    });
    line("refused", refusal.reason().code(), refusal.status(), resource, facts.as_ref());
}

fn line(decision: &'static str, reason: &str, status: u16, resource: &str, facts: Option<&Facts<'_>>) {
    let act = facts.and_then(|facts| facts.chain.outermost()).map(|actor| actor.sub.as_str());
    let depth = facts.map(|facts| facts.chain.depth());
    tracing::info!(
        target: DECISION_TARGET,
        decision,
        reason,
        status,
        aud = resource,
        sub = facts.map(|facts| facts.subject.sub.as_str()),
        sub_iss = facts.map(|facts| facts.subject.iss.as_str()),
        act,
        depth,
        jti = facts.map(|facts| facts.jti.as_str()),
        client_id = facts.map(|facts| facts.client.as_str()),
        scope = facts.map(|facts| tracing::field::display(facts.scopes)),
    );
}
