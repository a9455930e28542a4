//! One store, its log, and records to put into it.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mandate_audit::{CheckpointSigner, CheckpointVerifier, Outcome, Record, RecordKind, Summary};
use mandate_core::{Actor, ActorChain, KnownTerms, Subject, Timestamp};
use mandate_sequencer::{Backend, LogStartError, Receipt};
use mandate_store::records::LogError;
use mandate_store::{AppendError, Effect, Log, Store, StoreError, records};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::database;
use mandate_testkit::faulty_backend::{Faults, FaultyBackend};
use mandate_testkit::repeating_backend::RepeatingBackend;
use tempfile::TempDir;

/// The log of these tests.
pub(crate) const ORIGIN: &str = "log.example/1";

pub(crate) fn signer() -> CheckpointSigner {
    CheckpointSigner::generate(ORIGIN, &SeededEntropy::new(42)).unwrap().0
}

pub(crate) fn verifier() -> CheckpointVerifier {
    signer().verifier().clone()
}

/// Opens a directory that no process uses any longer.
///
/// Other tests start processes. Until such a child executes its own program, it holds everything that its
/// parent has open, including a released lock.
pub(crate) fn try_open(dir: &Path) -> Result<Store, StoreError> {
    let opened = || database::open(dir, Arc::new(SeededEntropy::new(7))).map(Store::rehearsing);
    let is_held = |result: &Result<Store, StoreError>| matches!(result, Err(StoreError::Directory { why, .. }) if why.contains("another process"));
    let mut result = opened();
    for _ in 0..200 {
        if !is_held(&result) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
        result = opened();
    }
    result
}

pub(crate) fn open(dir: &Path) -> Store {
    try_open(dir).unwrap()
}

/// The first checkpoint, as the authority stores it with the log's key.
pub(crate) fn add_log(store: &Store) {
    let note = signer().first_checkpoint().unwrap();
    store.transact_blocking("first checkpoint", |tx| records::add_log(tx, ORIGIN, &note)).unwrap();
}

/// A running log over a store in a directory of its own.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) faults: Faults,
    thread: JoinHandle<()>,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    /// As [`World::new`], in an empty directory.
    pub(crate) fn in_dir(dir: TempDir) -> Self {
        add_log(&open(dir.path()));
        Self::over(dir)
    }

    fn over(dir: TempDir) -> Self {
        let store = open(dir.path());
        let (backend, faults) =
            FaultyBackend::new(RepeatingBackend::new(store.audit_backend(ORIGIN).unwrap()));
        let (log, thread) = start(backend).unwrap();
        Self { store, log, faults, thread, dir }
    }

    /// Ends the process, as far as the directory can tell.
    pub(crate) fn stop(self) -> TempDir {
        let Self { store, log, thread, dir, .. } = self;
        drop(log);
        thread.join().unwrap();
        drop(store);
        dir
    }

    /// Ends it and starts it again: what is read then is what is on disk.
    pub(crate) fn restart(self) -> Self {
        Self::over(self.stop())
    }

    pub(crate) fn append(&self, n: u64) -> Result<Receipt, AppendError> {
        self.log.append_blocking(record(n), Vec::new())
    }

    /// Appends record 0 and, while the backend is paused, all of `entries`, so that they share one batch in
    /// any order.
    pub(crate) fn in_one_batch(&self, entries: Vec<(u64, Vec<Effect>)>) -> Vec<Result<Receipt, AppendError>> {
        self.in_one_batch_after(entries, || {})
    }

    /// As [`World::in_one_batch`], calling `prepare` when all are in the queue.
    pub(crate) fn in_one_batch_after(
        &self,
        entries: Vec<(u64, Vec<Effect>)>,
        prepare: impl FnOnce(),
    ) -> Vec<Result<Receipt, AppendError>> {
        let count = entries.len();
        self.faults.hold();
        thread::scope(|scope| {
            let append = |n: u64, effects: Vec<Effect>| {
                let log = self.log.clone();
                scope.spawn(move || log.append_blocking(record(n), effects))
            };
            let first = append(0, Vec::new());
            self.faults.wait_until_held();
            let batch: Vec<_> = entries.into_iter().map(|(n, effects)| append(n, effects)).collect();
            while self.log.waiting() < count {
                thread::yield_now();
            }
            prepare();
            self.faults.release();
            first.join().unwrap().unwrap();
            batch.into_iter().map(|waiter| waiter.join().unwrap()).collect()
        })
    }

    pub(crate) fn verify(&self) -> Result<Summary, LogError> {
        verify(&self.store)
    }
}

pub(crate) fn start<B: Backend<Effect = Effect>>(backend: B) -> Result<(Log, JoinHandle<()>), LogStartError> {
    Log::start(backend, signer())
}

pub(crate) fn verify(store: &Store) -> Result<Summary, LogError> {
    records::verify_blocking(store, &verifier(), &[], |_, _| {})
        .map(|mut verified| verified.remove(0).summary)
}

/// A permitted exchange number `n`: person, agents and resource vary with it.
pub(crate) fn record(n: u64) -> Record {
    let iss: mandate_core::Issuer = "https://m.example".parse().unwrap();
    let actor = |name: String| Actor {
        sub: format!("spiffe://td/agent/{name}"),
        iss: iss.clone(),
        sub_profile: None,
    };
    let chain = vec![actor(format!("a{}", n % 3)), actor(format!("b{}", n % 2))];
    let known = KnownTerms {
        sub: Some(Subject { iss: iss.clone(), sub: format!("person{}", n % 4) }),
        act: ActorChain::new(chain).unwrap(),
        aud: Some(format!("https://api{}.example", n % 2)),
        scope: "read:cases".parse().unwrap(),
        jti: Some(format!("t{n}").parse().unwrap()),
        ..KnownTerms::default()
    };
    let head = Record::new(
        format!("r{n}").parse().unwrap(),
        Timestamp::from_secs(1000 + n),
        RecordKind::Exchange,
        Outcome::Permitted,
        "ok",
    );
    Record { about: known.into(), ..head }
}
