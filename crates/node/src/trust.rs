//! Which server this node trusts. There are two ways, and neither accepts an arbitrary certificate.

use std::fmt;
use std::sync::{Arc, OnceLock};

use mandate_core::{Clock, SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use crate::certificate::{Certificate, UnusableCertificate};
use crate::join_token::SpkiPin;

/// The path of the server's own SPIFFE ID, which no agent can have.
pub(crate) const SERVER_PATH: &str = "/mandate/server";

/// How the server is recognized.
#[derive(Clone, Debug)]
pub(crate) enum Anchor {
    /// First contact: the join token pins the CA, and the CA is the only root. The trust domain is learned
    /// from the certificate that this CA signed for the server.
    Pinned(SpkiPin),
    /// Afterwards: the CA certificates that the server sent, and the trust domain that was joined.
    Joined {
        /// The only root certificates that are accepted.
        ca: Vec<CertificateDer<'static>>,
        trust_domain: TrustDomain,
    },
}

/// Why a server is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untrusted {
    /// No certificate of the presented chain has the pinned key.
    #[error("it shows no certificate of the CA that the join token names")]
    WrongCa,
    /// The CA itself cannot serve as a root.
    #[error("the CA's certificate is not usable")]
    UnusableCa,
    /// The certificate cannot be read or carries no SPIFFE ID.
    #[error("its certificate is not usable: {0}")]
    Unusable(#[from] UnusableCertificate),
    /// The peer has a valid identity, but is not the server.
    #[error("its certificate is that of {found}, not of {expected}")]
    WrongId { found: SpiffeId, expected: String },
}

impl From<Untrusted> for rustls::Error {
    fn from(error: Untrusted) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// Verifies the server's chain up to the [`Anchor`] and then its SPIFFE ID. A server's host name is not
/// checked: nodes may reach it by any address.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    anchor: Anchor,
    algorithms: WebPkiSupportedAlgorithms,
    server: OnceLock<SpiffeId>,
}

impl ServerVerifier {
    /// A verifier for one connection.
    pub(crate) fn new(anchor: Anchor, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { anchor, algorithms, server: OnceLock::new() }
    }

    /// The verified server, after the verification.
    pub(crate) fn server(&self) -> Option<&SpiffeId> {
        self.server.get()
    }

    fn roots(&self, presented: &[CertificateDer<'_>]) -> Result<RootCertStore, Untrusted> {
        let mut roots = RootCertStore::empty();
        match &self.anchor {
            Anchor::Pinned(pin) => {
                let is_pinned = |der: &&CertificateDer<'_>| {
                    Certificate::parse(der).is_ok_and(|certificate| certificate.pin == *pin)
                };
                let ca = presented.iter().find(is_pinned).ok_or(Untrusted::WrongCa)?;
                roots.add(ca.clone().into_owned()).map_err(|_| Untrusted::UnusableCa)?;
            }
            Anchor::Joined { ca, .. } => {
                for certificate in ca {
                    roots.add(certificate.clone()).map_err(|_| Untrusted::UnusableCa)?;
                }
            }
        }
        Ok(roots)
    }

    fn check_id(&self, end_entity: &CertificateDer<'_>) -> Result<SpiffeId, Untrusted> {
        let certificate = Certificate::parse(end_entity)?;
        let found = certificate.require_spiffe_id()?.clone();
        let (expected, as_expected) = match &self.anchor {
            Anchor::Pinned(_) => (format!("spiffe://…{SERVER_PATH}"), found.path() == SERVER_PATH),
            Anchor::Joined { trust_domain, .. } => (
                format!("spiffe://{trust_domain}{SERVER_PATH}"),
                found.is_member_of(trust_domain) && found.path() == SERVER_PATH,
            ),
        };
        if as_expected { Ok(found) } else { Err(Untrusted::WrongId { found, expected }) }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = self.roots(intermediates)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let server = self.check_id(end_entity)?;
        // A connection has one handshake; a second one could only name the same server.
        self.server.set(server).map_err(|_| rustls::Error::General("verified twice".to_owned()))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Lets TLS use the same clock as all other code.
pub(crate) struct TlsClock(pub(crate) Arc<dyn Clock>);

impl fmt::Debug for TlsClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClock")
    }
}

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_millis(self.0.now().millis())))
    }
}

#[cfg(test)]
mod tests;
