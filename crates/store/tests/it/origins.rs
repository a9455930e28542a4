//! Several logs in one database: the place of a record is an origin and an index.

mod version_3;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::{self, JoinHandle};

use mandate_audit::offline::{Known, verify_bundle};
use mandate_audit::query::Before;
use mandate_audit::{CheckpointSigner, Query, Record, Tampered};
use mandate_core::Timestamp;
use mandate_sequencer::LogStartError;
use mandate_store::keys::{self, KeyState, StoredKey};
use mandate_store::records::{self, LogError, RecordPage};
use mandate_store::{Inspection, Log, Store};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::database;
use tempfile::TempDir;

use crate::world::{open, record};

const ONE: &str = "log.example/1";
const TWO: &str = "log.example/2";

/// Stores the key and the first checkpoint of a log, as the authority does.
pub(crate) fn add(store: &Store, origin: &str) -> CheckpointSigner {
    let (signer, private) = CheckpointSigner::generate(origin, &SeededEntropy::new(42)).unwrap();
    let row = StoredKey {
        purpose: keys::CHECKPOINT.to_owned(),
        kid: origin.to_owned(),
        state: KeyState::Active,
        created: Timestamp::from_secs(1),
        until: None,
        public: signer.verifier().vkey().as_bytes().to_vec(),
        private,
    };
    let note = signer.first_checkpoint().unwrap();
    store
        .transact_blocking("add a log", |tx| {
            keys::put(tx, &row)?;
            records::add_log(tx, origin, &note)
        })
        .unwrap();
    signer
}

/// One log of a store, being written.
pub(crate) struct Writer {
    pub(crate) log: Log,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn of(store: &Store, signer: &CheckpointSigner) -> Self {
        let (log, thread) =
            Log::start(store.audit_backend(signer.origin()).unwrap(), signer.clone()).unwrap();
        Self { log, thread }
    }

    pub(crate) fn append(&self, record: Record) -> u64 {
        self.log.append_blocking(record, Vec::new()).unwrap().index()
    }

    pub(crate) fn end(self) {
        drop(self.log);
        self.thread.join().unwrap();
    }
}

/// A stopped store with two logs: of the records 0 to 17, the first log has the even ones, the second the odd
/// ones.
fn two_logs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writers = [ONE, TWO].map(|origin| Writer::of(&store, &add(&store, origin)));
    for n in 0..18 {
        writers[n % 2].append(record(n as u64));
    }
    writers.into_iter().for_each(Writer::end);
    drop(store);
    dir
}

fn signer(origin: &str) -> CheckpointSigner {
    CheckpointSigner::generate(origin, &SeededEntropy::new(42)).unwrap().0
}

fn edit(dir: &Path, sql: &str) {
    database::edit(dir, sql, sql);
}

fn sizes(store: &Store, own: &str) -> Result<Vec<(String, u64)>, LogError> {
    let verified = records::verify_blocking(store, signer(own).verifier(), &[], |_, _| {})?;
    Ok(verified.into_iter().map(|log| (log.summary.origin, log.summary.size)).collect())
}

fn ask(store: &Store, query: &Query) -> Option<RecordPage> {
    store.search_blocking("query", |tx| records::query(tx, query)).unwrap()
}

/// Origin and index of every record that matches, in pages of `limit`. `between` runs before every page but
/// the first.
fn paged(store: &Store, limit: u32, query: &Query, mut between: impl FnMut()) -> Vec<(String, u64)> {
    let mut query = Query { limit: Some(limit), ..query.clone() };
    let mut all = Vec::new();
    loop {
        let RecordPage { found, next } = ask(store, &query).unwrap();
        assert!(found.len() <= limit as usize);
        all.extend(found.iter().map(|found| (found.origin.to_string(), found.index)));
        let Some(next) = next else { return all };
        // As it goes over the wire.
        query.before = Some(next.to_string().parse().unwrap());
        between();
    }
}

