//! The names that OAuth defines, each written once, and only those that are used here.
//!
//! A test compares them with the dated copies of the registries in `crates/core/registries/`: a name that is
//! misspelt, or that no standard defines, fails the test. There is no copy of the registries of parameters,
//! response types, challenge methods and access token types: each of those names cites its section.
//!
//! `cargo xtask tidy` refuses them as literal texts in shipped code, except where a name is also an ordinary
//! word or a claim.

macro_rules! names {
    ($(#[$doc:meta])* $set:ident { $($(#[$of_one:meta])* $one:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $set { $($(#[$of_one])* $one,)+ }

        impl $set {
            /// All values, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$one,)+];

            /// The name as it is sent.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$one => $name,)+ }
            }

            /// The value with exactly this name, compared bytewise.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }

        impl AsRef<str> for $set {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// The grant types that are offered.
    GrantType {
        /// RFC 6749 §4.1.3.
        AuthorizationCode = "authorization_code",
        /// RFC 6749 §6.
        RefreshToken = "refresh_token",
        /// RFC 6749 §4.4.2.
        ClientCredentials = "client_credentials",
        /// RFC 8693 §2.1.
        TokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange",
    }
}

names! {
    /// The token types that are understood (RFC 8693 §3).
    TokenType {
        /// An access token that we issued.
        AccessToken = "urn:ietf:params:oauth:token-type:access_token",
        /// Any JWT: a token of another issuer, or an agent's JWT-SVID.
        Jwt = "urn:ietf:params:oauth:token-type:jwt",
        /// An ID token of another issuer (RFC 8693 §3).
        IdToken = "urn:ietf:params:oauth:token-type:id_token",
    }
}

names! {
    /// The client authentication methods that are offered (RFC 7591 §2).
    ClientMethod {
        /// A JWT-SVID as assertion (OAuth SPIFFE client authentication §3.1, §4).
        SpiffeJwt = "spiffe_jwt",
        /// An assertion signed by the client's own key (RFC 7523 §2.2).
        PrivateKeyJwt = "private_key_jwt",
        /// Id and secret in the `Authorization` header (RFC 6749 §2.3.1).
        ClientSecretBasic = "client_secret_basic",
        /// Id and secret in the body (RFC 6749 §2.3.1).
        ClientSecretPost = "client_secret_post",
        /// A public client, which names itself and proves nothing.
        None = "none",
    }
}

impl ClientMethod {
    /// The methods that prove something.
    pub fn proofs() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|method| *method != Self::None)
    }
}

names! {
    /// What `client_assertion_type` may say (RFC 7521 §4.2).
    AssertionType {
        /// `private_key_jwt` (RFC 7523 §2.2).
        JwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        /// `spiffe_jwt` (OAuth SPIFFE client authentication §3.1).
        JwtSpiffe = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
    }
}

names! {
    /// The error codes.
    ErrorCode {
        /// RFC 6749 §5.2, RFC 6750 §3.1.
        InvalidRequest = "invalid_request",
        /// RFC 6749 §5.2.
        InvalidClient = "invalid_client",
        /// RFC 6749 §5.2.
        InvalidGrant = "invalid_grant",
        /// RFC 6749 §5.2.
        UnauthorizedClient = "unauthorized_client",
        /// RFC 6749 §5.2.
        UnsupportedGrantType = "unsupported_grant_type",
        /// RFC 6749 §5.2.
        InvalidScope = "invalid_scope",
        /// RFC 8707 §2, RFC 8693 §2.2.2.
        InvalidTarget = "invalid_target",
        /// RFC 7591 §3.2.2.
        InvalidRedirectUri = "invalid_redirect_uri",
        /// RFC 7591 §3.2.2.
        InvalidClientMetadata = "invalid_client_metadata",
        /// RFC 6749 §4.1.2.1.
        AccessDenied = "access_denied",
        /// RFC 6749 §4.1.2.1.
        UnsupportedResponseType = "unsupported_response_type",
        /// RFC 6749 §4.1.2.1.
        TemporarilyUnavailable = "temporarily_unavailable",
        /// `OpenID` Connect Core §3.1.2.6.
        RequestNotSupported = "request_not_supported",
        /// `OpenID` Connect Core §3.1.2.6.
        RequestUriNotSupported = "request_uri_not_supported",
        /// RFC 6750 §3.1.
        InvalidToken = "invalid_token",
        /// RFC 6750 §3.1.
        InsufficientScope = "insufficient_scope",
    }
}

names! {
    /// The response types that are offered.
    ResponseType {
        /// RFC 6749 §3.1.1.
        Code = "code",
    }
}

names! {
    /// The code challenge methods that are offered.
    ChallengeMethod {
        /// RFC 7636 §4.2.
        S256 = "S256",
    }
}

names! {
    /// How an access token is used: the `token_type` of an answer, and the scheme of the `Authorization`
    /// header.
    AccessTokenType {
        /// RFC 6750 §2.1, §6.1.1.
        Bearer = "Bearer",
    }
}

names! {
    /// The parameters of an answer, in the query of a redirect or in a JSON body, that clients of ours read
    /// or that have no type of their own.
    ResponseParameter {
        /// RFC 6749 §5.1.
        AccessToken = "access_token",
        /// RFC 6749 §4.1.2.
        Code = "code",
        /// RFC 6749 §4.1.2.1, §5.2.
        Error = "error",
        /// RFC 6749 §4.1.2.1, §5.2.
        ErrorDescription = "error_description",
        /// `OpenID` Connect Core §3.1.3.3.
        IdToken = "id_token",
        /// RFC 9207 §2.
        Iss = "iss",
        /// RFC 6749 §4.1.2, §4.1.2.1.
        State = "state",
    }
}

names! {
    /// The members of an introspection answer that are not claims of the token (RFC 7662 §2.2).
    IntrospectionMember {
        /// Whether the token counts.
        Active = "active",
        /// How the token is used: an [`AccessTokenType`].
        TokenType = "token_type",
    }
}

names! {
    /// Every OAuth parameter that an endpoint of ours, or a similar one, reads. In a URL's query beside a
    /// body, or in a body beside the query of an authorization request, there would be a second place for the
    /// same value.
    Parameter {
        /// RFC 6750 §2.2.
        AccessToken = "access_token",
        /// RFC 8693 §2.1.
        ActorToken = "actor_token",
        /// RFC 8693 §2.1.
        ActorTokenType = "actor_token_type",
        /// RFC 7521 §4.1.
        Assertion = "assertion",
        /// RFC 8693 §2.1.
        Audience = "audience",
        /// RFC 9396 §2.
        AuthorizationDetails = "authorization_details",
        /// RFC 7521 §4.2.
        ClientAssertion = "client_assertion",
        /// RFC 7521 §4.2.
        ClientAssertionType = "client_assertion_type",
        /// RFC 6749 §2.3.1.
        ClientId = "client_id",
        /// RFC 6749 §2.3.1.
        ClientSecret = "client_secret",
        /// RFC 6749 §4.1.3.
        Code = "code",
        /// RFC 7636 §4.3.
        CodeChallenge = "code_challenge",
        /// RFC 7636 §4.3.
        CodeChallengeMethod = "code_challenge_method",
        /// RFC 7636 §4.5.
        CodeVerifier = "code_verifier",
        /// RFC 8628 §3.4.
        DeviceCode = "device_code",
        /// RFC 9449 §10.
        DpopJkt = "dpop_jkt",
        /// RFC 6749 §4.1.3.
        GrantType = "grant_type",
        /// `OpenID` Connect Back-Channel Logout §2.5.
        LogoutToken = "logout_token",
        /// RFC 6749 §4.3.2.
        Password = "password",
        /// RFC 6749 §4.1.1.
        RedirectUri = "redirect_uri",
        /// RFC 6749 §6.
        RefreshToken = "refresh_token",
        /// RFC 9101 §5.
        Request = "request",
        /// RFC 9101 §5.
        RequestUri = "request_uri",
        /// draft-oauth-ai-agents-on-behalf-of-user-02 §4.1.
        RequestedActor = "requested_actor",
        /// RFC 8693 §2.1.
        RequestedTokenType = "requested_token_type",
        /// RFC 8707 §2.
        Resource = "resource",
        /// OAuth 2.0 Multiple Response Type Encoding Practices §2.1.
        ResponseMode = "response_mode",
        /// RFC 6749 §4.1.1.
        ResponseType = "response_type",
        /// RFC 6749 §3.3.
        Scope = "scope",
        /// RFC 6749 §4.1.1.
        State = "state",
        /// RFC 8693 §2.1.
        SubjectToken = "subject_token",
        /// RFC 8693 §2.1.
        SubjectTokenType = "subject_token_type",
        /// RFC 7662 §2.1, RFC 7009 §2.1.
        Token = "token",
        /// RFC 7662 §2.1, RFC 7009 §2.1.
        TokenTypeHint = "token_type_hint",
        /// RFC 6749 §4.3.2.
        Username = "username",
        /// `OpenID` Connect Core §3.1.2.1.
        Nonce = "nonce",
    }
}

impl Parameter {
    /// The parameters that may be repeated. Only RFC 8707 §2 and RFC 8693 §2.1 define such parameters.
    pub const REPEATABLE: [Self; 2] = [Self::Resource, Self::Audience];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        AssertionType, ClientMethod, ErrorCode, GrantType, IntrospectionMember, Parameter, TokenType,
    };

    const URIS: &str = include_str!("../registries/oauth-uri.tsv");
    const ERRORS: &str = include_str!("../registries/oauth-errors.tsv");
    const METHODS: &str = include_str!("../registries/oauth-client-methods.tsv");
    const INTROSPECTION: &str = include_str!("../registries/oauth-introspection.tsv");
    const OF_RFC_6749: &str = include_str!("../registries/oauth-of-rfc-6749.tsv");
    const OF_DRAFTS: &str = include_str!("../registries/oauth-of-drafts.tsv");

    /// The names in a file: one in each line, and where it is defined. The first line says of what time the
    /// file is.
    fn listed(file: &'static str) -> BTreeSet<&'static str> {
        let (title, lines) = file.split_once('\n').unwrap();
        let (_, date) = title.strip_prefix("# ").and_then(|title| title.rsplit_once(", as of ")).unwrap();
        assert!(format!("{date}T00:00:00Z").parse::<crate::Timestamp>().is_ok(), "{title}");
        let names: Vec<_> = lines.lines().map(|line| line.split_once('\t').unwrap().0).collect();
        let set: BTreeSet<_> = names.iter().copied().collect();
        assert_eq!(set.len(), names.len(), "a name twice: {title}");
        set
    }

    fn spoken<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> BTreeSet<&'static str> {
        let names: BTreeSet<_> = all.iter().map(|one| name(*one)).collect();
        assert_eq!(names.len(), all.len(), "two of one name");
        names
    }

    #[test]
    fn every_name_is_in_a_registry_or_in_the_document_that_defines_it() {
        for (names, files) in [
            (spoken(GrantType::ALL, GrantType::as_str), [URIS, OF_RFC_6749].as_slice()),
            (spoken(TokenType::ALL, TokenType::as_str), &[URIS]),
            (spoken(AssertionType::ALL, AssertionType::as_str), &[URIS, OF_DRAFTS]),
            (spoken(ClientMethod::ALL, ClientMethod::as_str), &[METHODS, OF_DRAFTS]),
            (spoken(ErrorCode::ALL, ErrorCode::as_str), &[ERRORS, OF_RFC_6749]),
            (spoken(IntrospectionMember::ALL, IntrospectionMember::as_str), &[INTROSPECTION]),
        ] {
            let listed: BTreeSet<_> = files.iter().flat_map(|file| listed(file)).collect();
            assert_eq!(names.difference(&listed).collect::<Vec<_>>(), [] as [&&str; 0]);
        }
    }

    #[test]
    fn a_name_that_a_registry_has_is_not_taken_from_a_draft() {
        let registered: BTreeSet<_> =
            [URIS, ERRORS, METHODS, INTROSPECTION].into_iter().flat_map(listed).collect();
        assert_eq!(listed(OF_DRAFTS).intersection(&registered).count(), 0, "it was registered: move it");
        let ours = spoken(AssertionType::ALL, AssertionType::as_str)
            .into_iter()
            .chain(spoken(ClientMethod::ALL, ClientMethod::as_str));
        let ours: BTreeSet<_> = ours.collect();
        assert!(listed(OF_DRAFTS).is_subset(&ours), "a draft's name is here only while it is spoken");
    }

    #[test]
    fn a_name_is_found_by_itself_alone() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::named(code.as_str()), Some(*code));
        }
        for parameter in Parameter::ALL {
            assert_eq!(Parameter::named(parameter.as_str()), Some(*parameter));
        }
        assert_eq!(GrantType::named("Authorization_Code"), None);
        assert_eq!(TokenType::named("urn:ietf:params:oauth:token-type:refresh_token"), None);
        assert_eq!(AssertionType::named(""), None);
        assert!(
            ClientMethod::proofs().all(|method| method != ClientMethod::None)
                && ClientMethod::proofs().count() == 4
        );
    }
}
