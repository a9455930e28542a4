//! The answers to callers: the one mapping from refusals to the errors of RFC 6749 §4.1.2.1 and §5.2, RFC 8693 §2.2.2,
//! RFC 8707 §2. It is exhaustive: the code does not compile until a new refusal has an entry here.

use mandate_core::ResourceUri;
use mandate_delegation::{RefusalReason, ScopeBounds};
use mandate_token::TokenError;
use mandate_token::client_assertion::MAX_AHEAD;
use serde::Serialize;

use crate::pkce::PkceError;
use crate::refusal::Refusal;
use crate::scope_bounds::for_client;

/// The answer to a caller that was refused.
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
    /// Whose fault it is, for our own log; never sent.
    pub fault: Fault,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Caller,
    /// That of all who want something slow at the same time: anybody can cause it.
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
    fault: Fault,
}

fn public(status: u16, error: &'static str, token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    Public { status, error, token, sentence: sentence.into(), fault: Fault::Caller }
}

fn request(token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    public(400, "invalid_request", token, sentence)
}

fn client(token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    public(401, "invalid_client", token, sentence)
}

fn target(token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
    public(400, "invalid_target", token, sentence)
}

fn scope(token: &'static str, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Public {
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
        let Public { status, error, token, sentence, fault } = self.public();
        OAuthError {
            fault,
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

    #[expect(clippy::too_many_lines, reason = "one exhaustive table with a line for each refusal")]
    fn public(&self) -> Public {
        match self {
            Self::Form(error) => request("malformed_form", format!("The request cannot be read: {error}.")),
            Self::InQuery(name) => request(
                "parameter_in_query",
                format!("The parameter {name} is in the query of the URL. Send parameters in the body only (RFC 6749 section 3.2)."),
            ),
            Self::InLoginForm(name) => request(
                "parameter_in_body",
                format!("The parameter {name} is in the body of the login form. Send the authorization request in the query only."),
            ),
            Self::AuthorizationHeader(why) => request("authorization_header", format!("The Authorization header cannot be read: {why}.")),
            Self::Missing(name) => request("parameter_missing", format!("The parameter {name} is missing.")),
            Self::Unacceptable(name) => {
                request("parameter_unacceptable", format!("The value of the parameter {name} is not accepted here."))
            }
            Self::Misplaced(name) => request("parameter_misplaced", format!("The parameter {name} does not belong in this request.")),
            Self::GrantType => public(
                400,
                "unsupported_grant_type",
                "grant_type_unsupported",
                "grant_type must be authorization_code or urn:ietf:params:oauth:grant-type:token-exchange.",
            ),
            Self::ClientMethods => request(
                "client_methods",
                "The client is authenticated by more than one method. Send one: a client_assertion, a client_secret or an Authorization header.",
            ),
            Self::ClientMissing => client("client_authentication_missing", "The client must authenticate for this request."),
            Self::ClientMethodUnsupported => client(
                "client_method_unsupported",
                "Authenticate by spiffe_jwt, private_key_jwt, client_secret_basic or client_secret_post.",
            ),
            Self::ClientMethodOther(method) => {
                client("client_method_other", format!("The secret is right, but this client is registered for {method}. Use that method."))
            }
            Self::ClientFailed(_) => client("client_authentication_failed", "The client is unknown, or its credential is wrong."),
            Self::ClientAssertion(error) => client("client_assertion_refused", explained("client assertion", error)),
            Self::ClientAssertionAudience(expected) => client(
                "client_assertion_refused",
                format!("The client assertion is refused: audience. Its aud must be {expected} and nothing else."),
            ),
            Self::ClientAssertionReplayed => client(
                "client_assertion_replayed",
                "This client assertion was used before. Sign a new one, with a new jti, for each request.",
            ),
            Self::ClientIdMismatch => client("client_id_mismatch", "The credential proves another client than client_id names."),
            Self::ClientNotAllowed(why) => public(400, "unauthorized_client", "client_not_allowed", *why),
            Self::Subject(error) => request("subject_token_refused", explained("subject token", error)),
            Self::SubjectElsewhere(_) => request(
                "subject_token_refused",
                "The subject token is refused: issuer. Its iss is not this server; send a trusted issuer's token with \
                 subject_token_type urn:ietf:params:oauth:token-type:jwt.",
            ),
            Self::SubjectProvenance(why) => request("subject_token_provenance", *why),
            Self::SubjectAudience(expected) => request(
                RefusalReason::SubjectNotForPresenter.code(),
                format!(
                    "The aud of the subject token must be {}. It may have other values only if an operator lists them in other_audiences of the issuer's entry.",
                    sendable(expected)
                ),
            ),
            Self::Actor(error) => request("actor_token_refused", explained("actor token", error)),
            Self::ActorAudience(expected) => request(
                "actor_token_refused",
                format!("The actor token is refused: audience. Its aud must be {expected} and nothing else."),
            ),
            Self::ResourceMissing => target("resource_missing", "Send one resource: the URI of the API that the token is for."),
            Self::ResourceMalformed(why) => target("resource_malformed", format!("resource is not accepted: {why}.")),
            Self::ResourceRepeated => target("resource_repeated", "resource is sent more than once. A token is for one resource."),
            Self::AudienceDiffers => {
                target("audience_differs", "audience and resource must name the same resource. One of them is enough.")
            }
            Self::AudienceUnknown(meant) => {
                target("audience_unknown", format!("audience must be the URI of a registered resource.{}", hint(meant.as_ref())))
            }
            Self::ResourceUnknown(meant) => target("resource_unknown", resource_unknown(meant.as_ref())),
            Self::ResourceNotAuthorized => target("resource_not_authorized", "The code was issued for another resource."),
            Self::ScopeMalformed(why) => scope("scope_malformed", format!("scope cannot be read: {why}.")),
            Self::Pkce(error) => pkce(*error),
            Self::Redirect => request(
                "redirect_uri_unregistered",
                "redirect_uri is not registered for this client. It must be the same text as a registered one; only the port of a loopback address may differ.",
            ),
            Self::ResponseType => public(400, "unsupported_response_type", "response_type_unsupported", "response_type must be code."),
            Self::RequestObject(which) => public(
                400,
                which,
                "request_object_unsupported",
                "request and request_uri are not supported. Send the parameters themselves.",
            ),
            Self::Declined => public(400, "access_denied", "declined", "The person declined the request."),
            Self::CodeUnknown => grant("code_unknown", "The code is unknown, or older than 60 seconds."),
            Self::CodeReused => grant("code_reused", "The code was used before. The token that it gave is revoked."),
            Self::CodeOtherClient => grant("code_other_client", "The code was issued to another client."),
            Self::CodeRedirect => grant("code_redirect_uri", "redirect_uri is not the same as in the authorization request."),
            Self::LoginFailed(_) => public(400, "access_denied", "login_failed", "The name or the password is wrong."),
            Self::LoginPaused => public(400, "access_denied", "login_paused", "There were too many attempts. Wait, then try again."),
            Self::NotYourToken => grant("token_other_client", "The token was issued to another client."),
            Self::Exchange(reason) => exchange(*reason, None),
            Self::ExchangeScopes(reason, bounds) => exchange(*reason, Some(bounds)),
            Self::Authorization(reason) => authorization(*reason),
            Self::AuditUnavailable => {
                unavailable("audit_unavailable", "The decision could not be recorded, so nothing was issued. Try again.")
            }
            Self::Busy => {
                let sentence = "Too many passwords or secrets are waiting to be checked. Try again.";
                Public { fault: Fault::Crowd, ..unavailable("busy", sentence) }
            }
            Self::TooManyRevocations => {
                let sentence = "This client has too many revocations in force. The token is not revoked. Try again later.";
                Public { fault: Fault::Caller, ..unavailable("too_many_revocations", sentence) }
            }
            Self::IssuerUnavailable { .. } => {
                unavailable("issuer_unavailable", "The keys of the subject token's issuer cannot be fetched now. Try again.")
            }
            Self::IssuerKeyUnknown { .. } => unavailable(
                "issuer_key_unknown",
                "The issuer's keys were fetched moments ago and lack the key of the subject token. Try again.",
            ),
            Self::Internal(_) => unavailable("internal", "The server could not complete the request."),
        }
    }
}

/// RFC 6749 §4.1.2.1, for every endpoint: a temporary error of ours.
fn unavailable(token: &'static str, sentence: &'static str) -> Public {
    Public { fault: Fault::Server, ..public(503, "temporarily_unavailable", token, sentence) }
}

/// The hint for an authenticated client about the resource that it probably meant.
fn hint(meant: Option<&ResourceUri>) -> String {
    meant.map_or_else(String::new, |uri| format!(" Did you mean {uri} ?"))
}

fn resource_unknown(meant: Option<&ResourceUri>) -> String {
    format!("There is no such resource here.{}", hint(meant))
}

/// The text of an operator, for an `error_description` (RFC 6749 §5.2).
fn sendable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' }).collect()
}

