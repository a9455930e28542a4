//! X.509-SVID lint (SPIFFE X509-SVID §2 to §5, RFC 5280).

use std::time::Duration;

use mandate_core::{SpiffeId, Timestamp, TrustDomain};
use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension};
use x509_parser::prelude::FromDer;

/// The rules that a certificate must follow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CertificateProfile<'a> {
    /// The signing certificate of a trust domain.
    SigningAuthority {
        /// The trust domain that it signs for.
        trust_domain: &'a TrustDomain,
        /// The longest time for which it may be valid.
        max_lifetime: Duration,
        now: Timestamp,
    },
    /// A leaf: an X.509-SVID.
    Leaf {
        /// The SPIFFE ID that it must name.
        id: &'a SpiffeId,
        /// The longest time for which it may be valid, including the clock skew before its issue.
        max_lifetime: Duration,
        now: Timestamp,
    },
}

/// The rule that a certificate breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateLint {
    /// Not DER of a certificate, or with trailing bytes.
    #[error("the certificate does not parse")]
    Parse,
    /// X509-SVID §2: exactly one URI name.
    #[error("the certificate does not have exactly one URI name")]
    UriCount,
    /// The URI name is not the SPIFFE ID that it is meant for.
    #[error("the certificate names another identity")]
    Identity,
    /// RFC 5280 §4.2.1.6: critical when the subject is empty, and only URI, DNS and IP names.
    #[error("the certificate's subject alternative name is not as its profile says")]
    AlternativeName,
    /// X509-SVID §4.1.
    #[error("the certificate's cA flag is not as its profile says")]
    BasicConstraints,
    /// X509-SVID §4.3.
    #[error("the certificate's key usage is not as its profile says")]
    KeyUsage,
    /// X509-SVID §4.4.
    #[error("the certificate's extended key usage is not as its profile says")]
    ExtendedKeyUsage,
    /// An extension that no profile has.
    #[error("the certificate has an extension that its profile does not have")]
    Extension,
    /// Not yet valid, expired, or valid for too long.
    #[error("the certificate's lifetime is not as its profile says")]
    Lifetime,
    /// RFC 5280 §4.1.2.2: a positive serial number of at most 20 bytes.
    #[error("the certificate's serial number is too short or too long")]
    Serial,
}

/// Checks the bytes of a to-be-signed certificate.
pub(crate) fn check(tbs: &[u8], profile: &CertificateProfile<'_>) -> Result<(), CertificateLint> {
    let (rest, tbs) = TbsCertificate::from_der(tbs).map_err(|_| CertificateLint::Parse)?;
    if !rest.is_empty() {
        return Err(CertificateLint::Parse);
    }
    // At least 64 bits of a serial number come from the entropy source (CA/B baseline §7.1); DER may drop
    // leading zeros.
    if !(4..=20).contains(&tbs.raw_serial().len()) {
        return Err(CertificateLint::Serial);
    }
    check_lifetime(&tbs, profile)?;
    check_names(&tbs, profile)?;
    check_extensions(&tbs, profile)
}

fn check_lifetime(tbs: &TbsCertificate<'_>, profile: &CertificateProfile<'_>) -> Result<(), CertificateLint> {
    let (CertificateProfile::SigningAuthority { max_lifetime, now, .. }
    | CertificateProfile::Leaf { max_lifetime, now, .. }) = profile;
    let secs = |at: i64| u64::try_from(at).map_err(|_| CertificateLint::Lifetime);
    let (from, until) =
        (secs(tbs.validity.not_before.timestamp())?, secs(tbs.validity.not_after.timestamp())?);
    let valid_now = from <= now.secs() && now.secs() < until;
    if valid_now && until.saturating_sub(from) <= max_lifetime.as_secs() {
        Ok(())
    } else {
        Err(CertificateLint::Lifetime)
    }
}

