//! Identifiers are compared exactly, and "which person's request caused this?" is one query.

use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_core::{KnownTerms, Subject, Timestamp};
use mandate_store::records;

use crate::world::World;

const NAMES: [&str; 4] = ["riley", "Riley", "rîley", "riley "];

#[test]
fn identifiers_compare_bytewise() {
    let world = World::new();
    for (n, name) in NAMES.iter().enumerate() {
        let sub = Some(Subject { iss: "https://a.example".parse().unwrap(), sub: (*name).to_owned() });
        let record = Record {
            about: KnownTerms { sub, ..KnownTerms::default() }.into(),
            ..Record::new(
                format!("r{n}").parse().unwrap(),
                Timestamp::from_secs(1),
                RecordKind::Authorize,
                Outcome::Permitted,
                "ok",
            )
        };
        world.log.append_blocking(record, Vec::new()).unwrap();
    }
    for name in NAMES {
        let query = Query { person: Some(name.to_owned()), ..Query::default() };
        let found =
            world.store.search_blocking("query", |tx| records::query(tx, &query)).unwrap().unwrap().found;
        assert_eq!(found.len(), 1, "{name:?}");
        assert_eq!(found[0].record.said().sub.unwrap().sub, name);
    }
}

#[test]
fn which_persons_request_caused_this_is_one_query() {
    let world = World::new();
    for n in 0..50 {
        world.append(n).unwrap();
    }
    let query = Query { jti: Some("t17".parse().unwrap()), ..Query::default() };
    let found = world.store.search_blocking("query", |tx| records::query(tx, &query)).unwrap().unwrap().found;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].record.said().sub.unwrap().sub, "person1");
    let inner = Query { agent: Some("spiffe://td/agent/b1".into()), limit: Some(3), ..Query::default() };
    let found = world.store.search_blocking("query", |tx| records::query(tx, &inner)).unwrap().unwrap().found;
    let ids: Vec<&str> = found.iter().map(|r| r.record.id.as_str()).collect();
    assert_eq!(ids, ["r49", "r47", "r45"], "an inner actor is found too; the newest come first");
}
