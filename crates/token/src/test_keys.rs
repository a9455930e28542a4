//! Keys for this crate's own tests.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::{Algorithm, KeySet, KeyUse, PublicJwk, SignError, Signer, jwks_json};

/// A fresh P-256 key.
pub(crate) struct Es256 {
    pub(crate) pair: EcdsaKeyPair,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) jwk: PublicJwk,
}

impl Es256 {
    pub(crate) fn new(key_use: KeyUse) -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let jwk = PublicJwk::from_p256_point(pair.public_key().as_ref(), key_use).unwrap();
        Self { pair, pkcs8: pkcs8.as_ref().to_vec(), jwk }
    }

    pub(crate) fn key_set(&self) -> KeySet {
        KeySet::from_json(jwks_json(std::slice::from_ref(&self.jwk)).as_bytes()).unwrap()
    }

    pub(crate) fn kid(&self) -> &str {
        self.jwk.key_id()
    }

    /// Signs any header and payload text, however wrong they are.
    pub(crate) fn sign_raw(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mut signature = self.sign(signed.as_bytes()).unwrap();
        crate::ecdsa_scalar::make_low(&mut signature);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signs `payload` under a proper header with this `typ`.
    pub(crate) fn sign_claims(&self, typ: &str, payload: &Value) -> String {
        let header = serde_json::json!({"alg": "ES256", "kid": self.kid(), "typ": typ});
        self.sign_raw(&header.to_string(), &payload.to_string())
    }
}

impl Signer for Es256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> &str {
        self.kid()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}
