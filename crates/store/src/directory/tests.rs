use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use mandate_testkit::clock::SeededEntropy;

use crate::{Store, StoreError};

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, Arc::new(SeededEntropy::new(1)))
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
    store.transact("write", |tx| crate::meta::put(tx, "x", "y")).unwrap();
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
    for (bytes, says) in [(&right[..31], "damaged"), (&too_long, "damaged"), (&[], "damaged"), (&other, "not the sealing key")] {
        fs::write(&key, bytes).unwrap();
        chmod(&key, 0o600);
        assert!(matches!(open(dir.path()), Err(StoreError::SealKey { why, .. }) if why.contains(says)), "{says}");
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
