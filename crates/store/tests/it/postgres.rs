//! What can happen to a server of `PostgreSQL`, to the way there and beside us. Each test has a server of its
//! own.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mandate_store::{
    AppendError, Effect, EffectRefusal, PostgresAddress, Store, StoreError, WriteTrouble, meta,
};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::line::Line;
use mandate_testkit::postgres::{ACCEPT_LOST_RECORDS, Cluster};
use mandate_testkit::skipped;
use tempfile::TempDir;

use crate::world::{ORIGIN, add_log, record, start, verify};

mod answers;
mod conflicts;
mod exclusive;
mod failover;
mod schema;

fn connect(dir: &Path, address: &str) -> Result<Store, StoreError> {
    let address: PostgresAddress = address.parse().unwrap();
    Store::connect_blocking(dir, &address, Arc::new(SeededEntropy::new(7)))
}

/// A server with a database, and a running log.
struct World {
    cluster: Cluster,
    database: String,
    store: Store,
    log: mandate_store::Log,
    sequencer: JoinHandle<()>,
    dir: TempDir,
}

impl World {
    fn new(settings: &[&str]) -> Option<Self> {
        Self::over(settings, Cluster::url)
    }

    fn over(settings: &[&str], address: impl FnOnce(&Cluster, &str) -> String) -> Option<Self> {
        let Some(cluster) = Cluster::start(settings) else {
            skipped("PostgreSQL is not installed");
            return None;
        };
        let database = cluster.create_database();
        let dir = tempfile::tempdir().unwrap();
        let store = connect(dir.path(), &address(&cluster, &database)).unwrap();
        add_log(&store);
        let (log, sequencer) = start(store.audit_backend(ORIGIN).unwrap()).unwrap();
        Some(Self { cluster, database, store, log, sequencer, dir })
    }

    fn append(&self, n: u64) -> Result<u64, AppendError> {
        self.log.append_blocking(record(n), Vec::new()).map(|receipt| receipt.index())
    }

    /// Appends until it works again; returns the index.
    fn append_at_last(&self, n: u64) -> u64 {
        let begun = Instant::now();
        loop {
            match self.append(n) {
                Ok(index) => return index,
                Err(AppendError::Unavailable(_)) if begun.elapsed() < Duration::from_secs(30) => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn sql(&self, statement: &str) -> String {
        self.cluster.sql(&self.database, statement)
    }

    fn size(&self) -> u64 {
        verify(&self.store).unwrap().size
    }

    fn value(&self, name: &str) -> Option<String> {
        self.store.read_blocking("read", |tx| meta::get(tx, name)).unwrap()
    }
}

/// What there is at last.
fn eventually_some<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let mut some = None;
    eventually("it is there", || {
        some = found();
        some.is_some()
    });
    some.unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn unavailable(answer: Result<u64, AppendError>) -> String {
    match answer {
        Err(AppendError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_was_killed_refuses_clearly_and_nothing_is_lost_when_it_is_back() {
    let Some(mut world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    world.cluster.kill();
    let why = unavailable(world.append(1));
    assert!(why.contains("cannot be reached"), "{why}");
    assert_eq!(world.store.write_trouble(), Some(WriteTrouble::Unreachable));
    assert!(matches!(
        world.store.read_blocking("read", |tx| meta::get(tx, "x")),
        Err(StoreError::Unreachable(_))
    ));
    world.cluster.restart();
    assert_eq!(world.append_at_last(2), 1);
    assert_eq!(world.store.write_trouble(), None);
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "y")).unwrap();
    assert_eq!(world.size(), 2);
}

#[test]
fn killed_under_load_every_receipt_is_kept() {
    let Some(mut world) = World::new(&[]) else { return };
    let stop = AtomicU32::new(0);
    let log = world.log.clone();
    let mut kept: Vec<u64> = thread::scope(|scope| {
        let appending: Vec<_> = (0..4u64)
            .map(|worker| {
                let (log, stop) = (&log, &stop);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) == 1 {
                            break;
                        }
                        match log.append_blocking(record(worker * 1_000_000 + n), Vec::new()) {
                            Ok(receipt) => kept.push(receipt.index()),
                            Err(AppendError::Unavailable(_)) => thread::sleep(Duration::from_millis(5)),
                            Err(other) => panic!("{other}"),
                        }
                    }
                    kept
                })
            })
            .collect();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            world.cluster.restart();
        }
        thread::sleep(Duration::from_millis(500));
        stop.store(1, Ordering::Relaxed);
        appending.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    world.append_at_last(9);
    kept.sort_unstable();
    assert!(kept.len() > 10 && kept.is_sorted_by(|a, b| a < b), "each receipt names a place of its own");
    assert!(world.size() > kept[kept.len() - 1], "there may be more than receipts, and never less");
}

#[test]
fn a_server_that_takes_no_writes_refuses_and_is_used_again_when_it_does() {
    let Some(world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    world.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    world.sql("SELECT pg_reload_conf()");
    thread::sleep(Duration::from_millis(300));
    let why = unavailable(world.append(1));
    assert!(why.contains("takes no writes"), "{why}");
    assert_eq!(world.store.write_trouble(), Some(WriteTrouble::ReadOnly));
    let refused = world.store.transact_blocking("write", |tx| meta::put(tx, "x", "y"));
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))));
    assert_eq!(world.store.read_blocking("read", |tx| meta::get(tx, "x")).unwrap(), None);
    world.sql("ALTER SYSTEM RESET default_transaction_read_only");
    world.sql("SELECT pg_reload_conf()");
    assert_eq!(world.append_at_last(2), 1);
    assert_eq!(world.store.write_trouble(), None);
}

