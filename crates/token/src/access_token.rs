//! OAuth access tokens as JWT (RFC 9068), with the actor chain of RFC 8693 §4.1.
//!
//! A person of another issuer who is the subject of one of our own tokens has a `sub` that no person of ours
//! can have ([`subject_claim`]), and `sub_id` (RFC 9493) says how their own issuer names them. The private
//! claim `lineage` says from which tokens and grants a token descends.

mod act;
mod build;
mod subject;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::lifetimes::CLOCK_SKEW;
use mandate_core::registry::{SubjectScope, TrustedIssuer};
use mandate_core::{
    Audience, Confirmation, Details, Issuer, Lineage, ScopeSet, Subject, Terms, Timestamp, TokenId,
};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck, VerifiedSignature};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::memo::SignatureMemo;
pub use crate::sign::Payload;
use crate::strict_json::{self, Json, Object};

pub use act::MayAct;
pub use build::{build, encode, sign};
pub use subject::subject_claim;

/// The `typ` that we write (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// The most ids in each list of a lineage: far above what the chain depth allows.
const MAX_LINEAGE: usize = 64;

/// Which kind of issuer a token must come from, and so which rules it must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// This server: ES256 in the one accepted form, no header members other than `alg`, `kid` and `typ`, no
    /// clock skew at `exp`.
    Own,
    /// Another issuer that is trusted: any algorithm of [`Algorithm`], clock skew is allowed at `exp`. Our
    /// claims `sub_id` and `lineage` mean nothing there and are not read.
    Foreign,
    /// As [`Profile::Foreign`], for an issuer that only identifies the person: `scope` is not read either,
    /// and is empty.
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
    /// The key set of that issuer, in which the token's `kid` is looked up.
    pub keys: &'a KeySet,
    /// The time of the check.
    pub now: Timestamp,
    /// The rules for tokens of this issuer.
    pub profile: Profile,
    /// Where verified signatures are remembered; `None`: nowhere.
    pub memo: Option<&'a SignatureMemo>,
}

/// A verified access token. Its audience is not checked yet: see [`AccessToken::require_audience`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// What it says. In tokens of other issuers `jti` is [`foreign_token_id`], so that no issuer can name
    /// another's token; `details` and `lineage` are empty, no matter what such a token claims.
    pub terms: Terms,
    /// `nbf`: before this time the token is not valid.
    pub nbf: Option<Timestamp>,
    /// The only party that may become its next actor (RFC 8693 §4.4). Our own tokens do not say it: who may
    /// act next is decided from the registry at the next exchange.
    pub may_act: Option<MayAct>,
}

impl AccessToken {
    /// Requires that `aud` is `resource` and nothing else: see [`Audience::is_only`].
    pub fn require_audience(&self, resource: &str) -> Result<(), TokenError> {
        if self.terms.audience.is_only(resource) { Ok(()) } else { Err(TokenError::Audience) }
    }
}

/// The id under which a token of another issuer is known here: `f.` and the base64url SHA-256 of
/// `<issuer>#<jti>`.
pub fn foreign_token_id(issuer: &Issuer, jti: &str) -> Result<TokenId, TokenError> {
    let mut text = [issuer.as_str(), "#", jti].concat();
    let digest = sha256(text.as_bytes());
    text.clear();
    text.push_str("f.");
    URL_SAFE_NO_PAD.encode_string(digest, &mut text);
    text.parse().map_err(|_| TokenError::Claim { claim: "jti", why: "not usable as an id" })
}

/// A token of another issuer, decoded and not yet read.
pub struct Decoded<'t> {
    text: &'t str,
    compact: Compact<'t>,
    payload: Vec<u8>,
}

