use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use mandate_audit::offline::{Known, verify_bundle};
use mandate_audit::query::Before;
use mandate_audit::tree::{Frontier, leaf_hash};
use mandate_audit::{Backend, CheckpointSigner, Kind, Leaf, Outcome, Query, Record, Tampered, Touched};
use mandate_core::{Actor, ActorChain, GrantId, Issuer, KnownTerms, Lineage, Person, RecordId, Secret, Timestamp, TokenId};
use mandate_testkit::clock::SeededEntropy;
use proptest::prelude::*;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::{CHUNK, Signal, is_spoiled, upto};
use crate::Store;
use crate::error::StoreError;
use crate::keys::{self, StoredKey};
use crate::log_number::LogNumber;
use crate::records::{self, Found, LogError};

mod several_logs;

// Few values, so that filters hit; they differ by case and by accents that collations would fold.
const NAMES: [&str; 5] = ["riley", "Riley", "rîley", "riley ", "\"\\\n\u{7f}/"];
const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];
const RESOURCES: [&str; 3] = ["https://crm.example", "https://crm.example/", "https://crm.example/A"];
const KINDS: [Kind; 8] =
    [Kind::Exchange, Kind::Authorize, Kind::Token, Kind::Identity, Kind::Revoke, Kind::Registry, Kind::Node, Kind::Admin];

