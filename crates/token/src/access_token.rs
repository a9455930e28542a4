//! OAuth access tokens as JWT (RFC 9068), with the actor chain of RFC 8693 §4.1.
//!
//! A person of a foreign issuer who is the subject of one of our own tokens has a `sub` that no person of ours can have
//! ([`subject_claim`]), and `sub_id` (RFC 9493) says how their own issuer names them. The private claim `lineage` says
//! from which tokens and grants a token descends.

mod act;
mod subject;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::registry::{SubjectScope, TrustedIssuer};
use mandate_core::scope::MAX_SCOPES;
use mandate_core::subject::MAX_SUBJECT_LEN;
use mandate_core::uri::same;
use mandate_core::{ActRef, ActorChain, ClientId, Issuer, Lineage, Person, ScopeSet, ScopeText, Timestamp, TokenId};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck, Verified};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::memo::SignatureMemo;
pub use crate::sign::Payload;
use crate::sign::{self, SignError, Signer};
use crate::strict_json::{self, Json, Object};

use subject::SubjectId;

pub use act::MayAct;
pub use subject::subject_claim;

/// The `typ` that we write (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// The most ids in each list of a lineage: far above what the chain depth allows.
const MAX_LINEAGE: usize = 64;

/// Whose token it is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Ours: ES256 in its one form, no header members other than `alg`, `kid` and `typ`, no leeway after `exp`.
    Own,
    /// That of a trusted foreign issuer: any algorithm of [`Algorithm`], 60 s of leeway after `exp`. Our claims
    /// `sub_id` and `lineage` mean nothing there and are not read.
    Foreign,
    /// As [`Profile::Foreign`], of an issuer that only identifies the person: `scope` is not read either, and is empty.
    ForeignIdentity,
}

impl Profile {
    /// The profile of the tokens of a trusted issuer.
    #[must_use]
    pub const fn of_issuer(subject_scope: SubjectScope) -> Self {
        match subject_scope {
            SubjectScope::Token => Self::Foreign,
            SubjectScope::IdentityOnly => Self::ForeignIdentity,
        }
    }
}

/// What a token is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// Who must have issued it, compared bytewise with `iss`.
    pub issuer: &'a Issuer,
    /// That issuer's keys.
    pub keys: &'a KeySet,
    /// The time of the check.
    pub now: Timestamp,
    /// Whose token it is meant to be.
    pub profile: Profile,
    /// Where verified signatures are remembered, if anywhere.
    pub memo: Option<&'a SignatureMemo>,
}

/// A verified access token. Nothing is decided yet about its audience: see [`AccessToken::require_audience`].
#[derive(Clone, Debug, PartialEq)]
pub struct AccessToken {
    /// `iss`.
    pub iss: Issuer,
    /// For whom it speaks: as `sub_id` says (own tokens of other issuers' people), or `sub` within `iss`.
    pub subject: Person,
    /// `aud`, one or more.
    pub audiences: Vec<String>,
    /// `client_id`: to whom it was issued.
    pub client_id: ClientId,
    /// For own tokens `jti`. For foreign ones [`foreign_token_id`], so that no issuer can name another's token.
    pub jti: TokenId,
    /// `iat`.
    pub iat: Timestamp,
    /// `exp`: from then on the token is not valid.
    pub exp: Timestamp,
    /// `nbf`.
    pub nbf: Option<Timestamp>,
    /// When the person last authenticated (RFC 9068 §2.2.1).
    pub auth_time: Option<Timestamp>,
    /// How strongly (RFC 9068 §2.2.1).
    pub acr: Option<String>,
    /// By which means (RFC 9068 §2.2.1); empty if not said.
    pub amr: Vec<String>,
    /// `scope`; empty if not said.
    pub scope: ScopeSet,
    /// `act`, outermost first.
    pub chain: ActorChain,
    /// The only party that may become its next actor (RFC 8693 §4.4).
    pub may_act: Option<MayAct>,
    /// What it descends from; always empty for foreign tokens.
    pub lineage: Lineage,
    /// The confirmation claim (RFC 7800): if present, the token must not be accepted without proof of possession.
    pub cnf: Option<Value>,
}

impl AccessToken {
    /// Requires that `aud` is `resource` and nothing else. An empty path and `/` name the same resource, as in the registry; apart
    /// from that they compare bytewise.
    pub fn require_audience(&self, resource: &str) -> Result<(), TokenError> {
        match self.audiences.as_slice() {
            [only] if same(only, resource) => Ok(()),
            _ => Err(TokenError::Audience),
        }
    }

