//! What a caller is told about each refusal: a machine-readable token and a sentence. Only characters that
//! RFC 6749 §5.2 allows.

use std::borrow::Cow;

use mandate_core::ResourceUri;
use mandate_core::lifetimes::{
    CODE_LIFETIME, LOGIN_FORM_LIFETIME, MAX_CLIENT_ASSERTION_LIFETIME, MAX_SELF_DESCRIBED_ASSERTION_LIFETIME,
    PUSHED_REQUEST_LIFETIME, REFRESH_IDLE_LIFETIME,
};
use mandate_core::names::{ChallengeMethod, ClientMethod, GrantType, Parameter, ResponseType, TokenType};
use mandate_delegation::{RefusalReason, ScopeBounds};
use mandate_token::TokenError;

use crate::form::MAX_PUSHED;
use crate::pkce::PkceError;
use crate::refusal::{NotAllowed, RegistrationFault, RequestRefusal};
use crate::scope_bounds::for_client;

/// A token and its sentence.
type Sentence = (&'static str, Cow<'static, str>);

fn said(token: &'static str, sentence: impl Into<Cow<'static, str>>) -> Sentence {
    (token, sentence.into())
}

#[expect(clippy::too_many_lines, reason = "one exhaustive table with a line for each refusal")]
pub(super) fn of(refusal: &RequestRefusal) -> Sentence {
    use RequestRefusal as R;
    match refusal {
        R::Form(error) => said("malformed_form", format!("The request cannot be read: {error}.")),
        R::InQuery(name) => said(
            "parameter_in_query",
            format!("The parameter {name} is in the query of the URL. Send parameters in the body only."),
        ),
        R::InLoginForm(name) => said(
            "parameter_in_body",
            format!(
                "The parameter {name} is in the body of the login form. Send the authorization request in the query only."
            ),
        ),
        R::AuthorizationHeader(why) => {
            said("authorization_header", format!("The Authorization header cannot be read: {why}."))
        }
        R::Missing(name) => said("parameter_missing", format!("The parameter {name} is missing.")),
        R::Unacceptable(name) => {
            said("parameter_unacceptable", format!("The value of the parameter {name} is not accepted here."))
        }
        R::Misplaced(name) => {
            said("parameter_misplaced", format!("The parameter {name} does not belong in this request."))
        }
        R::GrantType(offered) => said(
            "grant_type_unsupported",
            format!("{} must be {}.", Parameter::GrantType, one_of(offered.iter().map(GrantType::as_ref))),
        ),
        R::ClientMethods => said(
            "client_methods",
            "The client is authenticated by more than one method. Send one: a client_assertion, a client_secret or an Authorization header.",
        ),
        R::ClientMissing => {
            said("client_authentication_missing", "The client must authenticate for this request.")
        }
        R::ClientMethodUnsupported => said(
            "client_method_unsupported",
            format!("Authenticate by {}.", one_of(ClientMethod::proofs().map(ClientMethod::as_str))),
        ),
        R::ClientMethodOther(method) => said(
            "client_method_other",
            format!("The secret is right, but this client is registered for {method}. Use that method."),
        ),
        R::ClientFailed(_) => {
            said("client_authentication_failed", "The client is unknown, or its credential is wrong.")
        }
        R::ClientAssertion(error) => said("client_assertion_refused", refused(What::ClientAssertion, error)),
        R::ClientAssertionAudience(expected) => said(
            "client_assertion_refused",
            format!(
                "The client assertion is refused: audience. Its aud must be {expected} and nothing else."
            ),
        ),
        R::ClientAssertionReplayed => said(
            "client_assertion_replayed",
            "This client assertion was used before. Sign a new one, with a new jti, for each request.",
        ),
        R::ClientIdMismatch => {
            said("client_id_mismatch", "The credential proves another client than client_id names.")
        }
        R::ClientNotAllowed(what) => said(
            "client_not_allowed",
            match what {
                NotAllowed::CodeByAgent => "An agent exchanges tokens; codes are for people's clients.",
                NotAllowed::PushByAgent => {
                    "An agent pushes no authorization requests; people log in at their clients."
                }
                NotAllowed::RefreshByAgent => {
                    "An agent refreshes no tokens; it exchanges a token that an app has refreshed."
                }
                NotAllowed::Refresh => {
                    "This client may not refresh tokens. An operator allows it with refresh in its entry."
                }
                NotAllowed::OwnBehalfByApp => {
                    "An app gets no token of its own: only an agent does, authenticated as itself."
                }
                NotAllowed::Unattested => "A client that describes itself may only redeem codes.",
                NotAllowed::RequestActor => {
                    "This client may not ask for this agent. An operator lists the client's agents in agents of its entry, and the client must authenticate."
                }
                NotAllowed::ExchangeByPublicClient => "A public client may not exchange tokens.",
                NotAllowed::Device => {
                    "People may not log in for this client on another device. An operator allows it with device in its entry."
                }
                NotAllowed::DeviceByAgent => {
                    "An agent exchanges tokens; logins on another device are for people's clients."
                }
            },
        ),
        R::Subject(error) => said("subject_token_refused", refused(What::SubjectToken, error)),
        R::SubjectElsewhere(_) => said(
            "subject_token_refused",
            format!(
                "The subject token is refused: issuer. Its iss is not this server; send a trusted issuer's token with {} {}.",
                Parameter::SubjectTokenType,
                TokenType::Jwt
            ),
        ),
        R::SubjectProvenance => said(
            "subject_token_provenance",
            "The iss of the subject token is neither this server nor a trusted issuer.",
        ),
        R::IdTokenNotTaken => said(
            "id_token_not_taken",
            "This client may not present ID tokens of this issuer. An operator lists it, and their aud, in id_tokens of the issuer's entry.",
        ),
        R::SubjectAudience(expected) => said(
            RefusalReason::SubjectNotForPresenter.code(),
            format!(
                "The aud of the subject token must be {}. It may have other values only if an operator lists them in other_audiences of the issuer's entry.",
                sendable(expected)
            ),
        ),
        R::Actor(error) => said("actor_token_refused", refused(What::ActorToken, error)),
        R::ActorAudience(expected) => said(
            "actor_token_refused",
            format!("The actor token is refused: audience. Its aud must be {expected} and nothing else."),
        ),
        R::ActorReplayed => said(
            "actor_token_replayed",
            "This actor token was used before. Ask the platform for a new one for each request.",
        ),
        R::NoAgentProven { client, .. } => said(
            if *client { "client_authentication_failed" } else { "actor_token_refused" },
            "No agent's entry has a proof with what this token says. The audit log says what is different.",
        ),
        R::ResourceMissing => {
            said("resource_missing", "Send one resource: the URI of the API that the token is for.")
        }
        R::ResourceMalformed(why) => said("resource_malformed", format!("resource is not accepted: {why}.")),
        R::ResourceRepeated => {
            said("resource_repeated", "resource is sent more than once. A token is for one resource.")
        }
        R::AudienceDiffers => said(
            "audience_differs",
            "audience and resource must name the same resource. One of them is enough.",
        ),
        R::AudienceUnknown(meant) => said(
            "audience_unknown",
            format!("audience must be the URI of a registered resource.{}", hint(meant.as_ref())),
        ),
        R::ResourceUnknown(meant) => said("resource_unknown", resource_unknown(meant.as_ref())),
        R::ResourceNotAuthorized => {
            said("resource_not_authorized", "The code or refresh token was issued for another resource.")
        }
        R::ScopeMalformed(why) => said("scope_malformed", format!("scope cannot be read: {why}.")),
        R::Pkce(error) => pkce(*error),
        R::Redirect => said(
            "redirect_uri_unregistered",
            "redirect_uri is not registered for this client. It must be the same text as a registered one; only the port of a loopback address may differ.",
        ),
        R::ResponseType => said(
            "response_type_unsupported",
            format!("{} must be {}.", Parameter::ResponseType, ResponseType::Code),
        ),
        R::RequestObject | R::RequestUri => said(
            "request_object_unsupported",
            "request is not supported, and request_uri only with a value of the PAR endpoint. Send the parameters themselves, or push them.",
        ),
        R::PushRequired => said(
            "pushed_request_required",
            "This client must push its requests: send the parameters to the PAR endpoint, and only client_id and request_uri here.",
        ),
        R::ActorNotPushed => said(
            "requested_actor_not_pushed",
            "requested_actor is accepted only in a pushed request. Send the parameters to the PAR endpoint, and only client_id and request_uri here.",
        ),
        R::Details => said(
            "authorization_details_unsupported",
            "No type of authorization_details is supported. Ask for less by scope.",
        ),
        R::CodeActorMissing => said(
            "code_needs_actor",
            "The person gave this code for an agent. Send the agent's proof as actor_token, with actor_token_type.",
        ),
        R::CodeActor(why) => of(why),
        R::PushTooLarge => said(
            "pushed_request_too_large",
            format!("The parameters of a pushed request may have at most {} KiB.", MAX_PUSHED / 1024),
        ),
        R::PushedRequestUnknown => said(
            "pushed_request_unknown",
            "The request_uri is not one that this server has given since it was started. Push the request again.",
        ),
        R::PushedRequestOtherClient => {
            said("pushed_request_other_client", "The request_uri was given to another client.")
        }
        R::PushedRequestExpired => said(
            "pushed_request_expired",
            format!(
                "The request_uri has expired: a login must begin within {} seconds and end within {} minutes. Push the request again.",
                PUSHED_REQUEST_LIFETIME.as_secs(),
                LOGIN_FORM_LIFETIME.as_secs() / 60
            ),
        ),
        R::PushedRequestUsed => said(
            "pushed_request_used",
            "A person has logged in with this request_uri before. Push a request for each login.",
        ),
        R::Declined => said("declined", "The person declined the request."),
        R::CodeUnknown => said(
            "code_unknown",
            format!("The code is unknown, or older than {} seconds.", CODE_LIFETIME.as_secs()),
        ),
        R::CodeReused => said("code_reused", "The code was used before. The token that it gave is revoked."),
        R::CodeOtherClient => said("code_other_client", "The code was issued to another client."),
        R::CodeRedirect => {
            said("code_redirect_uri", "redirect_uri is not the same as in the authorization request.")
        }
        R::RefreshUnknown => said(
            "refresh_token_unknown",
            format!(
                "The refresh token is unknown, was not used for {} days, or is older than its login may be. The person must log in again.",
                REFRESH_IDLE_LIFETIME.as_secs() / (24 * 60 * 60)
            ),
        ),
        R::RefreshReused => said(
            "refresh_token_reused",
            "The refresh token was used before. The login that gave it is ended, and all of its tokens are revoked. The person must log in again.",
        ),
        R::RefreshOtherClient => {
            said("refresh_token_other_client", "The refresh token was issued to another client.")
        }
        R::RefreshEnded => said(
            "refresh_token_ended",
            "The login that gave the refresh token was ended. The person must log in again.",
        ),
        R::ScopeNotGranted => said(
            "scope_not_granted",
            "A scope is asked for that the login did not give. Leave scope out to get what it gave.",
        ),
        R::LoginFailed(_) => said("login_failed", "The name or the password is wrong."),
        R::LoginPaused(_) => said("login_paused", "There were too many attempts. Wait, then try again."),
        R::Provider(refusal) => refusal.sentence(),
        R::Device(refusal) => refusal.sentence(),
        R::NotYourToken => said("token_other_client", "The token was issued to another client."),
        R::Exchange(reason) => exchange(*reason, None),
        R::ExchangeScopes(reason, bounds) => exchange(*reason, Some(bounds)),
        R::Authorization(reason) => authorization(*reason),
        // The reasons that there can be are those of an exchange without its person.
        R::DelegatedLogin(reason, bounds) => delegated_login(*reason, bounds.as_deref()),
        R::OwnBehalf(reason, bounds) => exchange(*reason, bounds.as_deref()),
        // Not authorization_pending (RFC 8628 §3.5): there is nothing to wait for yet.
        R::ApprovalRequired(..) => said(
            "approval_required",
            "A policy demands that a person approves this request, and approvals cannot be given here yet.",
        ),
        R::AuditUnavailable => {
            said("audit_unavailable", "The decision could not be recorded, so nothing was issued. Try again.")
        }
        R::Busy => said("busy", "Too many passwords or secrets are waiting to be checked. Try again."),
        R::TooManyRevocations => said(
            "too_many_revocations",
            "This client has too many revocations in force. The token is not revoked. Try again later.",
        ),
        R::Registration(RegistrationFault::Redirects) => said(
            "redirect_uris_unacceptable",
            "redirect_uris must have 1 to 10 URIs, each https, or http on 127.0.0.1, [::1] or localhost, without fragment.",
        ),
        R::Registration(RegistrationFault::Metadata(sentence)) => {
            said("client_metadata_unacceptable", *sentence)
        }
        R::MetadataDocument(fault) => said(
            "client_document_unacceptable",
            format!("The document at client_id is not acceptable: {fault}."),
        ),
        // Not why: that would show what is behind an address.
        R::MetadataNotFetched(_) => said(
            "client_document_unavailable",
            "The document at client_id cannot be fetched: it must be there without a redirect, with at most 5 KiB, on a public host. Try again.",
        ),
        R::TooManyRegistrations => said(
            "too_many_registrations",
            "Too many clients have registered themselves here. Try again later, or ask an operator to register the client.",
        ),
        R::IssuerUnavailable { .. } => {
            said("issuer_unavailable", "The keys of the token's issuer cannot be fetched now. Try again.")
        }
        R::IntrospectionUnavailable { .. } => {
            said("introspection_unavailable", "The token's issuer cannot be asked about it now. Try again.")
        }
        R::IssuerKeyUnknown { .. } => said(
            "issuer_key_unknown",
            "The issuer's keys were fetched moments ago and lack the key of the token. Try again.",
        ),
        R::Internal(_) => said("internal", "The server could not complete the request."),
    }
}