/// Why a token is refused, what it has, and if that is clear, what it should have.
fn explained(what: &str, error: &TokenError) -> String {
    let longest = format!(" Its exp may be at most {} minutes from now.", MAX_AHEAD.as_secs() / 60);
    let expected = match (what, error) {
        ("subject token", TokenError::Type(_)) => " An access token says typ at+jwt (RFC 9068).",
        ("actor token", TokenError::Type(_) | TokenError::TrustDomain) => " An actor token is a JWT-SVID of this trust domain.",
        ("client assertion", TokenError::Lifetime) => longest.as_str(),
        ("subject token", TokenError::Malformed(_)) => " A subject token is a signed JWT; an opaque token cannot be exchanged.",
        _ => "",
    };
    format!("The {what} is refused: {}.{expected}", error.public_text())
}

/// RFC 7636 §4.4.1 and §4.6.
fn pkce(error: PkceError) -> Public {
    match error {
        PkceError::ChallengeMissing => {
            request("code_challenge_missing", "PKCE is required: send code_challenge, and code_challenge_method=S256.")
        }
        PkceError::Method => request("code_challenge_method", "code_challenge_method must be S256."),
        PkceError::ChallengeForm => request("code_challenge_malformed", "code_challenge must be 43 characters of base64url."),
        PkceError::VerifierMissing => request("code_verifier_missing", "The parameter code_verifier is missing."),
        PkceError::VerifierForm => {
            grant("code_verifier_malformed", "code_verifier must be 43 to 128 letters, digits and characters of - . _ ~ only.")
        }
        PkceError::Mismatch => {
            grant("code_verifier_mismatch", "code_verifier does not match the code_challenge of the authorization request.")
        }
    }
}

