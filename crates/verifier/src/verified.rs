//! The verified facts about a request.

use std::fmt;

use mandate_core::{
    Actor, ActorChain, ClientId, GroupName, Issuer, Lineage, ResourceUri, Scope, ScopeSet, Subject,
    TenantName, Terms, Timestamp, TokenId,
};

/// The outcome of a successful check: a request that is made for a person. Only a
/// [`Verifier`](crate::Verifier) can make it, so an unverified request cannot reach a function that takes a
/// `&Verified`, and neither can an agent's own token, which has no person.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    person: Subject,
    token: Token,
}

/// A request that an agent makes on its own behalf, with a token of its own. There is no person. Only
/// [`Verifier::verify_caller`](crate::Verifier::verify_caller) makes it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedAgent {
    agent: Actor,
    token: Token,
}

/// A verified request of either kind, for routes that agents may also use on their own behalf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedCaller {
    /// It is made for a person, by an agent or by a client of their own.
    ForPerson(Verified),
    /// It is made by an agent, for nobody.
    OwnBehalf(VerifiedAgent),
}

/// A checked token, and the resource that it is for.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    terms: Terms,
    resource: ResourceUri,
}

impl VerifiedCaller {
    /// What a checked token is; `None` if it names nobody, which no token that was read does.
    pub(crate) fn of(terms: Terms, resource: ResourceUri) -> Option<Self> {
        if let Some(person) = terms.subject.clone() {
            return Some(Self::ForPerson(Verified { person, token: Token { terms, resource } }));
        }
        let agent = terms.chain.outermost()?.clone();
        Some(Self::OwnBehalf(VerifiedAgent { agent, token: Token { terms, resource } }))
    }

    /// All that the token says.
    pub fn terms(&self) -> &Terms {
        match self {
            Self::ForPerson(verified) => verified.terms(),
            Self::OwnBehalf(agent) => agent.terms(),
        }
    }

    /// The person for whom the request is made, if there is one.
    pub fn person(&self) -> Option<&Subject> {
        match self {
            Self::ForPerson(verified) => Some(verified.subject()),
            Self::OwnBehalf(_) => None,
        }
    }

    pub(crate) fn resource(&self) -> &ResourceUri {
        match self {
            Self::ForPerson(verified) => verified.resource(),
            Self::OwnBehalf(agent) => agent.resource(),
        }
    }
}

impl Verified {
    /// All that the token says.
    pub fn terms(&self) -> &Terms {
        &self.token.terms
    }

    /// Who issued the token.
    pub fn issuer(&self) -> &Issuer {
        &self.token.terms.issuer
    }

    /// The person for whom this is done: issuer and `sub`. Two issuers never name the same person.
    pub fn subject(&self) -> &Subject {
        &self.person
    }

    /// The current actor: the outermost `act` of the token. `None` when the person acts by a client of their
    /// own.
    ///
    /// Base decisions only on this actor and on [`Verified::subject`] (RFC 8693 §4.1).
    pub fn actor(&self) -> Option<&Actor> {
        self.token.terms.chain.outermost()
    }

    /// All actors, the current one first. For records, never for decisions.
    pub fn chain(&self) -> &ActorChain {
        &self.token.terms.chain
    }

    /// The resource that the token is addressed to: this one.
    pub fn resource(&self) -> &ResourceUri {
        &self.token.resource
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &ScopeSet {
        &self.token.terms.scopes
    }

    /// The tenant of the person, the agents, the client and the resource, as far as they have one.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.token.terms.tenant.as_ref()
    }

    /// The groups of the person whose rights the token rests on, ordered by name.
    pub fn groups(&self) -> &[GroupName] {
        &self.token.terms.groups
    }

    /// Whether the token has `scope`.
    pub fn has_scope(&self, scope: &Scope) -> bool {
        self.token.terms.scopes.contains(scope)
    }

    /// The token's id. Store it beside the data that the request changes: it identifies the audit record.
    pub fn jti(&self) -> &TokenId {
        &self.token.terms.jti
    }

    /// The client to which the token was issued.
    pub fn client_id(&self) -> &ClientId {
        &self.token.terms.client
    }

    /// The tokens and grants that the token descends from.
    pub fn lineage(&self) -> &Lineage {
        &self.token.terms.lineage
    }

    /// When the token was issued.
    pub fn issued(&self) -> Timestamp {
        self.token.terms.issued
    }

    /// When the token expires: from this time on it is not valid.
    pub fn expires(&self) -> Timestamp {
        self.token.terms.expires
    }
}

impl VerifiedAgent {
    /// All that the token says.
    pub fn terms(&self) -> &Terms {
        &self.token.terms
    }

    /// The agent: its SPIFFE ID, as the issuer of the token names it.
    pub fn agent(&self) -> &Actor {
        &self.agent
    }

    /// The resource that the token is addressed to: this one.
    pub fn resource(&self) -> &ResourceUri {
        &self.token.resource
    }

    /// The tenant of the agent and the resource, as far as they have one.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.token.terms.tenant.as_ref()
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &ScopeSet {
        &self.token.terms.scopes
    }

    /// The token's id. Store it beside the data that the request changes: it identifies the audit record.
    pub fn jti(&self) -> &TokenId {
        &self.token.terms.jti
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("subject", &self.person)
            .field("actor", &self.actor().map(|actor| &actor.sub))
            .field("resource", self.resource())
            .field("scopes", self.scopes())
            .field("jti", self.jti())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifiedAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedAgent")
            .field("agent", &self.agent.sub)
            .field("resource", self.resource())
            .field("scopes", self.scopes())
            .field("jti", self.jti())
            .finish_non_exhaustive()
    }
}
