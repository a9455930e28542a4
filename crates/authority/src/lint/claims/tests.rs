use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, Lineage, Subject, SubjectProfile, Terms, Timestamp,
};
use serde_json::{Value, json};

use super::{ClaimsLint as L, check_access_token, check_jwt_svid};
use crate::svid::JwtSvidGrant;

const KID: &str = "k1";
const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn terms() -> Terms {
    let iss: mandate_core::Issuer = "https://mandate.example".parse().unwrap();
    let agent =
        Actor { sub: "spiffe://acme.example/agent/a".to_owned(), iss: iss.clone(), sub_profile: None };
    let subject = Subject { iss: iss.clone(), sub: "riley".to_owned() };
    let audience = Audience::one("https://crm.example".to_owned());
    let scopes = "read:cases write:cases".parse().unwrap();
    let times = (Timestamp::from_millis(1_000_500), Timestamp::from_secs(1300));
    Terms {
        chain: ActorChain::new(vec![agent]).unwrap(),
        lineage: Lineage {
            parents: vec!["p1".parse().unwrap()],
            grants: vec!["g1".parse().unwrap()],
            clients: vec!["support-app".parse().unwrap()],
        },
        auth_time: Some(Timestamp::from_secs(900)),
        amr: vec!["pwd".to_owned()],
        groups: vec!["staff".parse().unwrap()],
        tenant: Some("acme".parse().unwrap()),
        ..Terms::new(iss, subject, "app".parse().unwrap(), audience, scopes, "t1".parse().unwrap(), times)
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://mandate.example", "sub": "riley", "aud": "https://crm.example", "client_id": "app", "jti": "t1",
        "iat": 1000, "exp": 1300, "scope": "read:cases write:cases",
        "act": {"sub": "spiffe://acme.example/agent/a", "iss": "https://mandate.example"},
        "lineage": {"parents": ["p1"], "grants": ["g1"], "clients": ["support-app"]}, "auth_time": 900, "amr": ["pwd"], "groups": ["staff"], "tenant": "acme",
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
    check_access_token(&message(&header("at+jwt"), claims), KID, &terms())
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
        (
            "sub_id",
            json!({"format": "iss_sub", "iss": "https://mandate.example", "sub": "riley"}),
            L::Subject,
        ),
        ("sub_id", json!({"format": "iss_sub", "iss": "https://login.example", "sub": "riley"}), L::Subject),
        ("sub_profile", json!("user"), L::Subject),
        ("sub_profile", json!("ai_agent"), L::Subject),
        ("sub_profile", json!("bot"), L::Claims),
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
        (
            "act",
            json!({"sub": "spiffe://acme.example/agent/a", "iss": "https://mandate.example", "exp": 1}),
            L::Claims,
        ),
        ("lineage", json!({"parents": ["p2"], "grants": ["g1"], "clients": ["support-app"]}), L::Lineage),
        ("lineage", json!({"parents": ["p1"], "clients": ["support-app"]}), L::Lineage),
        ("lineage", json!({"parents": ["p1"], "grants": ["g1"]}), L::Lineage),
        (
            "lineage",
            json!({"parents": ["p1", "p2"], "grants": ["g1"], "clients": ["support-app"]}),
            L::Lineage,
        ),
        (
            "lineage",
            json!({"parents": ["p1"], "grants": ["g1"], "clients": ["support-app"], "others": []}),
            L::Claims,
        ),
        ("auth_time", json!(901), L::Authentication),
        ("acr", json!("high"), L::Authentication),
        ("amr", json!(["otp"]), L::Authentication),
        ("amr", json!(["pwd", "otp"]), L::Authentication),
        ("amr", json!("pwd"), L::Claims),
        ("tenant", json!("umbrella"), L::Tenant),
        ("tenant", json!(["acme"]), L::Claims),
        ("groups", json!(["sales"]), L::Groups),
        ("groups", json!(["staff", "sales"]), L::Groups),
        ("groups", json!([]), L::Groups),
        ("groups", json!("staff"), L::Claims),
        ("iat", json!(1001), L::Lifetime),
        ("exp", json!(1301), L::Lifetime),
        ("exp", json!(1299), L::Lifetime),
        ("may_act", json!({"sub": "x"}), L::Claims),
        ("authorization_details", json!([{"type": "case"}]), L::Details),
        ("authorization_details", json!([]), L::Details),
        ("authorization_details", json!({"type": "case"}), L::Claims),
        ("cnf", json!({"jkt": KEY}), L::Confirmation),
        ("cnf", json!({}), L::Confirmation),
        ("cnf", json!({"kid": "k1"}), L::Claims),
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
        ("groups", L::Groups),
        ("tenant", L::Tenant),
    ] {
        assert_eq!(access_token(&without(claims(), name)), Err(why), "{name}");
    }
}

