//! A client's metadata as its URL gives them (draft-ietf-oauth-client-id-metadata-document-02 §4).

use mandate_core::names::{ClientMethod, GrantType, ResponseType};
use mandate_core::{ClientId, SelfAuthentication, SelfDescribed, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::redirect::may_be_of_itself;
use crate::shown_name::shown_name;

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    /// Not a JSON object of client metadata, or not said to be JSON.
    #[error("it is not a JSON object of client metadata")]
    NotMetadata,
    /// `client_id` is not the URL.
    #[error("client_id is not the URL of the document")]
    Id,
    /// A shared secret, which cannot be in a public document.
    #[error("it has a client_secret")]
    Secret,
    /// No name, which people would be shown.
    #[error("it has no client_name of 1 to 64 letters, digits, spaces and punctuation marks")]
    Name,
    /// No redirect URI, too many, or one that is neither https nor loopback.
    #[error("redirect_uris must have 1 to 10 URIs, each https, or http on 127.0.0.1, [::1] or localhost")]
    Redirects,
    /// A method of authentication that is not supported.
    #[error("token_endpoint_auth_method must be none")]
    Method,
    /// No authorization codes.
    #[error("grant_types must have authorization_code, and response_types code")]
    Grants,
}

/// The members that are looked at. Everything else has no effect: the URLs of logos, policies and keys are
/// never fetched.
#[derive(Deserialize)]
struct Document {
    client_id: String,
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_secret: Option<Value>,
    client_secret_expires_at: Option<Value>,
}

/// `application/json`, or a type that ends in `+json` (§4).
fn is_json(content_type: Option<&str>) -> bool {
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The client that a document at the URL `id` describes.
pub(super) fn read(
    id: &ClientId,
    content_type: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<SelfDescribed, DocumentFault> {
    use DocumentFault as F;
    if !is_json(content_type) {
        return Err(F::NotMetadata);
    }
    let document: Document = serde_json::from_slice(body).map_err(|_| F::NotMetadata)?;
    // §4: simple string comparison.
    if document.client_id != id.as_str() {
        return Err(F::Id);
    }
    // §4.1.
    if document.client_secret.is_some() || document.client_secret_expires_at.is_some() {
        return Err(F::Secret);
    }
    if !may_be_of_itself(&document.redirect_uris) {
        return Err(F::Redirects);
    }
    // Without a method, RFC 7591 §2 says client_secret_basic, which §4.1 forbids: what is left is none.
    let method = document.token_endpoint_auth_method;
    if method.is_some_and(|method| ClientMethod::named(&method) != Some(ClientMethod::None)) {
        return Err(F::Method);
    }
    // A client may list what other servers give it, such as refresh tokens.
    let has =
        |all: Option<Vec<String>>, wanted: &str| all.is_none_or(|all| all.iter().any(|one| one == wanted));
    if !has(document.grant_types, GrantType::AuthorizationCode.as_str())
        || !has(document.response_types, ResponseType::Code.as_str())
    {
        return Err(F::Grants);
    }
    let name = document.client_name.and_then(shown_name).ok_or(F::Name)?;
    Ok(SelfDescribed {
        id: id.clone(),
        name: Some(name),
        redirect_uris: document.redirect_uris,
        authentication: SelfAuthentication::None,
        registered: now,
    })
}

#[cfg(test)]
mod tests {
    use mandate_core::{ClientId, Timestamp};
    use serde_json::{Value, json};

    use super::{DocumentFault as F, read};

    const URL: &str = "https://client.example/oauth/client.json";

    fn document() -> Value {
        json!({
            "client_id": URL,
            "client_name": "Notes",
            "redirect_uris": ["http://127.0.0.1/callback", "https://client.example/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "logo_uri": "http://169.254.169.254/",
            "jwks_uri": "http://169.254.169.254/",
        })
    }

    fn fault(content_type: Option<&str>, document: &str) -> Option<F> {
        let id: ClientId = URL.parse().unwrap();
        read(&id, content_type, document.as_bytes(), Timestamp::from_secs(1)).err()
    }

    fn with(member: &str, value: Value) -> Option<F> {
        let mut all = document();
        all.as_object_mut().unwrap().insert(member.to_owned(), value);
        fault(Some("application/json"), &all.to_string())
    }

    #[test]
    fn a_document_describes_a_public_client() {
        let id: ClientId = URL.parse().unwrap();
        for media in
            ["application/json", "application/JSON; charset=utf-8", "application/client-metadata+json"]
        {
            let found = read(&id, Some(media), document().to_string().as_bytes(), Timestamp::from_secs(1));
            let found = found.unwrap();
            assert_eq!((found.id.as_str(), found.name.as_deref()), (URL, Some("Notes")), "{media}");
            assert_eq!(found.redirect_uris.len(), 2);
        }
        for absent in ["grant_types", "response_types", "token_endpoint_auth_method", "logo_uri"] {
            let mut less = document();
            less.as_object_mut().unwrap().remove(absent);
            assert_eq!(fault(Some("application/json"), &less.to_string()), None, "{absent}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let text = document().to_string();
        for media in [None, Some("text/html"), Some("text/plain"), Some("image/svg+json"), Some("")] {
            assert_eq!(fault(media, &text), Some(F::NotMetadata), "{media:?}");
        }
        for body in ["", "<html>", "[]", "null", "{}", "{\"client_id\":1}", &text[..text.len() - 1]] {
            assert_eq!(fault(Some("application/json"), body), Some(F::NotMetadata), "{body}");
        }
        for (member, value, expected) in [
            ("client_id", json!("https://client.example/oauth/other.json"), F::Id),
            ("client_id", json!("https://CLIENT.example/oauth/client.json"), F::Id),
            ("client_id", json!("https://client.example:443/oauth/client.json"), F::Id),
            ("client_secret", json!("s"), F::Secret),
            ("client_secret", json!(7), F::Secret),
            ("client_secret_expires_at", json!(0), F::Secret),
            ("client_name", json!(""), F::Name),
            ("client_name", json!(null), F::Name),
            ("client_name", json!("Notes\u{202e}"), F::Name),
            ("client_name", json!("x".repeat(65)), F::Name),
            ("redirect_uris", json!([]), F::Redirects),
            ("redirect_uris", json!(["http://client.example/callback"]), F::Redirects),
            (
                "redirect_uris",
                json!(["https://client.example/callback", "javascript:alert(1)"]),
                F::Redirects,
            ),
            ("redirect_uris", json!(vec!["https://client.example/callback"; 11]), F::Redirects),
            ("redirect_uris", json!("https://client.example/callback"), F::NotMetadata),
            ("token_endpoint_auth_method", json!("client_secret_basic"), F::Method),
            ("token_endpoint_auth_method", json!("client_secret_post"), F::Method),
            ("token_endpoint_auth_method", json!("client_secret_jwt"), F::Method),
            ("token_endpoint_auth_method", json!("private_key_jwt"), F::Method),
            ("grant_types", json!(["client_credentials"]), F::Grants),
            ("grant_types", json!([]), F::Grants),
            ("grant_types", json!(["refresh_token"]), F::Grants),
            ("response_types", json!(["token"]), F::Grants),
        ] {
            assert_eq!(with(member, value.clone()), Some(expected), "{member}: {value}");
        }
    }
}