/// `a, b or c`.
fn one_of<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => "nothing".to_owned(),
    }
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

/// A token that a caller sends.
#[derive(Clone, Copy)]
enum What {
    SubjectToken,
    ActorToken,
    ClientAssertion,
}

impl What {
    const fn text(self) -> &'static str {
        match self {
            Self::SubjectToken => "subject token",
            Self::ActorToken => "actor token",
            Self::ClientAssertion => "client assertion",
        }
    }
}

const ACTOR_TOKEN_HINT: &str = " An actor token is a JWT-SVID of this trust domain, or the token of a platform that an agent's entry names.";

/// The sentence for a refused token: why, what the token has, and what it should have if that is known.
fn refused(what: What, error: &TokenError) -> String {
    use TokenError as E;
    let expected: Cow<'_, str> = match error {
        E::Type(typ) => match what {
            // An ID token says no such type.
            What::SubjectToken if is_access_token(typ) => " That is an access token.".into(),
            What::SubjectToken => " An access token says typ at+jwt (RFC 9068).".into(),
            What::ActorToken => ACTOR_TOKEN_HINT.into(),
            What::ClientAssertion => "".into(),
        },
        E::TrustDomain => match what {
            What::ActorToken => ACTOR_TOKEN_HINT.into(),
            What::SubjectToken | What::ClientAssertion => "".into(),
        },
        E::Lifetime => match what {
            What::ClientAssertion => {
                let minutes = MAX_CLIENT_ASSERTION_LIFETIME.as_secs() / 60;
                let described = MAX_SELF_DESCRIBED_ASSERTION_LIFETIME.as_secs() / 60;
                format!(" Its exp may be at most {minutes} minutes from now, or {described} for a client that describes itself.").into()
            }
            What::SubjectToken | What::ActorToken => "".into(),
        },
        E::Age => " Its iat is too long ago, even before its exp: ask the platform for a new one.".into(),
        E::Malformed(_) => match what {
            What::SubjectToken => {
                " A subject token is a signed JWT, or an opaque token of a client that introspection of an issuer's entry names.".into()
            }
            What::ActorToken | What::ClientAssertion => "".into(),
        },
        E::NotAccessToken(_) => {
            " This claim is another one in the access tokens that its issuer gives to clients.".into()
        }
        E::NotIdToken(_) => " This claim is another one in the ID tokens of its issuer.".into(),
        E::NotAPerson(_) => " Only a person's token is a subject token; a machine is an actor.".into(),
        E::MappedClaim { .. } => {
            " The issuer's entry reads this claim: groups are a list of at most 256 texts of 1 to 128 bytes, a tenant is one such text.".into()
        }
        E::RequiredClaim(_) => " The issuer's entry requires another value of this claim.".into(),
        E::TooLarge
        | E::DuplicateMember
        | E::TooDeep
        | E::Header(_)
        | E::Algorithm(_)
        | E::UnknownKey(_)
        | E::AmbiguousKey(_)
        | E::Signature
        | E::SignatureOfUnnamedKey
        | E::Inactive
        | E::MissingClaim(_)
        | E::Claim { .. }
        | E::Issuer
        | E::Audience
        | E::Expired
        | E::NotYetValid
        | E::ActorChain(_) => "".into(),
    };
    format!("The {} is refused: {}.{expected}", what.text(), error.public_text())
}

