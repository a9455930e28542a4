//! What callers are told: the one mapping from refusals to the errors of RFC 6749 §4.1.2.1 and §5.2, RFC 8693 §2.2.2,
//! RFC 8707 §2. Exhaustive: a new refusal does not compile until it has its place here.

use mandate_delegation::RefusalReason;
use mandate_token::TokenError;
use serde::Serialize;

use crate::pkce::PkceError;
use crate::refusal::Refusal;

/// What goes back to a caller that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// The HTTP status.
    pub status: u16,
    /// The `error` code.
    pub error: &'static str,
    /// The `error_description`: a machine-readable token, a colon, a sentence. Only characters that RFC 6749 §5.2 allows.
    pub description: String,
    /// For our own log; never sent.
    pub private: String,
    /// The `WWW-Authenticate` header, where one is due.
    pub www_authenticate: Option<String>,
    /// The `Retry-After` header in seconds, where one is due.
    pub retry_after: Option<u64>,
}

impl OAuthError {
    /// The response body (RFC 6749 §5.2).
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            error_description: &'a str,
        }
        let body = Body { error: self.error, error_description: &self.description };
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

/// The public half of a refusal.
struct Public {
    status: u16,
    error: &'static str,
    token: &'static str,
    sentence: std::borrow::Cow<'static, str>,
}

fn public(status: u16, error: &'static str, token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    Public { status, error, token, sentence: sentence.into() }
}

fn request(token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    public(400, "invalid_request", token, sentence)
}

fn client(token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    public(401, "invalid_client", token, sentence)
}

fn target(token: &'static str, sentence: &'static str) -> Public {
    public(400, "invalid_target", token, sentence)
}

fn scope(token: &'static str, sentence: &'static str) -> Public {
    public(400, "invalid_scope", token, sentence)
}

fn grant(token: &'static str, sentence: &'static str) -> Public {
    public(400, "invalid_grant", token, sentence)
}

