//! The policies of a registry, compiled.

use mandate_core::registry::Registry;
use mandate_policy::{Policies, PolicyError};

/// Compiles the policies of a registry.
pub fn compile(registry: &Registry) -> Result<Policies, PolicyError> {
    Policies::compile(sources(registry))
}

/// The error of each policy because of which a registry's policies do not compile.
pub(crate) fn refused_policies(registry: &Registry) -> Vec<PolicyError> {
    Policies::refused(sources(registry))
}

fn sources(registry: &Registry) -> Vec<(&str, &str)> {
    let mut sources: Vec<(&str, &str)> =
        registry.policies().map(|policy| (policy.name.as_str(), policy.source.as_str())).collect();
    // The order must not depend on the registry's hashing: determining policies are listed in records.
    sources.sort_unstable();
    sources
}