#[test]
fn a_write_ends_its_transaction_once_and_leaves_none_open_whatever_happens_in_it() {
    let Some(world) = World::new(&["log_statement=all"]) else { return };
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "kept")).unwrap();
    let refused = world.store.transact_blocking("refuse", |tx| {
        meta::put(tx, "x", "refused")?;
        Err::<(), _>(EffectRefusal::CodeUsed.into())
    });
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.store.transact_blocking("panic", |tx| {
            meta::put(tx, "x", "panicked")?;
            panic!("as a fault in a repository would");
            #[expect(unreachable_code, reason = "it says what the closure returns")]
            Ok(())
        })
    }));
    assert!(panicked.is_err());
    for n in 0..20 {
        world.store.transact_blocking("write", |tx| meta::put(tx, "y", &n.to_string())).unwrap();
    }
    assert_eq!((world.value("x").as_deref(), world.value("y").as_deref()), (Some("kept"), Some("19")));
    let said = std::fs::read_to_string(world.cluster.socket_dir().join("server.log")).unwrap();
    assert!(said.contains("refused"), "every statement is in it");
    assert!(
        !said.contains("no transaction in progress") && !said.contains("already a transaction"),
        "{said}"
    );
}

#[test]
fn a_server_without_free_connections_refuses_reads_and_the_log_goes_on() {
    let Some(world) = World::new(&["max_connections=12", "superuser_reserved_connections=0"]) else { return };
    let sleepers: Vec<_> = (0..12)
        .filter_map(|_| {
            let mut command = world.cluster.session(&world.database);
            command.args(["--command", "SELECT pg_sleep(8)"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().ok()
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    let readers: Vec<_> = (0..12)
        .map(|_| {
            let store = world.store.clone();
            thread::spawn(move || {
                store.read_blocking("read", |tx| {
                    thread::sleep(Duration::from_millis(300));
                    meta::get(tx, "x")
                })
            })
        })
        .collect();
    let answers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| format!("{error:?}"));
    assert!(
        refused.clone().count() > 0 && refused.clone().all(|error| error.contains("Unreachable")),
        "{:?}",
        refused.collect::<Vec<_>>()
    );
    assert_eq!(world.append(0), Ok(0), "the log has a connection of its own");
    for mut sleeper in sleepers {
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    let begun = Instant::now();
    while world.store.read_blocking("read", |tx| meta::get(tx, "x")).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

fn over_a_line(line: &mut Option<Line>) -> Option<World> {
    World::over(&[], |cluster, database| {
        let made = line.insert(Line::to(cluster.socket()));
        format!(
            "postgres://mandate@127.0.0.1:{}/{database}?sslmode=disable&{ACCEPT_LOST_RECORDS}",
            made.port()
        )
    })
}

#[test]
fn a_slow_way_makes_appends_slow_and_wrong_in_nothing() {
    let mut line = None;
    let Some(world) = over_a_line(&mut line) else { return };
    line.unwrap().delay(Duration::from_millis(100));
    let mut indexes: Vec<u64> = thread::scope(|scope| {
        let waiters: Vec<_> = (0..60)
            .map(|n| {
                scope.spawn({
                    let world = &world;
                    move || world.append(n).unwrap()
                })
            })
            .collect();
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
    });
    indexes.sort_unstable();
    assert_eq!(indexes, (0..60).collect::<Vec<_>>());
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "y")).unwrap();
    assert_eq!(world.store.read_blocking("read", |tx| meta::get(tx, "x")).unwrap().as_deref(), Some("y"));
}

#[test]
fn an_answer_that_comes_after_the_caller_gave_up_harms_nothing() {
    let mut line = None;
    let Some(world) = over_a_line(&mut line) else { return };
    let line = line.unwrap();
    assert_eq!(world.append(0), Ok(0));
    for n in 1..4 {
        line.hold_answers();
        let begun = Instant::now();
        let why = unavailable(world.append(n * 10));
        assert!(why.contains("no answer within 2 s"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(8));
        let read = world.store.read_blocking("read", |tx| meta::get(tx, "x"));
        assert!(matches!(read, Err(StoreError::Unreachable(_))));
        line.release_answers();
        world.append_at_last(n);
    }
    let size = world.size();
    assert_eq!(world.append(9), Ok(size));
}

#[test]
fn a_server_that_stands_still_is_given_up_in_time_and_used_again_when_it_goes_on() {
    let Some(world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    world.cluster.freeze();
    let begun = Instant::now();
    let why = unavailable(world.append(1));
    assert!(begun.elapsed() < Duration::from_secs(8), "{why}");
    assert_eq!(world.store.write_trouble(), Some(WriteTrouble::Unreachable));
    world.cluster.thaw();
    let index = world.append_at_last(2);
    assert_eq!(world.size(), index + 1);
}

#[test]
fn one_server_at_a_time_uses_a_database() {
    let Some(world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    let other = tempfile::tempdir().unwrap();
    let refused = connect(other.path(), &world.cluster.url(&world.database)).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Busy(why) if why.to_string().contains("another server uses this database")),
        "{refused:?}"
    );
    // The lock's connection is cut, and another takes the lock before us.
    let taken = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'; \
                 SELECT pg_advisory_lock(1298428977); SELECT pg_sleep(4)";
    thread::scope(|scope| {
        scope.spawn(|| world.sql(taken));
        thread::sleep(Duration::from_millis(500));
        let why = unavailable(world.append(1));
        assert!(why.contains("another server uses this database"), "{why}");
        assert_eq!(world.store.write_trouble(), Some(WriteTrouble::HeldElsewhere));
    });
    assert_eq!(world.append_at_last(2), 1);
}

#[test]
fn a_database_without_its_sealing_key_and_a_key_without_its_database_are_refused() {
    let Some(World { cluster, database, store, log, dir, .. }) = World::new(&[]) else { return };
    let address = cluster.url(&database);
    drop((store, log));
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(
        matches!(connect(elsewhere.path(), &address), Err(StoreError::SealKey { why, .. }) if why.contains("missing"))
    );
    let empty = cluster.url(&cluster.create_database());
    let refused = connect(dir.path(), &empty).unwrap_err().to_string();
    assert!(refused.contains("seal.key") && refused.contains("is empty: restore"), "{refused}");
    let other = tempfile::tempdir().unwrap();
    let another = cluster.url(&cluster.create_database());
    drop(
        Store::connect_blocking(other.path(), &another.parse().unwrap(), Arc::new(SeededEntropy::new(8)))
            .unwrap(),
    );
    assert!(
        matches!(connect(other.path(), &address), Err(StoreError::SealKey { why, .. }) if why.contains("not the sealing key"))
    );
    connect(dir.path(), &address).unwrap();
}

#[test]
fn a_first_start_that_was_cut_short_is_carried_on() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let address = cluster.url(&cluster.create_database());
    drop(connect(first.path(), &address).unwrap());
    // As it is after the database was made and before the key got its name.
    std::fs::rename(first.path().join("seal.key"), second.path().join("seal.key.new")).unwrap();
    connect(second.path(), &address).unwrap();
    assert!(second.path().join("seal.key").exists());
}

#[test]
fn an_older_schema_is_brought_up_to_date_and_others_tables_are_refused() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let old = cluster.create_database();
    let first = include_str!("../../migrations/postgres/0001_initial.sql");
    cluster.sql(&old, "CREATE TABLE mandate_schema (one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL)");
    cluster.sql(&old, first);
    cluster.sql(&old, "INSERT INTO mandate_schema VALUES (1, 1)");
    std::fs::write(dir.path().join("seal.key.new"), [7; 32]).unwrap();
    std::fs::set_permissions(
        dir.path().join("seal.key.new"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let store = connect(dir.path(), &cluster.url(&old)).unwrap();
    store.read_blocking("version", mandate_store::registry::version).unwrap();
    let (new, version) = (cluster.create_database(), "SELECT version FROM mandate_schema");
    drop(connect(tempfile::tempdir().unwrap().path(), &cluster.url(&new)).unwrap());
    assert_eq!(cluster.sql(&old, version), cluster.sql(&new, version), "as a database of today");
    let foreign = cluster.create_database();
    cluster.sql(&foreign, "CREATE TABLE customers (name TEXT)");
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(connect(dir.path(), &cluster.url(&foreign)), Err(StoreError::Foreign)));
    assert_eq!(
        cluster.sql(&foreign, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "1",
        "and nothing is put there"
    );
}

#[test]
fn a_database_that_does_not_fit_or_may_not_be_used_says_what_to_do() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    cluster.sql("postgres", "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'");
    cluster.sql("postgres", "CREATE ROLE guest LOGIN");
    let theirs = cluster.create_database();
    let as_guest = cluster.url(&theirs).replace("mandate@", "guest@");
    let nowhere = cluster.url("nowhere");
    for (address, says) in [
        (cluster.url("ascii"), "make one with ENCODING 'UTF8'"),
        (as_guest, "may not create tables"),
        (nowhere, "database \"nowhere\" does not exist"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = connect(dir.path(), &address).unwrap_err();
        let mut chain = std::iter::successors(Some(&error as &dyn Error), |&error| error.source());
        assert!(chain.any(|error| error.to_string().contains(says)), "{error:?}");
    }
}

#[test]
fn text_that_the_server_cannot_hold_is_the_fault_of_its_own_entry() {
    let Some(world) = World::new(&[]) else { return };
    let keeps = Effect::KeepJoinToken {
        hash: [1; 32],
        by: "a\0b".to_owned(),
        expires: mandate_core::Timestamp::from_secs(1),
    };
    let answer = world.log.append_blocking(record(1), vec![keeps]).unwrap_err();
    assert_eq!(answer, AppendError::EffectRefused(EffectRefusal::Internal));
    assert_eq!(world.append(2), Ok(0));
    assert_eq!(world.size(), 1);
}

#[test]
fn commits_wait_for_the_disk_whatever_the_role_is_used_to() {
    let Some(world) = World::new(&[]) else { return };
    world.sql("ALTER ROLE mandate SET synchronous_commit = off");
    let dir = tempfile::tempdir().unwrap();
    let database = world.cluster.create_database();
    let store = connect(dir.path(), &world.cluster.url(&database)).unwrap();
    // A setting as a value of a statement of ours: only a session can say what it has.
    world.cluster.sql(
        &database,
        "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.value := \
        convert_to(current_setting('synchronous_commit'), 'UTF8'); RETURN NEW; END $$; \
        CREATE TRIGGER seen BEFORE INSERT ON meta FOR EACH ROW EXECUTE FUNCTION seen()",
    );
    store.transact_blocking("put", |tx| meta::put(tx, "seen", "nothing")).unwrap();
    assert_eq!(store.read_blocking("get", |tx| meta::get(tx, "seen")).unwrap().as_deref(), Some("on"));
    // The log's own connection.
    add_log(&store);
    world.cluster.sql(
        &database,
        "CREATE FUNCTION demand() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        IF current_setting('synchronous_commit') <> 'on' THEN RAISE EXCEPTION 'it is %', current_setting('synchronous_commit'); END IF; \
        RETURN NEW; END $$; \
        CREATE TRIGGER demand BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION demand()",
    );
    let (log, _thread) = start(store.audit_backend(ORIGIN).unwrap()).unwrap();
    log.append_blocking(record(0), Vec::new()).unwrap();
}

#[test]
fn a_server_that_may_lose_what_it_commits_is_refused_unless_the_url_accepts_that() {
    let Some(mut world) = World::new(&["fsync=on"]) else { return };
    assert_eq!(world.append(0), Ok(0));
    // As after a failover to a server that is set up in another way.
    world.cluster.restart_with("full_page_writes=off");
    let why = unavailable(world.append(1));
    assert!(why.contains("full_page_writes = off") && why.contains("can be lost"), "{why}");
    assert_eq!(world.store.write_trouble(), Some(WriteTrouble::LosesCommits));
    world.cluster.restart_with("full_page_writes=on");
    assert_eq!(world.append_at_last(2), 1);
    let World { mut cluster, database, store, log, dir, sequencer: _sequencer } = world;
    drop((store, log));
    cluster.restart_with("fsync=off");
    let url = cluster.url(&database);
    assert!(!url.contains(ACCEPT_LOST_RECORDS));
    let refused = connect(dir.path(), &url).unwrap_err();
    assert!(
        matches!(&refused, StoreError::LosesCommits(why) if why.contains("fsync = off") && why.contains(ACCEPT_LOST_RECORDS)),
        "{refused:?}"
    );
    connect(dir.path(), &format!("{url}?{ACCEPT_LOST_RECORDS}")).unwrap();
}
