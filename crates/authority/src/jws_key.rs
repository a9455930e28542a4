//! An ES256 key, parsed once.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use mandate_core::Secret;
use mandate_token::{Algorithm, KeyUse, PublicJwk, SignError, Signer};
use parking_lot::Mutex;

use crate::error::OpenError;

/// An ES256 key pair with its published half.
pub(crate) struct JwsKey {
    pair: EcdsaKeyPair,
    jwk: PublicJwk,
}

impl JwsKey {
    /// A new key, and its private half to be sealed.
    pub(crate) fn generate(key_use: KeyUse) -> Result<(Self, Secret), OpenError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| OpenError::KeyGeneration)?;
        let sealed = Secret::new(document.as_ref());
        Ok((Self::from_sealed(&sealed, key_use)?, sealed))
    }

    /// From what [`JwsKey::generate`] returned.
    pub(crate) fn from_sealed(sealed: &Secret, key_use: KeyUse) -> Result<Self, OpenError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, sealed.expose_secret())
            .map_err(|_| OpenError::KeyUnreadable)?;
        let jwk = PublicJwk::from_p256_point(pair.public_key().as_ref(), key_use)
            .map_err(|_| OpenError::KeyUnreadable)?;
        Ok(Self { pair, jwk })
    }

    /// Its public half as an uncompressed point.
    pub(crate) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn jwk(&self) -> &PublicJwk {
        &self.jwk
    }

    /// A signer that checks what it signs.
    pub(crate) fn linted<L: Fn(&[u8], &str) -> Result<(), E> + Send + Sync, E: Send>(
        &self,
        lint: L,
    ) -> Linted<'_, L, E> {
        Linted { key: self, lint, broken: Mutex::new(None) }
    }
}

/// The only [`Signer`] for a [`JwsKey`]: it signs nothing that its lint refuses.
pub(crate) struct Linted<'a, L, E> {
    key: &'a JwsKey,
    lint: L,
    // `SignError` has no room for ours.
    broken: Mutex<Option<E>>,
}

impl<L, E> Linted<'_, L, E> {
    /// Why the lint refused, if it did.
    pub(crate) fn into_broken(self) -> Option<E> {
        self.broken.into_inner()
    }
}

impl<L: Fn(&[u8], &str) -> Result<(), E> + Send + Sync, E: Send> Signer for Linted<'_, L, E> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> &str {
        self.key.jwk.key_id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if let Err(broken) = (self.lint)(message, self.key_id()) {
            *self.broken.lock() = Some(broken);
            return Err(SignError::Claims("the lint refused"));
        }
        let signature = self
            .key
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SignError::Key("ECDSA failed".to_owned()))?;
        Ok(signature.as_ref().to_vec())
    }
}
