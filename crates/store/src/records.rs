//! The audit log: finding, proving, verifying and exporting records. Only the sequencer writes them.

use std::io::Write;

use mandate_audit::offline::BundleWriter;
use mandate_audit::tree::{frontier_indexes, location_of};
use mandate_audit::{
    Checkpoint, CheckpointVerifier, Hash, InclusionProof, Leaf, LeafKeys, Loaded, Query, Record, Summary, Tampered, TreeVerification,
};
use mandate_core::{RecordId, Timestamp};

pub use crate::error::LogError;
use crate::error::StoreError;
use crate::meta;
use crate::record_search::{self, Wanted};
use crate::store::Store;
use crate::tx::{Row, Tx};
use crate::value::values;

const HASH_LEN: usize = 32;

/// The name in `meta` of the latest time that a record has.
const NEWEST: &str = "newest-record";

/// The most records that one query returns.
pub const MAX_LIMIT: u32 = 10_000;

/// How many records one transaction reads when all are read: a few milliseconds' worth.
#[cfg(not(test))]
pub(crate) const PIECE: usize = 256;
/// Small in tests, so that few records take several.
#[cfg(test)]
pub(crate) const PIECE: usize = 8;

/// A record and its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// How many records came before it.
    pub index: u64,
    /// The record.
    pub record: Record,
}

/// A log that verifies.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What it is.
    pub summary: Summary,
    /// The signed checkpoint.
    pub checkpoint: Vec<u8>,
}

pub(crate) fn insert(tx: &Tx<'_>, leaf: Leaf<'_>) -> Result<(), StoreError> {
    let mut hashes = Vec::with_capacity(leaf.hashes.len() * HASH_LEN);
    for hash in leaf.hashes {
        hashes.extend_from_slice(&hash.0);
    }
    let sql = "INSERT INTO records (idx, hashes, leaf) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let inserted = tx.execute(sql, values![leaf.index, &hashes, leaf.bytes])?;
    if inserted == 1 { Ok(()) } else { Err(StoreError::OtherWriter) }
}

/// Replaces the checkpoint that the writer read or wrote last. If there is another one, another writer was there.
pub(crate) fn swap_checkpoint(tx: &Tx<'_>, last: &[u8], next: &[u8]) -> Result<(), StoreError> {
    let swapped = tx.execute("UPDATE checkpoint SET note = $1 WHERE one = 1 AND note = $2", values![next, last])?;
    if swapped == 1 { Ok(()) } else { Err(StoreError::OtherWriter) }
}

/// Remembers the latest time that a record has, in the transaction of that record.
pub(crate) fn put_newest(tx: &Tx<'_>, at: Timestamp) -> Result<(), StoreError> {
    meta::put(tx, NEWEST, &at.to_string())
}

/// The latest time of all records: a clock must not show an earlier one. The epoch for an empty log.
pub fn newest(tx: &Tx<'_>) -> Result<Timestamp, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("the time of the newest record: {what}"));
    if let Some(text) = meta::get(tx, NEWEST)? {
        return text.parse().map_err(|_| corrupt("not a time"));
    }
    // A log of an older version: every record is looked at, once.
    let mut newest = Timestamp::from_millis(0);
    tx.each("SELECT leaf FROM records", &[], |row| {
        newest = newest.max(LeafKeys::of(row.get(0)?).map_err(|e| corrupt(&e.to_string()))?.time);
        Ok::<_, StoreError>(true)
    })?;
    Ok(newest)
}

/// Stores the first checkpoint, of a log without records, in the transaction that stores the log's key.
///
/// If there are records or a checkpoint already, they belong to a key that is lost: they are left as they are, and
/// [`mandate_audit::Log::start`] refuses them.
pub fn found(tx: &Tx<'_>, note: &[u8]) -> Result<(), StoreError> {
    if size(tx)? == 0 {
        tx.execute("INSERT INTO checkpoint (one, note) VALUES (1, $1) ON CONFLICT DO NOTHING", values![note])?;
    }
    Ok(())
}

pub(crate) fn load(tx: &Tx<'_>) -> Result<Loaded, StoreError> {
    let size = size(tx)?;
    let frontier = frontier_indexes(size).into_iter().map(|at| stored_hash(tx, at)).collect::<Result<_, _>>()?;
    Ok(Loaded { size, frontier, checkpoint: checkpoint(tx)? })
}

