//! Refusals and their answers to the caller (RFC 6750 §3, RFC 9728 §5.1). The only place that maps reasons to
//! HTTP.

use std::fmt;
use std::time::Duration;

use mandate_core::names::{AccessTokenType, ErrorCode, ResponseParameter};
use mandate_core::{Actor, ClientId, Scope, ScopeSet, Subject, Terms, TokenId};

/// Why a request is refused, grouped by the party at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The caller showed no credentials, or used a scheme that is not supported here.
    NoCredentials,
    /// The caller's request is malformed: what is wrong with it.
    Malformed(&'static str),
    /// The caller's token is not valid here: a stable machine token such as `expired`, `signature`,
    /// `audience`.
    InvalidToken(&'static str),
    /// The token, one of its ancestors, its grant, agent, person or client has been revoked.
    Revoked,
    /// The token is bound to a key (`cnf`) and was shown without proof of that key.
    SenderConstrained,
    /// The token lacks a scope that the route requires.
    InsufficientScope {
        /// The first scope that is missing.
        missing: Scope,
    },
    /// The token is an agent's own, and the route is for requests that are made for a person.
    NoPerson,
    /// The current actor is not among those that the route accepts.
    ActorNotAdmitted,
    /// The token is of another tenant than the route requires, or of none.
    TenantNotAdmitted,
    /// No credentials can be checked: the issuer's keys are not known, or not known recently enough.
    KeysUnavailable,
    /// The issuer may have published the token's key after it was last asked for its keys, and it cannot be
    /// asked again yet.
    KeyUnknown,
    /// The revocation feed has been silent for longer than the route accepts.
    RevocationsStale,
}

impl Reason {
    /// A stable machine token for logs, metrics and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::Malformed(_) => "malformed_request",
            Self::InvalidToken(code) => code,
            Self::Revoked => "revoked",
            Self::SenderConstrained => "sender_constrained",
            Self::InsufficientScope { .. } => ErrorCode::InsufficientScope.as_str(),
            Self::NoPerson => "no_person",
            Self::ActorNotAdmitted => "actor_unauthorized",
            Self::TenantNotAdmitted => "tenant_unauthorized",
            Self::KeysUnavailable => "keys_unavailable",
            Self::KeyUnknown => "issuer_key_unknown",
            Self::RevocationsStale => "revocations_stale",
        }
    }

    fn answer(&self) -> Answer {
        match self {
            Self::NoCredentials => Answer {
                status: 401,
                error: None,
                hint_scope: true,
                description: "an access token is required".into(),
            },
            Self::Malformed(what) => Answer {
                status: 400,
                error: Some(ErrorCode::InvalidRequest),
                hint_scope: false,
                description: format!("malformed_request: {what}"),
            },
            Self::InvalidToken(code) => {
                Answer::invalid_token(format!("{code}: the access token is not valid for this resource"))
            }
            Self::Revoked => Answer::invalid_token("revoked: the access token has been revoked".into()),
            // RFC 9449 §7.2: a bound token presented as Bearer must be rejected.
            Self::SenderConstrained => Answer::invalid_token(
                "sender_constrained: the access token is bound to a key and cannot be used as a bearer token"
                    .into(),
            ),
            Self::InsufficientScope { missing } => Answer {
                status: 403,
                error: Some(ErrorCode::InsufficientScope),
                hint_scope: true,
                description: format!("{}: the access token lacks {missing}", self.code()),
            },
            // Without `scope`: no other scope would help, so a client must not start a step-up.
            Self::NoPerson => Answer {
                status: 403,
                error: Some(ErrorCode::InsufficientScope),
                hint_scope: false,
                description: "no_person: this route is for requests that are made for a person".into(),
            },
            Self::ActorNotAdmitted => Answer {
                status: 403,
                error: Some(ErrorCode::InsufficientScope),
                hint_scope: false,
                description: "actor_unauthorized: the current actor may not use this route".into(),
            },
            Self::TenantNotAdmitted => Answer {
                status: 403,
                error: Some(ErrorCode::InsufficientScope),
                hint_scope: false,
                description: "tenant_unauthorized: the access token may not be used on this route".into(),
            },
            Self::KeysUnavailable => Answer::unavailable(
                "keys_unavailable: the keys of the issuer are not available; try again shortly",
            ),
            Self::KeyUnknown => Answer::unavailable(
                "issuer_key_unknown: the key of the access token is not known yet; try again shortly",
            ),
            Self::RevocationsStale => Answer::unavailable(
                "revocations_stale: revocations cannot be checked at the moment; try again shortly",
            ),
        }
    }
}

struct Answer {
    status: u16,
    error: Option<ErrorCode>,
    hint_scope: bool,
    description: String,
}

impl Answer {
    fn invalid_token(description: String) -> Self {
        Self { status: 401, error: Some(ErrorCode::InvalidToken), hint_scope: true, description }
    }

    // RFC 6750 has no code for a token that cannot be checked. A 401 would make every client log in again.
    fn unavailable(description: &str) -> Self {
        Self {
            status: 503,
            error: Some(ErrorCode::TemporarilyUnavailable),
            hint_scope: false,
            description: description.to_owned(),
        }
    }
}

/// Who was refused, if the token itself was genuine but was refused because of its use. For records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The person for whom the request was made; `None`: nobody, an agent made it with a token of its own.
    pub subject: Option<Subject>,
    /// The current actor that made it; `None`: the person by a client of their own.
    pub actor: Option<Actor>,
    /// The token's `jti`, by which the audit log finds it.
    pub jti: TokenId,
    /// The client to which the token was issued.
    pub client_id: ClientId,
}

