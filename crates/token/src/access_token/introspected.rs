//! What an issuer says of an opaque access token (RFC 7662 §2.2).
//!
//! The answer has to say everything that a JWT of the issuer's product would say: nothing is guessed. Only
//! `token_type` shows that it is about an access token, because an issuer may answer the same about its refresh
//! tokens.

use mandate_core::Timestamp;
use mandate_core::names::{AccessTokenType, IntrospectionMember};
use mandate_core::registry::TrustedIssuer;

use super::{AccessToken, Profile, Source, read};
use crate::claim;
use crate::compact::MAX_TOKEN_LEN;
use crate::discovery::is_json;
use crate::error::TokenError;
use crate::strict_json::{self, Json};

/// Why an answer is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectionFault {
    /// It is no answer to an introspection request, so that nothing is known of the token.
    #[error("the answer is not JSON with one meaning: {0}")]
    Answer(String),
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The token of which the issuer says this, as [`super::Unverified::verify`] returns it. Its `jti` is a digest of
/// the token.
///
/// # Errors
/// The token is not active, the answer is longer than [`MAX_TOKEN_LEN`], or it does not say everything that
/// is needed.
pub fn introspected(
    token: &str,
    (content_type, body): (Option<&str>, &[u8]),
    issuer: &TrustedIssuer,
    now: Timestamp,
) -> Result<AccessToken, IntrospectionFault> {
    if !is_json(content_type) {
        return Err(IntrospectionFault::Answer("its content type is not application/json".to_owned()));
    }
    // As a token that says as much: what is read of it is written into the record.
    if body.len() > MAX_TOKEN_LEN {
        return Err(TokenError::TooLarge.into());
    }
    let answer = strict_json::object(body).map_err(|error| IntrospectionFault::Answer(error.to_string()))?;
    let (active, token_type) =
        (IntrospectionMember::Active.as_str(), IntrospectionMember::TokenType.as_str());
    match answer.get(active) {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Err(TokenError::Inactive.into()),
        None => return Err(TokenError::MissingClaim(active).into()),
        Some(_) => return Err(TokenError::Claim { claim: active, why: "neither true nor false" }.into()),
    }
    if !claim::required_text(&answer, token_type)?.eq_ignore_ascii_case(AccessTokenType::Bearer.as_str()) {
        let why = "not that of an access token that its bearer may use";
        return Err(TokenError::Claim { claim: token_type, why }.into());
    }
    let read = read(Source::Opaque(token), &answer, (&issuer.url, now, Profile::of_issuer(issuer)))?;
    Ok(read.read_by_the_entry(&answer, issuer)?)
}

#[cfg(test)]
mod tests;
