//! A server of PostgreSQL that becomes a standby, and a standby that becomes the primary.

use mandate_store::{StoreError, WriteTrouble, meta};

use super::{World, eventually, unavailable};

#[test]
fn a_standby_is_read_and_takes_no_writes_until_it_is_promoted() {
    let Some(mut world) = World::new(&[]) else { return };
    assert_eq!(world.append(0), Ok(0));
    world.store.transact_blocking("write", |tx| meta::put(tx, "x", "before")).unwrap();
    world.cluster.restart_as_standby();
    assert_eq!(world.sql("SELECT pg_is_in_recovery()"), "t");
    // The first answers may be those of connections that the restart has ended.
    let mut why = String::new();
    eventually("it is said", || {
        why = unavailable(world.append(1));
        !why.contains("cannot be reached") && !why.contains("a moment ago")
    });
    assert!(why.contains("the database server takes no writes"), "{why}");
    assert_eq!(world.store.write_trouble(), Some(WriteTrouble::ReadOnly));
    let refused = world.store.transact_blocking("write", |tx| meta::put(tx, "x", "after"));
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    assert_eq!(world.value("x").as_deref(), Some("before"));
    world.cluster.sql("postgres", "SELECT pg_promote()");
    assert_eq!(world.append_at_last(2), 1);
    assert_eq!(world.store.write_trouble(), None);
    assert_eq!(world.size(), 2);
}