#[test]
fn two_logs_are_written_at_the_same_time_and_both_verify() {
    const EACH: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writers = [ONE, TWO].map(|origin| Writer::of(&store, &add(&store, origin)));
    thread::scope(|scope| {
        for (n, writer) in (0..).zip(&writers) {
            for thread in 0..2 {
                scope.spawn(move || {
                    for k in 0..EACH / 2 {
                        writer.append(record(1000 * n + 100 * thread + k));
                    }
                });
            }
        }
    });
    let last = [&writers[0], &writers[1]].map(|writer| writer.append(record(5000)));
    assert_eq!(last, [EACH, EACH]);
    let both = |first: &str, second: &str| vec![(first.to_owned(), EACH + 1), (second.to_owned(), EACH + 1)];
    assert_eq!(sizes(&store, ONE).unwrap(), both(ONE, TWO));
    assert_eq!(sizes(&store, TWO).unwrap(), both(TWO, ONE), "the server's own comes first");
    writers.into_iter().for_each(Writer::end);
    drop(store);
    let store = open(dir.path());
    let writer = Writer::of(&store, &signer(TWO));
    assert_eq!(writer.append(record(5001)), EACH + 1);
    writer.end();
    let of = |origin| store.read_blocking("size", |tx| records::size(tx, origin)).unwrap();
    assert_eq!((of(ONE), of(TWO), of("log.example/3")), (EACH + 1, EACH + 2, 0));
}

#[test]
fn the_clock_starts_after_the_newest_record_of_whichever_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let newest = || store.read_blocking("newest", records::newest).unwrap();
    assert_eq!(newest(), Timestamp::from_millis(0));
    let writers = [ONE, TWO].map(|origin| Writer::of(&store, &add(&store, origin)));
    for (log, n, latest) in [(0, 5, 5), (1, 90, 90), (0, 7, 90), (0, 100, 100), (1, 91, 100)] {
        writers[log].append(record(n));
        assert_eq!(newest(), record(latest).time, "{log} {n}");
    }
}

#[test]
fn a_query_finds_the_records_of_all_logs_by_time() {
    let dir = two_logs();
    let store = open(dir.path());
    let origin_of = |n: u64| if n.is_multiple_of(2) { ONE } else { TWO };
    let expected: Vec<(String, u64)> = (0..18).rev().map(|n| (origin_of(n).to_owned(), n / 2)).collect();
    for limit in 1..20 {
        assert_eq!(paged(&store, limit, &Query::default(), || {}), expected, "{limit}");
    }
    let answer = ask(&store, &Query { person: Some("person1".into()), ..Query::default() }).unwrap();
    assert_eq!(
        answer.found.iter().map(|found| found.record.id.as_str()).collect::<Vec<_>>(),
        ["r17", "r13", "r9", "r5", "r1"]
    );
    assert_eq!(answer.next, None, "there are no more");
    for n in 0..18 {
        let id = record(n).id;
        let found = store.search_blocking("get", |tx| records::get(tx, &id)).unwrap().unwrap();
        assert_eq!((&*found.origin, found.index, found.record), (origin_of(n), n / 2, record(n)));
        // Whichever of the two servers is asked.
        for own in [ONE, TWO] {
            let own = signer(own);
            let proof = store
                .search_blocking("proof", |tx| Ok(records::proof(tx, &id, own.verifier()).unwrap()))
                .unwrap()
                .unwrap();
            assert_eq!(proof.verify(signer(origin_of(n)).verifier()).unwrap(), record(n));
        }
    }
}

#[test]
fn in_each_log_the_order_is_that_of_the_log_whatever_the_times_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (origin, times) in [(ONE, [5, 1, 9].as_slice()), (TWO, &[4, 6])] {
        let writer = Writer::of(&store, &add(&store, origin));
        for n in times {
            writer.append(record(*n));
        }
        writer.end();
    }
    let expected =
        [(ONE, 2), (TWO, 1), (TWO, 0), (ONE, 1), (ONE, 0)].map(|(origin, index)| (origin.to_owned(), index));
    for limit in 1..7 {
        assert_eq!(paged(&store, limit, &Query::default(), || {}), expected, "{limit}");
    }
}

