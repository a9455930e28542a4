//! Issuers that cannot be reached or that lie, and what a restart remembers.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mandate_core::{Clock, CutTarget, Timestamp};
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey};
use mandate_verifier::{BuildError, CacheFileError, Freshness, Route, Verifier};

use crate::world::{RESOURCE, World, builder, code, eventually, soon, verify};

fn patient() -> Route {
    Route::any_scope().dangerous_accept_stale()
}

#[tokio::test]
async fn the_last_good_keys_survive_an_outage_up_to_their_largest_age() {
    let mut world = World::with(|builder| builder.keys_max_age(Duration::from_hours(1))).await;
    world.issuer.go_down();
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(code(&verify(&world.verifier, &world.token("read:cases"), &patient()).await), "ok");
    world.clock.advance(Duration::from_secs(1));
    let refusal = verify(&world.verifier, &world.token("read:cases"), &patient()).await.unwrap_err();
    assert_eq!((refusal.status(), refusal.reason().code()), (503, "keys_unavailable"));
    world.issuer.come_back();
    // The attempt before was in vain; the next one is due after the interval.
    world.clock.advance(Duration::from_secs(6));
    eventually(async || code(&verify(&world.verifier, &world.token("read:cases"), &patient()).await) == "ok")
        .await;
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_means_503_until_it_is_up() {
    let mut issuer = HostileIssuer::start();
    issuer.go_down();
    let clock = Arc::new(SteppedClock::default());
    let verifier = builder(&issuer, &clock).build().unwrap();
    let token = issuer.token(RESOURCE, "read:cases", clock.now());
    assert_eq!(code(&verify(&verifier, &token, &patient()).await), "keys_unavailable");
    issuer.come_back();
    soon(verifier.ready()).await;
    assert_eq!(code(&verify(&verifier, &token, &Route::any_scope()).await), "ok");
}

#[tokio::test]
async fn an_issuer_that_calls_itself_otherwise_gives_no_keys() {
    let issuer = HostileIssuer::start();
    let clock = Arc::new(SteppedClock::default());
    let honest = issuer.issuer();
    let keys_at = |url: String| serde_json::json!({ "issuer": honest, "jwks_uri": url }).to_string();
    for metadata in [
        serde_json::json!({ "issuer": format!("{honest}/"), "jwks_uri": format!("{honest}/jwks") })
            .to_string(),
        serde_json::json!({ "issuer": "https://login.example", "jwks_uri": format!("{honest}/jwks") })
            .to_string(),
        keys_at("http://127.0.0.1:1/jwks".into()),
        keys_at("file:///etc/passwd".into()),
        "[]".into(),
        "{".into(),
        format!("{{\"issuer\":\"{honest}\",\"issuer\":\"{honest}\",\"jwks_uri\":\"{honest}/jwks\"}}"),
        " ".repeat(70_000) + &keys_at(format!("{honest}/jwks")),
    ] {
        issuer.serve_metadata(Some(&metadata));
        let verifier = builder(&issuer, &clock).build().unwrap();
        let token = issuer.token(RESOURCE, "read:cases", clock.now());
        let outcome = verify(&verifier, &token, &patient()).await;
        assert_eq!(code(&outcome), "keys_unavailable", "{}", metadata.trim());
        assert_eq!(issuer.jwks_served(), 0);
    }
}

#[tokio::test]
async fn bad_key_sets_do_not_replace_good_ones() {
    let world = World::new().await;
    let big = format!("{{\"keys\":[],\"x\":\"{}\"}}", "a".repeat(300 * 1024));
    for jwks in [
        "",
        "{}",
        "[]",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"c2VjcmV0\"}]}",
        &big,
    ] {
        world.issuer.serve_jwks(Some(jwks));
        world.clock.advance(Duration::from_secs(6));
        world.issuer.beat();
        let served = world.issuer.jwks_served();
        let stranger = TestKey::generate();
        let terms = world.issuer.terms(RESOURCE, "read:cases", world.clock.now());
        let foreign = stranger.sign_terms(&terms);
        assert_eq!(code(&verify(&world.verifier, &foreign, &patient()).await), "issuer_key_unknown");
        assert_eq!(world.issuer.jwks_served(), served + 1, "it did ask");
        assert_eq!(code(&verify(&world.verifier, &world.token("read:cases"), &patient()).await), "ok");
    }
}

#[tokio::test]
async fn a_new_key_is_not_refused_for_good_while_the_issuer_cannot_be_asked_for_it() {
    let mut world = World::new().await;
    let old = world.token("read:cases");
    world.issuer.rotate();
    world.issuer.go_down();
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(6));
        let refusal = verify(&world.verifier, &world.token("read:cases"), &patient()).await.unwrap_err();
        assert_eq!((refusal.status(), refusal.reason().code()), (503, "issuer_key_unknown"));
        assert!(refusal.retry_after().is_some());
    }
    assert_eq!(
        code(&verify(&world.verifier, &old, &patient()).await),
        "ok",
        "its key was not withdrawn as far as anybody knows"
    );
    world.issuer.come_back();
    eventually(async || {
        world.clock.advance(Duration::from_secs(6));
        code(&verify(&world.verifier, &world.token("read:cases"), &patient()).await) == "ok"
    })
    .await;
}

