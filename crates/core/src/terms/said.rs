//! The terms as an audit record has them.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::id::{GroupName, TenantName, TokenId};
use crate::lineage::Lineage;
use crate::scope::{ScopeSet, ScopeText};
use crate::subject::{Act, ActRef, ActorChain, Subject};
use crate::time::Timestamp;
use crate::uri::Issuer;

use super::{Confirmation, Details, Term};

/// Those terms that are known: of a request that was refused, of another document than a mandate, or of a
/// record that was read from a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct KnownTerms {
    /// For whom: a verified person. Nobody, if an agent asked on its own behalf.
    pub sub: Option<Subject>,
    /// Who acted: verified actors, outermost first.
    pub act: ActorChain,
    /// The one resource the decision is about.
    pub aud: Option<String>,
    /// The scopes that were given.
    pub scope: ScopeSet,
    /// The token that is issued or revoked.
    pub jti: Option<TokenId>,
    /// When that token expires.
    pub exp: Option<Timestamp>,
    /// The client that asked.
    pub client: Option<Arc<str>>,
    /// What the token descends from.
    pub lineage: Lineage,
    /// What was given in detail.
    pub details: Details,
    /// The key that the token is bound to.
    pub cnf: Option<Confirmation>,
    /// When the person last proved who they are.
    pub auth_time: Option<Timestamp>,
    /// How strong that proof was.
    pub acr: Option<String>,
    /// How the person authenticated: names of methods (RFC 8176).
    pub amr: Vec<String>,
    /// The groups whose rights the token rests on.
    pub groups: Vec<GroupName>,
    /// The tenant of the parties.
    pub tenant: Option<TenantName>,
}

impl KnownTerms {
    /// The same terms, borrowed, to be written or compared.
    pub fn said(&self) -> Said<'_> {
        let Self {
            sub,
            act,
            aud,
            scope,
            jti,
            exp,
            client,
            lineage,
            details,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        } = self;
        Said {
            sub: sub.as_ref(),
            act,
            aud: aud.as_deref(),
            scope,
            jti: jti.as_ref(),
            exp: *exp,
            client: client.as_deref(),
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
}

/// What a record says of the terms, borrowed from [`Terms`](super::Terms) or from [`KnownTerms`].
///
/// Its JSON form uses the words of tokens, and is part of a record's: `sub` is the person's subject and
/// `sub_iss` the issuer that names them; `act` nests, outermost first (RFC 8693 §4.1); `scope` is
/// space-separated (RFC 8693 §4.2). Times are RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// [`KnownTerms::sub`].
    pub sub: Option<&'a Subject>,
    /// [`KnownTerms::act`].
    pub act: &'a ActorChain,
    /// [`KnownTerms::aud`].
    pub aud: Option<&'a str>,
    /// [`KnownTerms::scope`].
    pub scope: &'a ScopeSet,
    /// [`KnownTerms::jti`].
    pub jti: Option<&'a TokenId>,
    /// [`KnownTerms::exp`].
    pub exp: Option<Timestamp>,
    /// [`KnownTerms::client`].
    pub client: Option<&'a str>,
    /// [`KnownTerms::lineage`].
    pub lineage: &'a Lineage,
    /// [`KnownTerms::details`].
    pub details: &'a Details,
    /// [`KnownTerms::cnf`].
    pub cnf: Option<&'a Confirmation>,
    /// [`KnownTerms::auth_time`].
    pub auth_time: Option<Timestamp>,
    /// [`KnownTerms::acr`].
    pub acr: Option<&'a str>,
    /// [`KnownTerms::amr`].
    pub amr: &'a [String],
    /// [`KnownTerms::groups`].
    pub groups: &'a [GroupName],
    /// [`KnownTerms::tenant`].
    pub tenant: Option<&'a TenantName>,
}

