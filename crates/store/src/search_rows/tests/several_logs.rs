use mandate_audit::{CheckpointSigner, Query, Record, Tampered};
use mandate_testkit::clock::SeededEntropy;
use proptest::prelude::*;

use super::{
    any_query, any_record, append, append_to, edit, eventually, ids, indexed, indexed_of, log_of, numbered,
    open, settle, settle_log, signer,
};
use crate::Store;
use crate::records::{self, FoundRecord, LogError};
use crate::search_rows::names::Part;

/// Appends records to the log of a signer, and waits until all whole chunks of it are in the index.
fn fill(store: &Store, signer: &CheckpointSigner, records: &[Record]) {
    let size = append_to(store, signer, records);
    settle_log(store, signer.origin(), size);
}

fn second() -> CheckpointSigner {
    CheckpointSigner::generate("second", &SeededEntropy::new(2)).unwrap().0
}

/// The records of several logs in the order of a query: those of each log as they are there, otherwise by
/// time.
fn merged(mut logs: Vec<Vec<FoundRecord>>) -> Vec<FoundRecord> {
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
            fill(&store, signer, log);
        }
        for query in queries {
            let matching = |(log, signer): (&Vec<Record>, &CheckpointSigner)| -> Vec<FoundRecord> {
                let found = log.iter().enumerate().rev().filter(|(_, record)| query.matches(record));
                let with_place = |(index, record): (usize, &Record)| FoundRecord {
                    origin: signer.origin().into(),
                    index: index as u64,
                    record: record.clone(),
                };
                found.map(with_place).collect()
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
fn an_index_that_hides_a_record_of_the_second_log_is_named_and_built_again_and_the_first_log_is_not_named() {
    let dir = log_of(40);
    let store = open(dir.path());
    fill(&store, &second(), &(100..140).map(numbered).collect::<Vec<_>>());
    assert_eq!(records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}).unwrap().len(), 2);
    edit(dir.path(), &format!("DELETE FROM search.names WHERE name = {}", Part::ID.digest("r103")));
    match records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}) {
        Err(LogError::TamperedLog { origin, source: Tampered::Index { index: 3, column: "id" } }) => {
            assert_eq!(origin, "second");
        }
        other => panic!("{other:?}"),
    }
    eventually(|| {
        records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}).is_ok()
            && indexed_of(&store, "second") == 32
    });
    assert_eq!(indexed(&store), 32);
}

#[test]
fn an_index_that_knows_a_log_which_is_not_there_is_built_again() {
    let dir = log_of(40);
    edit(dir.path(), "INSERT INTO search.chunks SELECT 2, chunk, earliest, latest, last FROM search.chunks");
    let store = open(dir.path());
    settle(&store, 40);
    fill(&store, &second(), &(100..140).map(numbered).collect::<Vec<_>>());
    let found = ids(&store, &Query { person: Some("person1".into()), limit: Some(3), ..Query::default() });
    assert_eq!(found, ["r137", "r133", "r129"]);
    assert_eq!(records::verify_blocking(&store, signer().verifier(), &[], |_, _| {}).unwrap().len(), 2);
}

#[test]
fn every_log_is_followed_whichever_grows() {
    let dir = log_of(40);
    let store = open(dir.path());
    fill(&store, &second(), &(100..110).map(numbered).collect::<Vec<_>>());
    assert_eq!((indexed(&store), indexed_of(&store, "second")), (32, 0));
    // Six more make a chunk of the second log, and eight of the first.
    fill(&store, &second(), &(110..116).map(numbered).collect::<Vec<_>>());
    assert_eq!((indexed(&store), indexed_of(&store, "second")), (32, 16));
    settle(&store, append(&store, &(40..48).map(numbered).collect::<Vec<_>>()));
    assert_eq!((indexed(&store), indexed_of(&store, "second")), (48, 16));
}
