//! Where our tables are, and others' tables of the same names.

use std::sync::Arc;

use mandate_store::{Store, StoreError, meta};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::postgres::Cluster;
use mandate_testkit::skipped;

use super::{World, connect};

/// A schema that comes before `public` for the user `mandate`, with another user's tables in it.
const SHADOW: &str = "CREATE ROLE intruder; CREATE SCHEMA mandate AUTHORIZATION intruder; \
    GRANT ALL ON SCHEMA mandate TO PUBLIC; \
    CREATE TABLE mandate.meta (LIKE public.meta INCLUDING ALL); \
    CREATE TABLE mandate.logs (LIKE public.logs INCLUDING ALL); \
    CREATE TABLE mandate.records (LIKE public.records INCLUDING ALL); \
    CREATE TABLE mandate.registry_version (LIKE public.registry_version INCLUDING ALL); \
    CREATE TABLE mandate.mandate_schema (LIKE public.mandate_schema INCLUDING ALL); \
    INSERT INTO mandate.mandate_schema VALUES (1, 9999); \
    INSERT INTO mandate.meta VALUES ('x', 'theirs'); \
    GRANT ALL ON ALL TABLES IN SCHEMA mandate TO PUBLIC; \
    ALTER TABLE mandate.meta OWNER TO intruder; ALTER TABLE mandate.logs OWNER TO intruder; \
    ALTER TABLE mandate.records OWNER TO intruder; ALTER TABLE mandate.registry_version OWNER TO intruder; \
    ALTER TABLE mandate.mandate_schema OWNER TO intruder";

#[test]
fn tables_of_another_user_that_come_first_in_the_search_path_are_not_ours() {
    let Some(mut world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    world.store.transact_blocking("put", |tx| meta::put(tx, "x", "ours")).unwrap();
    world.sql(SHADOW);
    assert_eq!(world.sql("SELECT value FROM meta"), "\\x746865697273", "a session of this user sees theirs");
    // Every connection is a new one.
    world.cluster.restart();
    assert_eq!(world.append_at_last(1), 1);
    assert_eq!(world.value("x").as_deref(), Some("ours"));
    assert_eq!(world.size(), 2);
    let World { cluster, database, store, log, dir, sequencer } = world;
    drop(log);
    sequencer.join().unwrap();
    drop(store);
    let store = connect(dir.path(), &cluster.url(&database)).unwrap();
    store.transact_blocking("put", |tx| meta::put(tx, "y", "ours")).unwrap();
    assert_eq!(store.read_blocking("get", |tx| meta::get(tx, "x")).unwrap().as_deref(), Some("ours"));
    assert_eq!(cluster.sql(&database, "SELECT count(*) FROM mandate.meta"), "1");
    assert_eq!(cluster.sql(&database, "SELECT count(*) FROM mandate.records"), "0");
}

#[test]
fn the_tables_stay_where_they_were_made_whatever_the_search_path_becomes() {
    let Some(world) = World::new(&[]) else { return };
    let database = world.cluster.create_database();
    world.cluster.sql(&database, "CREATE SCHEMA own");
    let set = |path: &str| format!("ALTER DATABASE {database} SET search_path = {path}");
    world.cluster.sql(&database, &set("own, public"));
    let (dir, url) = (tempfile::tempdir().unwrap(), world.cluster.url(&database));
    let open = || Store::connect_blocking(dir.path(), &url.parse().unwrap(), Arc::new(SeededEntropy::new(7)));
    let store = open().unwrap();
    store.transact_blocking("put", |tx| meta::put(tx, "x", "ours")).unwrap();
    drop(store);
    world.cluster.sql(&database, "CREATE SCHEMA other");
    for path in ["other, own", "public", "other"] {
        world.cluster.sql(&database, &set(path));
        let store = super::eventually_some(|| open().ok());
        assert_eq!(
            store.read_blocking("get", |tx| meta::get(tx, "x")).unwrap().as_deref(),
            Some("ours"),
            "{path}"
        );
    }
    let made = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('other', 'public')";
    assert_eq!(world.cluster.sql(&database, made), "0");
}

/// A database of the role `ours`, with what `prepare` does, and the directory and address of a server.
fn of_an_ordinary_role(cluster: &Cluster, prepare: &str) -> (String, tempfile::TempDir, String) {
    let database = cluster.create_database();
    cluster.sql(&database, &format!("ALTER DATABASE {database} OWNER TO ours; {prepare}"));
    let url = cluster.url(&database).replace("mandate@", "ours@");
    (database, tempfile::tempdir().unwrap(), url)
}

#[test]
fn the_first_start_makes_no_tables_in_a_schema_of_another_role() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    cluster.sql("postgres", "CREATE ROLE ours LOGIN; CREATE ROLE group_of_ours; GRANT group_of_ours TO ours; CREATE ROLE intruder");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'ours')";
    for (prepare, says) in [
        (
            "CREATE SCHEMA ours AUTHORIZATION intruder; GRANT ALL ON SCHEMA ours TO ours",
            "schema `ours`, which belongs to the role `intruder`",
        ),
        (
            "ALTER SCHEMA public OWNER TO intruder; GRANT ALL ON SCHEMA public TO ours",
            "ALTER SCHEMA … OWNER TO",
        ),
        ("DROP SCHEMA public", "CREATE SCHEMA one"),
    ] {
        let (database, dir, url) = of_an_ordinary_role(&cluster, prepare);
        let refused = connect(dir.path(), &url);
        assert!(
            matches!(&refused, Err(StoreError::Directory { why, .. }) if why.contains(says)),
            "{prepare}: {refused:?}"
        );
        assert_eq!(cluster.sql(&database, tables), "0", "{prepare}");
    }
    for prepare in [
        "",
        "CREATE SCHEMA ours AUTHORIZATION ours",
        "CREATE SCHEMA ours AUTHORIZATION group_of_ours",
        "ALTER SCHEMA public OWNER TO mandate; GRANT ALL ON SCHEMA public TO ours",
    ] {
        let (database, dir, url) = of_an_ordinary_role(&cluster, prepare);
        drop(connect(dir.path(), &url).unwrap());
        // Whose schema it is afterwards is the administrator's business.
        cluster.sql(&database, "ALTER SCHEMA public OWNER TO intruder; GRANT ALL ON SCHEMA public TO ours");
        super::eventually_some(|| connect(dir.path(), &url).ok());
    }
    // The owner of the database is another role than ours.
    let prepare = "CREATE ROLE administrator; GRANT ALL ON SCHEMA public TO ours";
    let (database, dir, url) = of_an_ordinary_role(&cluster, prepare);
    let owned = format!(
        "ALTER DATABASE {database} OWNER TO administrator; ALTER SCHEMA public OWNER TO administrator; \
         GRANT CREATE ON DATABASE {database} TO ours"
    );
    cluster.sql(&database, &owned);
    drop(connect(dir.path(), &url).unwrap());
}

#[test]
fn a_schema_whose_name_has_capital_letters_is_used_as_it_is_written() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    cluster.sql("postgres", "CREATE ROLE ours LOGIN");
    let (database, dir, url) = of_an_ordinary_role(&cluster, "CREATE SCHEMA \"Own\" AUTHORIZATION ours");
    cluster.sql(&database, &format!("ALTER DATABASE {database} SET search_path = \"Own\""));
    drop(connect(dir.path(), &url).unwrap());
    assert_eq!(cluster.sql(&database, "SELECT schemaname FROM pg_tables WHERE tablename = 'meta'"), "Own");
    super::eventually_some(|| connect(dir.path(), &url).ok());
}
