//! Revocation by the pushed feed.

use std::time::Duration;

use mandate_core::{Clock as _, CutTarget, Subject};
use mandate_testkit::hostile_issuer::chain;
use mandate_verifier::{Freshness, Route};

use crate::world::{RESOURCE, World, code, eventually, soon, verify};

async fn cuts_known(world: &World, count: usize) {
    let mut status = world.verifier.status();
    soon(status.wait_for(|status| status.cuts == count)).await.unwrap();
}

#[tokio::test]
async fn each_kind_of_cut_refuses_the_token_and_its_neighbour_goes_on() {
    let world = World::new().await;
    let iss = world.issuer.issuer();
    let now = world.clock.now();
    let targets = [
        CutTarget::Token("token-1".parse().unwrap()),
        CutTarget::Token("parent-1".parse().unwrap()),
        CutTarget::Grant("grant-1".parse().unwrap()),
        CutTarget::Agent("spiffe://acme.example/agent/support-agent".into()),
        CutTarget::Person(Subject { iss: iss.clone(), sub: "riley".into() }),
        CutTarget::Client("spiffe://acme.example/agent/support-agent".parse().unwrap()),
    ];
    for target in targets {
        let world = World::new().await;
        let token = world.token("read:cases");
        let mut other = world.issuer.terms(RESOURCE, "read:cases", now);
        other.subject.as_mut().unwrap().sub = "sam".into();
        other.client = "another-app".parse().unwrap();
        other.chain = chain(&iss, &["another-agent"]);
        other.lineage = mandate_core::Lineage::default();
        let other = world.issuer.sign(&other);
        assert_eq!(world.outcome(&token).await, "ok");
        let target = match target {
            CutTarget::Person(person) => CutTarget::Person(Subject { iss: world.issuer.issuer(), ..person }),
            target => target,
        };
        world.issuer.cut(target.clone(), now);
        cuts_known(&world, 1).await;
        let refusal = world.verify(&token, "read:cases").await.unwrap_err();
        assert_eq!((refusal.status(), refusal.reason().code()), (401, "revoked"), "{target:?}");
        assert!(refusal.www_authenticate().unwrap().contains("error=\"invalid_token\""));
        assert_eq!(world.outcome(&other).await, "ok", "{target:?}");
    }
}

#[tokio::test]
async fn an_agent_deep_in_the_chain_is_cut_too() {
    let world = World::new().await;
    let mut terms = world.issuer.terms(RESOURCE, "read:cases", world.clock.now());
    terms.chain = chain(&world.issuer.issuer(), &["outer", "inner"]);
    let token = world.issuer.sign(&terms);
    world.issuer.cut(CutTarget::Agent("spiffe://acme.example/agent/inner".into()), world.clock.now());
    cuts_known(&world, 1).await;
    assert_eq!(world.outcome(&token).await, "revoked");
}

#[tokio::test]
async fn what_was_cut_before_the_start_is_known_at_ready() {
    let world = World::new().await;
    world.issuer.cut(CutTarget::Token("token-1".parse().unwrap()), world.clock.now());
    let late = crate::world::builder(&world.issuer, &world.clock).build().unwrap();
    soon(late.ready()).await;
    let token = world.token("read:cases");
    assert_eq!(code(&verify(&late, &token, &Route::any_scope()).await), "revoked");
}

#[tokio::test]
async fn a_silent_feed_closes_every_route_but_those_that_accept_it() {
    let world = World::new().await;
    let token = world.token("read:cases");
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(world.outcome(&token).await, "ok");
    world.clock.advance(Duration::from_secs(1));
    let refusal = world.verify(&token, "read:cases").await.unwrap_err();
    assert_eq!((refusal.status(), refusal.reason().code()), (503, "revocations_stale"));
    assert!(refusal.retry_after().is_some() && refusal.www_authenticate().is_none());
    let patient = Route::any_scope().freshness(Freshness::FailClosed { max_age: Duration::from_mins(1) });
    let careless = Route::any_scope().dangerous_accept_stale();
    assert_eq!(code(&verify(&world.verifier, &token, &patient).await), "ok");
    assert_eq!(code(&verify(&world.verifier, &token, &careless).await), "ok");
    // A heartbeat is enough to open them again.
    world.issuer.beat();
    eventually(async || world.outcome(&token).await == "ok").await;
}

#[tokio::test]
async fn a_clock_set_back_does_not_make_old_knowledge_new() {
    let world = World::new().await;
    let start = world.clock.now();
    let token = world.token("read:cases");
    world.clock.set(start.minus(Duration::from_secs(30)));
    assert_eq!(world.outcome(&token).await, "revocations_stale");
    world.issuer.beat();
    eventually(async || world.outcome(&token).await == "ok").await;
}

