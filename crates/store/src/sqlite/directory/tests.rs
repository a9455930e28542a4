use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use mandate_testkit::clock::SeededEntropy;

use crate::{Store, StoreError};

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open_blocking(dir, Arc::new(SeededEntropy::new(1)))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn everything_it_creates_is_for_its_owner_alone() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("deep/data");
    let store = open(&dir).unwrap();
    store.transact_blocking("write", |tx| crate::meta::put(tx, "x", "y")).unwrap();
    assert_eq!(mode(&dir), 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert!(dir.join("mandate.db-wal").exists(), "the journal was among them");
}

#[test]
fn a_key_or_database_that_others_may_read_is_refused() {
    for name in ["seal.key", "mandate.db"] {
        for bad in [0o640, 0o604, 0o660, 0o644] {
            let dir = tempfile::tempdir().unwrap();
            drop(open(dir.path()).unwrap());
            chmod(&dir.path().join(name), bad);
            let refused = open(dir.path()).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("chmod 600"), "{refused}");
            chmod(&dir.path().join(name), 0o600);
            assert!(open(dir.path()).is_ok());
        }
    }
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    chmod(dir.path(), 0o777);
    assert!(open(dir.path()).unwrap_err().to_string().contains("chmod 700"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "and nothing is put there");
}

#[test]
fn a_missing_damaged_or_foreign_sealing_key_is_refused_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let key = dir.path().join("seal.key");
    let right = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::SealKey { why, .. }) if why.contains("missing")));
    assert!(!key.exists());
    let mut other = right.clone();
    other[0] ^= 1;
    let too_long = [right.as_slice(), b"\n"].concat();
    for (bytes, says) in
        [(&right[..31], "damaged"), (&too_long, "damaged"), (&[], "damaged"), (&other, "not the sealing key")]
    {
        fs::write(&key, bytes).unwrap();
        chmod(&key, 0o600);
        assert!(
            matches!(open(dir.path()), Err(StoreError::SealKey { why, .. }) if why.contains(says)),
            "{says}"
        );
    }
    fs::write(&key, &right).unwrap();
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_key_half_written_before_a_crash_does_not_stand_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("seal.key.new"), b"half").unwrap();
    drop(open(dir.path()).unwrap());
    assert_eq!(fs::read(dir.path().join("seal.key")).unwrap().len(), 32);
    assert!(!dir.path().join("seal.key.new").exists());
}

#[test]
fn a_database_that_is_lost_is_not_replaced_while_its_sealing_key_is_there() {
    for lose in [(|db| fs::remove_file(db).unwrap()) as fn(&Path), |db| fs::write(db, "").unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let key = fs::read(dir.path().join("seal.key")).unwrap();
        let database = dir.path().join("mandate.db");
        lose(&database);
        for _ in 0..2 {
            let refused = open(dir.path()).unwrap_err().to_string();
            assert!(
                refused.contains("mandate.db") && refused.contains("restore it from a backup"),
                "{refused}"
            );
        }
        assert!(
            fs::metadata(&database).map_or(true, |meta| meta.len() == 0),
            "nothing was made up in its place"
        );
        assert_eq!(fs::read(dir.path().join("seal.key")).unwrap(), key);
    }
}

/// A first start, interrupted at each point where something of it is on disk: the next start continues it or
/// begins again.
#[test]
fn a_first_start_that_was_cut_short_anywhere_is_made_good_by_the_next() {
    let whole = tempfile::tempdir().unwrap();
    drop(open(whole.path()).unwrap());
    let key = fs::read(whole.path().join("seal.key")).unwrap();
    let database = fs::read(whole.path().join("mandate.db")).unwrap();
    let private = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).unwrap();
        chmod(path, 0o600);
    };
    let only_a_header = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("header.db");
        let _journal: String = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(
        (only_a_header[18], only_a_header[19]),
        (2, 2),
        "it says that there is a write-ahead log, and there is none yet"
    );
    // The sealing key, then the empty database, then its format, then its tables; the key gets its name last.
    for (key, database) in [
        (&key[..0], None),
        (&key[..9], None),
        (&key[..], None),
        (&key[..], Some(&[][..])),
        (&key[..], Some(&only_a_header[..])),
        (&key[..], Some(&database[..])),
    ] {
        let dir = tempfile::tempdir().unwrap();
        private(&dir.path().join("seal.key.new"), key);
        if let Some(database) = database {
            private(&dir.path().join("mandate.db"), database);
        }
        let store = open(dir.path()).unwrap();
        store.transact_blocking("write", |tx| crate::meta::put(tx, "x", "y")).unwrap();
        drop(store);
        assert!(!dir.path().join("seal.key.new").exists());
        let store = open(dir.path()).unwrap();
        assert_eq!(
            store.read_blocking("read", |tx| crate::meta::get(tx, "x")).unwrap().as_deref(),
            Some("y")
        );
    }
    // Without the key there is no first start to carry on.
    let dir = tempfile::tempdir().unwrap();
    private(&dir.path().join("mandate.db"), &database);
    assert!(matches!(open(dir.path()), Err(StoreError::SealKey { why, .. }) if why.contains("missing")));
    // With the key under its name it was a whole database, of which only the header is left.
    let dir = tempfile::tempdir().unwrap();
    private(&dir.path().join("mandate.db"), &only_a_header);
    private(&dir.path().join("seal.key"), &key);
    assert!(matches!(open(dir.path()), Err(StoreError::JournalMissing(_))));
}

#[test]
fn the_sealing_key_gets_its_name_only_when_the_database_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let opened = super::open(dir.path(), &SeededEntropy::new(1)).unwrap();
    assert!(!dir.path().join("seal.key").exists());
    opened.directory.settle(&opened.seal_key).unwrap();
    assert!(dir.path().join("seal.key").exists() && !dir.path().join("seal.key.new").exists());
}
