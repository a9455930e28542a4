//! The audit log: what a record says, the Merkle tree over all records, signed checkpoints, and verification
//! that needs neither server nor database.
//!
//! Formats are C2SP's: RFC 6962 hashing (`tlog_tiles`), `tlog-checkpoint` inside `signed-note`
//! (`signed_note`). All of it is pure: no clock, no threads, and no files or sockets but those that a caller
//! hands to [`offline`] as readers and writers. `mandate_sequencer` writes the log.

pub mod checkpoint;
mod effect_names;
pub mod inclusion;
pub mod offline;
pub mod query;
pub mod record;
pub mod touched;
pub mod tree;
pub mod verification;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier};
pub use effect_names::EffectNames;
pub use inclusion::InclusionProof;
pub use query::Query;
pub use record::{About, Asked, LeafKeys, Outcome, Record, RecordKind, Sum};
pub use touched::{Touch, Touched};
pub use tree::Hash;
pub use verification::{Summary, Tampered, TreeVerification, check_head};
