use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use mandate_core::lifetimes::{CA_LIFETIME, CLOCK_SKEW, X509_SVID_LIFETIME};
use mandate_core::{SpiffeId, Timestamp, TrustDomain};
use mandate_testkit::clock::{START, SeededEntropy};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    SigningKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ServerName, SigningAuthority, authority_params, leaf_params, named};
use crate::certificate_request::ProvenKey;
use crate::error::CertificateError;
use crate::lint::certificate::{CertificateLint as L, CertificateProfile, check};

fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

fn node() -> SpiffeId {
    "spiffe://acme.example/node/n1".parse().unwrap()
}

fn authority() -> SigningAuthority {
    SigningAuthority::generate(&domain(), START, &SeededEntropy::default()).unwrap().0
}

fn request() -> (KeyPair, ProvenKey) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["attacker.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://acme.example/mandate/server".try_into().unwrap()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let request = params.serialize_request(&key).unwrap();
    (key, ProvenKey::from_request(request.der()).unwrap())
}

/// Keeps what it is asked to sign.
struct Capture(KeyPair, Mutex<Vec<u8>>);

impl PublicKeyData for Capture {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Capture {
    fn sign(&self, tbs: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        *self.1.lock() = tbs.to_vec();
        self.0.sign(tbs)
    }
}

fn tbs_of(params: &CertificateParams) -> Vec<u8> {
    let issuer_params = named(CertificateParams::default(), &domain());
    let issuer = Issuer::from_params(&issuer_params, Capture(KeyPair::generate().unwrap(), Mutex::default()));
    params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    issuer.key().1.lock().clone()
}

fn leaf() -> CertificateParams {
    leaf_params(&node(), &[], START, START.plus(X509_SVID_LIFETIME), &SeededEntropy::default()).unwrap()
}

fn check_leaf(change: impl FnOnce(&mut CertificateParams)) -> Result<(), L> {
    let mut params = leaf();
    change(&mut params);
    let id = node();
    check(
        &tbs_of(&params),
        &CertificateProfile::Leaf { id: &id, max_lifetime: X509_SVID_LIFETIME + CLOCK_SKEW, now: START },
    )
}

fn check_authority(change: impl FnOnce(&mut CertificateParams)) -> Result<(), L> {
    let mut params = authority_params(&domain(), START, &SeededEntropy::default()).unwrap();
    change(&mut params);
    let trust_domain = domain();
    let profile = CertificateProfile::SigningAuthority {
        trust_domain: &trust_domain,
        max_lifetime: CA_LIFETIME + CLOCK_SKEW,
        now: START,
    };
    check(&tbs_of(&params), &profile)
}

#[test]
fn a_node_certificate_is_an_x509_svid_signed_by_the_authority() {
    let authority = authority();
    let (key, proven) = request();
    let issued = authority.issue_to(&node(), &proven, START, &SeededEntropy::new(2)).unwrap();
    assert_eq!(issued.expires, START.plus(Duration::from_secs(3600)));
    assert_eq!(issued.chain[1], authority.certificate());
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    let (_, ca) = X509Certificate::from_der(&issued.chain[1]).unwrap();
    assert_eq!(leaf.issuer(), ca.subject());
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    let tbs = leaf.tbs_certificate.as_ref();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, ca.public_key().subject_public_key.data.as_ref())
        .verify(tbs, &leaf.signature_value.data)
        .unwrap();
    let id = node();
    assert_eq!(
        check(
            tbs,
            &CertificateProfile::Leaf { id: &id, max_lifetime: X509_SVID_LIFETIME + CLOCK_SKEW, now: START }
        ),
        Ok(())
    );
}

#[test]
fn nothing_that_a_request_wishes_for_gets_into_the_certificate() {
    let (_, proven) = request();
    let issued = authority().issue_to(&node(), &proven, START, &SeededEntropy::new(2)).unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1, "{names:?}");
    assert!(format!("{:?}", names.value).contains("spiffe://acme.example/node/n1"));
    assert!(!leaf.is_ca());
    assert!(!leaf.key_usage().unwrap().unwrap().value.key_cert_sign());
}

#[test]
fn the_server_s_certificate_carries_its_names_and_its_key() {
    let authority = authority();
    let id: SpiffeId = "spiffe://acme.example/mandate/server".parse().unwrap();
    let names = [ServerName::Dns("localhost".to_owned()), ServerName::Ip("127.0.0.1".parse().unwrap())];
    let issued = authority.issue_with_key(&id, &names, START, &SeededEntropy::new(3)).unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.certificate.chain[0]).unwrap();
    assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 3);
    let key = KeyPair::try_from(issued.private_key.expose_secret()).unwrap();
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    assert!(format!("{issued:?}").contains("private_key: Secret(redacted)"));
    let bad = [ServerName::Dns("ümlaut".to_owned())];
    assert_eq!(
        authority.issue_with_key(&id, &bad, START, &SeededEntropy::new(3)).err(),
        Some(CertificateError::Name)
    );
}

#[test]
fn two_certificates_never_share_a_serial() {
    let authority = authority();
    let entropy = SeededEntropy::new(4);
    let (_, proven) = request();
    let serial =
        |chain: &[Vec<u8>]| X509Certificate::from_der(&chain[0]).unwrap().1.tbs_certificate.serial.clone();
    let one = serial(&authority.issue_to(&node(), &proven, START, &entropy).unwrap().chain);
    let two = serial(&authority.issue_to(&node(), &proven, START, &entropy).unwrap().chain);
    assert_ne!(one, two);
}

