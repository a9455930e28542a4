//! The Merkle tree's right edge: all that is needed to append to it and to know its root (RFC 6962 §2.1).

use tlog_tiles::{HashReader, stored_hash_index, stored_hashes_for_record_hash, tree_hash};

pub use tlog_tiles::Hash;

/// Hash of a leaf: SHA-256 over 0x00 and the leaf's bytes (RFC 6962 §2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    tlog_tiles::record_hash(leaf)
}

/// Where a stored hash is: with which record it was written, and at which place among that record's hashes.
///
/// Appending record `n` completes one subtree per trailing one bit of `n`; the hashes that result are stored
/// with the record, the leaf's own first.
pub fn location_of(stored_index: u64) -> (u64, usize) {
    let (level, n) = tlog_tiles::split_stored_hash_index(stored_index);
    (((n + 1) << level) - 1, usize::from(level))
}

/// The stored hashes that a tree of `size` leaves is continued from: the roots of its complete subtrees, at
/// most 64.
pub fn frontier_indexes(size: u64) -> Vec<u64> {
    if size == 0 { Vec::new() } else { tlog_tiles::sub_tree_index(0, size, Vec::new()) }
}

/// A hash that the tree needs was not among the stored ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree of {size} leaves lacks a hash it needs")]
pub struct BrokenTree {
    /// How many leaves the tree has.
    pub size: u64,
}

/// A tree of which only the right edge is kept: at most 64 hashes, however many leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<(u64, Hash)>,
}

impl HashReader for Frontier {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let find = |index: &u64| self.hashes.iter().find(|(at, _)| at == index).map(|(_, hash)| *hash);
        indexes.iter().map(find).collect::<Option<Vec<_>>>().ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree of `size` leaves from the hashes at [`frontier_indexes`], in that order.
    pub fn from_hashes(size: u64, hashes: &[Hash]) -> Result<Self, BrokenTree> {
        let indexes = frontier_indexes(size);
        if indexes.len() != hashes.len() {
            return Err(BrokenTree { size });
        }
        Ok(Self { size, hashes: indexes.into_iter().zip(hashes.iter().copied()).collect() })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes to store with the next leaf, if it has this hash; the leaf's own first.
    pub fn hashes_of_next(&self, leaf: Hash) -> Result<Vec<Hash>, BrokenTree> {
        stored_hashes_for_record_hash(self.size, leaf, self).map_err(|_| BrokenTree { size: self.size })
    }

    /// Appends a leaf by its hash. Returns the hashes to store with it, the leaf's own first.
    pub fn append(&mut self, leaf: Hash) -> Result<Vec<Hash>, BrokenTree> {
        let stored = self.hashes_of_next(leaf)?;
        self.extend(&stored)?;
        Ok(stored)
    }

    /// Appends the leaf with these [`Frontier::hashes_of_next`].
    pub fn extend(&mut self, stored: &[Hash]) -> Result<(), BrokenTree> {
        let n = self.size;
        // A leaf that completes subtrees replaces one root for each level below it.
        let swallowed = stored.len().saturating_sub(1);
        self.hashes.truncate(self.hashes.len().saturating_sub(swallowed));
        let level = u8::try_from(swallowed).map_err(|_| BrokenTree { size: n })?;
        let top = stored.last().copied().ok_or(BrokenTree { size: n })?;
        self.hashes.push((stored_hash_index(level, n >> level), top));
        self.size += 1;
        Ok(())
    }

    /// The root hash over all leaves; for the empty tree, SHA-256 of nothing (RFC 6962 §2.1).
    pub fn root(&self) -> Result<Hash, BrokenTree> {
        tree_hash(self.size, self).map_err(|_| BrokenTree { size: self.size })
    }
}

#[cfg(test)]
mod tests;
