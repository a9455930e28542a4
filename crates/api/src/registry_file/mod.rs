//! The registry file: what an operator declares, as TOML on disk and as JSON on the admin API.
//!
//! [`parse`] turns text into a [`RegistryFile`] or says where it is wrong. The server plans what a file
//! changes, with the crate `planning`: a [`Finding`] is a reason why nothing may change.

mod convert;
mod expiry;
mod finding;
mod group;
mod parse;
mod permission;
mod proof;
mod suggest;
mod trust_domain;

use std::collections::BTreeMap;

use mandate_core::registry::{AgentState, AssertionAudience, ClaimPath, SubjectScope, TokenProfile};
use mandate_core::{
    AgentName, ClientId, GrantId, Issuer, Lifetime, PersonName, PolicyName, ResourceName, ResourceUri, Scope,
    SpiffeId, TenantName,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use convert::is_for_any_user;
pub use expiry::Expiry;
pub use finding::Finding;
pub use group::GroupItem;
pub use parse::{MAX_FILE_BYTES, RegistryFileError, locate, parse};
pub use permission::PermissionItem;
pub use proof::ProofItem;
pub use suggest::nearest;
pub use trust_domain::{BundleProfile, TrustDomainItem};

/// A whole registry file. Every section is a list; the order of entries means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryFile {
    /// Protected APIs and MCP servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<ResourceItem>,
    /// People of the embedded directory and of trusted issuers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub person: Vec<PersonItem>,
    /// Agents, each with the ceiling of its rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent: Vec<AgentItem>,
    /// OAuth clients that are not agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<ClientItem>,
    /// Identity providers that are trusted to name people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuer: Vec<IssuerItem>,
    /// Groups of identity providers, each with what its members may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<GroupItem>,
    /// SPIFFE trust domains of other organizations, whose JWT-SVIDs can prove agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domain: Vec<TrustDomainItem>,
    /// Standing permissions of people for agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<GrantItem>,
    /// Cedar policies, evaluated together with the built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyItem>,
}

/// `[[resource]]`: a protected API or MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceItem {
    /// Its name in the registry.
    #[schema(value_type = String, example = "crm")]
    pub name: ResourceName,
    /// Its identifier: the `resource` parameter of an exchange and the `aud` of a token, compared bytewise.
    #[schema(value_type = String, example = "https://crm.acme.example")]
    pub uri: ResourceUri,
    /// The scopes it understands.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// Its operations, as far as policies distinguish them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolItem>,
    /// The agent that serves this resource, if an agent does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent: Option<AgentName>,
    /// The client as which it authenticates at the introspection endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub client: Option<ClientId>,
    /// The most that a client that describes itself can get here, from any person. Empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unattested: Vec<Scope>,
    /// The tenant that it belongs to. Absent: none, so that it is shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "acme")]
    pub tenant: Option<TenantName>,
}

/// One operation of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolItem {
    /// Its name, unique within the resource: 1 to 128 characters.
    pub name: String,
    /// The scope it needs; one of the resource's.
    #[schema(value_type = String)]
    pub scope: Scope,
    /// It deletes or changes what cannot be restored.
    #[serde(default, skip_serializing_if = "is_false")]
    pub destructive: bool,
    /// It sends data out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub egress: bool,
    /// It reads input that others may have written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub untrusted_input: bool,
}

/// `[[person]]`: a person of the embedded directory, or of a trusted issuer. The password is not set in the
/// file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonItem {
    /// The name in the registry, and for the embedded directory the `sub`.
    #[schema(value_type = String, example = "riley")]
    pub name: PersonName,
    /// What the person may do. They cannot delegate more than that.
    #[serde(default)]
    pub may: Vec<PermissionItem>,
    /// The trusted issuer that names the person. Absent: the embedded directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub issuer: Option<Issuer>,
    /// The person's `sub` at that issuer. Absent: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// A disabled person cannot log in, and no agent can act for them. Absent: as it is, and for a new person
    /// `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The tenant that the person belongs to. Absent: that of the issuer, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "acme")]
    pub tenant: Option<TenantName>,
}

