//! Policy: may this person do it, and may this agent do it for them?
//!
//! The rules are Cedar policies: a small built-in set (`default.cedar`) and those of the registry, validated
//! strictly against the schema (`schema.cedarschema`) before they are accepted. For every scope of a
//! requested token, two questions are asked, `delegate` of the person and `act` of the agent; both must be
//! permitted. A policy that fails to evaluate is a denial. What is not configured is not permitted. A policy
//! with `@approval("required")` permits only what a person has approved.
//!
//! Pure: no I/O, no clock, no global state. Permits are remembered by all the facts that they depend on. This
//! is the only crate that uses Cedar.

mod actions;
mod compile;
mod evaluate;
mod facts;
mod limits;
mod memo;

pub use compile::{MAX_POLICY_LEN, Policies, PolicyError, check_annotations};
pub use evaluate::ruling::{Demand, PolicyPermit, Ruling};
pub use evaluate::{Denial, DeniedParty, NoRuling};
pub use facts::{OwnQuestion, Question};
