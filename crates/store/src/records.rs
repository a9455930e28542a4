//! The audit log: finding, proving, verifying and exporting records. Only the sequencer writes them.

use std::io::Write;

use mandate_audit::offline::{BundleError, BundleWriter};
use mandate_audit::tree::{frontier_indexes, location_of};
use mandate_audit::{
    Checkpoint, CheckpointVerifier, Hash, InclusionProof, Leaf, Loaded, Query, Record, Summary, Tampered, TreeVerification,
};
use mandate_core::RecordId;
use rusqlite::params;
use rusqlite::types::ToSql;

use crate::error::StoreError;
use crate::tx::{Tx, from_sql, time, to_sql};

const HASH_LEN: usize = 32;

/// The most records that one query returns.
pub const MAX_LIMIT: u32 = 10_000;

/// Why a log cannot be verified or exported.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is not what was written.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The record cannot be proven.
    #[error(transparent)]
    Inclusion(#[from] mandate_audit::inclusion::InclusionError),
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

pub(crate) fn insert(tx: &Tx<'_>, leaf: Leaf<'_>) -> Result<(), StoreError> {
    let record = leaf.record;
    let idx = to_sql(leaf.index);
    let mut hashes = Vec::with_capacity(leaf.hashes.len() * HASH_LEN);
    for hash in leaf.hashes {
        hashes.extend_from_slice(&hash.0);
    }
    tx.execute(
        "INSERT INTO records (idx, id, time, kind, outcome, sub, sub_iss, aud, jti, hashes, leaf) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        params![
            idx,
            record.id.as_str(),
            time(record.time),
            record.kind.as_str(),
            record.outcome.as_str(),
            record.sub.as_ref().map(|p| p.sub.as_str()),
            record.sub.as_ref().map(|p| p.iss.as_str()),
            record.aud.as_deref(),
            record.jti.as_ref().map(mandate_core::TokenId::as_str),
            hashes,
            leaf.bytes,
        ],
    )?;
    for actor in record.act.iter() {
        // Two issuers may use one `sub` for two actors of a chain.
        tx.execute("INSERT OR IGNORE INTO record_actor (actor, idx) VALUES (?,?)", params![actor.sub, idx])?;
    }
    Ok(())
}

pub(crate) fn put_checkpoint(tx: &Tx<'_>, note: &[u8]) -> Result<(), StoreError> {
    tx.execute("INSERT INTO checkpoint (one, note) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET note = excluded.note", [note])?;
    Ok(())
}

pub(crate) fn load(tx: &Tx<'_>) -> Result<Loaded, StoreError> {
    let size = size(tx)?;
    let frontier = frontier_indexes(size).into_iter().map(|at| stored_hash(tx, at)).collect::<Result<_, _>>()?;
    Ok(Loaded { size, frontier, checkpoint: checkpoint(tx)? })
}

fn stored_hash(tx: &Tx<'_>, stored_index: u64) -> Result<Hash, StoreError> {
    let (idx, place) = location_of(stored_index);
    let hashes: Option<Vec<u8>> = tx.first("SELECT hashes FROM records WHERE idx = ?", [to_sql(idx)], |row| row.get(0))?;
    let found = hashes.as_deref().and_then(|bytes| split_hashes(bytes)?.get(place).copied());
    found.ok_or_else(|| StoreError::Corrupt(format!("audit record {idx} or its tree hashes are missing")))
}

fn split_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (whole, rest) = bytes.as_chunks::<HASH_LEN>();
    rest.is_empty().then(|| whole.iter().map(|hash| Hash(*hash)).collect())
}

/// How many records the log has: one more than the highest index.
pub fn size(tx: &Tx<'_>) -> Result<u64, StoreError> {
    let highest: Option<i64> = tx.first("SELECT max(idx) FROM records", [], |row| row.get(0))?.flatten();
    Ok(highest.map_or(0, |idx| from_sql(idx) + 1))
}

/// The latest checkpoint, a signed note. None in a new log.
pub fn checkpoint(tx: &Tx<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    tx.first("SELECT note FROM checkpoint WHERE one = 1", [], |row| row.get(0))
}

fn record(leaf: &[u8]) -> Result<Record, StoreError> {
    Record::from_leaf(leaf).map_err(|e| StoreError::Corrupt(format!("an audit record: {e}")))
}

