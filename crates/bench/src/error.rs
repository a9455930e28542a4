//! Why there are no figures.

use std::fmt::Display;

/// After anything unexpected, the figures of a benchmark mean nothing, so every error ends it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BenchError(pub(crate) String);

impl BenchError {
    /// For `map_err`: what was being done when it failed.
    pub(crate) fn during<E: Display>(what: &str) -> impl FnOnce(E) -> Self {
        let what = what.to_owned();
        move |error| Self(format!("{what}: {error}"))
    }
}