    /// What revocation by `ours` needs to know.
    pub fn facts<'a>(&'a self, ours: &'a Issuer) -> mandate_core::TokenFacts<'a> {
        mandate_core::TokenFacts {
            ours,
            iss: &self.iss,
            jti: &self.jti,
            iat: self.iat,
            subject: &self.subject,
            client: &self.client_id,
            chain: &self.chain,
            lineage: &self.lineage,
        }
    }
}

/// The id under which a foreign token is known here: `f.` and the base64url SHA-256 of `<issuer>#<jti>`.
pub fn foreign_token_id(issuer: &Issuer, jti: &str) -> Result<TokenId, TokenError> {
    let mut text = [issuer.as_str(), "#", jti].concat();
    let digest = sha256(text.as_bytes());
    text.clear();
    text.push_str("f.");
    URL_SAFE_NO_PAD.encode_string(digest, &mut text);
    text.parse().map_err(|_| TokenError::Claim { claim: "jti", why: "not usable as an id" })
}

/// A foreign token, decoded and not yet read.
pub struct Decoded<'t> {
    text: &'t str,
    compact: Compact<'t>,
    payload: Vec<u8>,
}

impl<'t> Decoded<'t> {
    /// Decodes it, strictly.
    pub fn of(token: &'t str) -> Result<Self, TokenError> {
        let compact = Compact::parse(token, OtherMembers::Ignore)?;
        check_type(&compact, Profile::Foreign)?;
        let payload = compact.payload()?;
        Ok(Self { text: token, compact, payload })
    }

    /// Reads what it says.
    pub fn read(&self) -> Result<Unverified<'_>, TokenError> {
        Ok(Unverified { text: self.text, compact: &self.compact, claims: strict_json::object(&self.payload)? })
    }
}

/// A token of which nothing is verified yet: its content may only be used to choose the keys to verify it with, and how it is
/// refused without them.
pub struct Unverified<'d> {
    text: &'d str,
    compact: &'d Compact<'d>,
    claims: Object<'d>,
}

impl Unverified<'_> {
    /// The issuer that it names.
    pub fn issuer(&self) -> Result<&str, TokenError> {
        claim::required_text(&self.claims, "iss")
    }

    /// When it says that it was issued.
    pub fn issued(&self) -> Result<Timestamp, TokenError> {
        claim::required_time(&self.claims, "iat")
    }

    /// The token as it was sent.
    pub fn as_str(&self) -> &str {
        self.text
    }

    /// As [`verify`], without reading it again.
    pub fn verify(
        &self,
        issuer: &TrustedIssuer,
        keys: &KeySet,
        now: Timestamp,
        memo: Option<&SignatureMemo>,
    ) -> Result<AccessToken, TokenError> {
        let expect = Expect { issuer: &issuer.url, keys, now, profile: Profile::of_issuer(issuer.subject_scope), memo };
        let verified = signature(self.compact, &expect)?;
        conclude(verified, &self.claims, &expect)
    }
}

impl std::fmt::Debug for Decoded<'_> {
    /// Nothing that it says: it may be anybody's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Unverified<'_> {
    /// Nothing that it says: it may be anybody's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

/// Verifies everything about an access token (RFC 9068 §4) except its audience and scopes.
pub fn verify(token: &str, expect: &Expect<'_>) -> Result<AccessToken, TokenError> {
    verify_payload(token, expect).map(|(token, _)| token)
}

/// As [`verify`], and also returns all signed claims.
pub fn verify_with_claims(token: &str, expect: &Expect<'_>) -> Result<(AccessToken, Map<String, Value>), TokenError> {
    let (token, payload) = verify_payload(token, expect)?;
    Ok((token, strict_json::object(&payload)?.to_map()))
}

fn verify_payload(token: &str, expect: &Expect<'_>) -> Result<(AccessToken, Vec<u8>), TokenError> {
    let others = match expect.profile {
        Profile::Own => OtherMembers::Refuse,
        Profile::Foreign | Profile::ForeignIdentity => OtherMembers::Ignore,
    };
    let compact = Compact::parse(token, others)?;
    check_type(&compact, expect.profile)?;
    if expect.profile == Profile::Own && compact.key_id.is_none() {
        return Err(TokenError::UnknownKey(None));
    }
    let verified = signature(&compact, expect)?;
    let payload = compact.payload()?;
    let token = conclude(verified, &strict_json::object(&payload)?, expect)?;
    Ok((token, payload))
}

