//! The content of the index: each log in chunks, and for every name in a chunk the places at which it occurs.
//!
//! This takes a few rows for thousands of records. A row for each record and name would cost more than the records
//! themselves. Our own ids contain the time at which they were made. They are not stored, because the times of a chunk show
//! whether the chunk can contain an id.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::CHUNK;
use crate::error::StoreError;
use crate::log_number::LogNumber;
use crate::record_search::{Each, Wanted, every};
use crate::tx::Tx;
use crate::value::{Value, values};
use mandate_audit::query::operator_of;
use mandate_audit::{LeafKeys, Outcome, Query, Tampered};
use mandate_core::Timestamp;
use mandate_core::id::made_at;

pub(super) const SCHEMA: &str = "
CREATE TABLE chunks (
    log      INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL,
    PRIMARY KEY (log, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE postings (
    name   TEXT    NOT NULL,
    log    INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    places BLOB    NOT NULL,
    PRIMARY KEY (name, log, first)
) STRICT, WITHOUT ROWID;
";

/// The kind of a name in the index: its first byte.
#[derive(Clone, Copy)]
enum Part {
    Id,
    Kind,
    Outcome,
    Subject,
    SubjectIssuer,
    Audience,
    Token,
    Actor,
    Client,
    Grant,
    Operator,
}

impl Part {
    const ALL: [Self; 11] = [
        Self::Id,
        Self::Kind,
        Self::Outcome,
        Self::Subject,
        Self::SubjectIssuer,
        Self::Audience,
        Self::Token,
        Self::Actor,
        Self::Client,
        Self::Grant,
        Self::Operator,
    ];

    fn letter(self) -> char {
        match self {
            Self::Id => 'n',
            Self::Kind => 'k',
            Self::Outcome => 'o',
            Self::Subject => 's',
            Self::SubjectIssuer => 'i',
            Self::Audience => 'r',
            Self::Token => 'j',
            Self::Actor => 'a',
            Self::Client => 'c',
            Self::Grant => 'g',
            Self::Operator => 'b',
        }
    }

    /// The member of the record.
    fn member(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Kind => "kind",
            Self::Outcome => "outcome",
            Self::Subject => "sub",
            Self::SubjectIssuer => "sub_iss",
            Self::Audience => "aud",
            Self::Token => "jti",
            Self::Actor => "act",
            Self::Client => "client",
            Self::Grant => "lineage",
            Self::Operator => "by",
        }
    }

    fn name(self, text: &str) -> String {
        let mut name = String::with_capacity(text.len() + 1);
        name.push(self.letter());
        name.push_str(text);
        name
    }
}

fn member_of(name: &str) -> &'static str {
    Part::ALL.into_iter().find(|part| name.starts_with(part.letter())).map_or("idx", Part::member)
}

/// Reports every name that is kept for one record.
fn each_name(keys: &LeafKeys<'_>, mut tell: impl FnMut(Part, &str)) {
    let made_then = |id: &str| made_at(id) == Some(keys.time);
    if !made_then(&keys.id) {
        tell(Part::Id, &keys.id);
    }
    if let Some(jti) = keys.jti.as_deref().filter(|jti| !made_then(jti)) {
        tell(Part::Token, jti);
    }
    tell(Part::Kind, keys.kind.as_str());
    // What was permitted is most of all: to look for that alone is to look at every record.
    if keys.outcome == Outcome::Refused {
        tell(Part::Outcome, keys.outcome.as_str());
    }
    for (part, text) in [(Part::Subject, &keys.sub), (Part::SubjectIssuer, &keys.sub_iss), (Part::Audience, &keys.aud)] {
        if let Some(text) = text {
            tell(part, text);
        }
    }
    keys.actors().for_each(|actor| tell(Part::Actor, actor));
    if let Some(client) = &keys.client {
        tell(Part::Client, client);
    }
    keys.grants().for_each(|grant| tell(Part::Grant, grant));
    if let Some(by) = &keys.by {
        tell(Part::Operator, operator_of(by));
    }
    // What was touched is found by the same names as what acted: a query does not know which it was.
    let Some(touched) = keys.touched.as_deref() else { return };
    for person in &touched.people {
        tell(Part::Subject, &person.sub);
        tell(Part::SubjectIssuer, person.iss.as_str());
    }
    for (part, names) in [
        (Part::Actor, &touched.agents),
        (Part::Audience, &touched.resources),
        (Part::Client, &touched.clients),
        (Part::Grant, &touched.grants),
        (Part::Token, &touched.tokens),
    ] {
        for name in names {
            tell(part, name);
        }
    }
}