#[tokio::test]
async fn a_restart_during_an_outage_keeps_keys_and_cuts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mandate.json");
    let mut world = World::with(|builder| builder.cache_file(&file)).await;
    let good = world.token("read:cases");
    let revoked = world.token("read:cases");
    world.issuer.cut(CutTarget::Token("token-2".parse().unwrap()), world.clock.now());
    eventually(async || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("token-2"))).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    world.issuer.go_down();

    let restarted = builder(&world.issuer, &world.clock).cache_file(&file).build().unwrap();
    assert_eq!(restarted.status().borrow().cuts, 1);
    assert_eq!(code(&verify(&restarted, &revoked, &patient()).await), "revoked");
    assert_eq!(code(&verify(&restarted, &good, &patient()).await), "ok");
    // What was known was complete at the last contact, which is remembered, too.
    assert_eq!(code(&verify(&restarted, &good, &Route::any_scope()).await), "ok");
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(code(&verify(&restarted, &good, &Route::any_scope()).await), "revocations_stale");
    let within_a_minute =
        Route::any_scope().freshness(Freshness::FailClosed { max_age: Duration::from_mins(1) });
    assert_eq!(code(&verify(&restarted, &good, &within_a_minute).await), "ok");
}

#[tokio::test]
async fn a_cache_file_that_others_may_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mandate.json");
    let issuer = HostileIssuer::start();
    let clock = Arc::new(SteppedClock::default());
    for mode in [0o620, 0o602, 0o666] {
        std::fs::write(&file, "{}").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let outcome = builder(&issuer, &clock).cache_file(&file).build();
        assert!(matches!(outcome, Err(BuildError::CacheFile(_))), "{mode:o}");
    }
}

#[tokio::test]
async fn a_cache_file_where_others_may_put_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mandate.json");
    let issuer = HostileIssuer::start();
    let clock = Arc::new(SteppedClock::default());
    let build = || builder(&issuer, &clock).cache_file(&file).build();
    for mode in [0o777, 0o1777, 0o770, 0o1770, 0o702] {
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(build(), Err(BuildError::CacheFile(CacheFileError::Directory(_)))),
            "{mode:o}, whether there is a file or not"
        );
    }
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(build().is_ok());
    let missing = builder(&issuer, &clock).cache_file(directory.path().join("missing/mandate.json")).build();
    assert!(
        matches!(missing, Err(BuildError::CacheFile(CacheFileError::Unreadable { .. }))),
        "found before the first request"
    );
}

#[tokio::test]
async fn a_cache_file_of_another_user_or_behind_a_link_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("mandate.json"), directory.path().join("link.json"));
    std::fs::write(&file, "{}").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let issuer = HostileIssuer::start();
    let clock = Arc::new(SteppedClock::default());
    let at_link = builder(&issuer, &clock).cache_file(&link).build();
    assert!(matches!(at_link, Err(BuildError::CacheFile(CacheFileError::Unreadable { .. }))));
    // Only root can give a file away; for anybody else the test ends here.
    if std::os::unix::fs::chown(&file, Some(54321), None).is_ok() {
        let outcome = builder(&issuer, &clock).cache_file(&file).build();
        assert!(matches!(outcome, Err(BuildError::CacheFile(CacheFileError::OwnedByOthers(_)))));
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::chown(directory.path(), Some(54321), None).unwrap();
        let outcome = builder(&issuer, &clock).cache_file(&file).build();
        assert!(matches!(outcome, Err(BuildError::CacheFile(CacheFileError::Directory(_)))));
    }
}

