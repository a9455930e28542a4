//! The documents about the audit log.

use mandate_core::subject::Act;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One record of the audit log. `sub`, `act`, `aud`, `scope` and `jti` are written as in the token that they
/// describe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// The record's id, a UUID version 7.
    pub id: String,
    /// The time of the decision, RFC 3339 with milliseconds.
    pub time: String,
    /// The kind of decision: `exchange`, `authorize`, `token`, `identity`, `revoke`, `registry`, `node`,
    /// `admin`.
    pub kind: String,
    /// `permitted` or `refused`.
    #[schema(example = "permitted")]
    pub outcome: String,
    /// `ok`, or the machine-readable reason of the refusal.
    pub reason: String,
    /// A sentence about the decision, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The person: their `sub`.
    pub sub: Option<String>,
    /// The issuer that names the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_iss: Option<String>,
    /// The actors: the nested `act` claim (RFC 8693 §4.1), outermost actor first.
    #[schema(value_type = Option<Object>)]
    pub act: Option<Act>,
    /// The resource that the decision is about.
    pub aud: Option<String>,
    /// The scopes that were given, separated by spaces.
    pub scope: Option<String>,
    /// The `jti` of the token that was issued or revoked.
    pub jti: Option<String>,
    /// When that token expires, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<String>,
    /// The client that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The ancestors and grants of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub lineage: Option<serde_json::Value>,
    /// The operator: `uid:NUMBER`, or the person and the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What an operator's act changed, by kind of entry: names, and the identifiers that tokens use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub touched: Option<serde_json::Value>,
    /// What was asked for, as unverified text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub asked: Option<serde_json::Value>,
    /// Where a refused request of a stranger came from: an address, a network or a local user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The refusals of strangers that this record counts, if there were more than the quota of their source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<AuditSum>,
    /// The policies that decided.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Which changes were written together with the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// Which log it is in: the origin in that log's checkpoints. Its place is the origin and the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Its place in that log: how many records came before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// What else the record says of the token, such as `auth_time` and `amr`.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// Refusals that were counted instead of recorded one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditSum {
    /// The number of refusals.
    pub count: u64,
    /// When the first of them was, RFC 3339.
    pub first: String,
    /// When the last of them was, RFC 3339.
    pub last: String,
}

/// `GET /v1/audit/verify`. A log that does not verify is a [`crate::Problem`] with the code `audit_broken`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerification {
    /// Always `true`: a log that does not verify is an error.
    pub verified: bool,
    /// How many records the tree of the server's own log has.
    pub size: u64,
    /// The root of the tree, base64.
    pub root: String,
    /// The signed checkpoint, a C2SP signed note.
    pub checkpoint: String,
    /// The verifier key of the checkpoint, to be kept outside the server.
    pub key: String,
    /// The size of the earlier checkpoint that its log continues, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Every log of the database, the server's own first. Absent if there is only that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<VerifiedLog>,
}

/// One of several logs that were verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifiedLog {
    /// Which: the origin in its checkpoints.
    pub origin: String,
    /// How many records the tree has.
    pub size: u64,
    /// The root of the tree, base64.
    pub root: String,
    /// The signed checkpoint, a C2SP signed note.
    pub checkpoint: String,
    /// The verifier key of the checkpoint, to be kept outside the server.
    pub key: String,
}

/// `GET /v1/audit/verify?…`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditVerifyQuery {
    /// A checkpoint that was kept earlier, a C2SP signed note: the log that it is of must continue it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// `GET /v1/audit/checkpoint`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditCheckpoint {
    /// How many records the tree has.
    pub size: u64,
    /// The root of the tree, base64.
    pub root: String,
    /// The signed checkpoint, a C2SP signed note.
    pub checkpoint: String,
    /// The verifier key of the checkpoint, to be kept outside the server.
    pub key: String,
}

/// `GET /v1/audit/records?…`, all optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Records about this agent: it acted, or it was changed or revoked. Its name or SPIFFE ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Records about this person: the name in the registry, or the `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Records about this resource: its name or URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Records about this token or a token derived from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Not before this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Before this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `permitted` or `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Records about this client: it asked, or it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Records about this grant: a token depends on it, or it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Records of what this operator did: a person's name, or as records name operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Only this kind of record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// At most this many, the newest first: 100 by default, never more than 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only records before this place. With one log it is the `index` of the last record of the previous
    /// page. With several logs the previous page has a `Link` header with the next page, and this is the
    /// `before` in it: a place in each log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

impl AuditQuery {
    /// As the query of a URL, with its `?`. Empty if everything is asked for.
    pub fn to_url_query(&self) -> String {
        let mut text = form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        let limit = self.limit.map(|limit| limit.to_string());
        let pairs = [
            ("agent", &self.agent),
            ("person", &self.person),
            ("resource", &self.resource),
            ("jti", &self.jti),
            ("since", &self.since),
            ("until", &self.until),
            ("outcome", &self.outcome),
            ("client", &self.client),
            ("grant", &self.grant),
            ("by", &self.by),
            ("kind", &self.kind),
            ("limit", &limit),
            ("before", &self.before),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                text.append_pair(name, value);
            }
        }
        let text = text.finish();
        if text == "?" { String::new() } else { text }
    }
}