/// The record with that id.
pub fn get(tx: &Tx<'_>, id: &RecordId) -> Result<Option<Record>, StoreError> {
    let leaf: Option<Vec<u8>> = tx.first("SELECT leaf FROM records WHERE id = ?", [id.as_str()], |row| row.get(0))?;
    leaf.as_deref().map(record).transpose()
}

/// The records that match, newest first; at most [`MAX_LIMIT`].
pub fn query(tx: &Tx<'_>, query: &Query) -> Result<Vec<Record>, StoreError> {
    let since = query.since.map(time);
    let until = query.until.map(time);
    let limit = query.limit.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let outcome = query.outcome.map(mandate_audit::Outcome::as_str);
    let kind = query.kind.map(mandate_audit::Kind::as_str);
    let issuer = query.person_issuer.as_ref().map(mandate_core::Issuer::as_str);
    let jti = query.jti.as_ref().map(mandate_core::TokenId::as_str);
    let mut sql = "SELECT r.leaf FROM records r".to_owned();
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let mut glue = " WHERE ";
    if query.agent.is_some() {
        sql.push_str(" JOIN record_actor a ON a.idx = r.idx");
    }
    let mut narrow = |condition: &str, value: Option<&'_ dyn ToSql>| {
        if value.is_some() {
            sql.push_str(glue);
            sql.push_str(condition);
            glue = " AND ";
        }
        value.is_some()
    };
    macro_rules! narrow {
        ($condition:literal, $value:expr) => {
            if let Some(value) = &$value
                && narrow($condition, Some(value))
            {
                values.push(value);
            }
        };
    }
    narrow!("a.actor = ?", query.agent);
    narrow!("r.sub = ?", query.person);
    narrow!("r.sub_iss = ?", issuer);
    narrow!("r.aud = ?", query.resource);
    narrow!("r.jti = ?", jti);
    narrow!("r.time >= ?", since);
    narrow!("r.time < ?", until);
    narrow!("r.outcome = ?", outcome);
    narrow!("r.kind = ?", kind);
    sql.push_str(" ORDER BY r.idx DESC LIMIT ?");
    values.push(&limit);
    let leaves = tx.all(&sql, values.as_slice(), |row| row.get::<_, Vec<u8>>(0))?;
    leaves.iter().map(|leaf| record(leaf)).collect()
}

/// Calls `each` with index, leaf bytes and stored hashes of the records `from..`, in order, until it returns an error.
pub fn leaves<E: From<StoreError> + From<Tampered>>(
    tx: &Tx<'_>,
    from: u64,
    mut each: impl FnMut(u64, &[u8], &[Hash]) -> Result<(), E>,
) -> Result<(), E> {
    let sql = |e: rusqlite::Error| E::from(StoreError::from(e));
    let mut statement = tx.prepare("SELECT idx, leaf, hashes FROM records WHERE idx >= ? ORDER BY idx").map_err(E::from)?;
    let mut rows = statement.query([to_sql(from)]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let index = from_sql(row.get(0).map_err(sql)?);
        let leaf = row.get_ref(1).map_err(sql)?.as_bytes().map_err(|_| Tampered::Changed { index })?;
        let hashes = row.get_ref(2).map_err(sql)?.as_bytes().ok().and_then(split_hashes);
        each(index, leaf, &hashes.ok_or(Tampered::Tree { index })?)?;
    }
    Ok(())
}

struct Hashes<'a, 'c>(&'a Tx<'c>);

impl mandate_audit::inclusion::StoredHashes for Hashes<'_, '_> {
    fn hash(&self, stored_index: u64) -> Option<Hash> {
        stored_hash(self.0, stored_index).ok()
    }
}

