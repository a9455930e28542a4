//! TLS for nodes whose certificate has expired: accepted for the time that the operator allows, and only if
//! nothing except the time is wrong with the certificate. `identity` decides what such a node may call: only
//! `Renew`.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Verifies like another verifier, and also accepts a certificate that expired at most `grace` ago.
#[derive(Debug)]
pub(super) struct WithGrace {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) grace: Duration,
}

/// The last second in which a certificate is valid (RFC 5280 §4.1.2.5).
fn last_valid(der: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let not_after = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(not_after)))
}

impl ClientCertVerifier for WithGrace {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = match self.inner.verify_client_cert(end_entity, intermediates, now) {
            Err(
                error @ Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ),
            ) => error,
            verified => return verified,
        };
        match last_valid(end_entity) {
            Some(then) if now.as_secs().saturating_sub(then.as_secs()) <= self.grace.as_secs() => {
                self.inner.verify_client_cert(end_entity, intermediates, then)
            }
            _ => Err(refused),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::WithGrace;
    use crate::tls::provider;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };
    use rustls::pki_types::{CertificateDer, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    use rustls::server::danger::ClientCertVerifier;
    use rustls::{CertificateError, Error, RootCertStore};
    use std::sync::Arc;
    use std::time::Duration;

    fn ca() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate of January 2026 by `ca`.
    fn leaf(ca: &CertifiedIssuer<'static, KeyPair>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap().der().clone()
    }

    fn verifier(ca: &CertifiedIssuer<'static, KeyPair>, grace: Duration) -> WithGrace {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        WithGrace {
            inner: WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap(),
            grace,
        }
    }

    /// The end of the certificate, and so much later.
    fn after(seconds: u64) -> UnixTime {
        let end = u64::try_from(rcgen::date_time_ymd(2026, 1, 31).unix_timestamp()).unwrap();
        UnixTime::since_unix_epoch(Duration::from_secs(end + seconds))
    }

    #[test]
    fn an_expired_certificate_is_accepted_within_the_grace_and_no_longer() {
        let ca = ca();
        let (leaf, day) = (leaf(&ca), Duration::from_hours(24));
        let verify = |grace, now| verifier(&ca, grace).verify_client_cert(&leaf, &[], now).map(drop);
        assert_eq!(verify(day, after(0)), Ok(()));
        assert_eq!(verify(day, after(day.as_secs())), Ok(()));
        for (grace, late) in [(day, day.as_secs() + 1), (Duration::ZERO, 1)] {
            let refused = verify(grace, after(late)).unwrap_err();
            assert!(
                matches!(refused, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn anothers_expired_certificate_is_not() {
        let (ours, theirs) = (ca(), ca());
        let leaf = leaf(&theirs);
        assert!(verifier(&ours, Duration::from_hours(24)).verify_client_cert(&leaf, &[], after(60)).is_err());
    }

    #[test]
    fn one_that_is_not_valid_yet_is_not() {
        let ca = ca();
        let leaf = leaf(&ca);
        let before = UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000));
        assert!(verifier(&ca, Duration::from_hours(24)).verify_client_cert(&leaf, &[], before).is_err());
    }
}
