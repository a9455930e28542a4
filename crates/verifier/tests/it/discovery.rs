//! How the issuer is found: only by its own documents, and without settings from the environment.

use std::process::Command;
use std::sync::Arc;

use mandate_core::Clock as _;
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::hostile_issuer::{HostileIssuer, Trouble};
use mandate_testkit::proxy::LyingProxy;
use mandate_testkit::tls_front::PrivateCa;
use mandate_verifier::{BuildError, Route, Verifier};
use serde_json::json;

use crate::world::{RESOURCE, builder, code, soon, verify};

/// Tells the test below, which runs in a separate process, which issuer to reach.
const ISSUER: &str = "MANDATE_TEST_ISSUER";

#[tokio::test]
async fn a_page_where_metadata_should_be_is_passed_over() {
    let issuer = HostileIssuer::start();
    issuer.serve_at(
        "/.well-known/oauth-authorization-server",
        "text/html",
        "<!doctype html><title>Not found</title>",
    );
    let right =
        json!({"issuer": issuer.issuer(), "jwks_uri": format!("{}/jwks", issuer.issuer())}).to_string();
    issuer.serve_at("/.well-known/openid-configuration", "application/json", &right);
    let verifier = builder(&issuer, &Arc::new(SteppedClock::default())).build().unwrap();
    soon(verifier.ready()).await;
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_passed_over() {
    for trouble in [Trouble::Status(502), Trouble::Break, Trouble::Silence] {
        let issuer = HostileIssuer::start();
        issuer.fail_at("/.well-known/oauth-authorization-server", trouble);
        let right =
            json!({"issuer": issuer.issuer(), "jwks_uri": format!("{}/jwks", issuer.issuer())}).to_string();
        issuer.serve_at("/.well-known/openid-configuration", "application/json", &right);
        let clock = Arc::new(SteppedClock::default());
        let verifier = builder(&issuer, &clock).build().unwrap();
        let token = issuer.token(RESOURCE, "read:cases", clock.now());
        // The first fetch is enough: it waits for that one.
        let outcome = soon(verify(&verifier, &token, &Route::any_scope().dangerous_accept_stale())).await;
        assert_eq!(code(&outcome), "ok", "{trouble:?}");
    }
}

#[test]
fn proxies_of_the_environment_do_not_answer_for_the_issuer() {
    let issuer = HostileIssuer::start();
    let proxy = LyingProxy::start();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "discovery::a_verifier_of_the_issuer_that_the_environment_names_gets_ready"])
        .env(ISSUER, issuer.issuer().as_str())
        .envs(proxy.environment());
    let ran = child.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(issuer.jwks_served(), 1);
    assert_eq!(proxy.asked(), 0);
}

/// Does nothing unless the test above runs it.
#[tokio::test]
async fn a_verifier_of_the_issuer_that_the_environment_names_gets_ready() {
    let Ok(issuer) = std::env::var(ISSUER) else { return };
    let verifier = Verifier::builder(issuer.parse().unwrap(), RESOURCE.parse().unwrap()).build().unwrap();
    soon(verifier.ready()).await;
}

#[tokio::test]
async fn a_proxy_that_is_configured_is_used_but_never_for_an_issuer_on_loopback() {
    let proxy = LyingProxy::start();
    let issuer = HostileIssuer::start();
    let local = builder(&issuer, &Arc::new(SteppedClock::default())).proxy(proxy.url()).build().unwrap();
    soon(local.ready()).await;
    assert_eq!(proxy.asked(), 0);
    // With a root of its own: a bare system has no certificate authorities.
    let elsewhere = Verifier::builder("https://login.example".parse().unwrap(), RESOURCE.parse().unwrap());
    let elsewhere = elsewhere.trust_root(PrivateCa::generate().pem()).proxy(proxy.url()).build().unwrap();
    assert_eq!(code(&verify(&elsewhere, "x.y.z", &Route::any_scope()).await), "keys_unavailable");
    assert!(proxy.asked() > 0);
    let unusable = Verifier::builder(issuer.issuer(), RESOURCE.parse().unwrap()).proxy("no URL").build();
    assert!(matches!(unusable, Err(BuildError::Proxy(_))));
}
