//! The search index of the audit log: what it costs, and queries with it and without it.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mandate_audit::tree::{Frontier, leaf_hash};
use mandate_audit::{CheckpointSigner, Query};
use mandate_core::{RecordId, SystemEntropy};
use mandate_sequencer::{Backend as _, Leaf};
use mandate_store::{Store, StoreError, Tx, records};
use rustix::fs::{Advice, fadvise, fsync};
use serde_json::{Value, json};

use crate::crypto::median;
use crate::error::BenchError;
use crate::kernel::process_seconds;
use crate::story::{AGENTS, Story, agent, main_resource, person, resource};

/// The origin of the log.
const ORIGIN: &str = "log.example";

/// The file of the log, in the directory of its store.
const LOG: &str = "mandate.db";

/// The file of its index.
const INDEX: &str = "search.db";

/// How many records the index takes at once.
const PIECE: u64 = 4_096;

/// How many pieces of 4,096 records the log has: a million records.
pub(crate) const FULL: u64 = 245;

/// A tenth of the records.
pub(crate) const QUICK: u64 = 25;

/// How many records a query returns at most.
const LIMIT: u32 = 100;

/// How often each query is repeated when it is warm: with the index, and without it, which takes long.
const REPEATED: (usize, usize) = (5, 1);

/// What is looked for.
enum Wanted {
    Query(Box<Query>),
    Record(RecordId),
}

/// Several queries of one sort.
struct Sort {
    name: &'static str,
    wanted: Vec<Wanted>,
}

/// Times of a query in milliseconds, the median of its sort.
struct Times {
    /// Nothing of the log and of the index is in the memory of the system.
    cold: f64,
    /// The slowest query when cold.
    most: f64,
    warm: f64,
}

impl Times {
    fn json(&self) -> Value {
        json!({ "cold": rounded(self.cold), "cold_max": rounded(self.most), "warm": rounded(self.warm) })
    }

    fn cell(&self) -> String {
        format!("{:.1} ({:.1}) / {:.2}", self.cold, self.most, self.warm)
    }
}

/// The figures of a run.
pub(crate) struct SearchFigures {
    records: u64,
    log_bytes: f64,
    index_bytes: f64,
    write_cpu_us: f64,
    write_us: f64,
    /// For each sort of query: with the index, and without it.
    queries: Vec<(&'static str, Times, Times)>,
}

fn rounded(number: f64) -> f64 {
    let scale = if number < 10.0 { 1000.0 } else { 10.0 };
    (number * scale).round() / scale
}

impl SearchFigures {
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{} records of {:.0} bytes, with their tree\n\n", self.records, self.log_bytes);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<34}{:>12.1}", "bytes of the index for a record", self.index_bytes);
        let _ = writeln!(out, "{:<34}{:>12.2}", "us a record to write, CPU", self.write_cpu_us);
        let _ = writeln!(out, "{:<34}{:>12.2}", "us a record to write, elapsed", self.write_us);
        let _ =
            writeln!(out, "\n{:<34}{:>26}{:>30}", "ms of a query", "with the index", "every record is read");
        for (name, with, without) in &self.queries {
            let _ = writeln!(out, "{name:<34}{:>26}{:>30}", with.cell(), without.cell());
        }
        out.push_str("Queries: cold, median (slowest) / warm, median. At most 100 records.\n");
        out
    }

    pub(crate) fn json(&self) -> Value {
        let queries: serde_json::Map<String, Value> = self
            .queries
            .iter()
            .map(|(name, with, without)| {
                (name.replace(' ', "_"), json!({ "index": with.json(), "every_record": without.json() }))
            })
            .collect();
        json!({
            "records": self.records,
            "log_bytes_per_record": rounded(self.log_bytes),
            "index_bytes_per_record": rounded(self.index_bytes),
            "write_cpu_us": rounded(self.write_cpu_us),
            "write_us": rounded(self.write_us),
            "query_ms": queries,
        })
    }
}

fn say(what: &str) {
    eprintln!("bench: {what} …");
}

