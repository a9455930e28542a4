//! What a mandate says, as one value: the decision makes it, the audit record and the token repeat it, and a
//! verified token is read into it.
//!
//! A new term is added in four places. Each names every term, so that the compiler finds it:
//! 1. this module: [`Terms`], [`Terms::new`], [`Terms::said`], [`Terms::first_difference`] and
//!    [`Terms::approval_form`], and then, if a record repeats the term, [`KnownTerms`] and [`Said`] with
//!    their comparison and their JSON; [`Term`] and its claim's name;
//! 2. the parser of tokens: `read` in `token/src/access_token.rs`;
//! 3. the builder of claims: `Wire::of` in `token/src/access_token/build.rs`;
//! 4. the lint before signing: `check_access_token` in `authority/src/lint/claims.rs`.
//!
//! No mandate has the term until `decide` names it, in `delegation/src/decide.rs` for an exchange, in
//! `delegation/src/decide/person.rs` for a person's own token and in `delegation/src/decide/own.rs` for an
//! agent's; the compiler does not say so.

mod approval_form;
mod audience;
mod confirmation;
mod details;
mod said;

use std::fmt;

use crate::id::{ClientId, GroupName, TenantName, TokenId};
use crate::lineage::Lineage;
use crate::revocation::TokenFacts;
use crate::scope::ScopeSet;
use crate::subject::{ActorChain, Subject};
use crate::time::Timestamp;
use crate::uri::Issuer;

pub use audience::Audience;
pub use confirmation::{Confirmation, InvalidThumbprint, Thumbprint};
pub use details::{Details, InvalidDetails};
pub use said::{KnownTerms, Said};

/// One delegation: who, through whom, where, what, until when. A copy of it grants nothing.
///
/// Tokens of trusted issuers are read into the same type, so it can say more than a mandate can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who issues the token: `iss`.
    pub issuer: Issuer,
    /// On whose behalf: the person of `sub`, and of `sub_id` if they belong to another issuer. `None`: on
    /// nobody's; it is an agent's own token, and the agent is the only member of `chain`.
    pub subject: Option<Subject>,
    /// Who acts, outermost first: `act`. Empty for a person's own token. In an agent's own token, its `sub`
    /// with `sub_profile`.
    pub chain: ActorChain,
    /// Where: `aud`. A mandate has exactly one resource.
    pub audience: Audience,
    /// What is allowed there: `scope`.
    pub scopes: ScopeSet,
    /// What is allowed in detail: `authorization_details` (RFC 9396).
    pub details: Details,
    /// When it was issued: `iat`.
    pub issued: Timestamp,
    /// Until when: `exp`. From then on the token is not valid.
    pub expires: Timestamp,
    /// The token's id: `jti`.
    pub jti: TokenId,
    /// To which client: `client_id`.
    pub client: ClientId,
    /// From which tokens and grants: `lineage`.
    pub lineage: Lineage,
    /// The key that the token is bound to: `cnf` (RFC 7800). A token with `cnf` is accepted only with a proof
    /// of that key.
    pub cnf: Option<Confirmation>,
    /// When the person last proved who they are: `auth_time` (RFC 9068 §2.2.1). Exchanges do not change it.
    pub auth_time: Option<Timestamp>,
    /// How strong that proof was: `acr` (RFC 9068 §2.2.1). Exchanges do not change it.
    pub acr: Option<String>,
    /// By which methods: `amr` (RFC 9068 §2.2.1). Exchanges do not change it.
    pub amr: Vec<String>,
    /// The groups of the registry whose rights or limits the token rests on, ordered by name: `groups` (RFC
    /// 9068 §2.2.3.1). A token that is addressed to us names all that the login or token of the person
    /// proved.
    pub groups: Vec<GroupName>,
    /// The tenant of its person, its agents, its client and its resource, as far as they have one: `tenant`.
    pub tenant: Option<TenantName>,
}

/// The name of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// [`Terms::issuer`].
    Issuer,
    /// [`Terms::subject`].
    Subject,
    /// [`Terms::chain`].
    Chain,
    /// [`Terms::audience`].
    Audience,
    /// [`Terms::scopes`].
    Scopes,
    /// [`Terms::details`].
    Details,
    /// [`Terms::issued`].
    Issued,
    /// [`Terms::expires`].
    Expires,
    /// [`Terms::jti`].
    Jti,
    /// [`Terms::client`].
    Client,
    /// [`Terms::lineage`].
    Lineage,
    /// [`Terms::cnf`].
    Cnf,
    /// [`Terms::auth_time`].
    AuthTime,
    /// [`Terms::acr`].
    Acr,
    /// [`Terms::amr`].
    Amr,
    /// [`Terms::groups`].
    Groups,
    /// [`Terms::tenant`].
    Tenant,
}

