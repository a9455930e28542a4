//! Authorization server metadata (RFC 8414 §2). The paths here are the ones the server routes.

use mandate_core::names::{ChallengeMethod, ClientMethod, GrantType, ResponseType};
use mandate_core::scope::MAX_SCOPES;
use mandate_core::{Issuer, ScopeSet};
use mandate_token::{Algorithm, MAX_TOKEN_LEN};
use serde_json::{Value, json};

/// Path of the authorization endpoint, below the issuer.
pub const AUTHORIZE_PATH: &str = "/authorize";
/// Path of the endpoint for pushed authorization requests (RFC 9126 §2).
pub const PAR_PATH: &str = "/par";
/// Path of the token endpoint.
pub const TOKEN_PATH: &str = "/token";
/// Path of the endpoint where clients register themselves (RFC 7591 §3), if that is on.
pub const REGISTER_PATH: &str = "/register";
/// Path of the endpoint where devices begin (RFC 8628 §3.1).
pub const DEVICE_AUTHORIZATION_PATH: &str = "/device_authorization";
/// Path of the page where people enter the code of a device (RFC 8628 §3.3).
pub const DEVICE_PATH: &str = "/device";
/// Path of the introspection endpoint (RFC 7662).
pub const INTROSPECT_PATH: &str = "/introspect";
/// Path of the revocation endpoint (RFC 7009).
pub const REVOKE_PATH: &str = "/revoke";
/// Path of the JWK Set that verifies access tokens.
pub const JWKS_PATH: &str = "/jwks.json";

/// The algorithms of client assertions: all that are verified.
fn assertion_algorithms() -> Vec<&'static str> {
    Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect()
}

/// A URL below the issuer.
pub fn endpoint(issuer: &Issuer, path: &str) -> String {
    format!("{}{path}", issuer.as_str().trim_end_matches('/'))
}

/// Whether a client can ask for all these scopes in one request, and a token can carry them beside its other
/// claims. Clients ask for all scopes that the metadata names.
fn can_be_asked_for_at_once(scopes: &ScopeSet) -> bool {
    scopes.len() <= MAX_SCOPES && scopes.to_string().len() <= MAX_TOKEN_LEN / 2
}

/// Names as they are sent.
fn texts<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Vec<String> {
    names.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

/// What a server offers, of what not every one does.
#[expect(clippy::struct_excessive_bools, reason = "each is offered by itself")]
pub struct Offered<'a> {
    /// The scopes that can be asked for.
    pub scopes: &'a ScopeSet,
    /// Whether any client may be a public one, so that it authenticates by `none`.
    pub public_clients: bool,
    /// Whether clients may register themselves (RFC 7591).
    pub registration: bool,
    /// Whether the id of a client may be the URL of its metadata
    /// (draft-ietf-oauth-client-id-metadata-document-02 §6).
    pub metadata_documents: bool,
    /// Whether people may log in for any client on another device (RFC 8628).
    pub devices: bool,
}

/// The metadata document. It contains `issuer` byte for byte, no matter which host name the request has.
/// The scopes are left out if they are too many for one request: a client that knows none asks for none, and is
/// given what it may have.
pub fn document(
    issuer: &Issuer,
    grant_types: impl Iterator<Item = GrantType>,
    offered: &Offered<'_>,
) -> Value {
    let at = |path| endpoint(issuer, path);
    let algorithms = assertion_algorithms();
    let is_offered = |method: &&ClientMethod| offered.public_clients || **method != ClientMethod::None;
    let methods = texts(ClientMethod::ALL.iter().filter(is_offered));
    let grant_types = grant_types.filter(|grant| offered.devices || *grant != GrantType::DeviceCode);
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": at(AUTHORIZE_PATH),
        "token_endpoint": at(TOKEN_PATH),
        // RFC 9126 §5: it also says that a `request_uri` of that endpoint is accepted.
        "pushed_authorization_request_endpoint": at(PAR_PATH),
        "jwks_uri": at(JWKS_PATH),
        "introspection_endpoint": at(INTROSPECT_PATH),
        "revocation_endpoint": at(REVOKE_PATH),
        "response_types_supported": texts(ResponseType::ALL),
        "response_modes_supported": ["query"],
        "grant_types_supported": texts(grant_types),
        "code_challenge_methods_supported": texts(ChallengeMethod::ALL),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        // It has no anonymous callers.
        "introspection_endpoint_auth_methods_supported": texts(ClientMethod::proofs()),
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        // A public client proves itself by its own token (RFC 7009 §2.1).
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": offered.metadata_documents,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    });
    if let Some(members) = document.as_object_mut() {
        if can_be_asked_for_at_once(offered.scopes) {
            members.insert("scopes_supported".to_owned(), json!(offered.scopes));
        }
        if offered.devices {
            // RFC 8628 §4.
            let at = at(DEVICE_AUTHORIZATION_PATH);
            members.insert("device_authorization_endpoint".to_owned(), at.into());
        }
        if offered.registration {
            members.insert("registration_endpoint".to_owned(), at(REGISTER_PATH).into());
        }
    }
    document
}

