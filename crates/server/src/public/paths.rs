//! Where an issuer's endpoints are.

/// Where the issuer's paths start: empty, or `/path` for an issuer with a path.
pub(super) fn base_path(issuer: &str) -> &str {
    let after_scheme = issuer.find("://").map_or(issuer, |at| issuer.get(at + 3..).unwrap_or_default());
    after_scheme.find('/').map_or("", |at| after_scheme.get(at..).unwrap_or_default()).trim_end_matches('/')
}

/// The issuer without its path. Requests have the whole path, so this and it are the URL that a client used.
pub(super) fn origin(issuer: &str) -> &str {
    let path = base_path(issuer).len();
    let origin = issuer.trim_end_matches('/');
    origin.get(..origin.len().saturating_sub(path)).unwrap_or(origin)
}

/// The addresses at which clients look for the metadata of an issuer with this path.
///
/// RFC 8414 §3 puts the well-known part between host and path. MCP clients of earlier protocol versions leave
/// the path out. Other clients put the path in front, as `OpenID` Connect Discovery does.
pub(super) fn metadata_paths(base: &str) -> Vec<String> {
    let mut paths = both_forms("/.well-known/oauth-authorization-server", base);
    paths.push("/.well-known/oauth-authorization-server".to_owned());
    distinct(paths)
}

/// The addresses of the document of `OpenID` Connect Discovery 1.0 §4.1: behind the path of the issuer, and
/// inserted before it as RFC 8414 §5 has it. MCP clients ask at both.
pub(super) fn openid_paths(base: &str) -> Vec<String> {
    distinct(both_forms("/.well-known/openid-configuration", base))
}

fn both_forms(well_known: &str, base: &str) -> Vec<String> {
    vec![format!("{well_known}{base}"), format!("{well_known}{base}/"), format!("{base}{well_known}")]
}

fn distinct(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::{base_path, metadata_paths, openid_paths, origin};

    #[test]
    fn metadata_is_where_every_client_looks_for_it() {
        assert_eq!(
            metadata_paths(""),
            ["/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/"]
        );
        assert_eq!(
            metadata_paths("/tenant/1"),
            [
                "/.well-known/oauth-authorization-server",
                "/.well-known/oauth-authorization-server/tenant/1",
                "/.well-known/oauth-authorization-server/tenant/1/",
                "/tenant/1/.well-known/oauth-authorization-server",
            ]
        );
    }

    #[test]
    fn the_openid_document_is_before_and_behind_the_path_and_not_without_it() {
        assert_eq!(
            openid_paths(""),
            ["/.well-known/openid-configuration", "/.well-known/openid-configuration/"]
        );
        assert_eq!(
            openid_paths("/tenant/1"),
            [
                "/.well-known/openid-configuration/tenant/1",
                "/.well-known/openid-configuration/tenant/1/",
                "/tenant/1/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn an_issuers_path_is_where_its_endpoints_are() {
        assert_eq!(base_path("http://127.0.0.1:8420"), "");
        assert_eq!(base_path("https://login.example/"), "");
        assert_eq!(base_path("https://login.example/tenant/1"), "/tenant/1");
        assert_eq!(origin("http://127.0.0.1:8420"), "http://127.0.0.1:8420");
        assert_eq!(origin("https://login.example/"), "https://login.example");
        assert_eq!(origin("https://login.example/tenant/1/"), "https://login.example");
    }
}