impl fmt::Display for Term {
    /// The name of its claim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "iss",
            Self::Subject => "sub",
            Self::Chain => "act",
            Self::Audience => "aud",
            Self::Scopes => "scope",
            Self::Details => "authorization_details",
            Self::Issued => "iat",
            Self::Expires => "exp",
            Self::Jti => "jti",
            Self::Client => "client_id",
            Self::Lineage => "lineage",
            Self::Cnf => "cnf",
            Self::AuthTime => "auth_time",
            Self::Acr => "acr",
            Self::Amr => "amr",
            Self::Groups => "groups",
            Self::Tenant => "tenant",
        })
    }
}

impl Terms {
    /// The terms that every token has: a token without actors, ancestors and everything else that may be
    /// absent. `times`: when it is issued and when it expires.
    pub fn new(
        issuer: Issuer,
        subject: impl Into<Option<Subject>>,
        client: ClientId,
        audience: Audience,
        scopes: ScopeSet,
        jti: TokenId,
        times: (Timestamp, Timestamp),
    ) -> Self {
        Self {
            issuer,
            subject: subject.into(),
            chain: ActorChain::empty(),
            audience,
            scopes,
            details: Details::default(),
            issued: times.0,
            expires: times.1,
            jti,
            client,
            lineage: Lineage::default(),
            cnf: None,
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            groups: Vec::new(),
            tenant: None,
        }
    }

    /// The facts that revocation needs; `ours` is the issuer whose cuts the token is checked against.
    pub fn facts<'a>(&'a self, ours: &'a Issuer) -> TokenFacts<'a> {
        TokenFacts {
            ours,
            iss: &self.issuer,
            jti: &self.jti,
            iat: self.issued,
            subject: self.subject.as_ref(),
            client: &self.client,
            chain: &self.chain,
            lineage: &self.lineage,
            groups: &self.groups,
        }
    }

    /// Whether the actor is a client that describes itself: nothing attests who it is. Its token descends
    /// from nothing, and nothing descends from its token.
    pub fn actor_is_unattested(&self) -> bool {
        let actor = self.chain.outermost();
        self.client.may_describe_itself()
            && self.chain.depth() == 1
            && actor.is_some_and(|actor| actor.iss == self.issuer && actor.sub == self.client.as_str())
    }

    /// What a record repeats: every term except the issuer, because the whole log has the same one, and the
    /// time of issue, because it is the time of the record.
    pub fn said(&self) -> Said<'_> {
        let Self {
            issuer: _,
            subject,
            chain,
            audience,
            scopes,
            details,
            issued: _,
            expires,
            jti,
            client,
            lineage,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        } = self;
        Said {
            sub: subject.as_ref(),
            act: chain,
            aud: audience.sole(),
            scope: scopes,
            jti: Some(jti),
            exp: Some(*expires),
            client: Some(client.as_str()),
            lineage,
            details,
            cnf: cnf.as_ref(),
            auth_time: *auth_time,
            acr: acr.as_deref(),
            amr,
            groups,
            tenant: tenant.as_ref(),
        }
    }

    /// The first term in which the two differ; `None` if they are equal.
    pub fn first_difference(&self, other: &Self) -> Option<Term> {
        // What `said` leaves out, or has only in part; it compares those that are named here only.
        let Self {
            issuer,
            audience,
            issued,
            subject: _,
            chain: _,
            scopes: _,
            details: _,
            expires: _,
            jti: _,
            client: _,
            lineage: _,
            cnf: _,
            auth_time: _,
            acr: _,
            amr: _,
            groups: _,
            tenant: _,
        } = self;
        let rest = [
            (*issuer == other.issuer, Term::Issuer),
            (*issued == other.issued, Term::Issued),
            (*audience == other.audience, Term::Audience),
        ];
        let rest = || rest.into_iter().find(|(same, _)| !same).map(|(_, term)| term);
        self.said().first_difference(&other.said()).or_else(rest)
    }
}

#[cfg(test)]
mod tests;
