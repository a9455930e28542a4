use std::collections::BTreeMap;

use mandate_core::Timestamp;
use mandate_core::registry::{SubjectScope, TokenProfile, TrustedIssuer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{IntrospectionFault, introspected};
use crate::access_token::AccessToken;
use crate::compact::MAX_TOKEN_LEN;
use crate::error::TokenError;

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://login.example";
const OURS: &str = "https://mandate.example.com";
const JSON: Option<&str> = Some("application/json");

fn issuer() -> TrustedIssuer {
    TrustedIssuer {
        url: ISSUER.parse().unwrap(),
        audience: OURS.to_owned(),
        subject_scope: SubjectScope::Token,
        other_audiences: Vec::new(),
        ca: None,
        proxy: None,
        profile: TokenProfile::Rfc9068,
        required_claims: BTreeMap::new(),
        login: None,
        events_audience: None,
        id_tokens: Vec::new(),
        introspection: None,
        oldest_actor_first: false,
        groups_claim: None,
        tenant_claim: None,
        tenant: None,
    }
}

/// A proper answer with this change; null removes a member.
fn answer(change: &Value) -> Value {
    let mut answer = json!({
        "active": true, "iss": ISSUER, "sub": "user-7", "aud": OURS, "client_id": "portal", "token_type": "Bearer",
        "scope": "read:cases", "iat": NOW, "exp": NOW + 300, "username": "riley", "jti": "another",
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => answer.as_object_mut().unwrap().remove(name),
            value => answer.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    answer
}

fn of(token: &str, change: &Value) -> Result<AccessToken, IntrospectionFault> {
    let body = answer(change).to_string();
    introspected(token, (JSON, body.as_bytes()), &issuer(), Timestamp::from_secs(NOW))
}

fn refusal(change: &Value) -> String {
    match of("opaque", change) {
        Ok(_) => "ok".to_owned(),
        Err(IntrospectionFault::Token(error)) => error.public_text(),
        Err(IntrospectionFault::Answer(_)) => "answer".to_owned(),
    }
}

#[test]
fn a_complete_answer_says_what_a_token_would() {
    let terms = of("opaque", &json!({})).unwrap().terms;
    assert_eq!(terms.subject.unwrap().sub, "user-7");
    assert_eq!((terms.client.as_str(), terms.audience.sole()), ("portal", Some(OURS)));
    assert_eq!(terms.scopes.to_string(), "read:cases");
    assert_eq!((terms.issued.secs(), terms.expires.secs()), (NOW, NOW + 300));
    let id = |token: &str, jti: &str| of(token, &json!({ "jti": jti })).unwrap().terms.jti;
    assert_eq!(id("opaque", "a"), id("opaque", "b"), "what was sent is what it is known by");
    assert_ne!(id("opaque", "a"), id("another", "a"));
    assert!(id("opaque", "a").as_str().starts_with("f."));
    for harmless in [json!({"token_type": "bearer"}), json!({"scope": null}), json!({"jti": null})] {
        assert_eq!(refusal(&harmless), "ok", "{harmless}");
    }
}

#[test]
fn whatever_is_missing_or_of_another_type_is_not_guessed() {
    for (name, code) in [
        ("active", "claim_missing: active"),
        ("iss", "claim_missing: iss"),
        ("sub", "claim_missing: sub"),
        ("aud", "claim_missing: aud"),
        ("exp", "claim_missing: exp"),
        ("iat", "claim_missing: iat"),
        ("client_id", "claim_missing: client_id"),
        ("token_type", "claim_missing: token_type"),
    ] {
        assert_eq!(refusal(&json!({ name: null })), code);
        for other in [json!({}), json!([]), json!(false), json!(""), json!([[]])] {
            assert_ne!(refusal(&json!({ name: other })), "ok", "{name}: {other}");
        }
    }
    for (change, code) in [
        (json!({"active": false}), "inactive"),
        (json!({"active": "true"}), "claim_invalid: active, neither true nor false"),
        (json!({"active": 1}), "claim_invalid: active, neither true nor false"),
        (json!({"iss": "https://login.example/"}), "issuer"),
        (json!({"exp": (NOW + 300).to_string()}), "claim_invalid: exp, not a number of seconds"),
        (json!({"exp": NOW - 60}), "claim_invalid: exp, not after iat and nbf"),
        (json!({"iat": NOW - 600, "exp": NOW - 60}), "expired"),
        (json!({"nbf": NOW + 200}), "not_yet_valid"),
        (json!({"scope": ["read:cases"]}), "claim_invalid: scope, not a text"),
        (json!({"sub_profile": "ai_agent"}), "not_a_person: sub_profile"),
    ] {
        assert_eq!(refusal(&change), code, "{change}");
    }
    for other in ["DPoP", "N_A", "refresh_token", "urn:ietf:params:oauth:token-type:refresh_token"] {
        let expected = "claim_invalid: token_type, not that of an access token that its bearer may use";
        assert_eq!(refusal(&json!({ "token_type": other })), expected, "{other}");
    }
}

#[test]
fn what_is_no_answer_says_nothing_of_the_token() {
    let body = answer(&json!({})).to_string();
    let read = |kind: Option<&str>, body: &[u8]| {
        introspected("opaque", (kind, body), &issuer(), Timestamp::from_secs(NOW)).map(|token| token.terms)
    };
    assert!(read(JSON, body.as_bytes()).is_ok());
    let doubled = body.replacen('{', "{\"active\":false,", 1);
    for (kind, body) in [
        (Some("text/html"), body.as_bytes()),
        (Some("application/token-introspection+jwt"), body.as_bytes()),
        (None, body.as_bytes()),
        (JSON, b"<html>"),
        (JSON, b""),
        (JSON, b"[true]"),
        (JSON, b"{\"active\":true"),
        (JSON, doubled.as_bytes()),
    ] {
        assert!(matches!(read(kind, body), Err(IntrospectionFault::Answer(_))), "{kind:?}");
    }
}

#[test]
fn an_answer_is_no_longer_than_a_token() {
    let mut act = json!({"iss": ISSUER, "sub": "a".repeat(2_000)});
    for _ in 0..15 {
        act = json!({"iss": ISSUER, "sub": "a".repeat(2_000), "act": act});
    }
    assert_eq!(refusal(&json!({ "act": act })), "token_too_large");
    let room = MAX_TOKEN_LEN - answer(&json!({"padding": ""})).to_string().len();
    assert_eq!(refusal(&json!({ "padding": "x".repeat(room) })), "ok");
    assert_eq!(refusal(&json!({ "padding": "x".repeat(room + 1) })), "token_too_large");
}

#[test]
fn a_claim_that_the_entry_requires_is_asked_for() {
    let required =
        TrustedIssuer { required_claims: [("idp".to_owned(), "staff".to_owned())].into(), ..issuer() };
    let read = |change: Value| {
        let body = answer(&change).to_string();
        introspected("opaque", (JSON, body.as_bytes()), &required, Timestamp::from_secs(NOW)).is_ok()
    };
    assert!(read(json!({"idp": "staff"})));
    assert!(!read(json!({})) && !read(json!({"idp": "guests"})) && !read(json!({"idp": ["staff"]})));
}

#[test]
fn groups_and_tenant_are_read_where_the_entry_says() {
    let mapping = TrustedIssuer {
        groups_claim: Some("/realm_access/roles".parse().unwrap()),
        tenant_claim: Some("tid".parse().unwrap()),
        ..issuer()
    };
    let read = |change: Value| {
        let body = answer(&change).to_string();
        introspected("opaque", (JSON, body.as_bytes()), &mapping, Timestamp::from_secs(NOW))
            .map(|token| (token.mapped.groups, token.mapped.tenant))
    };
    let said = read(json!({"realm_access": {"roles": ["a", "b"]}, "tid": "acme"}));
    assert_eq!(said, Ok((vec!["a".to_owned(), "b".to_owned()], Some("acme".to_owned()))));
    assert_eq!(read(json!({})), Ok((Vec::new(), None)));
    for bad in
        [json!({"realm_access": {"roles": "a"}}), json!({"realm_access": "a"}), json!({"tid": ["acme"]})]
    {
        let refused = read(bad.clone());
        assert!(
            matches!(refused, Err(IntrospectionFault::Token(TokenError::MappedClaim { .. }))),
            "{bad}: {refused:?}"
        );
    }
}

proptest! {
    #[test]
    fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200), token in "\\PC{0,40}") {
        let _ = introspected(&token, (JSON, &body), &issuer(), Timestamp::from_secs(NOW));
    }
}