/// `[[agent]]`: a piece of software that acts for people, or on its own behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentItem {
    /// Its name in the registry.
    #[schema(value_type = String, example = "support-agent")]
    pub name: AgentName,
    /// The name of the person who is responsible for it.
    #[schema(value_type = String)]
    pub owner: PersonName,
    /// What it is for, on one line: 1 to 1024 bytes.
    pub purpose: String,
    /// Its SPIFFE ID. Absent: `spiffe://<trust domain>/agent/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub spiffe_id: Option<SpiffeId>,
    /// The selectors that a process must show, all of them, to be issued the identity. Empty: no process gets
    /// it.
    #[serde(default)]
    #[schema(example = json!(["unix:uid:1000"]))]
    pub selectors: Vec<String>,
    /// It may be issued to processes of any local user. Without it, the selectors must name a user or a
    /// group.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dangerous_any_user: bool,
    /// The tokens of platforms and of other trust domains that prove it, any one of them; instead of selectors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<ProofItem>,
    /// The most that it can get, from any person or on its own behalf. Empty: nothing.
    #[serde(default)]
    pub ceiling: Vec<PermissionItem>,
    /// What it may do on its own behalf, without a person, within its ceiling. Empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may: Vec<PermissionItem>,
    /// The deepest chain in which it may be the outermost actor; 1 to 16. Absent: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_depth: Option<u8>,
    /// Whether it may act. Absent: as it is, and for a new agent `active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "active")]
    pub state: Option<AgentState>,
    /// The tenant that it belongs to. Absent: none, so that it is shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "acme")]
    pub tenant: Option<TenantName>,
}

/// How a client proves who it is, in files and on the wire (the names of OAuth's
/// `token_endpoint_auth_method`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticationItem {
    /// A public client: it proves nothing, and its codes are protected by PKCE.
    #[default]
    None,
    /// A secret, which is not in the file, in the `Authorization` header.
    ClientSecretBasic,
    /// A secret, which is not in the file, in the body.
    ClientSecretPost,
    /// A signed assertion, checked with the keys in `jwks`.
    PrivateKeyJwt,
}

/// `[[client]]`: an OAuth client that is not an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientItem {
    /// Its `client_id` (RFC 6749 §2.2), by which it is found.
    #[schema(value_type = String, example = "support-app")]
    pub id: ClientId,
    /// The redirect URIs, compared as text; on loopback hosts any port matches. `https`, `http` on loopback,
    /// or a private-use scheme of a native app (RFC 8252 §7.1).
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// How it authenticates at the token endpoint.
    #[serde(default)]
    pub authentication: AuthenticationItem,
    /// Its public keys, a JWK Set as JSON text; with `private_key_jwt` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// What the `aud` of its assertions must be: `issuer` (the default), or `token_endpoint` for clients that
    /// can write nothing else; with `private_key_jwt` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "issuer")]
    pub assertion_audience: Option<AssertionAudience>,
    /// The scopes that it may ask for. Absent: every scope of every resource except this server's own
    /// administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["read:cases"]))]
    pub scopes: Option<Vec<Scope>>,
    /// The agents whose actor tokens it may present. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub agents: Vec<AgentName>,
    /// Whether it may act for people while they are away: a login with the scope `offline_access` gives it
    /// refresh tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// Whether its authorization requests count only if it has pushed them to `/par` (RFC 9126 §6).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_pushed_authorization_requests: bool,
    /// Whether people may log in for it on another device, by a code that the device shows (RFC 8628).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub device: bool,
    /// The tenant that it belongs to. Absent: none, so that it is shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "acme")]
    pub tenant: Option<TenantName>,
}

