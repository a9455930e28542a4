//! JWT-SVIDs: the identity of a workload as a token (SPIFFE JWT-SVID).

use mandate_core::lifetimes::FOREIGN_SVID_AGE;
use mandate_core::{SpiffeId, Timestamp, TokenId, TrustDomain};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::memo::SignatureMemo;
use crate::sign::{self, Payload, SignError, Signer};
use crate::strict_json::{self, Json, Object};

/// The claims of a JWT-SVID that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtSvid {
    /// `sub`: the workload.
    pub spiffe_id: SpiffeId,
    /// `aud`, one or more.
    pub audiences: Vec<String>,
    /// `exp`: from then on the JWT-SVID is not valid.
    pub exp: Timestamp,
    /// `iat`: when it was issued.
    pub iat: Option<Timestamp>,
    /// `jti`, unique per issuer if it is there.
    pub jti: Option<String>,
}

/// Verifies a JWT-SVID whose `aud` is `audience` and nothing else: the form that is accepted for an actor or
/// a client.
///
/// `keys` is the bundle of `trust_domain`, and of no other trust domain.
pub fn verify(
    token: &str,
    keys: &KeySet,
    trust_domain: &TrustDomain,
    audience: &str,
    now: Timestamp,
    memo: Option<&SignatureMemo>,
) -> Result<JwtSvid, TokenError> {
    checked(token, keys, trust_domain, now, memo, |audiences| claim::sole_audience(audiences, audience))
        .map(|(svid, _)| svid)
}

/// As [`verify`], for a JWT-SVID of another trust domain, which decides how long its own are valid. Here it
/// counts for [`FOREIGN_SVID_AGE`] after its issue, and `exp` of the result is not later than that.
///
/// # Errors
/// As [`verify`]. [`TokenError::Age`] if it was issued longer ago; [`TokenError::Lifetime`] if it does not say
/// when it was issued and expires later than a new one may. One that is bound to a key (`cnf`, RFC 7800) is
/// refused: nobody has proven the key.
pub fn verify_foreign(
    token: &str,
    keys: &KeySet,
    trust_domain: &TrustDomain,
    audience: &str,
    now: Timestamp,
    memo: Option<&SignatureMemo>,
) -> Result<JwtSvid, TokenError> {
    let sole = |audiences: &[String]| claim::sole_audience(audiences, audience);
    let (svid, payload) = checked(token, keys, trust_domain, now, memo, sole)?;
    claim::refuse(&strict_json::object(&payload)?, &["cnf"])?;
    let end = svid.iat.unwrap_or(now).plus(FOREIGN_SVID_AGE);
    if svid.iat.is_none() && svid.exp > end {
        return Err(TokenError::Lifetime);
    }
    if now >= end {
        return Err(TokenError::Age);
    }
    Ok(JwtSvid { exp: svid.exp.min(end), ..svid })
}

/// Verifies a JWT-SVID whose `aud` contains `audience` and possibly others, and returns all signed claims
/// (JWT-SVID §3, the Workload API's `ValidateJWTSVID`).
pub fn verify_containing(
    token: &str,
    keys: &KeySet,
    trust_domain: &TrustDomain,
    audience: &str,
    now: Timestamp,
    memo: Option<&SignatureMemo>,
) -> Result<(JwtSvid, Map<String, Value>), TokenError> {
    let (svid, payload) = checked(token, keys, trust_domain, now, memo, |audiences| {
        if audiences.iter().any(|one| one == audience) { Ok(()) } else { Err(TokenError::Audience) }
    })?;
    Ok((svid, strict_json::object(&payload)?.to_map()))
}

/// The trust domain that a JWT-SVID names. Nothing is verified: the answer may only be used to choose a
/// bundle.
pub fn peek_trust_domain(token: &str) -> Result<TrustDomain, TokenError> {
    let compact = parse(token)?;
    Ok(subject(&strict_json::object(&compact.payload()?)?)?.trust_domain())
}