fn stored_hash(tx: &Tx<'_>, stored_index: u64) -> Result<Hash, StoreError> {
    let (idx, place) = location_of(stored_index);
    let at = |row: &Row<'_>| Ok(split_hashes(row.get(0)?).and_then(|hashes| hashes.get(place).copied()));
    let found = tx.first("SELECT hashes FROM records WHERE idx = $1", values![idx], at)?;
    found.flatten().ok_or_else(|| StoreError::Corrupt(format!("audit record {idx} or its tree hashes are missing")))
}

fn split_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (whole, rest) = bytes.as_chunks::<HASH_LEN>();
    rest.is_empty().then(|| whole.iter().map(|hash| Hash(*hash)).collect())
}

/// How many records the log has: one more than the highest index.
pub fn size(tx: &Tx<'_>) -> Result<u64, StoreError> {
    let highest: Option<u64> = tx.first("SELECT max(idx) FROM records", &[], |row| row.get(0))?.flatten();
    Ok(highest.map_or(0, |idx| idx + 1))
}

/// The latest checkpoint, a signed note. None before the log has a key, or if it was removed.
pub fn checkpoint(tx: &Tx<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    tx.first("SELECT note FROM checkpoint WHERE one = 1", &[], |row| row.get(0))
}

fn record(leaf: &[u8]) -> Result<Record, StoreError> {
    Record::from_leaf(leaf).map_err(|e| StoreError::Corrupt(format!("an audit record: {e}")))
}

