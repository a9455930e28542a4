//! The endpoints of an identity provider at which people log in (`OpenID` Connect Discovery §3).

use mandate_core::Issuer;
use mandate_core::names::ClientMethod;
use url::Url;

use super::{MetadataError, acceptable, own_members, text};
use crate::strict_json::{Json, Object};

/// What a login needs of a provider's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderMetadata {
    /// Where the browser is sent.
    pub authorization_endpoint: Url,
    /// Where the code is redeemed.
    pub token_endpoint: Url,
    /// How this server may authenticate at the token endpoint, of the methods that it knows.
    pub client_methods: Vec<ClientMethod>,
    /// Whether each answer through the browser has `iss` (RFC 9207 §3).
    pub answers_with_issuer: bool,
    /// Where the issuer says what an opaque token is (RFC 8414 §2); `None` also if that address would lower the
    /// protection of the issuer.
    pub introspection_endpoint: Option<Url>,
    /// How this server may authenticate there. If the metadata do not say it, as at the token endpoint.
    pub introspection_methods: Vec<ClientMethod>,
}

/// The endpoints in a document that is the metadata of `issuer`.
///
/// # Errors
/// The document is not that of the issuer, lacks an endpoint, or names one that would lower the protection of
/// the issuer: the endpoints get codes and this server's secret.
pub fn provider(
    content_type: Option<&str>,
    body: &[u8],
    issuer: &Issuer,
) -> Result<ProviderMetadata, MetadataError> {
    let members = own_members(content_type, body, issuer)?;
    let endpoint = |name| {
        let text = text(&members, name)?;
        acceptable(text, issuer).ok_or(MetadataError::Endpoint(name))
    };
    let introspection = members.get("introspection_endpoint").and_then(Json::as_text);
    let client_methods = methods(&members, "token_endpoint_auth_methods_supported")?;
    let client_methods = client_methods.unwrap_or_else(|| vec![ClientMethod::ClientSecretBasic]);
    let introspection_methods = methods(&members, "introspection_endpoint_auth_methods_supported");
    Ok(ProviderMetadata {
        authorization_endpoint: endpoint("authorization_endpoint")?,
        token_endpoint: endpoint("token_endpoint")?,
        answers_with_issuer: answers_with_issuer(&members)?,
        introspection_endpoint: introspection.and_then(|text| acceptable(text, issuer)),
        // What is wrong here is no reason to let nobody log in.
        introspection_methods: introspection_methods.ok().flatten().unwrap_or_else(|| client_methods.clone()),
        client_methods,
    })
}

/// Methods without a name here are left out. Absent at the token endpoint: `client_secret_basic` (`OpenID`
/// Connect Discovery §3).
fn methods(members: &Object<'_>, name: &'static str) -> Result<Option<Vec<ClientMethod>>, MetadataError> {
    let items = match members.get(name) {
        None => return Ok(None),
        Some(Json::List(items)) => items,
        Some(_) => return Err(MetadataError::NotTexts(name)),
    };
    let texts = items.iter().map(Json::as_text).collect::<Option<Vec<_>>>();
    let texts = texts.ok_or(MetadataError::NotTexts(name))?;
    Ok(Some(texts.into_iter().filter_map(ClientMethod::named).collect()))
}

