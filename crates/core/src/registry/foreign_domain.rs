//! Entries of trust domains of other organizations (SPIFFE Federation).

use serde::{Deserialize, Serialize};

use crate::spiffe::TrustDomain;
use crate::uri::BundleUrl;

/// Another SPIFFE trust domain whose JWT-SVIDs can prove agents. The keys of one trust domain never verify an
/// identity of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignDomain {
    /// Its name. Never inferred from a bundle or from where it was found (SPIFFE Federation §7).
    pub name: TrustDomain,
    /// Where its bundle is.
    pub bundle: BundleSource,
    /// The only certificate authorities that are trusted for its bundle endpoint, as PEM; absent: those of
    /// the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which its bundle endpoint is reached; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// Where the bundle of a trust domain is, a JWK Set in SPIFFE's form (SPIFFE Trust Domain and Bundle §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum BundleSource {
    /// A file on the server's machine.
    File {
        /// Its absolute path.
        path: String,
    },
    /// A bundle endpoint with the profile `https_web`: an HTTPS server whose certificate a certificate
    /// authority signed (SPIFFE Federation §5.2.1).
    HttpsWeb {
        /// With https, or on loopback http.
        url: BundleUrl,
    },
}
