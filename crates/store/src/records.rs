//! The audit logs: finding, proving, verifying and exporting records. Only the sequencers write them.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use mandate_audit::offline::BundleWriter;
use mandate_audit::query::Before;
use mandate_audit::{Checkpoint, CheckpointVerifier, InclusionProof, Query, Record, Tampered};
use mandate_core::RecordId;

use crate::driver::LogReader;
pub use crate::error::LogError;
use crate::error::StoreError;
use crate::log_number::LogNumber;
use crate::log_rows::{Hashes, PIECE, head, piece, size_of};
use crate::log_verification;
pub use crate::log_verification::CheckedLog;
use crate::logs;
pub use crate::logs::{add_log, checkpoint, newest, verifier};
use crate::record_search::{self, WantedRecords};
use crate::store::Store;
use crate::tx::Tx;

/// The most records that one query returns.
pub const MAX_LIMIT: u32 = 10_000;

/// How many matching records of one log are read ahead at most, where those of several logs are merged.
#[cfg(not(test))]
const AHEAD: usize = 256;
/// Small in tests, so that few records are read in several turns.
#[cfg(test)]
const AHEAD: usize = 3;

/// A record and its place: which log, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundRecord {
    /// The origin of the log.
    pub origin: Arc<str>,
    /// How many records came before it in that log.
    pub index: u64,
    /// The record, as it is in the log.
    pub record: Record,
}

/// The records that match a query.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records, the newest first.
    pub found: Vec<FoundRecord>,
    /// What to ask for next, if the answer has as many records as were wanted, and there are several logs.
    /// With one log it is the index of the last record.
    pub next: Option<Before>,
}

/// How many records the log with that origin has: one more than the highest index. 0 if there is no such log.
pub fn size(tx: &Tx<'_>, origin: &str) -> Result<u64, StoreError> {
    logs::number(tx, origin)?.map_or(Ok(0), |log| size_of(tx, log))
}

fn record(leaf: &[u8]) -> Result<Record, StoreError> {
    Record::from_leaf(leaf).map_err(|e| StoreError::Corrupt(format!("an audit record: {e}")))
}

/// The place and the bytes of a record.
struct LeafPlace {
    log: LogNumber,
    origin: String,
    index: u64,
    leaf: Vec<u8>,
}

/// The record with that id, in whichever log it is.
fn find(tx: &Tx<'_>, id: &RecordId) -> Result<Option<LeafPlace>, StoreError> {
    // A leaf begins with its id. A manipulated index may name any record, so the record itself is compared.
    let head = format!("{{\"id\":\"{id}\",");
    for (log, origin) in logs::all(tx)? {
        let mut found = None;
        record_search::candidates(tx, log, WantedRecords::Record(id), u64::MAX, &mut |index, leaf| {
            if leaf.starts_with(head.as_bytes()) {
                found = Some((index, leaf.to_vec()));
            }
            Ok(found.is_none())
        })?;
        if let Some((index, leaf)) = found {
            return Ok(Some(LeafPlace { log, origin, index, leaf }));
        }
    }
    Ok(None)
}

/// The record with that id.
pub fn get(tx: &Tx<'_>, id: &RecordId) -> Result<Option<FoundRecord>, StoreError> {
    find(tx, id)?
        .map(|place| {
            Ok(FoundRecord { origin: place.origin.into(), index: place.index, record: record(&place.leaf)? })
        })
        .transpose()
}

/// How many records of the log with that origin, from the first, a search finds without reading all of them.
pub fn indexed(tx: &Tx<'_>, origin: &str) -> Result<u64, StoreError> {
    logs::number(tx, origin)?.map_or(Ok(0), |log| record_search::reach(tx, log))
}

/// The records of one log that match, the newest first, as far as they were read.
struct Matching {
    log: LogNumber,
    origin: Arc<str>,
    /// Records from this index on were given already.
    given: u64,
    /// Records from this index on were read already.
    read: u64,
    waiting: VecDeque<(u64, Record)>,
}

impl Matching {
    /// Reads until `most` records wait, unless some wait already.
    fn fill(
        &mut self,
        tx: &Tx<'_>,
        query: &Query,
        needles: &[String],
        most: usize,
    ) -> Result<(), StoreError> {
        let Self { log, read, waiting, .. } = self;
        if !waiting.is_empty() || *read == 0 {
            return Ok(());
        }
        record_search::candidates(tx, *log, WantedRecords::Query(query), *read, &mut |index, leaf| {
            if !contains_all(leaf, needles) {
                return Ok(true);
            }
            let record = record(leaf)?;
            // A manipulated index may hide a record, but never shows one that does not match.
            if query.matches(&record) {
                waiting.push_back((index, record));
            }
            Ok(waiting.len() < most)
        })?;
        *read = waiting.back().filter(|_| waiting.len() >= most).map_or(0, |(index, _)| *index);
        Ok(())
    }
}

