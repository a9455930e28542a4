//! What remains of a check that passed. Later steps take these values, never raw strings or booleans.
//!
//! Each is built from a value that only a successful verification yields: a token that `mandate-token` verified, or a
//! registry entry whose credential the caller has just checked (the constructor is then called `assertion`, so that
//! every place that claims it can be found).

use std::sync::Arc;

use mandate_core::registry::{Client, SubjectScope, TrustedIssuer};
use mandate_core::{ActorChain, ClientId, Issuer, Lineage, Person, PersonName, ScopeSet, SpiffeId, Timestamp, TokenId};
use mandate_token::access_token::{AccessToken, MayAct};
use mandate_token::jwt_svid::JwtSvid;

use crate::decide::PERSON_TOKEN_LIFETIME;

/// Where a subject token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectOrigin {
    /// We issued it.
    Own,
    /// A trusted issuer did.
    Foreign(Arc<TrustedIssuer>),
}

/// A subject token whose signature, type, issuer and times have been verified.
#[derive(Clone, Debug)]
pub struct VerifiedSubject {
    pub(crate) origin: SubjectOrigin,
    pub(crate) person: Person,
    pub(crate) issuer: Issuer,
    pub(crate) audiences: Vec<String>,
    pub(crate) client: ClientId,
    pub(crate) jti: TokenId,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) scopes: ScopeSet,
    pub(crate) chain: ActorChain,
    pub(crate) may_act: Option<MayAct>,
    pub(crate) lineage: Lineage,
    pub(crate) auth_time: Option<Timestamp>,
    pub(crate) acr: Option<String>,
    pub(crate) amr: Vec<String>,
    pub(crate) key_bound: bool,
}

impl VerifiedSubject {
    /// From an access token of our own.
    pub fn own(token: AccessToken) -> Self {
        Self::from_token(SubjectOrigin::Own, token)
    }

    /// From an access token of a trusted issuer. Its lineage is empty, whatever it claims; its `jti` is the digest of
    /// issuer and `jti` that `mandate-token` makes, so that no foreign issuer can name one of our tokens.
    ///
    /// However long it says that it lives, here it does for [`PERSON_TOKEN_LIFETIME`] from its `iat`: cuts are remembered
    /// for as long as our own tokens live, and it must not outlive one that it is below.
    pub fn foreign(token: AccessToken, issuer: Arc<TrustedIssuer>) -> Self {
        let expires = token.exp.min(token.iat.plus(PERSON_TOKEN_LIFETIME));
        Self { lineage: Lineage::default(), expires, ..Self::from_token(SubjectOrigin::Foreign(issuer), token) }
    }

    fn from_token(origin: SubjectOrigin, token: AccessToken) -> Self {
        Self {
            origin,
            person: token.subject,
            issuer: token.iss,
            audiences: token.audiences,
            client: token.client_id,
            jti: token.jti,
            issued: token.iat,
            expires: token.exp,
            scopes: token.scope,
            chain: token.chain,
            may_act: token.may_act,
            lineage: token.lineage,
            auth_time: token.auth_time,
            acr: token.acr,
            amr: token.amr,
            key_bound: token.cnf.is_some(),
        }
    }

    /// The person on whose behalf.
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// The actors so far, outermost first.
    pub fn chain(&self) -> &ActorChain {
        &self.chain
    }

    /// Its id; for a foreign token a digest of issuer and `jti`.
    pub fn jti(&self) -> &TokenId {
        &self.jti
    }

    /// Whether the token's own scopes bound the result.
    pub(crate) fn scopes_bound_the_result(&self) -> bool {
        match &self.origin {
            SubjectOrigin::Own => true,
            SubjectOrigin::Foreign(issuer) => issuer.subject_scope == SubjectScope::Token,
        }
    }
}

/// An actor whose workload credential has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedActor {
    spiffe_id: SpiffeId,
}

impl VerifiedActor {
    /// From a JWT-SVID that was verified for our issuer as its sole audience.
    pub fn from_svid(svid: JwtSvid) -> Self {
        Self { spiffe_id: svid.spiffe_id }
    }

    /// Its identity.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

/// A client that has proven who it is.
#[derive(Clone, Debug)]
pub enum AuthenticatedClient {
    /// An agent, by its JWT-SVID (`spiffe_jwt`).
    Agent(VerifiedActor),
    /// A registered confidential client.
    App(Arc<Client>),
}

impl AuthenticatedClient {
    /// Claims that `client`'s registered credential has just been checked, and passed.
    pub fn assertion(client: Arc<Client>) -> Self {
        Self::App(client)
    }

    /// Its id: the registered client id, or the agent's SPIFFE ID.
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(actor) => actor.spiffe_id.as_str(),
            Self::App(client) => client.id.as_str(),
        }
    }
}

/// A person of the embedded directory whose password has just been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedInPerson {
    pub(crate) name: PersonName,
    pub(crate) at: Timestamp,
}

impl LoggedInPerson {
    /// Claims that the person's password has been checked at `at`, and passed.
    pub fn assertion(name: PersonName, at: Timestamp) -> Self {
        Self { name, at }
    }

    /// Who.
    pub fn name(&self) -> &PersonName {
        &self.name
    }
}

#[cfg(test)]
impl VerifiedActor {
    /// For the tests of `decide`, which start where verification ends.
    pub(crate) fn for_test(spiffe_id: &str) -> Self {
        Self { spiffe_id: spiffe_id.parse().unwrap() }
    }
}