fn signature(compact: &Compact<'_>, expect: &Expect<'_>) -> Result<Verified, TokenError> {
    let (allowed, form): (&[Algorithm], _) = match expect.profile {
        Profile::Own => (&[Algorithm::Es256], EcdsaForm::LowOnly),
        Profile::Foreign | Profile::ForeignIdentity => (Algorithm::ALL, EcdsaForm::Either),
    };
    compact.verify(&SignatureCheck { keys: expect.keys, key_use: KeyUse::Signature, allowed, form, memo: expect.memo, now: expect.now })
}

fn conclude(verified: Verified, claims: &Object<'_>, expect: &Expect<'_>) -> Result<AccessToken, TokenError> {
    let token = read(claims, expect)?;
    verified.remember(expect.memo, token.exp);
    Ok(token)
}

fn check_type(compact: &Compact<'_>, profile: Profile) -> Result<(), TokenError> {
    let typ = compact.typ.as_deref().unwrap_or_default();
    let fits = match profile {
        Profile::Own => typ == TYPE,
        // RFC 9068 §2.1, §4; media types compare without regard to case (RFC 7515 §4.1.9).
        Profile::Foreign | Profile::ForeignIdentity => typ.eq_ignore_ascii_case(TYPE) || typ.eq_ignore_ascii_case("application/at+jwt"),
    };
    if fits { Ok(()) } else { Err(TokenError::Type(shortened(typ))) }
}

fn read(claims: &Object<'_>, expect: &Expect<'_>) -> Result<AccessToken, TokenError> {
    if claim::required_text(claims, "iss")? != expect.issuer.as_str() {
        return Err(TokenError::Issuer);
    }
    let iss = expect.issuer.clone();
    let (iat, exp) = (claim::required_time(claims, "iat")?, claim::required_time(claims, "exp")?);
    let nbf = claim::time(claims, "nbf")?;
    let leeway = match expect.profile {
        Profile::Own => std::time::Duration::ZERO,
        Profile::Foreign | Profile::ForeignIdentity => claim::LEEWAY,
    };
    claim::check_times((Some(iat), nbf, exp), expect.now, leeway)?;
    let sub = claim::required_text(claims, "sub")?;
    let jti = claim::required_text(claims, "jti")?;
    let (jti, subject, lineage) = match expect.profile {
        Profile::Own => {
            let jti = jti.parse().map_err(|_| TokenError::Claim { claim: "jti", why: "not one of our ids" })?;
            (jti, subject::person(claims, &iss)?, lineage(claims)?)
        }
        Profile::Foreign | Profile::ForeignIdentity => {
            (foreign_token_id(&iss, jti)?, Person { iss: iss.clone(), sub: sub.to_owned() }, Lineage::default())
        }
    };
    let scope = match expect.profile {
        Profile::Own | Profile::Foreign => scope(claims)?,
        Profile::ForeignIdentity => ScopeSet::new(),
    };
    let amr = claims.get("amr").map(|list| claim::texts(list, "amr")).transpose()?.unwrap_or_default();
    let cnf = match claims.get("cnf") {
        None => None,
        Some(cnf @ Json::Object(_)) => Some(cnf.to_value()),
        Some(_) => return Err(TokenError::Claim { claim: "cnf", why: "not an object" }),
    };
    Ok(AccessToken {
        subject,
        audiences: claim::audiences(claims)?,
        client_id: claim::required_text(claims, "client_id")?
            .parse()
            .map_err(|_| TokenError::Claim { claim: "client_id", why: "not a client id" })?,
        jti,
        iat,
        exp,
        nbf,
        auth_time: claim::time(claims, "auth_time")?,
        acr: claim::text(claims, "acr")?.map(str::to_owned),
        amr,
        scope,
        chain: act::chain(claims.get("act"), &iss)?,
        may_act: act::may_act(claims.get("may_act"), &iss)?,
        lineage,
        cnf,
        iss,
    })
}

fn scope(claims: &Object<'_>) -> Result<ScopeSet, TokenError> {
    match claims.get("scope") {
        None => Ok(ScopeSet::new()),
        // Several servers write an empty text for "no scope".
        Some(Json::Text(text)) if text.is_empty() => Ok(ScopeSet::new()),
        Some(Json::Text(text)) => text.parse().map_err(|_| TokenError::Claim { claim: "scope", why: "not a list of scopes" }),
        Some(_) => Err(TokenError::Claim { claim: "scope", why: "not a text" }),
    }
}

