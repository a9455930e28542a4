//! A process that can write to the file cannot change what was recorded without being noticed.

use std::path::Path;

use mandate_audit::offline::{BundleError, Known, verify_bundle};
use mandate_audit::{CheckpointSigner, Tampered};
use mandate_sequencer::LogStartError;
use mandate_store::records::{self, LogError};
use mandate_store::{Store, StoreError};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::database::{self, literal};
use mandate_testkit::skipped;
use tempfile::TempDir;

use crate::world::{ORIGIN, World, add_log, open, start, try_open, verifier, verify};

fn log_of(size: u64) -> TempDir {
    let world = World::new();
    for n in 0..size {
        world.append(n).unwrap();
    }
    world.stop()
}

fn edit(dir: &Path, sql: &str) {
    database::edit(dir, sql, sql);
}

fn tampered(sql: &str) -> Tampered {
    tampered_in_either(sql, sql)
}

fn tampered_in_either(sqlite: &str, postgres: &str) -> Tampered {
    let dir = log_of(9);
    database::edit(dir.path(), sqlite, postgres);
    match verify(&open(dir.path())) {
        Err(LogError::Tampered(what)) => what,
        other => panic!("{sqlite}: {other:?}"),
    }
}

#[test]
fn an_updated_row_is_named() {
    let sqlite = "UPDATE records SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person3', 'person0') AS BLOB) WHERE idx = 3";
    let postgres = "UPDATE records SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'person3', 'person0'), 'UTF8') WHERE idx = 3";
    assert!(matches!(tampered_in_either(sqlite, postgres), Tampered::Changed { index: 3 }));
}

#[test]
fn a_deleted_row_is_named() {
    assert!(matches!(
        tampered("DELETE FROM records WHERE idx = 3"),
        Tampered::Missing { index: 3, found: 4 }
    ));
    // The gap closed by moving the rest: the hashes above no longer fit.
    let closed = "DELETE FROM records WHERE idx = 3; UPDATE records SET idx = idx - 1 WHERE idx > 3;";
    assert!(matches!(tampered(closed), Tampered::Tree { index: 3 }));
}

#[test]
fn reordered_rows_are_named() {
    let swap = "UPDATE records SET idx = -1 WHERE idx = 3; UPDATE records SET idx = 3 WHERE idx = 4; UPDATE records SET idx = 4 WHERE idx = -1;";
    assert!(matches!(tampered(swap), Tampered::Tree { index: 3 }));
}

#[test]
fn tree_hashes_that_were_changed_are_named() {
    let hashes = |len| format!("UPDATE records SET hashes = {} WHERE idx = 3", literal(&vec![0; len]));
    assert!(matches!(tampered(&hashes(64)), Tampered::Changed { index: 3 }));
    assert!(matches!(tampered(&hashes(7)), Tampered::Tree { index: 3 }));
}

#[test]
fn a_truncated_log_is_noticed_at_start_and_by_verification() {
    let dir = log_of(9);
    edit(dir.path(), "DELETE FROM records WHERE idx > 5");
    let store = open(dir.path());
    assert!(matches!(verify(&store), Err(LogError::Tampered(Tampered::Truncated { signed: 9, found: 6 }))));
    let refused = start(store.audit_backend(ORIGIN).unwrap());
    assert!(matches!(refused, Err(LogStartError::Tampered(Tampered::Truncated { signed: 9, found: 6 }))));
}

#[test]
fn a_swapped_checkpoint_is_noticed_at_start_and_by_verification() {
    let stranger = CheckpointSigner::generate("log.example/1", &SeededEntropy::new(666)).unwrap().0;
    let honest_for_less = crate::world::signer().sign(5, mandate_audit::tree::leaf_hash(b"x")).unwrap();
    let forged = stranger.sign(9, mandate_audit::tree::leaf_hash(b"x")).unwrap();
    let wrong_root = crate::world::signer().sign(9, mandate_audit::tree::leaf_hash(b"x")).unwrap();
    for note in [Some(honest_for_less), Some(forged), Some(wrong_root), Some(b"junk".to_vec()), None] {
        let dir = log_of(9);
        match &note {
            Some(note) => edit(dir.path(), &format!("UPDATE logs SET note = {}", literal(note))),
            None => edit(dir.path(), "UPDATE logs SET note = NULL"),
        }
        let store = open(dir.path());
        assert!(matches!(verify(&store), Err(LogError::Tampered(_))), "{note:?}");
        assert!(
            matches!(start(store.audit_backend(ORIGIN).unwrap()), Err(LogStartError::Tampered(_))),
            "{note:?}"
        );
    }
}

#[test]
fn a_log_that_was_emptied_does_not_pass_for_a_new_one() {
    for size in [0, 9] {
        let dir = log_of(size);
        edit(dir.path(), "DELETE FROM records; DELETE FROM logs;");
        let store = open(dir.path());
        assert!(matches!(verify(&store), Err(LogError::Tampered(Tampered::NoCheckpoint { size: 0 }))));
        assert!(matches!(
            start(store.audit_backend(ORIGIN).unwrap()),
            Err(LogStartError::Tampered(Tampered::NoCheckpoint { size: 0 }))
        ));
        let exported = records::export_blocking(&store, &verifier(), Vec::new(), |_, _| {});
        assert!(
            matches!(exported, Err(LogError::Tampered(Tampered::NoCheckpoint { size: 0 }))),
            "and no bundle of it is made"
        );
    }
}

