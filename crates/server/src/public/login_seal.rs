//! What a browser keeps while its person is at an identity provider: sealed, so that neither the browser nor
//! another server can read or change it.
//!
//! The key is this process's alone: after a restart, logins at providers are begun again.

use std::sync::Arc;

use mandate_core::seal::Seal;
use mandate_core::{Entropy, Secret};

/// What is sealed with this key, and nothing else.
const PURPOSE: &[u8] = b"mandate: a login at a provider";

/// The longest value that is sealed, in characters: browsers keep 4096 bytes of name and value (RFC 6265
/// §6.1).
const MAX_VALUE: usize = 4000;

/// Seals values of cookies.
pub(crate) struct LoginSeal {
    seal: Seal,
    entropy: Arc<dyn Entropy>,
}

impl LoginSeal {
    /// A seal with a new key.
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { seal: Seal::new(PURPOSE, entropy.as_ref()), entropy }
    }

    /// The value of a cookie with these bytes; `None` if it would be longer than browsers keep.
    pub(super) fn seal(&self, bytes: &Secret) -> Option<String> {
        self.seal.seal(bytes, self.entropy.as_ref()).filter(|value| value.len() <= MAX_VALUE)
    }

    /// The bytes in a value that [`LoginSeal::seal`] made.
    pub(super) fn open(&self, value: &str) -> Option<Secret> {
        self.seal.open(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mandate_core::{Secret, SystemEntropy};

    use super::LoginSeal;

    #[test]
    fn what_a_browser_would_not_keep_is_not_sealed() {
        let seal = LoginSeal::new(Arc::new(SystemEntropy));
        let value = seal.seal(&Secret::new(vec![b'a'; 2_900])).unwrap();
        assert_eq!(seal.open(&value), Some(Secret::new(vec![b'a'; 2_900])));
        assert!(seal.seal(&Secret::new(vec![b'a'; 3_000])).is_none());
    }
}
