//! What was fetched, and for how long it counts.

use std::sync::Arc;
use std::time::Duration;

/// How long what an issuer publishes is used before it is fetched again.
pub const TTL: Duration = Duration::from_mins(5);

/// What was fetched, and for how long it counts.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub(super) value: Arc<T>,
    /// How long it is used before it is fetched again.
    pub(super) ttl: Duration,
    /// The `spiffe_sequence` of a bundle, which may not go back.
    pub(super) sequence: Option<u64>,
}

impl<T> Fetched<T> {
    /// What an issuer publishes: it says neither how long it counts nor how new it is.
    pub(super) fn of_issuer(value: T) -> Self {
        Self { value: Arc::new(value), ttl: TTL, sequence: None }
    }
}

// Not derived: `T` itself is not cloned.
impl<T> Clone for Fetched<T> {
    fn clone(&self) -> Self {
        let Self { value, ttl, sequence } = self;
        Self { value: Arc::clone(value), ttl: *ttl, sequence: *sequence }
    }
}
