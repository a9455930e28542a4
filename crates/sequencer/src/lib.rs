//! Writes the audit log: one thread makes records durable, in order and in batches, with the effects that
//! belong to them, before anything of them is visible.
//!
//! What a record says, the tree and its verification are in `mandate_audit`, which is pure. This crate has
//! the thread, the queue in front of it and the quota of strangers. A [`Receipt`] is made only here: code
//! that does not depend on this crate, such as `decide`, cannot even name one.

mod backend;
mod pace;
mod sequencer;
pub mod strangers;

pub use backend::{Backend, Effect, Leaf, Staged, StagedBy, StoredLog};
pub use sequencer::{
    AppendError, DurableCheckpoint, Guard, Log, LogStartError, MAX_BATCH, MAX_WAITING, Receipt,
};
pub use strangers::Strangers;
