//! The lock that keeps other servers from the database: when it is lost, and who may have it.

use std::fs;
use std::sync::Arc;

use mandate_store::{Store, StoreError, WriteTrouble, meta};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::faulty_backend::{FaultyBackend, Point};
use mandate_testkit::pooler;
use mandate_testkit::postgres::{ACCEPT_LOST_RECORDS, Cluster};
use mandate_testkit::skipped;

use super::{World, connect, eventually, eventually_some, unavailable};
use crate::world::{ORIGIN, record, start, verify};

const HOLDERS: &str = "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory'";

/// Ends the session that has the lock. Returns when nobody has it.
fn cut_the_lock(cluster: &Cluster, database: &str) {
    cluster.sql(database, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");
    eventually("the lock is free", || cluster.sql(database, HOLDERS) == "0");
}

#[test]
fn a_server_whose_database_another_has_used_meanwhile_ends_and_writes_nothing_more() {
    let Some(world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "before")).unwrap();
    cut_the_lock(&world.cluster, &world.database);
    let other = tempfile::tempdir().unwrap();
    fs::copy(world.dir.path().join("seal.key"), other.path().join("seal.key")).unwrap();
    // Of another randomness, so of another name.
    let (address, entropy) = (world.cluster.url(&world.database), Arc::new(SeededEntropy::new(8)));
    let store = Store::connect_blocking(other.path(), &address.parse().unwrap(), entropy).unwrap();
    store.claim_blocking().unwrap();
    drop(store);
    eventually("the lock is free", || world.sql(HOLDERS) == "0");

    let why = unavailable(world.append(1));
    assert!(why.contains("another server has used this database meanwhile"), "{why}");
    eventually("the sequencer ends", || world.sequencer.is_finished());
    assert_eq!(unavailable(world.append(2)), "the sequencer has stopped");
    let mut last = None;
    eventually("what keeps it from writing is said again", || {
        let answer = world.store.transact_blocking("write", |tx| meta::put(tx, "x", "after"));
        last = Some(format!("{answer:?}"));
        !matches!(answer, Err(StoreError::Unreachable(_)))
    });
    assert_eq!(last.as_deref(), Some("Err(Superseded)"));
    assert_eq!((world.size(), world.value("x").as_deref()), (1, Some("before")));
}

/// Asks until the answer is about the lock, and not about the time in which it was not asked again.
fn still_ours(store: &Store) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    eventually_some(|| {
        let answer = runtime.block_on(store.still_ours());
        (!matches!(answer, Err(StoreError::Unreachable(_)))).then_some(answer)
    })
}

#[test]
fn a_server_that_writes_nothing_learns_that_another_has_used_its_database_while_that_one_runs() {
    let Some(world) = World::new(&[]) else { return };
    still_ours(&world.store).unwrap();
    cut_the_lock(&world.cluster, &world.database);
    still_ours(&world.store).unwrap();
    assert_eq!(world.sql(HOLDERS), "1", "it has taken the lock again");

    cut_the_lock(&world.cluster, &world.database);
    let other = tempfile::tempdir().unwrap();
    fs::copy(world.dir.path().join("seal.key"), other.path().join("seal.key")).unwrap();
    let (address, entropy) = (world.cluster.url(&world.database), Arc::new(SeededEntropy::new(8)));
    let other = Store::connect_blocking(other.path(), &address.parse().unwrap(), entropy).unwrap();
    let answer = still_ours(&world.store);
    assert!(matches!(answer, Err(StoreError::Busy(_))), "it has not claimed it: {answer:?}");
    other.claim_blocking().unwrap();
    let answer = still_ours(&world.store);
    assert!(matches!(answer, Err(StoreError::Superseded)), "{answer:?}");
    assert_eq!(world.store.write_trouble(), Some(WriteTrouble::Superseded));
    still_ours(&other).unwrap();
}