#[test]
fn what_a_lost_key_signed_is_not_signed_again_by_its_successor() {
    let dir = log_of(3);
    edit(dir.path(), "UPDATE logs SET note = NULL");
    let store = open(dir.path());
    add_log(&store);
    assert!(matches!(
        start(store.audit_backend(ORIGIN).unwrap()),
        Err(LogStartError::Tampered(Tampered::NoCheckpoint { size: 3 }))
    ));
    drop(store);
    let emptied = log_of(3);
    edit(emptied.path(), "DELETE FROM records");
    let store = open(emptied.path());
    add_log(&store);
    let refused = start(store.audit_backend(ORIGIN).unwrap());
    assert!(matches!(refused, Err(LogStartError::Tampered(Tampered::Truncated { signed: 3, found: 0 }))));
}

#[test]
fn a_changed_right_edge_is_noticed_at_start() {
    let dir = log_of(8);
    // The eighth record completes four hashes.
    edit(dir.path(), &format!("UPDATE records SET hashes = {} WHERE idx = 7", literal(&[0; 4 * 32])));
    let refused = start(open(dir.path()).audit_backend(ORIGIN).unwrap());
    assert!(matches!(refused, Err(LogStartError::Tampered(Tampered::Root { size: 8, .. }))));
}

#[test]
fn a_log_that_was_rewritten_and_signed_again_does_not_continue_a_kept_checkpoint() {
    let kept = {
        let dir = log_of(4);
        let store = open(dir.path());
        let note = store.read_blocking("checkpoint", |tx| records::checkpoint(tx, ORIGIN)).unwrap().unwrap();
        verifier().open(&note).unwrap()
    };
    let world = World::new();
    for n in [0, 1, 99, 3, 4] {
        world.append(n).unwrap();
    }
    assert!(world.verify().is_ok(), "in itself it is whole");
    let held = records::verify_blocking(&world.store, &verifier(), &[kept], |_, _| {});
    assert!(matches!(held, Err(LogError::Tampered(Tampered::History { size: 4 }))));
}

fn export(store: &Store) -> Vec<u8> {
    records::export_blocking(store, &verifier(), Vec::new(), |_, _| {}).unwrap()
}

#[test]
fn an_exported_bundle_verifies_without_the_store_and_names_what_was_changed() {
    let world = World::new();
    for n in 0..9 {
        world.append(n).unwrap();
    }
    let bundle = export(&world.store);
    let summary =
        verify_bundle(bundle.as_slice(), Known { vkey: Some(verifier().vkey()), since: None }, |_, _| {})
            .unwrap();
    assert_eq!(summary, world.verify().unwrap());
    let text = String::from_utf8(bundle).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for index in 0..9usize {
        let mut changed: Vec<String> = lines.iter().map(|&l| l.to_owned()).collect();
        changed[index + 1] = changed[index + 1].replace("person", "nobody");
        let refused = verify_bundle((changed.join("\n") + "\n").as_bytes(), Known::default(), |_, _| {});
        match refused {
            Err(BundleError::Tampered(Tampered::Changed { index: found })) => assert_eq!(found, index as u64),
            other => panic!("{index}: {other:?}"),
        }
    }
}

#[test]
fn an_empty_log_exports_and_verifies() {
    let world = World::new();
    assert_eq!(world.verify().unwrap().size, 0);
    let verifier = verifier();
    let known = Known { vkey: Some(verifier.vkey()), since: None };
    assert_eq!(verify_bundle(export(&world.store).as_slice(), known, |_, _| {}).unwrap().size, 0);
}

#[test]
fn a_log_of_another_key_does_not_start() {
    let dir = log_of(3);
    let store = open(dir.path());
    let other = CheckpointSigner::generate("log.example/1", &SeededEntropy::new(666)).unwrap().0;
    let refused = mandate_sequencer::Log::start(store.audit_backend(ORIGIN).unwrap(), other);
    assert!(matches!(refused, Err(LogStartError::Tampered(Tampered::Checkpoint(_)))));
}

#[test]
fn a_database_that_is_not_ours_or_newer_than_ours_is_refused() {
    let dir = log_of(1);
    database::edit(dir.path(), "PRAGMA user_version = 9999", "UPDATE mandate_schema SET version = 9999");
    let again = try_open;
    assert!(matches!(again(dir.path()), Err(StoreError::Newer { found: 9999, .. })));
    let dir = log_of(1);
    database::edit(dir.path(), "PRAGMA application_id = 1", "DROP TABLE mandate_schema");
    assert!(matches!(again(dir.path()), Err(StoreError::Foreign)));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let dir = log_of(1);
    std::fs::write(dir.path().join("mandate.db"), "This is a letter, not a database. ".repeat(300)).unwrap();
    assert!(matches!(try_open(dir.path()), Err(StoreError::Foreign)));
}
