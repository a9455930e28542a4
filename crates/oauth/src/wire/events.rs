//! The answers to transmitters of security events (RFC 8935 §2.3, §2.4).

use mandate_core::names::EventErrorCode;
use mandate_token::TokenError;
use serde::Serialize;

use super::OAuthError;
use crate::provider_refusal::ProviderRefusal;
use crate::refusal::{RefusalClass, RequestRefusal};

/// The answer to a security event that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    /// The `err` code; `None` if the transmitter is not at fault, and should send the event again.
    pub err: Option<EventErrorCode>,
    /// Status, text and what is for our own log.
    pub error: OAuthError,
}

impl EventError {
    pub(crate) fn of(refusal: &RequestRefusal) -> Self {
        let ours = matches!(refusal.class(), RefusalClass::Ours { .. });
        Self { err: (!ours).then(|| code(refusal)), error: refusal.to_error() }
    }

    /// The response body. Its texts are English.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            err: &'a str,
            description: &'a str,
        }
        let Some(err) = self.err else { return self.error.to_json() };
        let body = Body { err: err.as_str(), description: &self.error.description };
        // Two plain texts always serialize; an empty object would still be a refusal.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }
}

fn code(refusal: &RequestRefusal) -> EventErrorCode {
    match refusal {
        RequestRefusal::Provider(ProviderRefusal::EventsOff) => EventErrorCode::InvalidIssuer,
        RequestRefusal::Provider(ProviderRefusal::Event(error)) => of_token(error),
        // What cannot be read as an event.
        _ => EventErrorCode::InvalidRequest,
    }
}

const fn of_token(error: &TokenError) -> EventErrorCode {
    use TokenError as T;
    match error {
        // The signature is all that authenticates a transmitter here.
        T::Signature | T::SignatureOfUnnamedKey => EventErrorCode::AuthenticationFailed,
        T::Algorithm(_) | T::UnknownKey(_) | T::AmbiguousKey(_) => EventErrorCode::InvalidKey,
        T::Issuer => EventErrorCode::InvalidIssuer,
        T::Audience => EventErrorCode::InvalidAudience,
        T::TooLarge
        | T::Malformed(_)
        | T::DuplicateMember
        | T::TooDeep
        | T::Header(_)
        | T::Type(_)
        | T::MissingClaim(_)
        | T::Claim { .. }
        | T::NotAccessToken(_)
        | T::NotIdToken(_)
        | T::MappedClaim { .. }
        | T::Inactive
        | T::NotAPerson(_)
        | T::RequiredClaim(_)
        | T::Expired
        | T::NotYetValid
        | T::Lifetime
        | T::Age
        | T::ActorChain(_)
        | T::TrustDomain => EventErrorCode::InvalidRequest,
    }
}
