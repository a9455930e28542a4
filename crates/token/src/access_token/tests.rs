use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::scope::MAX_SCOPES;
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, Details, InvalidActorChain, Issuer, Lineage, ScopeSet,
    Subject, SubjectProfile, Terms, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    AccessToken, Decoded, Expect, MayAct, Profile, build, encode, foreign_token_id, verify,
    verify_with_claims,
};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{Algorithm, KeySet, KeyUse, MAX_TOKEN_LEN, SignError, SignatureMemo, Signer};

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
    check(&KEY.sign_claims("at+jwt", &with(changes)), &KEY.key_set(), Profile::Foreign)
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
fn plain_terms() -> Terms {
    let Terms { client, audience, jti, .. } = full_terms();
    let subject = Subject { iss: ours(), sub: "riley".into() };
    Terms::new(ours(), subject, client, audience, ScopeSet::new(), jti, (at(NOW), at(NOW + 300)))
}

#[test]
fn what_is_built_verifies_and_says_the_same() {
    let token = build(&full_terms(), &*KEY).unwrap();
    let read = check(&token, &KEY.key_set(), Profile::Own).unwrap();
    assert_eq!(read, AccessToken { terms: full_terms(), nbf: None, may_act: None });
    assert_eq!(read.require_audience(CRM), Ok(()));
    assert_eq!(Decoded::of(&token).unwrap().read().unwrap().issuer(), Ok(ours().as_str()));
    let token = build(&plain_terms(), &*KEY).unwrap();
    let expect =
        Expect { issuer: &ours(), keys: &KEY.key_set(), now: at(NOW), profile: Profile::Own, memo: None };
    let (read, claims) = verify_with_claims(&token, &expect).unwrap();
    let mut members: Vec<&str> = claims.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["aud", "client_id", "exp", "iat", "iss", "jti", "sub"], "what is empty is left out");
    assert_eq!(read.terms, plain_terms());
}

#[test]
fn the_payload_of_a_token_without_details_and_key_is_what_it_always_was() {
    let terms = Terms { details: Details::default(), cnf: None, ..full_terms() };
    let token = build(&terms, &*KEY).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(payload).unwrap(),
        concat!(
            r#"{"iss":"https://m.example","sub":"https://login.acme.example#riley%40acme","#,
            r#""sub_id":{"format":"iss_sub","iss":"https://login.acme.example","sub":"riley@acme"},"aud":"https://crm.example","#,
            r#""client_id":"spiffe://acme.example/agent/b","jti":"t2","iat":1700000000,"exp":1700000300,"scope":"read:cases","#,
            r#""act":{"sub":"spiffe://acme.example/agent/b","iss":"https://m.example","sub_profile":"ai_agent","#,
            r#""act":{"sub":"spiffe://acme.example/agent/a","iss":"https://m.example","sub_profile":"ai_agent"}},"#,
            r#""lineage":{"parents":["t1"],"grants":["g1"],"clients":["support-app"]},"#,
            r#""auth_time":1699999940,"acr":"urn:x:2","amr":["pwd","otp"]}"#
        )
    );
}

#[test]
fn claims_that_the_verifier_would_refuse_are_not_signed() {
    let refused = |change: fn(&mut Terms)| {
        let mut terms = full_terms();
        change(&mut terms);
        build(&terms, &*KEY).unwrap_err()
    };
    let bad = |why| SignError::Claims(why);
    assert_eq!(refused(|t| t.expires = at(NOW)), bad("exp is not after iat"));
    assert_eq!(
        refused(|t| t.expires = Timestamp::from_millis(NOW * 1000 + 999)),
        bad("exp is not after iat")
    );
    assert_eq!(refused(|t| t.audience = Audience::one(String::new())), bad("aud is empty"));
    let two = |t: &mut Terms| t.audience = Audience::several(CRM.into(), vec!["https://mail.example".into()]);
    assert_eq!(refused(two), bad("aud is not exactly one"));
    for sub in ["", "a\nb", &"x".repeat(2049)] {
        let terms = Terms { subject: Subject { iss: ours(), sub: sub.into() }, ..full_terms() };
        assert_eq!(build(&terms, &*KEY), Err(bad("sub is empty, oversized or has a control character")));
    }
    let why = bad(
        "a text in aud, act, acr or amr is empty, oversized or has a control character, or amr is too long",
    );
    assert_eq!(refused(|t| t.audience = Audience::one("a\nb".into())), why);
    assert_eq!(refused(|t| t.acr = Some(String::new())), why);
    assert_eq!(refused(|t| t.amr = vec!["x".repeat(2049)]), why);
    assert_eq!(refused(|t| t.amr = vec!["x".into(); 17]), why);
    let forging = |t: &mut Terms| {
        let actor = Actor { sub: "a\nb".into(), iss: ours(), sub_profile: None };
        t.chain = ActorChain::new(vec![actor]).unwrap();
    };
    assert_eq!(refused(forging), why);
    assert_eq!(refused(|t| t.cnf = Some(Confirmation::Unknown)), bad("cnf names no key"));
    assert_eq!(refused(|t| t.amr = vec!["x".repeat(2048); 8]), SignError::TooLarge);
}