impl<'t> Decoded<'t> {
    /// Decodes a compact JWS (RFC 7515 §7.1), and refuses one that is not of type `at+jwt`.
    pub fn of(token: &'t str) -> Result<Self, TokenError> {
        let compact = Compact::parse(token, OtherMembers::Ignore)?;
        check_type(&compact, Profile::Foreign)?;
        let payload = compact.payload()?;
        Ok(Self { text: token, compact, payload })
    }

    /// Reads what it says.
    pub fn read(&self) -> Result<Unverified<'_>, TokenError> {
        Ok(Unverified {
            text: self.text,
            compact: &self.compact,
            claims: strict_json::object(&self.payload)?,
        })
    }
}

/// A token of which nothing is verified yet. Its content may only be used to choose the keys that verify it,
/// and to choose the error if there are no keys.
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
        let expect = Expect {
            issuer: &issuer.url,
            keys,
            now,
            profile: Profile::of_issuer(issuer.subject_scope),
            memo,
        };
        let verified = signature(self.compact, &expect)?;
        conclude(verified, &self.claims, &expect)
    }
}

impl std::fmt::Debug for Decoded<'_> {
    /// Prints no content, because nothing in it is verified.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Unverified<'_> {
    /// Prints no content, because nothing in it is verified.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

/// Verifies everything about an access token (RFC 9068 §4) except its audience and scopes.
pub fn verify(token: &str, expect: &Expect<'_>) -> Result<AccessToken, TokenError> {
    verify_payload(token, expect).map(|(token, _)| token)
}

