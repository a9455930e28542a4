//! What can happen to the file. Each test has a directory of `SQLite`'s.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;

use mandate_audit::Query;
use mandate_testkit::small_disk::SmallDisk;
use mandate_testkit::{database, skipped};
use rusqlite::Connection;

use super::is_spoiled;
use crate::error::StoreError;
use crate::records;
use crate::search_rows::tests::{
    ORIGIN, append, ids, indexed, log_of, numbered, of_person1, open, settle, signer, verify,
};

#[test]
fn a_file_that_is_missing_or_damaged_is_built_again() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    for spoil in [
        (|path| std::fs::remove_file(path).unwrap()) as fn(&Path),
        |path| std::fs::write(path, "a letter, not a database. ".repeat(400)).unwrap(),
        |path| std::fs::write(path, "").unwrap(),
        // As version 4 was.
        |path| {
            std::fs::write(path, "").unwrap();
            let old = "PRAGMA user_version = 4; CREATE TABLE state (one INTEGER, upto INTEGER, last BLOB); CREATE TABLE chunks (first INTEGER)";
            Connection::open(path).unwrap().execute_batch(old).unwrap();
        },
    ] {
        let dir = log_of(40);
        spoil(&dir.path().join("search.db"));
        let store = open(dir.path());
        settle(&store, 40);
        assert_eq!(indexed(&store), 32);
        let (query, newest) = of_person1();
        assert_eq!(ids(&store, &query), newest);
        assert_eq!(verify(&store).unwrap(), 40);
    }
}

#[test]
fn on_a_full_disk_a_store_without_an_index_opens_and_the_index_is_made_once_there_is_room() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&root.path().join("disk")) else {
        return skipped("this user may not mount a file system");
    };
    let before = log_of(40);
    let running = open(before.path());
    // As a crash leaves it, and with the index deleted.
    let dir = disk.path().join("server");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(before.path()).unwrap() {
        let name = entry.unwrap().file_name();
        if !name.to_str().unwrap().starts_with("search.db") {
            std::fs::copy(before.path().join(&name), dir.join(&name)).unwrap();
        }
    }
    drop(running);
    let ballast = disk.fill();
    let store = open(&dir);
    let uses_index = || store.search_blocking("look", |tx| Ok(tx.search().is_some())).unwrap();
    assert!(!uses_index());
    let (query, newest) = of_person1();
    assert_eq!(ids(&store, &query), newest);
    std::fs::remove_file(ballast).unwrap();
    settle(&store, 40);
    assert!(uses_index());
    assert_eq!(indexed(&store), 32);
    assert_eq!(ids(&store, &query), newest);
    drop(store);
}

#[test]
fn an_index_in_a_directory_whose_name_is_not_utf_8_is_used() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(OsStr::from_bytes(b"f\xfcr uns"));
    let store = open(&dir);
    assert!(store.search_blocking("look", |tx| Ok(tx.search().is_some())).unwrap());
}

#[test]
fn an_index_of_another_log_is_built_again() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let (ours, theirs) = (log_of(40), tempfile::tempdir().unwrap());
    let other = open(theirs.path());
    append(&other, &(100..140).map(numbered).collect::<Vec<_>>());
    settle(&other, 40);
    drop(other);
    std::fs::copy(theirs.path().join("search.db"), ours.path().join("search.db")).unwrap();
    let store = open(ours.path());
    settle(&store, 40);
    assert_eq!(verify(&store).unwrap(), 40);
    assert_eq!(ids(&store, &Query { jti: Some("t3".parse().unwrap()), ..Query::default() }), ["r3"]);
}

/// As an operator deletes it, following the documentation, while the server runs.
#[test]
fn an_index_that_is_deleted_under_a_running_store_costs_no_read_and_no_answer_and_is_built_again() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let dir = log_of(40);
    let store = open(dir.path());
    std::fs::remove_file(dir.path().join("search.db")).unwrap();
    // More reads at once than connections are kept: some are new.
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                assert_eq!(store.read_blocking("size", |tx| records::size(tx, ORIGIN)).unwrap(), 40);
            });
        }
    });
    let (query, newest) = of_person1();
    assert_eq!(ids(&store, &query), newest);
    settle(&store, 40);
    assert_eq!(indexed(&store), 32, "it is there again");
    assert_eq!(ids(&store, &query), newest);
    assert_eq!(verify(&store).unwrap(), 40);
}

#[test]
fn only_an_index_that_is_spoiled_or_gone_is_built_again() {
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
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let dir = log_of(40);
    let store = open(dir.path());
    let log = Connection::open(dir.path().join("mandate.db")).unwrap();
    let slow =
        records::export_blocking(&store, signer().verifier(), Slow { log: &log, writes: 0 }, |_, _| {})
            .unwrap();
    assert_eq!(slow.writes, 41);
}
