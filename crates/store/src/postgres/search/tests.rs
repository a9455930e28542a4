//! What can happen to the schema and to the way there. Each test has a server of its own.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::postgres::Cluster;
use mandate_testkit::skipped;
use tempfile::TempDir;

use crate::search_rows::tests::{
    ORIGIN, append, eventually, ids, indexed, numbered, of_person1, settle, verify,
};
use crate::{Store, StoreError, records};

fn connect(dir: &Path, address: &str) -> Store {
    let begun = Instant::now();
    loop {
        match Store::connect_blocking(dir, &address.parse().unwrap(), Arc::new(SeededEntropy::new(1))) {
            // A process that another test starts holds the lock until it executes its own program.
            Err(StoreError::Directory { why, .. })
                if why.contains("another process") && begun.elapsed() < Duration::from_secs(5) =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            connected => return connected.unwrap(),
        }
    }
}

struct World {
    cluster: Cluster,
    database: String,
    store: Store,
    _dir: TempDir,
}

impl World {
    /// A server with a database that `prepare` has changed, and a log of `size` records in it.
    fn with(prepare: &str, size: u64) -> Option<Self> {
        let Some(cluster) = Cluster::start(&[]) else {
            skipped("PostgreSQL is not installed");
            return None;
        };
        let database = cluster.create_database();
        cluster.sql(&database, prepare);
        let dir = tempfile::tempdir().unwrap();
        let store = connect(dir.path(), &cluster.url(&database));
        append(&store, &(0..size).map(numbered).collect::<Vec<_>>());
        Some(Self { cluster, database, store, _dir: dir })
    }

    fn sql(&self, statement: &str) -> String {
        self.cluster.sql(&self.database, statement)
    }
}

#[test]
fn the_index_is_continued_when_a_server_is_back_and_its_thread_ends_without_one() {
    let Some(mut world) = World::with("", 40) else { return };
    settle(&world.store, 40);
    world.cluster.restart();
    eventually(|| world.store.read_blocking("size", |tx| records::size(tx, ORIGIN)).is_ok());
    assert_eq!(append(&world.store, &(40..80).map(numbered).collect::<Vec<_>>()), 80);
    settle(&world.store, 80);
    assert_eq!(verify(&world.store).unwrap(), 80);
    world.cluster.kill();
    let begun = Instant::now();
    drop(world.store);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_index_that_is_dropped_under_a_running_store_costs_no_answer_and_is_built_again() {
    let Some(world) = World::with("", 40) else { return };
    settle(&world.store, 40);
    world.sql("DROP SCHEMA search CASCADE");
    let (query, newest) = of_person1();
    assert_eq!(ids(&world.store, &query), newest);
    settle(&world.store, 40);
    assert_eq!(world.sql("SELECT count(DISTINCT chunk) FROM search.names"), "2");
    assert_eq!(ids(&world.store, &query), newest);
    assert_eq!(verify(&world.store).unwrap(), 40);
}

#[test]
fn a_schema_of_another_program_is_left_alone_and_every_record_is_read() {
    let Some(world) = World::with("CREATE SCHEMA search; CREATE TABLE search.names (product TEXT)", 40)
    else {
        return;
    };
    let (query, newest) = of_person1();
    assert_eq!(ids(&world.store, &query), newest);
    assert_eq!(verify(&world.store).unwrap(), 40);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(indexed(&world.store), 0);
    let tables = "SELECT string_agg(table_name || ' ' || column_name, ',') FROM information_schema.columns WHERE table_schema = 'search'";
    assert_eq!(world.sql(tables), "names product");
}

/// A trigger on the index, whose function runs with the rights of those who write to it.
const TRAP: &str = "CREATE TABLE ran (who TEXT); GRANT ALL ON ran TO PUBLIC; \
     CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     INSERT INTO public.ran VALUES (current_user); RETURN NEW; END $$; \
     CREATE TRIGGER run BEFORE INSERT ON search.chunks FOR EACH ROW EXECUTE FUNCTION run(); \
     GRANT ALL ON SCHEMA search TO ours, intruder; GRANT ALL ON ALL TABLES IN SCHEMA search TO ours";

#[test]
fn an_index_of_another_role_is_neither_used_nor_replaced() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    cluster.sql("postgres", "CREATE ROLE ours LOGIN; CREATE ROLE intruder");
    for theirs in [
        "ALTER SCHEMA search OWNER TO intruder",
        "ALTER TABLE search.mandate_index OWNER TO intruder",
        "ALTER TABLE search.chunks OWNER TO intruder",
        "ALTER TABLE search.mandate_index RENAME TO own; \
         CREATE VIEW search.mandate_index AS SELECT * FROM search.own; ALTER VIEW search.mandate_index OWNER TO ours",
        "DROP SCHEMA search CASCADE; CREATE SCHEMA search AUTHORIZATION intruder; GRANT ALL ON SCHEMA search TO ours",
    ] {
        let database = cluster.create_database();
        cluster.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO ours"));
        let dir = tempfile::tempdir().unwrap();
        let url = cluster.url(&database).replace("mandate@", "ours@");
        let store = connect(dir.path(), &url);
        append(&store, &(0..40).map(numbered).collect::<Vec<_>>());
        settle(&store, 40);
        drop(store);
        let of_search = "SELECT string_agg(concat(relname, relkind, oid), ',' ORDER BY relname) FROM pg_class \
            WHERE relnamespace = 'search'::regnamespace AND relkind IN ('r', 'v')";
        cluster.sql(&database, &format!("{TRAP}; {theirs}"));
        let before = cluster.sql(&database, of_search);
        let store = connect(dir.path(), &url);
        append(&store, &(40..80).map(numbered).collect::<Vec<_>>());
        assert_eq!(ids(&store, &of_person1().0), ["r77", "r73", "r69", "r65"], "{theirs}");
        assert_eq!(verify(&store).unwrap(), 80, "{theirs}");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(cluster.sql(&database, "SELECT count(*) FROM ran"), "0", "{theirs}");
        assert_eq!(cluster.sql(&database, of_search), before, "{theirs}");
    }
}

#[test]
fn the_index_waits_for_no_disk() {
    let Some(world) = World::with("", 16) else { return };
    settle(&world.store, 16);
    world.sql(
        "CREATE TABLE seen (value TEXT); \
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$; \
         CREATE TRIGGER see BEFORE INSERT ON search.chunks FOR EACH ROW EXECUTE FUNCTION see(); \
         CREATE TRIGGER see BEFORE INSERT ON records FOR EACH STATEMENT EXECUTE FUNCTION see()",
    );
    append(&world.store, &[numbered(16)]);
    assert_eq!(world.sql("SELECT DISTINCT value FROM seen"), "on");
    append(&world.store, &(17..32).map(numbered).collect::<Vec<_>>());
    settle(&world.store, 32);
    assert_eq!(world.sql("SELECT DISTINCT value FROM seen ORDER BY value"), "off\non");
}
