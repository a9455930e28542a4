//! Proof that one record is in the log, without the rest of the log (RFC 6962 §2.1.1).

use serde::{Deserialize, Serialize};
use tlog_tiles::{HashReader, check_record, prove_record};

use crate::checkpoint::{CheckpointError, CheckpointVerifier};
use crate::record::Record;
use crate::tree::{Hash, leaf_hash};

/// A record's leaf, its place, its audit path, and the checkpoint it leads up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// The record's index in the tree.
    pub index: u64,
    /// The record's exact bytes: JSON.
    pub leaf: String,
    /// The audit path from the leaf to the root, base64.
    pub path: Vec<String>,
    /// The checkpoint, a C2SP signed note.
    pub checkpoint: String,
}

/// Reads the tree hashes that were stored with the records.
pub trait StoredHashes {
    /// The hash at a stored index: see [`crate::tree::location_of`].
    fn hash(&self, stored_index: u64) -> Option<Hash>;
}

struct Reader<'a, S: StoredHashes>(&'a S);

impl<S: StoredHashes> HashReader for Reader<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes
            .iter()
            .map(|at| self.0.hash(*at))
            .collect::<Option<Vec<_>>>()
            .ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error)]
pub enum InclusionError {
    /// The checkpoint is not acceptable.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is not text.
    #[error("the checkpoint is not text")]
    NotText,
    /// The path does not lead from the record to the signed root.
    #[error("record {index} is not proven to be among the {size} records of the checkpoint")]
    NotIncluded {
        /// The record's index in the tree.
        index: u64,
        /// The size of the signed tree.
        size: u64,
    },
    /// The leaf is no record.
    #[error("the proven leaf is no record")]
    Unreadable(#[source] serde_json::Error),
}

impl InclusionProof {
    /// Builds the proof for the leaf at `index` against `checkpoint`. `hashes` reads the stored hashes.
    pub fn build(
        index: u64,
        leaf: &[u8],
        checkpoint: &[u8],
        verifier: &CheckpointVerifier,
        hashes: &impl StoredHashes,
    ) -> Result<Self, InclusionError> {
        let head = verifier.open(checkpoint)?;
        let missing = InclusionError::NotIncluded { index, size: head.size };
        if index >= head.size {
            return Err(missing);
        }
        let Ok(path) = prove_record(head.size, index, &Reader(hashes)) else { return Err(missing) };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| InclusionError::NotText);
        Ok(Self {
            index,
            leaf: text(leaf)?,
            path: path.iter().map(Hash::to_string).collect(),
            checkpoint: text(checkpoint)?,
        })
    }

    /// Verifies the proof and returns the record.
    pub fn verify(&self, verifier: &CheckpointVerifier) -> Result<Record, InclusionError> {
        let head = verifier.open(self.checkpoint.as_bytes())?;
        let failed = || InclusionError::NotIncluded { index: self.index, size: head.size };
        let path = self
            .path
            .iter()
            .map(|text| Hash::parse_hash(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| failed())?;
        // check_record requires index < size itself; a path longer than a tree is deep is refused before any
        // hashing.
        if path.len() > 64 {
            return Err(failed());
        }
        check_record(&path, head.size, head.root, self.index, leaf_hash(self.leaf.as_bytes()))
            .map_err(|_| failed())?;
        Record::from_leaf(self.leaf.as_bytes()).map_err(InclusionError::Unreadable)
    }
}

#[cfg(test)]
mod tests;
