//! What a browser keeps while its person is at an identity provider: sealed, so that neither the browser nor
//! another server can read or change it.
//!
//! The key is this process's alone: after a restart, logins at providers are begun again.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{Entropy, Secret};

/// What is sealed with this key, and nothing else.
const PURPOSE: &[u8] = b"mandate login at a provider";

/// The longest value that is sealed, in characters: browsers keep 4096 bytes of name and value (RFC 6265
/// §6.1).
const MAX_VALUE: usize = 4000;

/// Seals values of cookies.
pub(crate) struct LoginSeal {
    key: LessSafeKey,
    entropy: Arc<dyn Entropy>,
}

impl LoginSeal {
    /// A seal with a new key; `None` if the cryptographic library refuses the key.
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Option<Self> {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        let key = UnboundKey::new(&AES_256_GCM, Secret::new(key).expose_secret()).ok()?;
        Some(Self { key: LessSafeKey::new(key), entropy })
    }

    /// The value of a cookie with these bytes; `None` if it would be longer than browsers keep.
    pub(super) fn seal(&self, bytes: &Secret) -> Option<String> {
        // A random nonce: one key seals far fewer than 2^32 logins (NIST SP 800-38D §8.3).
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let mut body = bytes.expose_secret().to_vec();
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(sealing, Aad::from(PURPOSE), &mut body).ok()?;
        let value = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &body].concat());
        Some(value).filter(|value| value.len() <= MAX_VALUE)
    }

    /// The bytes in a value that [`LoginSeal::seal`] made.
    pub(super) fn open(&self, value: &str) -> Option<Secret> {
        let mut sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let bytes = self.key.open_in_place(nonce, Aad::from(PURPOSE), body).ok()?;
        Some(Secret::new(&*bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mandate_core::{Secret, SystemEntropy};

    use super::LoginSeal;

    #[test]
    fn only_the_process_that_sealed_a_value_opens_it_and_only_unchanged() {
        let seal = || LoginSeal::new(Arc::new(SystemEntropy)).unwrap();
        let ours = seal();
        let value = ours.seal(&Secret::new("a login")).unwrap();
        assert_eq!(ours.open(&value), Some(Secret::new("a login")));
        assert_ne!(ours.seal(&Secret::new("a login")), Some(value.clone()), "a nonce of its own");
        assert_eq!(seal().open(&value), None, "another process");
        for at in 0..value.len() {
            let mut changed = value.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ours.open(&changed), None, "{at}");
        }
        for forged in ["", "A", "AAAAAAAAAAAAAAAA", &value[1..], &format!("{value}A"), "\"", "é"] {
            assert_eq!(ours.open(forged), None, "{forged}");
        }
    }

    #[test]
    fn what_a_browser_would_not_keep_is_not_sealed() {
        let seal = LoginSeal::new(Arc::new(SystemEntropy)).unwrap();
        assert!(seal.seal(&Secret::new(vec![b'a'; 2_900])).is_some());
        assert!(seal.seal(&Secret::new(vec![b'a'; 3_000])).is_none());
    }
}