fn answers_with_issuer(members: &Object<'_>) -> Result<bool, MetadataError> {
    const NAME: &str = "authorization_response_iss_parameter_supported";
    match members.get(NAME) {
        None => Ok(false),
        Some(Json::Bool(says)) => Ok(*says),
        Some(_) => Err(MetadataError::NotBoolean(NAME)),
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Issuer;
    use mandate_core::names::ClientMethod as M;
    use serde_json::{Value, json};

    use super::{MetadataError as E, ProviderMetadata, provider};

    const LOGIN: &str = "https://login.example/t";

    fn read(changes: &Value) -> Result<ProviderMetadata, E> {
        let mut document = json!({
            "issuer": LOGIN,
            "authorization_endpoint": "https://login.example/t/authorize?tenant=1",
            "token_endpoint": "https://login.example/t/token",
            "jwks_uri": "https://login.example/t/keys",
        });
        for (name, value) in changes.as_object().unwrap() {
            document.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        let issuer: Issuer = LOGIN.parse().unwrap();
        provider(Some("application/json"), document.to_string().as_bytes(), &issuer)
    }

    #[test]
    fn the_endpoints_and_the_defaults_of_the_standards_are_read() {
        let found = read(&json!({})).unwrap();
        assert_eq!(found.authorization_endpoint.as_str(), "https://login.example/t/authorize?tenant=1");
        assert_eq!(found.token_endpoint.as_str(), "https://login.example/t/token");
        assert_eq!((found.client_methods, found.answers_with_issuer), (vec![M::ClientSecretBasic], false));
        let found = read(&json!({
            "token_endpoint_auth_methods_supported": ["tls_client_auth", "client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": true,
        }));
        let found = found.unwrap();
        assert_eq!(found.client_methods, [M::ClientSecretPost, M::None]);
        assert!(found.answers_with_issuer);
        assert_eq!(found.introspection_endpoint, None);
    }

    #[test]
    fn the_introspection_endpoint_is_one_that_protects_the_issuer_or_none() {
        let found = |changes: Value| read(&changes).unwrap();
        let good = "https://login.example/t/introspect";
        let here = found(json!({"introspection_endpoint": good}));
        assert_eq!(here.introspection_endpoint.unwrap().as_str(), good);
        assert_eq!(here.introspection_methods, [M::ClientSecretBasic]);
        let methods = json!({
            "introspection_endpoint": good,
            "introspection_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
        });
        assert_eq!(found(methods).introspection_methods, [M::PrivateKeyJwt, M::ClientSecretPost]);
        for bad in
            [json!("http://login.example/t/x"), json!("https://u:p@login.example/x"), json!("/x"), json!(7)]
        {
            assert_eq!(found(json!({ "introspection_endpoint": bad })).introspection_endpoint, None, "{bad}");
        }
        let odd = json!({"introspection_endpoint_auth_methods_supported": "none"});
        assert_eq!(found(odd).introspection_methods, [M::ClientSecretBasic], "people still log in");
    }

    #[test]
    fn an_endpoint_never_lowers_the_protection_of_its_issuer() {
        for name in ["authorization_endpoint", "token_endpoint"] {
            for bad in [
                "http://login.example/t/x",
                "http://127.0.0.1/x",
                "javascript:alert(1)",
                "data:text/html,x",
                "https://u:p@login.example/x",
                "https://login.example/x#y",
                "/x",
                "",
            ] {
                assert_eq!(read(&json!({ name: bad })), Err(E::Endpoint(name)), "{name} {bad}");
            }
            assert_eq!(read(&json!({ name: 7 })), Err(E::NotText(name)));
        }
    }

    #[test]
    fn members_of_the_wrong_type_and_documents_of_others_are_refused() {
        let methods = "token_endpoint_auth_methods_supported";
        for bad in [json!("none"), json!([7]), json!({}), json!(null)] {
            assert_eq!(read(&json!({ methods: bad })), Err(E::NotTexts(methods)), "{bad}");
        }
        let says = "authorization_response_iss_parameter_supported";
        assert_eq!(read(&json!({ says: "true" })), Err(E::NotBoolean(says)));
        assert_eq!(
            read(&json!({ "issuer": "https://other.example" })),
            Err(E::IssuerMismatch("https://other.example".into()))
        );
        let issuer: Issuer = LOGIN.parse().unwrap();
        assert_eq!(provider(Some("text/html"), b"<html>", &issuer), Err(E::ContentType("text/html".into())));
        let bare = json!({ "issuer": LOGIN }).to_string();
        assert_eq!(
            provider(Some("application/json"), bare.as_bytes(), &issuer),
            Err(E::Missing("authorization_endpoint"))
        );
    }
}