fn check_names(tbs: &TbsCertificate<'_>, profile: &CertificateProfile<'_>) -> Result<(), CertificateLint> {
    let names = tbs
        .subject_alternative_name()
        .map_err(|_| CertificateLint::AlternativeName)?
        .ok_or(CertificateLint::UriCount)?;
    if tbs.subject.iter().next().is_none() && !names.critical {
        return Err(CertificateLint::AlternativeName);
    }
    let mut uri = None;
    for name in &names.value.general_names {
        match (name, profile) {
            (GeneralName::URI(text), _) => {
                // X509-SVID §2: a validator must refuse more than one, so we must not sign more than one.
                if uri.replace(*text).is_some() {
                    return Err(CertificateLint::UriCount);
                }
            }
            (GeneralName::DNSName(_) | GeneralName::IPAddress(_), CertificateProfile::Leaf { .. }) => {}
            _ => return Err(CertificateLint::AlternativeName),
        }
    }
    let id: SpiffeId =
        uri.ok_or(CertificateLint::UriCount)?.parse().map_err(|_| CertificateLint::Identity)?;
    let right = match profile {
        // X509-SVID §3.2: a signing certificate's ID has no path.
        CertificateProfile::SigningAuthority { trust_domain, .. } => id == trust_domain.id(),
        // X509-SVID §5.2: a leaf's ID has one.
        CertificateProfile::Leaf { id: expected, .. } => id == **expected && !id.path().is_empty(),
    };
    if right { Ok(()) } else { Err(CertificateLint::Identity) }
}

fn check_extensions(
    tbs: &TbsCertificate<'_>,
    profile: &CertificateProfile<'_>,
) -> Result<(), CertificateLint> {
    let (mut constraints, mut usage, mut extended) = (None, None, None);
    for extension in tbs.extensions() {
        let duplicate = match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(x) => constraints.replace((x, extension.critical)).is_some(),
            ParsedExtension::KeyUsage(x) => usage.replace((x, extension.critical)).is_some(),
            ParsedExtension::ExtendedKeyUsage(x) => extended.replace(x).is_some(),
            // `subject_alternative_name` above refuses a second one.
            ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_) => false,
            _ => return Err(CertificateLint::Extension),
        };
        if duplicate {
            return Err(CertificateLint::Extension);
        }
    }
    let (usage, usage_critical) = usage.ok_or(CertificateLint::KeyUsage)?;
    if !usage_critical {
        return Err(CertificateLint::KeyUsage);
    }
    match profile {
        CertificateProfile::SigningAuthority { .. } => {
            let (constraints, critical) = constraints.ok_or(CertificateLint::BasicConstraints)?;
            if !constraints.ca || !critical || constraints.path_len_constraint != Some(0) {
                return Err(CertificateLint::BasicConstraints);
            }
            if !usage.key_cert_sign() || signs_or_encrypts(*usage) {
                return Err(CertificateLint::KeyUsage);
            }
            if extended.is_some() { Err(CertificateLint::ExtendedKeyUsage) } else { Ok(()) }
        }
        CertificateProfile::Leaf { .. } => {
            // Absent means false as well (RFC 5280 §4.2.1.9), but ours says so.
            let (constraints, _) = constraints.ok_or(CertificateLint::BasicConstraints)?;
            if constraints.ca {
                return Err(CertificateLint::BasicConstraints);
            }
            if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
                return Err(CertificateLint::KeyUsage);
            }
            // X509-SVID §4.4: both purposes, because an SVID is shown by clients and by servers. Nothing
            // else.
            let extended = extended.ok_or(CertificateLint::ExtendedKeyUsage)?;
            let others =
                extended.any || extended.code_signing || extended.email_protection || extended.time_stamping;
            let only_tls = !others && !extended.ocsp_signing && extended.other.is_empty();
            if extended.server_auth && extended.client_auth && only_tls {
                Ok(())
            } else {
                Err(CertificateLint::ExtendedKeyUsage)
            }
        }
    }
}

/// Appendix A of X509-SVID reserves these for leaves.
fn signs_or_encrypts(usage: KeyUsage) -> bool {
    usage.digital_signature()
        || usage.key_encipherment()
        || usage.key_agreement()
        || usage.data_encipherment()
}
