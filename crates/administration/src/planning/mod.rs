//! What a registry file changes: every change, or every reason why nothing may change. It is all or nothing.
//!
//! Pure: the registry, the defaults and the time are arguments.

mod entries;
mod mending;
mod plan;
mod redirect_uri;
mod references;
mod removal;
mod selectors;
pub(crate) mod usable;

pub use entries::{Defaults, grant_id};
pub use plan::{Plan, PlannedChange, entries_of, plan};

pub(crate) use plan::plan_and_findings;

#[cfg(test)]
mod tests;