fn issuer() -> impl Strategy<Value = Issuer> {
    prop::sample::select(ISSUERS.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

/// Four ids: two of another form, and two of ours that were made at some time, which a record may have or not.
fn jti(n: u8) -> TokenId {
    match n {
        1 | 2 => TokenId::generate(Timestamp::from_millis(u64::from(n) * 6), &SeededEntropy::new(u64::from(n))),
        n => format!("t{n}").parse().unwrap(),
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![Outcome::Permitted, Outcome::Refused])
}

const CLIENTS: [&str; 2] = ["app", "App"];
const OPERATORS: [&str; 3] = ["uid:0", "uid:00", "olga of https://a.example"];

fn client() -> impl Strategy<Value = String> {
    prop::sample::select(CLIENTS.to_vec()).prop_map(str::to_owned)
}

fn operator() -> impl Strategy<Value = String> {
    prop::sample::select(OPERATORS.to_vec()).prop_map(str::to_owned)
}

fn grant(n: u8) -> GrantId {
    format!("g-{n}").parse().unwrap()
}

prop_compose! {
    /// What an operator's act touched, by the same names as those of the records.
    fn any_touched()(
        agents in prop::collection::vec(name(), 0..3),
        people in prop::collection::vec((issuer(), name()), 0..2),
        resources in prop::collection::vec(prop::sample::select(RESOURCES.to_vec()), 0..2),
        clients in prop::collection::vec(client(), 0..2),
        grants in prop::collection::vec(0u8..3, 0..2),
        tokens in prop::collection::vec(0u8..4, 0..2),
    ) -> Touched {
        Touched {
            agents,
            people: people.into_iter().map(|(iss, sub)| Person { iss, sub }).collect(),
            resources: resources.into_iter().map(str::to_owned).collect(),
            clients,
            grants: grants.into_iter().map(|n| grant(n).to_string()).collect(),
            tokens: tokens.into_iter().map(|n| jti(n).to_string()).collect(),
            cut_off: false,
        }
    }
}

prop_compose! {
    fn any_record()(
        time in 0u64..20,
        kind in prop::sample::select(KINDS.to_vec()),
        outcome in outcome(),
        person in prop::option::of((issuer(), name())),
        actors in prop::collection::vec((name(), issuer()), 0..3),
        aud in prop::option::of(prop::sample::select(RESOURCES.to_vec())),
        jti_of in prop::option::of(0u8..4),
        client in prop::option::of(client()),
        grants in prop::collection::vec(0u8..3, 0..2),
        by in prop::option::weighted(0.3, (operator(), any::<bool>())),
        touched in prop::option::weighted(0.3, any_touched()),
    ) -> Record {
        let actors = actors.into_iter().map(|(sub, iss)| Actor { sub, iss, sub_profile: None }).collect();
        let known = KnownTerms {
            sub: person.map(|(iss, sub)| Person { iss, sub }),
            act: ActorChain::new(actors).unwrap_or_default(),
            aud: aud.map(str::to_owned),
            jti: jti_of.map(jti),
            client: client.map(Arc::from),
            lineage: Lineage { grants: grants.into_iter().map(grant).collect(), ..Lineage::default() },
            ..KnownTerms::default()
        };
        Record {
            about: known.into(),
            by: by.map(|(by, with_token)| if with_token { format!("{by} (token 01)") } else { by }),
            touched: touched.map(Box::new),
            ..Record::new("unnumbered".parse().unwrap(), Timestamp::from_millis(time), kind, outcome, "ok")
        }
    }
}

prop_compose! {
    fn any_query()(
        agent in prop::option::weighted(0.3, name()),
        person in prop::option::weighted(0.3, name()),
        person_issuer in prop::option::weighted(0.2, issuer()),
        resource in prop::option::weighted(0.3, prop::sample::select(RESOURCES.to_vec())),
        jti_of in prop::option::weighted(0.2, 0u8..4),
        since in prop::option::weighted(0.3, 0u64..20),
        until in prop::option::weighted(0.3, 0u64..25),
        outcome in prop::option::weighted(0.3, outcome()),
        kind in prop::option::weighted(0.2, prop::sample::select(KINDS.to_vec())),
        limit in prop::option::weighted(0.3, 0u32..10),
        before in prop::option::weighted(0.3, 0u64..60),
        (client, grant_of, by) in (
            prop::option::weighted(0.2, client()),
            prop::option::weighted(0.2, 0u8..3),
            prop::option::weighted(0.2, operator()),
        ),
    ) -> Query {
        Query {
            agent,
            agent_issuer: None,
            person,
            person_issuer,
            resource: resource.map(str::to_owned),
            jti: jti_of.map(jti),
            client,
            grant: grant_of.map(|n| grant(n).to_string()),
            by,
            since: since.map(Timestamp::from_millis),
            until: until.map(Timestamp::from_millis),
            outcome,
            kind,
            limit,
            before: before.map(Before::Index),
        }
    }
}

const ORIGIN: &str = "log.example";

/// The number of that log.
const LOG: LogNumber = LogNumber(1);

fn signer() -> CheckpointSigner {
    CheckpointSigner::generate(ORIGIN, &SeededEntropy::new(2)).unwrap().0
}

fn open(dir: &Path) -> Store {
    Store::open_blocking(dir, Arc::new(SeededEntropy::new(1))).unwrap()
}

/// Writes a whole log in one batch, and waits until all whole pieces of it are in the index.
fn fill(store: &Store, all: &[Record]) {
    fill_log(store, LOG, &signer(), all);
}

/// As [`fill`], for the log with that number.
fn fill_log(store: &Store, number: LogNumber, signer: &CheckpointSigner, all: &[Record]) {
    let key = StoredKey {
        purpose: keys::CHECKPOINT.to_owned(),
        kid: signer.origin().to_owned(),
        state: keys::KeyState::Active,
        created: Timestamp::from_millis(0),
        until: None,
        public: signer.verifier().vkey().as_bytes().to_vec(),
        private: Secret::new("unused"),
    };
    let first = signer.found().unwrap();
    store
        .transact_blocking("found", |tx| {
            keys::put(tx, &key)?;
            records::found(tx, signer.origin(), &first)
        })
        .unwrap();
    let mut backend = store.audit_backend(signer.origin()).unwrap();
    backend.load().unwrap();
    let mut tree = Frontier::new();
    backend.begin().unwrap();
    for (index, record) in (0..).zip(all) {
        let bytes = record.to_leaf().unwrap();
        let hashes = tree.append(leaf_hash(&bytes)).unwrap();
        backend.stage(Leaf { index, record, bytes: &bytes, hashes: &hashes }, &[]).unwrap();
    }
    backend.commit(&signer.sign(tree.size(), tree.root().unwrap()).unwrap()).unwrap();
    settle_log(store, number, tree.size());
}

fn indexed(store: &Store) -> u64 {
    store.search_blocking("upto", |tx| upto(tx, LOG)).unwrap()
}

/// Waits until the index has all whole chunks of `size` records.
fn settle(store: &Store, size: u64) {
    settle_log(store, LOG, size);
}

/// As [`settle`], for the log with that number.
fn settle_log(store: &Store, number: LogNumber, size: u64) {
    while store.search_blocking("upto", |tx| upto(tx, number)).unwrap() < size / CHUNK * CHUNK {
        thread::yield_now();
    }
}

fn numbered(n: u64) -> Record {
    let iss: Issuer = "https://a.example".parse().unwrap();
    let actor = Actor { sub: format!("agent{}", n % 3), iss: iss.clone(), sub_profile: None };
    let known = KnownTerms {
        sub: Some(Person { iss, sub: format!("person{}", n % 4) }),
        act: ActorChain::new(vec![actor]).unwrap(),
        aud: Some("https://crm.example".into()),
        jti: Some(format!("t{n}").parse().unwrap()),
        ..KnownTerms::default()
    };
    let head = Record::new(format!("r{n}").parse().unwrap(), Timestamp::from_secs(n), Kind::Exchange, Outcome::Permitted, "ok");
    Record { about: known.into(), ..head }
}

/// A stopped store with a log of `size` records, all whole chunks of it indexed.
fn log_of(size: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fill(&open(dir.path()), &(0..size).map(numbered).collect::<Vec<_>>());
    dir
}

fn verify(store: &Store) -> Result<u64, LogError> {
    records::verify_blocking(store, signer().verifier(), &[], |_, _| {}).map(|verified| verified[0].summary.size)
}

fn ids(store: &Store, query: &Query) -> Vec<String> {
    let found = store.search_blocking("query", |tx| records::query(tx, query)).unwrap().unwrap().found;
    found.iter().map(|found| found.record.id.as_str().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn a_query_finds_what_a_filter_over_all_records_finds(
        mut all in prop::collection::vec(any_record(), 0..60),
        queries in prop::collection::vec(any_query(), 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for (n, record) in all.iter_mut().enumerate() {
            let entropy = SeededEntropy::new(n as u64);
            record.id = match n % 3 {
                0 => format!("r{n}").parse().unwrap(),
                1 => RecordId::generate(record.time, &entropy),
                _ => RecordId::generate(Timestamp::from_millis(3), &entropy),
            };
        }
        let size = u64::try_from(all.len()).unwrap();
        fill(&store, &all);
        for query in queries {
            let limit = query.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap());
            let before = match query.before {
                Some(Before::Index(before)) => before,
                _ => size,
            };
            let numbered: Vec<(u64, &Record)> = (0..).zip(&all).collect();
            let naive: Vec<Found> = numbered
                .into_iter()
                .rev()
                .filter(|(index, record)| *index < before && query.matches(record))
                .take(limit)
                .map(|(index, record)| Found { origin: ORIGIN.into(), index, record: record.clone() })
                .collect();
            let found = store.search_blocking("query", |tx| records::query(tx, &query)).unwrap().unwrap().found;
            prop_assert_eq!(found, naive, "{:?}", query);
        }
        for record in &all {
            let found = store.search_blocking("get", |tx| records::get(tx, &record.id)).unwrap();
            let found = found.map(|found| found.record);
            prop_assert_eq!(found.as_ref(), Some(record));
        }
        prop_assert_eq!(verify(&store).unwrap(), size);
    }
}

/// Makes the index claim the whole log, though it holds 32 records of it.
fn claim_all_40(index: &Path) {
    let log = Connection::open(index.with_file_name("mandate.db")).unwrap();
    let last: Vec<u8> = log.query_row("SELECT hashes FROM records WHERE log = 1 AND idx = 39", [], |row| row.get(0)).unwrap();
    Connection::open(index).unwrap().execute("UPDATE state SET upto = 40, last = ?", [last]).unwrap();
}

#[test]
fn an_index_that_claims_more_than_it_holds_is_named() {
    for (upto, extra) in [
        (33, ""),
        (40, ""),
        (47, ""),
        (48, ""),
        (48, "INSERT INTO chunks (log, first, earliest, latest) VALUES (1, 32, 0, 99999)"),
        (16, ""),
    ] {
        let dir = log_of(40);
        let store = open(dir.path());
        let index = Connection::open(dir.path().join("search.db")).unwrap();
        index.execute_batch(extra).unwrap();
        index.execute("UPDATE state SET upto = ?", [upto]).unwrap();
        let found = verify(&store);
        assert!(matches!(found, Err(LogError::Tampered(Tampered::Index { column: "idx", .. }))), "{upto} {extra}: {found:?}");
    }
}

#[test]
fn an_index_that_is_missing_damaged_or_of_another_version_is_built_anew() {
    for spoil in [
        (|path| std::fs::remove_file(path).unwrap()) as fn(&Path),
        |path| std::fs::write(path, "a letter, not a database. ".repeat(400)).unwrap(),
        |path| std::fs::write(path, "").unwrap(),
        |path| Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap(),
        |path| Connection::open(path).unwrap().execute_batch("UPDATE state SET last = zeroblob(32)").unwrap(),
        |path| Connection::open(path).unwrap().execute_batch("UPDATE state SET upto = 9999").unwrap(),
        |path| claim_all_40(path),
    ] {
        let dir = log_of(40);
        spoil(&dir.path().join("search.db"));
        let store = open(dir.path());
        settle(&store, 40);
        assert_eq!(indexed(&store), 32);
        let query = Query { person: Some("person1".into()), limit: Some(4), ..Query::default() };
        assert_eq!(ids(&store, &query), ["r37", "r33", "r29", "r25"]);
        assert_eq!(verify(&store).unwrap(), 40);
    }
}

#[test]
fn an_index_in_a_directory_whose_name_is_not_utf_8_is_used() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(OsStr::from_bytes(b"f\xfcr uns"));
    let store = open(&dir);
    assert!(store.search_blocking("look", |tx| Ok(tx.search().is_some())).unwrap());
}

#[test]
fn an_index_of_another_log_is_built_anew() {
    let (ours, theirs) = (log_of(40), tempfile::tempdir().unwrap());
    fill(&open(theirs.path()), &(100..140).map(numbered).collect::<Vec<_>>());
    std::fs::copy(theirs.path().join("search.db"), ours.path().join("search.db")).unwrap();
    let store = open(ours.path());
    settle(&store, 40);
    assert_eq!(verify(&store).unwrap(), 40);
    assert_eq!(ids(&store, &Query { jti: Some("t3".parse().unwrap()), ..Query::default() }), ["r3"]);
}

/// Changes the places of a name in the first chunk.
fn places_of(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&Connection) {
    move |index| {
        let sql = "SELECT places FROM postings WHERE name = ? AND first = 0";
        let mut places: Vec<u8> = index.query_row(sql, [name], |row| row.get(0)).unwrap();
        change(&mut places);
        index.execute("UPDATE postings SET places = ? WHERE name = ? AND first = 0", params![places, name]).unwrap();
    }
}

fn without_3(places: &mut Vec<u8>) {
    *places = places.chunks(2).filter(|place| **place != [0, 3]).collect::<Vec<_>>().concat();
}

#[test]
fn an_index_that_hides_or_invents_a_record_is_named() {
    type Change = Box<dyn FnOnce(&Connection)>;
    let sql = |sql: &'static str| -> Change { Box::new(move |index| index.execute_batch(sql).unwrap()) };
    let lacks_3 = |name: &'static str| -> Change { Box::new(places_of(name, without_3)) };
    for (index, column, change) in [
        (3, "id", sql("DELETE FROM postings WHERE name = 'nr3'")),
        (3, "id", sql("UPDATE postings SET name = 'nx' WHERE name = 'nr3'")),
        (0, "time", sql("UPDATE chunks SET earliest = 1 WHERE first = 0")),
        (0, "time", sql("UPDATE chunks SET latest = 1 WHERE first = 0")),
        (3, "kind", lacks_3("kexchange")),
        (3, "outcome", sql("INSERT INTO postings (name, log, first, places) VALUES ('orefused', 1, 0, x'0003')")),
        (3, "sub", lacks_3("sperson3")),
        (3, "sub", Box::new(places_of("sperson0", |places| places.splice(2..2, [0, 3]).for_each(drop)))),
        (0, "sub", Box::new(places_of("sperson0", |places| places.truncate(1)))),
        (3, "sub_iss", lacks_3("ihttps://a.example")),
        (3, "aud", lacks_3("rhttps://crm.example")),
        (3, "jti", sql("UPDATE postings SET places = x'' WHERE name = 'jt3'")),
        (3, "act", lacks_3("aagent0")),
        (3, "act", sql("INSERT INTO postings (name, log, first, places) VALUES ('ainnocent', 1, 0, x'0003')")),
        (16, "idx", sql("DELETE FROM chunks WHERE first = 16")),
        (32, "idx", sql("INSERT INTO chunks (log, first, earliest, latest) VALUES (1, 7, 0, 0)")),
        (999, "idx", sql("INSERT INTO postings (name, log, first, places) VALUES ('?', 1, 999, x'0000')")),
        (32, "idx", sql("INSERT INTO chunks (log, first, earliest, latest) VALUES (1, 992, 0, 0)")),
    ] {
        let dir = log_of(40);
        change(&Connection::open(dir.path().join("search.db")).unwrap());
        let store = open(dir.path());
        match verify(&store) {
            Err(LogError::Tampered(Tampered::Index { index: at, column: found })) => assert_eq!((at, found), (index, column)),
            other => panic!("{column}: {other:?}"),
        }
        let innocent = Query { agent: Some("innocent".into()), ..Query::default() };
        assert!(ids(&store, &innocent).is_empty(), "nothing is shown that the record does not say");
    }
}

#[test]
fn pages_follow_one_another_without_a_gap_across_the_end_of_the_index() {
    let dir = log_of(40);
    let store = open(dir.path());
    let mut query = Query { limit: Some(7), ..Query::default() };
    let mut indexes = Vec::new();
    loop {
        let page = store.search_blocking("query", |tx| records::query(tx, &query)).unwrap().unwrap().found;
        let Some(last) = page.last() else { break };
        query.before = Some(Before::Index(last.index));
        indexes.extend(page.iter().map(|found| found.index));
    }
    assert_eq!(indexes, (0..40).rev().collect::<Vec<_>>());
}

#[test]
fn an_index_that_points_elsewhere_shows_no_other_record_under_an_id() {
    let dir = log_of(40);
    let sql = "UPDATE postings SET places = x'0005' WHERE name = 'nr3'; UPDATE postings SET places = x'0003' WHERE name = 'nr7'";
    Connection::open(dir.path().join("search.db")).unwrap().execute_batch(sql).unwrap();
    let store = open(dir.path());
    for (id, shown) in [("r3", None), ("r7", None), ("r5", Some(5)), ("r4", Some(4)), ("r39", Some(39))] {
        let id = id.parse().unwrap();
        let found = store.search_blocking("get", |tx| records::get(tx, &id)).unwrap();
        assert!(found.as_ref().is_none_or(|found| found.record.id == id));
        assert_eq!(found.map(|found| found.index), shown, "{id}");
    }
}

/// As an operator deletes it, following the documentation, while the server runs.
#[test]
fn an_index_that_is_deleted_under_a_running_store_costs_no_read_and_no_answer_and_is_built_anew() {
    let dir = log_of(40);
    let store = open(dir.path());
    std::fs::remove_file(dir.path().join("search.db")).unwrap();
    // More reads at once than connections are kept: some are new.
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(store.read_blocking("size", |tx| records::size(tx, ORIGIN)).unwrap(), 40));
        }
    });
    let query = Query { person: Some("person1".into()), limit: Some(4), ..Query::default() };
    assert_eq!(ids(&store, &query), ["r37", "r33", "r29", "r25"]);
    settle(&store, 40);
    assert_eq!(indexed(&store), 32, "it is there again");
    assert_eq!(ids(&store, &query), ["r37", "r33", "r29", "r25"]);
    assert_eq!(verify(&store).unwrap(), 40);
}

