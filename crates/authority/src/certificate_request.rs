//! Certificate signing requests (RFC 2986): nothing is read from one but a public key, with the proof that
//! the requester holds the private key.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256};
use x509_parser::prelude::FromDer;

/// The largest signing request that is parsed, in bytes. One for a P-256 key has about 250.
pub const MAX_REQUEST_LEN: usize = 4096;

/// Why a certificate signing request is refused. All of them are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Longer than [`MAX_REQUEST_LEN`].
    #[error("the certificate signing request is too long")]
    TooLong,
    /// Not DER of a signing request, or with trailing bytes.
    #[error("the certificate signing request does not parse")]
    Parse,
    /// Not a P-256 key, or not ECDSA with SHA-256.
    #[error("the certificate signing request is not for an ECDSA P-256 key with SHA-256")]
    Algorithm,
    /// The sender does not hold the private key.
    #[error("the signature of the certificate signing request does not verify")]
    Signature,
}

/// A P-256 public key whose private key the sender has proved to hold.
#[derive(Clone, Debug)]
pub struct ProvenKey {
    point: Vec<u8>,
}

impl ProvenKey {
    /// The public key: the uncompressed point (RFC 5480 §2.2).
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// Verifies a request's own signature. Its subject, names and everything else that it asks for are
    /// ignored: the authority decides the content of a certificate, never the requester.
    pub fn from_request(der: &[u8]) -> Result<Self, InvalidRequest> {
        if der.len() > MAX_REQUEST_LEN {
            return Err(InvalidRequest::TooLong);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| InvalidRequest::Parse)?;
        if !rest.is_empty() {
            return Err(InvalidRequest::Parse);
        }
        let info = &request.certification_request_info;
        let key = &info.subject_pki;
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        let right = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve == Some(OID_EC_P256)
            && request.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256;
        // RFC 5480 §2.2: the uncompressed form, which is what we put into certificates.
        let point = key.subject_public_key.data.to_vec();
        if !right || point.len() != 65 || point.first() != Some(&0x04) {
            return Err(InvalidRequest::Algorithm);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| InvalidRequest::Signature)?;
        Ok(Self { point })
    }
}

impl PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

    use super::{InvalidRequest, MAX_REQUEST_LEN, ProvenKey};

    fn request(key: &KeyPair) -> Vec<u8> {
        CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn takes_the_key_of_a_request_that_its_holder_signed() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(ProvenKey::from_request(&request(&key)).unwrap().point, key.public_key_raw());
    }

    #[test]
    fn refuses_a_request_signed_by_another_key() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let der = request(&key);
        let at = der.windows(65).position(|w| w == key.public_key_raw()).unwrap();
        let mut forged = der.clone();
        forged[at..at + 65].copy_from_slice(other.public_key_raw());
        assert_eq!(ProvenKey::from_request(&forged).err(), Some(InvalidRequest::Signature));
    }

    #[test]
    fn refuses_other_curves_trailing_bytes_garbage_and_sizes() {
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        assert_eq!(ProvenKey::from_request(&request(&p384)).err(), Some(InvalidRequest::Algorithm));
        let mut trailing = request(&KeyPair::generate().unwrap());
        trailing.push(0);
        assert_eq!(ProvenKey::from_request(&trailing).err(), Some(InvalidRequest::Parse));
        assert_eq!(ProvenKey::from_request(b"").err(), Some(InvalidRequest::Parse));
        assert_eq!(ProvenKey::from_request(&[0x30; 64]).err(), Some(InvalidRequest::Parse));
        assert_eq!(ProvenKey::from_request(&[0; MAX_REQUEST_LEN + 1]).err(), Some(InvalidRequest::TooLong));
    }

    #[test]
    fn no_flipped_byte_yields_another_key_or_a_panic() {
        let key = KeyPair::generate().unwrap();
        let der = request(&key);
        let mut refused = 0;
        for at in 0..der.len() {
            let mut bent = der.clone();
            bent[at] ^= 0x01;
            match ProvenKey::from_request(&bent) {
                // An attribute type or the like, outside of what is signed and read.
                Ok(proven) => assert_eq!(proven.point, key.public_key_raw(), "byte {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 200, "{refused} of {}", der.len());
    }
}
