//! The rows of one log: what its sequencer writes, and what is read of all of it.

use std::fmt::Write as _;

use mandate_audit::tree::{Frontier, frontier_indexes, location_of};
use mandate_audit::{Hash, Tampered};
use mandate_sequencer::{Leaf, StoredLog};

use crate::error::{LogError, StoreError};
use crate::log_number::LogNumber;
use crate::logs;
use crate::tx::{Row, Tx};
use crate::value::values;

const HASH_LEN: usize = 32;

/// How many records one transaction reads when all are read: a few milliseconds' worth.
#[cfg(not(test))]
pub(crate) const PIECE: usize = 256;
/// Small in tests, so that few records take several.
#[cfg(test)]
pub(crate) const PIECE: usize = 8;

/// A record of a batch, as it is stored.
#[derive(Debug)]
pub(crate) struct NewRow {
    index: u64,
    hashes: Vec<u8>,
    leaf: Vec<u8>,
}

impl From<Leaf<'_>> for NewRow {
    fn from(leaf: Leaf<'_>) -> Self {
        let mut hashes = Vec::with_capacity(leaf.hashes.len() * HASH_LEN);
        for hash in leaf.hashes {
            hashes.extend_from_slice(&hash.0);
        }
        Self { index: leaf.index, hashes, leaf: leaf.bytes.to_vec() }
    }
}

/// How many rows one statement adds: few statements for a batch of any size, and few different ones.
const AT_ONCE: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// Adds the records of a batch. If one is there already, another writer was there.
pub(crate) fn insert(tx: &Tx<'_>, log: LogNumber, mut rows: &[NewRow]) -> Result<(), StoreError> {
    for count in AT_ONCE {
        while let Some((now, rest)) = rows.split_at_checked(count).filter(|_| !rows.is_empty()) {
            rows = rest;
            let mut sql = String::from("INSERT INTO records (log, idx, hashes, leaf) VALUES ");
            let mut values = Vec::with_capacity(4 * count);
            for (at, NewRow { index, hashes, leaf }) in now.iter().enumerate() {
                let (comma, first) = (if at == 0 { "" } else { ", " }, 4 * at);
                // Writing to a String cannot fail.
                let _ =
                    write!(sql, "{comma}(${}, ${}, ${}, ${})", first + 1, first + 2, first + 3, first + 4);
                values.extend_from_slice(values![log, *index, hashes, leaf]);
            }
            sql.push_str(" ON CONFLICT DO NOTHING");
            if tx.execute(&sql, &values)? != count {
                return Err(StoreError::OtherWriter);
            }
        }
    }
    Ok(())
}

/// The right edge of a log. One that is not there has neither records nor a checkpoint.
pub(crate) fn load(tx: &Tx<'_>, log: Option<LogNumber>) -> Result<StoredLog, StoreError> {
    let Some(log) = log else { return Ok(StoredLog { size: 0, frontier: Vec::new(), checkpoint: None }) };
    let size = size_of(tx, log)?;
    let frontier =
        frontier_indexes(size).into_iter().map(|at| stored_hash(tx, log, at)).collect::<Result<_, _>>()?;
    Ok(StoredLog { size, frontier, checkpoint: logs::note(tx, log)? })
}

/// The root over the first `size` records of a log, by the hashes that are stored with them. None if it has
/// fewer.
pub(crate) fn root_of(tx: &Tx<'_>, log: LogNumber, size: u64) -> Result<Option<Hash>, StoreError> {
    if size_of(tx, log)? < size {
        return Ok(None);
    }
    let hashes: Vec<Hash> =
        frontier_indexes(size).into_iter().map(|at| stored_hash(tx, log, at)).collect::<Result<_, _>>()?;
    let root = Frontier::from_hashes(size, &hashes).and_then(|tree| tree.root());
    root.map(Some).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn stored_hash(tx: &Tx<'_>, log: LogNumber, stored_index: u64) -> Result<Hash, StoreError> {
    let (idx, place) = location_of(stored_index);
    let at = |row: &Row<'_>| Ok(split_hashes(row.get(0)?).and_then(|hashes| hashes.get(place).copied()));
    let found = tx.first("SELECT hashes FROM records WHERE log = $1 AND idx = $2", values![log, idx], at)?;
    found
        .flatten()
        .ok_or_else(|| StoreError::Corrupt(format!("audit record {idx} or its tree hashes are missing")))
}

fn split_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (whole, rest) = bytes.as_chunks::<HASH_LEN>();
    rest.is_empty().then(|| whole.iter().map(|hash| Hash(*hash)).collect())
}

/// How many records a log has: one more than the highest index.
pub(crate) fn size_of(tx: &Tx<'_>, log: LogNumber) -> Result<u64, StoreError> {
    let highest: Option<u64> =
        tx.first("SELECT max(idx) FROM records WHERE log = $1", values![log], |row| row.get(0))?.flatten();
    Ok(highest.map_or(0, |idx| idx + 1))
}

/// One place of a log: index, leaf bytes and stored hashes.
pub(crate) type StoredLeaf = (u64, Vec<u8>, Vec<Hash>);

/// The next rows of a log from `from` on and before `end`, in order; fewer than [`PIECE`] only at the end.
pub(crate) fn piece(tx: &Tx<'_>, log: LogNumber, from: u64, end: u64) -> Result<Vec<StoredLeaf>, LogError> {
    let sql = "SELECT idx, leaf, hashes FROM records WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx LIMIT $4";
    tx.all(sql, values![log, from, end, PIECE as u64], |row| {
        let index = row.get(0)?;
        let leaf = row.get::<Vec<u8>>(1).map_err(|_| Tampered::Changed { index })?;
        let hashes = row.get(2).ok().and_then(split_hashes);
        Ok((index, leaf, hashes.ok_or(Tampered::Tree { index })?))
    })
}

/// What is read: a number of records, and the checkpoint over them. Records that are appended meanwhile are
/// not included.
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) checkpoint: Vec<u8>,
}

pub(crate) fn head(tx: &Tx<'_>, log: LogNumber) -> Result<Head, LogError> {
    let size = size_of(tx, log)?;
    Ok(Head { size, checkpoint: logs::note(tx, log)?.ok_or(Tampered::NoCheckpoint { size })? })
}

/// The hashes that are stored with the records of a log.
pub(crate) struct Hashes<'a, 'c>(pub(crate) &'a Tx<'c>, pub(crate) LogNumber);

impl mandate_audit::inclusion::StoredHashes for Hashes<'_, '_> {
    fn hash(&self, stored_index: u64) -> Option<Hash> {
        stored_hash(self.0, self.1, stored_index).ok()
    }
}