/// Everything that the index holds about one chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    log: LogNumber,
    first: u64,
    span: Option<(Timestamp, Timestamp)>,
    names: BTreeMap<String, Vec<u16>>,
    scratch: String,
}

impl Chunk {
    /// The chunk of a log that begins with record `first`, without a record yet.
    pub(super) fn new(log: LogNumber, first: u64) -> Self {
        Self { log, first, span: None, names: BTreeMap::new(), scratch: String::new() }
    }

    /// Adds record `index`, which comes after all records that were added.
    pub(super) fn add(&mut self, index: u64, keys: &LeafKeys<'_>) {
        let Ok(place) = u16::try_from(index - self.first) else { return };
        let (earliest, latest) = self.span.unwrap_or((keys.time, keys.time));
        self.span = Some((earliest.min(keys.time), latest.max(keys.time)));
        let Self { names, scratch, .. } = self;
        each_name(keys, |part, text| {
            scratch.clear();
            scratch.push(part.letter());
            scratch.push_str(text);
            match names.get_mut(scratch.as_str()) {
                // Two issuers may use one `sub` for two actors of a chain.
                Some(places) if places.last() == Some(&place) => {}
                Some(places) => places.push(place),
                None => drop(names.insert(scratch.clone(), vec![place])),
            }
        });
    }

    /// Writes it into the index.
    pub(super) fn write(&self, index: &Tx<'_>) -> Result<(), StoreError> {
        let Some((earliest, latest)) = self.span else { return Ok(()) };
        let sql = "INSERT INTO chunks (log, first, earliest, latest) VALUES ($1, $2, $3, $4)";
        index.execute(sql, values![self.log, self.first, earliest, latest])?;
        for (name, places) in &self.names {
            let sql = "INSERT INTO postings (name, log, first, places) VALUES ($1, $2, $3, $4)";
            index.execute(sql, values![name, self.log, self.first, &to_bytes(places)])?;
        }
        Ok(())
    }

