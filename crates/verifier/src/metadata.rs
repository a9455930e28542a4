//! Protected resource metadata (RFC 9728): how a client that was refused finds out where to get a token.

use mandate_core::{Issuer, ResourceUri, ScopeSet};
use serde::Serialize;

/// The protected resource metadata document (RFC 9728 §2) of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceMetadata {
    resource: ResourceUri,
    authorization_servers: Vec<Issuer>,
    #[serde(skip_serializing_if = "ScopeSet::is_empty")]
    scopes_supported: ScopeSet,
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<String>,
}

impl ResourceMetadata {
    pub(crate) fn new(resource: ResourceUri, issuer: Issuer) -> Self {
        Self {
            resource,
            authorization_servers: vec![issuer],
            scopes_supported: ScopeSet::new(),
            bearer_methods_supported: ["header"],
            resource_name: None,
            resource_documentation: None,
        }
    }

    pub(crate) fn set_scopes(&mut self, scopes: ScopeSet) {
        self.scopes_supported = scopes;
    }

    pub(crate) fn set_name(&mut self, name: String) {
        self.resource_name = Some(name);
    }

    pub(crate) fn set_documentation(&mut self, url: String) {
        self.resource_documentation = Some(url);
    }

    /// The document (RFC 9728 §3.2), to be served as `application/json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where the document is served: the URL of the well-known place (RFC 9728 §3.1).
    pub fn url(&self) -> String {
        self.resource.metadata_url()
    }

    /// Path and, if the resource identifier has one, query of [`ResourceMetadata::url`].
    pub fn path_and_query(&self) -> String {
        let url = self.url();
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let rest = url.get(after_scheme..).unwrap_or_default();
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceMetadata;

    #[test]
    fn the_resource_is_written_exactly_as_configured() {
        for (resource, path) in [
            ("https://api.example", "/.well-known/oauth-protected-resource"),
            ("https://api.example/", "/.well-known/oauth-protected-resource"),
            ("https://api.example/v1?t=2", "/.well-known/oauth-protected-resource/v1?t=2"),
        ] {
            let document =
                ResourceMetadata::new(resource.parse().unwrap(), "https://login.example".parse().unwrap());
            let json: serde_json::Value = serde_json::from_str(&document.to_json()).unwrap();
            assert_eq!(json["resource"], resource);
            assert_eq!(json["authorization_servers"], serde_json::json!(["https://login.example"]));
            assert_eq!(json["bearer_methods_supported"], serde_json::json!(["header"]));
            assert!(json.get("scopes_supported").is_none());
            assert_eq!(document.path_and_query(), path);
        }
    }
}