/// Decisions on exchanges. RFC 8693 §2.2.2: a subject or actor token that is invalid for any reason, or unacceptable by
/// policy, is `invalid_request`; what concerns the target is `invalid_target`.
fn exchange(reason: RefusalReason, bounds: Option<&ScopeBounds>) -> Public {
    use RefusalReason as R;
    let token = reason.code();
    let scope = |sentence: &'static str| match bounds {
        Some(bounds) => scope(token, format!("{sentence} ({}).", for_client(bounds))),
        None => scope(token, format!("{sentence}.")),
    };
    match reason {
        R::PersonUnknown => request(token, "The subject token names a person who is not registered here."),
        R::PersonDisabled => request(token, "The person is disabled."),
        R::SubjectRevoked => request(token, "The subject token, or one that it descends from, is revoked."),
        R::SubjectExpired => request(token, "The subject token has expired."),
        R::SubjectNotForPresenter => {
            request(token, "The subject token is neither addressed to this server nor issued or addressed to the caller.")
        }
        R::SubjectKeyNotProven => request(token, "The subject token is bound to a key (cnf). Such tokens are not accepted."),
        R::ActorRequired => request(token, "An agent must be proven: send its JWT-SVID as actor_token, or authenticate as the agent."),
        R::ActorNotClient => request(token, "The actor token names another agent than the authenticated client."),
        R::ProofOutdated => client(token, "The credential was replaced or revoked, or expired, during the request. Authenticate again."),
        R::ActorUnknown => request(token, "The actor is not a registered agent."),
        R::AgentNotActive => request(token, "The agent is not active."),
        R::ChainActorNotActive => request(token, "An earlier agent in the subject token's act claim is not active."),
        R::ChainNotTheirs => request(
            token,
            "The act claim of a token of another issuer names an actor of this server or of a third issuer, or an actor by a SPIFFE ID of this trust domain.",
        ),
        R::MayActMismatch => request(token, "The may_act claim of the subject token names another actor."),
        R::ChainTooDeep => request(token, "The chain of actors would be deeper than this agent's chain_depth."),
        R::ChainLoop => request(token, "The agent is in the subject token's act claim already."),
        R::LineageTooLong => request(token, "The token was exchanged too many times in a row."),
        R::NoGrant => request(token, "The person has given this agent no grant on this resource."),
        R::GrantRevoked => request(token, "The grant is revoked."),
        R::GrantExpired => request(token, "The grant has expired."),
        R::GrantExhausted => request(token, "The grant has no uses left."),
        R::PolicyDeniesPerson => request(token, "A policy denies this to the person."),
        R::PolicyDeniesAgent => request(token, "A policy denies this to the agent."),
        R::NoLifetime => request(token, "The token would expire within a second."),
        R::ClientMayNotPresent => public(400, "unauthorized_client", token, "The client's entry does not list this agent."),
        R::ResourceUnknown => target(token, resource_unknown(None)),
        R::ResourceNotDelegable => target(token, "No agent is given tokens for this resource."),
        R::ScopeExceedsSubject => scope("More is asked for than the subject token carries"),
        R::ScopeUnknown => scope("A scope is asked for that the resource does not have"),
        R::ScopeBeyondClient => scope("The client may ask for none of these scopes"),
        R::ScopeBeyondPerson => scope("The person may do none of what is asked for"),
        R::ScopeBeyondCeiling => scope("The agent's ceiling allows none of what is asked for"),
        R::ScopeBeyondGrant => scope("The grant allows none of what is asked for"),
        R::NothingInCommon => scope("There is no scope that all of them allow"),
        R::TooMuchForOneToken => scope("There is more to say than one token can carry. Ask for fewer scopes"),
    }
}

/// Decisions on a person's own token (RFC 6749 §4.1.2.1, §5.2). The caller may be a public client: the answer says nothing
/// about the person except the reason.
fn authorization(reason: RefusalReason) -> Public {
    use RefusalReason as R;
    let token = reason.code();
    match reason {
        R::ResourceUnknown | R::ResourceNotDelegable => target(token, resource_unknown(None)),
        R::ScopeUnknown => scope(token, "None of the scopes asked for exists here."),
        R::TooMuchForOneToken => {
            scope(token, "There are more scopes than one token can carry. Name a resource, or the scopes that are needed.")
        }
        R::ScopeBeyondClient => {
            scope(token, "This client may ask for none of these scopes. An operator lists what it may ask for in the scopes of its entry.")
        }
        R::ScopeExceedsSubject | R::ScopeBeyondPerson | R::ScopeBeyondCeiling | R::ScopeBeyondGrant | R::NothingInCommon => {
            scope(token, "The person may do none of what is asked for.")
        }
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
mod tests;
