//! Revocation: authenticated, one's own tokens, one cut for all descendants.

use mandate_core::Timestamp;
use mandate_store::cuts;
use mandate_testkit::faulty_backend::{Fault, Point};
use mandate_testkit::story::{ARCHIVE, CRM, RESEARCH};
use mandate_testkit::world::{Pairs, World, exposed, pairs, payload, with};
use serde_json::json;

use crate::{refused, shown};

fn of(token: &str) -> Pairs {
    pairs(&[("token", token), ("token_type_hint", "access_token")])
}

async fn as_agent(world: &World, agent: &str, token: &str) -> Pairs {
    let form = with(of(token), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    with(form, "client_assertion", &world.svid(agent).await)
}

async fn hop(world: &World, agent: &str, subject: &str, resource: &str) -> String {
    let form = world.agent_exchange(&world.svid(agent).await, subject, resource, "read:cases");
    exposed(&world.token(&form, None).await.unwrap())
}

fn durable_cuts(world: &World) -> usize {
    world.store.read("cuts", |tx| cuts::load(tx, Timestamp::from_secs(0))).unwrap().len()
}

#[tokio::test]
async fn k10_z14_one_cut_reaches_every_descendant() {
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
        assert_eq!(world.introspect(&of(leaf), Some(&world.crm_api())).await.unwrap(), json!({"active": false}));
        let form = world.agent_exchange(&world.svid("archive-agent").await, leaf, RESEARCH, "read:cases");
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_revoked");
    }
    // Its ancestor lives on.
    assert!(!hop(&world, "support-agent", &person, CRM).await.is_empty());
    let record = world.records(&mandate_audit::Query { kind: Some(mandate_audit::Kind::Revoke), ..Default::default() }).pop().unwrap();
    assert_eq!(record.jti.unwrap().as_str(), payload(&first)["jti"].as_str().unwrap());
}

#[tokio::test]
async fn z13_revocation_needs_a_client_that_proves_itself() {
    let world = World::story();
    let token = world.mandate().await;
    for form in [of(&token), with(of(&token), "client_id", "support-app")] {
        assert_eq!(shown(&world.revoke(&form, None).await.unwrap_err()), "401 invalid_client client_authentication_missing");
    }
    assert_eq!(durable_cuts(&world), 0);
}

#[tokio::test]
async fn only_ones_own_tokens_can_be_revoked() {
    let world = World::story();
    let token = world.mandate().await;
    assert_eq!(shown(&world.revoke(&of(&token), Some(&world.desk_app())).await.unwrap_err()), "400 invalid_grant token_other_client");
    let form = as_agent(&world, "research-agent", &token).await;
    assert_eq!(shown(&world.revoke(&form, None).await.unwrap_err()), "400 invalid_grant token_other_client");
    assert_eq!(durable_cuts(&world), 0);
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap()["active"], true);
}

#[tokio::test]
async fn what_is_no_living_token_is_revoked_already() {
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
async fn a_revocation_that_cannot_be_recorded_is_refused_and_not_in_force() {
    let world = World::story();
    let token = world.mandate().await;
    let form = as_agent(&world, "support-agent", &token).await;
    world.faults.fail(Point::Commit, 0, Fault::Lost);
    let error = world.revoke(&form, None).await.unwrap_err();
    assert_eq!(shown(&error), "503 temporarily_unavailable audit_unavailable");
    assert_eq!(error.retry_after, Some(1));
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap()["active"], true);
    world.revoke(&form, None).await.unwrap();
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(), json!({"active": false}));
}
