//! Finding an issuer's keys: where its metadata may be (RFC 8414 §3, §5; `OpenID` Connect Discovery §4), and
//! whether a document that came from there is the metadata of that issuer. No I/O: the callers fetch.

use mandate_core::Issuer;
use mandate_core::registry::TokenProfile;
use mandate_core::uri::is_loopback;
use url::Url;

use crate::key_set::{KeySet, KeySetError};
use crate::strict_json::{self, Json, Object};

mod likely;
mod provider;

pub use likely::likely_product;
pub use provider::{ProviderMetadata, provider};

/// Why a document is not the metadata that was asked for. The next address may have it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The answer is not JSON by its `Content-Type` (RFC 8414 §3.2). Sites answer unknown paths with 200 and
    /// a page.
    #[error("the content type is {0:?}, not application/json")]
    ContentType(String),
    /// Not one JSON object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A member is missing.
    #[error("the member `{0}` is missing")]
    Missing(&'static str),
    /// A member is not a text.
    #[error("the member `{0}` is not a text")]
    NotText(&'static str),
    /// The `issuer` is not byte for byte the issuer asked (RFC 8414 §3.3).
    #[error("the member `issuer` is {0:?}, not the issuer that was asked")]
    IssuerMismatch(String),
    /// `jwks_uri` is not an acceptable URL.
    #[error("the member `jwks_uri` must be an https URL, or http on loopback if the issuer is so")]
    JwksUri,
    /// An endpoint is not an acceptable URL.
    #[error("the member `{0}` must be an https URL, or http on loopback if the issuer is so")]
    Endpoint(&'static str),
    /// A member is not a list of texts.
    #[error("the member `{0}` is not a list of texts")]
    NotTexts(&'static str),
    /// A member is neither true nor false.
    #[error("the member `{0}` is neither true nor false")]
    NotBoolean(&'static str),
}

/// Issuers of Entra's access tokens of version 1.0, without the tenant.
const ENTRA_V1_ISSUERS: &str = "https://sts.windows.net/";
/// Where their metadata is.
const ENTRA_V1_METADATA: &str = "https://login.microsoftonline.com/";

/// As [`metadata_urls`], for an issuer that uses this product.
pub fn metadata_urls_of(issuer: &Issuer, profile: TokenProfile) -> Vec<String> {
    let tenant = issuer.as_str().strip_prefix(ENTRA_V1_ISSUERS).and_then(|rest| rest.strip_suffix('/'));
    match (profile, tenant) {
        // Nothing is published at the address of this issuer.
        (TokenProfile::EntraV1, Some(tenant)) => {
            vec![format!("{ENTRA_V1_METADATA}{tenant}/.well-known/openid-configuration")]
        }
        _ => metadata_urls(issuer),
    }
}

/// Where the metadata of `issuer` may be, in the order in which to try: RFC 8414 §3.1, the same for `OpenID`
/// Connect (RFC 8414 §5), `OpenID` Connect Discovery §4.1.
pub fn metadata_urls(issuer: &Issuer) -> Vec<String> {
    let appended = format!("{}/.well-known/openid-configuration", issuer.as_str().trim_end_matches('/'));
    let mut urls =
        vec![issuer.well_known("oauth-authorization-server"), issuer.well_known("openid-configuration")];
    if !urls.contains(&appended) {
        urls.push(appended);
    }
    urls
}

/// The `jwks_uri` of a document that is the metadata of `issuer`.
pub fn jwks_uri(content_type: Option<&str>, body: &[u8], issuer: &Issuer) -> Result<Url, MetadataError> {
    let members = own_members(content_type, body, issuer)?;
    acceptable(text(&members, "jwks_uri")?, issuer).ok_or(MetadataError::JwksUri)
}

/// The members of a document that is the metadata of `issuer`.
fn own_members<'b>(
    content_type: Option<&str>,
    body: &'b [u8],
    issuer: &Issuer,
) -> Result<Object<'b>, MetadataError> {
    if !is_json(content_type) {
        return Err(MetadataError::ContentType(shown(content_type.unwrap_or_default())));
    }
    let members = strict_json::object(body).map_err(|error| MetadataError::Json(error.to_string()))?;
    let claimed = text(&members, "issuer")?;
    if claimed != issuer.as_str() {
        return Err(MetadataError::IssuerMismatch(shown(claimed)));
    }
    Ok(members)
}

/// The keys of `issuer` in its JWK Set document, if it uses this product: Entra publishes keys of several
/// issuers in one document.
pub fn keys(document: &[u8], issuer: &Issuer, profile: TokenProfile) -> Result<KeySet, KeySetError> {
    match profile {
        TokenProfile::EntraV1 | TokenProfile::EntraV2 => KeySet::of_issuer(document, issuer),
        TokenProfile::Rfc9068
        | TokenProfile::Keycloak
        | TokenProfile::Okta
        | TokenProfile::Auth0
        | TokenProfile::Curity
        | TokenProfile::Pingam
        | TokenProfile::Zitadel
        | TokenProfile::Cognito
        | TokenProfile::Google => KeySet::from_json(document),
    }
}

/// Plain HTTP is accepted only from a loopback issuer to loopback: otherwise metadata could weaken the
/// protection of its own keys.
fn acceptable(text: &str, issuer: &Issuer) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain_is_fine = issuer.as_str().starts_with("http://") && is_loopback(&url);
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && plain_is_fine);
    let clean = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    Some(url).filter(|_| scheme && clean)
}

