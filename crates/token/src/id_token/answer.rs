//! The answer of a provider's token endpoint (`OpenID` Connect Core §3.1.3.3, §3.1.3.4).

use mandate_core::Secret;
use mandate_core::names::{AccessTokenType, IntrospectionMember, Parameter, ResponseParameter};

use crate::strict_json::{self, Json, Object};

/// The longest error code of a provider that is repeated in a record.
const MAX_CODE: usize = 40;

/// The tokens that came for a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// It is compared with `at_hash`, and then forgotten: this server asks the provider nothing else.
    pub access_token: Secret,
    /// Not verified yet.
    pub id_token: Secret,
    /// By which the provider can be asked later, if it gave one.
    pub refresh_token: Option<Secret>,
}

/// The tokens that came for a refresh token (`OpenID` Connect Core §12.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewedTokens {
    /// As that of [`TokenAnswer`].
    pub access_token: Secret,
    /// Not verified yet. The provider need not give one.
    pub id_token: Option<Secret>,
    /// It takes the place of the one that was used (RFC 6749 §6).
    pub refresh_token: Option<Secret>,
}

/// The longest refresh token that is kept, in bytes.
const MAX_REFRESH_TOKEN: usize = 8 * 1024;

/// Why an answer is not one with tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not one JSON object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A member is missing, or is not a text.
    #[error("the member `{0}` is missing or not a text")]
    Member(&'static str),
    /// Another type of access token than `Bearer` (`OpenID` Connect Core §3.1.3.3).
    #[error("the access token is not a Bearer token")]
    TokenType,
}

/// Reads an answer with status 200.
///
/// # Errors
/// It is not what the standard says. No error repeats a value of the answer.
pub fn tokens(body: &[u8]) -> Result<TokenAnswer, AnswerError> {
    let RenewedTokens { access_token, id_token, refresh_token } = renewed(body)?;
    let id_token = id_token.ok_or(AnswerError::Member(ResponseParameter::IdToken.as_str()))?;
    Ok(TokenAnswer { access_token, id_token, refresh_token })
}

/// Reads an answer with status 200 to a refresh token.
///
/// # Errors
/// As for [`tokens`].
pub fn renewed(body: &[u8]) -> Result<RenewedTokens, AnswerError> {
    let members = strict_json::object(body).map_err(|error| AnswerError::Json(error.to_string()))?;
    let text = |name: &'static str| {
        let found = members.get(name).and_then(Json::as_text).filter(|text| !text.is_empty());
        found.ok_or(AnswerError::Member(name))
    };
    let optional = |name: &'static str| members.contains(name).then(|| text(name)).transpose();
    let kind = text(IntrospectionMember::TokenType.as_str())?;
    if !kind.eq_ignore_ascii_case(AccessTokenType::Bearer.as_str()) {
        return Err(AnswerError::TokenType);
    }
    let refresh = Parameter::RefreshToken.as_str();
    let refresh_token = optional(refresh)?;
    if refresh_token.is_some_and(|token| token.len() > MAX_REFRESH_TOKEN) {
        return Err(AnswerError::Member(refresh));
    }
    Ok(RenewedTokens {
        access_token: Secret::new(text(ResponseParameter::AccessToken.as_str())?),
        id_token: optional(ResponseParameter::IdToken.as_str())?.map(Secret::new),
        refresh_token: refresh_token.map(Secret::new),
    })
}

/// The `error` of a refusal (RFC 6749 §5.2), if it reads like a code. Its description is never repeated.
pub fn error_code(body: &[u8]) -> Option<String> {
    let members = strict_json::object(body).ok()?;
    of(&members)
}

fn of(members: &Object<'_>) -> Option<String> {
    let code = members.get(ResponseParameter::Error.as_str()).and_then(Json::as_text)?;
    harmless_code(code).map(str::to_owned)
}

/// An error code that can be shown and recorded: short, and made of lower case letters, digits and `_`.
pub fn harmless_code(code: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    Some(code).filter(|code| (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use mandate_core::Secret;
    use serde_json::{Value, json};

    use super::{AnswerError as E, RenewedTokens, TokenAnswer, error_code, harmless_code, renewed, tokens};

    fn read(body: &Value) -> Result<TokenAnswer, E> {
        tokens(body.to_string().as_bytes())
    }

    #[test]
    fn the_tokens_of_an_answer_are_read_and_the_rest_is_ignored() {
        let body = json!({
            "access_token": "a", "id_token": "i", "token_type": "bearer", "expires_in": "soon", "x": [1],
        });
        let mut expected =
            TokenAnswer { access_token: Secret::new("a"), id_token: Secret::new("i"), refresh_token: None };
        assert_eq!(read(&body), Ok(expected.clone()));
        assert!(!format!("{expected:?}").contains("\"a\""));
        let mut body = body;
        body["refresh_token"] = json!("r");
        expected.refresh_token = Some(Secret::new("r"));
        assert_eq!(read(&body), Ok(expected));
    }

    #[test]
    fn the_answer_to_a_refresh_token_needs_no_id_token_and_no_next_one() {
        let of = |body: &Value| renewed(body.to_string().as_bytes());
        let only = json!({"access_token": "a", "token_type": "Bearer"});
        let expected = RenewedTokens { access_token: Secret::new("a"), id_token: None, refresh_token: None };
        assert_eq!(of(&only), Ok(expected));
        for name in ["id_token", "refresh_token"] {
            for bad in [Value::Null, json!(7), json!([]), json!({}), json!("")] {
                let mut body = only.clone();
                body[name] = bad.clone();
                assert!(matches!(of(&body), Err(E::Member(member)) if member == name), "{name}: {bad}");
            }
        }
        let mut long = only.clone();
        long["refresh_token"] = json!("r".repeat(8 * 1024 + 1));
        assert_eq!(of(&long), Err(E::Member("refresh_token")));
    }

    #[test]
    fn an_answer_with_members_of_other_types_is_refused() {
        let good = json!({"access_token": "a", "id_token": "i", "token_type": "Bearer"});
        for name in ["access_token", "id_token", "token_type"] {
            for bad in [Value::Null, json!(7), json!(["a"]), json!({}), json!(true), json!("")] {
                let mut body = good.clone();
                body[name] = bad.clone();
                assert!(matches!(read(&body), Err(E::Member(member)) if member == name), "{name}: {bad}");
            }
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name);
            assert!(matches!(read(&body), Err(E::Member(member)) if member == name), "{name}");
        }
        let mut other = good.clone();
        other["token_type"] = json!("DPoP");
        assert_eq!(read(&other), Err(E::TokenType));
        for bad in ["", "[]", "null", "<html>", "{\"id_token\":\"i\",\"id_token\":\"j\"}", "{} {}"] {
            assert!(matches!(tokens(bad.as_bytes()), Err(E::Json(_))), "{bad}");
        }
    }

    #[test]
    fn of_an_error_only_a_harmless_code_is_kept() {
        let body = json!({"error": "invalid_grant", "error_description": "<script>"});
        assert_eq!(error_code(body.to_string().as_bytes()).as_deref(), Some("invalid_grant"));
        for bad in ["", "<b>", "In", "a b", "a\n", &"a".repeat(41)] {
            assert_eq!(harmless_code(bad), None, "{bad}");
            assert_eq!(error_code(json!({ "error": bad }).to_string().as_bytes()), None, "{bad}");
        }
        assert_eq!(error_code(b"<html>"), None);
    }
}
