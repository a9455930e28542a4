//! What a token must say, and what is refused.

mod building;
mod explanations;
mod foreign;
mod header;
mod own_behalf;
mod products;
mod properties;

use std::sync::LazyLock;

use mandate_core::registry::TokenProfile;
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, InvalidActorChain, Issuer, Lineage, ScopeSet, Subject,
    SubjectProfile, Terms, Timestamp,
};
use serde_json::{Value, json};

use super::{AccessToken, Expect, MayAct, Profile, build, verify, verify_with_claims};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{KeySet, KeyUse, MappedClaims, SignatureMemo};

const FOREIGN: Profile = Profile::Foreign(TokenProfile::Rfc9068);
const NOW: u64 = 1_700_000_000;
const CRM: &str = "https://crm.example";

fn ours() -> Issuer {
    "https://m.example".parse().unwrap()
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn good() -> Value {
    json!({
        "iss": "https://m.example", "sub": "riley", "aud": CRM, "client_id": "support-app", "jti": "t1", "iat": NOW, "exp": NOW + 300,
        "scope": "read:cases write:case_comments",
        "act": {"sub": "spiffe://acme.example/agent/a", "iss": "https://m.example", "sub_profile": "ai_agent"},
    })
}

fn with(changes: &Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn check(token: &str, keys: &KeySet, profile: Profile) -> Result<AccessToken, TokenError> {
    verify(token, &Expect { issuer: &ours(), keys, now: at(NOW), profile, memo: None })
}

static KEY: LazyLock<Es256> = LazyLock::new(|| Es256::new(KeyUse::Signature));

fn own(changes: &Value) -> Result<AccessToken, TokenError> {
    check(&KEY.sign_claims("at+jwt", &with(changes)), &KEY.key_set(), Profile::Own)
}

fn foreign(changes: &Value) -> Result<AccessToken, TokenError> {
    check(&KEY.sign_claims("at+jwt", &with(changes)), &KEY.key_set(), FOREIGN)
}

fn full_terms() -> Terms {
    let actor =
        |sub: &str| Actor { sub: sub.into(), iss: ours(), sub_profile: Some(SubjectProfile::AiAgent) };
    let subject = Subject { iss: "https://login.acme.example".parse().unwrap(), sub: "riley@acme".into() };
    let client = "spiffe://acme.example/agent/b".parse().unwrap();
    let (scopes, jti) = ("read:cases".parse().unwrap(), "t2".parse().unwrap());
    Terms {
        chain: ActorChain::new(vec![
            actor("spiffe://acme.example/agent/b"),
            actor("spiffe://acme.example/agent/a"),
        ])
        .unwrap(),
        lineage: Lineage {
            parents: vec!["t1".parse().unwrap()],
            grants: vec!["g1".parse().unwrap()],
            clients: vec!["support-app".parse().unwrap()],
        },
        details: serde_json::from_value(json!([{"type": "case", "locations": [CRM], "most": 3}])).unwrap(),
        cnf: Some(Confirmation::Jkt("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".parse().unwrap())),
        auth_time: Some(at(NOW - 60)),
        acr: Some("urn:x:2".into()),
        amr: vec!["pwd".into(), "otp".into()],
        groups: vec!["sales".parse().unwrap(), "staff".parse().unwrap()],
        tenant: Some("acme".parse().unwrap()),
        ..Terms::new(
            ours(),
            subject,
            client,
            Audience::one(CRM.into()),
            scopes,
            jti,
            (at(NOW), at(NOW + 300)),
        )
    }
}

/// Only what every token says.
/// A token that says these terms and nothing else.
fn only(terms: Terms) -> AccessToken {
    AccessToken { terms, nbf: None, may_act: None, mapped: MappedClaims::default(), said_actors: None }
}

fn plain_terms() -> Terms {
    let Terms { client, audience, jti, .. } = full_terms();
    let subject = Subject { iss: ours(), sub: "riley".into() };
    Terms::new(ours(), subject, client, audience, ScopeSet::new(), jti, (at(NOW), at(NOW + 300)))
}

#[test]
fn each_required_claim_is_required_and_each_claim_has_its_form() {
    for claim in ["iss", "sub", "aud", "client_id", "jti", "iat", "exp"] {
        let name = json!({ claim: null });
        assert_eq!(own(&name).unwrap_err(), TokenError::MissingClaim(claim));
        assert_eq!(foreign(&name).unwrap_err(), TokenError::MissingClaim(claim));
    }
    for (claim, values) in [
        ("iss", vec![json!(7), json!(""), json!(["https://m.example"])]),
        (
            "sub",
            vec![
                json!(7),
                json!(""),
                json!("a\u{0}b"),
                json!("a\nb"),
                json!("x".repeat(2049)),
                json!(["riley"]),
            ],
        ),
        (
            "aud",
            vec![json!(7), json!(""), json!([]), json!([""]), json!([7]), json!({}), json!(vec!["a"; 17])],
        ),
        ("client_id", vec![json!(7), json!(""), json!("a b"), json!("é"), json!("x".repeat(3000))]),
        ("jti", vec![json!(7), json!("")]),
        ("iat", vec![json!("1"), json!(-1), json!(1e300), json!([NOW])]),
        (
            "exp",
            vec![json!("1"), json!(-1), json!(-0.5), json!(1e300), json!(253_402_300_800_u64), json!(true)],
        ),
        ("nbf", vec![json!("1"), json!(-1)]),
        ("auth_time", vec![json!("1"), json!(-1)]),
        ("acr", vec![json!(2), json!("")]),
        ("amr", vec![json!("pwd"), json!([]), json!([1])]),
        ("scope", vec![json!(["read"]), json!("a  b"), json!(" a"), json!("a\"b"), json!(7)]),
        ("cnf", vec![json!("x"), json!([])]),
        ("act", vec![json!("a"), json!([]), json!(7), json!({})]),
        ("may_act", vec![json!("a"), json!([]), json!({})]),
    ] {
        for value in values.into_iter().filter(|value| !value.is_null()) {
            let changes = json!({ claim: value });
            for result in [own(&changes), foreign(&changes)] {
                let error = result.unwrap_err();
                assert!(
                    matches!(error, TokenError::Claim { claim: named, .. } if named == claim),
                    "{changes}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_claim_that_is_null_is_not_a_claim_that_is_absent() {
    for claim in ["act", "may_act", "scope", "nbf", "auth_time", "acr", "amr", "cnf", "lineage", "sub_id"] {
        let mut claims = good();
        claims[claim] = Value::Null;
        let token = KEY.sign_claims("at+jwt", &claims);
        assert!(
            matches!(check(&token, &KEY.key_set(), Profile::Own), Err(TokenError::Claim { .. })),
            "{claim}"
        );
    }
}

#[test]
fn duplicate_claims_are_refused_even_when_signed() {
    let payload = good().to_string();
    for extra in [
        r#""sub":"admin""#,
        r#""aud":"https://victim.example""#,
        r#""scope":"all""#,
        r#""exp":9999999999"#,
        r#""\u0073ub":"x""#,
    ] {
        let doubled = format!("{},{extra}}}", payload.strip_suffix('}').unwrap());
        let header = json!({"alg": "ES256", "kid": KEY.kid(), "typ": "at+jwt"}).to_string();
        let refused = check(&KEY.sign_raw(&header, &doubled), &KEY.key_set(), Profile::Own);
        assert_eq!(refused.unwrap_err(), TokenError::DuplicateMember, "{extra}");
    }
}

#[test]
fn times_are_checked_against_the_given_time_to_the_millisecond() {
    let token = KEY.sign_claims("at+jwt", &with(&json!({"nbf": NOW + 10})));
    let keys = KEY.key_set();
    let when = |millis, profile| {
        verify(
            &token,
            &Expect {
                issuer: &ours(),
                keys: &keys,
                now: Timestamp::from_millis(millis),
                profile,
                memo: None,
            },
        )
        .err()
    };
    let (iat, nbf, exp) = (NOW * 1000, (NOW + 10) * 1000, (NOW + 300) * 1000);
    for profile in [Profile::Own, FOREIGN] {
        assert_eq!(
            when(iat - 50_001, profile),
            Some(TokenError::NotYetValid),
            "nbf ahead by more than the clock skew"
        );
        assert_eq!(when(nbf - 60_000, profile), None);
    }
    assert_eq!(when(exp - 1, Profile::Own), None);
    assert_eq!(when(exp, Profile::Own), Some(TokenError::Expired), "own tokens are allowed no clock skew");
    assert_eq!(when(exp + 59_999, FOREIGN), None);
    assert_eq!(when(exp + 60_000, FOREIGN), Some(TokenError::Expired));
    assert_eq!(when(u64::MAX, FOREIGN), Some(TokenError::Expired));
    assert_eq!(when(0, Profile::Own), Some(TokenError::NotYetValid));
    assert_eq!(own(&json!({"iat": NOW + 61})).unwrap_err(), TokenError::NotYetValid);
    assert!(own(&json!({"iat": NOW + 60})).is_ok());
    let fault = TokenError::Claim { claim: "exp", why: "not after iat and nbf" };
    assert_eq!(own(&json!({"exp": NOW})).unwrap_err(), fault);
    assert_eq!(own(&json!({"nbf": NOW + 300})).unwrap_err(), fault);
    assert_eq!(
        foreign(&json!({"exp": 1_700_000_300.9, "iat": 1_699_999_999.5})).unwrap().terms.expires,
        at(NOW + 300),
        "a fraction is cut"
    );
}

#[test]
fn the_issuer_is_compared_bytewise() {
    for iss in [
        "https://m.example/",
        "https://M.example",
        "http://m.example",
        "https://m.example.evil",
        "https://m.exampl",
        "m.example",
    ] {
        assert_eq!(own(&json!({ "iss": iss })).unwrap_err(), TokenError::Issuer);
        assert_eq!(foreign(&json!({ "iss": iss })).unwrap_err(), TokenError::Issuer);
    }
}

#[test]
fn the_sole_audience_is_compared_bytewise_but_for_the_slash_of_an_origin() {
    assert_eq!(own(&json!({"aud": [CRM]})).unwrap().require_audience(CRM), Ok(()));
    assert_eq!(own(&json!({ "aud": format!("{CRM}/") })).unwrap().require_audience(CRM), Ok(()));
    assert_eq!(own(&json!({ "aud": CRM })).unwrap().require_audience(&format!("{CRM}/")), Ok(()));
    let several =
        [json!([CRM, "https://victim.example"]), json!(["https://victim.example", CRM]), json!([CRM, CRM])];
    for aud in several {
        let token = own(&json!({ "aud": aud })).unwrap();
        assert_eq!(token.require_audience(CRM), Err(TokenError::Audience));
        assert_eq!(token.require_audience("https://victim.example"), Err(TokenError::Audience));
    }
    for aud in [
        "https://crm.example//",
        "https://crm.example/api",
        "https://crm.example.evil",
        "https://crm.exampl",
        "https://CRM.example",
        "crm",
        "*",
    ] {
        assert_eq!(
            own(&json!({ "aud": aud })).unwrap().require_audience(CRM),
            Err(TokenError::Audience),
            "{aud}"
        );
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, n| {
        let mut actor = json!({"sub": format!("spiffe://td/{n}"), "iss": "https://m.example"});
        if !inner.is_null() {
            actor["act"] = inner;
        }
        actor
    })
}

#[test]
fn depth_bombs_and_loops_in_act_are_refused() {
    assert_eq!(own(&json!({"act": nested(16)})).unwrap().terms.chain.depth(), 16);
    assert_eq!(
        own(&json!({"act": nested(17)})).unwrap_err(),
        TokenError::ActorChain(InvalidActorChain::TooDeep)
    );
    assert_eq!(own(&json!({"act": nested(40)})).unwrap_err(), TokenError::TooDeep, "the parser stops first");
    let a = json!({"sub": "spiffe://td/a", "iss": "https://m.example"});
    let mut b = json!({"sub": "spiffe://td/b", "iss": "https://m.example", "act": a});
    let mut outer = a.clone();
    outer["act"] = b.clone();
    assert_eq!(own(&json!({"act": outer})).unwrap_err(), TokenError::ActorChain(InvalidActorChain::Loop));
    b["sub"] = json!("spiffe://td/a");
    assert_eq!(own(&json!({"act": b})).unwrap_err(), TokenError::ActorChain(InvalidActorChain::Loop));
    b["iss"] = json!("https://other.example");
    assert_eq!(
        own(&json!({"act": b})).unwrap().terms.chain.depth(),
        2,
        "the same sub of another issuer is somebody else"
    );
}

#[test]
fn act_and_may_act_have_no_members_that_are_not_understood() {
    let base = json!({"sub": "spiffe://td/a", "iss": "https://m.example"});
    for (name, value) in [
        ("exp", json!(NOW)),
        ("aud", json!(CRM)),
        ("client_id", json!("x")),
        ("sub_profile", json!("root")),
        ("sub_profile", json!(7)),
        ("iss", json!("m.example")),
        ("iss", json!(7)),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("act", json!("x")),
        ("act", json!([])),
        ("anything", json!(null)),
    ] {
        let mut act = base.clone();
        act[name] = value;
        let (outer, inner) = (
            json!({ "act": act }),
            json!({"act": {"sub": "spiffe://td/z", "iss": "https://m.example", "act": act}}),
        );
        for changes in [&outer, &inner] {
            assert!(matches!(own(changes).unwrap_err(), TokenError::Claim { claim: "act", .. }), "{changes}");
            assert!(foreign(changes).is_err(), "{changes}");
        }
        let may = json!({ "may_act": act });
        assert!(matches!(own(&may).unwrap_err(), TokenError::Claim { claim: "may_act", .. }), "{may}");
    }
    for missing in ["sub", "iss"] {
        let mut act = base.clone();
        act.as_object_mut().unwrap().remove(missing);
        assert!(own(&json!({ "act": act })).is_err(), "act without {missing}");
    }
    let may = own(&json!({"may_act": {"sub": "spiffe://td/a"}})).unwrap().may_act.unwrap();
    assert_eq!(may, MayAct { sub: "spiffe://td/a".into(), iss: None });
}

#[test]
fn cnf_is_handed_on_and_an_empty_scope_is_none() {
    let signed = with(&json!({"cnf": {"jkt": "x"}, "scope": ""}));
    let expect =
        Expect { issuer: &ours(), keys: &KEY.key_set(), now: at(NOW), profile: Profile::Own, memo: None };
    let (token, claims) = verify_with_claims(&KEY.sign_claims("at+jwt", &signed), &expect).unwrap();
    assert_eq!(token.terms.cnf, Some(Confirmation::Unknown), "it is bound, if not to a thumbprint");
    assert!(token.terms.scopes.is_empty());
    assert_eq!(Value::Object(claims), signed, "all that was signed");
}

#[test]
fn a_token_is_bound_whatever_its_cnf_says() {
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for (cnf, means) in [
        (json!({"jkt": jkt}), Confirmation::Jkt(jkt.parse().unwrap())),
        (json!({"x5t#S256": jkt}), Confirmation::X5tS256(jkt.parse().unwrap())),
        (json!({"jkt": jkt, "kid": "k"}), Confirmation::Unknown),
        (json!({"jwk": {"kty": "EC"}}), Confirmation::Unknown),
        (json!({}), Confirmation::Unknown),
    ] {
        assert_eq!(own(&json!({ "cnf": cnf })).unwrap().terms.cnf, Some(means.clone()), "{cnf}");
        assert_eq!(foreign(&json!({ "cnf": cnf })).unwrap().terms.cnf, Some(means), "{cnf}");
    }
    for bad in [json!("x"), json!([]), json!(7)] {
        assert_eq!(
            own(&json!({ "cnf": bad })).unwrap_err(),
            TokenError::Claim { claim: "cnf", why: "not an object" }
        );
        assert!(foreign(&json!({ "cnf": bad })).is_err());
    }
}

#[test]
fn details_are_read_from_our_own_tokens_alone() {
    let list = json!([{"type": "case", "most": 3}]);
    let said = json!({ "authorization_details": list });
    assert_eq!(serde_json::to_value(own(&said).unwrap().terms.details).unwrap(), list);
    assert!(
        foreign(&said).unwrap().terms.details.is_empty(),
        "another issuer cannot say what is allowed here"
    );
    for bad in [
        json!([]),
        json!({}),
        json!("x"),
        json!([7]),
        json!([{}]),
        json!([{"type": 7}]),
        json!([{"type": "a", "n": 1.5}]),
    ] {
        let changes = json!({ "authorization_details": bad });
        assert!(
            matches!(own(&changes).unwrap_err(), TokenError::Claim { claim: "authorization_details", .. }),
            "{bad}"
        );
        assert!(foreign(&changes).unwrap().terms.details.is_empty());
    }
    let twice = with(&said).to_string().replace(r#""most":3"#, r#""most":3,"most":4"#);
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid()}).to_string();
    assert_eq!(
        check(&KEY.sign_raw(&header, &twice), &KEY.key_set(), Profile::Own).unwrap_err(),
        TokenError::DuplicateMember
    );
}

#[test]
fn the_memo_skips_only_the_signature() {
    let (key, memo) = (Es256::new(KeyUse::Signature), SignatureMemo::new(64));
    let keys = key.key_set();
    let token = build(&full_terms(), &key).unwrap();
    let check = |token: &str, keys: &KeySet, secs, issuer: &Issuer| {
        verify(token, &Expect { issuer, keys, now: at(secs), profile: Profile::Own, memo: Some(&memo) }).err()
    };
    assert_eq!(check(&token, &keys, NOW + 300, &ours()), Some(TokenError::Expired));
    assert!(memo.is_empty(), "a refused token is not remembered");
    assert_eq!(check(&token, &keys, NOW, &ours()), None);
    assert_eq!(check(&token, &keys, NOW, &ours()), None);
    assert_eq!(memo.len(), 1);
    assert_eq!(
        check(&token, &keys, NOW + 300, &ours()),
        Some(TokenError::Expired),
        "a warm token still expires"
    );
    assert_eq!(check(&token, &keys, NOW, &"https://x.example".parse().unwrap()), Some(TokenError::Issuer));
    assert!(
        matches!(check(&token, &KeySet::empty(), NOW, &ours()), Some(TokenError::UnknownKey(_))),
        "a cut key"
    );
    let mut flipped = token.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(check(&String::from_utf8(flipped).unwrap(), &keys, NOW, &ours()), Some(TokenError::Signature));
    assert_eq!(memo.len(), 1, "nor is a forged one");
}

#[test]
fn errors_and_debug_show_neither_token_nor_signature() {
    let token = build(&full_terms(), &*KEY).unwrap();
    let read = check(&token, &KEY.key_set(), Profile::Own).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let shown = format!("{read:?} {:?} {:?}", KEY.key_set(), own(&json!({"exp": NOW})));
    for part in parts {
        assert!(!shown.contains(part));
    }
}
