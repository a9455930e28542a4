//! The node's own identity: a key that never leaves this machine, its certificate, and the CA of the server.

use mandate_core::{Entropy, Secret, SpiffeId, Timestamp, TrustDomain};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificate::Certificate;
use crate::error::NodeError;
use crate::trust::Anchor;

/// A new key and the request for its certificate.
pub(crate) struct KeyRequest {
    key: KeyPair,
    /// The PKCS#10 request in DER. It contains no name: the server decides the identity of this node.
    pub(crate) csr: Vec<u8>,
}

impl KeyRequest {
    /// Makes a P-256 key.
    pub(crate) fn generate() -> Result<Self, NodeError> {
        let failed = |error: rcgen::Error| NodeError::Key(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).map_err(failed)?.der().to_vec();
        Ok(Self { key, csr })
    }

    /// The credentials that the server made from this request.
    pub(crate) fn complete(
        &self,
        chain: Vec<Vec<u8>>,
        ca: Vec<Vec<u8>>,
    ) -> Result<Credentials, UnusableCredentials> {
        let own = |ders: Vec<Vec<u8>>| ders.into_iter().map(CertificateDer::from).collect();
        Credentials::new(Secret::new(self.key.serialize_der()), own(chain), own(ca))
    }
}

/// Why a key, a chain and a CA do not make a node's credentials. Never names key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UnusableCredentials(pub(crate) String);

/// A joined node's credentials, checked: the key belongs to the certificate, and the certificate names one
/// member of a trust domain.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    key: Secret,
    chain: Vec<CertificateDer<'static>>,
    ca: Vec<CertificateDer<'static>>,
    spiffe_id: SpiffeId,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Credentials {
    /// Checks and takes a PKCS#8 key in DER, a chain with the leaf first, and the CA's certificates.
    pub(crate) fn new(
        key: Secret,
        chain: Vec<CertificateDer<'static>>,
        ca: Vec<CertificateDer<'static>>,
    ) -> Result<Self, UnusableCredentials> {
        let reason = |text: &str| UnusableCredentials(text.to_owned());
        let leaf = chain.first().ok_or_else(|| reason("there is no certificate"))?;
        let leaf = Certificate::parse(leaf)
            .map_err(|error| UnusableCredentials(format!("the node's certificate is not usable: {error}")))?;
        let spiffe_id = leaf
            .require_spiffe_id()
            .map_err(|error| UnusableCredentials(format!("the node's certificate is not usable: {error}")))?;
        if spiffe_id.path().is_empty() {
            return Err(reason("the node's certificate names a trust domain, not a node"));
        }
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(key.expose_secret()),
            &PKCS_ECDSA_P256_SHA256,
        )
        .map_err(|_| reason("the private key is not a P-256 key in PKCS#8"))?;
        if pair.public_key_raw() != leaf.public_key {
            return Err(reason("the certificate is not one for this node's key"));
        }
        check_ca(&ca)?;
        Ok(Self {
            spiffe_id: spiffe_id.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            key,
            chain,
            ca,
        })
    }

    /// The same identity with other CA certificates.
    pub(crate) fn with_ca(&self, ca: Vec<CertificateDer<'static>>) -> Result<Self, UnusableCredentials> {
        check_ca(&ca)?;
        Ok(Self { ca, ..self.clone() })
    }

    /// The identity of this node.
    pub(crate) fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The trust domain to which it belongs.
    pub(crate) fn trust_domain(&self) -> TrustDomain {
        self.spiffe_id.trust_domain()
    }

    /// The private key: PKCS#8 in DER.
    pub(crate) fn key(&self) -> &Secret {
        &self.key
    }

    /// The private key in the form that TLS needs.
    pub(crate) fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.expose_secret().to_vec()))
    }

    /// The certificate chain, leaf first.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The certificates by which the server is verified.
    pub(crate) fn ca(&self) -> &[CertificateDer<'static>] {
        &self.ca
    }

    /// The anchor by which the server is recognized from now on.
    pub(crate) fn anchor(&self) -> Anchor {
        Anchor::Joined { ca: self.ca.clone(), trust_domain: self.trust_domain() }
    }

    /// When the certificate expires.
    pub(crate) fn expires(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it has expired.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    /// When to ask for a new certificate: after half of its lifetime, plus or minus a twentieth of it, so
    /// that nodes that started together do not ask together.
    pub(crate) fn renewal(&self, entropy: &dyn Entropy) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before.plus(life.mul_f64(0.45 + 0.1 * entropy.fraction()))
    }
}

fn check_ca(ca: &[CertificateDer<'static>]) -> Result<(), UnusableCredentials> {
    let usable = !ca.is_empty() && ca.iter().all(|der| Certificate::parse(der).is_ok());
    if usable {
        Ok(())
    } else {
        Err(UnusableCredentials("the CA's certificates are missing or not usable".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, KeyRequest};
    use mandate_core::{Secret, SystemEntropy, Timestamp};
    use rcgen::{CertificateParams, KeyPair, SanType};
    use rustls::pki_types::CertificateDer;
    use std::time::Duration;

    fn certificate(key: &KeyPair, uri: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 11);
        params.self_signed(key).unwrap().der().clone()
    }

    fn credentials(uri: &str) -> Result<Credentials, super::UnusableCredentials> {
        let key = KeyPair::generate().unwrap();
        let certificate = certificate(&key, uri);
        Credentials::new(Secret::new(key.serialize_der()), vec![certificate.clone()], vec![certificate])
    }

    #[test]
    fn are_renewed_around_half_of_their_life() {
        let credentials = credentials("spiffe://acme.example/node/1").unwrap();
        assert_eq!(credentials.trust_domain().as_str(), "acme.example");
        let start = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        for _ in 0..100 {
            let after = credentials.renewal(&SystemEntropy).since(start);
            assert!(
                after >= Duration::from_hours(4 * 24 + 12) && after <= Duration::from_hours(5 * 24 + 12),
                "{after:?}"
            );
        }
        assert!(!credentials.is_expired("2026-01-10T23:59:59Z".parse().unwrap()));
        assert!(credentials.is_expired("2026-01-11T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn another_keys_certificate_is_refused() {
        let other = certificate(&KeyPair::generate().unwrap(), "spiffe://acme.example/node/1");
        let refused =
            KeyRequest::generate().unwrap().complete(vec![other.to_vec()], vec![other.to_vec()]).unwrap_err();
        assert!(refused.to_string().contains("not one for this node's key"), "{refused}");
    }

    #[test]
    fn incomplete_answers_are_refused() {
        let key = KeyPair::generate().unwrap();
        let good = certificate(&key, "spiffe://acme.example/node/1");
        let secret = || Secret::new(key.serialize_der());
        assert!(Credentials::new(secret(), vec![good.clone()], vec![good.clone()]).is_ok());
        assert!(Credentials::new(secret(), vec![], vec![good.clone()]).is_err());
        assert!(Credentials::new(secret(), vec![good.clone()], vec![]).is_err());
        assert!(Credentials::new(secret(), vec![good.clone()], vec![vec![1, 2, 3].into()]).is_err());
        assert!(Credentials::new(Secret::new("no key"), vec![good.clone()], vec![good.clone()]).is_err());
        assert!(credentials("spiffe://acme.example").is_err());
        assert!(credentials("https://acme.example/node").is_err());
    }

    #[test]
    fn do_not_print_the_key() {
        let text = format!("{:?}", credentials("spiffe://acme.example/node/1").unwrap());
        assert!(text.contains("redacted"), "{text}");
    }
}
