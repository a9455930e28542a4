//! The authority over a real store, a real audit log and real decisions.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a step that cannot be taken is a failed test"
)]

mod keys;
mod lost_answers;
mod minting;
mod world;
