//! The verified facts about a request.

use std::fmt;

use mandate_core::{
    Actor, ActorChain, ClientId, Issuer, Lineage, ResourceUri, Scope, ScopeSet, Subject, Terms, Timestamp,
    TokenId,
};

/// The outcome of a successful check. Only a [`Verifier`](crate::Verifier) can make it, so an unverified
/// request cannot reach a function that takes a `&Verified`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    terms: Terms,
    resource: ResourceUri,
}

impl Verified {
    pub(crate) fn new(terms: Terms, resource: ResourceUri) -> Self {
        Self { terms, resource }
    }

    /// All that the token says.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Who issued the token.
    pub fn issuer(&self) -> &Issuer {
        &self.terms.issuer
    }

    /// The person for whom this is done: issuer and `sub`. Two issuers never name the same person.
    pub fn subject(&self) -> &Subject {
        &self.terms.subject
    }

    /// The current actor: the outermost `act` of the token. `None` when the person acts by a client of their
    /// own.
    ///
    /// Base decisions only on this actor and on [`Verified::subject`] (RFC 8693 §4.1).
    pub fn actor(&self) -> Option<&Actor> {
        self.terms.chain.outermost()
    }

    /// All actors, the current one first. For records, never for decisions.
    pub fn chain(&self) -> &ActorChain {
        &self.terms.chain
    }

    /// The resource that the token is addressed to: this one.
    pub fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &ScopeSet {
        &self.terms.scopes
    }

    /// Whether the token has `scope`.
    pub fn has_scope(&self, scope: &Scope) -> bool {
        self.terms.scopes.contains(scope)
    }

    /// The token's id. Store it beside the data that the request changes: it identifies the audit record.
    pub fn jti(&self) -> &TokenId {
        &self.terms.jti
    }

    /// The client to which the token was issued.
    pub fn client_id(&self) -> &ClientId {
        &self.terms.client
    }

    /// The tokens and grants that the token descends from.
    pub fn lineage(&self) -> &Lineage {
        &self.terms.lineage
    }

    /// When the token was issued.
    pub fn issued(&self) -> Timestamp {
        self.terms.issued
    }

    /// When the token expires: from this time on it is not valid.
    pub fn expires(&self) -> Timestamp {
        self.terms.expires
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("subject", &self.terms.subject)
            .field("actor", &self.actor().map(|actor| &actor.sub))
            .field("resource", &self.resource)
            .field("scopes", &self.terms.scopes)
            .field("jti", &self.terms.jti)
            .finish_non_exhaustive()
    }
}
