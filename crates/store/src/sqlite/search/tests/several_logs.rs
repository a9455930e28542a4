use mandate_audit::{CheckpointSigner, Query, Record, Tampered};
use mandate_testkit::clock::SeededEntropy;
use proptest::prelude::*;
use rusqlite::Connection;

use super::{any_query, any_record, fill_log, ids, log_of, numbered, open, settle, signer};
use crate::log_number::LogNumber;
use crate::records::{self, Found, LogError};

/// The records of several logs in the order of a query: those of each log as they are there, otherwise by time.
fn merged(mut logs: Vec<Vec<Found>>) -> Vec<Found> {
    let mut all = Vec::new();
    loop {
        let newest = logs.iter_mut().filter(|log| !log.is_empty()).max_by_key(|log| log[0].record.time);
        let Some(log) = newest else { return all };
        all.push(log.remove(0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_several_logs_are_what_a_filter_over_all_records_finds(
        mut all in prop::collection::vec(prop::collection::vec(any_record(), 0..50), 2..4),
        queries in prop::collection::vec(any_query(), 30),
        page in 1u32..9,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let signers: Vec<_> = (0..all.len()).map(|n| CheckpointSigner::generate(&format!("log/{n}"), &SeededEntropy::new(2)).unwrap().0).collect();
        for (n, (log, signer)) in (0..).zip(all.iter_mut().zip(&signers)) {
            (0..).zip(log.iter_mut()).for_each(|(k, record): (u64, &mut Record)| record.id = format!("r{n}.{k}").parse().unwrap());
            fill_log(&store, LogNumber(n + 1), signer, log);
        }
        for query in queries {
            let matching = |(log, signer): (&Vec<Record>, &CheckpointSigner)| -> Vec<Found> {
                let found = log.iter().enumerate().rev().filter(|(_, record)| query.matches(record));
                found.map(|(index, record)| Found { origin: signer.origin().into(), index: index as u64, record: record.clone() }).collect()
            };
            let expected = merged(all.iter().zip(&signers).map(matching).collect());
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let query = Query { limit: Some(page), before: before.take(), ..query.clone() };
                let answer = store.search_blocking("query", |tx| records::query(tx, &query)).unwrap().unwrap();
                found.extend(answer.found);
                let Some(next) = answer.next else { break };
                before = Some(next);
            }
            prop_assert_eq!(&found, &expected, "{:?}", query);
            let whole = Query { limit: None, before: None, ..query };
            let answer = store.search_blocking("query", |tx| records::query(tx, &whole)).unwrap().unwrap();
            prop_assert_eq!(answer.found, expected);
        }
        let verified = records::verify_blocking(&store, signers[1].verifier(), &[], |_, _| {}).unwrap();
        prop_assert_eq!(verified.len(), all.len());
    }
}

#[test]
fn an_index_that_hides_a_record_of_the_second_log_is_named_and_the_first_log_is_not() {
    let dir = log_of(40);
    let store = open(dir.path());
    let second = CheckpointSigner::generate("second", &SeededEntropy::new(2)).unwrap().0;
    fill_log(&store, LogNumber(2), &second, &(100..140).map(numbered).collect::<Vec<_>>());
    assert_eq!(records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}).unwrap().len(), 2);
    Connection::open(dir.path().join("search.db")).unwrap().execute("DELETE FROM postings WHERE name = 'nr103'", []).unwrap();
    match records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}) {
        Err(LogError::TamperedLog { origin, source: Tampered::Index { index: 3, column: "id" } }) => assert_eq!(origin, "second"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_that_knows_a_log_which_is_not_there_is_built_anew() {
    let dir = log_of(40);
    let sql = "INSERT INTO state SELECT 2, upto, last FROM state; INSERT INTO chunks SELECT 2, first, earliest, latest FROM chunks";
    Connection::open(dir.path().join("search.db")).unwrap().execute_batch(sql).unwrap();
    let store = open(dir.path());
    settle(&store, 40);
    let second = CheckpointSigner::generate("second", &SeededEntropy::new(2)).unwrap().0;
    fill_log(&store, LogNumber(2), &second, &(100..140).map(numbered).collect::<Vec<_>>());
    let found = ids(&store, &Query { person: Some("person1".into()), limit: Some(3), ..Query::default() });
    assert_eq!(found, ["r137", "r133", "r129"]);
    assert_eq!(records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}).unwrap().len(), 2);
}
