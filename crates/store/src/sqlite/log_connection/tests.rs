//! The disk fills up under the log. `max_page_count` makes `SQLite` answer as it does when the disk is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_audit::{CheckpointSigner, Outcome, Record, RecordKind};
use mandate_core::registry::RegistryVersion;
use mandate_core::{Secret, Timestamp};
use mandate_sequencer::{Backend, Leaf, Log, StagedBy, StoredLog};
use mandate_testkit::clock::SeededEntropy;

use crate::log_number::LogNumber;
use crate::logs;
use crate::tx::Tx;
use crate::{AppendError, AuditBackend, Effect, Store, StoreError, records, secrets};

fn record(n: u64) -> Record {
    let head = Record::new(
        format!("r{n}").parse().unwrap(),
        Timestamp::from_secs(n),
        RecordKind::Exchange,
        Outcome::Permitted,
        "ok",
    );
    Record { detail: Some("x".repeat(3000)), ..head }
}

/// A database on a disk that is full from time to time.
struct Filling {
    inner: AuditBackend,
    full: Arc<AtomicBool>,
}

impl Backend for Filling {
    type Effect = Effect;
    type Error = StoreError;

    fn is_conflict(error: &StoreError) -> bool {
        AuditBackend::is_conflict(error)
    }

    fn is_over(error: &StoreError) -> bool {
        AuditBackend::is_over(error)
    }

    fn leaves_nothing(error: &StoreError) -> bool {
        AuditBackend::leaves_nothing(error)
    }

    fn load(&mut self) -> Result<StoredLog, StoreError> {
        self.inner.load()
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        // The setting belongs to the connection, not to the transaction.
        let used: u32 =
            self.inner.log().sqlite().unwrap().query_row("PRAGMA page_count", [], |row| row.get(0))?;
        let most = if self.full.load(Ordering::SeqCst) { used } else { u32::MAX - 1 };
        self.inner.log().sqlite().unwrap().query_row(
            &format!("PRAGMA max_page_count = {most}"),
            [],
            |_| Ok(()),
        )?;
        self.inner.begin()
    }

    fn stage(&mut self, leaf: Leaf<'_>, effects: &[Effect]) -> StagedBy<Self> {
        self.inner.stage(leaf, effects)
    }

    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), StoreError> {
        self.inner.commit(checkpoint)
    }

    fn roll_back(&mut self) {
        self.inner.roll_back();
    }
}

