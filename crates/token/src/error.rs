//! Why a token is refused.

use mandate_core::InvalidActorChain;

/// Why a token is refused. [`TokenError::public_code`] is for the sender; the `Display` text is for the
/// operator's log. Neither ever holds the token, its signature or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`crate::MAX_TOKEN_LEN`].
    #[error("the token is longer than 16384 bytes")]
    TooLarge,
    /// Not a compact JWS with a JSON object as header and as payload (RFC 7515 §7.1, RFC 7519 §7.2).
    #[error("not a well-formed signed token: {0}")]
    Malformed(&'static str),
    /// A JSON object has the same member twice (RFC 7515 §4, RFC 7519 §4).
    #[error("a JSON member appears twice")]
    DuplicateMember,
    /// JSON nested deeper than any token needs.
    #[error("JSON is nested too deeply")]
    TooDeep,
    /// A header member that is not acceptable here, such as `jku`, `jwk`, `crit` or `b64` (RFC 8725 §3.10).
    #[error("the header member {0:?} is not acceptable")]
    Header(String),
    /// `alg` is missing, unknown, or not allowed for this kind of token (RFC 8725 §3.1).
    #[error("the signature algorithm {0:?} is not allowed for this kind of token")]
    Algorithm(String),
    /// `typ` is not that of the expected kind of token (RFC 8725 §3.11).
    #[error("the header says typ {0:?}, which is another kind of token")]
    Type(String),
    /// No key of the expected issuer has this `kid` and fits the algorithm. A fresher key set may have one.
    #[error("no key with kid {0:?} fits")]
    UnknownKey(Option<String>),
    /// Two keys of the expected issuer have this `kid` and fit the algorithm.
    #[error("two keys with kid {0:?} fit the algorithm")]
    AmbiguousKey(String),
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The signature does not verify with the only key that fits. The header does not name that key, so a
    /// fresher key set may have another.
    #[error(
        "the signature does not verify with the only key that fits, and the header does not name that key"
    )]
    SignatureOfUnnamedKey,
    /// The issuer says that it does not count (RFC 7662 §2.2): unknown, expired or revoked.
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// A required claim is missing.
    #[error("the claim {0:?} is missing")]
    MissingClaim(&'static str),
    /// A claim is not of its required form.
    #[error("the claim {claim:?} is not acceptable: {why}")]
    Claim {
        /// The name of the claim.
        claim: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A claim shows that it is not an access token of the product that its issuer uses.
    #[error("the claim {0:?} is not that of an access token of the profile that the issuer's entry names")]
    NotAccessToken(&'static str),
    /// A claim shows that it is not an ID token of the product that its issuer uses.
    #[error("the claim {0:?} is not that of an ID token of the profile that the issuer's entry names")]
    NotIdToken(&'static str),
    /// A claim does not show that the subject is a person.
    #[error("the claim {0:?} does not show that the subject is a person")]
    NotAPerson(&'static str),
    /// A claim that the issuer's entry requires is missing, or has another value.
    #[error("the claim {0:?} is not what the issuer's entry requires")]
    RequiredClaim(String),
    /// A claim that the issuer's entry maps, such as that of the groups, is not of its required form.
    #[error("the claim {claim:?}, which the issuer's entry maps, is not acceptable: {why}")]
    MappedClaim {
        /// The claim, as the entry names it, cut to 64 characters.
        claim: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `iss` is not the expected issuer.
    #[error("issued by another issuer than expected")]
    Issuer,
    /// `aud` is not exactly the expected audience, or does not contain it where that is enough.
    #[error("meant for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("not valid yet")]
    NotYetValid,
    /// It would be valid for longer than its kind may be.
    #[error("valid for too long")]
    Lifetime,
    /// It was issued longer ago than a token of its kind counts, whatever its `exp` says.
    #[error("issued too long ago")]
    Age,
    /// `act` is not an acceptable chain of actors (RFC 8693 §4.1).
    #[error("the actor chain is not acceptable: {0}")]
    ActorChain(#[from] InvalidActorChain),
    /// The SPIFFE ID belongs to another trust domain.
    #[error("the SPIFFE ID belongs to another trust domain")]
    TrustDomain,
}

impl TokenError {
    /// Whether it is found before the signature has verified: then anybody can have made the token.
    pub const fn precedes_signature(&self) -> bool {
        match self {
            Self::TooLarge
            | Self::Malformed(_)
            | Self::DuplicateMember
            | Self::TooDeep
            | Self::Header(_)
            | Self::Algorithm(_)
            | Self::Type(_)
            | Self::UnknownKey(_)
            | Self::AmbiguousKey(_)
            | Self::Signature
            | Self::SignatureOfUnnamedKey => true,
            Self::Inactive
            | Self::MissingClaim(_)
            | Self::Claim { .. }
            | Self::NotAccessToken(_)
            | Self::NotIdToken(_)
            | Self::NotAPerson(_)
            | Self::RequiredClaim(_)
            | Self::MappedClaim { .. }
            | Self::Issuer
            | Self::Audience
            | Self::Expired
            | Self::NotYetValid
            | Self::Lifetime
            | Self::Age
            | Self::ActorChain(_)
            | Self::TrustDomain => false,
        }
    }

    /// A stable machine-readable token for the sender and for records.
    pub const fn public_code(&self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::Malformed(_) => "malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::TooDeep => "too_deep",
            Self::Header(_) => "header",
            Self::Algorithm(_) => "alg",
            Self::Type(_) => "typ",
            Self::UnknownKey(_) => "unknown_key",
            Self::AmbiguousKey(_) => "ambiguous_key",
            Self::Signature | Self::SignatureOfUnnamedKey => "signature",
            Self::Inactive => "inactive",
            Self::MissingClaim(_) => "claim_missing",
            Self::Claim { .. } | Self::MappedClaim { .. } => "claim_invalid",
            Self::NotAccessToken(_) => "not_access_token",
            Self::NotIdToken(_) => "not_id_token",
            Self::NotAPerson(_) => "not_a_person",
            Self::RequiredClaim(_) => "required_claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Lifetime => "lifetime",
            Self::Age => "age",
            Self::ActorChain(_) => "actor_chain",
            Self::TrustDomain => "trust_domain",
        }
    }

    /// As [`TokenError::public_code`], in some cases followed by what the token has and should have. The
    /// sender has the token, so nothing in it is secret from them. Printable ASCII without `"` and `\\` (RFC
    /// 6749 §5.2).
    pub fn public_text(&self) -> String {
        let code = self.public_code();
        let detail = match self {
            Self::Malformed(why) => Some((*why).to_owned()),
            Self::Header(name) => Some(format!("the header has {name}")),
            Self::Algorithm(name) if name.is_empty() => Some("the header has no usable alg".to_owned()),
            Self::Algorithm(name) => {
                Some(format!("{name} is not allowed for this kind of token or does not fit its key"))
            }
            Self::Type(name) if name.is_empty() => Some("the header has no typ".to_owned()),
            Self::Type(name) => Some(format!("the header says {name}")),
            Self::UnknownKey(Some(kid)) | Self::AmbiguousKey(kid) => Some(format!("kid {kid}")),
            Self::UnknownKey(None) => Some("the header has no kid".to_owned()),
            Self::MissingClaim(claim)
            | Self::NotAccessToken(claim)
            | Self::NotIdToken(claim)
            | Self::NotAPerson(claim) => Some((*claim).to_owned()),
            Self::RequiredClaim(claim) => Some(shortened(claim)),
            Self::MappedClaim { claim, why } => Some(format!("{claim}, {why}")),
            Self::Claim { claim, why } => Some(format!("{claim}, {why}")),
            Self::ActorChain(why) => Some(why.to_string()),
            Self::TooLarge
            | Self::DuplicateMember
            | Self::TooDeep
            | Self::Signature
            | Self::SignatureOfUnnamedKey
            | Self::Inactive
            | Self::Issuer
            | Self::Audience
            | Self::Expired
            | Self::NotYetValid
            | Self::Lifetime
            | Self::Age
            | Self::TrustDomain => None,
        };
        let text = detail.map_or_else(|| code.to_owned(), |detail| format!("{code}: {detail}"));
        text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
    }

    /// Whether a fresher key set could change the answer: the signer may have rotated its keys.
    pub const fn may_be_stale_keys(&self) -> bool {
        matches!(self, Self::UnknownKey(_) | Self::SignatureOfUnnamedKey)
    }
}

/// At most 64 characters of a text that came from outside, for an error.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
