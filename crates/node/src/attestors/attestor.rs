//! What every attestor is.

use futures_util::future::BoxFuture;
use mandate_core::Selector;

use crate::caller::Inspection;
use crate::entitlement::Entitlements;
use crate::process::NotAttested;

/// One source of selectors.
pub(crate) trait Attestor: Send + Sync {
    /// The first part of its selectors, one of [`mandate_core::selector::ATTESTORS`].
    fn name(&self) -> &'static str;

    /// What the process shows now, each selector once. What is costly to find out is left out if no entry depends on it.
    fn attest<'a>(
        &'a self,
        process: &'a Inspection<'a>,
        entitlements: &'a Entitlements,
    ) -> BoxFuture<'a, Result<Vec<Selector>, NotAttested>>;
}