#[test]
fn is_read_back_and_refuses_a_certificate_over_another_key() {
    let (authority, private) =
        SigningAuthority::generate(&domain(), START, &SeededEntropy::default()).unwrap();
    let again = SigningAuthority::from_parts(authority.certificate().to_vec(), &private).unwrap();
    assert_eq!((again.certificate(), again.pin()), (authority.certificate(), authority.pin()));
    assert_eq!(again.pin().len(), 64);
    let other = self::authority();
    assert!(SigningAuthority::from_parts(other.certificate().to_vec(), &private).is_err());
    assert!(SigningAuthority::from_parts(Vec::new(), &private).is_err());
    assert!(
        SigningAuthority::from_parts(authority.certificate().to_vec(), &mandate_core::Secret::new(*b"x"))
            .is_err()
    );
}

#[test]
fn refuses_to_sign_for_a_trust_domain_itself() {
    // X509-SVID §5.2: a leaf's ID has a path.
    let (_, proven) = request();
    let issued = authority().issue_to(&domain().id(), &proven, START, &SeededEntropy::new(2));
    assert_eq!(issued.err(), Some(CertificateError::Lint(L::Identity)));
}

#[test]
fn lint_refuses_every_leaf_that_is_no_x509_svid() {
    assert_eq!(check_leaf(|_| {}), Ok(()));
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    assert_eq!(check_leaf(|p| p.subject_alt_names.clear()), Err(L::UriCount));
    assert_eq!(
        check_leaf(|p| p.subject_alt_names.push(uri("spiffe://acme.example/agent/a"))),
        Err(L::UriCount),
        "K: two identities"
    );
    assert_eq!(
        check_leaf(|p| p.subject_alt_names = vec![uri("spiffe://acme.example/node/n2")]),
        Err(L::Identity)
    );
    assert_eq!(
        check_leaf(|p| p.subject_alt_names = vec![uri("https://acme.example/node/n1")]),
        Err(L::Identity)
    );
    assert_eq!(
        check_leaf(|p| p.subject_alt_names.push(SanType::Rfc822Name("a@acme.example".try_into().unwrap()))),
        Err(L::AlternativeName)
    );
    assert_eq!(check_leaf(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), Err(L::BasicConstraints));
    assert_eq!(check_leaf(|p| p.is_ca = IsCa::NoCa), Err(L::BasicConstraints), "it has to say so");
    assert_eq!(check_leaf(|p| p.key_usages.clear()), Err(L::KeyUsage));
    assert_eq!(check_leaf(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), Err(L::KeyUsage));
    assert_eq!(check_leaf(|p| p.key_usages.push(KeyUsagePurpose::CrlSign)), Err(L::KeyUsage));
    assert_eq!(check_leaf(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]), Err(L::KeyUsage));
    assert_eq!(check_leaf(|p| p.extended_key_usages.clear()), Err(L::ExtendedKeyUsage));
    assert_eq!(
        check_leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        Err(L::ExtendedKeyUsage)
    );
    assert_eq!(
        check_leaf(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning)),
        Err(L::ExtendedKeyUsage)
    );
    assert_eq!(
        check_leaf(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::Any)),
        Err(L::ExtendedKeyUsage)
    );
    let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    assert_eq!(check_leaf(|p| p.custom_extensions.push(unknown)), Err(L::Extension));
    assert_eq!(check_leaf(|p| p.serial_number = Some(SerialNumber::from_slice(&[1]))), Err(L::Serial));
}

#[test]
fn lint_refuses_lifetimes_beyond_the_profile() {
    let leaf = |from: Timestamp, until: Timestamp| {
        let params =
            leaf_params(&node(), &[], from.plus(CLOCK_SKEW), until, &SeededEntropy::default()).unwrap();
        let id = node();
        check(
            &tbs_of(&params),
            &CertificateProfile::Leaf { id: &id, max_lifetime: X509_SVID_LIFETIME + CLOCK_SKEW, now: START },
        )
    };
    let second = Duration::from_secs(1);
    let (from, until) = (START.minus(CLOCK_SKEW), START.plus(X509_SVID_LIFETIME));
    assert_eq!(leaf(from, until), Ok(()));
    assert_eq!(leaf(from, until.plus(second)), Err(L::Lifetime), "too long");
    assert_eq!(leaf(START.plus(second), until), Err(L::Lifetime), "not valid yet");
    assert_eq!(leaf(from, START), Err(L::Lifetime), "expired");
}

#[test]
fn lint_refuses_every_signing_certificate_that_is_none() {
    assert_eq!(check_authority(|_| {}), Ok(()));
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    assert_eq!(
        check_authority(|p| p.subject_alt_names = vec![uri("spiffe://acme.example/mandate/server")]),
        Err(L::Identity),
        "a path"
    );
    assert_eq!(
        check_authority(|p| p.subject_alt_names = vec![uri("spiffe://other.example")]),
        Err(L::Identity)
    );
    assert_eq!(
        check_authority(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        Err(L::BasicConstraints)
    );
    assert_eq!(check_authority(|p| p.is_ca = IsCa::ExplicitNoCa), Err(L::BasicConstraints));
    assert_eq!(
        check_authority(|p| p.key_usages.push(KeyUsagePurpose::DigitalSignature)),
        Err(L::KeyUsage),
        "it authenticates nobody"
    );
    assert_eq!(check_authority(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), Err(L::KeyUsage));
    assert_eq!(
        check_authority(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
        Err(L::ExtendedKeyUsage)
    );
    assert_eq!(
        check(
            b"",
            &CertificateProfile::SigningAuthority {
                trust_domain: &domain(),
                max_lifetime: CA_LIFETIME,
                now: START
            }
        ),
        Err(L::Parse)
    );
}
