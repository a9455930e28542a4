//! The answers to callers: the one mapping from refusals to the errors of RFC 6749 §4.1.2.1 and §5.2, RFC
//! 8693 §2.2.2, RFC 8707 §2. The class of a refusal decides status and error code, the refusal itself the
//! sentence. Both are exhaustive: the code does not compile until a new class or refusal has an entry here.

mod events;
mod sentences;

pub use events::EventError;
use mandate_core::names::ErrorCode;
use serde::Serialize;

use crate::refusal::{
    CredentialKind, Quota, RefusalClass, RegistrationFault, RequestRefusal, Unsupported, Waiting,
};

/// The answer to a caller that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// The HTTP status code, such as 400.
    pub status: u16,
    /// The `error` code.
    pub error: ErrorCode,
    /// The `error_description`: a machine-readable token, a colon, a sentence. Only characters that RFC 6749
    /// §5.2 allows.
    pub description: String,
    /// For our own log; never sent.
    pub private: String,
    /// The `WWW-Authenticate` header, for answers that must have one.
    pub www_authenticate: Option<String>,
    /// The `Retry-After` header in seconds, for answers that have one.
    pub retry_after: Option<u64>,
    /// Whose fault it is, for our own log; never sent.
    pub fault: Fault,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's, by what it sent or how often.
    Caller,
    /// Too many requests for something slow at the same time: anybody can cause that.
    Crowd,
    /// The server's, or that of something that it needs.
    Server,
}

impl OAuthError {
    /// The response body (RFC 6749 §5.2).
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            error_description: &'a str,
        }
        let body = Body { error: self.error.as_str(), error_description: &self.description };
        // Two plain texts always serialize; an empty object would still be a refusal.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl std::fmt::Display for OAuthError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.error, self.status, self.description)
    }
}

impl std::error::Error for OAuthError {}

/// What a class of refusals is on this wire.
struct Answer {
    status: u16,
    error: ErrorCode,
    fault: Fault,
    retry_after: Option<u64>,
}

impl Answer {
    const fn refused(status: u16, error: ErrorCode) -> Self {
        Self { status, error, fault: Fault::Caller, retry_after: None }
    }

    /// RFC 6749 §4.1.2.1, for every endpoint: a temporary error.
    const fn unavailable(fault: Fault, retry_after: u64) -> Self {
        Self { status: 503, error: ErrorCode::TemporarilyUnavailable, fault, retry_after: Some(retry_after) }
    }

    const fn to(class: RefusalClass) -> Self {
        use ErrorCode as E;
        use RefusalClass as C;
        match class {
            // RFC 8693 §2.2.2: a subject or actor token that is invalid for any reason, or unacceptable by
            // policy, is invalid_request.
            C::Request | C::Credential(CredentialKind::Tokens) | C::Decision(CredentialKind::Tokens) => {
                Self::refused(400, E::InvalidRequest)
            }
            // RFC 9126 §2.3.
            C::RequestTooLarge => Self::refused(413, E::InvalidRequest),
            C::PushedRequest => Self::refused(400, E::InvalidRequestUri),
            C::Credential(CredentialKind::Grant) | C::Decision(CredentialKind::Grant) => {
                Self::refused(400, E::InvalidGrant)
            }
            C::Unsupported(Unsupported::GrantType) => Self::refused(400, E::UnsupportedGrantType),
            C::Unsupported(Unsupported::ResponseType) => Self::refused(400, E::UnsupportedResponseType),
            C::Unsupported(Unsupported::RequestObject) => Self::refused(400, E::RequestNotSupported),
            C::Unsupported(Unsupported::RequestUri) => Self::refused(400, E::RequestUriNotSupported),
            C::Unsupported(Unsupported::Details) => Self::refused(400, E::InvalidAuthorizationDetails),
            C::Client => Self::refused(401, E::InvalidClient),
            C::ClientDocument => Self::refused(400, E::InvalidClient),
            // RFC 6749 §5.2: nothing was presented but the client itself.
            C::ClientNotAllowed
            | C::Credential(CredentialKind::Client)
            | C::Decision(CredentialKind::Client) => Self::refused(400, E::UnauthorizedClient),
            C::Registration(RegistrationFault::Redirects) => Self::refused(400, E::InvalidRedirectUri),
            C::Registration(RegistrationFault::Metadata(_)) => Self::refused(400, E::InvalidClientMetadata),
            C::Target => Self::refused(400, E::InvalidTarget),
            C::Scope => Self::refused(400, E::InvalidScope),
            C::Person | C::Quota(Quota::Logins { .. }) => Self::refused(400, E::AccessDenied),
            C::Device(Waiting::Pending) => Self::refused(400, E::AuthorizationPending),
            C::Device(Waiting::TooOften) => Self::refused(400, E::SlowDown),
            C::Device(Waiting::Over) => Self::refused(400, E::ExpiredToken),
            C::Quota(Quota::Checks) => Self::unavailable(Fault::Crowd, 1),
            // Some revocations will have ended by then.
            C::Quota(Quota::Revocations | Quota::Devices) => Self::unavailable(Fault::Caller, 60),
            C::Quota(Quota::Documents) => Self::unavailable(Fault::Caller, 10),
            C::Quota(Quota::Registrations) => Self::unavailable(Fault::Caller, 3600),
            C::Ours { retry_after } => Self::unavailable(Fault::Server, retry_after),
        }
    }
}

impl RequestRefusal {
    /// The machine-readable token: first in `error_description`, and the `reason` of the audit record.
    pub fn code(&self) -> &'static str {
        sentences::of(self).0
    }

    /// What the caller is told.
    pub fn to_error(&self) -> OAuthError {
        let Answer { status, error, fault, retry_after } = Answer::to(self.class());
        let (token, sentence) = sentences::of(self);
        OAuthError {
            fault,
            status,
            error,
            description: format!("{token}: {sentence}"),
            private: self.to_string(),
            // RFC 9110 §15.5.2: a 401 names a scheme. Basic is the one that works by header here.
            www_authenticate: (status == 401)
                .then(|| "Basic realm=\"mandate\", charset=\"UTF-8\"".to_owned()),
            retry_after,
        }
    }
}

#[cfg(test)]
mod tests;