#[test]
fn what_is_encoded_is_signed_and_what_is_not_signed_for_its_size_is_not_encoded() {
    let sized = |length: usize| {
        let amr = (0..16).map(|n| "x".repeat(length / 16 + usize::from(n < length % 16))).collect();
        let terms = Terms { amr, ..full_terms() };
        (encode(&terms).is_ok(), build(&terms, &*KEY))
    };
    // Base64 makes three quarters of it readable.
    let near = MAX_TOKEN_LEN * 3 / 4;
    assert!(sized(near - 2_000).0 && !sized(near).0);
    for length in near - 2_000..near {
        let (fits, built) = sized(length);
        assert_eq!(fits, built.is_ok(), "{length}");
    }
    let many: ScopeSet = (0..=MAX_SCOPES).map(|n| format!("s{n}").parse().unwrap()).collect();
    let terms = Terms { scopes: many, ..full_terms() };
    assert_eq!(encode(&terms), Err(SignError::Claims("there are too many scopes")));
    assert_eq!(build(&terms, &*KEY), Err(SignError::Claims("there are too many scopes")));
}

struct Broken(Vec<u8>);

impl Signer for Broken {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }
    fn key_id(&self) -> &'static str {
        "k"
    }
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_signer_that_answers_nonsense_yields_no_token() {
    for len in [0, 63, 65, 72] {
        assert_eq!(build(&full_terms(), &Broken(vec![1; len])), Err(SignError::Length(len)));
    }
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
    for profile in [Profile::Own, Profile::Foreign] {
        assert_eq!(
            when(iat - 50_001, profile),
            Some(TokenError::NotYetValid),
            "nbf ahead by more than the clock skew"
        );
        assert_eq!(when(nbf - 60_000, profile), None);
    }
    assert_eq!(when(exp - 1, Profile::Own), None);
    assert_eq!(when(exp, Profile::Own), Some(TokenError::Expired), "own tokens are allowed no clock skew");
    assert_eq!(when(exp + 59_999, Profile::Foreign), None);
    assert_eq!(when(exp + 60_000, Profile::Foreign), Some(TokenError::Expired));
    assert_eq!(when(u64::MAX, Profile::Foreign), Some(TokenError::Expired));
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

#[test]
fn only_the_access_token_type_is_taken() {
    let keys = KEY.key_set();
    for typ in [
        "JWT",
        "jwt",
        "",
        "secevent+jwt",
        "dpop+jwt",
        "client-authentication+jwt",
        "wit+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "rt+jwt",
        "at+jwt ",
    ] {
        let token = KEY.sign_claims(typ, &good());
        for profile in [Profile::Own, Profile::Foreign] {
            assert_eq!(check(&token, &keys, profile).unwrap_err(), TokenError::Type(typ.into()));
        }
        assert_eq!(Decoded::of(&token).unwrap_err(), TokenError::Type(typ.into()));
    }
    let untyped = KEY.sign_raw(&json!({"alg": "ES256", "kid": KEY.kid()}).to_string(), &good().to_string());
    assert_eq!(
        check(&untyped, &keys, Profile::Foreign).unwrap_err(),
        TokenError::Type(String::new()),
        "an ID token has no typ or JWT"
    );
    for typ in ["application/at+jwt", "AT+JWT"] {
        let token = KEY.sign_claims(typ, &good());
        assert!(check(&token, &keys, Profile::Foreign).is_ok());
        assert_eq!(
            check(&token, &keys, Profile::Own).unwrap_err(),
            TokenError::Type(typ.into()),
            "we write one spelling"
        );
    }
}

#[test]
fn a_jwt_svid_is_no_access_token_even_with_the_right_typ_and_claims() {
    let svid_key = Es256::new(KeyUse::JwtSvid);
    let token = svid_key.sign_claims("at+jwt", &good());
    for profile in [Profile::Own, Profile::Foreign] {
        assert!(
            matches!(check(&token, &svid_key.key_set(), profile), Err(TokenError::UnknownKey(_))),
            "its key has another use"
        );
    }
}

#[test]
fn a_kid_means_something_only_within_its_issuers_own_set() {
    let (mine, theirs) = (Es256::new(KeyUse::Signature), Es256::new(KeyUse::Signature));
    let set = |key: &Es256| {
        let mut jwk = serde_json::to_value(&key.jwk).unwrap();
        jwk["kid"] = json!("1");
        KeySet::from_json(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap()
    };
    let header = json!({"alg": "ES256", "kid": "1", "typ": "at+jwt"}).to_string();
    let forged = theirs.sign_raw(&header, &good().to_string());
    for profile in [Profile::Own, Profile::Foreign] {
        assert_eq!(
            check(&forged, &set(&mine), profile).unwrap_err(),
            TokenError::Signature,
            "our iss, their key, same kid"
        );
    }
    let memo = SignatureMemo::new(16);
    let expect = |keys| {
        verify(
            &forged,
            &Expect { issuer: &ours(), keys, now: at(NOW), profile: Profile::Foreign, memo: Some(&memo) },
        )
    };
    let (their_set, my_set) = (set(&theirs), set(&mine));
    assert!(expect(&their_set).is_ok(), "in its own set it verifies");
    assert_eq!(expect(&my_set).unwrap_err(), TokenError::Signature, "and is remembered for that set alone");
}

#[test]
fn own_tokens_are_es256_with_a_kid_and_nothing_else_in_the_header() {
    let keys = KEY.key_set();
    let refused = |header: Value| {
        check(&KEY.sign_raw(&header.to_string(), &good().to_string()), &keys, Profile::Own).unwrap_err()
    };
    assert_eq!(refused(json!({"alg": "ES256", "typ": "at+jwt"})), TokenError::UnknownKey(None));
    assert_eq!(
        refused(json!({"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid(), "x5t": "a"})),
        TokenError::Header("x5t".into())
    );
    for algorithm in Algorithm::ALL.iter().filter(|algorithm| **algorithm != Algorithm::Es256) {
        let header = json!({"alg": algorithm.name(), "typ": "at+jwt", "kid": KEY.kid()});
        assert_eq!(refused(header), TokenError::Algorithm(algorithm.name().into()));
    }
}

#[test]
fn foreign_tokens_cannot_speak_our_private_claims() {
    let sub_id = json!({"format": "iss_sub", "iss": "https://other.example", "sub": "riley"});
    let token =
        foreign(&json!({"sub_id": sub_id, "sub_iss": "x", "lineage": {"parents": ["t1"], "grants": ["g1"]}}))
            .unwrap();
    assert_eq!(
        token.terms.subject,
        Subject { iss: ours(), sub: "riley".into() },
        "the person is the issuer's own"
    );
    assert!(token.terms.lineage.is_empty());
    let nonsense = foreign(&json!({"sub_id": 7, "lineage": "x"})).unwrap();
    assert!(nonsense.terms.lineage.is_empty());
    for bad in [json!({"lineage": "x"}), json!({"lineage": {"parents": ["a b"]}})] {
        assert!(matches!(own(&bad).unwrap_err(), TokenError::Claim { .. }), "{bad}");
    }
    let long: Vec<String> = (0..65).map(|n| format!("t{n}")).collect();
    for bad in [
        json!({"lineage": {"parents": long}}),
        json!({"lineage": {"grants": long}}),
        json!({"lineage": {"x": []}}),
    ] {
        assert!(matches!(own(&bad).unwrap_err(), TokenError::Claim { claim: "lineage", .. }));
    }
}

#[test]
fn a_person_of_another_issuer_is_named_by_sub_and_sub_id_together() {
    let other = Subject { iss: "https://other.example".parse().unwrap(), sub: "riley".into() };
    let id = |iss: &str, sub: &str| json!({"format": "iss_sub", "iss": iss, "sub": sub});
    let qualified = "https://other.example#riley";
    let named = own(&json!({"sub": qualified, "sub_id": id("https://other.example", "riley")})).unwrap();
    assert_eq!(named.terms.subject, other);
    assert_ne!(own(&json!({})).unwrap().terms.subject, other, "riley of our own directory");
    for bad in [
        json!({"sub": qualified}),
        json!({"sub_id": id("https://other.example", "riley")}),
        json!({"sub": qualified, "sub_id": id("https://other.example", "sam")}),
        json!({"sub": qualified, "sub_id": id("https://third.example", "riley")}),
        json!({"sub": "https://m.example#riley", "sub_id": id("https://m.example", "riley")}),
        json!({"sub": qualified, "sub_id": {"iss": "https://other.example", "sub": "riley"}}),
        json!({"sub": qualified, "sub_id": {"format": "opaque", "iss": "https://other.example", "sub": "riley"}}),
        json!({"sub": qualified, "sub_id": {"format": "iss_sub", "iss": "https://other.example", "sub": "riley", "x": "y"}}),
        json!({"sub": qualified, "sub_id": {"format": "iss_sub", "iss": "other", "sub": "riley"}}),
        json!({"sub": qualified, "sub_id": {"format": "iss_sub", "iss": "https://other.example", "sub": 7}}),
        json!({"sub": qualified, "sub_id": qualified}),
        // The earlier form would now name riley of our own directory.
        json!({"sub_iss": "https://other.example"}),
        json!({"sub_iss": 7}),
    ] {
        assert!(matches!(own(&bad).unwrap_err(), TokenError::Claim { .. }), "{bad}");
    }
    let wrong = Subject { iss: ours(), sub: qualified.into() };
    let terms = Terms { subject: wrong, ..full_terms() };
    assert!(matches!(build(&terms, &*KEY), Err(SignError::Claims(_))), "no person of ours is ever named so");
}

#[test]
fn a_foreign_token_id_names_issuer_and_jti_together() {
    let other: Issuer = "https://other.example".parse().unwrap();
    let id = foreign(&json!({"jti": "trrtna:1f 2"})).unwrap().terms.jti;
    assert_eq!(id, foreign_token_id(&ours(), "trrtna:1f 2").unwrap());
    assert_ne!(id, foreign_token_id(&other, "trrtna:1f 2").unwrap());
    assert!(id.as_str().starts_with("f.") && id.as_str().len() == 45);
    assert_ne!(
        foreign(&json!({"jti": "t1"})).unwrap().terms.jti.as_str(),
        "t1",
        "it cannot take the id of a token of ours"
    );
    assert!(matches!(own(&json!({"jti": "a b"})).unwrap_err(), TokenError::Claim { claim: "jti", .. }));
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

static GOOD: LazyLock<(KeySet, String)> =
    LazyLock::new(|| (KEY.key_set(), build(&full_terms(), &*KEY).unwrap()));

fn any_issuer() -> impl Strategy<Value = Issuer> {
    prop::sample::select(vec![
        "https://m.example",
        "https://login.example",
        "https://m.example/a",
        "http://127.0.0.1:1",
    ])
    .prop_map(|url| url.parse().unwrap())
}

fn any_text() -> impl Strategy<Value = String> {
    // Without control characters.
    "\\PC{1,20}"
}

fn any_id<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[A-Za-z0-9_.-]{1,20}".prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn any_subject()(ours_is in any::<bool>(), iss in any_issuer(), sub in any_text()) -> Subject {
        let iss = if ours_is { ours() } else { iss };
        // A name of our own directory has no colon.
        let sub = if iss == ours() { sub.replace(':', "-") } else { sub };
        Subject { iss, sub }
    }
}

fn any_profile() -> impl Strategy<Value = Option<SubjectProfile>> {
    prop::option::of(prop::sample::select(vec![
        SubjectProfile::AiAgent,
        SubjectProfile::Service,
        SubjectProfile::User,
    ]))
}

prop_compose! {
    fn any_chain()(actors in prop::collection::vec((any_text(), any_issuer(), any_profile()), 0..6)) -> ActorChain {
        // The same actor twice is no chain.
        ActorChain::new(actors.into_iter().map(|(sub, iss, sub_profile)| Actor { sub, iss, sub_profile }).collect()).unwrap_or_default()
    }
}

prop_compose! {
    fn any_lineage()(
        parents in prop::collection::vec(any_id(), 0..4),
        grants in prop::collection::vec(any_id(), 0..4),
        clients in prop::collection::vec(any_id(), 0..4),
    ) -> Lineage {
        Lineage { parents, grants, clients }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let integer = -9_007_199_254_740_991_i64..=9_007_199_254_740_991;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        integer.prop_map(Value::from),
        any_text().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_details()(objects in prop::collection::vec((any_text(), prop::collection::btree_map(any_text(), any_json(), 0..3)), 0..3)) -> Details {
        let object = |(name, members): (String, std::collections::BTreeMap<String, Value>)| {
            let mut members: serde_json::Map<String, Value> = members.into_iter().collect();
            members.insert("type".into(), name.into());
            members
        };
        // Some are too long.
        Details::new(objects.into_iter().map(object).collect()).unwrap_or_default()
    }
}

fn any_key() -> impl Strategy<Value = Option<Confirmation>> {
    let key = any::<[u8; 32]>().prop_map(|digest| URL_SAFE_NO_PAD.encode(digest).parse().unwrap());
    prop::option::of(
        (key, any::<bool>())
            .prop_map(|(key, dpop)| if dpop { Confirmation::Jkt(key) } else { Confirmation::X5tS256(key) }),
    )
}

prop_compose! {
    fn any_terms()(
        subject in any_subject(),
        chain in any_chain(),
        resource in any_text(),
        scopes in prop::collection::vec("[a-z:]{1,10}", 0..5),
        details in any_details(),
        (issued, lives, auth_time) in (NOW - 1000..=NOW, 1001u64..4000, prop::option::of(0..NOW)),
        (jti, client) in (any_id(), any_id()),
        lineage in any_lineage(),
        cnf in any_key(),
        acr in prop::option::of(any_text()),
        amr in prop::collection::vec(any_text(), 0..5),
    ) -> Terms {
        let (audience, scopes) = (Audience::one(resource), scopes.iter().map(|scope| scope.parse().unwrap()).collect());
        Terms {
            chain,
            details,
            lineage,
            cnf,
            auth_time: auth_time.map(at),
            acr,
            amr,
            ..Terms::new(ours(), subject, client, audience, scopes, jti, (at(issued), at(issued + lives)))
        }
    }
}

proptest! {
    #[test]
    fn any_flipped_bytes_are_refused(flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..128), 1..4)) {
        let (keys, good) = &*GOOD;
        let mut bytes = good.clone().into_bytes();
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        prop_assume!(changed != *good);
        prop_assert!(check(&changed, keys, Profile::Own).is_err());
        prop_assert!(check(&changed, keys, Profile::Foreign).is_err());
    }

    /// Whatever is decided, its token says just that, or there is no token.
    #[test]
    fn built_signed_and_verified_terms_are_the_same(terms in any_terms()) {
        let token = build(&terms, &*KEY).unwrap();
        let read = check(&token, &GOOD.0, Profile::Own).unwrap();
        prop_assert_eq!(read, AccessToken { terms, nbf: None, may_act: None });
    }

    #[test]
    fn any_signed_claim_of_any_shape_is_read_or_refused_without_panic(
        claim in prop::sample::select(vec!["iss", "sub", "aud", "client_id", "jti", "iat", "exp", "nbf", "scope", "act", "may_act", "lineage", "cnf", "amr", "sub_id", "authorization_details"]),
        text in "\\PC{0,20}", number in any::<f64>(), shape in 0..6,
    ) {
        let value = match shape {
            0 => json!(text),
            1 => json!(number),
            2 => json!([text, number]),
            3 => json!({"sub": text, "iss": number}),
            4 => json!({"sub": text, "iss": text, "act": {"sub": number}}),
            _ => json!(true),
        };
        let changes = json!({ claim: value });
        let _ = own(&changes);
        let _ = foreign(&changes);
    }
}
