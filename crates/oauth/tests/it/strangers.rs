//! What strangers can write into the log: a quota, and sums beyond it.

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_core::registry::{AgentState, Entry};
use mandate_core::{Clock as _, RequestSource, Secret, SystemEntropy};
use mandate_oauth::OAuthError;
use mandate_oauth::metadata::TOKEN_PATH;
use mandate_sequencer::strangers::{ALL_BYTES, MAX_SUMS, SOURCE_BYTES};
use mandate_testkit::faulty_backend::{InjectedFault, Point};
use mandate_testkit::story::{CRM, PASSWORD, spiffe_id};
use mandate_testkit::world::{Post, World, basic, encode, pairs, with};
use tokio::task::JoinSet;

use crate::refused;

fn host(n: u8) -> RequestSource {
    RequestSource::of([192, 0, 2, n].into())
}

/// A request without a credential, as long as a request can be.
async fn stranger(world: &World, source: RequestSource) -> u16 {
    let body =
        format!("grant_type=authorization_code&client_id=nobody&code=x&resource={}", "%22".repeat(1000));
    world.engine.token(Post::form(TOKEN_PATH, None, &body).from(source).request()).await.unwrap_err().status
}

/// Strangers ask until that many refusals of theirs are beyond the quota.
async fn until_summed(world: &World, source: RequestSource, count: u64) {
    for sent in 0.. {
        if world.log.strangers().summed() >= count {
            return;
        }
        assert!(sent < 1000, "there is no quota");
        stranger(world, source).await;
    }
}

fn refusals(world: &World) -> Vec<Record> {
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
    assert!(!single.is_empty() && bytes as u64 <= SOURCE_BYTES, "{bytes}");
    assert!(
        single.iter().all(|record| record.source.as_deref() == Some("192.0.2.1") && record.sum.is_none())
    );

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
    until_summed(&world, host(1), 1).await;
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    assert_eq!(stranger(&world, host(1)).await, 401, "nothing is written, so nothing can fail");
    assert_eq!(stranger(&world, host(2)).await, 503, "within the quota a refusal is a record first");
}

#[tokio::test]
async fn sums_that_cannot_be_recorded_are_recorded_later_and_count_on() {
    let world = World::story();
    until_summed(&world, host(1), 3).await;
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    assert!(world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.is_err());
    stranger(&world, host(1)).await;
    world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.unwrap();
    assert_eq!(refusals(&world)[0].sum.unwrap().count, 4);
}

#[tokio::test]
async fn every_refusal_of_a_client_that_proved_who_it_is_is_a_record() {
    let world = World::story();
    until_summed(&world, RequestSource::Other, 1).await;
    let before = refusals(&world).len();
    for _ in 0..50 {
        let form =
            pairs(&[("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"), ("resource", CRM)]);
        assert_eq!(
            refused(world.token(&form, Some(&world.desk_app())).await),
            "400 invalid_request parameter_missing"
        );
    }
    assert_eq!(refusals(&world).len(), before + 50);
    assert!(refusals(&world)[0].source.is_none());
    let wrong = basic("desk-app", "a wrong secret of that client");
    refused(world.token(&pairs(&[("grant_type", "authorization_code")]), Some(&wrong)).await);
    assert_eq!(refusals(&world).len(), before + 50, "a wrong secret proves nothing");
}

#[tokio::test]
async fn a_stopped_agent_is_a_stranger_again_and_cannot_fill_the_log() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    assert!(world.token(&form, None).await.is_ok());
    let suspend = |entry: &mut Entry| {
        if let Entry::Agent(agent) = entry {
            agent.state = AgentState::Suspended;
        }
    };
    world.change(mandate_core::registry::EntryKind::Agent, "support-agent", suspend).await;
    for sent in 0.. {
        if world.log.strangers().summed() > 0 {
            break;
        }
        assert!(sent < 1000, "there is no quota");
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request agent_not_active");
    }
    let single = refusals(&world);
    assert!(!single.is_empty() && bytes(&single) <= SOURCE_BYTES, "{} bytes", bytes(&single));
    assert!(
        single.iter().all(|record| record.said().client == Some(spiffe_id("support-agent").as_str())),
        "each names it"
    );
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    assert_eq!(
        refused(world.token(&form, None).await),
        "400 invalid_request agent_not_active",
        "nothing is written, so nothing can fail"
    );
}

/// What is wrong with a request, the parameters that make it so, and the reason that is recorded.
type Wrong = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// What strangers send to the authorization endpoint.
const WRONG: [Wrong; 8] = [
    ("an unknown client", &[("client_id", "nobody")], "parameter_unacceptable"),
    ("a client id that none can have", &[("client_id", "\"\u{2028}\\")], "parameter_unacceptable"),
    ("no client", &[("client_id", "")], "parameter_missing"),
    (
        "a redirect URI of somebody else",
        &[("redirect_uri", "https://evil.example/\"\u{2028}")],
        "redirect_uri_unregistered",
    ),
    ("another response type", &[("response_type", "token")], "response_type_unsupported"),
    ("a scope that is none", &[], "scope_malformed"),
    (
        "a resource that is none",
        &[("resource", "\"\u{2028}\\"), ("scope", "read:cases")],
        "resource_malformed",
    ),
    ("a character that no form has", &[("state", "\u{1}")], "malformed_form"),
];

