//! The search index: a row for each record and name, in both databases.
//!
//! Each log is taken in chunks, by itself. A chunk has a row with its times, and a row for each record and
//! name, beside one another: what is written next is not spread over the whole index, and a search reads a
//! few pages of each chunk. The index is derived from the logs and never evidence. Records that are not in it
//! yet are read one by one, so that a query misses none.
//!
//! The tables are in a schema `search`, which is a file of its own with `SQLite`. How they are made, and when
//! they are made again, is each database's own.

mod names;

use std::fmt::Write as _;
use std::mem;

use mandate_audit::{LeafKeys, Tampered};
use mandate_core::Timestamp;

use crate::error::{LogError, StoreError};
use crate::log_number::LogNumber;
use crate::log_rows::size_of;
use crate::logs;
use crate::record_search::{Comparison, Each, RecordSearch, WantedRecords, every};
use crate::tx::Tx;
use crate::value::{Value, values};

use names::{Filter, Part, each_name};

/// The version of the tables and of what is in them. Another version is not an error: the index is built
/// again.
pub(crate) const VERSION: u32 = 7;

/// How many records of a log are added to the index at once; at most this many of each log are read one by
/// one.
#[cfg(not(test))]
pub(crate) const CHUNK: u64 = 4096;
/// Small in tests, so that few records are partly in the index and partly not.
#[cfg(test)]
pub(crate) const CHUNK: u64 = 16;

/// How many rows one statement writes. With a database on another machine, a statement costs as much time as
/// many rows; `SQLite` compares each parameter with all others of its statement.
const ROWS: usize = 64;

/// How many records of a log, from the first, are in the index.
fn upto(tx: &Tx<'_>, log: LogNumber) -> Result<u64, StoreError> {
    let last: Option<u64> = tx
        .first("SELECT max(chunk) FROM search.chunks WHERE log = $1", values![log], |row| row.get(0))?
        .flatten();
    Ok(last.map_or(0, |last| (last + 1).saturating_mul(CHUNK)))
}

