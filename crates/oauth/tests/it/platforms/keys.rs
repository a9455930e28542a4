//! The keys of a platform: its own, from its pinned issuer, or pinned themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use mandate_audit::Outcome;
use mandate_core::registry::{Entry, EntryKind, Platform};
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey};
use mandate_token::Signer as _;
use serde_json::json;

use super::{ACTOR, ASSERTION, Ci, GITHUB, UNPROVEN};
use crate::refused;

#[tokio::test]
async fn another_issuer_with_the_same_claims_proves_nothing() {
    let ci = Ci::of(GITHUB).await;
    let other = HostileIssuer::start();
    let sign = |key: &TestKey, claims: &serde_json::Value| {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    };
    // Under its own name, and under the name of the platform.
    let own = sign(&other.key(), &ci.claims(GITHUB, &json!({"iss": other.issuer()})));
    assert_eq!((ci.as_assertion(&own).await, ci.as_actor(&own).await), (ASSERTION.into(), ACTOR.into()));
    assert_eq!((ci.idp.jwks_served(), other.jwks_served()), (0, 0), "nothing is fetched for it");
    let forged = sign(&other.key(), &ci.claims(GITHUB, &json!({})));
    ci.world.clock.advance(Duration::from_secs(40));
    assert_eq!(ci.as_assertion(&forged).await, UNPROVEN);
    assert_eq!(other.jwks_served(), 0, "keys never come from where a token says");
    for issuer in ["https://token.actions.githubusercontent.com", "", "not a URL"] {
        let token = ci.token(GITHUB, &json!({"iss": issuer}));
        assert_eq!(
            (ci.as_assertion(&token).await, ci.as_actor(&token).await),
            (ASSERTION.into(), ACTOR.into())
        );
    }
}

#[tokio::test]
async fn a_stranger_without_an_entry_causes_no_fetch() {
    let ci = Ci::of(GITHUB).await;
    for id in 1..20 {
        let token = ci.token(GITHUB, &json!({"repository_id": id.to_string()}));
        assert!(ci.as_assertion(&token).await.starts_with("401"));
    }
    assert_eq!(ci.idp.jwks_served(), 0);
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
    assert_eq!(ci.idp.jwks_served(), 1, "keys are cached");
}

#[tokio::test]
async fn a_stranger_who_tries_ids_does_not_learn_which_workloads_have_agents() {
    let ci = Ci::of(GITHUB).await;
    // The keys are there, as they are where an agent is used.
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
    let (stranger, published) = (TestKey::generate(), ci.idp.key().key_id().to_owned());
    let forged = |kid: &str, typ: &str, change: serde_json::Value| {
        let header = json!({"alg": "ES256", "typ": typ, "kid": kid});
        stranger.sign_raw(&header.to_string(), &ci.claims(GITHUB, &change).to_string())
    };
    let mut answers = BTreeSet::new();
    for (kid, typ) in [(published.as_str(), "JWT"), ("made-up", "JWT"), (&published, "at+jwt")] {
        for change in [json!({}), json!({"event_name": "pull_request"}), json!({"repository_id": "1"})] {
            let token = forged(kid, typ, change);
            let desk = ci.world.desk_app();
            let client = ci.world.token(&ci.by_assertion(&token), None).await.unwrap_err();
            let actor = ci.world.token(&ci.by_actor(&token), Some(&desk)).await.unwrap_err();
            let both = [client, actor].map(|error| (error.status, error.description));
            answers.insert(both);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({"repository_id": "1"}))).await, UNPROVEN);
    let record = ci.newest(Outcome::Refused);
    assert!(record.detail.unwrap_or_default().contains("no entry names the workload"), "the record says why");
}

#[tokio::test]
async fn keys_are_fetched_again_when_the_platform_has_new_ones() {
    let ci = Ci::of(GITHUB).await;
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
    ci.idp.rotate();
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, UNPROVEN);
    assert_eq!(ci.as_actor(&ci.token(GITHUB, &json!({}))).await, ACTOR);
    ci.world.clock.advance(Duration::from_secs(30));
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
}

#[tokio::test]
async fn a_platform_that_is_not_reached_is_asked_again_and_proves_nothing_meanwhile() {
    let mut ci = Ci::of(GITHUB).await;
    ci.idp.go_down();
    let answer = ci.as_assertion(&ci.token(GITHUB, &json!({}))).await;
    assert_eq!(answer, "503 temporarily_unavailable issuer_unavailable");
    ci.idp.come_back();
    ci.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
}

#[tokio::test]
async fn pinned_keys_are_the_only_ones_and_nothing_is_fetched() {
    let pinned = TestKey::generate();
    let jwks = pinned.jwks();
    let mut ci = Ci::with(Platform::Kubernetes, |proof| proof.jwks = Some(jwks)).await;
    ci.idp.go_down();
    let header = json!({"alg": "ES256", "kid": pinned.key_id()}).to_string();
    let token = pinned.sign_raw(&header, &ci.claims(Platform::Kubernetes, &json!({})).to_string());
    assert_eq!(ci.as_assertion(&token).await, "ok");
    ci.idp.come_back();
    assert_eq!(ci.as_assertion(&ci.token(Platform::Kubernetes, &json!({}))).await, UNPROVEN);
    assert_eq!(ci.idp.jwks_served(), 0);
}

#[tokio::test]
async fn a_proof_that_is_changed_while_keys_are_fetched_proves_nothing() {
    for what in ["proofs", "cut"] {
        let ci = Ci::of(GITHUB).await;
        ci.idp.hold();
        let change = async {
            ci.idp.asked_for_keys(1).await;
            ci.world.clock.advance(Duration::from_millis(5));
            if what == "proofs" {
                ci.world.change_without_cuts(EntryKind::Agent, "ci-agent", |entry| {
                    let Entry::Agent(agent) = entry else { panic!("an agent") };
                    agent.proofs.clear();
                });
            } else {
                let id = mandate_testkit::story::spiffe_id("ci-agent");
                ci.world.cut(mandate_core::CutTarget::Agent(id));
            }
            ci.idp.let_go();
        };
        let form = ci.by_assertion(&ci.token(GITHUB, &json!({})));
        let (answer, ()) = tokio::join!(ci.world.token(&form, None), change);
        assert_eq!(refused(answer), "401 invalid_client proof_outdated", "{what}");
    }
}