/// Measures everything with a log of so many pieces.
pub(crate) fn measure(pieces: u64, root: &Path) -> Result<SearchFigures, BenchError> {
    let records = pieces * PIECE;
    say(&format!("a log of {records} records"));
    let dir = root.join("store");
    let sorts = fill(&dir, records)?;
    say("its index");
    std::fs::remove_file(dir.join(INDEX)).map_err(BenchError::during("removing the index"))?;
    let (cpu, began) = (process_seconds(), Instant::now());
    let store = open(&dir)?;
    until_indexed(&store, records)?;
    let (cpu, elapsed) = (process_seconds() - cpu, began.elapsed().as_secs_f64());
    // What is still in the write-ahead logs comes into the files.
    drop(store);
    let store = open(&dir)?;
    let size = |name: &str| bytes_of(&dir.join(name)).map(|bytes| per_record(bytes, records));
    let (log_bytes, index_bytes) = (size(LOG)?, size(INDEX)?);
    let mut queries = Vec::new();
    for sort in &sorts {
        say(sort.name);
        let (with, found) = of_sort(&dir, sort, REPEATED.0, &|work| store.search_blocking("search", work))?;
        let (without, expected) =
            of_sort(&dir, sort, REPEATED.1, &|work| store.read_blocking("search", work))?;
        if found != expected {
            return Err(BenchError(format!("{}: the index answers differently", sort.name)));
        }
        queries.push((sort.name, with, without));
    }
    let us = |seconds: f64| seconds * 1e6 / per_record(records, 1);
    Ok(SearchFigures {
        records,
        log_bytes,
        index_bytes,
        write_cpu_us: us(cpu),
        write_us: us(elapsed),
        queries,
    })
}

fn open(dir: &Path) -> Result<Store, BenchError> {
    Store::open_blocking(dir, Arc::new(SystemEntropy)).map_err(BenchError::during("opening a store"))
}

