//! ID tokens as subject tokens (RFC 8693 §3): a client of ours shows with one who the person is.
//!
//! The ID token is the answer to a login that another client began, so that there is no `nonce` to compare and
//! no access token for `at_hash`. What is left of `OpenID` Connect Core §3.1.3.7 is checked, and the entry of
//! the issuer says which client of ours may present the ID tokens of which client there. An ID token proves
//! who the person is, and carries no scope.

use mandate_core::lifetimes::CLOCK_SKEW;
use mandate_core::registry::TrustedIssuer;
use mandate_core::{Audience, ScopeSet, Subject, Terms, Timestamp};

use super::{methods, person_claim};
use crate::access_token::{Unverified, usable_until};
use crate::access_token::{check_other_members, check_type, confirmation, digest_id, is_of_no_person};
use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, SignatureCheck};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::mapped::{MappedClaims, Mapping};
use crate::memo::SignatureMemo;
use crate::product::{IdTokenShape, Shape};
use crate::strict_json::{Json, Object};

/// The longest `sub`, in bytes (`OpenID` Connect Core §2).
const MAX_SUB: usize = 255;

/// What a verified ID token says of a person. To whom it is addressed is not checked yet:
/// [`TrustedIssuer::takes_id_token`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedPerson {
    /// `client` is the client there to which it was issued: `azp`, or its only `aud`. There are neither scopes
    /// nor actors. `jti` is made of what is signed: the same for the same token alone. `expires` is at most an
    /// hour after `iat`, as for access tokens.
    pub terms: Terms,
    /// What the entry of its issuer reads besides: groups and tenant.
    pub mapped: MappedClaims,
}

/// Verifies an ID token of `issuer` as a subject token.
///
/// # Errors
/// It is not an ID token of the issuer's product, not a person's, or not valid at `now`; also if it could be
/// an access token of that product.
pub fn identify(
    token: &Unverified<'_>,
    issuer: &TrustedIssuer,
    keys: &KeySet,
    now: Timestamp,
    memo: Option<&SignatureMemo>,
) -> Result<IdentifiedPerson, TokenError> {
    let (compact, claims) = (token.compact, &token.claims);
    check_header(compact, issuer)?;
    let verified = compact.verify(&SignatureCheck {
        keys,
        key_use: KeyUse::Signature,
        allowed: Algorithm::ALL,
        form: EcdsaForm::Either,
        memo,
        now,
    })?;
    let iss = issuer.url.as_str();
    if claim::required_text(claims, "iss")? != iss {
        return Err(TokenError::Issuer);
    }
    is_id_token(compact, claims, issuer)?;
    let shape = IdTokenShape::of(issuer.profile);
    if let Some(claim) = shape.not_a_person(claims, iss) {
        return Err(TokenError::NotAPerson(claim));
    }
    if is_of_no_person(claims) {
        return Err(TokenError::NotAPerson("sub_profile"));
    }
    let (audience, party) = addressed(claims)?;
    let (iat, exp) = (claim::required_time(claims, "iat")?, claim::required_time(claims, "exp")?);
    claim::check_times((Some(iat), claim::time(claims, "nbf")?, exp), now, CLOCK_SKEW)?;
    let auth_time = claim::time(claims, "auth_time")?;
    if auth_time.is_some_and(|at| at > now.plus(CLOCK_SKEW)) {
        return Err(TokenError::NotYetValid);
    }
    let sub = claim::required_text(claims, "sub")?;
    if sub.len() > MAX_SUB || !sub.is_ascii() {
        return Err(TokenError::Claim { claim: "sub", why: "not at most 255 ASCII characters" });
    }
    let has = |name: &str, value: &str| claims.get(name).and_then(Json::as_text) == Some(value);
    if let Some((name, _)) = issuer.required_claims.iter().find(|(name, value)| !has(name, value)) {
        return Err(TokenError::RequiredClaim(name.clone()));
    }
    let person = claim::required_text(claims, person_claim(issuer.profile))?.to_owned();
    let client = party.parse().map_err(|_| TokenError::Claim { claim: "aud", why: "not a client id" })?;
    let terms = Terms {
        cnf: confirmation(claims)?,
        auth_time,
        acr: claim::text(claims, "acr")?.map(str::to_owned),
        amr: methods(claims)?,
        ..Terms::new(
            issuer.url.clone(),
            Subject { iss: issuer.url.clone(), sub: person },
            client,
            audience,
            ScopeSet::new(),
            digest_id(&issuer.url, compact.signed())?,
            (iat, usable_until(iat, exp)),
        )
    };
    let mapped = MappedClaims::read(claims, Mapping::of(issuer))?;
    verified.remember(memo, exp);
    Ok(IdentifiedPerson { terms, mapped })
}

/// `typ` is absent or `JWT` (RFC 7519 §5.1): what has another type is another kind of token (RFC 8725 §3.11).
fn check_header(compact: &Compact<'_>, issuer: &TrustedIssuer) -> Result<(), TokenError> {
    match compact.typ.as_deref() {
        Some(typ) if !typ.eq_ignore_ascii_case("JWT") => Err(TokenError::Type(shortened(typ))),
        _ => check_other_members(compact, Shape::of(issuer.profile)),
    }
}

/// A token that could be an access token too is taken as neither: which one it is must not depend on what the
/// sender calls it.
fn is_id_token(compact: &Compact<'_>, claims: &Object<'_>, issuer: &TrustedIssuer) -> Result<(), TokenError> {
    let iss = issuer.url.as_str();
    // A logout token has `events` (`OpenID` Connect Back-Channel Logout §2.4). Who acts for whom is said of
    // authority, and an ID token gives none.
    if let Some(claim) = ["events", "act", "may_act"].into_iter().find(|claim| claims.contains(claim)) {
        return Err(TokenError::NotIdToken(claim));
    }
    if let Some(claim) = IdTokenShape::of(issuer.profile).not_id_token(claims, iss) {
        return Err(TokenError::NotIdToken(claim));
    }
    let shape = Shape::of(issuer.profile);
    if check_type(compact, shape).is_ok() && shape.not_access_token(claims, iss).is_none() {
        return Err(TokenError::NotIdToken("typ"));
    }
    Ok(())
}

/// For whom it is (`OpenID` Connect Core §3.1.3.7, items 3 to 5), and the client to which it was issued.
fn addressed<'c>(claims: &'c Object<'_>) -> Result<(Audience, &'c str), TokenError> {
    let all = claim::audiences(claims)?;
    let sole = || match claims.get("aud") {
        Some(Json::Text(only)) => Some(only.as_ref()),
        Some(Json::List(items)) if items.len() == 1 => items.first().and_then(Json::as_text),
        _ => None,
    };
    let party = match claim::text(claims, "azp")? {
        Some(party) if all.iter().any(|aud| aud == party) => party,
        Some(_) => return Err(TokenError::Claim { claim: "azp", why: "not one of its audiences" }),
        None => sole().ok_or(TokenError::MissingClaim("azp"))?,
    };
    let mut all = all.into_iter();
    let first = all.next().ok_or(TokenError::MissingClaim("aud"))?;
    Ok((Audience::several(first, all.collect()), party))
}

#[cfg(test)]
mod tests;
