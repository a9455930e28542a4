//! Why a request is refused: one enum for the engine. Each refusal has a class by the stage at which it is
//! given.
//!
//! The `Display` text is private detail, for records and logs; the text for the caller is in [`crate::wire`].

use std::time::Duration;

use mandate_core::names::{ClientMethod, ErrorCode, GrantType, Parameter};
use mandate_core::{InvalidScope, InvalidUri, ResourceUri};
use mandate_delegation::{RefusalReason, ScopeBounds};
use mandate_token::TokenError;

use crate::device_refusal::DeviceRefusal;
use crate::foreign::{FetchError, NotVerified, Unavailable};
use crate::form::FormError;
use crate::metadata_document::{DocumentFault, NotFetched};
use crate::password::PasswordError;
use crate::pkce::PkceError;
use crate::provider_refusal::ProviderRefusal;

/// A refusal of the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    // The request's form.
    /// The form cannot be read.
    #[error("malformed form: {0}")]
    Form(#[from] FormError),
    /// A parameter of OAuth in the URL's query, beside a body (RFC 6749 §4.1.3).
    #[error("the parameter {0} is in the query of the URL")]
    InQuery(Parameter),
    /// A parameter of OAuth in the login form, beside the authorization request in the query.
    #[error("the parameter {0} is in the body of the login form")]
    InLoginForm(Parameter),
    /// The `Authorization` header is repeated, of another scheme, or not base64 of two form-encoded texts.
    #[error("malformed Authorization header: {0}")]
    AuthorizationHeader(&'static str),
    /// A required parameter is missing.
    #[error("the parameter {0} is missing")]
    Missing(Parameter),
    /// A parameter has no acceptable value.
    #[error("the parameter {0} is not acceptable")]
    Unacceptable(Parameter),
    /// A parameter that belongs to another grant type, or to a parameter that is absent.
    #[error("the parameter {0} has no place here")]
    Misplaced(Parameter),
    /// Another grant type than these.
    #[error("unsupported grant type")]
    GrantType(Vec<GrantType>),
    // The client.
    /// More than one authentication method (RFC 6749 §2.3).
    #[error("more than one client authentication method")]
    ClientMethods,
    /// Nothing identifies the client.
    #[error("no client authentication")]
    ClientMissing,
    /// A method that is not offered, such as `client_secret_jwt`.
    #[error("unsupported client authentication method")]
    ClientMethodUnsupported,
    /// The client has proven that it knows its secret, but by another method than the one it is registered
    /// for.
    #[error("the client is registered for {0}")]
    ClientMethodOther(ClientMethod),
    /// There is no such client, it uses another method, or the secret is wrong. Only records distinguish
    /// these.
    #[error("client authentication failed: {0}")]
    ClientFailed(&'static str),
    /// The client assertion is not acceptable.
    #[error("client assertion refused: {0}")]
    ClientAssertion(TokenError),
    /// The client assertion is signed by the client, but has another audience than expected.
    #[error("client assertion refused: aud is not {0}")]
    ClientAssertionAudience(String),
    /// The client assertion's `jti` was used before.
    #[error("client assertion replayed")]
    ClientAssertionReplayed,
    /// `client_id` names another client than the credential.
    #[error("client_id is not the authenticated client")]
    ClientIdMismatch,
    /// The client may not use this grant type or endpoint.
    #[error("this client may not do that: {0}")]
    ClientNotAllowed(NotAllowed),
    // The credentials of an exchange.
    /// The subject token is not acceptable.
    #[error("subject token refused: {0}")]
    Subject(TokenError),
    /// The subject token names another issuer, and was sent as one of ours.
    #[error("the subject token is another issuer's, sent as an access_token of ours: {0}")]
    SubjectElsewhere(TokenError),
    /// The subject token is of an issuer that we do not trust.
    #[error("the subject token's iss is neither this server nor a trusted issuer")]
    SubjectProvenance,
    /// An ID token that its issuer's entry does not let this client present, if there is such an entry.
    #[error("no entry lets this client present ID tokens of the token's issuer")]
    IdTokenNotTaken,
    /// The token of a trusted issuer is not addressed as the issuer's entry says: its `audience`.
    #[error("refused: the aud of the subject token is not {0}, or has other values too")]
    SubjectAudience(String),
    /// The actor token is not acceptable.
    #[error("actor token refused: {0}")]
    Actor(TokenError),
    /// The actor token has another audience than our issuer.
    #[error("actor token refused: aud is not {0}")]
    ActorAudience(String),
    /// The actor token's `jti` was used before.
    #[error("actor token replayed")]
    ActorReplayed,
    /// A verified token of a platform proves no agent, and why. `client`: it was sent as client assertion.
    #[error("no agent is proven by this token of a platform: {why}")]
    NoAgentProven {
        /// Whether it was sent as client assertion, and not as actor token.
        client: bool,
        /// For the record.
        why: String,
    },
    // The target and scope.
    /// No `resource`.
    #[error("no resource")]
    ResourceMissing,
    /// Not a URI that could be a resource.
    #[error("malformed resource: {0}")]
    ResourceMalformed(InvalidUri),
    /// More than one `resource`.
    #[error("more than one resource")]
    ResourceRepeated,
    /// An `audience` that is not the resource, or several different ones.
    #[error("audience differs from resource")]
    AudienceDiffers,
    /// An `audience` alone that is not a registered resource's URI.
    #[error("audience is not the URI of a registered resource")]
    AudienceUnknown(Option<ResourceUri>),
    /// A registered resource is required. With the resource that was probably meant, for callers that may
    /// know it.
    #[error("unknown resource")]
    ResourceUnknown(Option<ResourceUri>),
    /// Not the resource that the code or the refresh token was issued for.
    #[error("another resource than authorized")]
    ResourceNotAuthorized,
    /// Not a list of scope tokens.
    #[error("malformed scope: {0}")]
    ScopeMalformed(InvalidScope),
    // Authorization requests and codes.
    /// PKCE is missing or fails.
    #[error("PKCE: {0}")]
    Pkce(#[from] PkceError),
    /// Not a registered redirect URI.
    #[error("redirect_uri is not registered")]
    Redirect,
    /// Another `response_type` than `code`.
    #[error("unsupported response type")]
    ResponseType,
    /// `request` (RFC 9101 §5).
    #[error("request objects are not supported: {}", ErrorCode::RequestNotSupported)]
    RequestObject,
    /// `request_uri` (RFC 9101 §5).
    #[error("request objects are not supported: {}", ErrorCode::RequestUriNotSupported)]
    RequestUri,
    /// The client must push its requests (RFC 9126 §6), and this one was not pushed.
    #[error("the client must push its authorization requests")]
    PushRequired,
    /// `requested_actor` in a request that was not pushed: anybody who can change the address that the
    /// browser opens could change the agent.
    #[error("requested_actor in a request that was not pushed")]
    ActorNotPushed,
    /// `authorization_details` (RFC 9396 §5): no type is supported.
    #[error("no type of authorization_details is supported")]
    Details,
    /// The parameters of a pushed request are too long (RFC 9126 §2.3).
    #[error("the parameters of the pushed request are too long")]
    PushTooLarge,
    /// Not a `request_uri` that this process has given.
    #[error("a request_uri that this process has not given")]
    PushedRequestUnknown,
    /// The pushed request is another client's.
    #[error("another client's request_uri")]
    PushedRequestOtherClient,
    /// The pushed request waited too long for its browser, or the login for its end.
    #[error("expired request_uri")]
    PushedRequestExpired,
    /// A person has logged in for the pushed request before.
    #[error("request_uri used twice")]
    PushedRequestUsed,
    /// The person refused the request on the login page.
    #[error("the person refused")]
    Declined,
    /// No such code, or expired.
    #[error("unknown or expired code")]
    CodeUnknown,
    /// The code was redeemed before. The tokens from its first use are cut.
    #[error("code used twice")]
    CodeReused,
    /// The code belongs to another client.
    #[error("another client's code")]
    CodeOtherClient,
    /// `redirect_uri` is not that of the authorization request.
    #[error("redirect_uri differs from the authorization request")]
    CodeRedirect,
    /// The person gave the code for an agent, which is not proven.
    #[error("the code is for an agent, and no actor_token was sent")]
    CodeActorMissing,
    /// The person gave the code for an agent, and its actor token is not acceptable.
    #[error("the code is for an agent: {0}")]
    CodeActor(Box<RequestRefusal>),
    /// No such refresh token, or expired.
    #[error("unknown or expired refresh token")]
    RefreshUnknown,
    /// The refresh token was used before. The login that it belongs to is ended.
    #[error("refresh token used twice")]
    RefreshReused,
    /// The refresh token belongs to another client.
    #[error("another client's refresh token")]
    RefreshOtherClient,
    /// The login that the refresh token belongs to was ended.
    #[error("the login of the refresh token was ended")]
    RefreshEnded,
    /// More scopes than the login gave (RFC 6749 §6).
    #[error("a scope that the login did not give")]
    ScopeNotGranted,
    // Login.
    /// Wrong name or password.
    #[error("login failed: {0}")]
    LoginFailed(&'static str),
    /// Too many attempts. The next one is accepted after this time.
    #[error("too many login attempts")]
    LoginPaused(Duration),
    /// A login at an identity provider leads to no code.
    #[error(transparent)]
    Provider(#[from] ProviderRefusal),
    /// A device gets no token, or nobody can log in for it.
    #[error(transparent)]
    Device(#[from] DeviceRefusal),
    // Revocation.
    /// The token was issued to another client.
    #[error("another client's token")]
    NotYourToken,
    // The decision.
    /// The decision on a token exchange was a refusal.
    #[error("refused: {0}")]
    Exchange(RefusalReason),
    /// The decision on a token exchange was a refusal because of its scopes.
    #[error("refused: {0}: {whole}", whole = crate::scope_bounds::whole(.1))]
    ExchangeScopes(RefusalReason, Box<ScopeBounds>),
    /// The decision on a person's own token was a refusal.
    #[error("refused: {0}")]
    Authorization(RefusalReason),
    /// The decision on a code for an agent was a refusal; with the sets of scopes, if they are the reason.
    #[error("refused: {0}{whole}", whole = .1.as_ref().map(|bounds| format!(": {}", crate::scope_bounds::whole(bounds))).unwrap_or_default())]
    DelegatedLogin(RefusalReason, Option<Box<ScopeBounds>>),
    /// The decision on an agent's own token was a refusal; with the sets of scopes, if they are the reason.
    #[error("refused: {0}{whole}", whole = .1.as_ref().map(|bounds| format!(": {}", crate::scope_bounds::whole(bounds))).unwrap_or_default())]
    OwnBehalf(RefusalReason, Option<Box<ScopeBounds>>),
    /// A policy demands that a person approves the request, of which this is the hash.
    #[error("refused: a policy demands an approval of the request {1}")]
    ApprovalRequired(CredentialKind, String),
    // Registration.
    /// What a client that registers itself says of itself cannot be registered.
    #[error("the client is not registered: {0}")]
    Registration(RegistrationFault),
    /// The document at the client's id does not describe a client.
    #[error("the document at client_id is not acceptable: {0}")]
    MetadataDocument(DocumentFault),
    /// The document at the client's id cannot be fetched.
    #[error("the document at client_id cannot be fetched: {0}")]
    MetadataNotFetched(NotFetched),
    /// Too many clients registered themselves, from there, everywhere, or in all.
    #[error("too many clients registered themselves")]
    TooManyRegistrations,
    // The server.
    /// The record of the outcome could not be written, so there is no outcome.
    #[error("the audit log is not available")]
    AuditUnavailable,
    /// Too many passwords or client secrets are waiting to be checked.
    #[error("too many secrets are waiting to be checked")]
    Busy,
    /// The client has the maximum number of revocations in force.
    #[error("the client has too many revocations in force")]
    TooManyRevocations,
    /// The keys of a trusted issuer could not be fetched.
    #[error("keys of a trusted issuer: {error}")]
    IssuerUnavailable {
        /// The error of the fetch.
        error: FetchError,
        /// In how many seconds the answer may be different.
        retry_after: u64,
    },
    /// A trusted issuer could not be asked about an opaque token.
    #[error("a trusted issuer could not be asked about a token: {error}")]
    IntrospectionUnavailable {
        /// What went wrong.
        error: String,
        /// In how many seconds the answer may be different.
        retry_after: u64,
    },
    /// A trusted issuer's key set, fetched moments ago, lacks the key of the token. It may have been added
    /// since.
    #[error("the key of the token is not in the key set that was fetched moments ago")]
    IssuerKeyUnknown {
        /// In how many seconds the key set may be fetched again.
        retry_after: u64,
    },
    /// The store or the signer failed.
    #[error("internal: {0}")]
    Internal(String),
}

/// What cannot be registered (RFC 7591 §3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationFault {
    /// No redirect URI, too many, or one that is neither https nor loopback.
    #[error("redirect_uris")]
    Redirects,
    /// Another member, or the document as a whole; for the caller.
    #[error("{0}")]
    Metadata(&'static str),
}

/// What an authenticated or named client may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// An agent redeems no codes: they are for people's clients.
    #[error("an agent redeems no codes")]
    CodeByAgent,
    /// An agent pushes no authorization requests: people log in at their clients.
    #[error("an agent pushes no authorization requests")]
    PushByAgent,
    /// An agent refreshes no tokens: it exchanges a person's present one.
    #[error("an agent refreshes no tokens")]
    RefreshByAgent,
    /// The client's entry does not let it act while people are away.
    #[error("the client may not refresh tokens")]
    Refresh,
    /// An app gets no token of its own: authority belongs to people and to agents.
    #[error("an app gets no token of its own")]
    OwnBehalfByApp,
    /// A client that describes itself only redeems codes: nothing proves who it is.
    #[error("a client that describes itself only redeems codes")]
    Unattested,
    /// The client asks people to let an agent act that its entry does not list, or it proves nothing about
    /// itself.
    #[error("the client may not ask for this agent")]
    RequestActor,
    /// A public client exchanges no tokens: it proves nothing about itself.
    #[error("a public client exchanges no tokens")]
    ExchangeByPublicClient,
    /// The client's entry does not let people log in for it on another device.
    #[error("people may not log in for the client on another device")]
    Device,
    /// An agent is no device: it exchanges a person's token.
    #[error("nobody logs in for an agent on another device")]
    DeviceByAgent,
}

/// The stage at which a request is refused. A wire maps classes: a new refusal of a known class needs a
/// sentence only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// The request cannot be read, or its parameters do not belong together.
    Request,
    /// The parameters are longer than is accepted.
    RequestTooLarge,
    /// The `request_uri` of a pushed request is not acceptable.
    PushedRequest,
    /// The request is for something that is not offered.
    Unsupported(Unsupported),
    /// The client is not authenticated.
    Client,
    /// The document at the client's id does not describe a client.
    ClientDocument,
    /// The client is authenticated, but may not do this.
    ClientNotAllowed,
    /// A client cannot register as it describes itself.
    Registration(RegistrationFault),
    /// What is presented to obtain authority is not acceptable.
    Credential(CredentialKind),
    /// The target is missing, malformed or unknown.
    Target,
    /// The scope is malformed, or exceeds what can be given.
    Scope,
    /// The person declined, or is not authenticated.
    Person,
    /// The decision is a refusal, for another reason than target or scope.
    Decision(CredentialKind),
    /// A device waits for a person, or has waited too long.
    Device(Waiting),
    /// A limit is reached at the moment.
    Quota(Quota),
    /// The server, or something that it needs, failed.
    Ours {
        /// In how many seconds the answer may be different.
        retry_after: u64,
    },
}

/// What is presented to obtain authority. The standards have different errors for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// The tokens of an exchange (RFC 8693 §2.2.2).
    Tokens,
    /// A code, a refresh token, a login, or a token to be revoked (RFC 6749 §5.2).
    Grant,
    /// Nothing but the client's own authentication (RFC 6749 §4.4).
    Client,
}

/// What is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The value of `grant_type` (RFC 6749 §5.2).
    GrantType,
    /// The value of `response_type` (RFC 6749 §4.1.2.1).
    ResponseType,
    /// Request objects (RFC 9101 §5.1), in the parameter `request`.
    RequestObject,
    /// References to request objects.
    RequestUri,
    /// `authorization_details` (RFC 9396 §5).
    Details,
}

/// How a device waits for a person (RFC 8628 §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It may ask again.
    Pending,
    /// It may ask again, less often than before.
    TooOften,
    /// It has waited too long.
    Over,
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Attempts to log in.
    Logins {
        /// After which time the next one is accepted.
        pause: Duration,
    },
    /// Secrets that wait to be checked. Anybody can cause this.
    Checks,
    /// Revocations of one client.
    Revocations,
    /// Clients that register themselves.
    Registrations,
    /// Devices that wait.
    Devices,
    /// Documents of clients that can be fetched now. Anybody can name one that cannot.
    Documents,
}

/// For `Retry-After`, in seconds: the next try may succeed at once.
const SOON: u64 = 1;

impl RequestRefusal {
    /// The stage at which it is given.
    pub fn class(&self) -> RefusalClass {
        use RefusalClass as C;
        match self {
            Self::Form(_)
            | Self::InQuery(_)
            | Self::InLoginForm(_)
            | Self::AuthorizationHeader(_)
            | Self::Missing(_)
            | Self::Unacceptable(_)
            | Self::Misplaced(_)
            | Self::ClientMethods
            | Self::PushRequired
            | Self::ActorNotPushed
            | Self::Redirect => C::Request,
            Self::PushTooLarge => C::RequestTooLarge,
            Self::PushedRequestUnknown
            | Self::PushedRequestOtherClient
            | Self::PushedRequestExpired
            | Self::PushedRequestUsed => C::PushedRequest,
            Self::Pkce(error) => pkce(*error),
            Self::GrantType(_) => C::Unsupported(Unsupported::GrantType),
            Self::ResponseType => C::Unsupported(Unsupported::ResponseType),
            Self::RequestObject => C::Unsupported(Unsupported::RequestObject),
            Self::RequestUri => C::Unsupported(Unsupported::RequestUri),
            Self::Details => C::Unsupported(Unsupported::Details),
            Self::ClientMissing
            | Self::ClientMethodUnsupported
            | Self::ClientMethodOther(_)
            | Self::ClientFailed(_)
            | Self::ClientAssertion(_)
            | Self::ClientAssertionAudience(_)
            | Self::ClientAssertionReplayed
            | Self::NoAgentProven { client: true, .. }
            | Self::ClientIdMismatch => C::Client,
            Self::MetadataDocument(_) => C::ClientDocument,
            Self::MetadataNotFetched(_) => C::Quota(Quota::Documents),
            Self::ClientNotAllowed(_) => C::ClientNotAllowed,
            Self::Subject(_)
            | Self::SubjectElsewhere(_)
            | Self::SubjectProvenance
            | Self::IdTokenNotTaken
            | Self::Actor(_)
            | Self::ActorAudience(_)
            | Self::ActorReplayed
            | Self::NoAgentProven { client: false, .. } => C::Credential(CredentialKind::Tokens),
            Self::CodeUnknown
            | Self::CodeReused
            | Self::CodeOtherClient
            | Self::CodeRedirect
            | Self::CodeActorMissing
            | Self::RefreshUnknown
            | Self::RefreshReused
            | Self::RefreshOtherClient
            | Self::RefreshEnded
            | Self::NotYourToken => C::Credential(CredentialKind::Grant),
            Self::ResourceMissing
            | Self::ResourceMalformed(_)
            | Self::ResourceRepeated
            | Self::AudienceDiffers
            | Self::AudienceUnknown(_)
            | Self::ResourceUnknown(_)
            | Self::ResourceNotAuthorized => C::Target,
            Self::ScopeMalformed(_) | Self::ScopeNotGranted => C::Scope,
            Self::Declined | Self::LoginFailed(_) => C::Person,
            Self::SubjectAudience(_) => C::Decision(CredentialKind::Tokens),
            Self::Exchange(reason) | Self::ExchangeScopes(reason, _) => {
                decision(*reason, CredentialKind::Tokens)
            }
            Self::Authorization(reason) | Self::DelegatedLogin(reason, _) => {
                decision(*reason, CredentialKind::Grant)
            }
            Self::CodeActor(why) => {
                let class = why.class();
                // What is wrong with the actor token is wrong with what is presented with the code.
                if class == C::Credential(CredentialKind::Tokens) {
                    C::Credential(CredentialKind::Grant)
                } else {
                    class
                }
            }
            Self::OwnBehalf(reason, _) => decision(*reason, CredentialKind::Client),
            Self::ApprovalRequired(presented, _) => C::Decision(*presented),
            Self::Provider(refusal) => refusal.class(),
            Self::Device(refusal) => device(refusal),
            Self::LoginPaused(pause) => C::Quota(Quota::Logins { pause: *pause }),
            Self::Registration(fault) => C::Registration(*fault),
            Self::TooManyRegistrations => C::Quota(Quota::Registrations),
            Self::Busy => C::Quota(Quota::Checks),
            Self::TooManyRevocations => C::Quota(Quota::Revocations),
            Self::AuditUnavailable | Self::Internal(_) => C::Ours { retry_after: SOON },
            Self::IssuerUnavailable { retry_after, .. }
            | Self::IntrospectionUnavailable { retry_after, .. }
            | Self::IssuerKeyUnknown { retry_after } => C::Ours { retry_after: *retry_after },
        }
    }
}

/// A wrong challenge is a malformed request (RFC 7636 §4.4.1), a wrong verifier an invalid grant (§4.6).
fn pkce(error: PkceError) -> RefusalClass {
    match error {
        PkceError::ChallengeMissing
        | PkceError::Method
        | PkceError::ChallengeForm
        | PkceError::VerifierMissing => RefusalClass::Request,
        PkceError::VerifierForm | PkceError::Mismatch => RefusalClass::Credential(CredentialKind::Grant),
    }
}

fn device(refusal: &DeviceRefusal) -> RefusalClass {
    use DeviceRefusal as D;
    use RefusalClass as C;
    match refusal {
        D::Pending => C::Device(Waiting::Pending),
        D::SlowDown => C::Device(Waiting::TooOften),
        D::Expired => C::Device(Waiting::Over),
        D::CodeUnknown | D::CodeReused | D::CodeOtherClient => C::Credential(CredentialKind::Grant),
        D::Refused | D::UserCodeUnknown => C::Person,
        D::TooManyGuesses(pause) => C::Quota(Quota::Logins { pause: *pause }),
        D::TooManyDevices => C::Quota(Quota::Devices),
    }
}

/// A decision's reason may concern the client, the target or the scope. Otherwise it is the decision's own.
fn decision(reason: RefusalReason, presented: CredentialKind) -> RefusalClass {
    use RefusalReason as R;
    match reason {
        R::ProofOutdated => RefusalClass::Client,
        R::NotOnOwnBehalf | R::OwnerDisabled => RefusalClass::ClientNotAllowed,
        // Where nothing but the agent is proven, it is the client that is not known, or stopped.
        R::ActorUnknown | R::AgentNotActive if presented == CredentialKind::Client => RefusalClass::Client,
        R::ResourceUnknown | R::ResourceNotDelegable => RefusalClass::Target,
        R::ScopeExceedsSubject
        | R::ScopeUnknown
        | R::ScopeBeyondClient
        | R::ScopeBeyondPerson
        | R::ScopeBeyondOwn
        | R::ScopeBeyondCeiling
        | R::ScopeBeyondProof
        | R::ScopeBeyondGrant
        | R::NothingInCommon
        | R::TooMuchForOneToken => RefusalClass::Scope,
        R::ClientMayNotPresent => match presented {
            CredentialKind::Tokens => RefusalClass::ClientNotAllowed,
            CredentialKind::Grant | CredentialKind::Client => RefusalClass::Decision(presented),
        },
        R::PersonUnknown
        | R::PersonDisabled
        | R::SubjectRevoked
        | R::SubjectExpired
        | R::SubjectNotForPresenter
        | R::SubjectKeyNotProven
        | R::SubjectIsAgent
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
        | R::NoGrant
        | R::GrantRevoked
        | R::GrantExpired
        | R::GrantExhausted
        | R::PolicyDeniesPerson
        | R::PolicyDeniesAgent
        | R::PartiesApart
        | R::NoLifetime => RefusalClass::Decision(presented),
    }
}

impl RequestRefusal {
    /// Of a token of another issuer. `refused`: the refusal if the token is the reason.
    pub(crate) fn unverified(error: NotVerified, refused: impl FnOnce(TokenError) -> Self) -> Self {
        match error {
            NotVerified::Token(error) => refused(error),
            NotVerified::Unavailable(Unavailable { error, retry_after }) => {
                Self::IssuerUnavailable { error, retry_after: whole_seconds(retry_after) }
            }
            NotVerified::KeyUnknown { retry_after } => {
                Self::IssuerKeyUnknown { retry_after: whole_seconds(retry_after) }
            }
        }
    }
}

/// For `Retry-After`: never 0, and never too early.
fn whole_seconds(span: Duration) -> u64 {
    span.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

impl From<PasswordError> for RequestRefusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Length | PasswordError::Hash(_) => Self::Internal(error.to_string()),
        }
    }
}
