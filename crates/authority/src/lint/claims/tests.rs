use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{Actor, ActorChain, Lineage, Person, Timestamp};
use mandate_delegation::MandateView;
use serde_json::{Value, json};

use super::{ClaimsLint as L, check_access_token, check_jwt_svid};
use crate::svid::JwtSvidGrant;

const KID: &str = "k1";

fn mandate() -> MandateView {
    let iss: mandate_core::Issuer = "https://mandate.example".parse().unwrap();
    let agent = Actor { sub: "spiffe://acme.example/agent/a".to_owned(), iss: iss.clone(), sub_profile: None };
    MandateView {
        issuer: iss.clone(),
        subject: Person { iss, sub: "riley".to_owned() },
        chain: ActorChain::new(vec![agent]).unwrap(),
        resource: "https://crm.example".to_owned(),
        scopes: ["read:cases", "write:cases"].iter().map(|s| s.parse().unwrap()).collect(),
        issued: Timestamp::from_millis(1_000_500),
        expires: Timestamp::from_secs(1300),
        jti: "t1".parse().unwrap(),
        client: "app".parse().unwrap(),
        lineage: Lineage {
            parents: vec!["p1".parse().unwrap()],
            grants: vec!["g1".parse().unwrap()],
            clients: vec!["support-app".parse().unwrap()],
        },
        auth_time: Some(Timestamp::from_secs(900)),
        acr: None,
        amr: vec!["pwd".to_owned()],
        reservations: Vec::new(),
        policies: std::sync::Arc::default(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://mandate.example", "sub": "riley", "aud": "https://crm.example", "client_id": "app", "jti": "t1",
        "iat": 1000, "exp": 1300, "scope": "read:cases write:cases",
        "act": {"sub": "spiffe://acme.example/agent/a", "iss": "https://mandate.example"},
        "lineage": {"parents": ["p1"], "grants": ["g1"], "clients": ["support-app"]}, "auth_time": 900, "amr": ["pwd"],
    })
}

fn message(header: &Value, claims: &Value) -> Vec<u8> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims)).into_bytes()
}

fn header(typ: &str) -> Value {
    json!({"alg": "ES256", "kid": KID, "typ": typ})
}