#[test]
fn what_is_written_while_pages_are_turned_is_on_none_of_them() {
    for limit in 1..8 {
        let dir = two_logs();
        let store = open(dir.path());
        let expected = paged(&store, 100, &Query::default(), || {});
        let writers = [ONE, TWO].map(|origin| Writer::of(&store, &signer(origin)));
        let mut n = 100;
        let turned = paged(&store, limit, &Query::default(), || {
            n += 1;
            for writer in &writers {
                writer.append(record(n));
            }
            // A third log that is added meanwhile.
            if n == 102 {
                let third = Writer::of(&store, &add(&store, "log.example/3"));
                third.append(record(n));
                third.end();
            }
        });
        assert_eq!(turned, expected, "{limit}");
    }
}

#[test]
fn a_place_that_is_none_in_these_logs_is_refused() {
    let dir = two_logs();
    let store = open(dir.path());
    let at = |before: &str| ask(&store, &Query { before: Some(before.parse().unwrap()), ..Query::default() });
    assert_eq!(at("3"), None, "the index of which log?");
    assert_eq!(at("1:3,7:3"), None, "there is no log 7");
    let places = |before: &str| {
        at(before)
            .unwrap()
            .found
            .into_iter()
            .map(|found| (found.origin.to_string(), found.index))
            .collect::<Vec<_>>()
    };
    assert_eq!(places("1:1,2:0"), [(ONE.to_owned(), 0)]);
    assert_eq!(places("2:1"), [(TWO.to_owned(), 0)]);
}

#[test]
fn with_one_log_there_are_no_places_but_its_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let query = Query { limit: Some(2), ..Query::default() };
    assert_eq!(
        ask(&store, &query),
        Some(RecordPage { found: Vec::new(), next: None }),
        "there is no log yet"
    );
    let writer = Writer::of(&store, &add(&store, ONE));
    (0..5).for_each(|n| {
        writer.append(record(n));
    });
    let answer = ask(&store, &query).unwrap();
    assert_eq!(answer.found.iter().map(|found| found.index).collect::<Vec<_>>(), [4, 3]);
    assert_eq!(answer.next, None);
    let before = Some(Before::Index(3));
    let answer = ask(&store, &Query { before, ..query }).unwrap();
    assert_eq!(answer.found.iter().map(|found| found.index).collect::<Vec<_>>(), [2, 1]);
}

/// The file of the database, without a server. There is none with PostgreSQL.
fn inspect(dir: &Path) -> Option<Inspection> {
    (!database::is_postgres()).then(|| Inspection::of_directory(dir).unwrap())
}

/// What verification finds in two logs after `sql`, in a server and beside it.
fn tampered(sql: &str) -> LogError {
    let dir = two_logs();
    edit(dir.path(), sql);
    let beside = inspect(dir.path()).map(|inspection| inspection.verify_logs(|_, _| {}).unwrap_err());
    let store = open(dir.path());
    let inside = sizes(&store, ONE).unwrap_err();
    if let Some(beside) = beside {
        assert_eq!(beside.to_string(), inside.to_string(), "{sql}");
    }
    inside
}