impl Refusal {
    /// The machine-readable token: first in `error_description`, and the `reason` of the audit record.
    pub fn code(&self) -> &'static str {
        self.public().token
    }

    /// What the caller is told.
    pub fn to_error(&self) -> OAuthError {
        let Public { status, error, token, sentence } = self.public();
        OAuthError {
            status,
            error,
            description: format!("{token}: {sentence}"),
            private: self.to_string(),
            // RFC 9110 §15.5.2: a 401 names a scheme. Basic is the one that works by header here.
            www_authenticate: (status == 401).then(|| "Basic realm=\"mandate\", charset=\"UTF-8\"".to_owned()),
            retry_after: match self {
                // Some revocations will have ended by then.
                Self::TooManyRevocations => Some(60),
                Self::IssuerUnavailable { retry_after, .. } | Self::IssuerKeyUnknown { retry_after } => Some(*retry_after),
                _ => (status == 503).then_some(1),
            },
        }
    }

    fn public(&self) -> Public {
        match self {
            Self::Form(error) => request("malformed_form", format!("The form cannot be read: {error}.")),
            Self::AuthorizationHeader(why) => request("authorization_header", format!("The Authorization header cannot be read: {why}.")),
            Self::Missing(name) => request("parameter_missing", format!("The parameter {name} is missing.")),
            Self::Unacceptable(name) => request("parameter_unacceptable", format!("The parameter {name} has no acceptable value.")),
            Self::Misplaced(name) => request("parameter_misplaced", format!("The parameter {name} has no place in this request.")),
            Self::GrantType => {
                public(400, "unsupported_grant_type", "grant_type_unsupported", "Use authorization_code or the token-exchange grant.")
            }
            Self::ClientMethods => request("client_methods", "Authenticate the client by exactly one method."),
            Self::ClientMissing => client("client_authentication_missing", "This request needs client authentication."),
            Self::ClientMethodUnsupported => client("client_method_unsupported", "Use spiffe_jwt, private_key_jwt or client_secret_basic."),
            Self::ClientFailed(_) => client("client_authentication_failed", "Unknown client, or its credential is not the registered one."),
            Self::ClientAssertion(error) => client("client_assertion_refused", explained("client assertion", error)),
            Self::ClientAssertionReplayed => client("client_assertion_replayed", "This client assertion has been used before."),
            Self::ClientIdMismatch => client("client_id_mismatch", "client_id is not the client that the credential proves."),
            Self::ClientNotAllowed(why) => public(400, "unauthorized_client", "client_not_allowed", *why),
            Self::Subject(error) => request("subject_token_refused", explained("subject token", error)),
            Self::SubjectElsewhere(_) => request(
                "subject_token_refused",
                "The subject token is refused: issuer. Its iss is not this server; send a trusted issuer's token with \
                 subject_token_type urn:ietf:params:oauth:token-type:jwt.",
            ),
            Self::SubjectProvenance(why) => request("subject_token_provenance", *why),
            Self::Actor(error) => request("actor_token_refused", explained("actor token", error)),
            Self::ResourceMissing => target("resource_missing", "Name exactly one resource."),
            Self::ResourceMalformed => target("resource_malformed", "resource is not an absolute URI in normal form without fragment."),
            Self::ResourceRepeated => target("resource_repeated", "Name exactly one resource."),
            Self::AudienceDiffers => target("audience_differs", "audience, if sent, must equal resource."),
            Self::ResourceUnknown => target("resource_unknown", "There is no such resource here."),
            Self::ResourceNotAuthorized => target("resource_not_authorized", "The code was issued for another resource."),
            Self::ScopeMalformed => scope("scope_malformed", "scope is not a list of scope tokens with one space between them."),
            Self::ScopeUnknown => scope("scope_unknown", "The resource has no such scope."),
            Self::Pkce(error) => pkce(*error),
            Self::Redirect => request("redirect_uri_unregistered", "redirect_uri is not registered for this client."),
            Self::ResponseType => public(400, "unsupported_response_type", "response_type_unsupported", "response_type must be code."),
            Self::RequestObject(which) => public(400, which, "request_object_unsupported", "Request objects are not supported."),
            Self::Declined => public(400, "access_denied", "declined", "The person refused."),
            Self::CodeUnknown => grant("code_unknown", "The code is unknown or has expired."),
            Self::CodeReused => grant("code_reused", "The code has been used before; what came of it is revoked."),
            Self::CodeOtherClient => grant("code_other_client", "The code was issued to another client."),
            Self::CodeRedirect => grant("code_redirect_uri", "redirect_uri is not that of the authorization request."),
            Self::LoginFailed(_) => public(400, "access_denied", "login_failed", "Wrong name or password."),
            Self::LoginPaused => public(400, "access_denied", "login_paused", "Too many attempts; wait a little."),
            Self::NotYourToken => grant("token_other_client", "The token was issued to another client."),
            Self::Exchange(reason) => exchange(*reason),
            Self::Authorization(reason) => authorization(*reason),
            Self::AuditUnavailable => public(
                503,
                "temporarily_unavailable",
                "audit_unavailable",
                "The decision could not be recorded, so there is none. Try again.",
            ),
            Self::Busy => {
                public(503, "temporarily_unavailable", "busy", "Too many passwords or secrets are waiting to be checked. Try again.")
            }
            Self::TooManyRevocations => public(
                503,
                "temporarily_unavailable",
                "too_many_revocations",
                "This client has too many revocations in force. The token is not revoked; try again later.",
            ),
            Self::IssuerUnavailable { .. } => public(
                503,
                "temporarily_unavailable",
                "issuer_unavailable",
                "The keys of the subject token's issuer cannot be fetched now. Try again.",
            ),
            Self::IssuerKeyUnknown { .. } => public(
                503,
                "temporarily_unavailable",
                "issuer_key_unknown",
                "The issuer's keys were fetched moments ago and lack the key of the subject token. Try again.",
            ),
            Self::Internal(_) => public(503, "temporarily_unavailable", "internal", "The server could not complete the request."),
        }
    }
}

