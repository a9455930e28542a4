//! What strangers can write into the log: a quota, and sums beyond it.

use mandate_audit::{Outcome, Query};
use mandate_core::{Clock as _, RequestSource, SystemEntropy};
use mandate_oauth::Request;
use mandate_testkit::faulty_backend::{Fault, Point};
use mandate_testkit::story::CRM;
use mandate_testkit::world::{FORM, World, basic, pairs};

use crate::refused;

fn host(n: u8) -> RequestSource {
    RequestSource::of([192, 0, 2, n].into())
}

/// A request without a credential, as long as a request can be.
async fn stranger(world: &World, source: RequestSource) -> u16 {
    let body = format!("grant_type=authorization_code&client_id=nobody&code=x&resource={}", "%22".repeat(1000));
    let request = Request { source, content_type: Some(FORM), authorization: &[], query: None, body: body.as_bytes(), proven: None };
    world.engine.token(request).await.unwrap_err().status
}

fn refusals(world: &World) -> Vec<mandate_audit::Record> {
    world.records(&Query { outcome: Some(Outcome::Refused), ..Query::default() })
}

#[tokio::test]
async fn a_flood_of_one_stranger_is_recorded_within_a_quota_and_then_in_one_sum() {
    let world = World::story();
    for _ in 0..2000 {
        assert_eq!(stranger(&world, host(1)).await, 401);
    }
    let single = refusals(&world);
    let bytes: usize = single.iter().map(|record| record.to_leaf().unwrap().len()).sum();
    assert!(!single.is_empty() && bytes as u64 <= mandate_audit::strangers::SOURCE_BYTES, "{bytes}");
    assert!(single.iter().all(|record| record.source.as_deref() == Some("192.0.2.1") && record.sum.is_none()));

    assert_eq!(stranger(&world, host(2)).await, 401);
    assert_eq!(refusals(&world)[0].source.as_deref(), Some("192.0.2.2"), "another source has its own quota");

    world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.unwrap();
    let sum = refusals(&world).remove(0);
    assert_eq!(sum.source.as_deref(), Some("192.0.2.1"));
    assert_eq!(sum.sum.unwrap().count, 2000 - single.len() as u64);
    assert_eq!(sum.reason, single[0].reason);
    assert_eq!(world.log.strangers().summed(), sum.sum.unwrap().count);
}

#[tokio::test]
async fn beyond_the_quota_a_stranger_is_refused_without_the_disk() {
    let world = World::story();
    while world.log.strangers().summed() == 0 {
        stranger(&world, host(1)).await;
    }
    world.faults.fail(Point::Commit, 0, Fault::Lost);
    assert_eq!(stranger(&world, host(1)).await, 401, "nothing is written, so nothing can fail");
    assert_eq!(stranger(&world, host(2)).await, 503, "within the quota a refusal is a record first");
}

#[tokio::test]
async fn sums_that_cannot_be_recorded_are_recorded_later_and_count_on() {
    let world = World::story();
    while world.log.strangers().summed() < 3 {
        stranger(&world, host(1)).await;
    }
    world.faults.fail(Point::Commit, 0, Fault::Lost);
    assert!(world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.is_err());
    stranger(&world, host(1)).await;
    world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.unwrap();
    assert_eq!(refusals(&world)[0].sum.unwrap().count, 4);
}

#[tokio::test]
async fn every_refusal_of_a_client_that_proved_who_it_is_is_a_record() {
    let world = World::story();
    while world.log.strangers().summed() == 0 {
        stranger(&world, RequestSource::Other).await;
    }
    let before = refusals(&world).len();
    for _ in 0..50 {
        let form = pairs(&[("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"), ("resource", CRM)]);
        assert_eq!(refused(world.token(&form, Some(&world.desk_app())).await), "400 invalid_request parameter_missing");
    }
    assert_eq!(refusals(&world).len(), before + 50);
    assert!(refusals(&world)[0].source.is_none());
    let wrong = basic("desk-app", "a wrong secret of that client");
    refused(world.token(&pairs(&[("grant_type", "authorization_code")]), Some(&wrong)).await);
    assert_eq!(refusals(&world).len(), before + 50, "a wrong secret proves nothing");
}