fn tampered_log(sql: &str) -> (String, Tampered) {
    match tampered(sql) {
        LogError::TamperedLog { origin, source } => (origin, source),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn what_was_done_to_the_second_log_is_found_and_named() {
    let leaf = if database::is_postgres() {
        "UPDATE records SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'person3', 'person0'), 'UTF8') WHERE log = 2 AND idx = 3"
    } else {
        "UPDATE records SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person3', 'person0') AS BLOB) WHERE log = 2 AND idx = 3"
    };
    let (origin, found) = tampered_log(leaf);
    assert!(origin == TWO && matches!(found, Tampered::Changed { index: 3 }), "{origin} {found}");
    let (origin, found) = tampered_log("DELETE FROM records WHERE log = 2 AND idx > 5");
    assert!(
        origin == TWO && matches!(found, Tampered::Truncated { signed: 9, found: 6 }),
        "{origin} {found}"
    );
    let (origin, found) = tampered_log("UPDATE logs SET note = NULL WHERE log = 2");
    assert!(origin == TWO && matches!(found, Tampered::NoCheckpoint { size: 9 }), "{origin} {found}");
    let (origin, found) =
        tampered_log("UPDATE logs SET note = (SELECT note FROM logs WHERE log = 1) WHERE log = 2");
    assert!(origin == TWO && matches!(found, Tampered::Checkpoint(_)), "{origin} {found}");
    for removed in [
        "DELETE FROM logs WHERE log = 2",
        "DELETE FROM logs WHERE log = 2; DELETE FROM records WHERE log = 2",
    ] {
        let (origin, found) = tampered_log(removed);
        assert!(
            origin == TWO && matches!(found, Tampered::NoCheckpoint { size: 0 }),
            "its key is still there: {origin} {found}"
        );
    }
    let error = tampered("DELETE FROM keys WHERE kid = 'log.example/2'");
    assert!(
        matches!(&error, LogError::NoKey { origin } if origin == TWO) && error.to_string().contains(TWO),
        "{error}"
    );
    let error = tampered("DELETE FROM keys WHERE kid = 'log.example/2'; DELETE FROM logs WHERE log = 2");
    assert!(matches!(error, LogError::NotListed { log: 2 }), "{error}");
    let error = tampered("UPDATE logs SET origin = 'log.example/x' WHERE log = 2");
    assert!(matches!(&error, LogError::TamperedLog { origin, .. } if origin == TWO), "{error}");
}

#[test]
fn a_record_in_the_log_of_another_is_found() {
    let moved = tampered_log("UPDATE records SET log = 2, idx = 9 WHERE log = 1 AND idx = 8");
    assert!(moved.0 == ONE && matches!(moved.1, Tampered::Truncated { signed: 9, found: 8 }), "{moved:?}");
    let copied =
        tampered_log("INSERT INTO records SELECT 2, 9, hashes, leaf FROM records WHERE log = 1 AND idx = 8");
    assert!(
        copied.0 == TWO
            && matches!(copied.1, Tampered::Tree { index: 9 } | Tampered::Unsigned { index: 9, signed: 9 }),
        "{copied:?}"
    );
    let swapped = "UPDATE records SET log = 3 WHERE log = 1 AND idx = 4;
        UPDATE records SET log = 1 WHERE log = 2 AND idx = 4;
        UPDATE records SET log = 2 WHERE log = 3";
    let swapped = tampered_log(swapped);
    assert!(
        swapped.0 == ONE && matches!(swapped.1, Tampered::Tree { index: 5 }),
        "the first that has a hash over it: {swapped:?}"
    );
    let logs_swapped = "UPDATE records SET log = 3 WHERE log = 1; UPDATE records SET log = 1 WHERE log = 2;
        UPDATE records SET log = 2 WHERE log = 3";
    let (_, found) = tampered_log(logs_swapped);
    assert!(matches!(found, Tampered::Root { size: 9, .. }), "{found}");
}

#[test]
fn each_log_is_held_against_the_earlier_checkpoints_of_its_origin() {
    let dir = two_logs();
    let store = open(dir.path());
    let kept = [ONE, TWO].map(|origin| {
        let note = store.read_blocking("checkpoint", |tx| records::checkpoint(tx, origin)).unwrap().unwrap();
        signer(origin).verifier().open(&note).unwrap()
    });
    let own = signer(ONE);
    let verify = |store: &Store| records::verify_blocking(store, own.verifier(), &kept, |_, _| {});
    let writer = Writer::of(&store, &signer(TWO));
    writer.append(record(99));
    writer.end();
    assert_eq!(verify(&store).unwrap().len(), 2);
    drop(store);
    // The second log as a shorter one that its key signed: whole in itself.
    let emptied = signer(TWO).first_checkpoint().unwrap();
    edit(dir.path(), &format!("UPDATE logs SET note = {} WHERE log = 2", database::literal(&emptied)));
    edit(dir.path(), "DELETE FROM records WHERE log = 2");
    let store = open(dir.path());
    assert_eq!(sizes(&store, ONE).unwrap(), [(ONE.to_owned(), 9), (TWO.to_owned(), 0)]);
    match verify(&store) {
        Err(LogError::TamperedLog { origin, source: Tampered::History { size: 9 } }) => {
            assert_eq!(origin, TWO);
        }
        other => panic!("{other:?}"),
    }
    drop(store);
    // And as one that was never there.
    edit(dir.path(), "DELETE FROM logs WHERE log = 2; DELETE FROM keys WHERE kid = 'log.example/2'");
    let store = open(dir.path());
    assert_eq!(sizes(&store, ONE).unwrap(), [(ONE.to_owned(), 9)]);
    assert!(matches!(verify(&store), Err(LogError::TamperedLog { origin, .. }) if origin == TWO));
}

#[test]
fn no_log_is_added_beside_one_whose_key_is_lost() {
    for lost in [
        "DELETE FROM keys WHERE kid = 'log.example/2'",
        "DELETE FROM keys WHERE kid = 'log.example/2'; DELETE FROM logs WHERE log = 2",
    ] {
        let dir = two_logs();
        edit(dir.path(), lost);
        let store = open(dir.path());
        let third = add(&store, "log.example/3");
        let refused = Log::start(store.audit_backend(third.origin()).unwrap(), third);
        assert!(
            matches!(refused, Err(LogStartError::Tampered(Tampered::NoCheckpoint { size: 0 }))),
            "{lost}"
        );
    }
}

#[test]
fn a_sequencer_writes_to_no_log_but_its_own() {
    let dir = two_logs();
    let store = open(dir.path());
    let other = Log::start(store.audit_backend(TWO).unwrap(), signer(ONE));
    assert!(matches!(other, Err(LogStartError::Tampered(Tampered::Checkpoint(_)))));
    let missing = Log::start(store.audit_backend("log.example/3").unwrap(), signer("log.example/3"));
    assert!(matches!(missing, Err(LogStartError::Tampered(Tampered::NoCheckpoint { size: 0 }))));
}

#[test]
fn an_origin_may_have_any_characters_that_a_key_may_have() {
    let names = [
        "'",
        "\"",
        "a');DROP/**/TABLE/**/logs;--",
        "%_*?",
        "\\n",
        "Ä",
        "ä",
        "a\u{308}",
        "日本/audit",
        "🙂",
        "a:b,c",
        "A",
        "a",
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (n, origin) in (0..).zip(names) {
        let writer = Writer::of(&store, &add(&store, origin));
        (0..=n).for_each(|k| {
            writer.append(record(100 * n + k));
        });
        writer.end();
    }
    let expected: BTreeMap<String, u64> =
        (1..).zip(names).map(|(size, origin)| (origin.to_owned(), size)).collect();
    assert_eq!(expected.len(), names.len());
    for origin in names {
        let verified = sizes(&store, origin).unwrap();
        assert_eq!(verified[0].0, origin);
        assert_eq!(verified.into_iter().collect::<BTreeMap<_, _>>(), expected);
        let signer = signer(origin);
        let bundle = records::export_blocking(&store, signer.verifier(), Vec::new(), |_, _| {}).unwrap();
        let known = Known { vkey: Some(signer.verifier().vkey()), since: None };
        assert_eq!(verify_bundle(bundle.as_slice(), known, |_, _| {}).unwrap().size, expected[origin]);
    }
    assert_eq!(paged(&store, 4, &Query::default(), || {}).len() as u64, expected.values().sum::<u64>());
}
