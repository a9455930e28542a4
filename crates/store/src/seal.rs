//! Sealed columns: AES-256-GCM, bound to the place of the value.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use mandate_core::{Entropy, Secret};

use crate::error::StoreError;

/// The first byte of a sealed value: AES-256-GCM with a random 96-bit nonce.
const FORMAT: u8 = 1;

/// The length of the sealing key, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// The place of a sealed value. A value that is moved to another place cannot be opened there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealedPlace<'a> {
    pub(crate) table: &'static str,
    /// The row's whole primary key.
    pub(crate) row: &'a [&'a [u8]],
    pub(crate) column: &'static str,
}

impl SealedPlace<'_> {
    /// Each part follows its length, so two places never have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        let mut put = |part: &[u8]| {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        };
        put(self.table.as_bytes());
        put(&(self.row.len() as u64).to_be_bytes());
        for part in self.row {
            put(part);
        }
        put(self.column.as_bytes());
        out
    }
}

/// Seals and opens columns with the key of the database.
#[derive(Clone)]
pub(crate) struct Sealer {
    key: Arc<LessSafeKey>,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(redacted)")
    }
}

impl Sealer {
    pub(crate) fn new(key: &Secret, entropy: Arc<dyn Entropy>) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key.expose_secret()).ok()?;
        Some(Self { key: Arc::new(LessSafeKey::new(key)), entropy })
    }

    /// Seals a value for one place: format, nonce, ciphertext, tag.
    pub(crate) fn seal(&self, place: SealedPlace<'_>, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        // Random nonces are safe up to 2^32 values under one key (NIST SP 800-38D §8.3); sealed values are
        // keys, codes and password hashes, not records.
        let mut nonce = [0u8; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(value);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.bytes()),
                &mut sealed,
            )
            .map_err(|_| StoreError::Corrupt("a value could not be sealed".to_owned()))?;
        let mut out = Vec::with_capacity(sealed.capacity());
        out.push(FORMAT);
        out.extend_from_slice(&nonce);
        out.append(&mut sealed);
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens a value at the place it was sealed for.
    pub(crate) fn open(&self, place: SealedPlace<'_>, sealed: &[u8]) -> Result<Secret, StoreError> {
        let broken = || {
            StoreError::Corrupt(format!(
                "{}.{} was changed, moved, or sealed with another key",
                place.table, place.column
            ))
        };
        let (&format, rest) = sealed.split_first().ok_or_else(broken)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        if format != FORMAT {
            return Err(broken());
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut body = zeroize::Zeroizing::new(body.to_vec());
        let plain =
            self.key.open_in_place(nonce, Aad::from(place.bytes()), &mut body).map_err(|_| broken())?;
        Ok(Secret::new(&*plain))
    }
}

#[cfg(test)]
mod tests;