/// Why a token is refused, what it has, and where it is plain, what it should have.
fn explained(what: &str, error: &TokenError) -> String {
    let expected = match (what, error) {
        ("client assertion" | "actor token", TokenError::Audience) => " aud must be the issuer of this server, alone.",
        ("subject token", TokenError::Type(_)) => " An access token says typ at+jwt (RFC 9068).",
        ("actor token", TokenError::Type(_) | TokenError::TrustDomain) => " An actor token is a JWT-SVID of this trust domain.",
        ("subject token", TokenError::Malformed(_)) => " A subject token is a signed JWT; an opaque token cannot be exchanged.",
        _ => "",
    };
    format!("The {what} is refused: {}.{expected}", error.public_text())
}

/// RFC 7636 §4.4.1 and §4.6.
fn pkce(error: PkceError) -> Public {
    match error {
        PkceError::ChallengeMissing => request("code_challenge_missing", "PKCE is required: send code_challenge with method S256."),
        PkceError::Method => request("code_challenge_method", "code_challenge_method must be S256."),
        PkceError::ChallengeForm => request("code_challenge_malformed", "code_challenge is not 43 characters of base64url."),
        PkceError::VerifierMissing => request("code_verifier_missing", "code_verifier is missing."),
        PkceError::VerifierForm => grant("code_verifier_malformed", "code_verifier is not 43 to 128 unreserved characters."),
        PkceError::Mismatch => grant("code_verifier_mismatch", "code_verifier does not match the challenge."),
    }
}

/// Decisions on exchanges. RFC 8693 §2.2.2: a subject or actor token that is invalid for any reason, or unacceptable by
/// policy, is `invalid_request`; what concerns the target is `invalid_target`.
fn exchange(reason: RefusalReason) -> Public {
    use RefusalReason as R;
    let token = reason.code();
    match reason {
        R::PersonUnknown => request(token, "The subject is not a person known here."),
        R::PersonDisabled => request(token, "The person is disabled."),
        R::SubjectRevoked => request(token, "The subject token, or what it descends from, has been revoked."),
        R::SubjectExpired => request(token, "The subject token has expired."),
        R::SubjectNotForPresenter => request(token, "The subject token is neither addressed nor issued to this presenter."),
        R::SubjectKeyNotProven => request(token, "The subject token is bound to a key that was not proven."),
        R::ActorRequired => request(token, "An actor must be proven: send actor_token, or authenticate as the agent."),
        R::ActorNotClient => request(token, "The actor token names another agent than the authenticated client."),
        R::ProofOutdated => {
            client(token, "The credential was replaced or revoked, or has expired, while the request was under way. Authenticate again.")
        }
        R::ActorUnknown => request(token, "The actor is not a registered agent."),
        R::AgentNotActive => request(token, "The agent is not active."),
        R::ChainActorNotActive => request(token, "An earlier actor of the chain is not active."),
        R::ChainNotTheirs => request(token, "A token of another issuer names an actor of this server or of a third issuer."),
        R::MayActMismatch => request(token, "may_act names another actor."),
        R::ChainTooDeep => request(token, "The actor chain would be deeper than allowed."),
        R::ChainLoop => request(token, "The actor stands in the chain already."),
        R::LineageTooLong => request(token, "The token has been exchanged too often in a row."),
        R::NoGrant => request(token, "The person has given this agent no grant on this resource."),
        R::GrantRevoked => request(token, "The grant is revoked."),
        R::GrantExpired => request(token, "The grant has expired."),
        R::GrantExhausted => request(token, "The grant is used up."),
        R::PolicyDeniesPerson => request(token, "Policy does not permit this to the person."),
        R::PolicyDeniesAgent => request(token, "Policy does not permit this to the agent."),
        R::NoLifetime => request(token, "Nothing would be left of the lifetime."),
        R::ClientMayNotPresent => public(400, "unauthorized_client", token, "This client may not present this agent."),
        R::ResourceUnknown => target(token, "There is no such resource here."),
        R::ResourceNotDelegable => target(token, "This resource is not open to agents."),
        R::ScopeExceedsSubject => scope(token, "More scope is asked for than the subject token carries."),
        R::ScopeUnknown => scope(token, "The resource has no such scope."),
        R::ScopeBeyondPerson => scope(token, "Nothing asked for is within the person's rights."),
        R::ScopeBeyondCeiling => scope(token, "Nothing asked for is within the agent's ceiling."),
        R::ScopeBeyondGrant => scope(token, "Nothing asked for is within the grant."),
        R::NothingInCommon => scope(token, "Subject token, person, ceiling, grant and policy have nothing in common."),
    }
}

