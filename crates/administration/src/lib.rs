//! The engine of every operator's act: plan and apply, states, revocation, secrets, nodes, keys, and what can
//! be read.
//!
//! There is no HTTP here. The words are the documents of `mandate_api`; a wire reads and writes them, proves
//! who calls ([`Operator`]), asks for a [`Permit`] and maps [`AdministrationError`]. Each act takes a permit
//! of its own type, which only the table in [`authorization`] gives.

mod administration;
mod audit;
pub mod authorization;
mod error;
mod keys;
mod listing;
mod loading;
mod nodes;
mod operator;
mod pages;
mod policies;
mod recording;
mod registry_changes;
mod revoke;
mod roles;
mod secrets;
mod status;
mod touches;
mod usable;

pub use administration::{Administration, AdministrationParts};
pub use authorization::{OperatorAct, Permit, act};
pub use error::{AccessDenied, AdministrationError};
pub use loading::load_registry;
pub use operator::Operator;
pub use pages::{Listed, MAX_PAGE, Page};
pub use policies::compile;
pub use registry_changes::{OnAgent, OnPerson};
pub use status::{Overview, StoredStatus};
