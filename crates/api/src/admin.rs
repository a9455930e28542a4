//! The documents of the admin API. Paths are in [`path`]; every body is JSON, every error a
//! [`crate::Problem`].

mod audit;
mod status;

use mandate_core::registry::{AgentState, EntryKind};
use mandate_core::{AgentName, ClientId, Cut, GrantId, Lifetime, PersonName, RecordId, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::registry_file::{
    AgentItem, ClientItem, GrantItem, GroupItem, IssuerItem, PersonItem, PolicyItem, RegistryFile,
    ResourceItem, TrustDomainItem,
};

pub use audit::{
    AuditCheckpoint, AuditQuery, AuditRecord, AuditSum, AuditVerification, AuditVerifyQuery, VerifiedLog,
};
pub use status::{DiskSpace, NodeCounts, RegistryCounts, Severity, Status, StatusProblem, problem_code};

/// The paths of the admin API.
pub mod path {
    /// `POST`: apply a registry file.
    pub const APPLY: &str = "/v1/apply";
    /// `GET /v1/registry/{kind}` and `GET /v1/registry/{kind}/{name}`.
    pub const REGISTRY: &str = "/v1/registry";
    /// `POST`: a join token for a node.
    pub const JOIN_TOKENS: &str = "/v1/join-tokens";
    /// `GET`: nodes; `POST /v1/nodes/{name}/ban`: ban one.
    pub const NODES: &str = "/v1/nodes";
    /// `POST /v1/agents/{name}/state` and `POST /v1/agents/{name}/release`.
    pub const AGENTS: &str = "/v1/agents";
    /// `POST /v1/people/{name}/password` and `POST /v1/people/{name}/state`.
    pub const PEOPLE: &str = "/v1/people";
    /// `POST /v1/clients/{id}/secret`.
    pub const CLIENTS: &str = "/v1/clients";
    /// `GET`: query; `GET /v1/audit/records/{id}`: one.
    pub const AUDIT_RECORDS: &str = "/v1/audit/records";
    /// `GET`: verify the whole log on the server.
    pub const AUDIT_VERIFY: &str = "/v1/audit/verify";
    /// `GET`: the current checkpoint, to be kept outside the server.
    pub const AUDIT_CHECKPOINT: &str = "/v1/audit/checkpoint";
    /// `GET`: the whole log as a bundle that verifies offline.
    pub const AUDIT_EXPORT: &str = "/v1/audit/export";
    /// `POST`: cut a token, grant, agent, person or client.
    pub const REVOCATIONS: &str = "/v1/revocations";
    /// `POST`: rotate signing keys.
    pub const KEYS_ROTATE: &str = "/v1/keys/rotate";
    /// `GET`: what is running, and what needs attention.
    pub const STATUS: &str = "/v1/status";
    /// `GET`: this interface as an `OpenAPI` 3.1 document.
    pub const OPENAPI: &str = "/openapi.json";
}

/// The name of a kind, as in `GET /v1/registry/{kind}` and in the registry file.
pub fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Resource => "resource",
        EntryKind::Person => "person",
        EntryKind::Agent => "agent",
        EntryKind::Client => "client",
        EntryKind::Issuer => "issuer",
        EntryKind::Group => "group",
        EntryKind::TrustDomain => "trust_domain",
        EntryKind::Grant => "grant",
        EntryKind::Policy => "policy",
    }
}

/// The kind of that name, singular or plural.
pub fn parse_kind(text: &str) -> Option<EntryKind> {
    Some(match text {
        "resource" | "resources" => EntryKind::Resource,
        "person" | "people" | "persons" => EntryKind::Person,
        "agent" | "agents" => EntryKind::Agent,
        "client" | "clients" => EntryKind::Client,
        "issuer" | "issuers" => EntryKind::Issuer,
        "group" | "groups" => EntryKind::Group,
        "trust_domain" | "trust_domains" => EntryKind::TrustDomain,
        "grant" | "grants" => EntryKind::Grant,
        "policy" | "policies" => EntryKind::Policy,
        _ => return None,
    })
}

/// `POST /v1/apply`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The content of the registry file.
    pub entries: RegistryFile,
    /// Whether entries that the file does not mention are removed.
    #[serde(default)]
    pub prune: bool,
    /// Whether only the plan is returned and nothing is changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The registry has no entry of this name yet.
    Created,
    /// It exists and becomes different.
    Changed,
    /// Its name is not in the file, and the file is applied with `prune`.
    Removed,
}

