//! Revocation: authenticated, one's own tokens, one cut for all descendants.

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::registry::{Entry, EntryKind};
use mandate_core::{Clock as _, CutTarget, HybridClock, RecordId, SystemEntropy, Timestamp, TokenId};
use mandate_delegation::revocation::cut;
use mandate_stops::{By, Recorded, Stop};
use mandate_store::cuts;
use mandate_testkit::clock::TickingClock;
use mandate_testkit::faulty_backend::Point;
use mandate_testkit::story::{self, ARCHIVE, CRM, RESEARCH};
use mandate_testkit::world::{Pairs, World, exposed, pairs, payload, with};
use serde_json::json;

use crate::{lives, refused, shown};

fn of(token: &str) -> Pairs {
    pairs(&[("token", token), ("token_type_hint", "access_token")])
}

async fn as_agent(world: &World, agent: &str, token: &str) -> Pairs {
    let form =
        with(of(token), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    with(form, "client_assertion", &world.svid(agent).await)
}

async fn hop(world: &World, agent: &str, subject: &str, resource: &str) -> String {
    let form = world.agent_exchange(&world.svid(agent).await, subject, resource, "read:cases");
    exposed(&world.token(&form, None).await.unwrap())
}

fn durable_cuts(world: &World) -> usize {
    world.store.read_blocking("cuts", cuts::load).unwrap().len()
}

#[tokio::test]
async fn one_cut_reaches_every_descendant() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    let mut leaves = Vec::new();
    for _ in 0..3 {
        let second = hop(&world, "research-agent", &first, ARCHIVE).await;
        leaves.push(hop(&world, "archive-agent", &second, CRM).await);
    }
    world.revoke(&as_agent(&world, "support-agent", &first).await, None).await.unwrap();
    assert_eq!(durable_cuts(&world), 1, "however many descend from it");
    for leaf in &leaves {
        assert_eq!(
            world.introspect(&of(leaf), Some(&world.crm_api())).await.unwrap(),
            json!({"active": false})
        );
        let form = world.agent_exchange(&world.svid("archive-agent").await, leaf, RESEARCH, "read:cases");
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_revoked");
    }
    // Its ancestor lives on.
    assert!(!hop(&world, "support-agent", &person, CRM).await.is_empty());
    let record = world
        .records(&mandate_audit::Query {
            kind: Some(mandate_audit::RecordKind::Revoke),
            ..Default::default()
        })
        .pop()
        .unwrap();
    assert_eq!(record.said().jti.unwrap().as_str(), payload(&first)["jti"].as_str().unwrap());
}

#[tokio::test]
async fn revocation_needs_a_client_that_proves_itself() {
    let world = World::story();
    let token = world.mandate().await;
    // Naming a confidential client proves nothing, and an agent is no public client.
    for form in [of(&token), with(of(&token), "client_id", "desk-app")] {
        assert_eq!(
            shown(&world.revoke(&form, None).await.unwrap_err()),
            "401 invalid_client client_authentication_missing"
        );
    }
    let as_agent = with(of(&token), "client_id", &story::spiffe_id("support-agent"));
    assert_eq!(
        shown(&world.revoke(&as_agent, None).await.unwrap_err()),
        "401 invalid_client client_authentication_failed"
    );
    assert_eq!(durable_cuts(&world), 0);
}

#[tokio::test]
async fn a_public_client_revokes_the_tokens_that_were_issued_to_it_and_no_others() {
    let world = World::story();
    let own = world.person_token("riley", None, None).await;
    let mandate = hop(&world, "support-agent", &own, CRM).await;
    let form = |token: &str| with(of(token), "client_id", "support-app");
    assert_eq!(
        shown(&world.revoke(&form(&mandate), None).await.unwrap_err()),
        "400 invalid_grant token_other_client"
    );
    assert_eq!(durable_cuts(&world), 0);

    world.revoke(&form(&own), None).await.unwrap();
    assert_eq!(durable_cuts(&world), 1);
    assert_eq!(
        world.introspect(&of(&mandate), Some(&world.crm_api())).await.unwrap(),
        json!({"active": false}),
        "its descendant too"
    );
    let record = world.last_record();
    assert_eq!((record.kind, record.said().client), (mandate_audit::RecordKind::Revoke, Some("support-app")));
}

#[tokio::test]
async fn a_stranger_who_names_a_public_client_writes_no_record_with_what_changes_nothing() {
    let world = World::story();
    let own = world.person_token("riley", None, None).await;
    let form = |token: &str| with(of(token), "client_id", "support-app");
    world.revoke(&form(&own), None).await.unwrap();
    let before = world.last_record().id;
    for token in ["x", own.as_str()] {
        world.revoke(&form(token), None).await.unwrap();
    }
    assert_eq!(world.last_record().id, before);
}