#[test]
fn only_an_index_that_is_spoiled_or_gone_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (there, gone) = (dir.path().join("there"), dir.path().join("gone"));
    std::fs::write(&there, "").unwrap();
    let cause = || Box::new(std::io::Error::other("x"));
    for spoiled in [StoreError::Corrupt("x".to_owned()), StoreError::Foreign, StoreError::Sql(cause())] {
        assert!(is_spoiled(&spoiled, &there), "{spoiled:?}");
    }
    for passing in [StoreError::Busy(cause()), StoreError::Full(cause()), StoreError::Io(cause())] {
        assert!(!is_spoiled(&passing, &there), "{passing:?}");
    }
    assert!(is_spoiled(&StoreError::Io(cause()), &gone));
    assert!(!is_spoiled(&StoreError::Busy(cause()), &gone));
}

#[test]
fn an_index_that_is_being_built_anew_is_not_built_anew_again() {
    let signal = Signal::default();
    signal.rebuild();
    assert!(signal.begin_rebuild());
    signal.rebuild();
    signal.rebuilt();
    assert!(!signal.begin_rebuild(), "it was said of the one that was made meanwhile");
    signal.rebuild();
    assert!(signal.begin_rebuild(), "it is spoiled again");
}

#[test]
fn an_index_that_a_newer_record_was_taken_into_meanwhile_is_no_false_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all: Vec<Record> = (0..4 * CHUNK).map(numbered).collect();
    store.transact_blocking("found", |tx| records::found(tx, ORIGIN, &signer().found().unwrap())).unwrap();
    let (log, _thread) = mandate_audit::Log::start(store.audit_backend(ORIGIN).unwrap(), signer()).unwrap();
    let mut rest = all.into_iter();
    for record in rest.by_ref().take(usize::try_from(CHUNK).unwrap()) {
        log.append_blocking(record, Vec::new()).unwrap();
    }
    settle(&store, CHUNK);
    // The log grows, and its index with it, after verification has begun.
    let verified = records::verify_blocking(&store, signer().verifier(), &[], |_, _| {
        for record in rest.by_ref() {
            log.append_blocking(record, Vec::new()).unwrap();
        }
        settle(&store, 4 * CHUNK);
    });
    assert_eq!(verified.unwrap()[0].summary.size, CHUNK);
    assert_eq!(verify(&store).unwrap(), 4 * CHUNK);
}