/// `[[issuer]]`: an identity provider of another organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerItem {
    /// The `iss` of its tokens, compared as text.
    #[schema(value_type = String, example = "https://login.acme.example")]
    pub url: Issuer,
    /// The `aud` that its access tokens must have. Absent: they are no subject tokens, and the issuer is for
    /// logins or ID tokens alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub audience: String,
    /// Whether its tokens' scopes limit what is delegated from them (`token`, the default), or the tokens
    /// prove only who the person is (`identity_only`).
    #[serde(default = "subject_scope_of_the_token")]
    #[schema(value_type = String, example = "token")]
    pub subject_scope: SubjectScope,
    /// What its tokens may be addressed to besides `audience`. A service that receives a token as one of
    /// these audiences can use it here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_audiences: Vec<String>,
    /// The only certificate authorities that are trusted for its servers, as PEM. In a file on disk also the
    /// path of a PEM file, relative to it, which `mandate apply` reads. Absent: the authorities of the
    /// server's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which it is reached, such as `http://proxy.acme.example:3128`. Absent: none, even if
    /// the environment names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The product whose access tokens it issues: `rfc9068` (the default), `keycloak`, `entra-v1`, `entra-v2`,
    /// `okta`, `auth0`, `curity`, `pingam`, `zitadel`, `cognito` or `google`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = String, example = "keycloak")]
    pub profile: TokenProfile,
    /// What its tokens' claims must be, and which of them are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub claims: ClaimsItem,
    /// Whether people log in there (`OpenID` Connect). Then `client_id` is required.
    #[serde(default, skip_serializing_if = "is_default")]
    pub login: bool,
    /// This server's client id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The name of the file with this server's client secret there, in `login-secrets/KEY` of the server's
    /// directory. Absent: a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<String>,
    /// Whether security events that it pushes are taken: an account that is disabled there is disabled here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub security_events: bool,
    /// The `aud` that its security events must have. Absent: `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_audience: Option<String>,
    /// The tenant to which all its people belong. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "acme")]
    pub tenant: Option<TenantName>,
    /// Which of its ID tokens may be subject tokens, and from which client of ours. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_tokens: Vec<IdTokenItem>,
    /// How this server asks about its opaque access tokens (RFC 7662), and whose they are. Absent: they are no
    /// subject tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionItem>,
}

/// How this server asks about opaque access tokens, and which clients of ours present them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionItem {
    /// This server's client id there.
    pub client_id: String,
    /// The name of the file with its secret, in `login-secrets/KEY` of the server's directory.
    pub client_secret_file: String,
    /// The clients of ours whose opaque tokens are of this issuer.
    #[schema(value_type = Vec<String>)]
    pub clients: Vec<ClientId>,
}

/// ID tokens that one client of ours may present as subject tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdTokenItem {
    /// The client id at the issuer to which they are addressed: their `aud`.
    pub audience: String,
    /// The client of ours: its id, or the SPIFFE ID of an agent that is its own client.
    #[schema(value_type = String, example = "desk")]
    pub client: ClientId,
}

/// What the claims of an issuer's tokens must be, and which of them are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsItem {
    /// Claims that each of its tokens must have, with these texts as values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<String, String>,
    /// Where its tokens list the person's groups: the name of a claim, or a JSON pointer such as
    /// `/realm_access/roles`. Absent: they prove no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "groups")]
    pub groups: Option<ClaimPath>,
    /// Where its tokens name the person's tenant, which must be that of the person's entry. Absent: it is not
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "tid")]
    pub tenant: Option<ClaimPath>,
    /// Whether `act` in its tokens nests the other way round than RFC 8693 says: the oldest actor is outermost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oldest_actor_first: bool,
}

/// `[[grant]]`: a person's standing permission for an agent on a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantItem {
    /// Distinguishes several grants of one person to one agent on one resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id of the grant. Absent: it is derived from person, agent, resource and name, so it stays the same
    /// when the file is applied again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<GrantId>,
    /// The name of the person who grants.
    #[schema(value_type = String)]
    pub person: PersonName,
    /// The name of the agent.
    #[schema(value_type = String)]
    pub agent: AgentName,
    /// The name of the resource.
    #[schema(value_type = String)]
    pub resource: ResourceName,
    /// The scopes of that resource.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// The end: a time, or a span from the first time it is applied. Absent: it ends only when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2027-01-31T00:00:00Z")]
    pub expires: Option<Expiry>,
    /// How many mandates may be issued under it. Absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u64>,
    /// The longest time for which a token under this may be valid, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5m")]
    pub lifetime: Option<Lifetime>,
    /// Whether it is revoked. Absent: as it is. Once it is `true`, it stays `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<bool>,
}

/// `[[policy]]`: one Cedar policy text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyItem {
    /// Its name, by which records and errors refer to it.
    #[schema(value_type = String)]
    pub name: PolicyName,
    /// Its Cedar text: one or more statements.
    pub source: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn subject_scope_of_the_token() -> SubjectScope {
    SubjectScope::Token
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde's skip_serializing_if calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests;
