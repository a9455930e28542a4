//! The effect of an operator's change on the registry, computed before anything is changed: the plan of a
//! registry file, with every change or every reason why nothing may change, and the table of states and acts.
//!
//! Pure: the file, the registry, the defaults and the time are arguments.

mod built_in;
mod corrections;
mod entries;
mod issuers;
mod key_material;
mod plan;
mod proofs;
mod redirect_uri;
mod references;
mod removal;
mod selectors;
pub mod states;
mod trust_domains;

pub use built_in::{ADMINISTRATION, administration, is_administration};
pub use entries::Defaults;
pub use plan::{Plan, PlannedChange, entries_of, plan, plan_and_findings};
pub use references::{Mention, mentions};
pub use removal::may_be_removed;

#[cfg(test)]
mod tests;