fn checked(
    token: &str,
    keys: &KeySet,
    trust_domain: &TrustDomain,
    now: Timestamp,
    memo: Option<&SignatureMemo>,
    audience: impl FnOnce(&[String]) -> Result<(), TokenError>,
) -> Result<(JwtSvid, Vec<u8>), TokenError> {
    let compact = parse(token)?;
    let check = SignatureCheck {
        keys,
        key_use: KeyUse::JwtSvid,
        allowed: Algorithm::ALL,
        form: EcdsaForm::Either,
        memo,
        now,
    };
    let verified = compact.verify(&check)?;
    let payload = compact.payload()?;
    let svid = read(&strict_json::object(&payload)?, trust_domain, now)?;
    audience(&svid.audiences)?;
    verified.remember(memo, svid.exp);
    Ok((svid, payload))
}

fn parse(token: &str) -> Result<Compact<'_>, TokenError> {
    // JWT-SVID §2: no other header member may be present.
    let compact = Compact::parse(token, OtherMembers::Refuse)?;
    // JWT-SVID §2.3.
    match compact.typ.as_deref() {
        None | Some("JWT" | "JOSE") => {}
        Some(other) => return Err(TokenError::Type(shortened(other))),
    }
    // JWT-SVID §2.2 makes `kid` optional, but every bundle element must have one (§6), and all known
    // libraries ask for it.
    if compact.key_id.is_none() { Err(TokenError::UnknownKey(None)) } else { Ok(compact) }
}

fn subject(claims: &Object<'_>) -> Result<SpiffeId, TokenError> {
    let sub = claim::required_text(claims, "sub")?;
    let id: SpiffeId = sub.parse().map_err(|_| TokenError::Claim { claim: "sub", why: "not a SPIFFE ID" })?;
    // SPIFFE-ID §2.2: the path identifies the workload. An ID without one names only the trust domain.
    if id.path().is_empty() {
        Err(TokenError::Claim { claim: "sub", why: "it names a trust domain, not a workload" })
    } else {
        Ok(id)
    }
}

fn read(claims: &Object<'_>, trust_domain: &TrustDomain, now: Timestamp) -> Result<JwtSvid, TokenError> {
    let spiffe_id = subject(claims)?;
    if !spiffe_id.is_member_of(trust_domain) {
        return Err(TokenError::TrustDomain);
    }
    let exp = claim::required_time(claims, "exp")?;
    let iat = claim::time(claims, "iat")?;
    claim::check_times((iat, claim::time(claims, "nbf")?, exp), now, std::time::Duration::ZERO)?;
    // An identity says who an agent is, never for whom it acts. With these claims, its holder could invent a
    // chain of actors.
    claim::refuse(claims, &["act", "may_act", "events"])?;
    let audiences = claim::audiences(claims)?;
    let jti = claim::text(claims, "jti")?.map(str::to_owned);
    Ok(JwtSvid { spiffe_id, audiences, exp, iat, jti })
}

/// The content of a JWT-SVID of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the agent.
    pub spiffe_id: SpiffeId,
    /// `aud`: 1 to 16.
    pub audiences: Vec<String>,
    /// `iat`, cut to whole seconds.
    pub iat: Timestamp,
    /// `exp`, cut to whole seconds.
    pub exp: Timestamp,
    /// `jti`: the audit record of the JWT-SVID has it too.
    pub jti: TokenId,
}

#[derive(Serialize)]
struct Wire<'a> {
    sub: &'a SpiffeId,
    aud: &'a [String],
    iat: u64,
    exp: u64,
    jti: &'a TokenId,
}

/// Builds and signs a JWT-SVID. Claims that a validator would refuse are not signed.
pub fn build(claims: &Claims, signer: &dyn Signer) -> Result<String, SignError> {
    let Claims { spiffe_id, audiences, iat, exp, jti } = claims;
    if exp.secs() <= iat.secs() {
        return Err(SignError::Claims("exp is not after iat"));
    }
    if spiffe_id.path().is_empty() {
        return Err(SignError::Claims("sub names a trust domain, not a workload"));
    }
    claim::texts(&Json::List(audiences.iter().map(|one| Json::Text(one.into())).collect()), "aud")
        .map_err(|_| SignError::Claims("aud is not 1 to 16 texts"))?;
    let payload =
        Payload::of(&Wire { sub: spiffe_id, aud: audiences, iat: iat.secs(), exp: exp.secs(), jti })?;
    sign::compact("JWT", &payload, signer)
}

#[cfg(test)]
mod tests;