/// Index and bytes of the record with that id.
fn find(tx: &Tx<'_>, id: &RecordId) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    // A leaf begins with its id. A search that was changed may name any record; only the record says which it is.
    let head = format!("{{\"id\":\"{id}\",");
    let mut found = None;
    record_search::candidates(tx, Wanted::Record(id), u64::MAX, &mut |index, leaf| {
        if leaf.starts_with(head.as_bytes()) {
            found = Some((index, leaf.to_vec()));
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// The record with that id.
pub fn get(tx: &Tx<'_>, id: &RecordId) -> Result<Option<Found>, StoreError> {
    find(tx, id)?.map(|(index, leaf)| Ok(Found { index, record: record(&leaf)? })).transpose()
}

/// The records that match, newest first; at most [`MAX_LIMIT`].
pub fn query(tx: &Tx<'_>, query: &Query) -> Result<Vec<Found>, StoreError> {
    let limit = query.limit.unwrap_or(MAX_LIMIT).min(MAX_LIMIT) as usize;
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let needles = needles(query);
    record_search::candidates(tx, Wanted::Query(query), query.before.unwrap_or(u64::MAX), &mut |index, leaf| {
        if !contains_all(leaf, &needles) {
            return Ok(true);
        }
        let record = record(leaf)?;
        // A search that was changed may hide a record, but never shows one that does not match.
        if query.matches(&record) {
            found.push(Found { index, record });
        }
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// Texts that a record must contain to match, in their JSON form: searching for them is cheaper than parsing the record.
fn needles(query: &Query) -> Vec<String> {
    let texts = [
        query.agent.as_deref(),
        query.person.as_deref(),
        query.person_issuer.as_ref().map(mandate_core::Issuer::as_str),
        query.resource.as_deref(),
        query.jti.as_ref().map(mandate_core::TokenId::as_str),
        query.client.as_deref(),
        query.grant.as_deref(),
    ];
    texts.into_iter().flatten().filter_map(|text| serde_json::to_string(text).ok()).collect()
}

fn contains_all(leaf: &[u8], needles: &[String]) -> bool {
    // What is not text is for the reader to complain about.
    std::str::from_utf8(leaf).map_or(true, |leaf| needles.iter().all(|needle| leaf.contains(needle.as_str())))
}

/// One place of the log: index, leaf bytes and stored hashes.
pub(crate) type Stored = (u64, Vec<u8>, Vec<Hash>);

/// The next rows from `from` on and before `end`, in order; fewer than [`PIECE`] only at the end.
pub(crate) fn piece(tx: &Tx<'_>, from: u64, end: u64) -> Result<Vec<Stored>, LogError> {
    let sql = "SELECT idx, leaf, hashes FROM records WHERE idx >= $1 AND idx < $2 ORDER BY idx LIMIT $3";
    tx.all(sql, values![from, end, PIECE as u64], |row| {
        let index = row.get(0)?;
        let leaf = row.get::<Vec<u8>>(1).map_err(|_| Tampered::Changed { index })?;
        let hashes = row.get(2).ok().and_then(split_hashes);
        Ok((index, leaf, hashes.ok_or(Tampered::Tree { index })?))
    })
}

/// What is read: a number of records, and the checkpoint over them. Records that are appended meanwhile are not included.
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) checkpoint: Vec<u8>,
}

pub(crate) fn head(tx: &Tx<'_>) -> Result<Head, LogError> {
    let size = size(tx)?;
    Ok(Head { size, checkpoint: checkpoint(tx)?.ok_or(Tampered::NoCheckpoint { size })? })
}

struct Hashes<'a, 'c>(&'a Tx<'c>);

impl mandate_audit::inclusion::StoredHashes for Hashes<'_, '_> {
    fn hash(&self, stored_index: u64) -> Option<Hash> {
        stored_hash(self.0, stored_index).ok()
    }
}

/// Proof that a record is in the log, without the rest of the log.
pub fn proof(tx: &Tx<'_>, id: &RecordId, verifier: &CheckpointVerifier) -> Result<Option<InclusionProof>, LogError> {
    let (Some((index, leaf)), Some(note)) = (find(tx, id)?, checkpoint(tx)?) else { return Ok(None) };
    Ok(Some(InclusionProof::build(index, &leaf, &note, verifier, &Hashes(tx))?))
}

/// Verifies the whole log: every record's bytes, what is known to find it by, the tree, the checkpoint and its signature.
///
/// With `earlier`, a checkpoint that was verified before, the log must also continue it. `progress` is told how many of
/// how many records are done. Blocks for a time that depends on the length of the log; the transactions are short.
pub fn verify_blocking(
    store: &Store,
    verifier: &CheckpointVerifier,
    earlier: Option<Checkpoint>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, LogError> {
    let mut reader = store.log_reader()?;
    // What is known first: of a log that was read after it, it names no record that is not there.
    let (head, mut comparison) = reader.read(|tx| {
        let comparison = tx.search().map(|search| search.comparison(tx)).transpose()?;
        Ok::<_, LogError>((head(tx)?, comparison))
    })?;
    let mut tree = TreeVerification::new();
    if let Some(earlier) = earlier {
        tree = tree.continuing(earlier);
    }
    let mut more = true;
    while more {
        more = reader.read(|tx| {
            let rows = piece(tx, tree.next_index(), head.size)?;
            for (index, leaf, hashes) in &rows {
                tree.push(*index, leaf, hashes)?;
                comparison.as_mut().map_or(Ok(()), |comparison| comparison.record(tx, *index, leaf))?;
            }
            Ok::<_, LogError>(rows.len() == PIECE)
        })?;
        progress(tree.next_index(), head.size);
    }
    let summary = tree.finish(Some(&head.checkpoint), verifier)?;
    if let Some(comparison) = comparison {
        reader.read(|tx| comparison.finish(tx, head.size))?;
    }
    Ok(Verified { summary, checkpoint: head.checkpoint })
}

/// Writes the whole log as a bundle that anyone can verify offline.
///
/// Blocks until it is written. `out` may be slow: no lock is held while it is written to.
pub fn export_blocking<W: Write>(
    store: &Store,
    verifier: &CheckpointVerifier,
    out: W,
    mut progress: impl FnMut(u64, u64),
) -> Result<W, LogError> {
    let mut reader = store.log_reader()?;
    let head = reader.read(head)?;
    let mut bundle = BundleWriter::begin(out, verifier.vkey(), &head.checkpoint, head.size)?;
    let mut next = 0;
    loop {
        let rows = reader.read(|tx| piece(tx, next, head.size))?;
        for (index, leaf, hashes) in &rows {
            bundle.record(*index, leaf, hashes)?;
            next = index + 1;
        }
        progress(next, head.size);
        if rows.len() < PIECE {
            return Ok(bundle.finish()?);
        }
    }
}
