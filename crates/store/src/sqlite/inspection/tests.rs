use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_core::Secret;
use mandate_testkit::clock::SeededEntropy;

use super::Inspection;
use crate::{DirectoryHolder, Store, StoreError, meta};

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open_blocking(dir, Arc::new(SeededEntropy::new(1)))
}

fn write(store: &Store, value: &str) {
    store.transact_blocking("write", |tx| meta::put(tx, "x", value)).unwrap();
}

/// Every file of a directory with its bytes.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(dir).unwrap().map(|each| entry(each.unwrap())).collect()
}

/// What a server that was killed leaves: the files as they are while it runs.
fn killed(store: &Store, from: &Path, files: &[&str]) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    write(store, "newest");
    for file in files {
        fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    to
}

fn x(inspection: &Inspection) -> Option<String> {
    meta::get(&crate::Tx::without_key(&inspection.conn), "x").unwrap()
}

#[test]
fn a_database_copied_without_its_write_ahead_log_is_refused_and_stays_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let alone = killed(&store, dir.path(), &["mandate.db", "seal.key"]);
    let before = content(alone.path());
    for _ in 0..2 {
        let error = open(alone.path()).unwrap_err();
        assert!(matches!(error, StoreError::JournalMissing(_)), "{error}");
        assert!(error.to_string().contains("mandate.db together with mandate.db-wal"), "{error}");
        assert!(matches!(Inspection::of_directory(alone.path()), Err(StoreError::JournalMissing(_))));
    }
    let mut after = content(alone.path());
    after.remove("mandate.lock");
    assert_eq!(after, before, "nothing is made that would let the next start pass");
    assert_eq!(
        x(&Inspection::of_directory_without_journal(alone.path()).unwrap()),
        None,
        "it can be looked at all the same"
    );
    // With the write-ahead log it is what a killed server leaves.
    let whole = killed(&store, dir.path(), &["mandate.db", "mandate.db-wal", "seal.key"]);
    assert_eq!(x(&Inspection::of_directory(whole.path()).unwrap()).as_deref(), Some("newest"));
    open(whole.path()).unwrap();
}

#[test]
fn a_database_that_was_closed_in_good_order_needs_no_write_ahead_log() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let store = open(dir.path()).unwrap();
        write(&store, "kept");
        drop(store);
        for file in ["mandate.db-wal", "mandate.db-shm"] {
            let _ = fs::remove_file(dir.path().join(file));
        }
        assert_eq!(x(&Inspection::of_directory(dir.path()).unwrap()).as_deref(), Some("kept"), "{round}");
    }
}

#[test]
fn a_database_with_nothing_in_it_beside_its_sealing_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    for file in ["mandate.db", "mandate.db-wal", "mandate.db-shm"] {
        let _ = fs::remove_file(dir.path().join(file));
    }
    // As a file in which only its format was ever written.
    let conn = rusqlite::Connection::open(dir.path().join("mandate.db")).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    drop(conn);
    fs::set_permissions(dir.path().join("mandate.db"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    for _ in 0..2 {
        assert!(matches!(open(dir.path()), Err(StoreError::JournalMissing(_))));
    }
}

#[test]
fn a_copy_that_sqlite_made_of_a_database_in_use_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    write(&store, "newest");
    let other = tempfile::tempdir().unwrap();
    let copy = other.path().join("mandate.db");
    Inspection::of_directory(dir.path()).unwrap().copy_to(&copy).unwrap();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::copy(dir.path().join("seal.key"), other.path().join("seal.key")).unwrap();
    let inspection = Inspection::of_file(&copy).unwrap();
    assert_eq!(x(&inspection).as_deref(), Some("newest"));
    assert_eq!((inspection.schema().unwrap(), inspection.faults().unwrap()), (9, vec![]));
    open(other.path()).unwrap();
}