/// Whether an index of this version belongs to the logs: its last record of each is also in that log.
pub(crate) fn fits(logs: &Tx<'_>, index: &Tx<'_>) -> Result<bool, StoreError> {
    let sql = "SELECT c.log, c.chunk, c.last FROM search.chunks c WHERE c.chunk = (SELECT max(o.chunk) FROM search.chunks o WHERE o.log = c.log)";
    let newest = index.all(sql, &[], |row| {
        Ok::<_, StoreError>((row.get::<LogNumber>(0)?, row.get::<u64>(1)?, row.get::<Vec<u8>>(2)?))
    })?;
    for (log, chunk, last) in newest {
        let at = (chunk + 1).saturating_mul(CHUNK) - 1;
        let sql = "SELECT hashes FROM records WHERE log = $1 AND idx = $2";
        if logs.first(sql, values![log, at], |row| Ok(row.get::<&[u8]>(0)? == last))? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Adds the next chunk of a log to the index, of the first log that has a complete one. Returns how many
/// records are missing until one has: 0 if a chunk was added. `logs` and `index` may be one transaction.
pub(crate) fn take_chunk(logs: &Tx<'_>, index: &Tx<'_>) -> Result<u64, StoreError> {
    let mut least = CHUNK;
    for (log, _) in logs::all(logs)? {
        let mut chunk = Chunk::new(log, upto(index, log)?);
        let end = chunk.first.saturating_add(CHUNK);
        least = least.min(end.saturating_sub(size_of(logs, log)?));
        if least > 0 {
            continue;
        }
        let sql =
            "SELECT idx, leaf, hashes FROM records WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
        logs.each(sql, values![log, chunk.first, end], |row| {
            let at: u64 = row.get(0)?;
            chunk.add(
                at,
                &LeafKeys::of(row.get(1)?)
                    .map_err(|e| StoreError::Corrupt(format!("audit record {at}: {e}")))?,
            );
            chunk.last = row.get(2)?;
            Ok::<_, StoreError>(true)
        })?;
        chunk.write(index)?;
        break;
    }
    Ok(least)
}

/// A name of a record.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// The digest of the name, and the index of the record, as in the row.
    key: (i64, u64),
    part: Part,
}

/// Everything that the index has about one chunk of a log.
#[derive(Debug)]
struct Chunk {
    log: LogNumber,
    first: u64,
    times: Option<(Timestamp, Timestamp)>,
    names: Vec<Name>,
    /// The hashes of its last record.
    last: Vec<u8>,
}

impl Chunk {
    /// The chunk of a log that begins with record `first`, without a record yet.
    fn new(log: LogNumber, first: u64) -> Self {
        Self { log, first, times: None, names: Vec::new(), last: Vec::new() }
    }

    fn number(&self) -> u64 {
        self.first / CHUNK
    }

    fn add(&mut self, index: u64, keys: &LeafKeys<'_>) {
        let (earliest, latest) = self.times.unwrap_or((keys.time, keys.time));
        self.times = Some((earliest.min(keys.time), latest.max(keys.time)));
        each_name(keys, |part, text| self.names.push(Name { key: (part.digest(text), index), part }));
    }

    /// Its names in the order of the rows. Two issuers may use one `sub` for two actors of a chain: that is
    /// one row.
    fn sorted(&self) -> Vec<Name> {
        let mut names = self.names.clone();
        names.sort_unstable_by_key(|name| name.key);
        names.dedup_by_key(|name| name.key);
        names
    }

    fn write(&self, index: &Tx<'_>) -> Result<(), StoreError> {
        // Without an error, the same chunk would be taken again and again.
        let missing = || StoreError::Corrupt(format!("the audit records from {} on are missing", self.first));
        let (earliest, latest) = self.times.ok_or_else(missing)?;
        let sql =
            "INSERT INTO search.chunks (log, chunk, earliest, latest, last) VALUES ($1, $2, $3, $4, $5)";
        index.execute(sql, values![self.log, self.number(), earliest, latest, &self.last])?;
        for names in self.sorted().chunks(ROWS) {
            let mut values: Vec<Value<'_>> = vec![self.log.into(), self.number().into()];
            let mut sql = "INSERT INTO search.names (log, chunk, name, idx) VALUES".to_owned();
            for Name { key: (digest, at), .. } in names {
                let comma = if values.len() > 2 { "," } else { "" };
                values.extend([Value::from(*digest), Value::from(*at)]);
                // Writing to a String cannot fail.
                let _ = write!(sql, "{comma} ($1, $2, ${}, ${})", values.len() - 1, values.len());
            }
            // A row that somebody else added must not keep the index from growing. Verification finds it if
            // it is wrong.
            sql.push_str(" ON CONFLICT DO NOTHING");
            index.execute(&sql, &values)?;
        }
        Ok(())
    }

    /// Compares it with the rows of the index, of which it must have all and no other.
    fn compare(&self, tx: &Tx<'_>) -> Result<(), LogError> {
        let wrong = |index, column| Err(Tampered::Index { index, column }.into());
        let sql = "SELECT earliest, latest FROM search.chunks WHERE log = $1 AND chunk = $2";
        let times = tx.first(sql, values![self.log, self.number()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if times != self.times {
            return wrong(self.first, if times.is_none() { "idx" } else { "time" });
        }
        let sql = "SELECT name, idx FROM search.names WHERE log = $1 AND chunk = $2 ORDER BY name, idx";
        let rows: Vec<(i64, u64)> = tx.all(sql, values![self.log, self.number()], |row| {
            Ok::<_, StoreError>((row.get(0)?, row.get(1)?))
        })?;
        let mut rows = rows.into_iter().peekable();
        for name in self.sorted() {
            match rows.next_if(|row| *row <= name.key) {
                Some(row) if row == name.key => {}
                Some((_, foreign)) => return wrong(foreign, "name"),
                None => return wrong(name.key.1, name.part.0),
            }
        }
        rows.next().map_or(Ok(()), |(_, foreign)| wrong(foreign, "name"))
    }
}

/// The search by these rows.
pub(crate) struct SearchRows;

impl RecordSearch for SearchRows {
    fn reach(&self, tx: &Tx<'_>, log: LogNumber) -> Result<u64, StoreError> {
        upto(tx, log)
    }

    fn candidates(
        &self,
        tx: &Tx<'_>,
        log: LogNumber,
        wanted: WantedRecords<'_>,
        end: u64,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        let upto = upto(tx, log)?;
        let mut more = true;
        // Those that are not in the index yet come first.
        every(tx, log, upto, end, &mut |index, leaf| {
            more = each(index, leaf)?;
            Ok(more)
        })?;
        if more && upto > 0 { by_names(tx, log, &Filter::of(wanted), end.min(upto), each) } else { Ok(()) }
    }

    fn comparison(&self, tx: &Tx<'_>, log: LogNumber) -> Result<Box<dyn Comparison>, StoreError> {
        Ok(Box::new(Compared { log, upto: upto(tx, log)?, chunk: Chunk::new(log, 0), rebuilt: false }))
    }
}

/// A query in the making.
struct Select<'v> {
    sql: String,
    values: Vec<Value<'v>>,
}

impl<'v> Select<'v> {
    fn new(sql: &str, values: &[Value<'v>]) -> Self {
        Self { sql: sql.to_owned(), values: values.to_vec() }
    }

    /// Adds a condition: what is before and after the value.
    fn and(&mut self, before: &str, value: Value<'v>, after: &str) {
        self.values.push(value);
        // Writing to a String cannot fail.
        let _ = write!(self.sql, "{before}${}{after}", self.values.len());
    }
}

/// Whether a chunk has a name: the database is asked for one row of it. As a join, `PostgreSQL` would begin
/// with the rows of all chunks.
const HAS: (&str, &str) = (
    "(SELECT n.idx FROM search.names n WHERE n.log = c.log AND n.chunk = c.chunk AND n.name = ",
    " LIMIT 1) IS NOT NULL",
);

/// Calls `each` with every record of a log before `end` that may be wanted according to the index, the newest
/// first, until it returns false. All of them must be in the index.
fn by_names(
    tx: &Tx<'_>,
    log: LogNumber,
    filter: &Filter,
    end: u64,
    each: &mut Each<'_>,
) -> Result<(), StoreError> {
    let sql = "SELECT c.chunk, c.earliest, c.latest FROM search.chunks c WHERE c.log = $1 AND c.chunk < $2";
    let mut select = Select::new(sql, values![log, end.div_ceil(CHUNK)]);
    if let Some(since) = filter.since {
        select.and(" AND c.latest >= ", since.into(), "");
    }
    if let Some(until) = filter.until {
        select.and(" AND c.earliest < ", until.into(), "");
    }
    let (has, name) = HAS;
    for digest in &filter.names {
        select.and(&format!(" AND {has}"), (*digest).into(), name);
    }
    if let Some((digest, made)) = filter.id {
        select.and(&format!(" AND ({has}"), digest.into(), name);
        if let Some(made) = made {
            select.and(" OR c.earliest <= ", made.into(), "");
            select.and(" AND c.latest >= ", made.into(), "");
        }
        select.sql.push(')');
    }
    select.sql.push_str(" ORDER BY c.chunk DESC");
    tx.each(&select.sql, &select.values, |row| {
        let first = row.get::<u64>(0)?.saturating_mul(CHUNK);
        let names = filter.names_between(row.get(1)?, row.get(2)?);
        in_chunk(tx, log, &names, first, end.min(first.saturating_add(CHUNK)), each)
    })
}

/// As [`by_names`], for the records of a chunk from `first` on and before `end`. Returns whether `each` wants
/// more.
fn in_chunk(
    tx: &Tx<'_>,
    log: LogNumber,
    names: &[i64],
    first: u64,
    end: u64,
    each: &mut Each<'_>,
) -> Result<bool, StoreError> {
    let mut more = true;
    let Some((name, others)) = names.split_first() else {
        every(tx, log, first, end, &mut |index, leaf| {
            more = each(index, leaf)?;
            Ok(more)
        })?;
        return Ok(more);
    };
    // The bounds are against rows that somebody else added: no record is shown twice.
    let sql = "SELECT n.idx, r.leaf FROM search.names n CROSS JOIN records r \
               WHERE n.log = $1 AND n.chunk = $2 AND n.name = $3 AND n.idx >= $4 AND n.idx < $5 AND r.log = n.log AND r.idx = n.idx";
    let mut select = Select::new(sql, values![log, first / CHUNK, *name, first, end]);
    for other in others {
        let also = " AND EXISTS (SELECT 1 FROM search.names o WHERE o.log = n.log AND o.chunk = n.chunk AND o.idx = n.idx AND o.name = ";
        select.and(also, (*other).into(), ")");
    }
    select.sql.push_str(" ORDER BY n.idx DESC");
    tx.each(&select.sql, &select.values, |row| {
        more = each(row.get(0)?, row.get(1)?)?;
        Ok::<_, StoreError>(more)
    })?;
    Ok(more)
}

/// The index of a log as far as it was compared with that log.
struct Compared {
    log: LogNumber,
    upto: u64,
    chunk: Chunk,
    /// Whether the index was built again meanwhile. Then it hides nothing: the records that it lacks are
    /// read.
    rebuilt: bool,
}

impl Comparison for Compared {
    fn record(&mut self, tx: &Tx<'_>, index: u64, leaf: &[u8]) -> Result<(), LogError> {
        if self.rebuilt || index >= self.upto {
            return Ok(());
        }
        self.chunk.add(index, &LeafKeys::of(leaf).map_err(|_| Tampered::Changed { index })?);
        let next = index + 1;
        if !next.is_multiple_of(CHUNK) {
            return Ok(());
        }
        let chunk = mem::replace(&mut self.chunk, Chunk::new(self.log, next));
        self.rebuilt = upto(tx, self.log)? < next;
        if self.rebuilt { Ok(()) } else { chunk.compare(tx) }
    }

    fn finish(&self, tx: &Tx<'_>, size: u64) -> Result<(), LogError> {
        // The index grows by whole chunks of the log. If it claims more records than the log has, it would
        // hide those that come.
        if !self.rebuilt && self.upto > size {
            return Err(Tampered::Index { index: self.upto, column: "idx" }.into());
        }
        // Rows beyond the chunks would be in the way of those that come.
        let foreign = |condition: &str, chunk: u64| {
            let sql = format!("SELECT min(idx) FROM search.names WHERE log = $1 AND chunk {condition} $2");
            Ok::<_, StoreError>(
                tx.first(&sql, values![self.log, chunk], |row| row.get::<Option<i64>>(0))?.flatten(),
            )
        };
        match foreign(">=", upto(tx, self.log)? / CHUNK)?.or(foreign("<", 0)?) {
            Some(index) => {
                Err(Tampered::Index { index: u64::try_from(index).unwrap_or(0), column: "name" }.into())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