#[test]
fn a_log_of_any_number_of_pieces_is_exported_and_verified_whole() {
    for size in [0, 1, 7, 8, 9, 16, 40] {
        let dir = log_of(size);
        let store = open(dir.path());
        let bundle = records::export_blocking(&store, signer().verifier(), Vec::new(), |_, _| {}).unwrap();
        let signer = signer();
        let known = Known { vkey: Some(signer.verifier().vkey()), since: None };
        let summary = verify_bundle(bundle.as_slice(), known, |_, _| {}).unwrap();
        assert_eq!(summary, records::verify_blocking(&store, signer.verifier(), &[], |_, _| {}).unwrap()[0].summary);
        assert_eq!(summary.size, size);
    }
}

#[test]
fn a_gap_wider_than_a_piece_is_named_by_its_first_record() {
    let dir = log_of(40);
    Connection::open(dir.path().join("mandate.db"))
        .unwrap()
        .execute_batch("DELETE FROM records WHERE log = 1 AND idx BETWEEN 3 AND 30")
        .unwrap();
    let store = open(dir.path());
    assert!(matches!(verify(&store), Err(LogError::Tampered(Tampered::Missing { index: 3, found: 31 }))));
}

/// A writer during whose work the write-ahead log is checkpointed.
struct Slow<'a> {
    log: &'a Connection,
    writes: u64,
}

impl std::io::Write for Slow<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let busy: u32 = self.log.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0, "a read transaction is open");
        self.writes += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_export_to_a_slow_reader_does_not_keep_the_write_ahead_log() {
    let dir = log_of(40);
    let store = open(dir.path());
    let log = Connection::open(dir.path().join("mandate.db")).unwrap();
    let slow = records::export_blocking(&store, signer().verifier(), Slow { log: &log, writes: 0 }, |_, _| {}).unwrap();
    assert_eq!(slow.writes, 41);
}