/// A refusal, ready to be sent: status, `WWW-Authenticate`, and a JSON body. Contains nothing secret.
///
/// The tower layer leaves it in the extensions of the response, for middleware further out that keeps
/// records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    attempt: Option<Box<Attempt>>,
    status: u16,
    www_authenticate: Option<String>,
    body: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, token: Option<&Terms>, metadata_url: &str, scopes: &ScopeSet) -> Self {
        const ERROR: &str = ResponseParameter::Error.as_str();
        const DESCRIPTION: &str = ResponseParameter::ErrorDescription.as_str();
        let Answer { status, error, hint_scope, description } = reason.answer();
        let mut challenge = format!("{} ", AccessTokenType::Bearer);
        if let Some(error) = error {
            let quoted = quotable(&description);
            challenge.extend([ERROR, "=\"", error.as_str(), "\", ", DESCRIPTION, "=\"", &quoted, "\", "]);
        }
        challenge.extend(["resource_metadata=\"", metadata_url, "\""]);
        if hint_scope && !scopes.is_empty() {
            challenge.extend([", scope=\"", &scopes.to_string(), "\""]);
        }
        let body = match error {
            Some(error) => serde_json::json!({ ERROR: error.as_str(), DESCRIPTION: description }),
            // RFC 6750 §3.1: without credentials, no error code and no other error information.
            None => serde_json::json!({}),
        };
        let www_authenticate = (status != 503).then_some(challenge);
        let attempt = token.map(|token| {
            Box::new(Attempt {
                subject: token.subject.clone(),
                actor: token.chain.outermost().cloned(),
                jti: token.jti.clone(),
                client_id: token.client.clone(),
            })
        });
        Self { reason, attempt, status, www_authenticate, body: body.to_string() }
    }

    /// The reason of the refusal.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Who was refused, if the token was genuine; `None` if nothing in it was verified.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_deref()
    }

    /// The HTTP status: 400, 401, 403 or 503.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of the `WWW-Authenticate` header, on all but 503.
    pub fn www_authenticate(&self) -> Option<&str> {
        self.www_authenticate.as_deref()
    }

    /// The value of the `Retry-After` header, on 503.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.status == 503).then_some(Duration::from_secs(2))
    }

    /// The body, `application/json`: `error` and `error_description`, or `{}` where RFC 6750 §3.1 advises
    /// against detail.
    pub fn body(&self) -> &str {
        &self.body
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}: {}", self.status, self.reason.code())
    }
}

impl std::error::Error for Refusal {}

/// RFC 6750 §3: `error_description` excludes `"` and `\`.
fn quotable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' ' | '!' | '#'..='[' | ']'..='~') { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Reason, Refusal};

    const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource";

    fn refusal(reason: Reason) -> Refusal {
        Refusal::new(reason, None, METADATA, &"read:cases write:x".parse().unwrap())
    }

    #[test]
    fn no_credentials_get_a_challenge_without_an_error_code() {
        let refusal = refusal(Reason::NoCredentials);
        assert_eq!(refusal.status(), 401);
        let expected = format!("Bearer resource_metadata=\"{METADATA}\", scope=\"read:cases write:x\"");
        assert_eq!(refusal.www_authenticate(), Some(expected.as_str()));
        assert_eq!(refusal.body(), "{}");
    }

    #[test]
    fn each_reason_has_its_status_and_error() {
        let missing = "write:x".parse().unwrap();
        for (reason, status, error, scope) in [
            (Reason::Malformed("two"), 400, "invalid_request", false),
            (Reason::InvalidToken("expired"), 401, "invalid_token", true),
            (Reason::Revoked, 401, "invalid_token", true),
            (Reason::SenderConstrained, 401, "invalid_token", true),
            (Reason::InsufficientScope { missing }, 403, "insufficient_scope", true),
            (Reason::NoPerson, 403, "insufficient_scope", false),
            (Reason::TenantNotAdmitted, 403, "insufficient_scope", false),
            (Reason::ActorNotAdmitted, 403, "insufficient_scope", false),
        ] {
            let code = reason.code();
            let refusal = refusal(reason);
            let challenge = refusal.www_authenticate().unwrap();
            assert_eq!(refusal.status(), status, "{code}");
            assert!(
                challenge.starts_with(&format!("Bearer error=\"{error}\", error_description=\"{code}: ")),
                "{challenge}"
            );
            assert!(challenge.contains(&format!("resource_metadata=\"{METADATA}\"")), "{challenge}");
            assert_eq!(challenge.contains(", scope=\"read:cases write:x\""), scope, "{challenge}");
            assert!(refusal.body().contains(error));
        }
    }

    #[test]
    fn what_nobody_can_judge_is_503_and_sends_nobody_to_log_in() {
        for reason in [Reason::KeysUnavailable, Reason::KeyUnknown, Reason::RevocationsStale] {
            let refusal = refusal(reason);
            assert_eq!((refusal.status(), refusal.www_authenticate()), (503, None));
            assert!(refusal.retry_after().is_some());
        }
    }

    #[test]
    fn the_challenge_stays_one_quoted_string_whatever_the_text() {
        assert_eq!(super::quotable("a\"b\\c\r\nd\u{e9}"), "a?b?c??d?");
    }
}