#[test]
fn a_full_disk_refuses_clearly_loses_nothing_and_is_over_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_blocking(dir.path(), Arc::new(SeededEntropy::new(1))).unwrap();
    let (signer, _) = CheckpointSigner::generate("log.example", &SeededEntropy::new(2)).unwrap();
    store
        .transact_blocking("first checkpoint", |tx| {
            records::add_log(tx, signer.origin(), &signer.first_checkpoint().unwrap())
        })
        .unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let backend = Filling { inner: store.audit_backend(signer.origin()).unwrap(), full: Arc::clone(&full) };
    let (log, _thread) = Log::start(backend, signer.clone()).unwrap();
    let effect = || {
        vec![Effect::SetPassword {
            person: "olga".parse().unwrap(),
            phc: Secret::new("a hash"),
            replaces: false,
            planned_from: RegistryVersion::default(),
        }]
    };
    for n in 0..10 {
        log.append_blocking(record(n), Vec::new()).unwrap();
    }
    full.store(true, Ordering::SeqCst);
    let mut written = 10;
    let mut refused = 0;
    for n in 10..40 {
        match log.append_blocking(record(n), effect()) {
            // What fits into pages that are there already is still written.
            Ok(receipt) => {
                assert_eq!(receipt.index(), written);
                written += 1;
            }
            Err(AppendError::Unavailable(why)) => {
                assert!(why.contains("the disk is full"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused >= 25, "{refused}");
    full.store(false, Ordering::SeqCst);
    let receipt = log.append_blocking(record(100), effect()).unwrap();
    assert_eq!(receipt.index(), written, "no restart was needed");
    let verified = records::verify_blocking(&store, signer.verifier(), &[], |_, _| {}).unwrap();
    assert_eq!(verified[0].summary.size, written + 1);
    assert!(
        store
            .read_blocking("password", |tx| secrets::password(tx, &"olga".parse().unwrap()))
            .unwrap()
            .is_some()
    );
}

/// `SQLite` itself rolls back a whole transaction, for example when memory runs out. A trigger simulates
/// that.
#[test]
fn an_entry_that_undoes_the_whole_transaction_refuses_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_blocking(dir.path(), Arc::new(SeededEntropy::new(1))).unwrap();
    let signer = CheckpointSigner::generate("log.example", &SeededEntropy::new(2)).unwrap().0;
    let mut backend = store.audit_backend(signer.origin()).unwrap();
    let trigger = "CREATE TRIGGER undo BEFORE INSERT ON records WHEN NEW.idx = 1 BEGIN SELECT RAISE(ROLLBACK, 'undone'); END";
    backend.log().sqlite().unwrap().execute_batch(trigger).unwrap();
    store
        .transact_blocking("first checkpoint", |tx| {
            records::add_log(tx, signer.origin(), &signer.first_checkpoint().unwrap())
        })
        .unwrap();
    let stage = |backend: &mut AuditBackend, index: u64| {
        let (record, hash) = (record(index), mandate_audit::Hash([0; 32]));
        let bytes = record.to_leaf().unwrap();
        backend.stage(Leaf { index, record: &record, bytes: &bytes, hashes: &[hash] }, &[])
    };
    backend.load().unwrap();
    backend.load().unwrap();
    backend.begin().unwrap();
    assert!(stage(&mut backend, 0).is_ok());
    assert!(stage(&mut backend, 1).is_ok());
    assert!(backend.commit(b"a checkpoint").is_err());
    backend.roll_back();
    assert_eq!(store.read_blocking("size", |tx| records::size(tx, signer.origin())).unwrap(), 0);
}

#[test]
fn a_commit_of_the_log_and_of_the_store_returns_after_the_disk_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_blocking(dir.path(), Arc::new(SeededEntropy::new(1))).unwrap();
    let settings = |tx: &Tx<'_>| {
        let synchronous = tx.first("PRAGMA synchronous", &[], |row| row.get::<i64>(0))?;
        let journal = tx.first("PRAGMA journal_mode", &[], |row| row.get::<String>(0))?;
        Ok((synchronous, journal))
    };
    // 2 is FULL: fsync at each commit.
    let durable = (Some(2), Some("wal".to_owned()));
    let backend = store.audit_backend("log.example").unwrap();
    assert_eq!(settings(&Tx::without_key(backend.log().statements())).unwrap(), durable);
    assert_eq!(store.transact_blocking("settings", settings).unwrap(), durable);
}

#[test]
fn a_checkpoint_is_replaced_only_by_the_writer_that_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_blocking(dir.path(), Arc::new(SeededEntropy::new(1))).unwrap();
    let put = |log, last: &'static [u8], next: &'static [u8]| {
        store.transact_blocking("swap", |tx| {
            logs::swap_checkpoint(tx, log, last, next, Timestamp::from_millis(5))
        })
    };
    let (one, other) = (LogNumber(1), LogNumber(2));
    assert!(matches!(put(one, b"", b"one"), Err(StoreError::OtherWriter)), "there is none yet");
    store.transact_blocking("first checkpoint", |tx| records::add_log(tx, "a", b"first")).unwrap();
    store.transact_blocking("first checkpoint", |tx| records::add_log(tx, "a", b"second")).unwrap();
    put(one, b"first", b"one").unwrap();
    assert!(matches!(put(one, b"first", b"two"), Err(StoreError::OtherWriter)));
    assert!(matches!(put(other, b"one", b"two"), Err(StoreError::OtherWriter)), "it is another log's");
    let read = |origin: &str| store.read_blocking("read", |tx| records::checkpoint(tx, origin)).unwrap();
    assert_eq!(read("a").as_deref(), Some(&b"one"[..]));
    assert_eq!(read("b"), None);
}
