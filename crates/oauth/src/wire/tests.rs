use std::time::Duration;

use mandate_core::names::{ClientMethod, ErrorCode, GrantType, Parameter};
use mandate_core::{InvalidActorChain, InvalidScope, Subject};
use mandate_delegation::{RefusalReason, ScopeBounds};
use mandate_token::TokenError;

use crate::device_refusal::DeviceRefusal;
use crate::foreign::FetchError;
use crate::form::FormError;
use crate::metadata_document::{DocumentFault, NotFetched};
use crate::pkce::PkceError;
use crate::provider_refusal::ProviderRefusal;
use crate::refusal::{CredentialKind, NotAllowed, RegistrationFault, RequestRefusal};
use crate::wire::{Fault, OAuthError};

/// Compiles only while it names every variant.
fn listed(refusal: &RequestRefusal) {
    use RequestRefusal as R;
    match refusal {
        R::Form(_)
        | R::InQuery(_)
        | R::InLoginForm(_)
        | R::AuthorizationHeader(_)
        | R::Missing(_)
        | R::Unacceptable(_)
        | R::Misplaced(_)
        | R::GrantType(_)
        | R::ClientMethods
        | R::ClientMissing
        | R::ClientMethodUnsupported
        | R::ClientMethodOther(_)
        | R::ClientFailed(_)
        | R::ClientAssertion(_)
        | R::ClientAssertionAudience(_)
        | R::ClientAssertionReplayed
        | R::ClientIdMismatch
        | R::ClientNotAllowed(_)
        | R::Subject(_)
        | R::SubjectElsewhere(_)
        | R::SubjectProvenance
        | R::IdTokenNotTaken
        | R::SubjectAudience(_)
        | R::Actor(_)
        | R::ActorAudience(_)
        | R::ActorReplayed
        | R::NoAgentProven { .. }
        | R::ResourceMissing
        | R::ResourceMalformed(_)
        | R::ResourceRepeated
        | R::AudienceDiffers
        | R::AudienceUnknown(_)
        | R::ResourceUnknown(_)
        | R::ResourceNotAuthorized
        | R::ScopeMalformed(_)
        | R::Pkce(_)
        | R::Redirect
        | R::ResponseType
        | R::RequestObject
        | R::RequestUri
        | R::PushRequired
        | R::ActorNotPushed
        | R::Details
        | R::PushTooLarge
        | R::PushedRequestUnknown
        | R::PushedRequestOtherClient
        | R::PushedRequestExpired
        | R::PushedRequestUsed
        | R::Declined
        | R::CodeUnknown
        | R::CodeReused
        | R::CodeOtherClient
        | R::CodeRedirect
        | R::CodeActorMissing
        | R::CodeActor(_)
        | R::RefreshUnknown
        | R::RefreshReused
        | R::RefreshOtherClient
        | R::RefreshEnded
        | R::ScopeNotGranted
        | R::LoginFailed(_)
        | R::LoginPaused(_)
        | R::Provider(_)
        | R::Device(_)
        | R::NotYourToken
        | R::Exchange(_)
        | R::ExchangeScopes(..)
        | R::Authorization(_)
        | R::DelegatedLogin(..)
        | R::OwnBehalf(..)
        | R::ApprovalRequired(..)
        | R::AuditUnavailable
        | R::Busy
        | R::TooManyRevocations
        | R::Registration(_)
        | R::TooManyRegistrations
        | R::MetadataDocument(_)
        | R::MetadataNotFetched(_)
        | R::IssuerUnavailable { .. }
        | R::IntrospectionUnavailable { .. }
        | R::IssuerKeyUnknown { .. }
        | R::Internal(_) => {}
    }
}