fn until_indexed(store: &Store, records: u64) -> Result<(), BenchError> {
    while store
        .search_blocking("indexed", |tx| records::indexed(tx, ORIGIN))
        .map_err(BenchError::during("a search index"))?
        < records
    {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes and records of a benchmark")]
fn per_record(total: u64, records: u64) -> f64 {
    total as f64 / records as f64
}

fn bytes_of(path: &Path) -> Result<u64, BenchError> {
    Ok(std::fs::metadata(path).map_err(BenchError::during("the size of a file"))?.len())
}

/// Writes the log as the server does, in transactions of one piece. Returns what to look for in it.
fn fill(dir: &Path, size: u64) -> Result<Vec<Sort>, BenchError> {
    let store = open(dir)?;
    let (signer, _) =
        CheckpointSigner::generate(ORIGIN, &SystemEntropy).map_err(BenchError::during("a key"))?;
    let first = signer.first_checkpoint().map_err(BenchError::during("a checkpoint"))?;
    store
        .transact_blocking("first checkpoint", |tx| records::add_log(tx, ORIGIN, &first))
        .map_err(BenchError::during("a checkpoint"))?;
    let mut backend = store.audit_backend(ORIGIN).map_err(BenchError::during("opening the log"))?;
    backend.load().map_err(BenchError::during("reading the log"))?;
    let (mut source, mut tree, mut sample) = (Story::begin()?, Frontier::new(), Vec::new());
    let failed = || BenchError::during("writing the log");
    while tree.size() < size {
        backend.begin().map_err(failed())?;
        for _ in 0..PIECE {
            let (index, record) = (tree.size(), source.record()?);
            let bytes = record.to_leaf().map_err(BenchError::during("a record"))?;
            let hashes = tree.append(leaf_hash(&bytes)).map_err(BenchError::during("the tree"))?;
            backend
                .stage(Leaf { index, record: &record, bytes: &bytes, hashes: &hashes }, &[])
                .map_err(failed())?;
            if index % (size / 5) == size / 10 {
                sample.push(Wanted::Record(record.id));
            }
        }
        let root = tree.root().map_err(BenchError::during("the tree"))?;
        backend
            .commit(&signer.sign(tree.size(), root).map_err(BenchError::during("a checkpoint"))?)
            .map_err(failed())?;
    }
    Ok(sorts(sample))
}

/// Five queries of each sort.
fn sorts(sample: Vec<Wanted>) -> Vec<Sort> {
    let query = |query: Query| Wanted::Query(Box::new(Query { limit: Some(LIMIT), ..query }));
    let all = |of: &dyn Fn(u64) -> Query| (0..5).map(|n| query(of(n))).collect();
    let of_agent = |rank: u64| Query { agent: Some(agent(rank)), ..Query::default() };
    let of_person = |rank: u64| Query { person: Some(person(rank)), ..Query::default() };
    vec![
        Sort { name: "a common agent", wanted: all(&of_agent) },
        // About once in a chunk.
        Sort { name: "an agent in between", wanted: all(&|n| of_agent(400 + n)) },
        Sort { name: "a rare person", wanted: all(&|n| of_person(AGENTS - 1 - n)) },
        Sort { name: "nobody", wanted: all(&|n| of_person(AGENTS + n)) },
        Sort {
            name: "an agent at its resource",
            wanted: all(&|n| Query { resource: Some(resource(main_resource(n))), ..of_agent(n) }),
        },
        Sort {
            name: "agent and person, rarely together",
            wanted: all(&|n| Query { person: Some(person(200 + n)), ..of_agent(n) }),
        },
        Sort {
            name: "agent and resource, never together",
            wanted: all(&|n| Query { resource: Some("https://nowhere.example".to_owned()), ..of_agent(n) }),
        },
        Sort { name: "a record by id", wanted: sample },
    ]
}

/// A transaction that searches, with the index or without it.
type Run<'r> =
    dyn Fn(&mut dyn FnMut(&Tx<'_>) -> Result<Vec<u64>, StoreError>) -> Result<Vec<u64>, StoreError> + 'r;

/// The times of a sort, and the indexes of the records that each of its queries returned.
fn of_sort(
    dir: &Path,
    sort: &Sort,
    repeated: usize,
    run: &Run<'_>,
) -> Result<(Times, Vec<Vec<u64>>), BenchError> {
    let (mut cold, mut warm, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for wanted in &sort.wanted {
        forget(dir)?;
        let began = Instant::now();
        answers.push(look(wanted, run)?);
        cold.push(began.elapsed().as_secs_f64() * 1e3);
        for _ in 0..repeated {
            let began = Instant::now();
            look(wanted, run)?;
            warm.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    let most = cold.iter().copied().fold(0.0, f64::max);
    Ok((Times { cold: median(&cold), most, warm: median(&warm) }, answers))
}

fn look(wanted: &Wanted, run: &Run<'_>) -> Result<Vec<u64>, BenchError> {
    let found = run(&mut |tx| {
        let found = match wanted {
            Wanted::Query(query) => records::query(tx, query)?.map_or_else(Vec::new, |answer| answer.found),
            Wanted::Record(id) => records::get(tx, id)?.into_iter().collect(),
        };
        Ok(found.iter().map(|found| found.index).collect())
    });
    found.map_err(BenchError::during("a query"))
}

/// Makes the system forget what it has read of the log and the index.
fn forget(dir: &Path) -> Result<(), BenchError> {
    for name in [LOG, INDEX] {
        let file = File::open(dir.join(name)).map_err(BenchError::during("opening a file"))?;
        fsync(&file).map_err(BenchError::during("writing a file"))?;
        fadvise(&file, 0, None, Advice::DontNeed).map_err(BenchError::during("forgetting a file"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{PIECE, measure};

    #[test]
    fn the_index_and_every_record_give_the_same_answers_and_each_sort_of_query_has_figures() {
        let root = tempfile::tempdir().unwrap();
        let figures = measure(2, root.path()).unwrap();
        assert_eq!(figures.records, 2 * PIECE);
        assert!(figures.index_bytes > 50.0 && figures.index_bytes < figures.log_bytes, "{}", figures.table());
        assert_eq!(figures.json()["query_ms"].as_object().unwrap().len(), 8);
        assert!(
            figures.queries.iter().all(|(_, with, without)| with.cold > 0.0 && without.warm > 0.0),
            "{}",
            figures.table()
        );
    }
}
