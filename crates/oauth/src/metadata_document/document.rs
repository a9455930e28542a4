//! A client's metadata as its URL gives them (draft-ietf-oauth-client-id-metadata-document-02 §4).

use mandate_core::names::{ClientMethod, GrantType, ResponseType};
use mandate_core::{ClientId, SelfAuthentication, SelfDescribed, SelfKeys, Timestamp};
use mandate_token::KeySet;
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
    /// It lacks `client_name`, which MCP requires.
    #[error("it has no client_name")]
    Name,
    /// No redirect URI, too many, or one that is neither https nor loopback.
    #[error("redirect_uris must have 1 to 10 URIs, each https, or http on 127.0.0.1, [::1] or localhost")]
    Redirects,
    /// A method of authentication that is not supported.
    #[error("token_endpoint_auth_method must be none or private_key_jwt")]
    Method,
    /// No keys where there must be some, or keys in two places, or on another host.
    #[error(
        "private_key_jwt needs one of jwks and jwks_uri, and jwks_uri must be on the host of the document"
    )]
    Keys,
    /// What should be its keys is no set of public keys.
    #[error("its keys are not a JWK Set with a public key that can be used, or not said to be JSON")]
    KeySet,
    /// No authorization codes.
    #[error("grant_types must have authorization_code, and response_types code")]
    Grants,
}

/// The members that are looked at. Everything else has no effect: the URLs of logos and policies are never
/// fetched, and that of keys only if the client authenticates by them.
#[derive(Deserialize)]
struct Document {
    client_id: String,
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    client_secret: Option<Value>,
    client_secret_expires_at: Option<Value>,
}

/// `application/json`, or a type that ends in `+json` (§4).
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The keys in a JWK Set. A private key makes the whole set useless: who reads the document can sign by it.
pub(super) fn keys(jwks: &[u8]) -> Result<KeySet, DocumentFault> {
    let keys = KeySet::from_json(jwks).map_err(|_| DocumentFault::KeySet)?;
    if keys.is_empty() { Err(DocumentFault::KeySet) } else { Ok(keys) }
}

/// Where the keys of a client are that authenticates by them (§8.2): in its document, or at an address on the host
/// of the document, never both (RFC 7591 §2).
fn keys_of(id: &ClientId, jwks: Option<Value>, jwks_uri: Option<String>) -> Result<SelfKeys, DocumentFault> {
    match (jwks, jwks_uri) {
        (Some(jwks), None) => {
            let jwks = jwks.to_string();
            keys(jwks.as_bytes())?;
            Ok(SelfKeys::Listed(jwks))
        }
        (None, Some(uri)) => {
            // In the form that the client's id must have, so that it is the same host for every reader.
            let at = uri.parse::<ClientId>().ok().and_then(|uri| uri.metadata_url());
            let at = at.zip(id.metadata_url()).filter(|(keys, own)| keys.origin() == own.origin());
            at.map(|_| SelfKeys::At(uri)).ok_or(DocumentFault::Keys)
        }
        (Some(_), Some(_)) | (None, None) => Err(DocumentFault::Keys),
    }
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
    let method = document.token_endpoint_auth_method.as_deref().map(ClientMethod::named);
    let authentication = match method {
        None | Some(Some(ClientMethod::None)) => SelfAuthentication::None,
        Some(Some(ClientMethod::PrivateKeyJwt)) => {
            SelfAuthentication::PrivateKeyJwt(keys_of(id, document.jwks, document.jwks_uri)?)
        }
        Some(
            None
            | Some(ClientMethod::ClientSecretBasic | ClientMethod::ClientSecretPost | ClientMethod::SpiffeJwt),
        ) => return Err(F::Method),
    };
    // A client may list what other servers give it, such as refresh tokens.
    let has =
        |all: Option<Vec<String>>, wanted: &str| all.is_none_or(|all| all.iter().any(|one| one == wanted));
    if !has(document.grant_types, GrantType::AuthorizationCode.as_str())
        || !has(document.response_types, ResponseType::Code.as_str())
    {
        return Err(F::Grants);
    }
    // A name that could look like something else is not shown; the host is.
    let name = shown_name(document.client_name.filter(|name| !name.is_empty()).ok_or(F::Name)?);
    Ok(SelfDescribed {
        id: id.clone(),
        name,
        redirect_uris: document.redirect_uris,
        authentication,
        registered: now,
    })
}

