//! Reading single claims from a JSON object, each with the one form that it may have.

use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::lifetimes::CLOCK_SKEW;

use crate::error::TokenError;
use crate::strict_json::{Json, Object};

/// 9999-12-31T23:59:59Z, the end of RFC 3339 time.
const MAX_SECS: u64 = 253_402_300_799;
/// The most values of `aud` or `amr`.
pub(crate) const MAX_LIST: usize = 16;
/// The longest text of a claim, in bytes.
const MAX_TEXT: usize = 2048;

/// A `NumericDate` (RFC 7519 §2). A fraction is cut off.
pub(crate) fn time(claims: &Object<'_>, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let fault = |why| Err(TokenError::Claim { claim, why });
    let number = match claims.get(claim) {
        None => return Ok(None),
        Some(Json::Number(number)) => number,
        Some(_) => return fault("not a number of seconds"),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the guard bounds it to 0..=MAX_SECS"
    )]
    #[expect(clippy::cast_precision_loss, reason = "MAX_SECS is far below 2^53")]
    let secs = match (number.as_u64(), number.as_f64()) {
        (Some(secs), _) => secs,
        (None, Some(secs)) if secs >= 0.0 && secs <= MAX_SECS as f64 => secs as u64,
        _ => return fault("not a time after 1970"),
    };
    if secs > MAX_SECS {
        fault("not a time before the year 10000")
    } else {
        Ok(Some(Timestamp::from_secs(secs)))
    }
}

pub(crate) fn required_time(claims: &Object<'_>, claim: &'static str) -> Result<Timestamp, TokenError> {
    time(claims, claim)?.ok_or(TokenError::MissingClaim(claim))
}

/// A text of 1 to 2048 bytes without control characters.
pub(crate) fn text<'c>(claims: &'c Object<'_>, claim: &'static str) -> Result<Option<&'c str>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => checked_text(value, claim).map(Some),
    }
}

pub(crate) fn required_text<'c>(claims: &'c Object<'_>, claim: &'static str) -> Result<&'c str, TokenError> {
    text(claims, claim)?.ok_or(TokenError::MissingClaim(claim))
}

pub(crate) fn checked_text<'c>(value: &'c Json<'_>, claim: &'static str) -> Result<&'c str, TokenError> {
    let fault = |why| Err(TokenError::Claim { claim, why });
    match value {
        Json::Text(text) if text.is_empty() => fault("empty"),
        Json::Text(text) if text.len() > MAX_TEXT => fault("longer than 2048 bytes"),
        // Control characters would let a claim forge lines of a log.
        Json::Text(text) if text.chars().any(char::is_control) => fault("it has a control character"),
        Json::Text(text) => Ok(text),
        _ => fault("not a text"),
    }
}

/// Whether [`checked_text`] takes it.
pub(crate) fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A list of 1 to 16 texts.
pub(crate) fn texts(value: &Json<'_>, claim: &'static str) -> Result<Vec<String>, TokenError> {
    match value {
        Json::List(items) if items.is_empty() => Err(TokenError::Claim { claim, why: "an empty list" }),
        Json::List(items) if items.len() > MAX_LIST => {
            Err(TokenError::Claim { claim, why: "more than 16 values" })
        }
        Json::List(items) => items.iter().map(|item| checked_text(item, claim).map(str::to_owned)).collect(),
        _ => Err(TokenError::Claim { claim, why: "not a list" }),
    }
}

/// `aud`: one text or a list of them (RFC 7519 §4.1.3).
pub(crate) fn audiences(claims: &Object<'_>) -> Result<Vec<String>, TokenError> {
    match claims.get("aud") {
        None => Err(TokenError::MissingClaim("aud")),
        Some(one @ Json::Text(_)) => Ok(vec![checked_text(one, "aud")?.to_owned()]),
        Some(list) => texts(list, "aud"),
    }
}

/// Whether `audiences` is `expected` and nothing else, compared bytewise.
pub(crate) fn sole_audience(audiences: &[String], expected: &str) -> Result<(), TokenError> {
    match audiences {
        [only] if only == expected => Ok(()),
        _ => Err(TokenError::Audience),
    }
}

/// Checks the times of a token. `skew`: the clock skew that is allowed at `exp`, where it lets an expired
/// token count. At `iat` and `nbf` it cannot do that, and is always allowed.
pub(crate) fn check_times(
    (iat, nbf, exp): (Option<Timestamp>, Option<Timestamp>, Timestamp),
    now: Timestamp,
    skew: Duration,
) -> Result<(), TokenError> {
    if iat.is_some_and(|iat| exp <= iat) || nbf.is_some_and(|nbf| exp <= nbf) {
        return Err(TokenError::Claim { claim: "exp", why: "not after iat and nbf" });
    }
    if now >= exp.plus(skew) {
        return Err(TokenError::Expired);
    }
    let horizon = now.plus(CLOCK_SKEW);
    if iat.is_some_and(|iat| iat > horizon) || nbf.is_some_and(|nbf| nbf > horizon) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// Refuses claims that belong to another kind of token.
pub(crate) fn refuse(claims: &Object<'_>, foreign: &[&'static str]) -> Result<(), TokenError> {
    match foreign.iter().find(|claim| claims.contains(claim)) {
        Some(claim) => Err(TokenError::Claim { claim, why: "it belongs to another kind of token" }),
        None => Ok(()),
    }
}
