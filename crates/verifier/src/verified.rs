//! The verified facts about a request.

use std::fmt;

use mandate_core::{Actor, ActorChain, ClientId, Issuer, Lineage, Person, ResourceUri, Scope, ScopeSet, Timestamp, TokenId};
use mandate_token::access_token::AccessToken;

/// The outcome of a successful check. Only a [`Verifier`](crate::Verifier) can make it, so an unverified request cannot reach
/// a function that takes a `&Verified`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    issuer: Issuer,
    subject: Person,
    chain: ActorChain,
    resource: ResourceUri,
    scopes: ScopeSet,
    jti: TokenId,
    client_id: ClientId,
    lineage: Lineage,
    issued: Timestamp,
    expires: Timestamp,
}

impl Verified {
    pub(crate) fn new(token: AccessToken, resource: ResourceUri) -> Self {
        let AccessToken { iss, subject, chain, scope, jti, client_id, lineage, iat, exp, .. } = token;
        Self { issuer: iss, subject, chain, resource, scopes: scope, jti, client_id, lineage, issued: iat, expires: exp }
    }

    /// Who issued the token.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The person for whom this is done: issuer and `sub`. Two issuers never name the same person.
    pub fn subject(&self) -> &Person {
        &self.subject
    }

    /// The current actor: the outermost `act` of the token. `None` when the person acts by a client of their own.
    ///
    /// Base decisions only on this actor and on [`Verified::subject`] (RFC 8693 §4.1).
    pub fn actor(&self) -> Option<&Actor> {
        self.chain.outermost()
    }

    /// All actors, the current one first. For records, never for decisions.
    pub fn chain(&self) -> &ActorChain {
        &self.chain
    }

    /// The resource that the token is addressed to: this one.
    pub fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Whether the token has `scope`.
    pub fn has_scope(&self, scope: &Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// The token's id. Store it beside the data that the request changes: it identifies the audit record.
    pub fn jti(&self) -> &TokenId {
        &self.jti
    }

    /// The client to which the token was issued.
    pub fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// The tokens and grants that the token descends from.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// When the token was issued.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// When the token ends.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("subject", &self.subject)
            .field("actor", &self.actor().map(|actor| &actor.sub))
            .field("resource", &self.resource)
            .field("scopes", &self.scopes)
            .field("jti", &self.jti)
            .finish_non_exhaustive()
    }
}
