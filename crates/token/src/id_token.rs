//! ID tokens of identity providers at which this server is a client (`OpenID` Connect Core §2, §3.1.3.7).
//!
//! An ID token says that a person has just authenticated, for one login that this server began. It is not an
//! access token and gives no authority by itself. Where the entry of its issuer says so, an ID token for another
//! client is a subject token ([`identify`]).

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::lifetimes::CLOCK_SKEW;
use mandate_core::registry::TokenProfile;
use mandate_core::{Issuer, Timestamp};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck, ZIP};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::mapped::{MappedClaims, Mapping};
use crate::strict_json::{self, Json, Object};

mod answer;
mod subject;

pub use answer::{AnswerError, RenewedTokens, TokenAnswer, error_code, harmless_code, renewed, tokens};
pub use subject::{IdentifiedPerson, identify};

/// The claim of a product's ID tokens that names the person for as long as the person has an account. It has
/// the value that the claim of the product's access tokens has, so that a person has one entry.
pub const fn person_claim(profile: TokenProfile) -> &'static str {
    match profile {
        // `sub` is another one for each application.
        TokenProfile::EntraV1 | TokenProfile::EntraV2 => "oid",
        // Okta's access tokens have the user's id in `uid`, its ID tokens in `sub`.
        TokenProfile::Okta
        | TokenProfile::Rfc9068
        | TokenProfile::Keycloak
        | TokenProfile::Auth0
        | TokenProfile::Curity
        | TokenProfile::Pingam
        | TokenProfile::Zitadel
        | TokenProfile::Cognito
        // An address (`email`) can become another person's; `sub` never does.
        | TokenProfile::Google => "sub",
    }
}

/// The scope that a login asks a provider for: who the person is, and nothing else (`OpenID` Connect Core
/// §3.1.2.1).
pub const fn login_scope(profile: TokenProfile) -> &'static str {
    match profile {
        // Entra writes `oid` only with `profile`.
        TokenProfile::EntraV1 | TokenProfile::EntraV2 => "openid profile",
        TokenProfile::Okta
        | TokenProfile::Rfc9068
        | TokenProfile::Keycloak
        | TokenProfile::Auth0
        | TokenProfile::Curity
        | TokenProfile::Pingam
        | TokenProfile::Zitadel
        | TokenProfile::Cognito
        | TokenProfile::Google => "openid",
    }
}

/// The login that an ID token must be the answer to.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The provider, compared bytewise with `iss`.
    pub issuer: &'a Issuer,
    /// The provider's keys.
    pub keys: &'a KeySet,
    /// This server's client id at the provider: the only `aud`.
    pub client_id: &'a str,
    /// The `nonce` that was sent with this login and no other. `None` for a token that came for a refresh token:
    /// it needs none (§12.2), because it was asked for by what the login gave.
    pub nonce: Option<&'a str>,
    /// When the login began: no token that was issued before is the answer to it.
    pub since: Timestamp,
    /// The access token that came with the ID token, for `at_hash`.
    pub access_token: &'a str,
    /// The claim that names the person: `sub`, or another one that the provider's product keeps the same for
    /// all its clients.
    pub subject: &'static str,
    /// Claims that the provider's entry requires, with these texts as values.
    pub required: &'a BTreeMap<String, String>,
    /// What the provider's entry reads besides.
    pub mapping: Mapping<'a>,
    /// The time of the check.
    pub now: Timestamp,
}

/// A verified ID token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdToken {
    /// Who the person is to the provider: the text of the claim [`Expect::subject`].
    pub subject: String,
    /// When the person proved who they are, if the provider says it: `auth_time`.
    pub auth_time: Option<Timestamp>,
    /// How strong that proof was: `acr`.
    pub acr: Option<String>,
    /// By which methods: `amr`.
    pub amr: Vec<String>,
    /// The person's session at the provider: `sid` (`OpenID` Connect Back-Channel Logout §2.1).
    pub session: Option<String>,
    /// What [`Expect::mapping`] names.
    pub mapped: MappedClaims,
}