#[tokio::test]
async fn only_ones_own_tokens_can_be_revoked() {
    let world = World::story();
    let token = world.mandate().await;
    assert_eq!(
        shown(&world.revoke(&of(&token), Some(&world.desk_app())).await.unwrap_err()),
        "400 invalid_grant token_other_client"
    );
    let form = as_agent(&world, "research-agent", &token).await;
    assert_eq!(shown(&world.revoke(&form, None).await.unwrap_err()), "400 invalid_grant token_other_client");
    assert_eq!(durable_cuts(&world), 0);
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap()["active"], true);
}

#[tokio::test]
async fn what_is_no_token_that_counts_is_revoked_already() {
    let world = World::story();
    let svid = world.svid("support-agent").await;
    for token in ["x", svid.as_str()] {
        world.revoke(&of(token), Some(&world.desk_app())).await.unwrap();
    }
    let own = world.mandate().await;
    let form = as_agent(&world, "support-agent", &own).await;
    world.revoke(&form, None).await.unwrap();
    world.revoke(&form, None).await.unwrap();
}

#[tokio::test]
async fn a_revoked_token_is_remembered_no_longer_than_it_would_have_lived_and_is_not_cut_twice() {
    let world = World::story();
    let token = world.mandate().await;
    let form = as_agent(&world, "support-agent", &token).await;
    world.revoke(&form, None).await.unwrap();
    let cut = world.live.snapshot().revocations.iter().next().unwrap().clone();
    let expires = Timestamp::from_secs(payload(&token)["exp"].as_u64().unwrap());
    assert_eq!(cut.forget, expires.plus(Duration::from_mins(5)), "a verifier's clock may be a little behind");
    for _ in 0..3 {
        world.revoke(&form, None).await.unwrap();
    }
    assert_eq!(durable_cuts(&world), 1);
    let revocations =
        mandate_audit::Query { kind: Some(mandate_audit::RecordKind::Revoke), ..Default::default() };
    assert_eq!(world.records(&revocations).len(), 4, "each is recorded");
}