fn text<'m>(members: &'m Object<'_>, name: &'static str) -> Result<&'m str, MetadataError> {
    match members.get(name) {
        Some(Json::Text(text)) => Ok(text),
        Some(_) => Err(MetadataError::NotText(name)),
        None => Err(MetadataError::Missing(name)),
    }
}

pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    let essence =
        content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A text from outside, made safe for a log.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use mandate_core::Issuer;
    use proptest::prelude::*;
    use serde_json::json;

    use mandate_core::registry::TokenProfile;

    use super::{MetadataError as E, jwks_uri, metadata_urls, metadata_urls_of};

    fn issuer(text: &str) -> Issuer {
        text.parse().unwrap()
    }

    #[test]
    fn every_place_of_the_standards_is_tried_once() {
        assert_eq!(
            metadata_urls(&issuer("https://login.example/tenant")),
            [
                "https://login.example/.well-known/oauth-authorization-server/tenant",
                "https://login.example/.well-known/openid-configuration/tenant",
                "https://login.example/tenant/.well-known/openid-configuration",
            ]
        );
        for root in ["https://login.example", "https://login.example/"] {
            assert_eq!(
                metadata_urls(&issuer(root)),
                [
                    "https://login.example/.well-known/oauth-authorization-server",
                    "https://login.example/.well-known/openid-configuration"
                ]
            );
        }
    }

    #[test]
    fn the_metadata_of_an_entra_issuer_of_version_1_is_elsewhere() {
        let tenant = issuer("https://sts.windows.net/11112222-3333-4444-8555-666677778888/");
        assert_eq!(
            metadata_urls_of(&tenant, TokenProfile::EntraV1),
            [
                "https://login.microsoftonline.com/11112222-3333-4444-8555-666677778888/.well-known/openid-configuration"
            ]
        );
        for (issuer, profile) in [
            (&tenant, TokenProfile::Rfc9068),
            (&issuer("https://login.example/tenant"), TokenProfile::EntraV1),
            (&issuer("https://sts.windows.net.example/tenant/"), TokenProfile::EntraV1),
        ] {
            assert_eq!(metadata_urls_of(issuer, profile), metadata_urls(issuer));
        }
    }

    #[test]
    fn only_the_issuers_own_json_document_is_believed_and_the_member_at_fault_is_named() {
        let login = issuer("https://login.example");
        let read = |kind: &str, body: &str| jwks_uri(Some(kind), body.as_bytes(), &login);
        let good =
            json!({"issuer": "https://login.example", "jwks_uri": "https://keys.example/jwks", "other": 1})
                .to_string();
        for kind in
            ["application/json", "Application/JSON; charset=utf-8", "application/openid-configuration+json"]
        {
            assert_eq!(read(kind, &good).unwrap().as_str(), "https://keys.example/jwks", "{kind}");
        }
        for kind in ["text/html", "text/plain", "", "application/jsonx", "text/json"] {
            assert_eq!(read(kind, &good), Err(E::ContentType(kind.into())));
        }
        assert_eq!(jwks_uri(None, good.as_bytes(), &login), Err(E::ContentType(String::new())));
        let json = |body: serde_json::Value| read("application/json", &body.to_string());
        assert!(matches!(read("application/json", "<html>"), Err(E::Json(_))));
        assert!(matches!(read("application/json", r#"{"issuer":"a","issuer":"b"}"#), Err(E::Json(_))));
        assert_eq!(json(json!({})), Err(E::Missing("issuer")));
        assert_eq!(json(json!({"issuer": 1})), Err(E::NotText("issuer")));
        assert_eq!(
            json(json!({"issuer": "https://login.example/"})),
            Err(E::IssuerMismatch("https://login.example/".into()))
        );
        assert_eq!(json(json!({"issuer": "https://login.example"})), Err(E::Missing("jwks_uri")));
        assert_eq!(
            json(json!({"issuer": "https://login.example", "jwks_uri": ["x"]})),
            Err(E::NotText("jwks_uri"))
        );
    }

    #[test]
    fn a_jwks_uri_never_lowers_the_protection_of_its_issuer() {
        let (https, loopback) = (issuer("https://login.acme.example"), issuer("http://127.0.0.1:8080"));
        let read = |uri: &str, issuer: &Issuer| {
            jwks_uri(
                Some("application/json"),
                json!({"issuer": issuer, "jwks_uri": uri}).to_string().as_bytes(),
                issuer,
            )
        };
        assert!(read("https://keys.acme.example/jwks", &https).is_ok());
        assert!(read("http://127.0.0.1:8080/jwks", &loopback).is_ok());
        for (uri, issuer) in [
            ("http://login.acme.example/jwks", &https),
            ("http://127.0.0.1/jwks", &https),
            ("http://169.254.169.254/jwks", &loopback),
            ("file:///etc/passwd", &https),
            ("https://u:p@login.acme.example/jwks", &https),
            ("https://login.acme.example/jwks#x", &https),
            ("/jwks", &https),
        ] {
            assert_eq!(read(uri, issuer), Err(E::JwksUri), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(kind in proptest::option::of("\\PC{0,40}"), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = jwks_uri(kind.as_deref(), &body, &issuer("https://login.example"));
        }
    }
}
