//! Why a change that a record carries is not made.

use std::fmt;

use mandate_core::MeterId;

/// Why an effect was not made. Its record was not written either.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EffectRefusal {
    /// A meter has less left than is to be taken from it.
    MeterExhausted(
        /// The meter that has too little left.
        MeterId,
    ),
    /// The authorization code was used before.
    CodeUsed,
    /// The authorization code has expired.
    CodeExpired,
    /// There is no such authorization code.
    CodeUnknown,
    /// A code was issued for the pushed authorization request before.
    PushedRequestUsed,
    /// There is no such refresh token.
    RefreshUnknown,
    /// The refresh token was used before.
    RefreshUsed,
    /// The login that the refresh token belongs to was ended.
    RefreshEnded,
    /// The refresh token has expired.
    RefreshExpired,
    /// The person's session at an identity provider has ended.
    LoginSessionEnded,
    /// There is no such join token.
    JoinTokenUnknown,
    /// Another node has used the join token.
    JoinTokenUsed,
    /// The join token has expired.
    JoinTokenExpired,
    /// Another node has this name.
    NodeNameTaken,
    /// The node is banned, or was never there.
    NodeBanned,
    /// The node has a newer certificate than the one that it showed.
    NodeCertificateExpired,
    /// The registry was changed after the change was planned.
    RegistryChanged,
    /// As many clients have registered themselves as may.
    ClientsFull,
    /// The client that registered itself was removed, or was forgotten.
    ClientGone,
    /// The device does not wait any longer: it has its answer, or has expired.
    DeviceGone,
    /// The stop is in the log already.
    StopRecorded,
    /// The effect failed for a reason that is neither a refusal nor the environment. The server's own log has
    /// it.
    Internal,
}

impl EffectRefusal {
    /// The code of the refusal, as records have it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MeterExhausted(_) => "meter_exhausted",
            Self::CodeUsed => "code_used",
            Self::CodeExpired => "code_expired",
            Self::CodeUnknown => "code_unknown",
            Self::PushedRequestUsed => "pushed_request_used",
            Self::RefreshUnknown => "refresh_unknown",
            Self::RefreshUsed => "refresh_used",
            Self::RefreshEnded => "refresh_ended",
            Self::RefreshExpired => "refresh_expired",
            Self::LoginSessionEnded => "login_session_ended",
            Self::JoinTokenUnknown => "join_token_unknown",
            Self::JoinTokenUsed => "join_token_used",
            Self::JoinTokenExpired => "join_token_expired",
            Self::NodeNameTaken => "node_name_taken",
            Self::NodeBanned => "node_banned",
            Self::NodeCertificateExpired => "node_certificate_expired",
            Self::RegistryChanged => "registry_changed",
            Self::ClientsFull => "clients_full",
            Self::ClientGone => "client_gone",
            Self::DeviceGone => "device_gone",
            Self::StopRecorded => "stop_recorded",
            Self::Internal => "internal",
        }
    }
}

impl std::error::Error for EffectRefusal {}

impl fmt::Display for EffectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
