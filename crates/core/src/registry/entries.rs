//! The entries of a registry: plain validated values.

use serde::{Deserialize, Serialize};

use crate::constraint::Constraints;
use crate::id::{AgentName, ClientId, GrantId, GroupName, PersonName, PolicyName, ResourceName, TenantName};
use crate::names::ClientMethod;
use crate::registry::foreign_domain::ForeignDomain;
use crate::registry::proof::AgentProof;
use crate::registry::trusted_issuer::TrustedIssuer;
use crate::scope::{Scope, ScopeSet};
use crate::selector::Selector;
use crate::spiffe::SpiffeId;
use crate::subject::Subject;
use crate::time::{Lifetime, Timestamp};
use crate::uri::{Issuer, ResourceUri, same};

/// The default limit on the depth of an actor chain.
pub const DEFAULT_CHAIN_DEPTH: u8 = 3;

/// One operation of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name, unique within the resource: 1 to 128 characters.
    pub name: String,
    /// The scope that a call of it needs: one of the resource's.
    pub scope: Scope,
    /// It deletes or changes what cannot be restored.
    pub destructive: bool,
    /// It sends data out.
    pub egress: bool,
    /// It reads input that others may have written.
    pub untrusted_input: bool,
}

/// A protected API or MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name in the registry.
    pub name: ResourceName,
    /// Its identifier on the wire: the `resource` parameter and the `aud` claim.
    pub uri: ResourceUri,
    /// The scopes it understands.
    pub scopes: ScopeSet,
    /// Its operations, as far as policies distinguish them.
    pub tools: Vec<Tool>,
    /// The agent that serves this resource, if an agent does. That agent may exchange, as the next hop, a
    /// token that was addressed to it.
    pub agent: Option<AgentName>,
    /// The client as which the resource server authenticates at the introspection endpoint, if it does.
    pub client: Option<ClientId>,
    /// The most that a client that describes itself can get here, from any person. Empty: nothing.
    #[serde(default, skip_serializing_if = "ScopeSet::is_empty")]
    pub unattested: ScopeSet,
    /// The tenant that it belongs to; absent: none, so that it is shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
}

/// Scopes (and limits) on one resource: the unit of a ceiling and of a person's rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// The resource that the scopes belong to.
    pub resource: ResourceName,
    /// The scopes that are permitted there.
    pub scopes: ScopeSet,
    /// The limits of tokens under this permission.
    pub constraints: Constraints,
}

/// Whether an agent may act. Of two states, the greater one is the stronger stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It may act.
    Active,
    /// Stopped; an operator can activate it.
    Suspended,
    /// Stopped because of an incident. It cannot be activated before it is released, which makes it
    /// suspended.
    Contained,
    /// Stopped permanently; its name and SPIFFE ID are never given to another agent.
    Retired,
}

impl AgentState {
    /// The name of the state in registry files, records and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Contained => "contained",
            Self::Retired => "retired",
        }
    }
}

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name in the registry.
    pub name: AgentName,
    /// The person who is responsible for it.
    pub owner: PersonName,
    /// What it is for, on one line, for people: 1 to 1024 bytes.
    pub purpose: String,
    /// Its identity in tokens, unique in the registry.
    pub spiffe_id: SpiffeId,
    /// The selectors that a process must show, all of them, to be issued the identity. Empty: no process gets
    /// it.
    pub selectors: Vec<Selector>,
    /// The tokens of platforms and of other trust domains that prove it, any one of them. Empty: none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<AgentProof>,
    /// The most that it can get, from any person or on its own behalf. Empty: nothing.
    pub ceiling: Vec<Permission>,
    /// What it may do on its own behalf, without a person, within its ceiling. Empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may: Vec<Permission>,
    /// The deepest chain in which it may be the outermost actor.
    pub chain_depth: u8,
    /// Whether it may act.
    pub state: AgentState,
    /// The tenant that it belongs to; absent: none, so that it is shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
}

/// A person the registry knows: of the embedded directory, or of a trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The name in the registry.
    pub name: PersonName,
    /// Issuer and subject. For the embedded directory: our own issuer and the name.
    pub id: Subject,
    /// What the person may do. They cannot delegate more than that.
    pub may: Vec<Permission>,
    /// A disabled person cannot log in, and no agent can act for them.
    pub disabled: bool,
    /// The tenant that the person belongs to; absent: that of their issuer, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
}

/// A group of an identity provider: what its members may do besides what their own entries allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name in the registry, by which our tokens name it.
    pub name: GroupName,
    /// The issuer whose tokens say who is a member.
    pub issuer: Issuer,
    /// What they say: the exact text in the claim. 1 to 128 bytes.
    pub id: String,
    /// What its members may do.
    pub may: Vec<Permission>,
}

/// How a client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum ClientAuthentication {
    /// A public client: it proves nothing, and its codes are protected by PKCE.
    None,
    /// `client_secret_basic` (RFC 6749 §2.3.1). The secret's argon2id hash is kept by the store, beside the
    /// registry.
    ClientSecretBasic,
    /// `client_secret_post` (RFC 6749 §2.3.1): the same secret, in the body.
    ClientSecretPost,
    /// `private_key_jwt` (RFC 7523 §2.2) with these keys, a JWK Set as JSON text.
    PrivateKeyJwt {
        /// The client's public keys: a JWK Set (RFC 7517 §5) as JSON text.
        jwks: String,
        /// What the `aud` of its assertions must be.
        #[serde(default)]
        audience: AssertionAudience,
    },
}

