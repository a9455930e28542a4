use mandate_core::Timestamp;
use serde_json::{Value, json};

use super::{ClientAssertion, peek_client_id, verify};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{KeySet, KeyUse};

const ISSUER: &str = "https://m.example";
const NOW: u64 = 1_700_000_000;

fn with(changes: &Value) -> Value {
    let mut claims =
        json!({"iss": "app", "sub": "app", "aud": ISSUER, "exp": NOW + 60, "iat": NOW, "jti": "a1"});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn check(token: &str, keys: &KeySet) -> Result<ClientAssertion, TokenError> {
    verify(token, keys, ISSUER, Timestamp::from_secs(NOW))
}

#[test]
fn a_proper_assertion_verifies_typed_or_not() {
    let key = Es256::new(KeyUse::Signature);
    let token = key.sign_claims("client-authentication+jwt", &with(&json!({})));
    let assertion = check(&token, &key.key_set()).unwrap();
    assert_eq!((assertion.client_id.as_str(), assertion.jti.as_str()), ("app", "a1"));
    assert_eq!(assertion.exp, Timestamp::from_secs(NOW + 60));
    assert_eq!(peek_client_id(&token).unwrap().as_str(), "app");
    assert!(
        check(&key.sign_claims("JWT", &with(&json!({"aud": [ISSUER]}))), &key.key_set()).is_ok(),
        "a list of one"
    );
    let untyped =
        key.sign_raw(&json!({"alg": "ES256", "kid": key.kid()}).to_string(), &with(&json!({})).to_string());
    assert!(check(&untyped, &key.key_set()).is_ok());
}

#[test]
fn each_abuse_is_refused() {
    let key = Es256::new(KeyUse::Signature);
    for (changes, why) in [
        (json!({"aud": "https://m.example/token"}), "audience"),
        (json!({"aud": "https://m.example/"}), "audience"),
        (json!({"aud": [ISSUER, "https://m.example/token"]}), "audience"),
        (json!({"aud": [ISSUER, ISSUER]}), "audience"),
        (json!({"aud": []}), "claim_invalid"),
        (json!({"aud": null}), "claim_missing"),
        (json!({"sub": "other"}), "issuer"),
        (json!({"iss": "other"}), "issuer"),
        (json!({"iss": null}), "claim_missing"),
        (json!({"sub": null}), "claim_missing"),
        (json!({"iss": "a b", "sub": "a b"}), "claim_invalid"),
        (json!({"jti": null}), "claim_missing"),
        (json!({"jti": ""}), "claim_invalid"),
        (json!({"jti": 1}), "claim_invalid"),
        (json!({"exp": null}), "claim_missing"),
        (json!({"exp": NOW}), "claim_invalid"),
        (json!({"exp": NOW, "iat": null}), "expired"),
        (json!({"exp": NOW - 1, "iat": NOW - 60}), "expired"),
        (json!({"exp": NOW + 61 * 60 + 1}), "lifetime"),
        (json!({"exp": 253_402_300_799_u64}), "lifetime"),
        (json!({"exp": 253_402_300_800_u64}), "claim_invalid"),
        (json!({"iat": NOW + 61, "exp": NOW + 120}), "not_yet_valid"),
        (json!({"nbf": NOW + 61, "exp": NOW + 120}), "not_yet_valid"),
    ] {
        let token = key.sign_claims("JWT", &with(&changes));
        assert_eq!(check(&token, &key.key_set()).unwrap_err().public_code(), why, "{changes}");
    }
}

#[test]
fn another_clients_key_does_not_fit() {
    let (mine, theirs) = (Es256::new(KeyUse::Signature), Es256::new(KeyUse::Signature));
    let token = theirs.sign_claims("JWT", &with(&json!({})));
    assert!(matches!(check(&token, &mine.key_set()), Err(TokenError::UnknownKey(_))));
    let header = json!({"alg": "ES256", "kid": mine.kid(), "typ": "JWT"}).to_string();
    assert_eq!(
        check(&theirs.sign_raw(&header, &with(&json!({})).to_string()), &mine.key_set()),
        Err(TokenError::Signature)
    );
}

#[test]
fn other_tokens_are_no_client_assertion() {
    let key = Es256::new(KeyUse::Signature);
    for typ in [
        "at+jwt",
        "application/at+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "wit+jwt",
        "oauth-id-jag+jwt",
        "logout+jwt",
        "",
    ] {
        let token = key.sign_claims(typ, &with(&json!({})));
        assert_eq!(check(&token, &key.key_set()), Err(TokenError::Type(typ.into())));
        assert_eq!(peek_client_id(&token), Err(TokenError::Type(typ.into())));
    }
    // An ID token: its issuer is not its subject. A SET without typ: events. A delegation: act.
    let id_token = with(&json!({"iss": ISSUER, "sub": "riley", "aud": "app"}));
    assert_eq!(check(&key.sign_claims("JWT", &id_token), &key.key_set()), Err(TokenError::Issuer));
    for claim in ["events", "act", "may_act"] {
        let refused = check(&key.sign_claims("JWT", &with(&json!({claim: {}}))), &key.key_set());
        assert!(matches!(refused, Err(TokenError::Claim { .. })), "{claim}");
    }
    // A JWT-SVID names no issuer, and its key is published for JWT-SVIDs alone.
    let svid_key = Es256::new(KeyUse::JwtSvid);
    let svid = svid_key.sign_claims("JWT", &json!({"sub": "spiffe://td/a", "aud": ISSUER, "exp": NOW + 60}));
    assert!(matches!(check(&svid, &svid_key.key_set()), Err(TokenError::UnknownKey(_))));
    assert_eq!(peek_client_id(&svid), Err(TokenError::MissingClaim("iss")));
}