#[test]
fn refuses_a_mandate_that_breaks_the_profile_itself() {
    let check =
        |terms: &Terms, claims: &Value| check_access_token(&message(&header("at+jwt"), claims), KID, terms);
    let long = Terms { expires: Timestamp::from_secs(1000 + 15 * 60 + 1), ..terms() };
    assert_eq!(
        check(&long, &with(claims(), "exp", json!(1000 + 15 * 60 + 1))),
        Err(L::Lifetime),
        "over 15 minutes"
    );
    let dead = Terms { expires: Timestamp::from_secs(1000), ..terms() };
    assert_eq!(check(&dead, &with(claims(), "exp", json!(1000))), Err(L::Lifetime), "dead on arrival");
    let nothing = Terms { scopes: mandate_core::ScopeSet::new(), ..terms() };
    assert_eq!(check(&nothing, &with(claims(), "scope", json!(""))), Err(L::Scope), "no scope");
    let rootless = Terms { lineage: Lineage::default(), ..terms() };
    assert_eq!(
        check(&rootless, &without(claims(), "lineage")),
        Err(L::Lineage),
        "an agent without a parent token"
    );
    let nowhere = Terms { audience: Audience::one(String::new()), ..terms() };
    assert_eq!(check(&nowhere, &with(claims(), "aud", json!(""))), Err(L::Audience), "no audience");
    let several =
        Audience::several("https://crm.example".to_owned(), vec!["https://mail.example".to_owned()]);
    assert_eq!(check(&Terms { audience: several, ..terms() }, &claims()), Err(L::Audience), "two audiences");
}

#[test]
fn a_person_s_own_token_lives_an_hour_and_not_longer() {
    let own = |secs: u64| {
        let expires = Timestamp::from_secs(1000).plus(Duration::from_secs(secs));
        let own = Terms { chain: ActorChain::empty(), lineage: Lineage::default(), expires, ..terms() };
        let claims = without(without(with(claims(), "exp", json!(1000 + secs)), "act"), "lineage");
        check_access_token(&message(&header("at+jwt"), &claims), KID, &own)
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
        assert_eq!(check_access_token(&message(&header, &claims()), KID, &terms()), Err(why), "{header}");
    }
    for garbage in [&b""[..], b".", b"a", b"a.b", b"!.!", b"e30.e30"] {
        assert!(check_access_token(garbage, KID, &terms()).is_err());
    }
}

#[test]
fn details_and_key_are_signed_as_they_were_decided_and_in_no_other_way() {
    let details = json!([{"type": "case", "most": 3}, {"type": "mail"}]);
    let key = KEY.parse().unwrap();
    let bound = Terms {
        details: serde_json::from_value(details.clone()).unwrap(),
        cnf: Some(Confirmation::Jkt(key)),
        ..terms()
    };
    let said = with(with(claims(), "authorization_details", details), "cnf", json!({"jkt": KEY}));
    let check =
        |terms: &Terms, claims: &Value| check_access_token(&message(&header("at+jwt"), claims), KID, terms);
    assert_eq!(check(&bound, &said), Ok(()));
    for (name, value, why) in [
        ("authorization_details", json!([{"type": "case", "most": 4}, {"type": "mail"}]), L::Details),
        ("authorization_details", json!([{"type": "mail"}, {"type": "case", "most": 3}]), L::Details),
        ("authorization_details", json!([{"type": "case", "most": 3}]), L::Details),
        ("authorization_details", json!([]), L::Details),
        ("cnf", json!({"x5t#S256": KEY}), L::Confirmation),
        ("cnf", json!({"jkt": KEY, "x5t#S256": KEY}), L::Confirmation),
        ("cnf", json!({"jkt": "x"}), L::Confirmation),
        ("cnf", json!({"jkt": KEY, "kid": "k1"}), L::Claims),
    ] {
        assert_eq!(check(&bound, &with(said.clone(), name, value.clone())), Err(why), "{name}: {value}");
    }
    assert_eq!(check(&bound, &without(said.clone(), "authorization_details")), Err(L::Details));
    assert_eq!(check(&bound, &without(said.clone(), "cnf")), Err(L::Confirmation));
    let unknown = Terms { cnf: Some(Confirmation::Unknown), ..bound };
    assert_eq!(
        check(&unknown, &with(said, "cnf", json!({}))),
        Err(L::Confirmation),
        "a key that nobody can prove"
    );
}