/// One entry that a registry file changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeItem {
    /// The kind of entry.
    #[schema(example = "agent")]
    pub kind: String,
    /// The name, id or URL of the entry.
    #[schema(example = "support-agent")]
    pub name: String,
    /// For a grant, whose key is not readable for people: person, agent and resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "riley → support-agent on crm")]
    pub about: Option<String>,
    /// What happens to it.
    pub change: Change,
    /// The members that differ, if it is `changed`, by their names in the registry file.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The same members as they were and as they will be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// One member of an entry, as the registry file would declare it, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The name of the member.
    #[schema(example = "ceiling")]
    pub field: String,
    /// As it was; absent if it was not declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// As it will be; absent if it is no longer declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
}

/// Where the audit record is, for an act that takes authority away. The act is in force in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// In the audit log.
    #[default]
    Log,
    /// In the reserve on the server's disk. The server puts it into the audit log as soon as the log can be
    /// written.
    Reserve,
    /// Nowhere yet: the act lasts as long as the server's process. The server tries again to record it.
    NotYet,
}

/// The answer to [`ApplyRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplyResponse {
    /// Whether nothing was changed because this was a dry run.
    pub dry_run: bool,
    /// The changes; entries that already match are not among them.
    pub changes: Vec<ChangeItem>,
    /// How many entries of the file already match.
    pub unchanged: u64,
    /// Sentences about what the file does that may not be intended. They are not errors.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where the change is recorded.
    #[serde(default)]
    pub recorded: Recorded,
}

/// One entry of the registry, as the registry file writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is an entry of the kind that its name says")]
pub enum RegistryItem {
    Resource(ResourceItem),
    Person(PersonItem),
    Agent(AgentItem),
    Client(ClientItem),
    Issuer(IssuerItem),
    Group(GroupItem),
    TrustDomain(TrustDomainItem),
    Grant(GrantItem),
    Policy(PolicyItem),
}

/// The page of a list to return: `GET /v1/registry/{kind}?…` and `GET /v1/nodes?…`, both optional.
///
/// A list is ordered by key, bytewise. If there are more items than the page has, the answer's `Link` header
/// has the next page (RFC 8288, `rel="next"`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// At most this many items: 1 to 500, 500 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The opaque cursor from the `Link` header of an earlier page: the items after that page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One entry with additional data of the server. `GET /v1/registry/{kind}` returns a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryEntry {
    /// The entry, in the same JSON object as the other members.
    #[serde(flatten)]
    pub item: RegistryItem,
    /// For a grant: how many mandates were issued under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// Whether it is built in: the resource of the server's own administration, which no file removes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built_in: bool,
}

/// `POST /v1/join-tokens`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// How long it can be used, such as `10m`, at most 24 hours. Absent: 10 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10m")]
    pub ttl: Option<Lifetime>,
}

/// The answer to [`JoinTokenRequest`]. The token is a secret and is shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinTokenResponse {
    /// The token; it joins one node, once.
    pub token: String,
    /// Until when it can be used, RFC 3339.
    pub expires_at: String,
}

/// Whether a node may renew its certificate and fetch identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It has joined: it may do both while its certificate is valid.
    Joined,
    /// An operator has banned it: it may do neither, with any certificate.
    Banned,
}

/// One node that has joined. `GET /v1/nodes` returns a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeItem {
    /// The name of the node, which the server chose.
    pub name: String,
    /// `spiffe://<trust domain>/node/<name>`, in its certificate.
    pub spiffe_id: String,
    /// Whether it is banned.
    pub state: NodeState,
    /// When it joined, RFC 3339.
    pub joined: String,
    /// When it last got a certificate, RFC 3339.
    pub renewed: String,
    /// When that certificate expires, RFC 3339.
    pub expires: String,
}

/// The answer to `POST /v1/nodes/{name}/ban`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanResponse {
    /// The node. Absent if the database cannot be read now.
    #[serde(flatten)]
    pub node: Option<NodeItem>,
    /// Where the ban is recorded.
    #[serde(default)]
    pub recorded: Recorded,
}

/// `POST /v1/agents/{name}/state`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentStateRequest {
    /// `active`, `suspended`, `contained` or `retired`. A contained agent must be released before it can be
    /// active.
    #[schema(value_type = String, example = "suspended")]
    pub state: AgentState,
}

/// `POST /v1/people/{name}/state`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonStateRequest {
    /// Whether the person is disabled.
    pub disabled: bool,
}