/// The metadata for clients that ask where `OpenID` Connect Discovery 1.0 §4 puts it, as MCP clients may: the
/// same values, and the two members that its §3 requires beyond RFC 8414.
///
/// No ID token is ever issued, so no algorithm signs one. §3 requires the member and names `RS256` as its
/// least value, which would be false; §4.2 leaves out empty lists, which clients that check §3 would refuse.
/// The empty list is true, and such clients accept it.
#[must_use]
pub fn for_openid_clients(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        // A person has the same `sub` for all clients.
        members.insert("subject_types_supported".to_owned(), json!(["public"]));
        members.insert("id_token_signing_alg_values_supported".to_owned(), json!([]));
    }
    document
}

#[cfg(test)]
mod tests {
    use mandate_core::names::GrantType;
    use mandate_core::{Issuer, ScopeSet};
    use serde_json::Value;

    fn document(issuer: &Issuer, scopes: &ScopeSet) -> Value {
        let offered = super::Offered {
            scopes,
            public_clients: true,
            registration: false,
            metadata_documents: false,
            devices: true,
        };
        super::document(issuer, GrantType::ALL.iter().copied(), &offered)
    }

    #[test]
    fn the_issuer_stands_byte_for_byte_and_only_s256_is_offered() {
        let issuer = "https://m.example/tenant".parse().unwrap();
        let document = document(&issuer, &"read:cases".parse().unwrap());
        assert_eq!(document["issuer"], "https://m.example/tenant");
        assert_eq!(document["token_endpoint"], "https://m.example/tenant/token");
        assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    }

    #[test]
    fn clients_of_openid_discovery_read_the_same_values_and_are_promised_no_id_token() {
        let scopes = "read:cases".parse().unwrap();
        let document = document(&"https://m.example/tenant".parse().unwrap(), &scopes);
        let mut openid = super::for_openid_clients(document.clone());
        // What Discovery §3 marks as required.
        for required in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "response_types_supported",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
        ] {
            assert!(openid.get(required).is_some(), "{required}");
        }
        let members = openid.as_object_mut().unwrap();
        assert_eq!(members.remove("subject_types_supported").unwrap(), serde_json::json!(["public"]));
        assert_eq!(members.remove("id_token_signing_alg_values_supported").unwrap(), serde_json::json!([]));
        assert_eq!(openid, document);
        assert!(!openid.to_string().contains("id_token"), "{openid}");
    }

    #[test]
    fn introspection_has_no_anonymous_method() {
        let document = document(&"https://m.example".parse().unwrap(), &"a".parse().unwrap());
        let methods = |endpoint: &str| {
            document[format!("{endpoint}_endpoint_auth_methods_supported")].as_array().unwrap().clone()
        };
        assert!(!methods("introspection").contains(&"none".into()) && !methods("introspection").is_empty());
        assert!(
            methods("revocation").contains(&"none".into()),
            "RFC 7009 section 2.1: public clients revoke too"
        );
    }

    #[test]
    fn none_is_a_method_where_a_client_may_be_public() {
        let scopes = "a".parse().unwrap();
        let offered = super::Offered {
            scopes: &scopes,
            public_clients: false,
            registration: false,
            metadata_documents: false,
            devices: false,
        };
        let issuer = "https://m.example".parse().unwrap();
        let document = super::document(&issuer, GrantType::ALL.iter().copied(), &offered);
        for endpoint in ["token", "revocation", "introspection"] {
            let methods = &document[format!("{endpoint}_endpoint_auth_methods_supported")];
            let methods = methods.as_array().unwrap();
            assert!(!methods.contains(&"none".into()) && methods.contains(&"client_secret_post".into()));
        }
    }

    #[test]
    fn logins_on_another_device_are_offered_where_a_client_may_have_them() {
        let scopes = "a".parse().unwrap();
        let offered = |devices| super::Offered {
            scopes: &scopes,
            public_clients: true,
            registration: false,
            metadata_documents: false,
            devices,
        };
        let issuer = "https://m.example/tenant".parse().unwrap();
        let document = |devices| super::document(&issuer, GrantType::ALL.iter().copied(), &offered(devices));
        let has = |document: &Value| {
            let grants = document["grant_types_supported"].as_array().unwrap();
            grants.contains(&GrantType::DeviceCode.as_str().into())
        };
        let (with, without) = (document(true), document(false));
        assert_eq!((has(&with), has(&without)), (true, false));
        assert_eq!(with["device_authorization_endpoint"], "https://m.example/tenant/device_authorization");
        assert!(without.get("device_authorization_endpoint").is_none());
    }

    #[test]
    fn every_algorithm_that_is_verified_is_offered_and_no_other() {
        let document = document(&"https://m.example".parse().unwrap(), &"a".parse().unwrap());
        for endpoint in ["token", "introspection", "revocation"] {
            let offered = document[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")]
                .as_array()
                .unwrap()
                .clone();
            let offered: Vec<_> = offered.iter().map(|name| name.as_str().unwrap()).collect();
            let verified: Vec<_> =
                mandate_token::Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
            assert_eq!(offered, verified);
            assert!(offered.contains(&"ES512") && offered.contains(&"PS512") && !offered.contains(&"HS256"));
        }
    }
}
