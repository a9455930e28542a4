//! Why no identity is given, grouped by the party at fault. The gRPC wire maps it exhaustively.

use mandate_core::lifetimes::MAX_JOIN_TOKEN_LIFETIME;
use mandate_store::{AppendError, EffectRefusal};

use crate::entitlement::NotIssuable;

/// A refusal or failure. `Display` is private detail, for the audit log and the server's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    // The node's request.
    /// The join token is unknown, used, or expired; the text is the store's code.
    #[error("the join token is refused: {0}")]
    JoinToken(EffectRefusal),
    /// A join token cannot be valid for so long, or for so short a time.
    #[error("a join token lives for more than 0s and at most {}h", MAX_JOIN_TOKEN_LIFETIME.as_secs() / 3600)]
    JoinTokenLifetime,
    /// The certificate request cannot be used.
    #[error("the certificate request is refused: {0}")]
    CertificateRequest(String),
    /// The audiences are none, too many, too long, or unprintable.
    #[error("the audiences are refused")]
    Audience,
    /// More or longer selectors than a node may send.
    #[error("more or longer selectors than a node may send")]
    Selectors,
    // The node.
    /// The caller is not a node that has joined.
    #[error("the caller is not a joined node")]
    NodeUnknown,
    /// The certificate that the caller proved when it connected has expired since.
    #[error("the node's certificate has expired")]
    NodeExpired,
    /// The node has been banned.
    #[error("the node is banned")]
    NodeBanned,
    // The agent.
    /// No agent has this identity.
    #[error("no agent has this identity")]
    AgentUnknown,
    /// The agent is given no identity, no matter which process asks.
    #[error("the agent is given no identity: {0}")]
    NotIssuable(NotIssuable),
    /// The process does not show all of the agent's selectors.
    #[error("the process does not show all of the agent's selectors")]
    NotEntitled,
    // The server.
    /// The audit log cannot be written.
    #[error("the audit log cannot be written: {0}")]
    AuditUnavailable(String),
    /// A part of the server failed.
    #[error("internal: {0}")]
    Internal(String),
}

impl IdentityError {
    /// The machine-readable token in audit records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::JoinToken(_) => "join_token_refused",
            Self::JoinTokenLifetime => "join_token_lifetime_refused",
            Self::CertificateRequest(_) => "certificate_request_refused",
            Self::Audience => "audience_refused",
            Self::Selectors => "selectors_refused",
            Self::NodeUnknown => "node_unknown",
            Self::NodeExpired => "node_certificate_expired",
            Self::NodeBanned => "node_banned",
            Self::AgentUnknown => "agent_unknown",
            Self::NotIssuable(NotIssuable::NotActive) => "agent_not_active",
            Self::NotIssuable(NotIssuable::NoSelectors) => "agent_without_selectors",
            Self::NotIssuable(NotIssuable::NoPurpose) => "agent_without_purpose",
            Self::NotIssuable(NotIssuable::Reserved) => "agent_identity_reserved",
            Self::NotEntitled => "not_entitled",
            Self::AuditUnavailable(_) => "audit_unavailable",
            Self::Internal(_) => "internal",
        }
    }
}

/// Why nothing is given, for a record that no effect can refuse. What an effect refuses nevertheless is a
/// failure of ours.
pub(crate) fn unrecorded(error: &AppendError) -> IdentityError {
    use EffectRefusal as E;
    match error {
        AppendError::Unavailable(_) | AppendError::Invalid(_) => {
            IdentityError::AuditUnavailable(error.to_string())
        }
        AppendError::EffectRefused(
            E::MeterExhausted(_)
            | E::CodeUsed
            | E::CodeExpired
            | E::CodeUnknown
            | E::PushedRequestUsed
            | E::RefreshUnknown
            | E::RefreshUsed
            | E::RefreshEnded
            | E::RefreshExpired
            | E::LoginSessionEnded
            | E::JoinTokenUnknown
            | E::JoinTokenUsed
            | E::JoinTokenExpired
            | E::NodeNameTaken
            | E::NodeBanned
            | E::NodeCertificateExpired
            | E::RegistryChanged
            | E::ClientsFull
            | E::ClientGone
            | E::DeviceGone
            | E::StopRecorded
            | E::Internal,
        )
        | AppendError::GuardFailed => IdentityError::Internal(error.to_string()),
    }
}

impl From<mandate_store::StoreError> for IdentityError {
    fn from(error: mandate_store::StoreError) -> Self {
        Self::Internal(error.to_string())
    }
}
