//! The engine of operators' acts over a whole world: a real store, log and authority.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod annotations;
mod beside;
mod halts;
mod lists;
mod roles;
mod states;
