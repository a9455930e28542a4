//! Queries find what a filter over all records would, and "which person's request caused this?" is one of them.

use mandate_audit::{Kind, Outcome, Query, Record};
use mandate_core::{Actor, ActorChain, Issuer, Person, Timestamp};
use mandate_store::records;
use proptest::prelude::*;

use crate::world::World;

// Few values, so that filters hit; they differ by case and by accents that collations would fold.
const NAMES: [&str; 4] = ["riley", "Riley", "rîley", "riley "];
const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];
const RESOURCES: [&str; 3] = ["https://crm.example", "https://crm.example/", "https://crm.example/A"];
const KINDS: [Kind; 8] =
    [Kind::Exchange, Kind::Authorize, Kind::Token, Kind::Identity, Kind::Revoke, Kind::Registry, Kind::Node, Kind::Admin];

fn issuer() -> impl Strategy<Value = Issuer> {
    prop::sample::select(ISSUERS.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![Outcome::Permitted, Outcome::Refused])
}

prop_compose! {
    fn any_record()(
        time in 0u64..20,
        kind in prop::sample::select(KINDS.to_vec()),
        outcome in outcome(),
        person in prop::option::of((issuer(), name())),
        actors in prop::collection::vec((name(), issuer()), 0..3),
        aud in prop::option::of(prop::sample::select(RESOURCES.to_vec())),
        jti in prop::option::of(0u8..4),
    ) -> Record {
        let actors = actors.into_iter().map(|(sub, iss)| Actor { sub, iss, sub_profile: None }).collect();
        Record {
            sub: person.map(|(iss, sub)| Person { iss, sub }),
            act: ActorChain::new(actors).unwrap_or_default(),
            aud: aud.map(str::to_owned),
            jti: jti.map(|n| format!("t{n}").parse().unwrap()),
            ..Record::new("unnumbered".parse().unwrap(), Timestamp::from_millis(time), kind, outcome, "ok")
        }
    }
}

prop_compose! {
    fn any_query()(
        agent in prop::option::weighted(0.3, name()),
        person in prop::option::weighted(0.3, name()),
        person_issuer in prop::option::weighted(0.2, issuer()),
        resource in prop::option::weighted(0.3, prop::sample::select(RESOURCES.to_vec())),
        jti in prop::option::weighted(0.2, 0u8..4),
        since in prop::option::weighted(0.3, 0u64..20),
        until in prop::option::weighted(0.3, 0u64..25),
        outcome in prop::option::weighted(0.3, outcome()),
        kind in prop::option::weighted(0.2, prop::sample::select(KINDS.to_vec())),
        limit in prop::option::weighted(0.3, 0u32..10),
    ) -> Query {
        Query {
            agent,
            person,
            person_issuer,
            resource: resource.map(str::to_owned),
            jti: jti.map(|n| format!("t{n}").parse().unwrap()),
            since: since.map(Timestamp::from_millis),
            until: until.map(Timestamp::from_millis),
            outcome,
            kind,
            limit,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_query_finds_what_a_filter_over_all_records_finds(
        mut all in prop::collection::vec(any_record(), 0..60),
        queries in prop::collection::vec(any_query(), 40),
    ) {
        let world = World::new();
        for (n, record) in all.iter_mut().enumerate() {
            record.id = format!("r{n}").parse().unwrap();
            world.log.append_blocking(record.clone(), Vec::new()).unwrap();
        }
        for query in queries {
            let limit = query.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap());
            let naive: Vec<&Record> = all.iter().rev().filter(|r| query.matches(r)).take(limit).collect();
            let found = world.store.read("query", |tx| records::query(tx, &query)).unwrap();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), naive, "{:?}", query);
        }
        let size = u64::try_from(all.len()).unwrap();
        prop_assert_eq!(world.verify().unwrap().size, size);
    }
}

#[test]
fn identifiers_compare_bytewise() {
    let world = World::new();
    for (n, name) in NAMES.iter().enumerate() {
        let record = Record {
            sub: Some(Person { iss: "https://a.example".parse().unwrap(), sub: (*name).to_owned() }),
            ..Record::new(format!("r{n}").parse().unwrap(), Timestamp::from_secs(1), Kind::Authorize, Outcome::Permitted, "ok")
        };
        world.log.append_blocking(record, Vec::new()).unwrap();
    }
    for name in NAMES {
        let query = Query { person: Some(name.to_owned()), ..Query::default() };
        let found = world.store.read("query", |tx| records::query(tx, &query)).unwrap();
        assert_eq!(found.len(), 1, "{name:?}");
        assert_eq!(found[0].sub.as_ref().unwrap().sub, name);
    }
}

#[test]
fn which_persons_request_caused_this_is_one_query() {
    let world = World::new();
    for n in 0..50 {
        world.append(n).unwrap();
    }
    let query = Query { jti: Some("t17".parse().unwrap()), ..Query::default() };
    let found = world.store.read("query", |tx| records::query(tx, &query)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sub.as_ref().unwrap().sub, "person1");
    let inner = Query { agent: Some("spiffe://td/agent/b1".into()), limit: Some(3), ..Query::default() };
    let found = world.store.read("query", |tx| records::query(tx, &inner)).unwrap();
    let ids: Vec<&str> = found.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["r49", "r47", "r45"], "an inner actor is found too; the newest come first");
}
