//! Verifies a whole log, leaf by leaf, in constant memory.

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointVerifier};
use crate::record::Record;
use crate::tree::{BrokenTree, Frontier, Hash, leaf_hash};

/// What is known of a log that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The origin of the log.
    pub origin: String,
    /// How many records the log has.
    pub size: u64,
    /// The root hash over all of them.
    pub root: Hash,
    /// The verifier key of the signature on the checkpoint.
    pub vkey: String,
}

/// The log is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum Tampered {
    /// A record's bytes are not those that were hashed when it was written.
    #[error("record {index} was changed: its bytes do not have the hash that was stored with it")]
    Changed {
        /// The index of that record.
        index: u64,
    },
    /// A record's bytes are no record.
    #[error("record {index} is unreadable")]
    Unreadable {
        /// The index of that record.
        index: u64,
        /// What about its JSON is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The hashes above a record are not those of the records before it.
    #[error(
        "the tree is broken at record {index}: a record up to there was changed, moved, inserted or removed"
    )]
    Tree {
        /// The index of the record at which it is noticed.
        index: u64,
    },
    /// A record is missing, or is at another place.
    #[error("record {index} is missing: record {found} is in its place")]
    Missing {
        /// The index that is missing.
        index: u64,
        /// The index that came instead.
        found: u64,
    },
    /// The search index does not say what the record says: queries would miss the record, or find it wrongly.
    #[error("the search index was changed: its {column:?} of record {index} is not the record's")]
    Index {
        /// The index of the record.
        index: u64,
        /// The part of the index that differs.
        column: &'static str,
    },
    /// There are fewer records than the checkpoint signs.
    #[error(
        "the log was truncated: its checkpoint covers {signed} records, record {found} and all after it are missing"
    )]
    Truncated {
        /// The size in the checkpoint.
        signed: u64,
        /// The index of the first record that is missing.
        found: u64,
    },
    /// There are more records than the checkpoint signs.
    #[error("record {index} was added without a checkpoint: the checkpoint covers {signed} records")]
    Unsigned {
        /// The index of the first record that is not covered.
        index: u64,
        /// The size in the checkpoint.
        signed: u64,
    },
    /// All hashes agree with one another, but not with what was signed.
    #[error(
        "the records up to {size} have the root {found}, but the checkpoint signs {signed}: the whole log was rewritten"
    )]
    Root {
        /// How many records the log has.
        size: u64,
        /// The root over the records.
        found: Hash,
        /// The root in the checkpoint.
        signed: Hash,
    },
    /// There is no checkpoint. Even a log without records has one, signed when its key was made.
    #[error("the log has {size} records and no checkpoint")]
    NoCheckpoint {
        /// How many records the log has.
        size: u64,
    },
    /// The checkpoint is not acceptable.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint that was kept earlier is not of this log.
    #[error("the earlier checkpoint is not of this log: {0}")]
    Earlier(#[source] CheckpointError),
    /// The log no longer contains what an earlier checkpoint signed.
    #[error(
        "the log does not continue the earlier checkpoint of {size} records: it was rewritten, cut short or replaced since"
    )]
    History {
        /// The size in the earlier checkpoint.
        size: u64,
    },
}

impl From<BrokenTree> for Tampered {
    fn from(broken: BrokenTree) -> Self {
        Self::Tree { index: broken.size }
    }
}

/// Recomputes a tree from its leaves and compares each step with the stored hashes, so that an error names
/// the first record that does not match.
#[derive(Clone, Debug, Default)]
pub struct TreeVerification {
    frontier: Frontier,
    /// Each with the root that the tree had at its size, once it had that size.
    earlier: Vec<(Checkpoint, Option<Hash>)>,
}

impl TreeVerification {
    /// Begins before the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also requires the log to continue an earlier, verified checkpoint: with such a checkpoint an auditor
    /// detects a log that was rewritten and signed again.
    #[must_use]
    pub fn continuing(mut self, earlier: Checkpoint) -> Self {
        let root = if earlier.size == 0 { self.frontier.root().ok() } else { None };
        self.earlier.push((earlier, root));
        self
    }

    /// The index of the record that comes next.
    pub fn next_index(&self) -> u64 {
        self.frontier.size()
    }

    /// Takes the next leaf: its index, its bytes and the hashes stored with it. Returns the record it holds.
    pub fn push(&mut self, index: u64, leaf: &[u8], stored: &[Hash]) -> Result<Record, Tampered> {
        let expected = self.frontier.size();
        if index != expected {
            return Err(Tampered::Missing { index: expected, found: index });
        }
        let hash = leaf_hash(leaf);
        if stored.first() != Some(&hash) {
            return Err(Tampered::Changed { index });
        }
        if self.frontier.append(hash)? != stored {
            return Err(Tampered::Tree { index });
        }
        for (earlier, root) in &mut self.earlier {
            if earlier.size == self.frontier.size() {
                *root = Some(self.frontier.root()?);
            }
        }
        Record::from_leaf(leaf).map_err(|source| Tampered::Unreadable { index, source })
    }

    /// After the last leaf: compares the tree with the signed checkpoint.
    pub fn finish(
        self,
        checkpoint: Option<&[u8]>,
        verifier: &CheckpointVerifier,
    ) -> Result<Summary, Tampered> {
        let size = self.frontier.size();
        let root = self.frontier.root()?;
        let note = checkpoint.ok_or(Tampered::NoCheckpoint { size })?;
        check_head(size, root, &verifier.open(note)?)?;
        if let Some((earlier, _)) = self.earlier.iter().find(|(earlier, found)| *found != Some(earlier.root))
        {
            return Err(Tampered::History { size: earlier.size });
        }
        Ok(Summary { origin: verifier.origin().to_owned(), size, root, vkey: verifier.vkey().to_owned() })
    }
}

/// Compares a tree's size and root with a checkpoint.
pub fn check_head(size: u64, root: Hash, signed: &Checkpoint) -> Result<(), Tampered> {
    if size < signed.size {
        return Err(Tampered::Truncated { signed: signed.size, found: size });
    }
    if size > signed.size {
        return Err(Tampered::Unsigned { index: signed.size, signed: signed.size });
    }
    if root != signed.root {
        return Err(Tampered::Root { size, found: root, signed: signed.root });
    }
    Ok(())
}