fn access_token(claims: &Value) -> Result<(), L> {
    check_access_token(&message(&header("at+jwt"), claims), KID, &mandate())
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn passes_what_was_decided() {
    assert_eq!(access_token(&claims()), Ok(()));
}

#[test]
fn refuses_every_claim_that_was_not_decided_so() {
    for (name, value, why) in [
        ("iss", json!("https://other.example"), L::Issuer),
        ("sub", json!("kim"), L::Subject),
        ("sub", json!(""), L::Subject),
        ("sub_iss", json!("https://login.example"), L::Claims),
        ("sub_id", json!({"format": "iss_sub", "iss": "https://mandate.example", "sub": "riley"}), L::Subject),
        ("sub_id", json!({"format": "iss_sub", "iss": "https://login.example", "sub": "riley"}), L::Subject),
        ("aud", json!("https://mail.example"), L::Audience),
        ("aud", json!(["https://crm.example"]), L::Claims),
        ("aud", json!(["https://crm.example", "https://mail.example"]), L::Claims),
        ("client_id", json!("app2"), L::Client),
        ("jti", json!("t2"), L::Id),
        ("scope", json!("read:cases"), L::Scope),
        ("scope", json!("read:cases send:mail write:cases"), L::Scope),
        ("scope", json!("read:cases write:cases write:cases"), L::Scope),
        ("scope", json!("read:cases  write:cases"), L::Scope),
        ("scope", json!(""), L::Scope),
        ("act", json!({"sub": "spiffe://acme.example/agent/b", "iss": "https://mandate.example"}), L::Actors),
        ("act", json!({"sub": "spiffe://acme.example/agent/a", "iss": "https://mandate.example", "exp": 1}), L::Claims),
        ("lineage", json!({"parents": ["p2"], "grants": ["g1"], "clients": ["support-app"]}), L::Lineage),
        ("lineage", json!({"parents": ["p1"], "clients": ["support-app"]}), L::Lineage),
        ("lineage", json!({"parents": ["p1"], "grants": ["g1"]}), L::Lineage),
        ("lineage", json!({"parents": ["p1", "p2"], "grants": ["g1"], "clients": ["support-app"]}), L::Lineage),
        ("lineage", json!({"parents": ["p1"], "grants": ["g1"], "clients": ["support-app"], "others": []}), L::Claims),
        ("auth_time", json!(901), L::Authentication),
        ("acr", json!("high"), L::Authentication),
        ("amr", json!(["otp"]), L::Authentication),
        ("amr", json!(["pwd", "otp"]), L::Authentication),
        ("amr", json!("pwd"), L::Claims),
        ("iat", json!(1001), L::Lifetime),
        ("exp", json!(1301), L::Lifetime),
        ("exp", json!(1299), L::Lifetime),
        ("may_act", json!({"sub": "x"}), L::Claims),
        ("admin", json!(true), L::Claims),
    ] {
        assert_eq!(access_token(&with(claims(), name, value.clone())), Err(why), "{name}: {value}");
    }
}

#[test]
fn refuses_every_missing_claim() {
    for (name, why) in [
        ("iss", L::Claims),
        ("sub", L::Claims),
        ("aud", L::Claims),
        ("client_id", L::Claims),
        ("jti", L::Claims),
        ("iat", L::Claims),
        ("exp", L::Claims),
        ("scope", L::Claims),
        ("act", L::Actors),
        ("lineage", L::Lineage),
        ("auth_time", L::Authentication),
        ("amr", L::Authentication),
    ] {
        assert_eq!(access_token(&without(claims(), name)), Err(why), "{name}");
    }
}

#[test]
fn refuses_a_mandate_that_breaks_the_profile_itself() {
    let check = |view: &MandateView, claims: &Value| check_access_token(&message(&header("at+jwt"), claims), KID, view);
    let long = MandateView { expires: Timestamp::from_secs(1000 + 15 * 60 + 1), ..mandate() };
    assert_eq!(check(&long, &with(claims(), "exp", json!(1000 + 15 * 60 + 1))), Err(L::Lifetime), "over 15 minutes");
    let dead = MandateView { expires: Timestamp::from_secs(1000), ..mandate() };
    assert_eq!(check(&dead, &with(claims(), "exp", json!(1000))), Err(L::Lifetime), "dead on arrival");
    let nothing = MandateView { scopes: mandate_core::ScopeSet::new(), ..mandate() };
    assert_eq!(check(&nothing, &with(claims(), "scope", json!(""))), Err(L::Scope), "no scope");
    let rootless = MandateView { lineage: Lineage::default(), ..mandate() };
    assert_eq!(check(&rootless, &without(claims(), "lineage")), Err(L::Lineage), "an agent without a parent token");
    let nowhere = MandateView { resource: String::new(), ..mandate() };
    assert_eq!(check(&nowhere, &with(claims(), "aud", json!(""))), Err(L::Audience), "no audience");
}

#[test]
fn a_person_s_own_token_lives_an_hour_and_not_longer() {
    let own = |secs: u64| {
        let expires = Timestamp::from_secs(1000).plus(Duration::from_secs(secs));
        let view = MandateView { chain: ActorChain::empty(), lineage: Lineage::default(), expires, ..mandate() };
        let claims = without(without(with(claims(), "exp", json!(1000 + secs)), "act"), "lineage");
        check_access_token(&message(&header("at+jwt"), &claims), KID, &view)
    };
    assert_eq!(own(3600), Ok(()));
    assert_eq!(own(3601), Err(L::Lifetime));
}

#[test]
fn refuses_every_other_header() {
    for (header, why) in [
        (json!({"alg": "ES256", "kid": KID, "typ": "JWT"}), L::Type),
        (json!({"alg": "ES256", "kid": "k2", "typ": "at+jwt"}), L::Key),
        (json!({"alg": "none", "kid": KID, "typ": "at+jwt"}), L::Key),
        (json!({"alg": "ES256", "typ": "at+jwt"}), L::Header),
        (json!({"alg": "ES256", "kid": KID}), L::Header),
        (json!({"alg": "ES256", "kid": KID, "typ": "at+jwt", "jku": "https://x"}), L::Header),
    ] {
        assert_eq!(check_access_token(&message(&header, &claims()), KID, &mandate()), Err(why), "{header}");
    }
    for garbage in [&b""[..], b".", b"a", b"a.b", b"!.!", b"e30.e30"] {
        assert!(check_access_token(garbage, KID, &mandate()).is_err());
    }
}

fn svid() -> (JwtSvidGrant, Value) {
    let domain = "acme.example".parse().unwrap();
    let id = "spiffe://acme.example/agent/a".parse().unwrap();
    let audiences = vec!["https://mandate.example".to_owned()];
    let grant = JwtSvidGrant::new(&domain, id, audiences, "s1".parse().unwrap(), Timestamp::from_secs(1000)).unwrap();
    let claims = json!({
        "sub": "spiffe://acme.example/agent/a", "aud": ["https://mandate.example"], "iat": 1000, "exp": 1300, "jti": "s1",
    });
    (grant, claims)
}

#[test]
fn passes_the_svid_that_was_granted() {
    let (grant, claims) = svid();
    assert_eq!(check_jwt_svid(&message(&header("JWT"), &claims), KID, &grant), Ok(()));
}

#[test]
fn refuses_every_other_svid() {
    let (grant, claims) = svid();
    let check = |claims: &Value| check_jwt_svid(&message(&header("JWT"), claims), KID, &grant);
    for (name, value, why) in [
        ("sub", json!("spiffe://acme.example/agent/b"), L::Subject),
        ("aud", json!(["https://other.example"]), L::Audience),
        ("aud", json!(["https://mandate.example", "https://other.example"]), L::Audience),
        ("aud", json!([]), L::Audience),
        ("jti", json!("s2"), L::Id),
        ("iat", json!(999), L::Lifetime),
        ("exp", json!(1301), L::Lifetime),
        ("scope", json!("all"), L::Claims),
    ] {
        assert_eq!(check(&with(claims.clone(), name, value.clone())), Err(why), "{name}: {value}");
    }
    for name in ["sub", "aud", "iat", "exp", "jti"] {
        assert_eq!(check(&without(claims.clone(), name)), Err(L::Claims), "{name}");
    }
    assert_eq!(check_jwt_svid(&message(&header("at+jwt"), &claims), KID, &grant), Err(L::Type));
}

#[test]
fn an_svid_with_an_actor_is_not_signed() {
    let (grant, claims) = svid();
    let acting = with(claims, "act", json!({"sub": "spiffe://acme.example/agent/b", "iss": "https://mandate.example"}));
    assert_eq!(check_jwt_svid(&message(&header("JWT"), &acting), KID, &grant), Err(L::Claims));
}
