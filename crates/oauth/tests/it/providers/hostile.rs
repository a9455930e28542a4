//! What a provider answers that is broken, hostile or somebody else.

use mandate_core::Clock as _;
use mandate_oauth::foreign::FAILURE_TTL;
use mandate_testkit::hostile_issuer::Trouble;
use mandate_testkit::provider_double::{CLIENT_ID, ProviderDouble, TOKEN, asked};
use mandate_testkit::story;
use mandate_testkit::world::pairs;
use mandate_token::Signer;
use serde_json::json;

use super::{Login, page, sent_back};
use crate::shown;

#[tokio::test]
async fn an_id_token_of_another_login_client_issuer_or_time_is_refused() {
    let login = Login::new();
    let now = login.world.clock.now().secs();
    let earlier = login.leave().await;
    for (what, changes) in [
        ("a code of another session (nonce)", json!({"nonce": asked(&earlier.location, "nonce")})),
        ("no nonce", json!({"nonce": null})),
        ("another issuer", json!({"iss": "https://login.example"})),
        ("another client", json!({"aud": "another"})),
        ("another client beside us", json!({"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID})),
        ("another party", json!({"azp": "another"})),
        ("expired", json!({"iat": now - 600, "exp": now - 61})),
        ("before this login", json!({"iat": now - 61})),
        ("from the future", json!({"iat": now + 61})),
        ("another access token", json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"})),
        ("no person", json!({"sub": ""})),
        ("a sub of another type", json!({"sub": 7})),
        ("a logout token", json!({"events": {}})),
        ("an actor", json!({"act": {"sub": "x"}})),
    ] {
        assert_eq!(login.id_token(&changes).await, "400 invalid_grant id_token_refused", "{what}");
    }
}

#[tokio::test]
async fn an_id_token_that_the_provider_did_not_sign_is_refused() {
    let login = Login::new();
    let stranger = ProviderDouble::start();
    let key = login.provider.issuer.key();
    let kid = Signer::key_id(key.as_ref()).to_owned();
    for (what, header) in [
        ("none", json!({"alg": "none"})),
        ("HMAC with the client secret", json!({"alg": "HS256", "kid": kid})),
        ("an access token", json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"})),
        ("a key that it brings", json!({"alg": "ES256", "kid": kid, "jwk": {"kty": "EC"}})),
    ] {
        let away = login.leave().await;
        let claims = login.claims(&away, &json!({})).to_string();
        login.provider.give(&key.sign_raw(&header.to_string(), &claims));
        let refusal = page(login.come_back(&away).await);
        assert_eq!(refusal, "400 invalid_grant id_token_refused", "{what}");
    }
    let away = login.leave().await;
    let claims = login.claims(&away, &json!({}));
    let forged =
        stranger.issuer.key().sign_raw(&json!({"alg": "ES256", "kid": kid}).to_string(), &claims.to_string());
    login.provider.give(&forged);
    assert_eq!(page(login.come_back(&away).await), "400 invalid_grant id_token_refused");
}

#[tokio::test]
async fn keys_that_rotate_are_fetched_again_and_an_unknown_one_logs_nobody_in() {
    let login = Login::new();
    login.code(&login.leave().await, &json!({})).await;
    login.world.clock.advance(mandate_oauth::foreign::REFETCH_PAUSE);
    login.provider.issuer.rotate();
    login.code(&login.leave().await, &json!({})).await;
    let away = login.leave().await;
    let stranger = ProviderDouble::start();
    login.provider.give(&stranger.sign(&login.claims(&away, &json!({}))));
    let refusal = page(login.come_back(&away).await);
    assert_eq!(refusal, "503 temporarily_unavailable provider_unavailable", "it may have just been added");
}

#[tokio::test]
async fn a_hostile_token_endpoint_logs_nobody_in_and_none_of_its_text_is_repeated() {
    let huge = format!("{{\"id_token\":\"{}\"}}", "a".repeat(200_000));
    let html = "<html><script>alert(1)</script>";
    let error = json!({"error": "<b>bad</b>", "error_description": html}).to_string();
    let invalid = "400 invalid_grant provider_answer";
    let unavailable = "503 temporarily_unavailable provider_unavailable";
    for (what, kind, body, expected) in [
        ("200 with HTML", "text/html", html, invalid),
        ("HTML that says it is JSON", "application/json", html, invalid),
        ("nothing", "application/json", "", invalid),
        ("a list", "application/json", "[]", invalid),
        ("an error with 200", "application/json", &error, invalid),
        (
            "members of other types",
            "application/json",
            "{\"id_token\":7,\"access_token\":[],\"token_type\":{}}",
            invalid,
        ),
        ("no ID token", "application/json", "{\"access_token\":\"a\",\"token_type\":\"Bearer\"}", invalid),
        ("huge", "application/json", &huge, unavailable),
    ] {
        let login = Login::new();
        login.provider.issuer.serve_at(TOKEN, kind, body);
        let away = login.leave().await;
        assert_eq!(page(login.come_back(&away).await), expected, "{what}");
        let record = format!("{:?}", login.world.last_record());
        assert!(!record.contains("alert") && !record.contains("<b>"), "{what}: {record}");
    }
    for (what, trouble, expected) in [
        ("an error", Trouble::Status(500), invalid),
        ("an answer without content", Trouble::Status(204), invalid),
        ("a broken answer", Trouble::Break, unavailable),
    ] {
        let login = Login::new();
        login.provider.issuer.fail_at(TOKEN, trouble);
        let away = login.leave().await;
        assert_eq!(page(login.come_back(&away).await), expected, "{what}");
    }
    let login = Login::new();
    login.provider.issuer.redirect_at(TOKEN, "http://127.0.0.1:1/steal");
    let away = login.leave().await;
    assert_eq!(page(login.come_back(&away).await), invalid, "a redirect is not followed");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_logs_nobody_in() {
    let login = Login::new();
    let away = login.leave().await;
    login.provider.issuer.fail_at(TOKEN, Trouble::Silence);
    let refusal = page(login.come_back(&away).await);
    assert_eq!(refusal, "503 temporarily_unavailable provider_unavailable");
}

#[tokio::test]
async fn no_browser_goes_to_a_provider_whose_metadata_is_not_its_own() {
    for changes in [
        json!({"issuer": "https://other.example"}),
        json!({"authorization_endpoint": null}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"authorization_endpoint": "http://login.example/authorize"}),
        json!({"authorization_endpoint": ["https://login.example"]}),
        json!({"token_endpoint": "http://login.example/token"}),
        json!({"token_endpoint_auth_methods_supported": "none"}),
    ] {
        let login = Login::new();
        login.provider.publish(&changes);
        let query = login.world.authorization("support-app", None, None);
        let error = login.try_to_leave(&query).await.unwrap_err();
        assert_eq!(shown(&error), "503 temporarily_unavailable provider_unavailable", "{changes}");
        login.provider.publish(&json!({}));
        login.world.clock.advance(FAILURE_TTL);
        assert!(login.try_to_leave(&query).await.is_ok(), "{changes}");
    }
}

#[tokio::test]
async fn a_provider_that_declines_sends_the_browser_back_without_its_text() {
    let login = Login::new();
    for error in ["access_denied", "login_required", "<script>alert(1)</script>"] {
        let away = login.leave().await;
        let said = pairs(&[
            ("error", error),
            ("error_description", "<script>alert(2)</script>"),
            ("error_uri", "https://evil.example"),
            ("state", &asked(&away.location, "state")),
        ]);
        let (location, shown) = sent_back(login.bring(&said, Some(&away.pending)).await);
        assert_eq!(shown, "400 access_denied provider_declined");
        assert!(location.starts_with(story::CALLBACK), "{location}");
        assert!(!location.contains("alert") && !location.contains("evil"), "{location}");
        let record = format!("{:?}", login.world.last_record());
        assert!(!record.contains("alert") && !record.contains("evil"), "{record}");
    }
    let away = login.leave().await;
    let neither = pairs(&[("state", &asked(&away.location, "state"))]);
    assert_eq!(page(login.bring(&neither, Some(&away.pending)).await), "400 invalid_grant provider_answer");
}