impl Said<'_> {
    /// The first term in which the two differ; `None` if they are equal.
    pub fn first_difference(&self, other: &Said<'_>) -> Option<Term> {
        let Self {
            sub,
            act,
            aud,
            scope,
            jti,
            exp,
            client,
            lineage,
            details,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        } = *self;
        let same = [
            (jti == other.jti, Term::Jti),
            (sub == other.sub, Term::Subject),
            (act == other.act, Term::Chain),
            (aud == other.aud, Term::Audience),
            (scope == other.scope, Term::Scopes),
            (details == other.details, Term::Details),
            (exp == other.exp, Term::Expires),
            (client == other.client, Term::Client),
            (lineage == other.lineage, Term::Lineage),
            (cnf == other.cnf, Term::Cnf),
            (auth_time == other.auth_time, Term::AuthTime),
            (acr == other.acr, Term::Acr),
            (amr == other.amr, Term::Amr),
            (groups == other.groups, Term::Groups),
            (tenant == other.tenant, Term::Tenant),
        ];
        same.into_iter().find(|(same, _)| !same).map(|(_, term)| term)
    }
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// `sub`, `act`, `aud`, `scope` and `jti` are always present: scripts rely on them.
        #[derive(Serialize)]
        struct Wire<'a> {
            sub: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            sub_iss: Option<&'a Issuer>,
            act: Option<ActRef<'a>>,
            aud: Option<&'a str>,
            scope: ScopeText<'a>,
            jti: Option<&'a TokenId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            exp: Option<Timestamp>,
            #[serde(skip_serializing_if = "Option::is_none")]
            client: Option<&'a str>,
            #[serde(skip_serializing_if = "Lineage::is_empty")]
            lineage: &'a Lineage,
            #[serde(skip_serializing_if = "Details::is_empty")]
            authorization_details: &'a Details,
            #[serde(skip_serializing_if = "Option::is_none")]
            cnf: Option<&'a Confirmation>,
            #[serde(skip_serializing_if = "Option::is_none")]
            auth_time: Option<Timestamp>,
            #[serde(skip_serializing_if = "Option::is_none")]
            acr: Option<&'a str>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            amr: &'a [String],
            #[serde(skip_serializing_if = "<[GroupName]>::is_empty")]
            groups: &'a [GroupName],
            #[serde(skip_serializing_if = "Option::is_none")]
            tenant: Option<&'a TenantName>,
        }
        let Self {
            sub,
            act,
            aud,
            scope,
            jti,
            exp,
            client,
            lineage,
            details,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        } = *self;
        Wire {
            sub: sub.map(|person| person.sub.as_str()),
            sub_iss: sub.map(|person| &person.iss),
            act: act.to_act(),
            aud,
            scope: scope.as_text(),
            jti,
            exp,
            client,
            lineage,
            authorization_details: details,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        }
        .serialize(serializer)
    }
}

/// Every member may be absent, and is then read as empty.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    sub_iss: Option<Issuer>,
    #[serde(default)]
    act: Option<Act>,
    #[serde(default)]
    aud: Option<String>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    jti: Option<TokenId>,
    #[serde(default)]
    exp: Option<Timestamp>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    lineage: Lineage,
    #[serde(default)]
    authorization_details: Details,
    #[serde(default)]
    cnf: Option<Confirmation>,
    #[serde(default)]
    auth_time: Option<Timestamp>,
    #[serde(default)]
    acr: Option<String>,
    #[serde(default)]
    amr: Vec<String>,
    #[serde(default)]
    groups: Vec<GroupName>,
    #[serde(default)]
    tenant: Option<TenantName>,
}

impl TryFrom<Wire> for KnownTerms {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let Wire {
            sub,
            sub_iss,
            act,
            aud,
            scope,
            jti,
            exp,
            client,
            lineage,
            authorization_details,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        } = wire;
        let sub = match (sub, sub_iss) {
            (Some(sub), Some(iss)) => Some(Subject { iss, sub }),
            (None, None) => None,
            _ => return Err("sub and sub_iss must be given together or not at all"),
        };
        let act = act
            .map_or(Ok(ActorChain::empty()), ActorChain::try_from)
            .map_err(|_| "act is not an actor chain")?;
        let scope = if scope.is_empty() {
            ScopeSet::new()
        } else {
            scope.parse().map_err(|_| "scope is not a scope list")?
        };
        let client = client.map(Arc::from);
        Ok(Self {
            sub,
            act,
            aud,
            scope,
            jti,
            exp,
            client,
            lineage,
            details: authorization_details,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        })
    }
}
