//! The X.509 signing authority of the trust domain: its key, its certificate, and the certificates it signs.
//!
//! The private key signs only through [`LintedKey`], which parses the bytes that it is given and refuses to
//! sign anything that does not conform to its profile.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use mandate_core::digest::sha256;
use mandate_core::lifetimes::{CA_LIFETIME, CLOCK_SKEW, X509_SVID_LIFETIME};
use mandate_core::{Entropy, Secret, SpiffeId, Timestamp, TrustDomain};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    SigningKey, date_time_ymd,
};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate_request::ProvenKey;
use crate::error::{CertificateError, OpenError};
use crate::lint::certificate::{CertificateLint, CertificateProfile, check};

/// An issued certificate in the form that a TLS stack needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// DER certificates, leaf first, the signing certificate last.
    pub chain: Vec<Vec<u8>>,
    /// `notAfter` of the leaf.
    pub expires: Timestamp,
}

/// A certificate for the server's own listeners, with its private key.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// The leaf and the certificates up to the signing authority.
    pub certificate: IssuedCertificate,
    /// The private key, PKCS#8 DER.
    pub private_key: Secret,
}

/// One generation of the signing authority.
pub(crate) struct SigningAuthority {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
    pin: String,
}

impl SigningAuthority {
    /// Makes a key and its self-signed certificate. Returns the private half, PKCS#8 DER.
    pub(crate) fn generate(
        trust_domain: &TrustDomain,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Secret), OpenError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| OpenError::KeyGeneration)?;
        let key = parse(document.as_ref())?;
        let params = authority_params(trust_domain, now, entropy)?;
        let profile = CertificateProfile::SigningAuthority {
            trust_domain,
            max_lifetime: CA_LIFETIME + CLOCK_SKEW,
            now,
        };
        let signer = LintedKey::new(&key, profile);
        let issued = params.self_signed(&signer);
        let certificate = signer.outcome(issued)?.der().to_vec();
        Ok((Self::new(key, certificate), Secret::new(document.as_ref())))
    }

    /// From its certificate and what [`SigningAuthority::generate`] returned.
    pub(crate) fn from_parts(certificate: Vec<u8>, private: &Secret) -> Result<Self, OpenError> {
        let key = parse(private.expose_secret())?;
        // The certificate is not sealed: it must be the one over this key.
        let (rest, read) = X509Certificate::from_der(&certificate).map_err(|_| OpenError::KeyUnreadable)?;
        if !rest.is_empty() || read.public_key().subject_public_key.data.as_ref() != key.public_key().as_ref()
        {
            return Err(OpenError::KeyUnreadable);
        }
        Ok(Self::new(key, certificate))
    }

    fn new(key: EcdsaKeyPair, certificate: Vec<u8>) -> Self {
        let spki = PublicPoint(key.public_key().as_ref()).subject_public_key_info();
        let pin = base16ct::lower::encode_string(&sha256(&spki));
        Self { key, certificate, pin }
    }

    /// Its certificate, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`, in lower-case hex.
    pub(crate) fn pin(&self) -> &str {
        &self.pin
    }

    /// Signs an X.509-SVID for `id`, with further DNS or IP names.
    pub(crate) fn issue(
        &self,
        id: &SpiffeId,
        names: &[ServerName],
        key: &impl PublicKeyData,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<IssuedCertificate, CertificateError> {
        let issuer_params = named(CertificateParams::default(), &id.trust_domain());
        let profile = CertificateProfile::Leaf { id, max_lifetime: X509_SVID_LIFETIME + CLOCK_SKEW, now };
        let issuer = Issuer::from_params(&issuer_params, LintedKey::new(&self.key, profile));
        let expires = Timestamp::from_secs(now.plus(X509_SVID_LIFETIME).secs());
        let params = leaf_params(id, names, now, expires, entropy)?;
        let signed = params.signed_by(key, &issuer);
        let leaf = issuer.key().outcome(signed)?;
        Ok(IssuedCertificate { chain: vec![leaf.der().to_vec(), self.certificate.clone()], expires })
    }

    /// Makes a key for the server itself and signs its certificate.
    pub(crate) fn issue_with_key(
        &self,
        id: &SpiffeId,
        names: &[ServerName],
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<ServerCertificate, CertificateError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| CertificateError::Signature)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref())
            .map_err(|_| CertificateError::Signature)?;
        let certificate = self.issue(id, names, &PublicPoint(key.public_key().as_ref()), now, entropy)?;
        Ok(ServerCertificate { certificate, private_key: Secret::new(document.as_ref()) })
    }

    /// Signs an X.509-SVID for the holder of a proven key.
    pub(crate) fn issue_to(
        &self,
        id: &SpiffeId,
        key: &ProvenKey,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<IssuedCertificate, CertificateError> {
        self.issue(id, &[], key, now, entropy)
    }
}

