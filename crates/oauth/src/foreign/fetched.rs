//! Keys that were fetched, and for how long they count.

use std::sync::Arc;
use std::time::Duration;

use mandate_token::KeySet;

/// How long the key set of an issuer is used before it is fetched again.
pub const TTL: Duration = Duration::from_mins(5);

/// Keys that were fetched.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) keys: Arc<KeySet>,
    /// How long they are used.
    pub(super) ttl: Duration,
    /// The `spiffe_sequence` of a bundle.
    pub(super) sequence: Option<u64>,
}

impl Fetched {
    /// The keys of an issuer.
    pub(super) fn of_issuer(keys: KeySet) -> Self {
        Self { keys: Arc::new(keys), ttl: TTL, sequence: None }
    }
}