/// Decisions on a person's own token (RFC 6749 §4.1.2.1, §5.2).
fn authorization(reason: RefusalReason) -> Public {
    use RefusalReason as R;
    let token = reason.code();
    match reason {
        R::ResourceUnknown | R::ResourceNotDelegable => target(token, "There is no such resource here."),
        R::ScopeExceedsSubject
        | R::ScopeUnknown
        | R::ScopeBeyondPerson
        | R::ScopeBeyondCeiling
        | R::ScopeBeyondGrant
        | R::NothingInCommon => scope(token, "Nothing asked for is within the person's rights."),
        R::ProofOutdated => client(token, "The client's credential was replaced or revoked meanwhile. Authenticate again."),
        R::PersonUnknown
        | R::PersonDisabled
        | R::SubjectRevoked
        | R::SubjectExpired
        | R::SubjectNotForPresenter
        | R::SubjectKeyNotProven
        | R::ActorRequired
        | R::ActorNotClient
        | R::ActorUnknown
        | R::AgentNotActive
        | R::ChainActorNotActive
        | R::ChainNotTheirs
        | R::MayActMismatch
        | R::ChainTooDeep
        | R::ChainLoop
        | R::LineageTooLong
        | R::ClientMayNotPresent
        | R::NoGrant
        | R::GrantRevoked
        | R::GrantExpired
        | R::GrantExhausted
        | R::PolicyDeniesPerson
        | R::PolicyDeniesAgent
        | R::NoLifetime => grant(token, "The person may not be given this token."),
    }
}

#[cfg(test)]
mod tests {
    use mandate_delegation::RefusalReason;
    use mandate_token::TokenError;

    use crate::foreign::FetchError;
    use crate::form::FormError;
    use crate::pkce::PkceError;
    use crate::refusal::Refusal;

    /// Compiles only while it names every variant.
    fn listed(refusal: &Refusal) {
        use Refusal as R;
        match refusal {
            R::Form(_)
            | R::AuthorizationHeader(_)
            | R::Missing(_)
            | R::Unacceptable(_)
            | R::Misplaced(_)
            | R::GrantType
            | R::ClientMethods
            | R::ClientMissing
            | R::ClientMethodUnsupported
            | R::ClientFailed(_)
            | R::ClientAssertion(_)
            | R::ClientAssertionReplayed
            | R::ClientIdMismatch
            | R::ClientNotAllowed(_)
            | R::Subject(_)
            | R::SubjectElsewhere(_)
            | R::SubjectProvenance(_)
            | R::Actor(_)
            | R::ResourceMissing
            | R::ResourceMalformed
            | R::ResourceRepeated
            | R::AudienceDiffers
            | R::ResourceUnknown
            | R::ResourceNotAuthorized
            | R::ScopeMalformed
            | R::ScopeUnknown
            | R::Pkce(_)
            | R::Redirect
            | R::ResponseType
            | R::RequestObject(_)
            | R::Declined
            | R::CodeUnknown
            | R::CodeReused
            | R::CodeOtherClient
            | R::CodeRedirect
            | R::LoginFailed(_)
            | R::LoginPaused
            | R::NotYourToken
            | R::Exchange(_)
            | R::Authorization(_)
            | R::AuditUnavailable
            | R::Busy
            | R::TooManyRevocations
            | R::IssuerUnavailable { .. }
            | R::IssuerKeyUnknown { .. }
            | R::Internal(_) => {}
        }
    }

