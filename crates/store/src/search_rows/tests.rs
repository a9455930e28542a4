use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mandate_audit::offline::{Known, verify_bundle};
use mandate_audit::query::Before;
use mandate_audit::tree::{Frontier, leaf_hash};
use mandate_audit::{CheckpointSigner, Outcome, Query, Record, RecordKind, Tampered, Touched};
use mandate_core::{
    Actor, ActorChain, GrantId, Issuer, KnownTerms, Lineage, RecordId, Secret, Subject, Timestamp, TokenId,
};
use mandate_sequencer::{Backend, Leaf};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::database::{self, literal};
use proptest::prelude::*;
use tempfile::TempDir;

use super::names::Part;
use super::{CHUNK, take_chunk};
use crate::error::StoreError;
use crate::keys::{self, StoredKey};
use crate::records::{self, FoundRecord, LogError};
use crate::{Store, sqlite};

mod several_logs;

// Few values, so that filters hit; they differ by case and by accents that collations would fold.
const NAMES: [&str; 5] = ["riley", "Riley", "rîley", "riley ", "\"\\\n\u{7f}/"];
const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];
const RESOURCES: [&str; 3] = ["https://crm.example", "https://crm.example/", "https://crm.example/A"];
const KINDS: [RecordKind; 8] = [
    RecordKind::Exchange,
    RecordKind::Authorize,
    RecordKind::Token,
    RecordKind::Identity,
    RecordKind::Revoke,
    RecordKind::Registry,
    RecordKind::Node,
    RecordKind::Admin,
];