/// The records of all logs that match, the newest first; at most [`MAX_LIMIT`]. None if the query's `before`
/// is no place in these logs.
///
/// In each log the order is that of the indexes. Between logs, the record with the latest time comes first,
/// and of two with one time that of the log which was added last.
pub fn query(tx: &Tx<'_>, query: &Query) -> Result<Option<RecordPage>, StoreError> {
    let limit = query.limit.unwrap_or(MAX_LIMIT).min(MAX_LIMIT) as usize;
    let logs = logs::all(tx)?;
    let several = logs.len() > 1;
    let Some(begin) = places(tx, &logs, query.before.as_ref())? else { return Ok(None) };
    let mut all: Vec<Matching> = logs
        .into_iter()
        .zip(begin)
        .map(|((log, origin), given)| Matching {
            log,
            origin: origin.into(),
            given,
            read: given,
            waiting: VecDeque::new(),
        })
        .collect();
    let needles = needles(query);
    let most = if several { limit.min(AHEAD) } else { limit };
    let mut found = Vec::new();
    while found.len() < limit {
        all.iter_mut().try_for_each(|each| each.fill(tx, query, &needles, most))?;
        let newest = all.iter_mut().filter(|each| !each.waiting.is_empty());
        let newest = newest.max_by_key(|each| each.waiting.front().map(|(_, record)| record.time));
        let Some((each, (index, record))) =
            newest.and_then(|each| each.waiting.pop_front().map(|next| (each, next)))
        else {
            break;
        };
        each.given = index;
        found.push(FoundRecord { origin: Arc::clone(&each.origin), index, record });
    }
    let more = several && limit > 0 && found.len() == limit;
    let next = more.then(|| Before::Places(all.iter().map(|each| (each.log.0, each.given)).collect()));
    Ok(Some(RecordPage { found, next }))
}

/// For each log, the index before which its records are wanted. None if `before` is no place in these logs.
fn places(
    tx: &Tx<'_>,
    logs: &[(LogNumber, String)],
    before: Option<&Before>,
) -> Result<Option<Vec<u64>>, StoreError> {
    match (before, logs) {
        (None, [_]) => Ok(Some(vec![u64::MAX])),
        // What is appended while a caller turns the pages is newer than the first page, in every log.
        (None, logs) => logs.iter().map(|(log, _)| size_of(tx, *log)).collect::<Result<_, _>>().map(Some),
        (Some(Before::Index(index)), [_]) => Ok(Some(vec![*index])),
        (Some(Before::Index(_)), logs) => Ok(logs.is_empty().then(Vec::new)),
        (Some(Before::Places(places)), logs) => {
            let known = places.keys().all(|place| logs.iter().any(|(log, _)| log.0 == *place));
            // A log that `before` does not name was added since.
            Ok(known.then(|| {
                logs.iter().map(|(log, _)| places.get(&log.0).copied().unwrap_or_default()).collect()
            }))
        }
    }
}

/// Texts that a record must contain to match, in their JSON form: searching for them is cheaper than parsing
/// the record.
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
    // What is not text is an error for the reader of the record.
    std::str::from_utf8(leaf).map_or(true, |leaf| needles.iter().all(|needle| leaf.contains(needle.as_str())))
}

/// Proof that a record is in its log, without the rest of that log. `own` is the key of the server's own log;
/// those of other logs are in the database.
pub fn proof(
    tx: &Tx<'_>,
    id: &RecordId,
    own: &CheckpointVerifier,
) -> Result<Option<InclusionProof>, LogError> {
    let Some(LeafPlace { log, origin, index, leaf }) = find(tx, id)? else { return Ok(None) };
    let Some(note) = logs::note(tx, log)? else { return Ok(None) };
    let verifier = logs::verifier(tx, own, &origin)?.ok_or(LogError::NoKey { origin })?;
    Ok(Some(InclusionProof::build(index, &leaf, &note, &verifier, &Hashes(tx, log))?))
}

/// Verifies every log of the database: every record's bytes, what is known to find it by, the tree, the
/// checkpoint and its signature. `own` is the key of the server's own log, which must be there; those of
/// other logs are in the database.
///
/// A log must also continue each of the `earlier` checkpoints, which were verified before, that has its
/// origin. `progress` is told how many of how many records are done. Blocks for a time that depends on the
/// length of the logs; the transactions are short. Returns one for each log, the server's own first, then in
/// the order in which they were added.
pub fn verify_blocking(
    store: &Store,
    own: &CheckpointVerifier,
    earlier: &[Checkpoint],
    mut progress: impl FnMut(u64, u64),
) -> Result<Vec<CheckedLog>, LogError> {
    let mut reader = store.log_reader()?;
    let answer = verify(&mut *reader, own, earlier, &mut progress);
    let is_wrong = match &answer {
        Err(LogError::Tampered(tampered) | LogError::TamperedLog { source: tampered, .. }) => {
            matches!(tampered, Tampered::Index { .. })
        }
        // The log itself may be the damaged part. Then the index is built again without need.
        Err(LogError::Store(error)) => error.is_damage(),
        _ => false,
    };
    // The index is built again, but the answer is that it was wrong.
    if is_wrong {
        reader.search_is_wrong();
    }
    answer
}

fn verify(
    reader: &mut (dyn LogReader + '_),
    own: &CheckpointVerifier,
    earlier: &[Checkpoint],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<CheckedLog>, LogError> {
    let mut verified = log_verification::verify_all(reader, Some(own), earlier, progress)?;
    verified.sort_by_key(|log| log.summary.origin != own.origin());
    Ok(verified)
}

/// Writes the whole log with the verifier's origin as a bundle that anyone can verify offline.
///
/// Blocks until it is written. `out` may be slow: no lock is held while it is written to.
pub fn export_blocking<W: Write>(
    store: &Store,
    verifier: &CheckpointVerifier,
    out: W,
    mut progress: impl FnMut(u64, u64),
) -> Result<W, LogError> {
    let mut reader = store.log_reader()?;
    let (log, head) = reader.read(|tx| {
        let log = logs::number(tx, verifier.origin())?.ok_or(Tampered::NoCheckpoint { size: 0 })?;
        Ok::<_, LogError>((log, head(tx, log)?))
    })?;
    let mut bundle = BundleWriter::begin(out, verifier.vkey(), &head.checkpoint, head.size)?;
    let mut next = 0;
    loop {
        let rows = reader.read(|tx| piece(tx, log, next, head.size))?;
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
