//! Verifying every log of a database, each in short transactions.

use std::collections::BTreeSet;

use mandate_audit::{Checkpoint, CheckpointVerifier, Summary, Tampered, TreeVerification};

use crate::driver::LogReader;
use crate::error::LogError;
use crate::log_number::LogNumber;
use crate::log_rows::{self, Head, PIECE};
use crate::logs;
use crate::record_search::Comparison;
use crate::tx::Tx;

/// A log that was verified from the first record to the last.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedLog {
    /// Its origin, size, root and key.
    pub summary: Summary,
    /// Its latest checkpoint, a C2SP signed note.
    pub checkpoint: Vec<u8>,
}

/// Which log an error is about. None where there is only one log.
#[derive(Debug)]
struct Name(Option<String>);

impl Name {
    fn on(&self, tampered: Tampered) -> LogError {
        match &self.0 {
            None => tampered.into(),
            Some(origin) => LogError::TamperedLog { origin: origin.clone(), source: tampered },
        }
    }

    /// As [`Name::on`], for any error.
    fn in_log(&self, error: LogError) -> LogError {
        if let LogError::Tampered(tampered) = error { self.on(tampered) } else { error }
    }
}

/// One log, as far as it is verified.
pub(crate) struct Verification {
    name: Name,
    log: LogNumber,
    head: Head,
    verifier: CheckpointVerifier,
    tree: TreeVerification,
    comparison: Option<Box<dyn Comparison>>,
}

/// Begins with every log of the database. `own` is the key of the server's own log; the others' keys are in
/// the database. If there is a key of a log, or one of the `earlier` checkpoints is of it, and the log itself
/// is missing, it was removed.
pub(crate) fn begin(
    tx: &Tx<'_>,
    own: Option<&CheckpointVerifier>,
    earlier: &[Checkpoint],
) -> Result<Vec<Verification>, LogError> {
    let mut keys = logs::verifiers(tx)?;
    keys.extend(own.map(|own| (own.origin().to_owned(), own.clone())));
    let listed = logs::all(tx)?;
    let mut origins: BTreeSet<&str> = listed.iter().map(|(_, origin)| origin.as_str()).collect();
    origins
        .extend(keys.keys().map(String::as_str).chain(earlier.iter().map(|earlier| earlier.origin.as_str())));
    let name = |origin: &str| Name((origins.len() > 1).then(|| origin.to_owned()));
    if let Some(missing) = origins.iter().find(|origin| !listed.iter().any(|(_, listed)| listed == *origin)) {
        return Err(name(missing).on(Tampered::NoCheckpoint { size: 0 }));
    }
    if let Some(log) =
        logs::with_records(tx)?.into_iter().find(|log| !listed.iter().any(|(listed, _)| listed == log))
    {
        return Err(LogError::NotListed { log: log.0 });
    }
    let verification = |(log, origin): &(LogNumber, String)| {
        let name = name(origin);
        let verifier = keys.get(origin).cloned().ok_or_else(|| LogError::NoKey { origin: origin.clone() })?;
        // The index is read before the log, which only grows: so the index names no record that this reading
        // of the log lacks.
        let comparison = tx.search().map(|search| search.comparison(tx, *log)).transpose()?;
        let head = log_rows::head(tx, *log).map_err(|error| name.in_log(error))?;
        let tree = earlier
            .iter()
            .filter(|earlier| earlier.origin == *origin)
            .cloned()
            .fold(TreeVerification::new(), TreeVerification::continuing);
        Ok(Verification { name, log: *log, head, verifier, tree, comparison })
    };
    listed.iter().map(verification).collect()
}

/// Verifies every log, each in short transactions. `own` and `earlier` are as in [`begin`]; `progress` is
/// told how many of how many records are done. Returns one for each log, in the order in which they were
/// added.
pub(crate) fn verify_all(
    reader: &mut (dyn LogReader + '_),
    own: Option<&CheckpointVerifier>,
    earlier: &[Checkpoint],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<CheckedLog>, LogError> {
    let all = reader.read(|tx| begin(tx, own, earlier))?;
    let total = all.iter().map(Verification::size).sum();
    let (mut verified, mut before) = (Vec::with_capacity(all.len()), 0);
    for mut log in all {
        while reader.read(|tx| log.step(tx))? {
            progress(before + log.done(), total);
        }
        before += log.done();
        progress(before, total);
        verified.push(reader.read(|tx| log.end(tx))?);
    }
    Ok(verified)
}

/// As [`verify_all`], for a database that is only looked at, with the keys that it has itself: there is at
/// least one log.
pub(crate) fn verify_inspected(
    reader: &mut (dyn LogReader + '_),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<CheckedLog>, LogError> {
    let verified = verify_all(reader, None, &[], progress)?;
    // Even a log without records has a checkpoint, from the time when its key is made.
    if verified.is_empty() { Err(Tampered::NoCheckpoint { size: 0 }.into()) } else { Ok(verified) }
}

impl Verification {
    /// How many records it will have looked at.
    pub(crate) fn size(&self) -> u64 {
        self.head.size
    }

    /// How many records it has looked at.
    pub(crate) fn done(&self) -> u64 {
        self.tree.next_index()
    }

    /// Looks at the next records. False if these were the last.
    pub(crate) fn step(&mut self, tx: &Tx<'_>) -> Result<bool, LogError> {
        let Self { name, log, head, tree, comparison, .. } = self;
        let mut step = || {
            let rows = log_rows::piece(tx, *log, tree.next_index(), head.size)?;
            for (index, leaf, hashes) in &rows {
                tree.push(*index, leaf, hashes)?;
                comparison.as_mut().map_or(Ok(()), |comparison| comparison.record(tx, *index, leaf))?;
            }
            Ok::<_, LogError>(rows.len() == PIECE)
        };
        step().map_err(|error| name.in_log(error))
    }

    /// After the last record: compares the tree with the checkpoint.
    pub(crate) fn end(self, tx: &Tx<'_>) -> Result<CheckedLog, LogError> {
        let Self { name, head, verifier, tree, comparison, .. } = self;
        let summary = tree.finish(Some(&head.checkpoint), &verifier).map_err(|tampered| name.on(tampered))?;
        if let Some(comparison) = comparison {
            comparison.finish(tx, head.size).map_err(|error| name.in_log(error))?;
        }
        Ok(CheckedLog { summary, checkpoint: head.checkpoint })
    }
}
