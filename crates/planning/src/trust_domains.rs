//! Trust domains of other organizations, as a file declares them.

use mandate_api::registry_file::{BundleProfile, Finding, TrustDomainItem};
use mandate_core::TrustDomain;
use mandate_core::registry::{BundleSource, Entry, ForeignDomain};

use crate::key_material::certificates;

/// The longest path of a bundle, in bytes.
const MAX_PATH: usize = 1024;

/// `own`: the trust domain of this server.
pub(crate) fn trust_domain(item: &TrustDomainItem, own: &TrustDomain) -> Result<Entry, Finding> {
    if item.name == *own {
        let detail = format!(
            "`{}` is the trust domain of this server itself; its own identities are trusted already",
            item.name
        );
        return Err(Finding::new("/name", detail));
    }
    let bundle = bundle(item)?;
    let (ca, proxy) = (certificates(item.ca.as_deref())?, item.proxy.clone());
    let is_fetched = matches!(bundle, BundleSource::HttpsWeb { .. });
    for (member, is_there) in
        [("profile", item.profile.is_some()), ("ca", ca.is_some()), ("proxy", proxy.is_some())]
    {
        if is_there && !is_fetched {
            let detail = format!("with `bundle` nothing is fetched, so `{member}` has no use; leave it out");
            return Err(Finding::new(format!("/{member}"), detail));
        }
    }
    Ok(Entry::TrustDomain(ForeignDomain { name: item.name.clone(), bundle, ca, proxy }))
}

fn bundle(item: &TrustDomainItem) -> Result<BundleSource, Finding> {
    match (&item.bundle, &item.endpoint) {
        (Some(path), None) => {
            let is_path = path.starts_with('/') && path.len() <= MAX_PATH;
            if !is_path || path.chars().any(char::is_control) {
                let detail = "expected the absolute path of a file on the server's machine";
                return Err(Finding::new("/bundle", detail));
            }
            Ok(BundleSource::File { path: path.clone() })
        }
        (None, Some(url)) => match item.profile.unwrap_or(BundleProfile::HttpsWeb) {
            BundleProfile::HttpsWeb => Ok(BundleSource::HttpsWeb { url: url.clone() }),
            // The endpoint would have to prove itself with an X.509-SVID, whose authorities are in the bundle
            // that is fetched; the first one comes by another way.
            BundleProfile::HttpsSpiffe => Err(Finding::new(
                "/profile",
                "`https_spiffe` is not supported: serve the bundle with the profile `https_web`, or write it to a file and name that as `bundle`",
            )),
        },
        (Some(_), Some(_)) => {
            Err(Finding::new("/endpoint", "a trust domain has either `bundle` or `endpoint`, not both"))
        }
        (None, None) => Err(Finding::new(
            "",
            "`endpoint` is missing: the address of the bundle endpoint; or `bundle`: the path of a file with the bundle",
        )),
    }
}