/// RFC 9068 §2.1.
fn is_access_token(typ: &str) -> bool {
    ["at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

/// RFC 7636 §4.4.1 and §4.6.
fn pkce(error: PkceError) -> Sentence {
    let (challenge, method, verifier) =
        (Parameter::CodeChallenge, Parameter::CodeChallengeMethod, Parameter::CodeVerifier);
    let only = ChallengeMethod::S256;
    match error {
        PkceError::ChallengeMissing => said(
            "code_challenge_missing",
            format!("PKCE is required: send {challenge}, and {method}={only}."),
        ),
        PkceError::Method => said("code_challenge_method", format!("{method} must be {only}.")),
        PkceError::ChallengeForm => {
            said("code_challenge_malformed", format!("{challenge} must be 43 characters of base64url."))
        }
        PkceError::VerifierMissing => {
            said("code_verifier_missing", format!("The parameter {verifier} is missing."))
        }
        PkceError::VerifierForm => said(
            "code_verifier_malformed",
            format!("{verifier} must be 43 to 128 letters, digits and characters of - . _ ~ only."),
        ),
        PkceError::Mismatch => said(
            "code_verifier_mismatch",
            format!("{verifier} does not match the {challenge} of the authorization request."),
        ),
    }
}

/// Decisions on what an agent asks for. At an exchange, RFC 8693 §2.2.2: a subject or actor token that is
/// invalid for any reason, or unacceptable by policy, is `invalid_request`; what concerns the target is
/// `invalid_target`.
fn exchange(reason: RefusalReason, bounds: Option<&ScopeBounds>) -> Sentence {
    use RefusalReason as R;
    let token = reason.code();
    let scope = |sentence: &'static str| match bounds {
        Some(bounds) => said(token, format!("{sentence} ({}).", for_client(bounds))),
        None => said(token, format!("{sentence}.")),
    };
    match reason {
        R::PersonUnknown => said(token, "The subject token names a person who is not registered here."),
        R::PersonDisabled => said(token, "The person is disabled."),
        R::SubjectRevoked => said(token, "The subject token, or one that it descends from, is revoked."),
        R::SubjectExpired => said(token, "The subject token has expired."),
        R::SubjectNotForPresenter => said(
            token,
            "The subject token is neither addressed to this server nor issued or addressed to the caller.",
        ),
        R::SubjectKeyNotProven => {
            said(token, "The subject token is bound to a key (cnf). Such tokens are not accepted.")
        }
        R::SubjectIsAgent => said(
            token,
            "The subject token is an agent's own. Only a person's authority can be delegated: exchange a person's token.",
        ),
        R::ActorRequired => said(
            token,
            "An agent must be proven: send its JWT-SVID as actor_token, or authenticate as the agent.",
        ),
        R::ActorNotClient => {
            said(token, "The actor token names another agent than the authenticated client.")
        }
        R::ActorNotRequested => {
            said(token, "The actor token proves another agent than the one that the person let act.")
        }
        R::ProofOutdated => said(
            token,
            "The credential was replaced or revoked, or expired, during the request. Authenticate again.",
        ),
        R::ActorUnknown => said(token, "The actor is not a registered agent."),
        R::AgentNotActive => said(token, "The agent is not active."),
        R::ChainActorNotActive => {
            said(token, "An earlier agent in the subject token's act claim is not active.")
        }
        R::ChainActorUnattested => said(
            token,
            "The subject token was issued to a client that describes itself. Such tokens are not exchanged.",
        ),
        R::ChainNotTheirs => said(
            token,
            "The act claim of a token of another issuer names an actor of this server or of a third issuer, or an actor by a SPIFFE ID of this trust domain.",
        ),
        R::MayActMismatch => said(token, "The may_act claim of the subject token names another actor."),
        R::ChainTooDeep => said(token, "The chain of actors would be deeper than this agent's chain_depth."),
        R::ChainLoop => said(token, "The agent is in the subject token's act claim already."),
        R::LineageTooLong => said(token, "The token was exchanged too many times in a row."),
        R::NoGrant => said(token, "The person has given this agent no grant on this resource."),
        R::GrantRevoked => said(token, "The grant is revoked."),
        R::GrantExpired => said(token, "The grant has expired."),
        R::GrantExhausted => said(token, "The grant has no uses left."),
        R::PolicyDeniesPerson => said(token, "A policy denies this to the person."),
        R::PolicyDeniesAgent => said(token, "A policy denies this to the agent."),
        R::NoLifetime => said(token, "The token would expire within a second."),
        R::PartiesApart => said(token, "The parties of this request do not act together."),
        R::ClientMayNotPresent => said(token, "The client's entry does not list this agent."),
        R::ResourceUnknown => said(token, resource_unknown(None)),
        R::ResourceNotDelegable => said(token, "No agent is given tokens for this resource."),
        R::ScopeExceedsSubject => scope("More is asked for than the subject token carries"),
        R::ScopeUnknown => scope("A scope is asked for that the resource does not have"),
        R::ScopeBeyondClient => scope("The client may ask for none of these scopes"),
        R::ScopeBeyondPerson => scope("The person may do none of what is asked for"),
        R::ScopeBeyondCeiling => scope("The agent's ceiling allows none of what is asked for"),
        R::ScopeBeyondProof => scope(
            "The ceiling of the agent's proof, such as that of a pull request, allows none of what is asked for",
        ),
        R::OwnerDisabled => said(token, "The person who is responsible for this agent is disabled."),
        R::NotOnOwnBehalf => said(
            token,
            "This agent may do nothing on its own behalf. An operator lists what it may do in may of its entry.",
        ),
        R::ScopeBeyondOwn => scope("The agent may do none of what is asked for on its own behalf"),
        R::ScopeBeyondGrant => scope("The grant allows none of what is asked for"),
        R::NothingInCommon => scope("There is no scope that all of them allow"),
        R::TooMuchForOneToken => scope("There is more to say than one token can carry. Ask for fewer scopes"),
    }
}

/// Decisions on a code for an agent: the login's own reasons, or the delegation's.
fn delegated_login(reason: RefusalReason, bounds: Option<&ScopeBounds>) -> Sentence {
    use RefusalReason as R;
    match reason {
        R::PersonUnknown
        | R::PersonDisabled
        | R::SubjectRevoked
        | R::SubjectExpired
        | R::SubjectNotForPresenter
        | R::SubjectKeyNotProven
        | R::SubjectIsAgent
        | R::ScopeUnknown
        | R::ScopeBeyondClient
        | R::ScopeBeyondPerson
        | R::ScopeExceedsSubject => authorization(reason),
        R::ActorRequired
        | R::ActorNotClient
        | R::ActorNotRequested
        | R::ProofOutdated
        | R::ClientMayNotPresent
        | R::ActorUnknown
        | R::AgentNotActive
        | R::ChainActorNotActive
        | R::ChainActorUnattested
        | R::ChainNotTheirs
        | R::MayActMismatch
        | R::ChainTooDeep
        | R::ChainLoop
        | R::LineageTooLong
        | R::NotOnOwnBehalf
        | R::OwnerDisabled
        | R::ResourceUnknown
        | R::ResourceNotDelegable
        | R::NoGrant
        | R::GrantRevoked
        | R::GrantExpired
        | R::GrantExhausted
        | R::ScopeBeyondOwn
        | R::ScopeBeyondCeiling
        | R::ScopeBeyondProof
        | R::ScopeBeyondGrant
        | R::NothingInCommon
        | R::PolicyDeniesPerson
        | R::PolicyDeniesAgent
        | R::TooMuchForOneToken
        | R::PartiesApart
        | R::NoLifetime => exchange(reason, bounds),
    }
}

/// Decisions on a person's own token (RFC 6749 §4.1.2.1, §5.2). The caller may be a public client: the answer
/// says nothing about the person except the reason.
fn authorization(reason: RefusalReason) -> Sentence {
    use RefusalReason as R;
    let token = reason.code();
    match reason {
        R::ResourceUnknown | R::ResourceNotDelegable => said(token, resource_unknown(None)),
        R::ScopeUnknown => said(token, "None of the scopes asked for exists here."),
        R::TooMuchForOneToken => said(
            token,
            "There are more scopes than one token can carry. Name a resource, or the scopes that are needed.",
        ),
        R::ScopeBeyondClient => said(
            token,
            "This client may ask for none of these scopes. An operator lists what it may ask for: in the scopes of its entry, or, if it describes itself, in unattested of the resource.",
        ),
        R::ScopeExceedsSubject
        | R::ScopeBeyondPerson
        | R::ScopeBeyondOwn
        | R::ScopeBeyondCeiling
        | R::ScopeBeyondProof
        | R::ScopeBeyondGrant
        | R::NothingInCommon => said(token, "The person may do none of what is asked for."),
        R::ProofOutdated => {
            said(token, "The client's credential was replaced or revoked meanwhile. Authenticate again.")
        }
        R::PersonUnknown
        | R::PersonDisabled
        | R::SubjectRevoked
        | R::SubjectExpired
        | R::SubjectNotForPresenter
        | R::SubjectKeyNotProven
        | R::SubjectIsAgent
        | R::NotOnOwnBehalf
        | R::OwnerDisabled
        | R::ActorRequired
        | R::ActorNotClient
        | R::ActorNotRequested
        | R::ActorUnknown
        | R::AgentNotActive
        | R::ChainActorNotActive
        | R::ChainActorUnattested
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
        | R::PartiesApart
        | R::NoLifetime => said(token, "The person may not be given this token."),
    }
}