/// A DNS name or an IP address under which the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A `dNSName` (RFC 5280 §4.2.1.6).
    Dns(String),
    /// An `iPAddress` (RFC 5280 §4.2.1.6).
    Ip(IpAddr),
}

fn authority_params(
    trust_domain: &TrustDomain,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<CertificateParams, CertificateError> {
    // Valid from before its issue: a node whose clock is behind by the clock skew must recognize its server.
    let mut params =
        named(blank_params(now.minus(CLOCK_SKEW), now.plus(CA_LIFETIME), entropy)?, trust_domain);
    params.subject_alt_names = vec![uri_name(&trust_domain.id())?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// With the name under which the signing authority issues (RFC 5280 §4.1.2.4: not empty).
fn named(mut params: CertificateParams, trust_domain: &TrustDomain) -> CertificateParams {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Mandate {trust_domain}"));
    params
}

fn leaf_params(
    id: &SpiffeId,
    names: &[ServerName],
    now: Timestamp,
    expires: Timestamp,
    entropy: &dyn Entropy,
) -> Result<CertificateParams, CertificateError> {
    // Valid from before its issue, too: others check it by their own clocks.
    let mut params = blank_params(now.minus(CLOCK_SKEW), expires, entropy)?;
    params.subject_alt_names = vec![uri_name(id)?];
    for name in names {
        params.subject_alt_names.push(match name {
            ServerName::Dns(text) => {
                SanType::DnsName(text.as_str().try_into().map_err(|_| CertificateError::Name)?)
            }
            ServerName::Ip(address) => SanType::IpAddress(*address),
        });
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn blank_params(
    from: Timestamp,
    until: Timestamp,
    entropy: &dyn Entropy,
) -> Result<CertificateParams, CertificateError> {
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |time: Timestamp| {
        let since = Duration::from_secs(time.secs()).try_into().ok()?;
        epoch.checked_add(since)
    };
    let mut serial = [0u8; 16];
    entropy.fill(&mut serial);
    if let Some(first) = serial.first_mut() {
        // Positive (top bit clear) and of full length (next bit set).
        *first = (*first & 0x7f) | 0x40;
    }
    let mut params = CertificateParams::default();
    params.not_before = at(from).ok_or(CertificateError::Time)?;
    params.not_after = at(until).ok_or(CertificateError::Time)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

fn uri_name(id: &SpiffeId) -> Result<SanType, CertificateError> {
    Ok(SanType::URI(id.as_str().try_into().map_err(|_| CertificateError::Name)?))
}

/// A public key in the form that rcgen needs.
struct PublicPoint<'a>(&'a [u8]);

impl PublicKeyData for PublicPoint<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The signing authority's key with the one profile that it is about to sign.
struct LintedKey<'a> {
    key: &'a EcdsaKeyPair,
    profile: CertificateProfile<'a>,
    // rcgen's error has no room for ours.
    broken: Mutex<Option<CertificateLint>>,
}

impl<'a> LintedKey<'a> {
    fn new(key: &'a EcdsaKeyPair, profile: CertificateProfile<'a>) -> Self {
        Self { key, profile, broken: Mutex::new(None) }
    }

    fn outcome<T>(&self, signed: Result<T, rcgen::Error>) -> Result<T, CertificateError> {
        let broken = self.broken.lock().take();
        match (signed, broken) {
            (_, Some(lint)) => Err(CertificateError::Lint(lint)),
            (Ok(certificate), None) => Ok(certificate),
            (Err(_), None) => Err(CertificateError::Signature),
        }
    }
}

impl PublicKeyData for LintedKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for LintedKey<'_> {
    fn sign(&self, tbs: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        if let Err(lint) = check(tbs, &self.profile) {
            *self.broken.lock() = Some(lint);
            return Err(rcgen::Error::RemoteKeyError);
        }
        let signature = self.key.sign(&SystemRandom::new(), tbs).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

fn parse(pkcs8: &[u8]) -> Result<EcdsaKeyPair, OpenError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map_err(|_| OpenError::KeyUnreadable)
}

#[cfg(test)]
mod tests;