/// A clock that jumps ahead once keys have been served again, as if the fetch took long.
struct Leaps {
    issuer: Arc<HostileIssuer>,
    start: Timestamp,
    served: AtomicUsize,
}

impl Clock for Leaps {
    fn now(&self) -> Timestamp {
        let leapt = self.issuer.jwks_served() > self.served.load(Ordering::SeqCst);
        if leapt { self.start.plus(Duration::from_mins(10)) } else { self.start }
    }

    fn steady(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn a_token_that_expires_while_keys_are_fetched_is_refused() {
    let issuer = Arc::new(HostileIssuer::start());
    let start = SteppedClock::default().now();
    let clock = Arc::new(Leaps { issuer: Arc::clone(&issuer), start, served: AtomicUsize::new(usize::MAX) });
    let built = Verifier::builder(issuer.issuer(), RESOURCE.parse().unwrap())
        .clock(clock.clone())
        .unknown_key_interval(Duration::ZERO);
    let verifier = built.build().unwrap();
    soon(verifier.ready()).await;
    issuer.rotate();
    clock.served.store(issuer.jwks_served(), Ordering::SeqCst);
    let token = issuer.token(RESOURCE, "read:cases", start);
    assert_eq!(code(&verify(&verifier, &token, &patient()).await), "expired");
}

#[tokio::test]
async fn a_damaged_or_foreign_cache_file_restores_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mandate.json");
    let stranger = TestKey::generate();
    let mut issuer = HostileIssuer::start();
    issuer.go_down();
    let clock = Arc::new(SteppedClock::default());
    let at = clock.now();
    let content = |issuer: &str, version: u8| {
        format!(
            "{{\"version\":{version},\"issuer\":\"{issuer}\",\"fetched\":\"{at}\",\"jwks\":{},\"contact\":\"{at}\",\"cuts\":[]}}",
            stranger.jwks()
        )
    };
    let own = issuer.issuer();
    let terms = issuer.terms(RESOURCE, "read:cases", at);
    let token = stranger.sign_terms(&terms);
    for (text, expected) in [
        (content(own.as_str(), 1), "ok"),
        (content("https://login.example", 1), "keys_unavailable"),
        (content(own.as_str(), 2), "keys_unavailable"),
        ("{".into(), "keys_unavailable"),
        (String::new(), "keys_unavailable"),
    ] {
        std::fs::write(&file, &text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let verifier = builder(&issuer, &clock).cache_file(&file).build().unwrap();
        assert_eq!(code(&verify(&verifier, &token, &patient()).await), expected, "{text}");
    }
}

#[test]
fn outside_a_runtime_building_is_an_error_and_no_panic() {
    let outcome =
        Verifier::builder("https://login.example".parse().unwrap(), "https://api.example".parse().unwrap())
            .build();
    assert!(matches!(outcome, Err(BuildError::NoRuntime)));
}

#[tokio::test]
async fn a_trust_root_that_is_no_certificate_is_an_error() {
    let builder =
        Verifier::builder("https://login.example".parse().unwrap(), "https://api.example".parse().unwrap());
    let outcome = builder
        .trust_root("-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n")
        .build();
    assert!(matches!(outcome, Err(BuildError::Tls(_))));
}

#[tokio::test]
async fn the_last_clone_ends_the_background_tasks() {
    let mut world = World::new().await;
    let opened = world.issuer.feeds_opened();
    let status = world.verifier.status();
    let clone = world.verifier.clone();
    world.verifier = builder(&world.issuer, &world.clock).build().unwrap();
    drop(clone);
    // The tasks hold the only senders of the status.
    eventually(async || status.has_changed().is_err()).await;
    assert!(world.issuer.feeds_opened() >= opened);
}
