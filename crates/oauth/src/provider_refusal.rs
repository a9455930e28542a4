//! Why a login at an identity provider leads to no code.

use std::borrow::Cow;

use mandate_core::Subject;
use mandate_token::TokenError;

use crate::refusal::{CredentialKind, RefusalClass};

/// A refusal of a login at an identity provider. Its text is for records and logs; of the provider's texts, an
/// error code of lower case letters, the `sub` of a stranger, and parts of what is malformed are in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderRefusal {
    /// People do not log in there, or no longer.
    #[error("nobody logs in at this provider")]
    Unknown,
    /// The answer of the provider belongs to no login that this browser began.
    #[error("the browser did not begin this login: {0}")]
    NotBegun(&'static str),
    /// The answer of the provider was used before.
    #[error("the answer of the provider was used before")]
    Replayed,
    /// The provider answered that the person is not logged in; with its error code, if that is harmless.
    #[error("the provider did not log the person in: {0}")]
    Declined(String),
    /// The provider's answer is not what the standard says, or comes from another provider.
    #[error("the answer of the provider is refused: {0}")]
    Answer(String),
    /// The ID token is refused.
    #[error("the ID token is refused: {0}")]
    IdToken(TokenError),
    /// The provider proved who the person is, and no entry names them.
    #[error("no [[person]] has sub = {:?} and issuer = {:?}", .0.sub, .0.iss.as_str())]
    Stranger(Subject),
    /// The logout token is refused.
    #[error("the logout token is refused: {0}")]
    Logout(TokenError),
    /// The logout token was used before.
    #[error("the logout token was used before")]
    LogoutReplayed,
    /// Nobody switched the security events of this provider on.
    #[error("no security events are taken at this address")]
    EventsOff,
    /// What was pushed is no security event.
    #[error("the request has no security event: {0}")]
    EventBody(&'static str),
    /// The security event is refused.
    #[error("the security event is refused: {0}")]
    Event(TokenError),
    /// The provider cannot be asked now.
    #[error("the provider cannot be asked: {error}")]
    Unavailable {
        /// For records and logs: it names addresses.
        error: String,
        /// In how many seconds the answer may be different.
        retry_after: u64,
    },
}

impl ProviderRefusal {
    /// The stage at which it is given.
    pub(crate) fn class(&self) -> RefusalClass {
        match self {
            // OpenID Connect Back-Channel Logout §2.8.
            Self::Unknown
            | Self::NotBegun(_)
            | Self::Logout(_)
            | Self::LogoutReplayed
            | Self::EventsOff
            | Self::EventBody(_)
            | Self::Event(_) => RefusalClass::Request,
            Self::Replayed | Self::Answer(_) | Self::IdToken(_) => {
                RefusalClass::Credential(CredentialKind::Grant)
            }
            Self::Declined(_) | Self::Stranger(_) => RefusalClass::Person,
            Self::Unavailable { retry_after, .. } => RefusalClass::Ours { retry_after: *retry_after },
        }
    }

    /// The machine-readable token, and what is shown.
    pub(crate) fn sentence(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Unknown => ("provider_unknown", "People do not log in at this identity provider.".into()),
            Self::NotBegun(_) => (
                "login_not_begun",
                "This login was not begun in this browser, or too long ago. Go back to the application and start again.".into(),
            ),
            Self::Replayed => (
                "login_replayed",
                "This answer of the identity provider was used before. Go back to the application and start again.".into(),
            ),
            Self::Declined(_) => {
                ("provider_declined", "The identity provider did not log the person in.".into())
            }
            Self::Answer(_) => (
                "provider_answer",
                "The answer of the identity provider is not acceptable. The audit log says why.".into(),
            ),
            Self::IdToken(error) => (
                "id_token_refused",
                format!("The ID token of the identity provider is refused: {}.", error.public_text()).into(),
            ),
            Self::Stranger(_) => (
                "person_not_registered",
                "The identity provider knows this person, but no entry of a person here names them.".into(),
            ),
            Self::Logout(error) => (
                "logout_token_refused",
                format!("The logout token is refused: {}.", error.public_text()).into(),
            ),
            Self::LogoutReplayed => {
                ("logout_token_replayed", "This logout token was used before. Sign a new one.".into())
            }
            Self::EventsOff => (
                "security_events_off",
                "This server takes no security events at this address.".into(),
            ),
            Self::EventBody(why) => (
                "security_event_malformed",
                format!("The request has no security event: {why}.").into(),
            ),
            Self::Event(error) => (
                "security_event_refused",
                format!("The security event is refused: {}.", error.public_text()).into(),
            ),
            Self::Unavailable { .. } => (
                "provider_unavailable",
                "The identity provider cannot be asked now. Try again.".into(),
            ),
        }
    }
}