/// A refused request to the authorization endpoint, with more in it than a record keeps.
async fn asks_wrongly(world: &World, source: RequestSource, wrong: &[(&str, &str)]) -> OAuthError {
    let hostile = "\"\\\u{2028}é".repeat(40);
    let mut query =
        with(with(world.authorization("support-app", Some(CRM), None), "scope", &hostile), "state", &hostile);
    for (name, value) in wrong {
        query = with(query, name, value);
    }
    world.engine.authorize(encode(&query).as_bytes(), source).await.unwrap_err().error().clone()
}

/// What records take up in the log: leaves, tree hashes and rows, as the quota counts them.
fn bytes(records: &[Record]) -> u64 {
    records.iter().map(|record| record.to_leaf().unwrap().len() as u64 + 128).sum()
}

async fn sums(world: &World) -> Vec<Record> {
    world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.unwrap();
    refusals(world).into_iter().filter(|record| record.sum.is_some()).collect()
}

#[tokio::test]
async fn a_flood_at_the_authorization_endpoint_is_recorded_within_a_quota_and_then_in_one_sum_for_each_reason()
 {
    let world = World::story();
    let of = |records: Vec<Record>, n: u8| -> Vec<Record> {
        records
            .into_iter()
            .filter(|record| record.source.as_deref() == Some(format!("192.0.2.{n}").as_str()))
            .collect()
    };
    for (n, (what, wrong, reason)) in (1..).zip(WRONG) {
        let first = world.hybrid.now();
        let mut last = first;
        for _ in 0..1000 {
            let error = asks_wrongly(&world, host(n), wrong).await;
            assert!(error.description.starts_with(reason), "{what}: {error:?}");
            last = world.hybrid.now();
            world.clock.advance(Duration::from_millis(1));
        }
        let single = of(refusals(&world), n);
        assert!(
            !single.is_empty() && bytes(&single) <= SOURCE_BYTES + 1000,
            "{what}: {} bytes",
            bytes(&single)
        );
        assert!(single.iter().all(|record| record.reason == reason && record.sum.is_none()), "{what}");
        let [sum] = &of(sums(&world).await, n)[..] else { panic!("{what}: one sum") };
        let counted = sum.sum.unwrap();
        assert_eq!((sum.kind, sum.reason.as_str()), (RecordKind::Authorize, reason), "{what}");
        assert_eq!(counted.count, 1000 - single.len() as u64, "{what}");
        assert!(
            first < counted.first && counted.first < counted.last && counted.last == last,
            "{what}: {counted:?}"
        );
    }
}

#[tokio::test]
async fn a_flood_from_many_sources_has_a_bound_for_all_of_them_together() {
    let world = Arc::new(World::story());
    let mut all = JoinSet::new();
    for n in 0..100 {
        let world = Arc::clone(&world);
        all.spawn(async move {
            let (_, wrong, _) = WRONG[usize::from(n) % WRONG.len()];
            for _ in 0..50 {
                asks_wrongly(&world, host(n), wrong).await;
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let single = refusals(&world);
    assert!(bytes(&single) <= ALL_BYTES && bytes(&single) > ALL_BYTES / 2, "{} bytes", bytes(&single));
    let mut counted = single.len() as u64;
    let mut rounds = 0;
    while counted < 5000 {
        let before = refusals(&world).len();
        world.log.record_sums(world.hybrid.now(), &SystemEntropy).await.unwrap();
        let now = refusals(&world);
        assert!(now.len() - before <= MAX_SUMS, "a bounded number at a time");
        counted = single.len() as u64
            + now.iter().filter_map(|record| record.sum).map(|sum| sum.count).sum::<u64>();
        rounds += 1;
        assert!(rounds <= 3, "{counted} of 5000");
    }
    assert_eq!(counted, 5000, "none is lost and none is counted twice");
}

#[tokio::test]
async fn every_refusal_of_a_person_who_logged_in_is_a_record_although_strangers_used_the_quota_up() {
    let world = World::story();
    let query = world.authorization("support-app", Some(CRM), None);
    for sent in 0.. {
        if world.log.strangers().summed() > 0 {
            break;
        }
        assert!(sent < 1000, "there is no quota");
        let request = world.engine.authorize(encode(&query).as_bytes(), host(1)).await.unwrap();
        world.engine.decline(&request).await;
    }
    for n in 1..=5 {
        // Casey may do nothing.
        let request = world.engine.authorize(encode(&query).as_bytes(), host(1)).await.unwrap();
        assert!(world.engine.log_in(&request, "casey", Secret::new(PASSWORD)).await.is_err());
        let record = refusals(&world).remove(0);
        assert_eq!(
            (record.reason.as_str(), record.said().sub.unwrap().sub.as_str()),
            ("scope_beyond_person", "casey"),
            "{n}"
        );
        assert_eq!((record.source, record.sum), (None, None));
    }
    let before = refusals(&world).len();
    let request = world.engine.authorize(encode(&query).as_bytes(), host(1)).await.unwrap();
    world.engine.decline(&request).await;
    assert!(world.engine.log_in(&request, "casey", Secret::new("not the password")).await.is_err());
    assert_eq!(refusals(&world).len(), before, "who has not logged in is a stranger still");
}
