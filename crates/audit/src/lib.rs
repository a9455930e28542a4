//! The audit log: what a record says, the Merkle tree over all records, signed checkpoints, the sequencer
//! that makes records durable before their effect is visible, and verification that needs neither server nor
//! database.
//!
//! Formats are C2SP's: RFC 6962 hashing (`tlog_tiles`), `tlog-checkpoint` inside `signed-note`
//! (`signed_note`). All but [`sequencer`] is pure: no I/O, no clock, no threads.

pub mod backend;
pub mod checkpoint;
mod effect_names;
pub mod inclusion;
pub mod offline;
mod pace;
pub mod query;
pub mod record;
pub mod sequencer;
pub mod strangers;
pub mod touched;
pub mod tree;
pub mod verification;

pub use backend::{Backend, Effect, Leaf, Staged, StagedBy, StoredLog};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier};
pub use effect_names::EffectNames;
pub use inclusion::InclusionProof;
pub use query::Query;
pub use record::{About, Asked, LeafKeys, Outcome, Record, RecordKind, Sum};
pub use sequencer::{AppendError, DurableCheckpoint, Guard, Log, LogStartError, Receipt};
pub use strangers::Strangers;
pub use touched::{Touch, Touched};
pub use tree::Hash;
pub use verification::{Summary, Tampered, TreeVerification};
