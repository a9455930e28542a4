//! Why an operator's act was not done, by whose fault it is. Each wire maps these exhaustively.

use mandate_api::registry_file::Finding;
use mandate_core::names::ErrorCode;
use mandate_core::registry::EntryKind;
use mandate_core::{Role, Timestamp};
use mandate_identity::IdentityError;
use mandate_planning::states::StateRefusal;
use mandate_stops::StopError;
use mandate_store::records::LogError;
use mandate_store::{AppendError, EffectRefusal, StoreError};

/// Why a caller may not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessDenied {
    /// The token is not one of ours, or is not valid now, or is not for us.
    Token,
    /// The token does not have a scope that includes this role, or the person no longer has the role, or an
    /// agent acts.
    Role(Role),
    /// The local user is neither root nor the server's own.
    Uid,
}

impl AccessDenied {
    /// The reason in the audit record.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token => ErrorCode::InvalidToken.as_str(),
            Self::Role(_) => ErrorCode::InsufficientScope.as_str(),
            Self::Uid => "uid_not_permitted",
        }
    }
}

/// Why an operator's act was not done.
#[derive(Debug)]
pub enum AdministrationError {
    /// The caller may not do it, or no longer.
    NotPermitted(AccessDenied),
    /// The registry file cannot be applied.
    InvalidRegistry(Vec<Finding>),
    /// The request is not valid; the text is public.
    BadRequest(String),
    /// There is no such entry in the registry.
    NotFound {
        /// The kind of the entry that was asked for.
        kind: EntryKind,
        /// The name that was asked for.
        name: String,
    },
    /// There is no audit record with this id.
    NoSuchRecord,
    /// No node of this name has joined.
    NoSuchNode(String),
    /// The entry is in a state in which this cannot be done.
    State {
        /// The kind of the entry.
        kind: EntryKind,
        /// The name of the entry.
        name: String,
        /// What about its state forbids the act.
        refusal: StateRefusal,
    },
    /// While this was planned, others changed the registry each time, or changed an entry that it changes, or
    /// have a change under way that does not end. Nothing was done; the operator can try again.
    Overtaken,
    /// The operator was not permitted the act any longer when its record was to be written.
    OperatorRevoked,
    /// The next key was published too recently to sign with.
    KeyTooNew {
        /// From when on it can sign.
        ready: Timestamp,
    },
    /// The audit log cannot be written. Private detail.
    AuditUnavailable(String),
    /// The audit log does not verify; the text says where.
    AuditBroken(String),
    /// Something of ours failed. Private detail.
    Internal(String),
}

impl AdministrationError {
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// For an act on a node. `node`: its name, if there is one.
    pub(crate) fn of_identity(error: IdentityError, node: &str) -> Self {
        match error {
            IdentityError::JoinTokenLifetime => Self::BadRequest(error.to_string()),
            IdentityError::NodeUnknown => Self::NoSuchNode(node.to_owned()),
            IdentityError::AuditUnavailable(why) => Self::AuditUnavailable(why),
            IdentityError::JoinToken(_)
            | IdentityError::CertificateRequest(_)
            | IdentityError::Audience
            | IdentityError::Selectors
            | IdentityError::NodeExpired
            | IdentityError::NodeBanned
            | IdentityError::AgentUnknown
            | IdentityError::NotIssuable(_)
            | IdentityError::NotEntitled
            | IdentityError::Internal(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<StoreError> for AdministrationError {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<StopError> for AdministrationError {
    fn from(error: StopError) -> Self {
        match error {
            StopError::Overtaken(_) => Self::Overtaken,
            StopError::Record(_) | StopError::Form(_) | StopError::TooManyWait => Self::internal(error),
        }
    }
}

impl From<AppendError> for AdministrationError {
    fn from(error: AppendError) -> Self {
        use EffectRefusal as E;
        match error {
            AppendError::EffectRefused(E::RegistryChanged) => Self::Overtaken,
            // No effect of an operator's act, or a failure of ours.
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
                | E::ClientsFull
                | E::ClientGone
                | E::DeviceGone
                | E::StopRecorded
                | E::Internal,
            ) => Self::internal(error),
            AppendError::GuardFailed => Self::OperatorRevoked,
            AppendError::Unavailable(why) | AppendError::Invalid(why) => Self::AuditUnavailable(why),
        }
    }
}

impl From<LogError> for AdministrationError {
    /// A tampered log has its own answer; everything else is a failure of ours.
    fn from(error: LogError) -> Self {
        match error {
            LogError::Tampered(_)
            | LogError::TamperedLog { .. }
            | LogError::NoKey { .. }
            | LogError::NotListed { .. } => Self::AuditBroken(error.to_string()),
            LogError::Store(_) | LogError::Bundle(_) | LogError::Inclusion(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}