fn lineage(claims: &Object<'_>) -> Result<Lineage, TokenError> {
    let fault = TokenError::Claim { claim: "lineage", why: "not a lineage" };
    let Some(value) = claims.get("lineage") else { return Ok(Lineage::default()) };
    let lineage: Lineage = serde::Deserialize::deserialize(value.to_value()).map_err(|_| fault.clone())?;
    if lineage.longest() > MAX_LINEAGE { Err(fault) } else { Ok(lineage) }
}

/// The content of a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<'a> {
    /// `iss`: ourselves.
    pub iss: &'a Issuer,
    /// `sub`, and `sub_id` if the person belongs to another issuer.
    pub subject: &'a Person,
    /// `aud`: the one resource (RFC 9068 §3).
    pub audience: &'a str,
    /// `client_id`.
    pub client_id: &'a ClientId,
    /// `jti`.
    pub jti: &'a TokenId,
    /// `iat`, cut to whole seconds.
    pub iat: Timestamp,
    /// `exp`, cut to whole seconds.
    pub exp: Timestamp,
    /// `scope`; absent if empty.
    pub scope: &'a ScopeSet,
    /// `act`; absent if empty.
    pub chain: &'a ActorChain,
    /// `lineage`; absent if empty.
    pub lineage: &'a Lineage,
    /// `auth_time`.
    pub auth_time: Option<Timestamp>,
    /// `acr`.
    pub acr: Option<&'a str>,
    /// `amr`; absent if empty.
    pub amr: &'a [String],
    /// `may_act`.
    pub may_act: Option<&'a MayAct>,
}

#[derive(Serialize)]
struct Wire<'a> {
    iss: &'a Issuer,
    sub: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_id: Option<SubjectId<'a>>,
    aud: &'a str,
    client_id: &'a ClientId,
    jti: &'a TokenId,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<ActRef<'a>>,
    #[serde(skip_serializing_if = "Lineage::is_empty")]
    lineage: &'a Lineage,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    may_act: Option<&'a MayAct>,
}

impl<'a> Wire<'a> {
    fn of(claims: &Claims<'a>) -> Self {
        let Claims { iss, subject, audience, client_id, jti, iat, exp, scope, chain, lineage, auth_time, acr, amr, may_act } = *claims;
        Self {
            iss,
            sub: subject_claim(subject, iss),
            sub_id: SubjectId::of(subject, iss),
            aud: audience,
            client_id,
            jti,
            iat: iat.secs(),
            exp: exp.secs(),
            scope: (!scope.is_empty()).then(|| scope.as_text()),
            act: chain.to_act(),
            lineage,
            auth_time: auth_time.map(Timestamp::secs),
            acr,
            amr,
            may_act,
        }
    }
}

/// The payload of an access token of ours. A decision must know that there can be such a token before it is recorded.
///
/// # Errors
/// [`SignError::Claims`] for claims that our own verifier would refuse, [`SignError::TooLarge`] if it would not read the token.
pub fn encode(claims: &Claims<'_>) -> Result<Payload, SignError> {
    let Claims { iss, subject, audience, iat, exp, scope, lineage, .. } = *claims;
    if exp.secs() <= iat.secs() {
        return Err(SignError::Claims("exp is not after iat"));
    }
    if subject.sub.is_empty() || subject.sub.len() > MAX_SUBJECT_LEN || subject.sub.chars().any(char::is_control) {
        return Err(SignError::Claims("sub is empty, oversized or has a control character"));
    }
    if subject.iss == *iss && !subject::may_be_local(&subject.sub) {
        return Err(SignError::Claims("sub of our own directory reads like that of another issuer's person"));
    }
    if audience.is_empty() {
        return Err(SignError::Claims("aud is empty"));
    }
    if lineage.longest() > MAX_LINEAGE {
        return Err(SignError::Claims("the lineage is too long"));
    }
    if scope.len() > MAX_SCOPES {
        return Err(SignError::Claims("there are too many scopes"));
    }
    Payload::of(&Wire::of(claims))
}

/// Signs a payload of [`encode`].
pub fn sign(payload: &Payload, signer: &dyn Signer) -> Result<String, SignError> {
    sign::compact(TYPE, payload, signer)
}

/// Builds and signs an access token of ours. Claims that our own verifier would refuse are not signed.
pub fn build(claims: &Claims<'_>, signer: &dyn Signer) -> Result<String, SignError> {
    sign(&encode(claims)?, signer)
}

#[cfg(test)]
mod tests;
