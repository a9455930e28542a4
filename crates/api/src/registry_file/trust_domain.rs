//! `[[trust_domain]]`: SPIFFE trust domains of other organizations.

use mandate_core::registry::{BundleSource, ForeignDomain};
use mandate_core::{BundleUrl, TrustDomain};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `[[trust_domain]]`: a SPIFFE trust domain of another organization, whose JWT-SVIDs can prove agents. It has
/// either `bundle` or `endpoint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustDomainItem {
    /// Its name, in lower case and without `spiffe://`.
    #[schema(value_type = String, example = "example.org")]
    pub name: TrustDomain,
    /// The absolute path of its bundle on the server's machine, a JWK Set in SPIFFE's form. The server reads it
    /// again when it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The address of its bundle endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "https://spire.example.org:8443")]
    pub endpoint: Option<BundleUrl>,
    /// How the bundle endpoint proves itself: `https_web`, the default. `https_spiffe` is not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<BundleProfile>,
    /// The only certificate authorities that are trusted for the bundle endpoint, as PEM. In a file on disk also
    /// the path of a PEM file, as `ca` of an issuer. Absent: the authorities of the server's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which the bundle endpoint is reached. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// How a bundle endpoint proves itself (SPIFFE Federation §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BundleProfile {
    /// With a certificate for its host name, of a certificate authority.
    HttpsWeb,
    /// With an X.509-SVID. Not supported: it is refused when the file is planned.
    HttpsSpiffe,
}

impl TrustDomainItem {
    /// The item that declares a trust domain.
    pub(super) fn of(domain: &ForeignDomain) -> Self {
        let ForeignDomain { name, bundle, ca, proxy } = domain.clone();
        let (bundle, endpoint, profile) = match bundle {
            BundleSource::File { path } => (Some(path), None, None),
            BundleSource::HttpsWeb { url } => (None, Some(url), Some(BundleProfile::HttpsWeb)),
        };
        Self { name, bundle, endpoint, profile, ca, proxy }
    }
}
