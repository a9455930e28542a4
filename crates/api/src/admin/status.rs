//! `GET /v1/status`: what is running, and what needs attention.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::KeyItem;

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The version of the server.
    pub version: String,
    /// The `iss` of its tokens, a URL (RFC 8414 §2).
    pub issuer: String,
    /// The trust domain of its SPIFFE IDs, without `spiffe://`.
    pub trust_domain: String,
    /// Where nodes connect: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_server: Option<String>,
    /// When the server was started, RFC 3339.
    pub started: String,
    /// How many entries of each kind the registry has.
    pub registry: RegistryCounts,
    /// How many audit records there are. Absent if the database does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_size: Option<u64>,
    /// The verifier key of the audit checkpoints.
    pub audit_key: String,
    /// How many cuts are in force.
    pub cuts: u64,
    /// The key that signs now, for each purpose, by name only.
    #[serde(default)]
    pub keys: Vec<KeyItem>,
    /// How many nodes are in which state. Absent if the database does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// The file system that holds the server's directory. Absent if it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSpace>,
    /// What needs attention, the most severe first. Empty: nothing.
    #[serde(default)]
    pub problems: Vec<StatusProblem>,
}

/// How important this is for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, or will soon stop working. `mandate status --check` fails.
    Problem,
    /// Worth knowing; everything works. `mandate status --check` passes.
    Notice,
}

/// One thing that needs attention, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusProblem {
    /// A machine-readable name: one of [`problem_code`].
    #[schema(example = "nodes_away")]
    pub code: String,
    /// How important it is.
    pub severity: Severity,
    /// One sentence for a person, with names and numbers.
    pub detail: String,
    /// The next command to type, or what else to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The codes of [`StatusProblem`]. A client shows a code that it does not know by its `detail`.
pub mod problem_code {
    /// The clock was set forward or back while the server ran.
    pub const CLOCK_STEPPED: &str = "clock_stepped";
    /// The clock is behind the newest audit record.
    pub const CLOCK_BEHIND: &str = "clock_behind";
    /// The disk space that is reserved for revocations and suspensions is in use or missing.
    pub const DISK_RESERVE: &str = "disk_reserve";
    /// The database or its disk does not answer, or another program holds it: nothing can be recorded.
    pub const DATABASE: &str = "database";
    /// The disk is nearly full.
    pub const DISK_SPACE: &str = "disk_space";
    /// Revocations or suspensions are in force whose audit record is not written yet.
    pub const UNRECORDED_STOPS: &str = "unrecorded_stops";
    /// The TLS certificate has expired.
    pub const CERTIFICATE_EXPIRED: &str = "certificate_expired";
    /// The TLS certificate expires soon.
    pub const CERTIFICATE_EXPIRES: &str = "certificate_expires";
    /// The TLS certificate is not valid yet.
    pub const CERTIFICATE_NOT_YET_VALID: &str = "certificate_not_yet_valid";
    /// Joined nodes have not renewed their certificates.
    pub const NODES_AWAY: &str = "nodes_away";
    /// APIs that read the revocation feed too slowly were disconnected.
    pub const FEED_READERS_CUT_OFF: &str = "feed_readers_cut_off";
    /// Connections of strangers were refused or ended because a listener had no place left.
    pub const LISTENER_FULL: &str = "listener_full";
    /// Requests were refused because too many passwords or client secrets waited to be checked.
    pub const CHECKS_FULL: &str = "checks_full";
    /// The server's secret at an identity provider cannot be read: nobody logs in there.
    pub const LOGIN_SECRET: &str = "login_secret";
    /// Requests without valid credentials were refused and recorded as a sum.
    pub const STRANGERS_REFUSED: &str = "strangers_refused";
    /// A signing key should have been replaced and was not.
    pub const KEYS_DUE: &str = "keys_due";
}

/// How many nodes are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCounts {
    /// Joined, with a certificate that is valid.
    pub joined: u64,
    /// Joined, but their certificate has expired: they have not renewed it in time.
    pub away: u64,
    /// Banned by an operator: their certificates are refused.
    pub banned: u64,
}

/// The space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskSpace {
    /// What the server may still use.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
}

/// How many entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each counts the entries of the kind that its name says")]
pub struct RegistryCounts {
    pub resources: u64,
    pub people: u64,
    pub agents: u64,
    pub clients: u64,
    pub issuers: u64,
    #[serde(default)]
    pub groups: u64,
    #[serde(default)]
    pub trust_domains: u64,
    pub grants: u64,
    pub policies: u64,
}

#[cfg(test)]
mod tests {
    use super::{Severity, Status};

    #[test]
    fn a_status_of_an_older_server_is_read() {
        let text = r#"{"version":"0.1.0","issuer":"https://m.example","trust_domain":"m.example","started":"2026-11-24T00:00:00.000Z","registry":{"resources":1,"people":0,"agents":0,"clients":0,"issuers":0,"grants":0,"policies":0},"audit_size":1,"audit_key":"k","cuts":0}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert!(status.problems.is_empty() && status.disk.is_none());
    }

    #[test]
    fn the_most_severe_comes_first() {
        assert!(Severity::Problem < Severity::Notice);
    }
}