#[test]
fn a_start_that_was_refused_before_it_claimed_the_database_ends_no_other_server() {
    let Some(world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    cut_the_lock(&world.cluster, &world.database);
    let other = tempfile::tempdir().unwrap();
    fs::copy(world.dir.path().join("seal.key"), other.path().join("seal.key")).unwrap();
    let address = world.cluster.url(&world.database).parse().unwrap();
    let open = || Store::connect_blocking(other.path(), &address, Arc::new(SeededEntropy::new(8))).unwrap();
    let refused = open();
    // The server hears only that the database is in use.
    let why = unavailable(world.append(1));
    assert!(why.contains("another server uses this database"), "{why}");
    drop(refused);
    assert_eq!(world.append_at_last(2), 1);
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "after")).unwrap();

    // One that loses the lock before its claim does not know what was written meanwhile.
    cut_the_lock(&world.cluster, &world.database);
    let late = open();
    cut_the_lock(&world.cluster, &world.database);
    assert_eq!(world.append_at_last(3), 2);
    cut_the_lock(&world.cluster, &world.database);
    let mut last = None;
    eventually("it is told that another has used it", || {
        last = Some(late.claim_blocking());
        !matches!(last, Some(Err(StoreError::Unreachable(_) | StoreError::Busy(_))))
    });
    assert!(matches!(last, Some(Err(StoreError::Superseded))), "{last:?}");
    drop(late);
    assert_eq!(world.append_at_last(4), 3);
}

#[test]
fn what_is_written_while_the_lock_is_lost_is_not_committed() {
    let Some(world) = World::new(&[]) else { return };
    let refused = world.store.transact_blocking("write", |tx| {
        meta::put(tx, "x", "without the lock")?;
        cut_the_lock(&world.cluster, &world.database);
        Ok(())
    });
    let lost = "the lock on the database was lost";
    assert!(matches!(&refused, Err(StoreError::Busy(why)) if why.to_string().contains(lost)), "{refused:?}");
    assert_eq!(world.value("x"), None);
    // Nobody else was there: it goes on.
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "with it")).unwrap();
    assert_eq!(world.value("x").as_deref(), Some("with it"));
}

#[test]
fn a_batch_that_is_written_while_the_lock_is_lost_is_not_committed() {
    let Some(World { cluster, database, store, log, dir: _dir, .. }) = World::new(&[]) else { return };
    drop(log);
    let (backend, faults) = FaultyBackend::new(store.audit_backend(ORIGIN).unwrap());
    let (log, _sequencer) = start(backend).unwrap();
    faults.hold_at(Point::Commit);
    let answer = std::thread::scope(|scope| {
        let answer =
            scope.spawn(|| log.append_blocking(record(0), Vec::new()).map(|receipt| receipt.index()));
        faults.wait_until_held();
        cut_the_lock(&cluster, &database);
        faults.release();
        answer.join().unwrap()
    });
    let why = unavailable(answer);
    assert!(why.contains("the lock on the database was lost"), "{why}");
    assert_eq!(verify(&store).unwrap().size, 0);
    assert_eq!(log.append_blocking(record(1), Vec::new()).unwrap().index(), 0, "nobody else was there");
}

#[test]
fn a_pooler_that_shares_or_changes_sessions_is_refused_before_anything_is_written() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    for sessions in 1..=5 {
        let (database, dir) = (cluster.create_database(), tempfile::tempdir().unwrap());
        let port = pooler::start(&cluster.socket(), sessions);
        let address =
            format!("postgres://mandate@127.0.0.1:{port}/{database}?sslmode=disable&{ACCEPT_LOST_RECORDS}");
        let refused = connect(dir.path(), &address);
        let says = if sessions == 1 {
            "a pooler gives two connections one session"
        } else {
            "a pooler gives one connection several sessions"
        };
        assert!(
            matches!(&refused, Err(StoreError::Directory { why, .. }) if why.contains(says)),
            "{sessions}: {refused:?}"
        );
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(cluster.sql(&database, tables), "0");
    }
}

#[test]
fn a_look_that_fails_while_the_lock_is_taken_again_leaves_the_lock_to_nobody() {
    let Some(world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    // Every session is cut, the log's too, and then it cannot be read who has used the database.
    let hold = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid(); \
                BEGIN; LOCK TABLE meta IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT";
    std::thread::scope(|scope| {
        scope.spawn(|| world.sql(hold));
        std::thread::sleep(std::time::Duration::from_millis(700));
        let why = unavailable(world.append(1));
        assert!(why.contains("another process holds the database") || why.contains("a moment ago"), "{why}");
    });
    assert_eq!(world.append_at_last(2), 1);
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "after")).unwrap();
}
