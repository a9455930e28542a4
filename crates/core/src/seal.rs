//! Texts that this server gives away and takes back: sealed, so that nobody else can read, change or make
//! one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;
use crate::time::Entropy;

/// Seals bytes with AES-256-GCM (NIST SP 800-38D).
pub struct Seal {
    key: Secret,
    purpose: &'static [u8],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("purpose", &self.purpose.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

impl Seal {
    /// A seal with a new key. What is sealed for another `purpose` is not opened.
    pub fn new(purpose: &'static [u8], entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self { key: Secret::new(key), purpose }
    }

    /// The text with these bytes, in base64url; `None` if the cryptographic library refuses, which it does
    /// for no input known to us.
    pub fn seal(&self, bytes: &Secret, entropy: &dyn Entropy) -> Option<String> {
        // A random nonce: one key seals far fewer than 2^32 texts (NIST SP 800-38D §8.3).
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut body = bytes.expose_secret().to_vec();
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.cipher()?.seal_in_place_append_tag(sealing, Aad::from(self.purpose), &mut body).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &body].concat()))
    }

    /// The bytes in a text that [`Seal::seal`] made; `None` for every other text.
    pub fn open(&self, text: &str) -> Option<Secret> {
        let mut sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let bytes = self.cipher()?.open_in_place(nonce, Aad::from(self.purpose), body).ok()?;
        Some(Secret::new(&*bytes))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.key.expose_secret()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::Seal;
    use crate::{Secret, SystemEntropy};

    #[test]
    fn only_the_seal_that_made_a_text_opens_it_and_only_unchanged() {
        let seal = || Seal::new(b"a test", &SystemEntropy);
        let ours = seal();
        let made = |seal: &Seal| seal.seal(&Secret::new("a login"), &SystemEntropy).unwrap();
        let text = made(&ours);
        assert_eq!(ours.open(&text), Some(Secret::new("a login")));
        assert_ne!(made(&ours), text, "a nonce of its own");
        assert_eq!(seal().open(&text), None, "another key");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ours.open(&changed), None, "{at}");
        }
        for forged in ["", "A", "AAAAAAAAAAAAAAAA", &text[1..], &format!("{text}A"), "\"", "é"] {
            assert_eq!(ours.open(forged), None, "{forged}");
        }
    }

    #[test]
    fn what_is_sealed_for_one_purpose_is_not_opened_for_another() {
        let one = Seal::new(b"one", &SystemEntropy);
        let other = Seal { key: one.key.clone(), purpose: b"other" };
        let text = one.seal(&Secret::new("a login"), &SystemEntropy).unwrap();
        assert_eq!((one.open(&text).is_some(), other.open(&text)), (true, None));
    }

    #[test]
    fn debug_shows_no_key() {
        let seal = Seal { key: Secret::new("hunter2"), purpose: b"a test" };
        assert_eq!(format!("{seal:?}"), "Seal { purpose: \"a test\", .. }");
    }
}