fn svid() -> (JwtSvidGrant, Value) {
    let domain = "acme.example".parse().unwrap();
    let id = "spiffe://acme.example/agent/a".parse().unwrap();
    let audiences = vec!["https://mandate.example".to_owned()];
    let grant =
        JwtSvidGrant::new(&domain, id, audiences, "s1".parse().unwrap(), Timestamp::from_secs(1000)).unwrap();
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
    let acting = with(
        claims,
        "act",
        json!({"sub": "spiffe://acme.example/agent/b", "iss": "https://mandate.example"}),
    );
    assert_eq!(check_jwt_svid(&message(&header("JWT"), &acting), KID, &grant), Err(L::Claims));
}

const AGENT: &str = "spiffe://acme.example/agent/a";

fn own_terms() -> Terms {
    let Terms { issuer, audience, scopes, jti, issued, expires, .. } = terms();
    let agent =
        Actor { sub: AGENT.to_owned(), iss: issuer.clone(), sub_profile: Some(SubjectProfile::AiAgent) };
    let client = AGENT.parse().unwrap();
    Terms {
        chain: ActorChain::new(vec![agent]).unwrap(),
        ..Terms::new(issuer, None, client, audience, scopes, jti, (issued, expires))
    }
}

fn own_claims() -> Value {
    json!({
        "iss": "https://mandate.example", "sub": AGENT, "sub_profile": "ai_agent", "aud": "https://crm.example",
        "client_id": AGENT, "jti": "t1", "iat": 1000, "exp": 1300, "scope": "read:cases write:cases",
    })
}

fn checked(claims: &Value, decided: &Terms) -> Result<(), L> {
    check_access_token(&message(&header("at+jwt"), claims), KID, decided)
}

#[test]
fn an_agents_own_token_passes_and_says_nothing_of_a_person() {
    assert_eq!(checked(&own_claims(), &own_terms()), Ok(()));
    for (name, value, why) in [
        ("sub", json!("riley"), L::Subject),
        ("sub", json!("spiffe://acme.example/agent/b"), L::Subject),
        ("sub_profile", json!("user"), L::Subject),
        ("client_id", json!("support-app"), L::Subject),
        (
            "act",
            json!({"sub": AGENT, "iss": "https://mandate.example", "sub_profile": "ai_agent"}),
            L::Subject,
        ),
        ("sub_id", json!({"format": "iss_sub", "iss": "https://login.example", "sub": "riley"}), L::Subject),
        ("lineage", json!({"parents": ["p1"], "grants": ["g1"]}), L::Lineage),
        ("auth_time", json!(900), L::Authentication),
        ("amr", json!(["pwd"]), L::Authentication),
        ("groups", json!(["staff"]), L::Groups),
        ("exp", json!(1301), L::Lifetime),
    ] {
        assert_eq!(
            checked(&with(own_claims(), name, value.clone()), &own_terms()),
            Err(why),
            "{name}: {value}"
        );
    }
    assert_eq!(checked(&without(own_claims(), "sub_profile"), &own_terms()), Err(L::Subject));
    let long = Terms { expires: Timestamp::from_secs(1000 + 901), ..own_terms() };
    assert_eq!(checked(&with(own_claims(), "exp", json!(1901)), &long), Err(L::Lifetime), "as a mandate's");
}

#[test]
fn what_was_decided_for_a_person_is_not_signed_as_an_agents_own_and_the_reverse() {
    assert_eq!(checked(&own_claims(), &terms()), Err(L::Subject));
    assert_eq!(checked(&claims(), &own_terms()), Err(L::Subject));
    let nobodys = Terms { subject: None, ..terms() };
    assert_eq!(checked(&own_claims(), &nobodys), Err(L::Subject), "it has a lineage");
}
