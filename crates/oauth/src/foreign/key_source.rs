//! Whose keys verify a token, and where they are.

use std::fmt;

use mandate_core::registry::{
    BundleSource, ForeignDomain, Platform, PlatformProof, TokenProfile, TrustedIssuer,
};
use mandate_core::{Issuer, TrustDomain};

/// Whose keys, how the servers that have them are reached, and which certificate authorities are trusted for
/// them. Keys that were fetched in one way are not used after the registry names another way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeySource {
    pub(super) whose: Whose,
    pub(super) ca: Option<String>,
    pub(super) proxy: Option<String>,
}

/// Whose keys, and where they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// An issuer's, found through its metadata.
    Issuer(Issuer, TokenProfile),
    /// A trust domain's, in its bundle.
    Domain(TrustDomain, BundleSource),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whose {
            Whose::Issuer(issuer, _) => issuer.fmt(f),
            Whose::Domain(domain, _) => domain.id().fmt(f),
        }
    }
}

impl KeySource {
    /// Of an identity provider.
    pub(crate) fn of_issuer(issuer: &TrustedIssuer) -> Self {
        let TrustedIssuer { url, ca, proxy, profile, .. } = issuer;
        let whose = Whose::Issuer(url.clone(), *profile);
        Self { whose, ca: ca.clone(), proxy: proxy.clone() }
    }

    /// Of a platform whose keys are not pinned.
    pub(crate) fn of_proof(proof: &PlatformProof) -> Self {
        let PlatformProof { platform, issuer, ca, proxy, .. } = proof;
        // Entra publishes the keys of several issuers together, and those of its older issuer elsewhere.
        let profile = match platform {
            Platform::Azure if issuer.as_str().ends_with("/v2.0") => TokenProfile::EntraV2,
            Platform::Azure => TokenProfile::EntraV1,
            _ => TokenProfile::Rfc9068,
        };
        let whose = Whose::Issuer(issuer.clone(), profile);
        Self { whose, ca: ca.clone(), proxy: proxy.clone() }
    }

    /// Of a trust domain of another organization.
    pub(crate) fn of_domain(domain: &ForeignDomain) -> Self {
        let ForeignDomain { name, bundle, ca, proxy } = domain;
        let whose = Whose::Domain(name.clone(), bundle.clone());
        Self { whose, ca: ca.clone(), proxy: proxy.clone() }
    }

    /// A file stays readable or is put right by the operator of this machine. Until then, what was in it last
    /// counts; a key that was withdrawn is in force again only if somebody breaks the file.
    pub(super) const fn keeps_the_last(&self) -> bool {
        matches!(&self.whose, Whose::Domain(_, BundleSource::File { .. }))
    }
}
