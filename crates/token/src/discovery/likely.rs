//! Which product an issuer most likely uses, by its identifier and its metadata.

use mandate_core::Issuer;
use mandate_core::registry::TokenProfile;
use url::Url;

use super::ENTRA_V1_ISSUERS;

/// The product, where the issuer's identifier or the address of its keys shows it; else `None`. Nothing is
/// decided by it: an operator confirms it by the `profile` of the entry.
///
/// `jwks_uri` is that of the issuer's metadata, if it is known already. The products that customers run under
/// names of their own are known by the paths that only they use.
pub fn likely_product(issuer: &Issuer, jwks_uri: Option<&Url>) -> Option<TokenProfile> {
    let url = Url::parse(issuer.as_str()).ok()?;
    let (host, path) = (url.host_str()?, url.path());
    let below = |domain: &str| host.strip_suffix(domain).is_some_and(|name| name.ends_with('.'));
    if url.scheme() == "https" {
        if issuer.as_str().starts_with(ENTRA_V1_ISSUERS) {
            return Some(TokenProfile::EntraV1);
        }
        if host == "login.microsoftonline.com" && path.ends_with("/v2.0") {
            return Some(TokenProfile::EntraV2);
        }
        // Without this path it is an organization's own server, whose access tokens are for Okta alone.
        if ["okta.com", "oktapreview.com", "okta-emea.com"].iter().any(|domain| below(domain)) {
            return path.starts_with("/oauth2/").then_some(TokenProfile::Okta);
        }
        if below("auth0.com") {
            return Some(TokenProfile::Auth0);
        }
        if host == "accounts.google.com" && path == "/" {
            return Some(TokenProfile::Google);
        }
        let is_pool = host.starts_with("cognito-idp.") || host.starts_with("issuer-cognito-idp.");
        if is_pool && below("amazonaws.com") {
            return Some(TokenProfile::Cognito);
        }
    }
    let (own, keys) = (issuer.as_str().trim_end_matches('/'), jwks_uri?);
    let keys_at = |path: &str| keys.as_str() == format!("{own}{path}");
    if path.contains("/realms/") && keys_at("/protocol/openid-connect/certs") {
        return Some(TokenProfile::Keycloak);
    }
    if keys_at("/oauth/v2/keys") {
        return Some(TokenProfile::Zitadel);
    }
    if path.ends_with("/oauth-anonymous") && keys_at("/jwks") {
        return Some(TokenProfile::Curity);
    }
    None
}

#[cfg(test)]
mod tests {
    use mandate_core::registry::TokenProfile as P;

    use super::likely_product;

    fn likely(issuer: &str, jwks_uri: Option<&str>) -> Option<P> {
        likely_product(&issuer.parse().unwrap(), jwks_uri.map(|uri| uri.parse().unwrap()).as_ref())
    }

    #[test]
    fn hosted_products_are_known_by_the_names_of_their_issuers() {
        for (issuer, product) in [
            ("https://login.microsoftonline.com/11112222-3333-4444-8555-666677778888/v2.0", P::EntraV2),
            ("https://sts.windows.net/11112222-3333-4444-8555-666677778888/", P::EntraV1),
            ("https://example.okta.com/oauth2/aus9o8wzkhckw9TLa0h7", P::Okta),
            ("https://example.oktapreview.com/oauth2/default", P::Okta),
            ("https://example.eu.auth0.com/", P::Auth0),
            ("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_EXAMPLE01", P::Cognito),
            ("https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_EXAMPLE01", P::Cognito),
            ("https://accounts.google.com", P::Google),
        ] {
            assert_eq!(likely(issuer, None), Some(product), "{issuer}");
        }
    }

    #[test]
    fn products_under_names_of_their_own_are_known_by_the_addresses_of_their_keys() {
        for (issuer, keys, product) in [
            ("https://sso.example.com/realms/staff", "/protocol/openid-connect/certs", P::Keycloak),
            ("https://auth.example.com", "/oauth/v2/keys", P::Zitadel),
            ("https://login.example.com/oauth/v2/oauth-anonymous", "/jwks", P::Curity),
        ] {
            assert_eq!(likely(issuer, Some(&format!("{issuer}{keys}"))), Some(product), "{issuer}");
            assert_eq!(likely(issuer, None), None, "{issuer}");
            assert_eq!(likely(issuer, Some("https://keys.example.com/jwks")), None, "{issuer}");
        }
    }

    #[test]
    fn what_only_looks_like_a_product_is_not_guessed() {
        for issuer in [
            "https://login.example.com",
            "https://example.okta.com",
            "https://okta.com/oauth2/x",
            "https://evilokta.com/oauth2/x",
            "https://example.okta.com.evil.example/oauth2/x",
            "https://auth0.com/",
            "https://login.microsoftonline.com/11112222-3333-4444-8555-666677778888",
            "https://login.microsoftonline.com.evil.example/x/v2.0",
            "https://cognito-idp.evil.example/us-east-1_EXAMPLE01",
            "https://accounts.google.com.evil.example",
            "https://evil.accounts.google.com",
            "https://accounts.google.com/o/oauth2",
        ] {
            assert_eq!(likely(issuer, Some("https://keys.example.com/jwks")), None, "{issuer}");
        }
    }
}
