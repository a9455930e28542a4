//! Client authentication with `private_key_jwt` (RFC 7523 §2.2, §3; RFC 7523bis).

use std::time::Duration;

use mandate_core::lifetimes::MAX_CLIENT_ASSERTION_LIFETIME;
use mandate_core::{ClientId, Timestamp};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::strict_json::{self, Object};

/// A verified client assertion. The caller refuses a `jti` that the same client has used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAssertion {
    /// `iss` and `sub`, which are the same.
    pub client_id: ClientId,
    /// `jti`, unique per client.
    pub jti: String,
    /// `exp`: how long the `jti` must be remembered.
    pub exp: Timestamp,
}

/// Verifies a client assertion with the client's registered keys.
///
/// `aud` must be `audience` as its only value. A list of several values is refused, so that no other server
/// can make a client sign an assertion for us. `audience` is the authorization server's issuer identifier
/// (RFC 7523bis), or its token endpoint (RFC 7523 §3) for clients whose registry entry says so.
pub fn verify(
    token: &str,
    keys: &KeySet,
    audience: &str,
    now: Timestamp,
) -> Result<ClientAssertion, TokenError> {
    let compact = parse(token)?;
    // Each assertion is used once: there is nothing to remember.
    compact.verify(&SignatureCheck {
        keys,
        key_use: KeyUse::Signature,
        allowed: Algorithm::ALL,
        form: EcdsaForm::Either,
        memo: None,
        now,
    })?;
    let payload = compact.payload()?;
    let claims = strict_json::object(&payload)?;
    let client_id = client(&claims)?;
    claim::sole_audience(&claim::audiences(&claims)?, audience)?;
    let exp = claim::required_time(&claims, "exp")?;
    claim::check_times(
        (claim::time(&claims, "iat")?, claim::time(&claims, "nbf")?, exp),
        now,
        Duration::ZERO,
    )?;
    if exp > now.plus(MAX_CLIENT_ASSERTION_LIFETIME) {
        return Err(TokenError::Lifetime);
    }
    claim::refuse(&claims, &["act", "may_act", "events"])?;
    let jti = claim::required_text(&claims, "jti")?.to_owned();
    Ok(ClientAssertion { client_id, jti, exp })
}

/// The client that an assertion names. Nothing is verified: the answer may only be used to choose the keys.
pub fn peek_client_id(token: &str) -> Result<ClientId, TokenError> {
    let payload = parse(token)?.payload()?;
    client(&strict_json::object(&payload)?)
}

fn parse(token: &str) -> Result<Compact<'_>, TokenError> {
    let compact = Compact::parse(token, OtherMembers::Ignore)?;
    // RFC 7523bis names `client-authentication+jwt`; older clients write `JWT` or nothing.
    match compact.typ.as_deref() {
        None | Some("JWT" | "client-authentication+jwt") => Ok(compact),
        Some(other) => Err(TokenError::Type(shortened(other))),
    }
}

fn client(claims: &Object<'_>) -> Result<ClientId, TokenError> {
    let sub = claim::required_text(claims, "sub")?;
    // RFC 7521 §5.2 and RFC 7523 §3: both are the client's id.
    if claim::required_text(claims, "iss")? != sub {
        return Err(TokenError::Issuer);
    }
    sub.parse().map_err(|_| TokenError::Claim { claim: "sub", why: "not a client id" })
}

#[cfg(test)]
mod tests;
