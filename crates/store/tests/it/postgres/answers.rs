//! Answers that are lost, that come later than they are waited for, or that end with an error.

use mandate_audit::Query;
use mandate_core::registry::RegistryVersion;
use mandate_store::{AppendError, Effect, Store, StoreError, meta, records, registry};
use mandate_testkit::line::{Line, Lost};
use mandate_testkit::postgres::END_OF_A_WRITE;

use super::{World, eventually, over_a_line, unavailable};
use crate::world::record;

fn version(store: &Store) -> RegistryVersion {
    store.read_blocking("version", registry::version).unwrap()
}

/// Appends a record with a change of the registry.
fn change(world: &World, n: u64) -> Result<u64, AppendError> {
    let advance = Effect::AdvanceRegistry { planned_from: None };
    world.log.append_blocking(record(n), vec![advance]).map(|receipt| receipt.index())
}

/// Waits until it is settled what became of the changes whose answers were lost.
fn settled(store: &Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    eventually("it is settled", || runtime.block_on(store.settled()).is_ok());
}

#[test]
fn a_change_whose_answer_was_lost_is_settled_before_it_is_read() {
    let mut line: Option<Line> = None;
    let Some(world) = over_a_line(&mut line) else { return };
    let line = line.unwrap();
    // A commit that takes a while: the server does it, also when its client has gone.
    world.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON registry_version DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let first = version(&world.store);
    line.lose(END_OF_A_WRITE, Lost::Answer);
    let why = unavailable(change(&world, 0));
    assert!(why.contains("cannot be reached"), "{why}");
    assert_eq!(version(&world.store), first, "the server has not done it yet");
    settled(&world.store);
    assert_eq!(version(&world.store), first.next());
    assert_eq!(world.append_at_last(1), 1, "the log goes on behind it");
    assert_eq!(world.size(), 2);
}

#[test]
fn a_change_that_the_server_never_heard_of_is_settled_too_and_keeps_nobody_waiting() {
    let mut line: Option<Line> = None;
    let Some(world) = over_a_line(&mut line) else { return };
    let first = version(&world.store);
    line.unwrap().lose(END_OF_A_WRITE, Lost::Question);
    let why = unavailable(change(&world, 0));
    assert!(why.contains("cannot be reached"), "{why}");
    settled(&world.store);
    assert_eq!(version(&world.store), first);
    assert_eq!(world.append_at_last(1), 0);
    assert_eq!(change(&world, 2), Ok(1));
    assert_eq!(version(&world.store), first.next());
}

#[test]
fn an_error_behind_the_first_row_is_an_error() {
    let Some(world) = World::new(&[]) else { return };
    for n in 0..3 {
        world.append(n).unwrap();
    }
    world.store.transact_blocking("put", |tx| meta::put(tx, "x", "y")).unwrap();
    let all = |tx: &mandate_store::Tx<'_>| records::query(tx, &Query::default());
    assert_eq!(world.store.search_blocking("all", all).unwrap().unwrap().found.len(), 3);
    // Each answer has its rows, and then fails.
    world.sql(
        "ALTER TABLE meta RENAME TO meta_rows; CREATE VIEW meta AS SELECT name, value FROM meta_rows \
         UNION ALL SELECT name, int4send(1 / (length(name) - 1)) FROM meta_rows WHERE name = 'x'; \
         ALTER TABLE records RENAME TO record_rows; \
         CREATE VIEW records AS SELECT log, idx, hashes, leaf FROM record_rows WHERE idx > 0 \
         UNION ALL SELECT log, idx, hashes, int4send(1 / idx::int4) FROM record_rows WHERE idx = 0",
    );
    let one = world.store.read_blocking("one", |tx| meta::get(tx, "x"));
    assert!(matches!(one, Err(StoreError::Sql(_))), "{one:?}");
    let all = world.store.search_blocking("all", all);
    assert!(matches!(all, Err(StoreError::Sql(_))), "{all:?}");
}