    /// Whether the index holds exactly this for the chunk, not counting other names. Returns how many names it has.
    pub(super) fn check(&self, tx: &Tx<'_>) -> Result<Result<u64, Tampered>, StoreError> {
        let sql = "SELECT earliest, latest FROM search.chunks WHERE log = $1 AND first = $2";
        let found = tx.first(sql, values![self.log, self.first], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if found != self.span {
            let column = if found.is_none() { "idx" } else { "time" };
            return Ok(Err(Tampered::Index { index: self.first, column }));
        }
        for (name, places) in &self.names {
            let found = stored(tx, name, self.log, self.first)?;
            if found.as_ref() != Some(places) {
                let found = found.unwrap_or_default();
                let differs = |place: &&u16| found.contains(place) != places.contains(place);
                let place = places.iter().chain(&found).filter(differs).min().copied().unwrap_or_default();
                return Ok(Err(Tampered::Index { index: self.first + u64::from(place), column: member_of(name) }));
            }
        }
        Ok(Ok(self.names.len() as u64))
    }
}

/// Whether the index holds of a log nothing except the `names` names that were found in the chunks before `end`. Chunks that
/// were added since are not checked, but must be before `now`.
pub(super) fn nothing_foreign(tx: &Tx<'_>, log: LogNumber, names: u64, end: u64, now: u64) -> Result<Result<(), Tampered>, StoreError> {
    let count = |sql: &str, end: u64| -> Result<u64, StoreError> { Ok(tx.first(sql, values![log, end], |row| row.get(0))?.unwrap_or(0)) };
    if count("SELECT count(*) FROM search.chunks WHERE log = $1 AND first < $2", end)? != end / CHUNK
        || count("SELECT count(*) FROM search.chunks WHERE log = $1 AND first >= $2", now)? > 0
    {
        return Ok(Err(Tampered::Index { index: end, column: "idx" }));
    }
    if count("SELECT count(*) FROM search.postings WHERE log = $1 AND first < $2", end)? == names
        && count("SELECT count(*) FROM search.postings WHERE log = $1 AND first >= $2", now)? == 0
    {
        return Ok(Ok(()));
    }
    let mut foreign = Tampered::Index { index: end, column: "idx" };
    tx.each("SELECT name, first, places FROM search.postings WHERE log = $1", values![log], |row| {
        let (name, first): (&str, u64) = (row.get(0)?, row.get(1)?);
        let index = first + u64::from(from_bytes(row.get(2)?).and_then(|places| places.first().copied()).unwrap_or_default());
        let has = |leaf: &[u8]| {
            let mut has = false;
            if let Ok(keys) = LeafKeys::of(leaf) {
                each_name(&keys, |part, text| has |= part.name(text) == name);
            }
            has
        };
        let sql = "SELECT leaf FROM records WHERE log = $1 AND idx = $2";
        let known = tx.first(sql, values![log, index], |row| Ok(has(row.get(0)?)))?;
        if known != Some(true) {
            foreign = Tampered::Index { index, column: member_of(name) };
        }
        Ok::<_, StoreError>(known == Some(true))
    })?;
    Ok(Err(foreign))
}

fn to_bytes(places: &[u16]) -> Vec<u8> {
    places.iter().flat_map(|place| place.to_be_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Option<Vec<u16>> {
    let (whole, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| whole.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

/// At which places of the chunk a name occurs. Places that cannot be read count as none: only verification reports an error.
fn stored(tx: &Tx<'_>, name: &str, log: LogNumber, first: u64) -> Result<Option<Vec<u16>>, StoreError> {
    let sql = "SELECT places FROM search.postings WHERE name = $1 AND log = $2 AND first = $3";
    Ok(tx.first(sql, values![name, log, first], |row| Ok(from_bytes(row.get(0)?)))?.flatten())
}

/// What the index can say of what is wanted of a log.
#[derive(Debug)]
pub(super) struct Filter {
    log: LogNumber,
    /// All of these must occur.
    names: Vec<String>,
    /// An id, as the name it has in the index, and when it was made if it is one of ours.
    id: Option<(String, Option<Timestamp>)>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Filter {
    pub(super) fn of(log: LogNumber, wanted: Wanted<'_>) -> Self {
        match wanted {
            Wanted::Record(id) => {
                let id = Some((Part::Id.name(id.as_str()), made_at(id.as_str())));
                Self { log, names: Vec::new(), id, since: None, until: None }
            }
            Wanted::Query(query) => Self::query(log, query),
        }
    }

    fn query(log: LogNumber, query: &Query) -> Self {
        let outcome = query.outcome.filter(|outcome| *outcome == Outcome::Refused);
        let names = [
            (Part::Actor, query.agent.as_deref()),
            (Part::Subject, query.person.as_deref()),
            (Part::SubjectIssuer, query.person_issuer.as_ref().map(mandate_core::Issuer::as_str)),
            (Part::Audience, query.resource.as_deref()),
            (Part::Outcome, outcome.map(Outcome::as_str)),
            (Part::Kind, query.kind.map(mandate_audit::Kind::as_str)),
            (Part::Client, query.client.as_deref()),
            (Part::Grant, query.grant.as_deref()),
            (Part::Operator, query.by.as_deref()),
        ];
        Self {
            log,
            names: names.into_iter().filter_map(|(part, text)| Some(part.name(text?))).collect(),
            id: query.jti.as_ref().map(|jti| (Part::Token.name(jti.as_str()), jti.made_at())),
            since: query.since,
            until: query.until,
        }
    }

    /// The chunks before record `end` that can contain wanted records, the newest first.
    fn chunks(&self, tx: &Tx<'_>, end: u64) -> Result<Vec<Found>, StoreError> {
        let mut sql = "SELECT c.first, c.earliest, c.latest FROM ".to_owned();
        let mut values: Vec<Value<'_>> = vec![self.log.into(), end.into()];
        if let Some(name) = self.names.first() {
            sql.push_str("search.postings p JOIN search.chunks c ON c.log = p.log AND c.first = p.first WHERE p.log = $1 AND p.first < $2");
            and(&mut sql, &mut values, " AND p.name = ", name.into());
        } else {
            sql.push_str("search.chunks c WHERE c.log = $1 AND c.first < $2");
        }
        if let Some(since) = self.since {
            and(&mut sql, &mut values, " AND c.latest >= ", since.into());
        }
        if let Some(until) = self.until {
            and(&mut sql, &mut values, " AND c.earliest < ", until.into());
        }
        if let Some((name, made)) = &self.id {
            and(
                &mut sql,
                &mut values,
                " AND (EXISTS (SELECT 1 FROM search.postings WHERE log = c.log AND first = c.first AND name = ",
                name.into(),
            );
            sql.push(')');
            if let Some(made) = *made {
                and(&mut sql, &mut values, " OR c.earliest <= ", made.into());
                and(&mut sql, &mut values, " AND c.latest >= ", made.into());
            }
            sql.push(')');
        }
        sql.push_str(" ORDER BY c.first DESC");
        tx.all(&sql, &values, |row| Ok(Found { first: row.get(0)?, earliest: row.get(1)?, latest: row.get(2)? }))
    }

    /// At which places of a chunk all of it is; `None` means that any place may have it.
    fn places(&self, tx: &Tx<'_>, chunk: &Found) -> Result<Option<Vec<u16>>, StoreError> {
        let kept = self.id.as_ref().filter(|(_, made)| !made.is_some_and(|made| chunk.earliest <= made && made <= chunk.latest));
        let mut all: Option<Vec<u16>> = None;
        for name in self.names.iter().chain(kept.map(|(name, _)| name)) {
            let places = stored(tx, name, self.log, chunk.first)?.unwrap_or_default();
            all = Some(match all {
                None => places,
                Some(mut all) => {
                    all.retain(|place| places.binary_search(place).is_ok());
                    all
                }
            });
        }
        Ok(all)
    }

    /// Calls `each` with every record before `end` that may be wanted according to the index, the newest first, until it
    /// returns false. Only the record itself shows whether it is wanted.
    pub(super) fn each(&self, tx: &Tx<'_>, end: u64, each: &mut Each<'_>) -> Result<(), StoreError> {
        let mut more = true;
        for chunk in self.chunks(tx, end)? {
            match self.places(tx, &chunk)? {
                None => every(tx, self.log, chunk.first, end.min(chunk.first + CHUNK), &mut |index, leaf| {
                    more = each(index, leaf)?;
                    Ok(more)
                })?,
                Some(places) => {
                    let indexes = places.iter().rev().map(|place| chunk.first + u64::from(*place));
                    for index in indexes.filter(|index| *index < end) {
                        let sql = "SELECT leaf FROM records WHERE log = $1 AND idx = $2";
                        more = tx.first(sql, values![self.log, index], |row| each(index, row.get(0)?))?.unwrap_or(true);
                        if !more {
                            break;
                        }
                    }
                }
            }
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// Adds a condition on a value, as the statement's next parameter.
fn and<'v>(sql: &mut String, values: &mut Vec<Value<'v>>, condition: &str, value: Value<'v>) {
    values.push(value);
    // Writing to a String cannot fail.
    let _ = write!(sql, "{condition}${}", values.len());
}

/// A chunk of the index and the times of its records.
struct Found {
    first: u64,
    earliest: Timestamp,
    latest: Timestamp,
}