/// One of each refusal of a login at a provider.
fn of_providers() -> [ProviderRefusal; 13] {
    use ProviderRefusal as P;
    let listed = |refusal: &P| match refusal {
        P::Unknown
        | P::NotBegun(_)
        | P::Replayed
        | P::Declined(_)
        | P::Answer(_)
        | P::IdToken(_)
        | P::Stranger(_)
        | P::Logout(_)
        | P::LogoutReplayed
        | P::EventsOff
        | P::EventBody(_)
        | P::Event(_)
        | P::Unavailable { .. } => {}
    };
    let stranger = Subject { iss: "https://login.example".parse().unwrap(), sub: "secret".into() };
    let all = [
        P::Unknown,
        P::NotBegun("secret"),
        P::Replayed,
        P::Declined("secret".into()),
        P::Answer("secret".into()),
        P::IdToken(TokenError::Expired),
        P::Stranger(stranger),
        P::Logout(TokenError::Audience),
        P::LogoutReplayed,
        P::EventsOff,
        P::EventBody("it is empty"),
        P::Event(TokenError::Audience),
        P::Unavailable { error: "secret".into(), retry_after: 10 },
    ];
    all.iter().for_each(listed);
    all
}

/// One of each variant; [`listed`] makes a new one a compile error here.
#[expect(clippy::too_many_lines, reason = "a list with a line for each")]
fn every() -> Vec<RequestRefusal> {
    use RequestRefusal as R;
    let mut all = vec![
        R::Form(FormError::Repeated("scope".into())),
        R::InQuery(Parameter::Scope),
        R::InLoginForm(Parameter::Scope),
        R::AuthorizationHeader("x"),
        R::Missing(Parameter::Code),
        R::Unacceptable(Parameter::Scope),
        R::Misplaced(Parameter::ActorToken),
        R::GrantType(GrantType::ALL.to_vec()),
        R::ClientMethods,
        R::ClientMissing,
        R::ClientMethodUnsupported,
        R::ClientMethodOther(ClientMethod::ClientSecretPost),
        R::ClientAssertionAudience("https://m.example".into()),
        R::ActorAudience("https://m.example".into()),
        R::ClientFailed("secret"),
        R::ClientAssertion(TokenError::Expired),
        R::ClientAssertionReplayed,
        R::ClientIdMismatch,
        R::ClientNotAllowed(NotAllowed::CodeByAgent),
        R::ClientNotAllowed(NotAllowed::ExchangeByPublicClient),
        R::ClientNotAllowed(NotAllowed::OwnBehalfByApp),
        R::ClientNotAllowed(NotAllowed::PushByAgent),
        R::Subject(TokenError::Signature),
        R::SubjectElsewhere(TokenError::Issuer),
        R::SubjectProvenance,
        R::IdTokenNotTaken,
        R::SubjectAudience("say \"caf\u{e9}\" \\".into()),
        R::Actor(TokenError::Claim { claim: "act", why: "an actor token carries no act" }),
        R::ActorReplayed,
        R::NoAgentProven { client: true, why: "secret".into() },
        R::NoAgentProven { client: false, why: "secret".into() },
        R::ResourceMissing,
        R::ResourceRepeated,
        R::AudienceDiffers,
        R::AudienceUnknown(None),
        R::ResourceUnknown(None),
        R::ResourceUnknown("https://crm.example/api?x=1".parse().ok()),
        R::ResourceNotAuthorized,
        R::Redirect,
        R::ResponseType,
        R::RequestObject,
        R::RequestUri,
        R::PushRequired,
        R::ActorNotPushed,
        R::Details,
        R::ClientNotAllowed(NotAllowed::RequestActor),
        R::PushTooLarge,
        R::PushedRequestUnknown,
        R::PushedRequestOtherClient,
        R::PushedRequestExpired,
        R::PushedRequestUsed,
        R::Declined,
        R::CodeUnknown,
        R::CodeReused,
        R::CodeOtherClient,
        R::CodeRedirect,
        R::CodeActorMissing,
        R::CodeActor(Box::new(R::ActorReplayed)),
        R::CodeActor(Box::new(R::Internal("secret detail".into()))),
        R::RefreshUnknown,
        R::RefreshReused,
        R::RefreshOtherClient,
        R::RefreshEnded,
        R::ScopeNotGranted,
        R::ClientNotAllowed(NotAllowed::RefreshByAgent),
        R::ClientNotAllowed(NotAllowed::Refresh),
        R::LoginFailed("x"),
        R::LoginPaused(Duration::from_secs(1)),
        R::NotYourToken,
        R::ApprovalRequired(CredentialKind::Tokens, "cL4".into()),
        R::ApprovalRequired(CredentialKind::Grant, "cL4".into()),
        R::ApprovalRequired(CredentialKind::Client, "cL4".into()),
        R::AuditUnavailable,
        R::Busy,
        R::TooManyRevocations,
        R::IssuerUnavailable { error: FetchError::Timeout("https://login.example".into()), retry_after: 10 },
        R::IntrospectionUnavailable { error: "secret".into(), retry_after: 1 },
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
    all.extend(of_providers().map(R::Provider));
    let uris = [
        "",
        "\"",
        "urn:x",
        "https:",
        "https://x#",
        "https://u@x",
        "https://x/%41",
        "https://X",
        "https://x/..",
    ];
    all.extend(uris.map(|uri| R::ResourceMalformed(uri.parse::<mandate_core::ResourceUri>().unwrap_err())));
    all.push(R::ResourceMalformed(mandate_core::InvalidUri::TooLong));
    let scopes = [InvalidScope::Empty, InvalidScope::Character, InvalidScope::TooLong, InvalidScope::TooMany];
    all.extend(scopes.map(R::ScopeMalformed));
    all.extend(of_clients_that_describe_themselves());
    all.extend(of_devices());
    all.extend(decisions());
    for error in token_errors() {
        all.extend([
            R::Subject(error.clone()),
            R::SubjectElsewhere(error.clone()),
            R::Actor(error.clone()),
            R::ClientAssertion(error),
        ]);
    }
    all.iter().for_each(listed);
    all
}

/// One of each refusal of a device.
fn of_devices() -> Vec<RequestRefusal> {
    use DeviceRefusal as D;
    let listed = |refusal: &D| match refusal {
        D::Pending
        | D::SlowDown
        | D::Refused
        | D::Expired
        | D::CodeUnknown
        | D::CodeReused
        | D::CodeOtherClient
        | D::UserCodeUnknown
        | D::TooManyGuesses(_)
        | D::TooManyDevices => {}
    };
    let all = [
        D::Pending,
        D::SlowDown,
        D::Refused,
        D::Expired,
        D::CodeUnknown,
        D::CodeReused,
        D::CodeOtherClient,
        D::UserCodeUnknown,
        D::TooManyGuesses(Duration::from_secs(1)),
        D::TooManyDevices,
    ];
    all.iter().for_each(listed);
    let not_allowed = [NotAllowed::Device, NotAllowed::DeviceByAgent].map(RequestRefusal::ClientNotAllowed);
    all.map(RequestRefusal::Device).into_iter().chain(not_allowed).collect()
}

fn of_clients_that_describe_themselves() -> Vec<RequestRefusal> {
    use RequestRefusal as R;
    vec![
        R::Registration(RegistrationFault::Redirects),
        R::Registration(RegistrationFault::Metadata("The body must be application/json.")),
        R::TooManyRegistrations,
        R::MetadataDocument(DocumentFault::Redirects),
        R::MetadataNotFetched(NotFetched::Address("169.254.169.254".into())),
        R::ClientNotAllowed(NotAllowed::Unattested),
    ]
}

/// One of each decision on each kind of request.
fn decisions() -> Vec<RequestRefusal> {
    use RequestRefusal as R;
    let mut all = Vec::new();
    let bounds = ScopeBounds {
        asked: "read:a".parse().unwrap(),
        person: Some("!#[]~".parse().unwrap()),
        ..ScopeBounds::default()
    };
    all.extend(RefusalReason::ALL.iter().map(|reason| R::ExchangeScopes(*reason, Box::new(bounds.clone()))));
    all.extend(RefusalReason::ALL.iter().map(|reason| R::Exchange(*reason)));
    let own = ScopeBounds { own: Some("read:b".parse().unwrap()), person: None, ..bounds };
    all.push(R::OwnBehalf(RefusalReason::ScopeBeyondOwn, Some(Box::new(own))));
    all.extend(RefusalReason::ALL.iter().map(|reason| R::OwnBehalf(*reason, None)));
    all.extend(RefusalReason::ALL.iter().map(|reason| R::Authorization(*reason)));
    all.extend(RefusalReason::ALL.iter().map(|reason| R::DelegatedLogin(*reason, None)));
    all
}

/// One of each way in which a token can be wrong.
fn token_errors() -> Vec<TokenError> {
    use TokenError as E;
    vec![
        E::TooLarge,
        E::Malformed("not three parts"),
        E::DuplicateMember,
        E::TooDeep,
        E::Header("jku".into()),
        E::Algorithm("none".into()),
        E::Type("jwt".into()),
        E::UnknownKey(Some("k1".into())),
        E::AmbiguousKey("k1".into()),
        E::Signature,
        E::SignatureOfUnnamedKey,
        E::MissingClaim("sub"),
        E::Claim { claim: "aud", why: "not a text" },
        E::Issuer,
        E::Audience,
        E::Expired,
        E::NotYetValid,
        E::Lifetime,
        E::Age,
        E::ActorChain(InvalidActorChain::Loop),
        E::TrustDomain,
        E::MappedClaim { claim: "groups".into(), why: "not a list of groups" },
    ]
}

/// A line for each refusal: what the caller gets, and whose fault it is.
fn answers() -> String {
    let line = |refusal: RequestRefusal| {
        let OAuthError { status, error, description, www_authenticate, retry_after, fault, .. } =
            refusal.to_error();
        let challenge = www_authenticate.unwrap_or_default();
        let retry = retry_after.map(|seconds| format!(" retry={seconds}")).unwrap_or_default();
        format!("{status} {error} {fault:?}{retry} [{challenge}] {description}\n")
    };
    every().into_iter().map(line).collect()
}

#[test]
fn every_answer_is_as_recorded() {
    const WRITE: &str = "MANDATE_WRITE_ANSWERS";
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/answers.txt"), answers()).unwrap();
    }
    let (found, recorded) = (answers(), include_str!("answers.txt"));
    for (found, recorded) in found.lines().zip(recorded.lines()) {
        assert_eq!(
            found, recorded,
            "if it is meant, set {WRITE}, run this test twice, and commit wire/answers.txt"
        );
    }
    assert_eq!(found.lines().count(), recorded.lines().count(), "set {WRITE}");
}