/// Verifies an ID token that came from the token endpoint of its provider (`OpenID` Connect Core §3.1.3.7).
///
/// It is stricter than the standard in three ways. `aud` is this server's client id and nothing else: no other
/// audience is known, so none is trusted. The signature is always checked, although the token came over TLS.
/// And a token that was issued before the login began is refused.
pub fn verify(token: &str, expect: &Expect<'_>) -> Result<IdToken, TokenError> {
    let compact = Compact::parse(token, OtherMembers::Ignore)?;
    // `typ` may be absent (RFC 7519 §5.1). Another type is another kind of token (RFC 8725 §3.11).
    if let Some(typ) = compact.typ.as_deref().filter(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(TokenError::Type(shortened(typ)));
    }
    if compact.others.iter().any(|name| name == ZIP) {
        return Err(TokenError::Header(ZIP.to_owned()));
    }
    // Each is used once: there is nothing to remember.
    compact.verify(&SignatureCheck {
        keys: expect.keys,
        key_use: KeyUse::Signature,
        allowed: Algorithm::ALL,
        form: EcdsaForm::Either,
        memo: None,
        now: expect.now,
    })?;
    let payload = compact.payload()?;
    let claims = strict_json::object(&payload)?;
    // A logout token has `events` and no `nonce` (`OpenID` Connect Back-Channel Logout §2.4).
    claim::refuse(&claims, &["events", "act", "may_act"])?;
    addressed(&claims, expect.issuer, expect.client_id)?;
    let auth_time = times(&claims, expect)?;
    if let Some(nonce) = expect.nonce
        && claim::required_text(&claims, "nonce")? != nonce
    {
        return Err(TokenError::Claim { claim: "nonce", why: "not that of this login" });
    }
    access_token_hash(&claims, compact.algorithm, expect.access_token)?;
    // `sub` is always there (§2), also where another claim names the person.
    claim::required_text(&claims, "sub")?;
    let has = |name: &str, value: &str| claims.get(name).and_then(Json::as_text) == Some(value);
    if let Some((name, _)) = expect.required.iter().find(|(name, value)| !has(name, value)) {
        return Err(TokenError::RequiredClaim(name.clone()));
    }
    Ok(IdToken {
        subject: claim::required_text(&claims, expect.subject)?.to_owned(),
        auth_time,
        acr: claim::text(&claims, "acr")?.map(str::to_owned),
        amr: methods(&claims)?,
        session: claim::text(&claims, "sid")?.map(str::to_owned),
        mapped: MappedClaims::read(&claims, expect.mapping)?,
    })
}

/// By whom and for whom (§3.1.3.7, items 2 to 5).
pub(crate) fn addressed(claims: &Object<'_>, issuer: &Issuer, client_id: &str) -> Result<(), TokenError> {
    if claim::required_text(claims, "iss")? != issuer.as_str() {
        return Err(TokenError::Issuer);
    }
    claim::sole_audience(&claim::audiences(claims)?, client_id)?;
    match claim::text(claims, "azp")? {
        Some(party) if party != client_id => {
            Err(TokenError::Claim { claim: "azp", why: "another client than this server" })
        }
        _ => Ok(()),
    }
}

/// The times (§3.1.3.7, items 9, 10 and 13). Returns `auth_time`.
fn times(claims: &Object<'_>, expect: &Expect<'_>) -> Result<Option<Timestamp>, TokenError> {
    let (iat, exp) = (claim::required_time(claims, "iat")?, claim::required_time(claims, "exp")?);
    claim::check_times((Some(iat), claim::time(claims, "nbf")?, exp), expect.now, CLOCK_SKEW)?;
    if iat.plus(CLOCK_SKEW) < expect.since {
        return Err(TokenError::Age);
    }
    let auth_time = claim::time(claims, "auth_time")?;
    if auth_time.is_some_and(|at| at > expect.now.plus(CLOCK_SKEW)) {
        return Err(TokenError::NotYetValid);
    }
    Ok(auth_time)
}

/// If there is an `at_hash`, it is the left half of the access token's hash by the hash function of `alg`
/// (§3.1.3.6, §3.1.3.8).
fn access_token_hash(
    claims: &Object<'_>,
    algorithm: Algorithm,
    access_token: &str,
) -> Result<(), TokenError> {
    use Algorithm as A;
    let Some(said) = claim::text(claims, "at_hash")? else { return Ok(()) };
    let function = match algorithm {
        A::Es256 | A::Rs256 | A::Ps256 => &SHA256,
        A::Es384 | A::Rs384 | A::Ps384 => &SHA384,
        A::Es512 | A::Rs512 | A::Ps512 => &SHA512,
    };
    let hash = digest(function, access_token.as_bytes());
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    if URL_SAFE_NO_PAD.encode(left) == said {
        Ok(())
    } else {
        Err(TokenError::Claim { claim: "at_hash", why: "not of the access token that came with it" })
    }
}

/// `amr`; some providers write an empty list.
fn methods(claims: &Object<'_>) -> Result<Vec<String>, TokenError> {
    match claims.get("amr") {
        None => Ok(Vec::new()),
        Some(Json::List(items)) if items.is_empty() => Ok(Vec::new()),
        Some(list) => claim::texts(list, "amr"),
    }
}

#[cfg(test)]
mod tests;
