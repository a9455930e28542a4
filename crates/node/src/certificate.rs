//! What this node reads from a certificate: its holder, its validity, and the key that it certifies.

use mandate_core::{SpiffeId, Timestamp};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::join_token::SpkiPin;

/// Why a certificate is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableCertificate {
    /// Not a certificate in DER.
    #[error("it is not an X.509 certificate")]
    Malformed,
    /// None or several URI names, or one that is not a SPIFFE ID (X509-SVID §2).
    #[error("it does not carry exactly one SPIFFE ID")]
    SpiffeId,
}

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub(crate) pin: SpkiPin,
    /// Its only URI name, if that is a SPIFFE ID.
    pub(crate) spiffe_id: Option<SpiffeId>,
    /// From when it is valid.
    pub(crate) not_before: Timestamp,
    /// Until when it is valid, inclusive.
    pub(crate) not_after: Timestamp,
    /// The subject's public key: for EC keys the uncompressed point.
    pub(crate) public_key: Vec<u8>,
}

impl Certificate {
    /// Reads the facts. This does not check whether the certificate is trusted.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, UnusableCertificate> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| UnusableCertificate::Malformed)?;
        if !rest.is_empty() {
            return Err(UnusableCertificate::Malformed);
        }
        let names = parsed.subject_alternative_name().map_err(|_| UnusableCertificate::Malformed)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .collect();
        let spiffe_id = match uris.as_slice() {
            [only] => only.parse().ok(),
            _ => None,
        };
        let validity = parsed.validity();
        let secs = |at: i64| Timestamp::from_secs(u64::try_from(at).unwrap_or(0));
        Ok(Self {
            pin: SpkiPin::of(parsed.public_key().raw),
            spiffe_id,
            not_before: secs(validity.not_before.timestamp()),
            not_after: secs(validity.not_after.timestamp()),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// Its SPIFFE ID; a certificate without exactly one is refused (X509-SVID §5.2).
    pub(crate) fn require_spiffe_id(&self) -> Result<&SpiffeId, UnusableCertificate> {
        self.spiffe_id.as_ref().ok_or(UnusableCertificate::SpiffeId)
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificate, UnusableCertificate};
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};

    fn certificate(uris: &[&str]) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        (params.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[test]
    fn facts_are_read() {
        let (der, key) = certificate(&["spiffe://acme.example/mandate/server"]);
        let parsed = Certificate::parse(&der).unwrap();
        assert_eq!(parsed.require_spiffe_id().unwrap().as_str(), "spiffe://acme.example/mandate/server");
        assert_eq!(parsed.public_key, key.public_key_raw());
        assert_eq!(parsed.pin, crate::join_token::SpkiPin::of(&key.subject_public_key_info()));
        assert!(parsed.not_before < parsed.not_after);
    }

    #[test]
    fn one_spiffe_id_and_no_other_uri() {
        for uris in [
            &[][..],
            &["https://acme.example"],
            &["spiffe://acme.example/a", "spiffe://acme.example/b"],
            &["spiffe://ACME.example/a"],
        ] {
            let parsed = Certificate::parse(&certificate(uris).0).unwrap();
            assert_eq!(parsed.require_spiffe_id(), Err(UnusableCertificate::SpiffeId), "{uris:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let (mut der, _) = certificate(&[]);
        der.push(0);
        for bytes in [&[][..], b"text", &der] {
            assert_eq!(Certificate::parse(bytes), Err(UnusableCertificate::Malformed));
        }
    }
}