/// Mandates of the support agent, all as of now.
async fn mandates(world: &Arc<World>, count: usize) -> Vec<String> {
    let (person, svid) = (world.person_token("riley", None, None).await, world.svid("support-agent").await);
    let mut all = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (world, form) = (Arc::clone(world), world.agent_exchange(&svid, &person, CRM, "read:cases"));
        tasks.spawn(async move { exposed(&world.token(&form, None).await.unwrap()) });
    }
    while let Some(token) = tasks.join_next().await {
        all.push(token.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_revokes_without_end_fills_no_verifier_and_loses_nothing_else() {
    let world = Arc::new(World::story());
    let (spare, mut tokens) = (world.mandate().await, mandates(&world, 2001).await);
    let last = tokens.pop().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for token in tokens {
        if tasks.len() == 100 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let (world, form) = (Arc::clone(&world), as_agent(&world, "support-agent", &token).await);
        tasks.spawn(async move { world.revoke(&form, None).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let error = world.revoke(&as_agent(&world, "support-agent", &last).await, None).await.unwrap_err();
    assert_eq!(shown(&error), "503 temporarily_unavailable too_many_revocations");
    assert!(error.retry_after.is_some());
    assert_eq!((world.live.snapshot().revocations.len(), durable_cuts(&world)), (2000, 2000));
    assert_eq!(
        world.introspect(&of(&spare), Some(&world.crm_api())).await.unwrap()["active"],
        true,
        "its other tokens live"
    );
    // Those that have ended make room.
    world.clock.advance(Duration::from_mins(11));
    let token = world.mandate().await;
    world.revoke(&as_agent(&world, "support-agent", &token).await, None).await.unwrap();
}

#[tokio::test]
async fn a_revocation_that_the_log_cannot_record_is_in_force_and_recorded_later() {
    let world = World::story();
    let token = world.mandate().await;
    let form = as_agent(&world, "support-agent", &token).await;
    world.faults.break_down(Point::Commit);
    world.revoke(&form, None).await.unwrap();
    assert!(!lives(&world, &token).await);
    assert_eq!((durable_cuts(&world), world.stops.standing().reserved), (0, 1));
    world.faults.repair();
    world.stops.retry().await;
    assert_eq!((durable_cuts(&world), world.stops.standing().reserved), (1, 0));
}

#[tokio::test]
async fn a_revocation_that_is_recorded_nowhere_is_in_force_and_its_client_is_told_to_come_back() {
    let world = World::story();
    let token = world.mandate().await;
    let form = as_agent(&world, "support-agent", &token).await;
    world.faults.break_down(Point::Commit);
    use_up_the_reserve(&world).await;
    let error = world.revoke(&form, None).await.unwrap_err();
    assert_eq!(shown(&error), "503 temporarily_unavailable audit_unavailable");
    assert_eq!(error.retry_after, Some(1));
    assert!(!lives(&world, &token).await);
    assert_eq!(world.stops.standing().unrecorded, 3, "the last two of those that used it up, and this one");
    world.faults.repair();
    world.stops.retry().await;
    assert_eq!(world.stops.standing().unrecorded, 0);
    world.revoke(&form, None).await.unwrap();
}

/// Clients revoke tokens until their part of the reserve has no room even for a small record.
async fn use_up_the_reserve(world: &World) {
    for bytes in [30_000, 1] {
        loop {
            let now = world.hybrid.now();
            let mut record = Record::new(
                RecordId::generate(now, &SystemEntropy),
                now,
                RecordKind::Revoke,
                Outcome::Permitted,
                "ok",
            );
            record.detail = Some("x".repeat(bytes));
            let target = CutTarget::Token(TokenId::generate(now, &SystemEntropy));
            let stop = Stop::of_cuts(record, vec![cut(target, now)]);
            if world.stops.take(stop, By::Client).await.unwrap().recorded == Recorded::NotYet {
                break;
            }
        }
    }
}

/// The shortest time that is distinguished.
const MOMENT: Duration = Duration::from_millis(1);

fn narrow(entry: &mut Entry) {
    if let Entry::Agent(agent) = entry {
        agent.ceiling = vec![story::permission("crm", "read:cases")];
    }
}

#[tokio::test]
async fn a_narrowed_ceiling_kills_what_is_out_and_an_exchange_right_after_it_is_active() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let before = hop(&world, "support-agent", &subject, CRM).await;
    world.change(EntryKind::Agent, "support-agent", narrow).await;
    world.clock.advance(MOMENT);
    let after = hop(&world, "support-agent", &subject, CRM).await;
    assert_eq!(payload(&before)["iat"], payload(&after)["iat"], "within one second");
    assert!(!lives(&world, &before).await);
    assert!(lives(&world, &after).await);
}

#[tokio::test]
async fn an_exchange_that_is_under_way_while_a_cut_comes_into_force_is_below_it() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let svid = world.svid("support-agent").await;
    // The operator acts, and it takes a while until that is durable. Meanwhile an exchange is decided.
    let begun = cut(CutTarget::Agent(story::spiffe_id("support-agent")), world.clock.now());
    world.clock.advance(Duration::from_millis(700));
    world.faults.hold();
    let in_force = async {
        tokio::task::yield_now().await;
        world.live.cut(vec![begun], &world.hybrid);
        world.faults.release();
    };
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let (token, ()) = tokio::join!(world.token(&form, None), in_force);
    assert!(!lives(&world, &exposed(&token.unwrap())).await);
}

#[tokio::test]
async fn a_cut_is_in_force_from_a_time_read_after_the_last_decision_without_it() {
    let world = World::story();
    let first = world.clock.now().plus(Duration::from_secs(5));
    let target = CutTarget::Agent(story::spiffe_id("support-agent"));
    let (_, _, mut feed) = world.live.subscribe_cuts();
    let cuts = world.live.cut(
        vec![cut(target.clone(), world.clock.now())],
        &HybridClock::new(Arc::new(TickingClock::at(first)), first),
    );
    assert!(cuts[0].at > first, "the clock was read again once every decision saw the cut");
    assert!(
        world.live.snapshot().revocations.has_cut_since(&target, cuts[0].at),
        "decisions read the same time"
    );
    assert_eq!(feed.try_recv().unwrap().cut, cuts[0], "and so do those who follow");
    assert!(feed.try_recv().is_err(), "once");
}

#[tokio::test]
async fn a_cut_on_a_client_reaches_what_agents_exchanged_from_its_tokens() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    let leaf = hop(&world, "research-agent", &first, CRM).await;
    let desk = world.code(&world.authorization("desk-app", None, None), "riley").await;
    let desk =
        exposed(&world.token(&world.redemption("desk-app", &desk), Some(&world.desk_app())).await.unwrap());
    let other = hop(&world, "support-agent", &desk, CRM).await;

    world.cut(CutTarget::Client("support-app".parse().unwrap()));
    assert!(!lives(&world, &leaf).await);
    for (agent, subject) in
        [("support-agent", &person), ("research-agent", &first), ("research-agent", &leaf)]
    {
        let form = world.agent_exchange(&world.svid(agent).await, subject, CRM, "read:cases");
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_revoked", "{agent}");
    }
    assert!(lives(&world, &other).await, "what another app opened goes on");
}