/// Proof that a record is in the log, without the rest of the log.
pub fn proof(tx: &Tx<'_>, id: &RecordId, verifier: &CheckpointVerifier) -> Result<Option<InclusionProof>, LogError> {
    let found =
        tx.first("SELECT idx, leaf FROM records WHERE id = ?", [id.as_str()], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let (Some((idx, leaf)), Some(note)) = (found, checkpoint(tx)?) else { return Ok(None) };
    Ok(Some(InclusionProof::build(from_sql(idx), &leaf, &note, verifier, &Hashes(tx))?))
}

/// Verifies the whole log: every record's bytes, its searchable columns, the tree, the checkpoint and its signature.
///
/// With `earlier`, a checkpoint that was verified before, the log must also continue it. `progress` is told how many of
/// how many records are done.
pub fn verify(
    tx: &Tx<'_>,
    verifier: &CheckpointVerifier,
    earlier: Option<Checkpoint>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Summary, LogError> {
    let size = size(tx)?;
    let mut tree = TreeVerification::new();
    if let Some(earlier) = earlier {
        tree = tree.continuing(earlier);
    }
    let mut actors = 0;
    leaves(tx, 0, |index, leaf, hashes| {
        let record = tree.push(index, leaf, hashes)?;
        actors += columns_agree(tx, index, &record)?;
        progress(index + 1, size);
        Ok::<(), LogError>(())
    })?;
    let summary = tree.finish(checkpoint(tx)?.as_deref(), verifier)?;
    let rows: i64 = tx.first("SELECT count(*) FROM record_actor", [], |row| row.get(0))?.unwrap_or(0);
    if from_sql(rows) != actors {
        return Err(Tampered::Column { index: first_foreign_actor(tx)?.unwrap_or(size), column: "act" }.into());
    }
    Ok(summary)
}

/// The columns only repeat the leaf; one that says otherwise would hide a record from queries, or show it wrongly.
/// Returns how many actors the record has.
fn columns_agree(tx: &Tx<'_>, index: u64, record: &Record) -> Result<u64, LogError> {
    let idx = to_sql(index);
    let changed = |column| LogError::Tampered(Tampered::Column { index, column });
    let mut statement = tx.prepare("SELECT id, time, kind, outcome, sub, sub_iss, aud, jti FROM records WHERE idx = ?")?;
    statement.query_row([idx], |row| {
        let text = |at: usize, value: Option<&str>| Ok::<bool, rusqlite::Error>(row.get_ref(at)?.as_str_or_null().ok() == Some(value));
        Ok(if !text(0, Some(record.id.as_str()))? {
            Err(changed("id"))
        } else if row.get::<_, i64>(1)? != time(record.time) {
            Err(changed("time"))
        } else if !text(2, Some(record.kind.as_str()))? {
            Err(changed("kind"))
        } else if !text(3, Some(record.outcome.as_str()))? {
            Err(changed("outcome"))
        } else if !text(4, record.sub.as_ref().map(|p| p.sub.as_str()))? || !text(5, record.sub.as_ref().map(|p| p.iss.as_str()))? {
            Err(changed("sub"))
        } else if !text(6, record.aud.as_deref())? {
            Err(changed("aud"))
        } else if !text(7, record.jti.as_ref().map(mandate_core::TokenId::as_str))? {
            Err(changed("jti"))
        } else {
            Ok(())
        })
    })??;
    let mut names: Vec<&str> = record.act.iter().map(|actor| actor.sub.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        if tx.first("SELECT 1 FROM record_actor WHERE actor = ? AND idx = ?", params![name, idx], |_| Ok(()))?.is_none() {
            return Err(changed("act"));
        }
    }
    Ok(names.len() as u64)
}

/// The first record that is listed under an actor it does not name.
fn first_foreign_actor(tx: &Tx<'_>) -> Result<Option<u64>, StoreError> {
    let rows =
        tx.all("SELECT idx, actor FROM record_actor ORDER BY idx", [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    for (idx, actor) in rows {
        let leaf: Option<Vec<u8>> = tx.first("SELECT leaf FROM records WHERE idx = ?", [idx], |row| row.get(0))?;
        let named = leaf.as_deref().map(record).transpose()?.is_some_and(|r| r.act.iter().any(|a| a.sub == actor));
        if !named {
            return Ok(Some(from_sql(idx)));
        }
    }
    Ok(None)
}

/// Writes the whole log as a bundle that anyone can verify offline.
pub fn export<W: Write>(tx: &Tx<'_>, verifier: &CheckpointVerifier, out: W, mut progress: impl FnMut(u64, u64)) -> Result<W, LogError> {
    let size = size(tx)?;
    let mut bundle = BundleWriter::begin(out, verifier.vkey(), checkpoint(tx)?.as_deref(), size)?;
    leaves(tx, 0, |index, leaf, hashes| {
        bundle.record(index, leaf, hashes)?;
        progress(index + 1, size);
        Ok::<(), LogError>(())
    })?;
    Ok(bundle.finish()?)
}
