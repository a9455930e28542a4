//! Async code and a database that blocks: neither waits for the other, and what was begun ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use mandate_store::{Store, StoreError, meta};
use mandate_testkit::database;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::world::open;

const LONG: Duration = Duration::from_secs(30);

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

/// A closure that writes, says that it runs, and waits until it may end.
fn slow_write() -> (
    impl FnMut(&mandate_store::Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    oneshot::Receiver<()>,
    mpsc::Sender<()>,
) {
    let (runs, running) = oneshot::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let mut runs = Some(runs);
    let write = move |tx: &mandate_store::Tx<'_>| {
        meta::put(tx, "x", "written")?;
        if let Some(runs) = runs.take() {
            runs.send(()).unwrap();
            may_go.recv_timeout(LONG).unwrap();
        }
        Ok(())
    };
    (write, running, go)
}

#[tokio::test(flavor = "current_thread")]
async fn a_transaction_that_waits_keeps_no_async_thread() {
    let (_dir, store) = store();
    let (write, running, go) = slow_write();
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.transact("slow", write).await }
    });
    // On the only thread of this runtime.
    running.await.unwrap();
    assert_eq!(
        store.read("read", |tx| meta::get(tx, "x")).await.unwrap(),
        None,
        "a reader sees what is durable"
    );
    go.send(()).unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(store.read("read", |tx| meta::get(tx, "x")).await.unwrap().as_deref(), Some("written"));
}

#[tokio::test]
async fn a_transaction_whose_caller_goes_away_is_made_to_its_end() {
    let (_dir, store) = store();
    let (write, running, go) = slow_write();
    let caller = tokio::spawn({
        let store = store.clone();
        async move { store.transact("slow", write).await }
    });
    running.await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    // The first transaction of this store is run twice, and another may have its turn in between.
    let written = async {
        while store.read("read", |tx| meta::get(tx, "x")).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, written).await.expect("what was begun is made");
    store.transact("next", |tx| meta::put(tx, "y", "next")).await.unwrap();
    let both = store.read("read", |tx| Ok((meta::get(tx, "x")?, meta::get(tx, "y")?))).await.unwrap();
    assert_eq!(both, (Some("written".to_owned()), Some("next".to_owned())));
}

#[tokio::test]
async fn a_refused_transaction_of_async_code_leaves_nothing() {
    let (_dir, store) = store();
    let refused: Result<(), _> = store
        .transact("half", |tx| {
            meta::put(tx, "x", "half")?;
            Err(StoreError::Foreign)
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Foreign)));
    assert_eq!(store.read("read", |tx| meta::get(tx, "x")).await.unwrap(), None);
}

#[tokio::test]
async fn a_panic_in_a_transaction_is_its_callers_and_the_store_goes_on() {
    let (_dir, store) = store();
    let panicking = tokio::spawn({
        let store = store.clone();
        async move { store.transact("panic", |_| -> Result<(), StoreError> { panic!("on purpose") }).await }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    store.transact("next", |tx| meta::put(tx, "x", "next")).await.unwrap();
}

#[tokio::test]
async fn a_closure_runs_twice_and_its_second_run_counts() {
    let (_dir, store) = store();
    let runs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&runs);
    let count = move |tx: &mandate_store::Tx<'_>| {
        let mut runs = seen.lock();
        runs.push(meta::get(tx, "x")?);
        meta::put(tx, "x", &runs.len().to_string())?;
        Ok(runs.len())
    };
    assert_eq!(store.transact("count", count).await.unwrap(), 2);
    assert_eq!(*runs.lock(), [None, None], "the second run sees nothing of the first");
    assert_eq!(store.read("read", |tx| meta::get(tx, "x")).await.unwrap().as_deref(), Some("2"));
}

#[tokio::test(flavor = "current_thread")]
async fn many_reads_at_once_use_few_threads() {
    let (_dir, store) = store();
    let threads = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let reads: Vec<_> = (0..100)
        .map(|_| {
            let (store, threads) = (store.clone(), Arc::clone(&threads));
            let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
            tokio::spawn(async move {
                let read = move |_: &mandate_store::Tx<'_>| {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    threads.lock().insert(std::thread::current().id());
                    std::thread::sleep(Duration::from_millis(2));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                store.read("slow", read).await
            })
        })
        .collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    // Each database has as many threads as it serves reads, searches and writes at a time.
    let (all, reads) = if database::is_postgres() { (8 + 3 + 3, 8) } else { (4 + 2 + 1, 4) };
    assert!(threads.lock().len() <= all, "{} threads", threads.lock().len());
    assert!((2..=reads).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_whose_turn_does_not_come_ends_with_an_error_that_says_so() {
    let (_dir, store) = store();
    let (mut ends, mut searches) = (Vec::new(), Vec::new());
    for _ in 0..if database::is_postgres() { 3 } else { 2 } {
        let (runs, running) = oneshot::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let mut runs = Some(runs);
        let search = move |_: &mandate_store::Tx<'_>| {
            if let Some(runs) = runs.take() {
                runs.send(()).unwrap();
                may_go.recv_timeout(LONG).unwrap();
            }
            Ok(())
        };
        let store = store.clone();
        searches.push(tokio::spawn(async move { store.search("long", search).await }));
        running.await.unwrap();
        ends.push(go);
    }
    let waits = {
        let store = store.clone();
        tokio::spawn(async move { store.search("late", |_| Ok(())).await })
    };
    assert_eq!(
        store.read("read", |tx| meta::get(tx, "x")).await.unwrap(),
        None,
        "searches keep no read waiting"
    );
    let refused = waits.await.unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::Overloaded(5)) && refused.is_environment(), "{refused}");
    for go in ends {
        go.send(()).unwrap();
    }
    for search in searches {
        search.await.unwrap().unwrap();
    }
    store.search("next", |_| Ok(())).await.unwrap();
}