/// As [`verify`], and also returns all signed claims.
pub fn verify_with_claims(
    token: &str,
    expect: &Expect<'_>,
) -> Result<(AccessToken, Map<String, Value>), TokenError> {
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

fn signature(compact: &Compact<'_>, expect: &Expect<'_>) -> Result<VerifiedSignature, TokenError> {
    let (allowed, form): (&[Algorithm], _) = match expect.profile {
        Profile::Own => (&[Algorithm::Es256], EcdsaForm::LowOnly),
        Profile::Foreign | Profile::ForeignIdentity => (Algorithm::ALL, EcdsaForm::Either),
    };
    compact.verify(&SignatureCheck {
        keys: expect.keys,
        key_use: KeyUse::Signature,
        allowed,
        form,
        memo: expect.memo,
        now: expect.now,
    })
}

fn conclude(
    verified: VerifiedSignature,
    claims: &Object<'_>,
    expect: &Expect<'_>,
) -> Result<AccessToken, TokenError> {
    let token = read(claims, expect)?;
    verified.remember(expect.memo, token.terms.expires);
    Ok(token)
}

fn check_type(compact: &Compact<'_>, profile: Profile) -> Result<(), TokenError> {
    let typ = compact.typ.as_deref().unwrap_or_default();
    let fits = match profile {
        Profile::Own => typ == TYPE,
        // RFC 9068 §2.1, §4; media types compare without regard to case (RFC 7515 §4.1.9).
        Profile::Foreign | Profile::ForeignIdentity => {
            typ.eq_ignore_ascii_case(TYPE) || typ.eq_ignore_ascii_case("application/at+jwt")
        }
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
    let skew = match expect.profile {
        Profile::Own => std::time::Duration::ZERO,
        Profile::Foreign | Profile::ForeignIdentity => CLOCK_SKEW,
    };
    claim::check_times((Some(iat), nbf, exp), expect.now, skew)?;
    let sub = claim::required_text(claims, "sub")?;
    let jti = claim::required_text(claims, "jti")?;
    let (jti, subject, lineage, details) = match expect.profile {
        Profile::Own => {
            let jti =
                jti.parse().map_err(|_| TokenError::Claim { claim: "jti", why: "not one of our ids" })?;
            (jti, subject::person(claims, &iss)?, lineage(claims)?, details(claims)?)
        }
        Profile::Foreign | Profile::ForeignIdentity => {
            let person = Subject { iss: iss.clone(), sub: sub.to_owned() };
            (foreign_token_id(&iss, jti)?, person, Lineage::default(), Details::default())
        }
    };
    let scopes = match expect.profile {
        Profile::Own | Profile::Foreign => scope(claims)?,
        Profile::ForeignIdentity => ScopeSet::new(),
    };
    let terms = Terms {
        subject,
        chain: act::chain(claims.get("act"), &iss)?,
        audience: audience(claims)?,
        scopes,
        details,
        issued: iat,
        expires: exp,
        jti,
        client: claim::required_text(claims, "client_id")?
            .parse()
            .map_err(|_| TokenError::Claim { claim: "client_id", why: "not a client id" })?,
        lineage,
        cnf: confirmation(claims)?,
        auth_time: claim::time(claims, "auth_time")?,
        acr: claim::text(claims, "acr")?.map(str::to_owned),
        amr: claims.get("amr").map(|list| claim::texts(list, "amr")).transpose()?.unwrap_or_default(),
        issuer: iss,
    };
    let may_act = act::may_act(claims.get("may_act"), &terms.issuer)?;
    Ok(AccessToken { terms, nbf, may_act })
}

fn audience(claims: &Object<'_>) -> Result<Audience, TokenError> {
    // Nearly always one text: then no list is made.
    if let Some(one @ Json::Text(_)) = claims.get("aud") {
        return Ok(Audience::one(claim::checked_text(one, "aud")?.to_owned()));
    }
    let mut all = claim::audiences(claims)?.into_iter();
    let first = all.next().ok_or(TokenError::MissingClaim("aud"))?;
    Ok(Audience::several(first, all.collect()))
}

fn scope(claims: &Object<'_>) -> Result<ScopeSet, TokenError> {
    match claims.get("scope") {
        None => Ok(ScopeSet::new()),
        // Some servers write an empty text if there is no scope.
        Some(Json::Text(text)) if text.is_empty() => Ok(ScopeSet::new()),
        Some(Json::Text(text)) => {
            text.parse().map_err(|_| TokenError::Claim { claim: "scope", why: "not a list of scopes" })
        }
        Some(_) => Err(TokenError::Claim { claim: "scope", why: "not a text" }),
    }
}

/// RFC 7800 §3.1. A `cnf` that is not understood still binds the token.
fn confirmation(claims: &Object<'_>) -> Result<Option<Confirmation>, TokenError> {
    match claims.get("cnf") {
        None => Ok(None),
        Some(Json::Object(members)) => {
            Ok(Some(Confirmation::of_members(members.iter().map(|(name, value)| (name, value.as_text())))))
        }
        Some(_) => Err(TokenError::Claim { claim: "cnf", why: "not an object" }),
    }
}

/// RFC 9396 §9.1. Our own tokens leave the claim out if it says nothing.
fn details(claims: &Object<'_>) -> Result<Details, TokenError> {
    let fault = |why| TokenError::Claim { claim: "authorization_details", why };
    let objects = match claims.get("authorization_details") {
        None => return Ok(Details::default()),
        Some(Json::List(items)) if !items.is_empty() => items.iter().map(|item| match item {
            Json::Object(members) => Some(members.to_map()),
            _ => None,
        }),
        Some(_) => return Err(fault("not a list of objects")),
    };
    let objects = objects.collect::<Option<Vec<_>>>().ok_or_else(|| fault("not a list of objects"))?;
    Details::new(objects).map_err(|_| fault("not authorization details"))
}

fn lineage(claims: &Object<'_>) -> Result<Lineage, TokenError> {
    let fault = TokenError::Claim { claim: "lineage", why: "not a lineage" };
    let Some(value) = claims.get("lineage") else { return Ok(Lineage::default()) };
    let lineage: Lineage = serde::Deserialize::deserialize(value.to_value()).map_err(|_| fault.clone())?;
    if lineage.longest() > MAX_LINEAGE { Err(fault) } else { Ok(lineage) }
}

#[cfg(test)]
mod tests;