/// `POST /v1/people/{name}/password`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The new password: 8 to 1024 characters.
    pub password: String,
}

/// `POST /v1/clients/{id}/secret`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSecretRequest {
    /// The new secret: 16 to 1024 characters.
    pub secret: String,
}

macro_rules! redacted_debug {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )*};
}
redacted_debug!(JoinTokenResponse, PasswordRequest, ClientSecretRequest);

/// What to revoke, by its name in the registry or its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum RevocationTarget {
    /// One token, by its `jti`, and every token derived from it.
    Token(TokenId),
    /// A grant, permanently, and every token that depends on it.
    Grant(GrantId),
    /// Every token that the agent acts in. It can get new ones unless it is suspended.
    Agent(AgentName),
    /// Every token of the person.
    Person(PersonName),
    /// Every token that was issued to the client.
    Client(ClientId),
}

impl PartialSchema for RevocationTarget {
    fn schema() -> RefOr<Schema> {
        let kinds = ["token", "grant", "agent", "person", "client"];
        let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(kinds));
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Its name in the registry, or its id."));
        ObjectBuilder::new().property("kind", kind).required("kind").property("id", id).required("id").into()
    }
}

impl ToSchema for RevocationTarget {}

/// `POST /v1/revocations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// The token, grant, agent, person or client below which everything is refused.
    pub target: RevocationTarget,
}

/// The answer to [`RevocationRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevocationResponse {
    /// The cut, as in the revocation feed.
    #[schema(value_type = Object)]
    pub cut: Cut,
    /// The id of the audit record of the revocation.
    #[schema(value_type = String)]
    pub record: RecordId,
    /// Where that record is.
    #[serde(default)]
    pub recorded: Recorded,
}

/// `POST /v1/keys/rotate`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotationRequest {
    /// `access-token` or `jwt-svid`. Absent: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// One signing key, by name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyItem {
    /// What it signs: `access-token`, `jwt-svid`, …
    pub purpose: String,
    /// Its `kid`, as in the published key set.
    pub kid: String,
    /// Always `active`: only the keys that sign now are listed.
    pub state: String,
}

/// The answer to [`KeyRotationRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyRotationResponse {
    /// The key that signs now, for each purpose that was rotated.
    pub keys: Vec<KeyItem>,
}
#[cfg(test)]
mod tests {
    use super::{
        ClientSecretRequest, JoinTokenResponse, PasswordRequest, RegistryEntry, RevocationRequest, kind_name,
        parse_kind,
    };
    use mandate_core::registry::EntryKind;

    #[test]
    fn bodies_that_carry_secrets_do_not_print_them() {
        let secret = "hunter2".to_owned();
        let all = [
            format!("{:?}", PasswordRequest { password: secret.clone() }),
            format!("{:?}", ClientSecretRequest { secret: secret.clone() }),
            format!("{:?}", JoinTokenResponse { token: secret.clone(), expires_at: String::new() }),
        ];
        assert!(all.iter().all(|text| !text.contains(&secret)), "{all:?}");
    }

    #[test]
    fn kinds_have_one_name_and_a_plural() {
        for kind in [
            EntryKind::Resource,
            EntryKind::Person,
            EntryKind::Agent,
            EntryKind::Client,
            EntryKind::Issuer,
            EntryKind::Group,
            EntryKind::TrustDomain,
            EntryKind::Grant,
            EntryKind::Policy,
        ] {
            assert_eq!(parse_kind(kind_name(kind)), Some(kind));
        }
        assert_eq!(parse_kind("people"), Some(EntryKind::Person));
        assert_eq!(parse_kind("Agent"), None);
    }

    #[test]
    fn an_entry_survives_the_wire() {
        let text = r#"{"kind":"grant","id":"g-1","person":"riley","agent":"a","resource":"crm","scopes":["read:cases"],"revoked":false,"uses":3}"#;
        let entry: RegistryEntry = serde_json::from_str(text).unwrap();
        assert_eq!(entry.uses, Some(3));
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
    }

    #[test]
    fn unknown_members_of_requests_are_refused() {
        assert!(serde_json::from_str::<PasswordRequest>(r#"{"password":"x","force":true}"#).is_err());
        assert!(
            serde_json::from_str::<RevocationRequest>(r#"{"target":{"kind":"world","id":"x"}}"#).is_err()
        );
        assert!(
            serde_json::from_str::<RevocationRequest>(r#"{"target":{"kind":"agent","id":"Not A Name"}}"#)
                .is_err()
        );
    }
}