impl ClientAuthentication {
    /// Its name in the registry of token endpoint authentication methods (RFC 7591 §4.2).
    pub fn method(&self) -> ClientMethod {
        match self {
            Self::None => ClientMethod::None,
            Self::ClientSecretBasic => ClientMethod::ClientSecretBasic,
            Self::ClientSecretPost => ClientMethod::ClientSecretPost,
            Self::PrivateKeyJwt { .. } => ClientMethod::PrivateKeyJwt,
        }
    }

    /// Whether it uses a client secret.
    pub fn has_secret(&self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// What the `aud` of a client's assertions must be, as sole value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// Our issuer identifier (RFC 7523bis).
    #[default]
    Issuer,
    /// The URL of our token endpoint (RFC 7523 §3), for clients that cannot write anything else.
    TokenEndpoint,
}

/// An OAuth client that is not an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its `client_id`, unique in the registry.
    pub id: ClientId,
    /// The redirect URIs to which the browser may be sent back, compared as text; on loopback hosts any port
    /// matches.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub authentication: ClientAuthentication,
    /// The agents whose actor tokens it may present. Empty: none.
    pub agents: Vec<AgentName>,
    /// The scopes that it may ask for, at all resources. Absent: all except those of our own administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopeSet>,
    /// Whether it may act for a person who has left: a login that asks for it gives it refresh tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// Whether its authorization requests count only if it has pushed them (RFC 9126 §6).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_pushed_authorization_requests: bool,
    /// Whether people may log in for it on another device (RFC 8628).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub device: bool,
    /// The tenant that it belongs to; absent: none, so that it is shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
}

impl Client {
    /// The scopes of `resource` that it may ask for. `issuer`: ours, which is also the identifier of our
    /// administration.
    pub fn may_ask_of(&self, resource: &Resource, issuer: &Issuer) -> ScopeSet {
        match &self.scopes {
            Some(listed) => resource.scopes.intersection(listed),
            None if same(resource.uri.as_str(), issuer.as_str()) => ScopeSet::new(),
            None => resource.scopes.clone(),
        }
    }
}

/// A person's standing permission for an agent on a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id, unique in the registry; tokens name it in `lineage`.
    pub id: GrantId,
    /// The person who grants.
    pub person: PersonName,
    /// The agent that gets the permission.
    pub agent: AgentName,
    /// The resource that it is for.
    pub resource: ResourceName,
    /// The scopes that are granted.
    pub scopes: ScopeSet,
    /// The limits of tokens under this grant.
    pub constraints: Constraints,
    /// The first moment at which it is no longer in force; absent: it ends only when it is revoked.
    pub expires: Option<Timestamp>,
    /// The span from which `expires` was made, if one was declared: the same span again does not move the
    /// end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Lifetime>,
    /// How many mandates may be issued under it; absent: unlimited.
    pub max_uses: Option<u64>,
    /// Revoked grants stay in the registry as history.
    pub revoked: bool,
}

/// One Cedar policy text. All policies of the registry are evaluated together with the built-in ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name, by which records and errors refer to it.
    pub name: PolicyName,
    /// Its Cedar text: one or more statements.
    pub source: String,
}

/// The kinds of entries, as in `mandate get KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// [`Resource`]
    Resource,
    /// [`Person`]
    Person,
    /// [`Agent`]
    Agent,
    /// [`Client`]
    Client,
    /// [`TrustedIssuer`]
    Issuer,
    /// [`Group`]
    Group,
    /// [`ForeignDomain`]
    TrustDomain,
    /// [`Grant`]
    Grant,
    /// [`Policy`]
    Policy,
}

/// One entry of any kind. `Registry::apply` and the store take changes as entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is an entry of the kind that its name says")]
pub enum Entry {
    Resource(Resource),
    Person(Person),
    Agent(Agent),
    Client(Client),
    Issuer(TrustedIssuer),
    Group(Group),
    TrustDomain(ForeignDomain),
    Grant(Grant),
    Policy(Policy),
}

impl Entry {
    /// The kind of the entry.
    pub fn kind(&self) -> EntryKind {
        match self {
            Self::Resource(_) => EntryKind::Resource,
            Self::Person(_) => EntryKind::Person,
            Self::Agent(_) => EntryKind::Agent,
            Self::Client(_) => EntryKind::Client,
            Self::Issuer(_) => EntryKind::Issuer,
            Self::Group(_) => EntryKind::Group,
            Self::TrustDomain(_) => EntryKind::TrustDomain,
            Self::Grant(_) => EntryKind::Grant,
            Self::Policy(_) => EntryKind::Policy,
        }
    }

    /// The key of the entry, unique within its kind: its name, id or URL.
    pub fn key(&self) -> &str {
        match self {
            Self::Resource(x) => x.name.as_str(),
            Self::Person(x) => x.name.as_str(),
            Self::Agent(x) => x.name.as_str(),
            Self::Client(x) => x.id.as_str(),
            Self::Issuer(x) => x.url.as_str(),
            Self::Group(x) => x.name.as_str(),
            Self::TrustDomain(x) => x.name.as_str(),
            Self::Grant(x) => x.id.as_str(),
            Self::Policy(x) => x.name.as_str(),
        }
    }
}