    /// One of each variant; [`listed`] makes a new one a compile error here.
    fn every() -> Vec<Refusal> {
        use Refusal as R;
        let mut all = vec![
            R::Form(FormError::Repeated("scope".into())),
            R::AuthorizationHeader("x"),
            R::Missing("code"),
            R::Unacceptable("scope"),
            R::Misplaced("actor_token"),
            R::GrantType,
            R::ClientMethods,
            R::ClientMissing,
            R::ClientMethodUnsupported,
            R::ClientFailed("secret"),
            R::ClientAssertion(TokenError::Expired),
            R::ClientAssertionReplayed,
            R::ClientIdMismatch,
            R::ClientNotAllowed("Not this one."),
            R::Subject(TokenError::Signature),
            R::SubjectElsewhere(TokenError::Issuer),
            R::SubjectProvenance("Not ours."),
            R::Actor(TokenError::Claim { claim: "act", why: "an actor token carries no act" }),
            R::ResourceMissing,
            R::ResourceMalformed,
            R::ResourceRepeated,
            R::AudienceDiffers,
            R::ResourceUnknown,
            R::ResourceNotAuthorized,
            R::ScopeMalformed,
            R::ScopeUnknown,
            R::Redirect,
            R::ResponseType,
            R::RequestObject("request_not_supported"),
            R::Declined,
            R::CodeUnknown,
            R::CodeReused,
            R::CodeOtherClient,
            R::CodeRedirect,
            R::LoginFailed("x"),
            R::LoginPaused,
            R::NotYourToken,
            R::AuditUnavailable,
            R::Busy,
            R::TooManyRevocations,
            R::IssuerUnavailable { error: FetchError::Timeout("https://login.example".into()), retry_after: 10 },
            R::IssuerKeyUnknown { retry_after: 30 },
            R::Internal("secret detail".into()),
        ];
        let pkce = [
            PkceError::ChallengeMissing,
            PkceError::Method,
            PkceError::ChallengeForm,
            PkceError::VerifierMissing,
            PkceError::VerifierForm,
            PkceError::Mismatch,
        ];
        all.extend(pkce.map(R::Pkce));
        all.extend(RefusalReason::ALL.iter().map(|reason| R::Exchange(*reason)));
        all.extend(RefusalReason::ALL.iter().map(|reason| R::Authorization(*reason)));
        all.iter().for_each(listed);
        all
    }

    #[test]
    fn every_refusal_is_a_well_formed_error_of_a_registered_code() {
        const CODES: [&str; 12] = [
            "invalid_request",
            "invalid_client",
            "invalid_grant",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
            "invalid_target",
            "access_denied",
            "unsupported_response_type",
            "temporarily_unavailable",
            "request_not_supported",
            "request_uri_not_supported",
        ];
        for refusal in every() {
            let error = refusal.to_error();
            assert!(CODES.contains(&error.error), "{refusal:?}");
            assert!(matches!(error.status, 400 | 401 | 503), "never a 500 (K8): {refusal:?}");
            assert_eq!(error.status == 401, error.error == "invalid_client", "{refusal:?}");
            assert_eq!(error.www_authenticate.is_some(), error.status == 401, "{refusal:?}");
            // RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
            assert!(error.description.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\'), "{}", error.description);
            let (token, sentence) = error.description.split_once(": ").unwrap();
            assert!(token.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{token}");
            assert!(sentence.ends_with('.'), "{sentence}");
            assert_eq!(refusal.code(), token);
        }
    }

    #[test]
    fn bad_subject_and_actor_inputs_are_invalid_request() {
        for refusal in [
            Refusal::Subject(TokenError::Expired),
            Refusal::Actor(TokenError::Signature),
            Refusal::Exchange(RefusalReason::MayActMismatch),
            Refusal::Exchange(RefusalReason::ActorRequired),
            Refusal::Exchange(RefusalReason::ChainTooDeep),
            Refusal::Exchange(RefusalReason::SubjectRevoked),
        ] {
            assert_eq!(refusal.to_error().error, "invalid_request", "RFC 8693 section 2.2.2: {refusal:?}");
        }
    }

    #[test]
    fn private_detail_stays_private() {
        let error = Refusal::Internal("secret detail".into()).to_error();
        assert!(!error.to_json().contains("secret detail") && error.private.contains("secret detail"));
        let (unknown, wrong) = (Refusal::ClientFailed("unknown client"), Refusal::ClientFailed("wrong secret"));
        assert_eq!(unknown.to_error().to_json(), wrong.to_error().to_json(), "which of both is nobody's business");
    }
}
