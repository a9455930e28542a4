use mandate_core::{Timestamp, TrustDomain};
use serde_json::{Value, json};

use super::{Claims, JwtSvid, build, peek_trust_domain, verify, verify_containing, verify_foreign};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{KeySet, KeyUse, SignatureMemo};

const AUDIENCE: &str = "https://m.example";
const NOW: u64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

fn good() -> Value {
    json!({"sub": "spiffe://acme.example/agent/a", "aud": [AUDIENCE], "exp": NOW + 300, "iat": NOW, "jti": "j1"})
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

fn check(token: &str, keys: &KeySet) -> Result<JwtSvid, TokenError> {
    verify(token, keys, &domain(), AUDIENCE, now(), None)
}

fn refusal(key: &Es256, changes: &Value) -> TokenError {
    check(&key.sign_claims("JWT", &with(changes)), &key.key_set()).unwrap_err()
}

#[test]
fn what_is_built_verifies_and_says_the_same() {
    let key = Es256::new(KeyUse::JwtSvid);
    let claims = Claims {
        spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
        audiences: vec![AUDIENCE.into()],
        iat: now(),
        exp: Timestamp::from_secs(NOW + 300),
        jti: "j1".parse().unwrap(),
    };
    let token = build(&claims, &key).unwrap();
    let svid = check(&token, &key.key_set()).unwrap();
    assert_eq!(svid.spiffe_id, claims.spiffe_id);
    assert_eq!(svid.audiences, claims.audiences);
    assert_eq!((svid.iat, svid.exp), (Some(claims.iat), claims.exp));
    assert_eq!(svid.jti.as_deref(), Some("j1"));
    assert_eq!(peek_trust_domain(&token), Ok(domain()));
    let backwards = Claims { exp: claims.iat, ..claims.clone() };
    assert!(build(&backwards, &key).is_err());
    assert!(build(&Claims { audiences: vec![], ..claims.clone() }, &key).is_err());
    assert!(build(&Claims { spiffe_id: domain().id(), ..claims }, &key).is_err());
}

#[test]
fn typ_is_absent_or_jwt_or_jose_and_no_other_header_member_is_there() {
    let key = Es256::new(KeyUse::JwtSvid);
    let payload = good().to_string();
    let kid = key.kid().to_owned();
    let sign = |header: Value| check(&key.sign_raw(&header.to_string(), &payload), &key.key_set()).err();
    assert_eq!(sign(json!({"alg": "ES256", "kid": kid})), None);
    assert_eq!(sign(json!({"alg": "ES256", "kid": kid, "typ": "JOSE"})), None);
    for typ in ["at+jwt", "jwt", "secevent+jwt", "dpop+jwt", "wit+jwt", "client-authentication+jwt", ""] {
        assert_eq!(sign(json!({"alg": "ES256", "kid": kid, "typ": typ})), Some(TokenError::Type(typ.into())));
    }
    for member in [
        "jku", "x5u", "jwk", "x5c", "crit", "b64", "zip", "cty", "enc", "x5t", "x5t#S256", "nonce",
        "anything",
    ] {
        let refused = sign(json!({"alg": "ES256", "kid": kid, "typ": "JWT", member: "x"}));
        assert_eq!(refused, Some(TokenError::Header(member.into())));
    }
    assert_eq!(
        sign(json!({"alg": "ES256", "typ": "JWT"})),
        Some(TokenError::UnknownKey(None)),
        "kid is required"
    );
}

#[test]
fn an_actor_token_that_itself_carries_act_is_refused() {
    let key = Es256::new(KeyUse::JwtSvid);
    for claim in ["act", "may_act"] {
        let inner = json!({"sub": "spiffe://acme.example/agent/trusted", "iss": AUDIENCE});
        assert!(matches!(refusal(&key, &json!({claim: inner})), TokenError::Claim { .. }), "{claim}");
        let empty = json!({claim: {}});
        assert!(matches!(refusal(&key, &empty), TokenError::Claim { .. }), "{claim}, even empty");
    }
}

#[test]
fn other_tokens_are_no_jwt_svid_even_under_the_svid_key() {
    let key = Es256::new(KeyUse::JwtSvid);
    // An ID token, a client assertion and a SET: no SPIFFE ID as sub, or a claim of their own.
    assert!(matches!(
        refusal(&key, &json!({"sub": "riley", "iss": AUDIENCE})),
        TokenError::Claim { claim: "sub", .. }
    ));
    assert!(matches!(
        refusal(&key, &json!({"events": {"x": {}}})),
        TokenError::Claim { claim: "events", .. }
    ));
    // An access token of ours whose subject is an agent.
    let token = key.sign_claims("at+jwt", &with(&json!({"client_id": "c", "iss": AUDIENCE})));
    assert_eq!(check(&token, &key.key_set()).unwrap_err(), TokenError::Type("at+jwt".into()));
}

#[test]
fn a_key_published_for_oauth_signs_no_jwt_svid() {
    let key = Es256::new(KeyUse::Signature);
    let token = key.sign_claims("JWT", &good());
    assert_eq!(
        check(&token, &key.key_set()).unwrap_err(),
        TokenError::UnknownKey(Some(key.kid()[..43].into()))
    );
}

#[test]
fn each_claim_has_its_form() {
    let key = Es256::new(KeyUse::JwtSvid);
    for (changes, why) in [
        (json!({"sub": null}), "claim_missing"),
        (json!({"aud": null}), "claim_missing"),
        (json!({"exp": null}), "claim_missing"),
        (json!({"sub": 7}), "claim_invalid"),
        (json!({"sub": ""}), "claim_invalid"),
        (json!({"sub": "spiffe://acme.example"}), "claim_invalid"),
        (json!({"sub": "spiffe://ACME.example/agent/a"}), "claim_invalid"),
        (json!({"sub": "spiffe://acme.example/agent/../a"}), "claim_invalid"),
        (json!({"sub": "spiffe://acme.example/agent/a/"}), "claim_invalid"),
        (json!({"sub": "spiffe://evil.example/agent/a"}), "trust_domain"),
        (json!({"sub": "spiffe://acme.example.evil/agent/a"}), "trust_domain"),
        (json!({"aud": []}), "claim_invalid"),
        (json!({"aud": [7]}), "claim_invalid"),
        (json!({"aud": {"a": 1}}), "claim_invalid"),
        (json!({"aud": [""]}), "claim_invalid"),
        (json!({"exp": "soon"}), "claim_invalid"),
        (json!({"exp": -1}), "claim_invalid"),
        (json!({"exp": NOW}), "claim_invalid"),
        (json!({"exp": NOW - 1, "iat": NOW - 300}), "expired"),
        (json!({"exp": NOW, "iat": NOW - 300}), "expired"),
        (json!({"iat": NOW + 61}), "not_yet_valid"),
        (json!({"nbf": NOW + 61}), "not_yet_valid"),
        (json!({"iat": true}), "claim_invalid"),
        (json!({"jti": ["j"]}), "claim_invalid"),
    ] {
        assert_eq!(refusal(&key, &changes).public_code(), why, "{changes}");
    }
}

#[test]
fn the_audience_is_the_sole_one_or_for_the_workload_api_among_them() {
    let key = Es256::new(KeyUse::JwtSvid);
    let keys = key.key_set();
    let sign = |aud: Value| key.sign_claims("JWT", &with(&json!({"aud": aud})));
    assert!(check(&sign(json!(AUDIENCE)), &keys).is_ok());
    let both = sign(json!([AUDIENCE, "https://victim.example"]));
    assert_eq!(check(&both, &keys).unwrap_err(), TokenError::Audience);
    assert!(verify_containing(&both, &keys, &domain(), AUDIENCE, now(), None).is_ok());
    for aud in [
        "https://m.example/",
        "https://m.example.evil",
        "https://m.exampl",
        "HTTPS://m.example",
        "https://M.example",
    ] {
        let token = sign(json!([aud]));
        assert_eq!(check(&token, &keys).unwrap_err(), TokenError::Audience, "{aud}");
        assert_eq!(
            verify_containing(&token, &keys, &domain(), AUDIENCE, now(), None).unwrap_err(),
            TokenError::Audience,
            "{aud}"
        );
    }
}

#[test]
fn the_memo_skips_only_the_signature() {
    let key = Es256::new(KeyUse::JwtSvid);
    let keys = key.key_set();
    let memo = SignatureMemo::new(64);
    let token = key.sign_claims("JWT", &good());
    let at = |secs, td: &TrustDomain, aud| {
        verify(&token, &keys, td, aud, Timestamp::from_secs(secs), Some(&memo)).err()
    };
    assert_eq!(at(NOW, &domain(), "https://other.example"), Some(TokenError::Audience));
    assert!(memo.is_empty(), "a refused token is not remembered");
    assert_eq!(at(NOW, &domain(), AUDIENCE), None);
    assert_eq!(memo.len(), 1);
    assert_eq!(at(NOW, &domain(), "https://other.example"), Some(TokenError::Audience));
    assert_eq!(at(NOW + 300, &domain(), AUDIENCE), Some(TokenError::Expired));
    assert_eq!(at(NOW, &"evil.example".parse().unwrap(), AUDIENCE), Some(TokenError::TrustDomain));
    let rotated = Es256::new(KeyUse::JwtSvid).key_set();
    let refused = verify(&token, &rotated, &domain(), AUDIENCE, now(), Some(&memo));
    assert!(matches!(refused, Err(TokenError::UnknownKey(_))), "a key that was rotated out verifies nothing");
}

#[test]
fn one_of_another_trust_domain_counts_for_an_hour_at_most() {
    let key = Es256::new(KeyUse::JwtSvid);
    let at = |changes: &Value, now: u64| {
        let token = key.sign_claims("JWT", &with(changes));
        let now = Timestamp::from_secs(now);
        verify_foreign(&token, &key.key_set(), &domain(), AUDIENCE, now, None).map(|svid| svid.exp.secs())
    };
    assert_eq!(at(&json!({}), NOW), Ok(NOW + 300));
    let day = json!({"exp": NOW + 86_400});
    assert_eq!(at(&day, NOW), Ok(NOW + 3600), "not for a day");
    assert_eq!(at(&day, NOW + 3599), Ok(NOW + 3600));
    assert_eq!(at(&day, NOW + 3600), Err(TokenError::Age));
    let undated = json!({"iat": null});
    assert_eq!(at(&undated, NOW), Ok(NOW + 300), "`iat` is optional (JWT-SVID section 3)");
    assert_eq!(at(&json!({"iat": null, "exp": NOW + 3600}), NOW), Ok(NOW + 3600));
    assert_eq!(at(&json!({"iat": null, "exp": NOW + 3601}), NOW), Err(TokenError::Lifetime));
    assert_eq!(at(&json!({"exp": null}), NOW), Err(TokenError::MissingClaim("exp")));
    let bound = at(&json!({"cnf": {"jkt": "x"}}), NOW).unwrap_err();
    assert!(matches!(bound, TokenError::Claim { claim: "cnf", .. }), "{bound:?}");
    assert_eq!(at(&json!({"aud": [AUDIENCE, "https://b.example"]}), NOW), Err(TokenError::Audience));
    assert_eq!(at(&json!({"sub": "spiffe://b.example/agent/a"}), NOW), Err(TokenError::TrustDomain));
}
