//! What the header must say: the type of the token, the algorithm and the key.

use serde_json::{Value, json};

use crate::access_token::{Decoded, Expect, Profile, verify};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{Algorithm, KeySet, KeyUse, SignatureMemo};

use super::{FOREIGN, KEY, NOW, at, check, good, ours};

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
        for profile in [Profile::Own, FOREIGN] {
            assert_eq!(check(&token, &keys, profile).unwrap_err(), TokenError::Type(typ.into()));
        }
        let decoded = Decoded::of(&token).unwrap();
        assert_eq!(decoded.check_header(FOREIGN).unwrap_err(), TokenError::Type(typ.into()));
    }
    let untyped = KEY.sign_raw(&json!({"alg": "ES256", "kid": KEY.kid()}).to_string(), &good().to_string());
    assert_eq!(
        check(&untyped, &keys, FOREIGN).unwrap_err(),
        TokenError::Type(String::new()),
        "an ID token has no typ or JWT"
    );
    for typ in ["application/at+jwt", "AT+JWT"] {
        let token = KEY.sign_claims(typ, &good());
        assert!(check(&token, &keys, FOREIGN).is_ok());
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
    for profile in [Profile::Own, FOREIGN] {
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
    for profile in [Profile::Own, FOREIGN] {
        assert_eq!(
            check(&forged, &set(&mine), profile).unwrap_err(),
            TokenError::Signature,
            "our iss, their key, same kid"
        );
    }
    let memo = SignatureMemo::new(16);
    let expect = |keys| {
        verify(&forged, &Expect { issuer: &ours(), keys, now: at(NOW), profile: FOREIGN, memo: Some(&memo) })
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