fn issuer() -> impl Strategy<Value = Issuer> {
    prop::sample::select(ISSUERS.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

/// Four ids: two of another form, and two of ours that were made at some time, which a record may have or
/// not.
fn jti(n: u8) -> TokenId {
    match n {
        1 | 2 => {
            TokenId::generate(Timestamp::from_millis(u64::from(n) * 6), &SeededEntropy::new(u64::from(n)))
        }
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
            people: people.into_iter().map(|(iss, sub)| Subject { iss, sub }).collect(),
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
            sub: person.map(|(iss, sub)| Subject { iss, sub }),
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

pub(crate) const ORIGIN: &str = "log.example";

pub(crate) fn signer() -> CheckpointSigner {
    CheckpointSigner::generate(ORIGIN, &SeededEntropy::new(2)).unwrap().0
}

/// Opens a directory that no process uses any longer. Other tests start processes, which hold what this one
/// has open until they execute their own programs.
pub(crate) fn open(dir: &Path) -> Store {
    let begun = Instant::now();
    loop {
        let entropy = Arc::new(SeededEntropy::new(1));
        let opened = if database::is_postgres() {
            let address = database::cluster().url(&database::database_of(dir));
            Store::connect_blocking(dir, &address.parse().unwrap(), entropy)
        } else {
            Store::open_blocking(dir, entropy)
        };
        match opened {
            Err(StoreError::Directory { why, .. })
                if why.contains("another process") && begun.elapsed() < Duration::from_secs(5) =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Changes the index behind the back of the program.
fn edit(dir: &Path, sql: &str) {
    if database::is_postgres() {
        database::cluster().sql(&database::database_of(dir), sql);
    } else {
        sqlite::connection::open_index(&dir.join("search.db")).unwrap().execute_batch(sql).unwrap();
    }
}

/// Waits until something is so.
pub(crate) fn eventually(mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Appends records to the log in one batch, and returns its size.
pub(crate) fn append(store: &Store, records: &[Record]) -> u64 {
    append_to(store, &signer(), records)
}

/// As [`append`], to the log of that signer. It is added if it is not there.
fn append_to(store: &Store, signer: &CheckpointSigner, records: &[Record]) -> u64 {
    let key = StoredKey {
        purpose: keys::CHECKPOINT.to_owned(),
        kid: signer.origin().to_owned(),
        state: keys::KeyState::Active,
        created: Timestamp::from_millis(0),
        until: None,
        public: signer.verifier().vkey().as_bytes().to_vec(),
        private: Secret::new("unused"),
    };
    let first = signer.first_checkpoint().unwrap();
    store
        .transact_blocking("first checkpoint", |tx| {
            keys::put(tx, &key)?;
            records::add_log(tx, signer.origin(), &first)
        })
        .unwrap();
    let mut backend = store.audit_backend(signer.origin()).unwrap();
    let loaded = backend.load().unwrap();
    let mut tree = Frontier::from_hashes(loaded.size, &loaded.frontier).unwrap();
    backend.begin().unwrap();
    for (index, record) in (loaded.size..).zip(records) {
        let bytes = record.to_leaf().unwrap();
        let hashes = tree.append(leaf_hash(&bytes)).unwrap();
        backend.stage(Leaf { index, record, bytes: &bytes, hashes: &hashes }, &[]).unwrap();
    }
    backend.commit(&signer.sign(tree.size(), tree.root().unwrap()).unwrap()).unwrap();
    tree.size()
}

pub(crate) fn indexed(store: &Store) -> u64 {
    indexed_of(store, ORIGIN)
}

fn indexed_of(store: &Store, origin: &str) -> u64 {
    store.search_blocking("indexed", |tx| records::indexed(tx, origin)).unwrap()
}

/// Waits until the index has all whole chunks of `size` records.
pub(crate) fn settle(store: &Store, size: u64) {
    settle_log(store, ORIGIN, size);
}

/// As [`settle`], for the log with that origin.
fn settle_log(store: &Store, origin: &str, size: u64) {
    eventually(|| indexed_of(store, origin) >= size / CHUNK * CHUNK);
}

pub(crate) fn numbered(n: u64) -> Record {
    let iss: Issuer = "https://a.example".parse().unwrap();
    let actor = Actor { sub: format!("agent{}", n % 3), iss: iss.clone(), sub_profile: None };
    let known = KnownTerms {
        sub: Some(Subject { iss, sub: format!("person{}", n % 4) }),
        act: ActorChain::new(vec![actor]).unwrap(),
        aud: Some("https://crm.example".into()),
        jti: Some(format!("t{n}").parse().unwrap()),
        ..KnownTerms::default()
    };
    let head = Record::new(
        format!("r{n}").parse().unwrap(),
        Timestamp::from_secs(n),
        RecordKind::Exchange,
        Outcome::Permitted,
        "ok",
    );
    Record { about: known.into(), ..head }
}

/// A stopped store with a log of `size` records, all whole chunks of it indexed.
pub(crate) fn log_of(size: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &(0..size).map(numbered).collect::<Vec<_>>());
    settle(&store, size);
    dir
}

pub(crate) fn verify(store: &Store) -> Result<u64, LogError> {
    records::verify_blocking(store, signer().verifier(), &[], |_, _| {})
        .map(|verified| verified[0].summary.size)
}

pub(crate) fn ids(store: &Store, query: &Query) -> Vec<String> {
    let found = store.search_blocking("query", |tx| records::query(tx, query)).unwrap().unwrap().found;
    found.iter().map(|found| found.record.id.as_str().to_owned()).collect()
}

/// The newest four records of a person in a log of 40.
pub(crate) fn of_person1() -> (Query, [&'static str; 4]) {
    (
        Query { person: Some("person1".into()), limit: Some(4), ..Query::default() },
        ["r37", "r33", "r29", "r25"],
    )
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
        append(&store, &all);
        settle(&store, size);
        for query in queries {
            let limit = query.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap());
            let before = match query.before {
                Some(Before::Index(before)) => before,
                _ => size,
            };
            let numbered: Vec<(u64, &Record)> = (0..).zip(&all).collect();
            let naive: Vec<FoundRecord> = numbered
                .into_iter()
                .rev()
                .filter(|(index, record)| *index < before && query.matches(record))
                .take(limit)
                .map(|(index, record)| FoundRecord { origin: ORIGIN.into(), index, record: record.clone() })
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

/// A row that makes the index claim a chunk that it does not have.
fn claims(chunk: u64) -> String {
    format!(
        "INSERT INTO search.chunks (log, chunk, earliest, latest, last) SELECT log, {chunk}, 0, 99999, last FROM search.chunks WHERE chunk = 1"
    )
}

#[test]
fn an_index_that_claims_more_than_it_holds_is_named() {
    for sql in [claims(2), claims(3), claims(999), "DELETE FROM search.names WHERE chunk = 1".to_owned()] {
        let dir = log_of(40);
        let store = open(dir.path());
        edit(dir.path(), &sql);
        let found = verify(&store);
        assert!(matches!(found, Err(LogError::Tampered(Tampered::Index { .. }))), "{sql}: {found:?}");
    }
}

#[test]
fn an_index_of_another_version_or_of_another_log_is_built_again() {
    let version = if database::is_postgres() {
        "UPDATE search.mandate_index SET version = 99"
    } else {
        "PRAGMA search.user_version = 99"
    };
    for spoil in [
        version.to_owned(),
        format!("UPDATE search.chunks SET last = {}", literal(&[0; 32])),
        claims(2),
        claims(999),
        "DROP TABLE search.chunks".to_owned(),
    ] {
        let dir = log_of(40);
        // Only an index that is built again has it.
        edit(dir.path(), &format!("DELETE FROM search.names WHERE idx = 29; {spoil}"));
        let store = open(dir.path());
        settle(&store, 40);
        assert_eq!(indexed(&store), 32, "{spoil}");
        let (query, newest) = of_person1();
        assert_eq!(ids(&store, &query), newest, "{spoil}");
        assert_eq!(verify(&store).unwrap(), 40);
    }
}

#[test]
fn an_index_that_is_damaged_under_a_running_store_costs_no_answer_and_is_built_again() {
    let dir = log_of(40);
    let store = open(dir.path());
    edit(dir.path(), "DROP TABLE search.names");
    let (query, newest) = of_person1();
    assert_eq!(ids(&store, &query), newest);
    eventually(|| verify(&store).is_ok() && indexed(&store) == 32);
    assert_eq!(ids(&store, &query), newest);
    // Verification alone notices it, too.
    edit(dir.path(), "DROP TABLE search.names");
    assert!(matches!(verify(&store), Err(LogError::Store(_))));
    eventually(|| verify(&store).is_ok() && indexed(&store) == 32);
}

#[test]
fn an_index_that_hides_or_invents_a_record_is_named_and_built_again() {
    let is = |part: Part, name: &str| format!("name = {}", part.digest(name));
    let lacks_3 = |part, name| format!("DELETE FROM search.names WHERE idx = 3 AND {}", is(part, name));
    let insert = |chunk: u64, digest: i64, idx: u64| {
        format!("INSERT INTO search.names (log, chunk, name, idx) VALUES (1, {chunk}, {digest}, {idx})")
    };
    for (index, column, change) in [
        (3, "id", lacks_3(Part::ID, "r3")),
        (3, "id", format!("UPDATE search.names SET name = {} WHERE {}", i64::MAX, is(Part::ID, "r3"))),
        (3, "id", format!("UPDATE search.names SET chunk = 1 WHERE {}", is(Part::ID, "r3"))),
        (3, "id", format!("UPDATE search.names SET log = 2 WHERE {}", is(Part::ID, "r3"))),
        (0, "time", "UPDATE search.chunks SET earliest = 1 WHERE chunk = 0".to_owned()),
        (0, "time", "UPDATE search.chunks SET latest = 1 WHERE chunk = 0".to_owned()),
        (3, "kind", lacks_3(Part::KIND, "exchange")),
        (3, "sub", lacks_3(Part::SUBJECT, "person3")),
        (0, "sub", format!("DELETE FROM search.names WHERE chunk = 0 AND {}", is(Part::SUBJECT, "person0"))),
        (3, "sub_iss", lacks_3(Part::SUBJECT_ISSUER, "https://a.example")),
        (3, "aud", lacks_3(Part::AUDIENCE, "https://crm.example")),
        (3, "jti", lacks_3(Part::TOKEN, "t3")),
        (3, "act", lacks_3(Part::ACTOR, "agent0")),
        (3, "name", insert(0, Part::ACTOR.digest("innocent"), 3)),
        (3, "name", insert(0, Part::OUTCOME.digest("refused"), 3)),
        (3, "name", insert(0, Part::SUBJECT.digest("person0"), 3)),
        (16, "name", "DELETE FROM search.chunks WHERE chunk = 1".to_owned()),
        (0, "idx", "DELETE FROM search.chunks WHERE chunk = 0".to_owned()),
        (999, "name", insert(62, 5, 999)),
        (16 * 63, "idx", claims(62)),
    ] {
        let dir = log_of(40);
        let store = open(dir.path());
        edit(dir.path(), &change);
        let innocent = Query { agent: Some("innocent".into()), ..Query::default() };
        assert!(ids(&store, &innocent).is_empty(), "nothing is shown that the record does not say");
        match verify(&store) {
            Err(LogError::Tampered(Tampered::Index { index: at, column: found })) => {
                assert_eq!((at, found), (index, column), "{change}");
            }
            // The last chunk is added again if the thread had not looked for the next one yet.
            Ok(_) if change.ends_with("FROM search.chunks WHERE chunk = 1") => {}
            other => panic!("{change}: {other:?}"),
        }
        eventually(|| verify(&store).is_ok() && indexed(&store) == 32);
    }
}

#[test]
fn an_index_that_points_elsewhere_shows_no_other_record_under_an_id_and_none_twice() {
    let dir = log_of(40);
    let store = open(dir.path());
    let points = |id: &str, idx: u64| {
        format!("UPDATE search.names SET idx = {idx} WHERE name = {};", Part::ID.digest(id))
    };
    let twice = format!(
        "INSERT INTO search.names (log, chunk, name, idx) VALUES (1, 0, {}, 25);",
        Part::SUBJECT.digest("person1")
    );
    edit(dir.path(), &[points("r3", 5), points("r7", 3), twice].concat());
    for (id, shown) in [("r3", None), ("r7", None), ("r5", Some(5)), ("r4", Some(4)), ("r39", Some(39))] {
        let id = id.parse().unwrap();
        let found = store.search_blocking("get", |tx| records::get(tx, &id)).unwrap();
        assert!(found.as_ref().is_none_or(|found| found.record.id == id));
        assert_eq!(found.map(|found| found.index), shown, "{id}");
    }
    let found = ids(&store, &Query { person: Some("person1".into()), ..Query::default() });
    assert_eq!(found, ["r37", "r33", "r29", "r25", "r21", "r17", "r13", "r9", "r5", "r1"]);
}

#[test]
fn an_index_that_is_built_again_during_verification_is_no_false_alarm() {
    let dir = log_of(40);
    let store = open(dir.path());
    for _ in 0..5 {
        let verified = records::verify_blocking(&store, signer().verifier(), &[], |done, _| {
            if done == 8 {
                store.log_reader().unwrap().search_is_wrong();
                // Whatever it is at: being dropped, empty, half of it, whole.
                thread::sleep(Duration::from_millis(3));
            }
        });
        assert_eq!(verified.unwrap()[0].summary.size, 40);
    }
    settle(&store, 40);
    assert_eq!(verify(&store).unwrap(), 40);
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
fn an_index_that_a_newer_record_was_taken_into_meanwhile_is_no_false_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all: Vec<Record> = (0..4 * CHUNK).map(numbered).collect();
    store
        .transact_blocking("first checkpoint", |tx| {
            records::add_log(tx, ORIGIN, &signer().first_checkpoint().unwrap())
        })
        .unwrap();
    let (log, _thread) =
        mandate_sequencer::Log::start(store.audit_backend(ORIGIN).unwrap(), signer()).unwrap();
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
        assert_eq!(
            summary,
            records::verify_blocking(&store, signer.verifier(), &[], |_, _| {}).unwrap()[0].summary
        );
        assert_eq!(summary.size, size);
    }
}

#[test]
fn a_gap_wider_than_a_piece_is_named_by_its_first_record() {
    let dir = log_of(40);
    let gap = "DELETE FROM records WHERE log = 1 AND idx BETWEEN 3 AND 30";
    database::edit(dir.path(), gap, gap);
    let store = open(dir.path());
    assert!(matches!(verify(&store), Err(LogError::Tampered(Tampered::Missing { index: 3, found: 31 }))));
}

#[test]
fn a_chunk_of_which_every_record_is_missing_is_not_taken_again_and_again() {
    let dir = log_of(40);
    let store = open(dir.path());
    let gap = "DELETE FROM records WHERE log = 1 AND idx BETWEEN 16 AND 31";
    database::edit(dir.path(), gap, gap);
    edit(dir.path(), "DELETE FROM search.names WHERE chunk = 1; DELETE FROM search.chunks WHERE chunk = 1");
    // As the thread does, but only once.
    let taken = store.log_reader().unwrap().read(|tx| take_chunk(tx, tx));
    assert!(matches!(taken, Err(StoreError::Corrupt(_))), "{taken:?}");
}
