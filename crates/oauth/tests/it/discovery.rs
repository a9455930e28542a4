//! How the keys of a trusted foreign issuer are found, over real HTTP.

use mandate_core::registry::SubjectScope;
use mandate_testkit::hostile_issuer::Trouble;
use serde_json::json;

use crate::foreign::Abroad;
use crate::shown;

const FIRST: &str = "/.well-known/oauth-authorization-server";
const SECOND: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn discovery_goes_on_until_a_document_is_the_issuers_own() {
    let wrong =
        json!({"issuer": "https://other.example", "jwks_uri": "https://other.example/jwks"}).to_string();
    for (kind, body) in [
        ("text/html", "<!doctype html><title>Not found</title>"),
        ("application/json", "<!doctype html>"),
        ("application/json", "{}"),
        ("application/json", wrong.as_str()),
        ("application/json", &" ".repeat(200_000)),
    ] {
        let abroad = Abroad::new(SubjectScope::Token).await;
        let right =
            json!({"issuer": abroad.idp.issuer(), "jwks_uri": format!("{}/jwks", abroad.idp.issuer())})
                .to_string();
        let token = abroad.idp.sign(&abroad.terms());
        abroad.idp.serve_at(FIRST, kind, body);
        let error = abroad.error(&token).await;
        assert_eq!(shown(&error), "503 temporarily_unavailable issuer_unavailable", "{kind} {body:.20}");
        assert_eq!(error.retry_after, Some(10), "a failure is remembered for so long");
        assert!(error.private.contains(FIRST), "the log says which address: {}", error.private);
        abroad.idp.serve_at(SECOND, "application/json", &right);
        abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
        assert_eq!(abroad.ask(&token).await, "ok", "{kind} {body:.20}");
    }
}

#[tokio::test]
async fn why_keys_cannot_be_fetched_is_said_with_address_and_member_to_the_operator_alone() {
    let mut abroad = Abroad::new(SubjectScope::Token).await;
    let token = abroad.idp.sign(&abroad.terms());
    abroad.idp.serve_metadata(Some(&json!({"issuer": abroad.idp.issuer()}).to_string()));
    let error = abroad.error(&token).await;
    assert!(error.private.contains("`jwks_uri` is missing"), "{}", error.private);
    assert!(!error.description.contains("127.0.0.1"), "{error}");
    abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
    abroad.idp.go_down();
    let mut error = abroad.error(&token).await;
    assert!(error.private.contains("no connection to http://127.0.0.1"), "{}", error.private);
    if error.private.contains("closed") {
        // That was an earlier connection.
        abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
        error = abroad.error(&token).await;
    }
    assert!(error.private.contains("refused"), "the innermost reason: {}", error.private);
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_passed_over() {
    for trouble in [Trouble::Status(500), Trouble::Status(503), Trouble::Break, Trouble::Silence] {
        let abroad = Abroad::new(SubjectScope::Token).await;
        let right =
            json!({"issuer": abroad.idp.issuer(), "jwks_uri": format!("{}/jwks", abroad.idp.issuer())})
                .to_string();
        let token = abroad.idp.sign(&abroad.terms());
        abroad.idp.fail_at(FIRST, trouble);
        abroad.idp.serve_at(SECOND, "application/json", &right);
        assert_eq!(abroad.ask(&token).await, "ok", "{trouble:?}");
    }
}

#[tokio::test]
async fn if_no_address_is_right_the_operator_is_told_why_the_first_is_not() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let token = abroad.idp.sign(&abroad.terms());
    abroad.idp.fail_at(FIRST, Trouble::Break);
    let error = abroad.error(&token).await;
    assert_eq!(shown(&error), "503 temporarily_unavailable issuer_unavailable");
    let (first, second) = (error.private.find(FIRST), error.private.find(SECOND));
    assert!(first.is_some() && first < second, "the first, then what the others answer: {}", error.private);
    assert!(
        error.private.contains("no connection to") && error.private.contains("status 404"),
        "{}",
        error.private
    );
    abroad.idp.fail_at(SECOND, Trouble::Break);
    abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
    let error = abroad.error(&token).await;
    assert!(
        error.private.contains(FIRST) && !error.private.contains(SECOND),
        "all alike, so one is enough: {}",
        error.private
    );
}