#[test]
fn looking_changes_nothing_whether_a_server_runs_was_killed_or_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let dead = killed(&store, dir.path(), &["mandate.db", "mandate.db-wal", "seal.key"]);
    assert_eq!(Inspection::holder(dir.path()).unwrap(), DirectoryHolder::Process(Some(std::process::id())));
    let look = |dir: &Path| {
        let before = content(dir);
        let inspection = Inspection::of_directory(dir).unwrap();
        assert_eq!(x(&inspection).as_deref(), Some("newest"));
        assert_eq!(inspection.faults().unwrap(), Vec::<String>::new());
        let refused = inspection.conn.execute("DELETE FROM meta", []).unwrap_err().to_string();
        assert!(refused.contains("readonly"), "{refused}");
        drop(inspection);
        let (mut before, mut after) = (before, content(dir));
        // Its content is which readers there are.
        before.remove("mandate.db-shm");
        after.remove("mandate.db-shm");
        assert!(before == after, "{:?} {:?}", before.keys(), after.keys());
    };
    look(dir.path());
    assert_eq!(Inspection::holder(dead.path()).unwrap(), DirectoryHolder::Nobody);
    look(dead.path());
    drop(store);
    look(dir.path());
    assert_eq!(Inspection::holder(dir.path()).unwrap(), DirectoryHolder::Nobody);
}

#[test]
fn its_own_sealing_key_is_told_from_another() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let key = Inspection::seal_key(dir.path()).unwrap().unwrap();
    let inspection = Inspection::of_directory(dir.path()).unwrap();
    let entropy = || Arc::new(SeededEntropy::new(2));
    assert!(inspection.is_sealed_with(&key, entropy()).unwrap());
    for other in [vec![7; 32], vec![7; 5]] {
        assert!(!inspection.is_sealed_with(&Secret::new(other), entropy()).unwrap());
    }
}

#[test]
fn damage_and_other_databases_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for n in 0..2000 {
        store.transact_blocking("write", |tx| meta::put(tx, &format!("{n}"), &"v".repeat(100))).unwrap();
    }
    drop(store);
    let database = dir.path().join("mandate.db");
    let right = fs::read(&database).unwrap();
    let mut spoilt = right.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle..middle + 4096].fill(0xa5);
    fs::write(&database, &spoilt).unwrap();
    let found = Inspection::of_directory(dir.path()).and_then(|inspection| inspection.faults());
    assert!(!matches!(&found, Ok(faults) if faults.is_empty()), "{found:?}");
    let mut newer = right;
    newer[60..64].copy_from_slice(&99u32.to_be_bytes());
    fs::write(&database, &newer).unwrap();
    assert!(matches!(
        Inspection::of_directory(dir.path()).unwrap().schema(),
        Err(StoreError::Newer { found: 99, known: 9 })
    ));
    fs::write(&database, vec![b'x'; 8192]).unwrap();
    let found = Inspection::of_directory(dir.path()).and_then(|inspection| inspection.schema());
    assert!(matches!(found, Err(StoreError::Foreign)), "{found:?}");
}

#[test]
fn a_statement_ends_when_it_is_asked_to_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store
        .transact_blocking("write", |tx| (0..2000).try_for_each(|n| meta::put(tx, &format!("{n}"), "v")))
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let inspection = Inspection::of_directory(dir.path()).unwrap().until(&stop).unwrap();
    assert_eq!(inspection.faults().unwrap(), Vec::<String>::new());
    inspection.copy_to(&dir.path().join("copy")).unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(inspection.faults().is_err());
    assert!(inspection.copy_to(&dir.path().join("other")).is_err());
}

#[test]
fn a_copy_is_written_where_it_was_asked_for_also_if_that_is_not_utf_8() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(OsStr::from_bytes(b"f\xfcr uns"));
    let store = open(&dir).unwrap();
    write(&store, "newest");
    let (folder, name) = (root.path().join(OsStr::from_bytes(b"\xff'?")), OsStr::from_bytes(b"\xfe.copy"));
    fs::create_dir(&folder).unwrap();
    let copy = folder.join(name);
    Inspection::of_directory(&dir).unwrap().copy_to(&copy).unwrap();
    assert_eq!(x(&Inspection::of_file(&copy).unwrap()).as_deref(), Some("newest"));
    let names =
        |dir: &Path| fs::read_dir(dir).unwrap().map(|each| each.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&folder), [name]);
    let mut both = names(root.path());
    both.sort();
    assert_eq!(both, [dir.file_name().unwrap(), folder.file_name().unwrap()], "nothing under another name");
}
