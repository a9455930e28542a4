//! Key sets that the registry itself has, as text: each is parsed once, and not for each request.

use std::collections::HashMap;
use std::sync::Arc;

use mandate_core::digest::sha256;
use mandate_token::{KeySet, KeySetError};
use parking_lot::Mutex;

/// How many sets are remembered. A set that the registry no longer has is forgotten with all others when there
/// are more.
const MAX_SETS: usize = 4096;

/// The key sets, by the digest of their text: a text that changes is another set.
#[derive(Default)]
pub(crate) struct PinnedKeys {
    sets: Mutex<HashMap<[u8; 32], Arc<KeySet>>>,
}

impl PinnedKeys {
    /// The keys in a JWK Set of the registry.
    pub(crate) fn of(&self, jwks: &str) -> Result<Arc<KeySet>, KeySetError> {
        let digest = sha256(jwks.as_bytes());
        if let Some(keys) = self.sets.lock().get(&digest) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(KeySet::from_json(jwks.as_bytes())?);
        let mut sets = self.sets.lock();
        if sets.len() >= MAX_SETS {
            sets.clear();
        }
        Ok(Arc::clone(sets.entry(digest).or_insert(keys)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mandate_testkit::hostile_issuer::TestKey;

    use super::{MAX_SETS, PinnedKeys};

    #[test]
    fn a_text_is_parsed_once_and_another_text_has_its_own_keys() {
        let pinned = PinnedKeys::default();
        let (one, other) = (TestKey::generate().jwks(), TestKey::generate().jwks());
        let first = pinned.of(&one).unwrap();
        assert!(Arc::ptr_eq(&first, &pinned.of(&one).unwrap()));
        assert_ne!(first, pinned.of(&other).unwrap());
        assert!(pinned.of("{").is_err() && pinned.of("{").is_err());
        assert_eq!(pinned.sets.lock().len(), 2);
    }

    #[test]
    fn the_memory_is_bounded() {
        let pinned = PinnedKeys::default();
        for n in 0..=MAX_SETS {
            pinned.of(&format!("{{\"keys\":[],\"n\":{n}}}")).unwrap();
        }
        assert!(pinned.sets.lock().len() <= MAX_SETS);
    }
}
