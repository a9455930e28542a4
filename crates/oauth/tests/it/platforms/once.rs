//! How often a token of a platform counts.

use std::time::Duration;

use mandate_core::registry::{AgentProof, Entry, EntryKind, Platform, PlatformProof};
use mandate_testkit::world::{JWT, with};
use serde_json::json;

use super::{ASSERTION, Ci, GITHUB, UNPROVEN};

const REPLAYED: &str = "401 invalid_client client_assertion_replayed";
const ACTOR_REPLAYED: &str = "400 invalid_request actor_token_replayed";

#[tokio::test]
async fn the_token_of_a_job_that_can_have_new_ones_counts_once_everywhere() {
    let ci = Ci::of(GITHUB).await;
    let token = ci.token(GITHUB, &json!({}));
    assert_eq!(ci.as_assertion(&token).await, "ok");
    assert_eq!(ci.as_assertion(&token).await, REPLAYED);
    assert_eq!(ci.as_actor(&token).await, ACTOR_REPLAYED, "in another client's session");
    let mut form = vec![("token".to_owned(), "x".to_owned())];
    form.extend(ci.world.assertion_pairs(&token));
    let error = ci.world.introspect(&form, None).await.unwrap_err();
    assert_eq!(crate::shown(&error), REPLAYED);
    let token = ci.token(GITHUB, &json!({}));
    assert_eq!(ci.as_actor(&token).await, "ok");
    assert_eq!(ci.as_actor(&token).await, ACTOR_REPLAYED);
    assert_eq!(ci.as_assertion(&token).await, REPLAYED);
    // The same `jti` in a token that says something else.
    let first = ci.token(GITHUB, &json!({"jti": "same"}));
    let second = ci.token(GITHUB, &json!({"jti": "same", "run_id": "1"}));
    assert_eq!(
        (ci.as_assertion(&first).await, ci.as_assertion(&second).await),
        ("ok".into(), REPLAYED.into())
    );
    let without = ci.token(GITHUB, &json!({"jti": null}));
    assert_eq!(ci.as_assertion(&without).await, ASSERTION, "what cannot be remembered does not count");
}

#[tokio::test]
async fn a_token_is_used_up_when_it_is_verified_and_not_before() {
    let ci = Ci::of(GITHUB).await;
    let token = ci.token(GITHUB, &json!({}));
    // As what it is not.
    let svid = ci.world.svid("support-agent").await;
    let form = ci.world.agent_exchange(&svid, &token, mandate_testkit::story::CRM, "read:cases");
    assert!(ci.ask(&form, None).await.starts_with("400 invalid_request subject_token"));
    let form = with(form, "subject_token_type", JWT);
    assert!(ci.ask(&form, None).await.starts_with("400 invalid_request subject_token"));
    // With a header that names another key.
    let parts: Vec<&str> = token.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], parts[2].chars().rev().collect::<String>());
    assert_eq!(ci.as_assertion(&forged).await, UNPROVEN);
    let refused = ci.ask(&with(ci.by_assertion(&token), "resource", "https://unknown.example"), None).await;
    assert_eq!(refused, "400 invalid_target resource_unknown");
    assert_eq!(ci.as_assertion(&token).await, REPLAYED, "whatever became of the request");
}

#[tokio::test]
async fn one_token_is_both_credential_and_actor_token_of_one_request() {
    let ci = Ci::of(GITHUB).await;
    let token = ci.token(GITHUB, &json!({}));
    let form = with(with(ci.by_assertion(&token), "actor_token", &token), "actor_token_type", JWT);
    assert_eq!(ci.ask(&form, None).await, "ok");
    assert_eq!(ci.ask(&form, None).await, REPLAYED);
    let (one, other) = (ci.token(GITHUB, &json!({})), ci.token(GITHUB, &json!({})));
    let form = with(with(ci.by_assertion(&one), "actor_token", &other), "actor_token_type", JWT);
    assert_eq!(ci.ask(&form, None).await, "ok", "or two of one agent");
}

#[tokio::test]
async fn a_token_that_a_workload_has_for_long_counts_until_it_is_too_old() {
    for platform in [Platform::Kubernetes, Platform::Gitlab] {
        let ci = Ci::of(platform).await;
        let now = mandate_core::Clock::now(&*ci.world.clock).secs();
        let token = ci.token(platform, &json!({"exp": now + 86_400}));
        for _ in 0..2 {
            assert_eq!(ci.as_assertion(&token).await, "ok");
            assert_eq!(ci.as_actor(&token).await, "ok");
        }
        ci.world.clock.advance(Duration::from_mins(60));
        assert_eq!(ci.as_assertion(&token).await, ASSERTION, "{platform:?}: an hour after its issue");
        let once = Ci::with(platform, |proof| proof.single_use = true).await;
        let token = once.token(platform, &json!({}));
        assert_eq!(once.as_assertion(&token).await, "ok");
        assert_eq!(once.as_assertion(&token).await, REPLAYED, "where the entry says so");
    }
}

#[tokio::test]
async fn of_two_proofs_that_a_token_satisfies_the_one_that_counts_it_once_decides() {
    let ci = Ci::with(GITHUB, |proof| proof.single_use = false).await;
    let wide = ci.token(GITHUB, &json!({}));
    assert_eq!((ci.as_assertion(&wide).await, ci.as_assertion(&wide).await), ("ok".into(), "ok".into()));
    ci.world
        .change(EntryKind::Agent, "ci-agent", |entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            let wide = agent.proofs[0].platform().unwrap().clone();
            let narrow = AgentProof::Platform(PlatformProof { single_use: true, ..wide });
            agent.proofs.push(narrow);
        })
        .await;
    let token = ci.token(GITHUB, &json!({}));
    assert_eq!(ci.as_assertion(&token).await, "ok");
    assert_eq!(ci.as_assertion(&token).await, REPLAYED);
}
