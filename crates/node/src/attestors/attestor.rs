//! What every attestor can do.

use futures_util::future::BoxFuture;
use mandate_core::Selector;

use crate::caller::InspectedCaller;
use crate::entitlement::Entitlements;
use crate::process::NotAttested;

/// One source of selectors.
pub(crate) trait Attestor: Send + Sync {
    /// The first part of its selectors, one of [`mandate_core::selector::ATTESTORS`].
    fn name(&self) -> &'static str;

    /// What the process shows now, each selector once. Selectors that are costly to compute are left out if
    /// no entry depends on them.
    fn attest<'a>(
        &'a self,
        process: &'a InspectedCaller<'a>,
        entitlements: &'a Entitlements,
    ) -> BoxFuture<'a, Result<Vec<Selector>, NotAttested>>;
}