#[test]
fn every_refusal_is_a_well_formed_error() {
    for refusal in every() {
        let error = refusal.to_error();
        assert!(matches!(error.status, 400 | 401 | 413 | 503), "never a 500: {refusal:?}");
        assert_eq!(error.status == 413, matches!(refusal, RequestRefusal::PushTooLarge), "RFC 9126 §2.3");
        // RFC 6749 §5.2: 400 is the rule. A document that describes no client fails before anything
        // authenticates, at an endpoint of browsers, too.
        let unauthenticated = error.error == ErrorCode::InvalidClient
            && !matches!(refusal, RequestRefusal::MetadataDocument(_));
        assert_eq!(error.status == 401, unauthenticated, "{refusal:?}");
        assert_eq!(error.www_authenticate.is_some(), error.status == 401, "{refusal:?}");
        // RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
        assert!(
            error.description.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\'),
            "{}",
            error.description
        );
        let (token, sentence) = error.description.split_once(": ").unwrap();
        assert!(token.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{token}");
        assert!(sentence.ends_with(['.', '?']), "{sentence}");
        assert_eq!(refusal.code(), token);
    }
}

#[test]
fn what_a_crowd_or_a_caller_can_cause_at_will_is_no_fault_of_the_server() {
    for refusal in every() {
        let error = refusal.to_error();
        let expected = match refusal {
            RequestRefusal::Busy => Fault::Crowd,
            RequestRefusal::TooManyRevocations
            | RequestRefusal::TooManyRegistrations
            | RequestRefusal::Device(DeviceRefusal::TooManyDevices)
            | RequestRefusal::MetadataNotFetched(_) => Fault::Caller,
            _ if error.status < 500 => Fault::Caller,
            _ => Fault::Server,
        };
        assert_eq!(error.fault, expected, "{refusal:?}");
    }
}

#[test]
fn bad_subject_and_actor_inputs_are_invalid_request() {
    for refusal in [
        RequestRefusal::Subject(TokenError::Expired),
        RequestRefusal::Actor(TokenError::Signature),
        RequestRefusal::Exchange(RefusalReason::MayActMismatch),
        RequestRefusal::Exchange(RefusalReason::ActorRequired),
        RequestRefusal::Exchange(RefusalReason::ChainTooDeep),
        RequestRefusal::Exchange(RefusalReason::SubjectRevoked),
    ] {
        assert_eq!(
            refusal.to_error().error,
            ErrorCode::InvalidRequest,
            "RFC 8693 section 2.2.2: {refusal:?}"
        );
    }
}

#[test]
fn an_actor_of_another_trust_domain_is_told_what_an_actor_token_is() {
    assert_eq!(
        RequestRefusal::Actor(TokenError::TrustDomain).to_error().description,
        "actor_token_refused: The actor token is refused: trust_domain. An actor token is a JWT-SVID of this trust domain, or the token of a platform that an agent's entry names."
    );
}

#[test]
fn private_detail_stays_private() {
    let error = RequestRefusal::Internal("secret detail".into()).to_error();
    assert!(!error.to_json().contains("secret detail") && error.private.contains("secret detail"));
    let (unknown, wrong) =
        (RequestRefusal::ClientFailed("unknown client"), RequestRefusal::ClientFailed("wrong secret"));
    assert_eq!(
        unknown.to_error().to_json(),
        wrong.to_error().to_json(),
        "which of both is nobody's business"
    );
}

#[test]
fn every_refusal_is_in_the_documentation_with_its_status_and_error() {
    const DOCUMENTED: &str = include_str!("../../../../docs/src/errors.md");
    let rows: Vec<&str> = DOCUMENTED.lines().filter(|line| line.starts_with("| `")).collect();
    for refusal in every() {
        let OAuthError { status, error, .. } = refusal.to_error();
        let code = refusal.code();
        let start = format!("| `{code}` | {status} | ");
        let found = rows
            .iter()
            .filter_map(|row| row.strip_prefix(&start))
            .any(|rest| rest.split('|').next().is_some_and(|cell| cell.contains(&format!("`{error}`"))));
        // What is said below the tables: a decision on a code is an invalid_grant.
        let of_person = error == ErrorCode::InvalidGrant
            && matches!(
                refusal,
                RequestRefusal::Authorization(_)
                    | RequestRefusal::DelegatedLogin(..)
                    | RequestRefusal::CodeActor(_)
                    | RequestRefusal::ApprovalRequired(CredentialKind::Grant, _)
            )
            && rows.iter().any(|row| row.starts_with(&format!("| `{code}` |")));
        // As is said there too: a decision on an agent's own token is about the client.
        let of_agent = matches!(error, ErrorCode::UnauthorizedClient | ErrorCode::InvalidClient)
            && matches!(
                refusal,
                RequestRefusal::OwnBehalf(..) | RequestRefusal::ApprovalRequired(CredentialKind::Client, _)
            )
            && rows.iter().any(|row| row.starts_with(&format!("| `{code}` |")));
        assert!(found || of_person || of_agent, "{code} {status} {error}");
    }
}
