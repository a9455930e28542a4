//! A database of version 3 of the schema, which had one log: it is verified and continued.

use std::path::Path;

use mandate_audit::Tampered;
use mandate_core::Timestamp;
use mandate_sequencer::LogStartError;
use mandate_store::{Inspection, Log, StoreError, records};
use mandate_testkit::database;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::world::{open, record, try_open};

use super::{ONE, TWO, Writer, add, edit, inspect, signer, sizes};

/// What version 3 of the schema had of the first log, from the tables of this version in the schema or file
/// `now`.
const OF_VERSION_3: &str = "INSERT INTO meta SELECT * FROM now.meta;
     INSERT INTO keys SELECT * FROM now.keys;
     INSERT INTO records SELECT idx, hashes, leaf FROM now.records WHERE log = 1;
     INSERT INTO checkpoint SELECT 1, note FROM now.logs WHERE log = 1 AND note IS NOT NULL;";

/// Makes the database what version 3 of the schema had of its first log.
fn as_of_version_3(dir: &Path) {
    if database::is_postgres() {
        let sql = [
            "ALTER SCHEMA public RENAME TO now; CREATE SCHEMA public;",
            include_str!("../../../migrations/postgres/0001_initial.sql"),
            include_str!("../../../migrations/postgres/0002_stops.sql"),
            include_str!("../../../migrations/postgres/0003_registry_version.sql"),
            OF_VERSION_3,
            "CREATE TABLE mandate_schema AS SELECT * FROM now.mandate_schema; UPDATE mandate_schema SET version = 3;",
            "DROP SCHEMA now CASCADE;",
        ];
        return database::edit(dir, "", &sql.concat());
    }
    let (now, old) = (dir.join("mandate.db"), dir.join("old.db"));
    let conn = Connection::open(&old).unwrap();
    for sql in [
        include_str!("../../../migrations/sqlite/0001_initial.sql"),
        include_str!("../../../migrations/sqlite/0002_stops.sql"),
        include_str!("../../../migrations/sqlite/0003_registry_version.sql"),
    ] {
        conn.execute_batch(sql).unwrap();
    }
    conn.execute("ATTACH ? AS now", [now.to_str().unwrap()]).unwrap();
    conn.execute_batch(OF_VERSION_3).unwrap();
    conn.execute_batch(&format!("PRAGMA application_id = {}; PRAGMA user_version = 3;", 0x4d64_7431))
        .unwrap();
    drop(conn);
    for file in ["mandate.db-wal", "mandate.db-shm"] {
        let _ = std::fs::remove_file(dir.join(file));
    }
    std::fs::rename(&old, &now).unwrap();
    std::fs::set_permissions(&now, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// A database of version 3 with `size` records, after `sql`.
fn old(size: u64, sql: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writer = Writer::of(&store, &add(&store, ONE));
    (0..size).for_each(|n| {
        writer.append(record(n));
    });
    writer.end();
    drop(store);
    as_of_version_3(dir.path());
    edit(dir.path(), sql);
    dir
}

#[test]
fn a_database_from_before_there_were_several_logs_is_verified_opened_and_continued() {
    let remembered = database::literal(b"1970-01-01T00:16:48.000Z");
    let remembered = format!("INSERT INTO meta (name, value) VALUES ('newest-record', {remembered})");
    for (size, sql) in [(9, remembered.as_str()), (9, ""), (0, "")] {
        let dir = old(size, sql);
        let newest = Timestamp::from_secs(if size == 0 { 0 } else { 1000 + size - 1 });
        if let Some(inspection) = inspect(dir.path()) {
            let verified = inspection.verify_logs(|_, _| {}).unwrap();
            let found = (inspection.schema().unwrap(), verified.len(), verified[0].summary.size);
            assert_eq!(found, (3, 1, size), "before it is brought up to date");
            assert_eq!(inspection.newest().unwrap(), newest);
            let copy = dir.path().join("copy.db");
            inspection.copy_to(&copy).unwrap();
            assert_eq!(Inspection::of_file(&copy).unwrap().verify_logs(|_, _| {}).unwrap(), verified);
        }
        let store = open(dir.path());
        assert_eq!(sizes(&store, ONE).unwrap(), [(ONE.to_owned(), size)]);
        assert_eq!(store.read_blocking("newest", records::newest).unwrap(), newest);
        let writer = Writer::of(&store, &signer(ONE));
        assert_eq!(writer.append(record(size)), size);
        assert_eq!(store.read_blocking("newest", records::newest).unwrap(), record(size).time);
        // A second server comes.
        let second = Writer::of(&store, &add(&store, TWO));
        assert_eq!(second.append(record(100)), 0);
        assert_eq!(sizes(&store, ONE).unwrap(), [(ONE.to_owned(), size + 1), (TWO.to_owned(), 1)]);
        writer.end();
        second.end();
    }
}

#[test]
fn a_database_from_before_whose_log_was_changed_is_refused_as_it_was_before() {
    let refused = |sql: &str, size: u64| {
        let dir = old(size, sql);
        assert!(
            inspect(dir.path()).is_none_or(|inspection| inspection.verify_logs(|_, _| {}).is_err()),
            "{sql}"
        );
        let store = open(dir.path());
        // With the key that there is, or with a new one if it is lost.
        let key = add(&store, ONE);
        let started = Log::start(store.audit_backend(ONE).unwrap(), key);
        let verified = sizes(&store, ONE);
        match (started, verified) {
            (Err(LogStartError::Tampered(why)), Err(_)) => why,
            other => panic!("{sql}: {:?}", other.1),
        }
    };
    assert!(matches!(refused("DELETE FROM checkpoint", 9), Tampered::NoCheckpoint { size: 9 }));
    assert!(matches!(refused("DELETE FROM checkpoint", 0), Tampered::NoCheckpoint { size: 0 }));
    assert!(matches!(
        refused("DELETE FROM checkpoint; DELETE FROM keys", 9),
        Tampered::NoCheckpoint { size: 0 }
    ));
    let junk = format!("UPDATE checkpoint SET note = {}", database::literal(b"junk"));
    assert!(matches!(refused(&junk, 9), Tampered::NoCheckpoint { size: 0 }));
    assert!(matches!(
        refused("DELETE FROM records WHERE idx > 5", 9),
        Tampered::Truncated { signed: 9, found: 6 }
    ));
    // An origin that is no text: PostgreSQL cannot bring it up to date.
    let dir = old(9, &format!("UPDATE checkpoint SET note = {}", database::literal(b"\xff\n\xff")));
    if database::is_postgres() {
        assert!(matches!(try_open(dir.path()), Err(StoreError::Sql(_))));
    } else {
        let store = open(dir.path());
        assert!(sizes(&store, ONE).is_err());
        let started = Log::start(store.audit_backend(ONE).unwrap(), signer(ONE));
        assert!(matches!(started, Err(LogStartError::Tampered(Tampered::NoCheckpoint { size: 0 }))));
    }
    // The key is lost and another one is made under another name.
    let dir = old(9, "DELETE FROM keys");
    let store = open(dir.path());
    let key = add(&store, TWO);
    assert!(matches!(
        Log::start(store.audit_backend(TWO).unwrap(), key),
        Err(LogStartError::Tampered(Tampered::NoCheckpoint { size: 0 }))
    ));
}

#[test]
fn a_database_from_before_without_a_log_gets_its_first_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    as_of_version_3(dir.path());
    let store = open(dir.path());
    let writer = Writer::of(&store, &add(&store, ONE));
    assert_eq!(writer.append(record(0)), 0);
    assert_eq!(sizes(&store, ONE).unwrap(), [(ONE.to_owned(), 1)]);
    writer.end();
}