#[cfg(test)]
mod tests {
    use mandate_core::{ClientId, SelfAuthentication, SelfKeys, Timestamp};
    use mandate_testkit::hostile_issuer::TestKey;
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
        let mut odd = document();
        odd["client_name"] = json!("Notes\u{202e}");
        let odd = read(&id, Some("application/json"), odd.to_string().as_bytes(), Timestamp::from_secs(1));
        assert_eq!(odd.unwrap().name, None, "not shown");
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
            ("token_endpoint_auth_method", json!("spiffe_jwt"), F::Method),
            ("token_endpoint_auth_method", json!("self_signed_tls_client_auth"), F::Method),
            // The keys of this one are at a foreign address.
            ("token_endpoint_auth_method", json!("private_key_jwt"), F::Keys),
            ("grant_types", json!(["client_credentials"]), F::Grants),
            ("grant_types", json!([]), F::Grants),
            ("grant_types", json!(["refresh_token"]), F::Grants),
            ("response_types", json!(["token"]), F::Grants),
        ] {
            assert_eq!(with(member, value.clone()), Some(expected), "{member}: {value}");
        }
    }

    #[test]
    fn a_client_with_keys_has_them_in_its_document_or_on_its_host() {
        let id: ClientId = URL.parse().unwrap();
        let jwks: Value = serde_json::from_str(&TestKey::generate().jwks()).unwrap();
        let of = |changes: Value| {
            let mut all = document();
            all.as_object_mut().unwrap().remove("jwks_uri");
            all["token_endpoint_auth_method"] = json!("private_key_jwt");
            all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            read(&id, Some("application/json"), all.to_string().as_bytes(), Timestamp::from_secs(1))
                .map(|client| client.authentication)
        };
        let listed = SelfAuthentication::PrivateKeyJwt(SelfKeys::Listed(jwks.to_string()));
        assert_eq!(of(json!({"jwks": jwks})), Ok(listed));
        let own = "https://client.example/keys/jwks.json?v=1";
        let at = SelfAuthentication::PrivateKeyJwt(SelfKeys::At(own.to_owned()));
        assert_eq!(of(json!({"jwks_uri": own})), Ok(at));
        let private = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}]});
        for (what, changes, expected) in [
            ("none", json!({}), F::Keys),
            ("both", json!({"jwks": jwks, "jwks_uri": own}), F::Keys),
            ("another host", json!({"jwks_uri": "https://other.example/jwks.json"}), F::Keys),
            ("a host below", json!({"jwks_uri": "https://a.client.example/jwks.json"}), F::Keys),
            ("another port", json!({"jwks_uri": "https://client.example:8443/jwks.json"}), F::Keys),
            ("plain", json!({"jwks_uri": "http://client.example/jwks.json"}), F::Keys),
            ("a name in it", json!({"jwks_uri": "https://u@client.example/jwks.json"}), F::Keys),
            ("a fragment", json!({"jwks_uri": "https://client.example/jwks.json#x"}), F::Keys),
            ("another form", json!({"jwks_uri": "https://CLIENT.example/jwks.json"}), F::Keys),
            ("no URL", json!({"jwks_uri": "jwks.json"}), F::Keys),
            ("no text", json!({"jwks_uri": 7}), F::NotMetadata),
            ("no set", json!({"jwks": "x"}), F::KeySet),
            ("no keys", json!({"jwks": {"keys": []}}), F::KeySet),
            ("a private key", json!({"jwks": private}), F::KeySet),
            ("a shared key", json!({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}), F::KeySet),
        ] {
            assert_eq!(of(changes), Err(expected), "{what}");
        }
        let none = of(json!({"jwks": jwks, "token_endpoint_auth_method": "none"}));
        assert_eq!(none, Ok(SelfAuthentication::None), "keys that are for something else");
    }
}