#[tokio::test]
async fn cuts_that_were_forgotten_while_the_clock_was_ahead_come_back_with_the_right_time() {
    let world = World::with(|builder| builder.keys_refresh(Duration::from_millis(5))).await;
    let start = world.clock.now();
    let token = world.token("read:cases");
    world.issuer.cut(CutTarget::Token("token-1".parse().unwrap()), start);
    cuts_known(&world, 1).await;
    world.clock.advance(Duration::from_hours(24));
    cuts_known(&world, 0).await;
    world.issuer.beat();
    world.clock.set(start);
    assert_ne!(world.outcome(&token).await, "ok");
    world.issuer.beat();
    cuts_known(&world, 1).await;
    assert_eq!(world.outcome(&token).await, "revoked");
}

#[tokio::test]
async fn a_lost_feed_is_opened_again_and_catches_up() {
    let mut world = World::new().await;
    let token = world.token("read:cases");
    world.issuer.go_down();
    let mut status = world.verifier.status();
    soon(status.wait_for(|status| !status.feed_synced)).await.unwrap();
    // Cut while the line is down.
    world.issuer.cut(CutTarget::Grant("grant-1".parse().unwrap()), world.clock.now());
    world.issuer.come_back();
    soon(status.wait_for(|status| status.feed_synced)).await.unwrap();
    assert_eq!(world.outcome(&token).await, "revoked");
}

#[tokio::test]
async fn a_feed_whose_ids_were_given_before_misses_nothing() {
    let mut world = World::new().await;
    let token = world.token("read:cases");
    let mut status = world.verifier.status();
    world.issuer.cut(CutTarget::Token("another-token".parse().unwrap()), world.clock.now());
    cuts_known(&world, 1).await;
    world.issuer.go_down();
    soon(status.wait_for(|status| !status.feed_synced)).await.unwrap();
    // The next cut has the id of the one that is known.
    world.issuer.count_from_zero();
    world.issuer.come_back();
    soon(status.wait_for(|status| status.feed_synced)).await.unwrap();
    world.issuer.count_from_zero();
    world.issuer.cut(CutTarget::Grant("grant-1".parse().unwrap()), world.clock.now());
    cuts_known(&world, 2).await;
    assert_eq!(world.outcome(&token).await, "revoked");
}

#[tokio::test]
async fn a_feed_that_hangs_is_given_up_and_opened_again() {
    let world = World::with(|builder| builder.feed_silence(Duration::from_millis(50))).await;
    let opened = world.issuer.feeds_opened();
    eventually(async || world.issuer.feeds_opened() > opened + 1).await;
}

#[tokio::test]
async fn a_cut_that_is_not_understood_never_passes_for_known() {
    let world = World::new().await;
    let token = world.token("read:cases");
    let opened = world.issuer.feeds_opened();
    world.issuer.begin_feeds_with("event: cut\ndata: {\"target\":{\"kind\":\"galaxy\",\"id\":\"m31\"}}\n\n");
    world.issuer.send_raw("event: cut\ndata: {\"target\":{\"kind\":\"galaxy\",\"id\":\"m31\"}}\n\n");
    eventually(async || world.issuer.feeds_opened() > opened).await;
    assert!(!world.verifier.status().borrow().feed_synced);
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(world.outcome(&token).await, "revocations_stale");
    world.issuer.begin_feeds_with("");
    eventually(async || world.outcome(&token).await == "ok").await;
}

#[tokio::test]
async fn garbage_without_end_is_dropped_and_the_feed_opened_again() {
    let world = World::new().await;
    let opened = world.issuer.feeds_opened();
    world.issuer.send_raw(&"x".repeat(200 * 1024));
    eventually(async || world.issuer.feeds_opened() > opened).await;
    let mut status = world.verifier.status();
    soon(status.wait_for(|status| status.feed_synced)).await.unwrap();
    assert_eq!(world.outcome(&world.token("read:cases")).await, "ok");
}

#[tokio::test]
async fn an_event_cut_into_pieces_and_unknown_events_are_read() {
    let world = World::new().await;
    let token = world.token("read:cases");
    world.issuer.send_raw("event: weather\ndata: fine\n\nevent: cut\r\nda");
    let at = world.clock.now();
    let forget = at.plus(Duration::from_mins(1));
    world.issuer.send_raw(&format!(
        "ta: {{\"target\":{{\"kind\":\"token\",\"id\":\"token-1\"}},\r\ndata: \"at\":\"{at}\",\"forget\":\"{forget}\"}}\r\n\r\n"
    ));
    cuts_known(&world, 1).await;
    assert_eq!(world.outcome(&token).await, "revoked");
}
