use serde_json::{Value, json};

use super::{KeySet, KeySetError, KeyUse};
use crate::test_keys::Es256;
use crate::{Algorithm, TokenError};

fn parse(keys: &Value) -> Result<KeySet, KeySetError> {
    KeySet::from_json(json!({ "keys": keys }).to_string().as_bytes())
}

fn jwk(changes: &Value) -> Value {
    let mut jwk = serde_json::to_value(Es256::new(KeyUse::Signature).jwk).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => jwk.as_object_mut().unwrap().remove(name),
            value => jwk.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    jwk
}

#[test]
fn keys_that_are_published_for_another_issuer_are_not_the_issuers() {
    let tenant = "https://login.microsoftonline.com/11112222-3333-4444-8555-666677778888/v2.0";
    let keys = json!([
        jwk(&json!({"kid": "none"})),
        jwk(&json!({"kid": "own", "issuer": tenant})),
        jwk(&json!({"kid": "any", "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"})),
        jwk(
            &json!({"kid": "other", "issuer": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"})
        ),
        jwk(&json!({"kid": "older", "issuer": "https://sts.windows.net/{tenantid}/"})),
        jwk(&json!({"kid": "number", "issuer": 7})),
    ]);
    let document = json!({ "keys": keys }).to_string();
    let set = KeySet::of_issuer(document.as_bytes(), &tenant.parse().unwrap()).unwrap();
    let mut found: Vec<&str> = set.key_ids().collect();
    found.sort_unstable();
    assert_eq!(found, ["any", "none", "own"]);
    let nested = "https://login.microsoftonline.com/a/b/v2.0".parse().unwrap();
    let set = KeySet::of_issuer(document.as_bytes(), &nested).unwrap();
    assert_eq!(set.key_ids().collect::<Vec<_>>(), ["none"], "a tenant is one segment");
}

#[test]
fn documents_that_are_no_key_set_are_refused_whole() {
    for json in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":"x"}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[]} x"#,
    ] {
        assert!(matches!(KeySet::from_json(json.as_bytes()), Err(KeySetError::Malformed(_))), "{json}");
    }
    assert_eq!(KeySet::from_json(&vec![b' '; 256 * 1024 + 1]), Err(KeySetError::TooLarge));
    assert_eq!(parse(&vec![json!({"kty": "x"}); 129].into()), Err(KeySetError::TooManyKeys));
    assert!(parse(&json!([])).unwrap().is_empty(), "an empty set is valid and trusts nobody");
}

#[test]
fn keys_that_are_of_no_use_here_are_skipped_and_the_rest_stays() {
    for changes in [
        json!({"use": "enc"}),
        json!({"use": "x509-svid"}),
        json!({"use": 1}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"alg": "ES384"}),
        json!({"alg": "RS256"}),
        json!({"alg": 1}),
        json!({"kty": "oct"}),
        json!({"kty": "OKP"}),
        json!({"kty": "RSA"}),
        json!({"kty": null}),
        json!({"crv": "P-384"}),
        json!({"crv": "secp256k1"}),
        json!({"crv": null}),
        json!({"x": null}),
        json!({"x": ""}),
        json!({"x": "AAAA"}),
        json!({"x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"}),
        json!({"y": "not base64!"}),
        json!({"kid": ""}),
        json!({"kid": 7}),
        json!({"kid": "k".repeat(513)}),
        json!({"kid": null, "use": "jwt-svid"}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": "verify"}),
        json!({"d": "AAAA"}),
    ] {
        let good = Es256::new(KeyUse::Signature);
        let set = parse(&json!([jwk(&changes), good.jwk])).unwrap();
        assert_eq!(set.key_ids().collect::<Vec<_>>(), [good.kid()], "{changes}");
        assert_eq!(set.len(), 1, "{changes}");
    }
    for changes in [
        json!({"use": null}),
        json!({"alg": null}),
        json!({"key_ops": ["verify"]}),
        json!({"x5t": "ignored", "x5c": ["ignored"]}),
    ] {
        assert_eq!(parse(&json!([jwk(&changes)])).unwrap().len(), 1, "{changes}");
    }
}

#[test]
fn weak_rsa_keys_are_skipped() {
    let n = |bytes: usize, top: u8| {
        let mut n = vec![0x55; bytes];
        n[0] = top;
        n[bytes - 1] = 0x0f | 1;
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, n)
    };
    let usable =
        |n: String, e: &str| parse(&json!([{"kty": "RSA", "kid": "r", "n": n, "e": e}])).unwrap().len() == 1;
    assert!(usable(n(256, 0x80), "AQAB"));
    assert!(usable(n(512, 0x80), "AQAB"));
    for (n, e, why) in [
        (n(128, 0x80), "AQAB", "1024 bits"),
        (n(256, 0x7f), "AQAB", "2047 bits"),
        (n(513, 0x80), "AQAB", "more than 4096 bits"),
        (n(256, 0x80), "AQ", "exponent 1"),
        (n(256, 0x80), "Ag", "exponent 2"),
        (n(256, 0x80), "", "no exponent"),
        (n(256, 0x80), "AQAAAAE", "an exponent of five bytes"),
    ] {
        assert!(!usable(n, e), "{why}");
    }
}

const RSA: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

#[test]
fn an_ec_and_an_rsa_key_of_one_kid_are_told_apart_by_the_algorithm() {
    let rsa = |kid: &str, alg: &str| json!({"kty": "RSA", "kid": kid, "alg": alg, "n": RSA, "e": "AQAB"});
    let set =
        parse(&json!([jwk(&json!({"kid": "1"})), rsa("1", "RS256"), rsa("2", "RS256"), rsa("2", "PS256")]))
            .unwrap();
    for (kid, algorithm, fits) in [
        ("1", Algorithm::Es256, true),
        ("1", Algorithm::Rs256, true),
        ("1", Algorithm::Ps256, false),
        ("1", Algorithm::Es384, false),
        ("2", Algorithm::Rs256, true),
        ("2", Algorithm::Ps256, true),
        ("2", Algorithm::Es256, false),
    ] {
        assert_eq!(select(&set, Some(kid), algorithm, KeyUse::Signature).is_ok(), fits, "{kid} {algorithm}");
    }
    let svid =
        parse(&json!([jwk(&json!({"kid": "1"})), jwk(&json!({"kid": "1", "use": "jwt-svid"}))])).unwrap();
    for key_use in [KeyUse::Signature, KeyUse::JwtSvid] {
        assert_eq!(select(&svid, Some("1"), Algorithm::Es256, key_use), Ok(()), "the use tells them apart");
    }
}

#[test]
fn a_kid_that_two_keys_of_one_type_share_names_neither_and_spoils_no_other() {
    let (a, b) = (jwk(&json!({"kid": "same"})), jwk(&json!({"kid": "same"})));
    let set = parse(&json!([a, b, jwk(&json!({"kid": "other"}))])).unwrap();
    let ambiguous = Err(TokenError::AmbiguousKey("same".into()));
    assert_eq!(select(&set, Some("same"), Algorithm::Es256, KeyUse::Signature), ambiguous);
    assert_eq!(select(&set, Some("other"), Algorithm::Es256, KeyUse::Signature), Ok(()));
    let twice = parse(&json!([a, a])).unwrap();
    assert_eq!(
        (twice.len(), select(&twice, Some("same"), Algorithm::Es256, KeyUse::Signature)),
        (1, Ok(())),
        "the same key twice is one"
    );
    let mut bare = a.clone();
    bare.as_object_mut().unwrap().remove("alg");
    let described = parse(&json!([a, bare])).unwrap();
    assert_eq!(
        select(&described, Some("same"), Algorithm::Es256, KeyUse::Signature),
        Ok(()),
        "nor is it two if one says more"
    );
    let encryption = jwk(&json!({"kid": "same", "use": "enc"}));
    assert_eq!(parse(&json!([a, encryption])).unwrap().len(), 1, "a skipped key cannot be meant");
}

#[test]
fn keys_that_are_registered_must_be_able_to_verify_something() {
    let usable = |keys: Value| {
        KeySet::usable_from_json(json!({ "keys": keys }).to_string().as_bytes(), KeyUse::Signature)
    };
    let good = jwk(&json!({"kid": "a"}));
    assert_eq!(usable(json!([good])).unwrap().len(), 1);
    assert_eq!(usable(json!([good, jwk(&json!({"use": "enc"}))])).unwrap().len(), 1);
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (keys, why) in [
        (json!([]), "there is none"),
        (json!([okp]), "keys[0]: `kty` is neither EC nor RSA; EdDSA keys are not supported"),
        (json!([okp, jwk(&json!({"use": "enc"}))]), "keys[1]: `use` is enc"),
        (json!([jwk(&json!({"use": "jwt-svid"}))]), "keys[0]: `use` is jwt-svid"),
        (json!([jwk(&json!({"alg": "HS256"}))]), "keys[0]: `alg` is none of"),
    ] {
        let error = usable(keys).unwrap_err();
        assert!(matches!(&error, KeySetError::NothingUsable(text) if text.contains(why)), "{error}");
    }
    assert_eq!(
        usable(json!([good, jwk(&json!({"kid": "a"}))])),
        Err(KeySetError::AmbiguousKeyId("a".into()))
    );
    assert_eq!(usable(vec![good; 129].into()), Err(KeySetError::TooManyKeys));
}

#[test]
fn a_key_without_a_kid_that_no_token_could_mean_is_not_registered() {
    let usable = |keys: Value| {
        KeySet::usable_from_json(json!({ "keys": keys }).to_string().as_bytes(), KeyUse::Signature)
            .map(|_| ())
    };
    let bare = || jwk(&json!({"kid": null}));
    let rsa = json!({"kty": "RSA", "alg": "RS256", "n": RSA, "e": "AQAB"});
    let any_rsa = json!({"kty": "RSA", "n": RSA.replacen('o', "p", 1), "e": "AQAB"});
    let enc = jwk(&json!({"use": "enc"}));
    assert_eq!(usable(json!([bare()])), Ok(()));
    assert_eq!(usable(json!([bare(), rsa])), Ok(()), "the algorithm tells them apart");
    assert_eq!(usable(json!([bare(), jwk(&json!({"use": "jwt-svid"}))])), Ok(()), "the use does too");
    assert_eq!(usable(json!([any_rsa, jwk(&json!({}))])), Ok(()));
    let same = bare();
    assert_eq!(usable(json!([same, same])), Ok(()), "the same key twice is one");
    assert_eq!(usable(json!([enc, bare(), bare()])), Err(KeySetError::NeverChosen(1)));
    assert_eq!(
        usable(json!([jwk(&json!({})), enc, bare()])),
        Err(KeySetError::NeverChosen(2)),
        "the other one has a name"
    );
    assert_eq!(
        usable(json!([any_rsa, rsa])),
        Err(KeySetError::NeverChosen(1)),
        "the first has RS384 for itself"
    );
    let error = usable(json!([bare(), bare()])).unwrap_err().to_string();
    assert!(error.contains("keys[0]") && error.contains("give each of them a `kid`"), "{error}");
}

#[test]
fn keys_without_a_kid_are_told_apart_by_the_algorithm_and_never_tried_one_by_one() {
    let rsa = json!({"kty": "RSA", "alg": "RS256", "n": RSA, "e": "AQAB"});
    let set = parse(&json!([jwk(&json!({"kid": null})), rsa])).unwrap();
    for kid in [None, Some("a")] {
        assert_eq!(select(&set, kid, Algorithm::Es256, KeyUse::Signature), Ok(()));
        assert_eq!(select(&set, kid, Algorithm::Rs256, KeyUse::Signature), Ok(()));
        let unknown = Err(TokenError::UnknownKey(kid.map(str::to_owned)));
        assert_eq!(
            select(&set, kid, Algorithm::Ps256, KeyUse::Signature),
            unknown,
            "a fresher set may have one"
        );
        assert_eq!(select(&set, kid, Algorithm::Es256, KeyUse::JwtSvid), unknown);
    }
    let two = parse(&json!([jwk(&json!({"kid": null})), jwk(&json!({"kid": null})), rsa])).unwrap();
    for kid in [None, Some("a")] {
        assert_eq!(
            select(&two, kid, Algorithm::Es256, KeyUse::Signature),
            Err(TokenError::UnknownKey(kid.map(str::to_owned)))
        );
        assert_eq!(select(&two, kid, Algorithm::Rs256, KeyUse::Signature), Ok(()));
    }
    let named = parse(&json!([jwk(&json!({"kid": "a"})), rsa])).unwrap();
    assert_eq!(select(&named, None, Algorithm::Es256, KeyUse::Signature), Ok(()), "the only key for it");
    assert_eq!(
        select(&named, Some("b"), Algorithm::Rs256, KeyUse::Signature),
        Ok(()),
        "a name that no key has is a hint"
    );
    let unknown = Err(TokenError::UnknownKey(Some("b".into())));
    assert_eq!(
        select(&named, Some("b"), Algorithm::Es256, KeyUse::Signature),
        unknown,
        "but the key has another name"
    );
    let other = Err(TokenError::Algorithm("RS256".into()));
    assert_eq!(
        select(&named, Some("a"), Algorithm::Rs256, KeyUse::Signature),
        other,
        "nor does the name of one key mean another"
    );
}

#[test]
fn a_signature_that_fits_no_unnamed_key_may_be_of_a_newer_one() {
    let (bare, named) = (
        parse(&json!([jwk(&json!({"kid": null}))])).unwrap(),
        parse(&json!([jwk(&json!({"kid": "a"}))])).unwrap(),
    );
    let verify = |set: &KeySet, kid: Option<&str>| {
        set.select(kid, Algorithm::Es256, KeyUse::Signature).and_then(|key| key.verify(b"message", &[1; 64]))
    };
    assert_eq!(
        verify(&bare, Some("n")),
        Err(TokenError::SignatureOfUnnamedKey),
        "the issuer may have replaced it"
    );
    assert_eq!(verify(&bare, None), Err(TokenError::SignatureOfUnnamedKey));
    assert_eq!(verify(&named, None), Err(TokenError::SignatureOfUnnamedKey));
    assert_eq!(verify(&named, Some("a")), Err(TokenError::Signature));
    assert!(
        TokenError::SignatureOfUnnamedKey.may_be_stale_keys() && !TokenError::Signature.may_be_stale_keys()
    );
}

fn select(set: &KeySet, kid: Option<&str>, algorithm: Algorithm, key_use: KeyUse) -> Result<(), TokenError> {
    set.select(kid, algorithm, key_use).map(|_| ())
}

#[test]
fn a_key_is_chosen_by_kid_or_because_there_is_no_choice() {
    let unknown = |kid: &str| Err(TokenError::UnknownKey(Some(kid.into())));
    let (named, bare) = (jwk(&json!({"kid": "a"})), jwk(&json!({"kid": null})));
    let one = parse(&json!([named])).unwrap();
    assert_eq!(select(&one, Some("a"), Algorithm::Es256, KeyUse::Signature), Ok(()));
    assert_eq!(select(&one, None, Algorithm::Es256, KeyUse::Signature), Ok(()), "the only key");
    assert_eq!(select(&one, Some("b"), Algorithm::Es256, KeyUse::Signature), unknown("b"));
    assert_eq!(select(&one, Some("a"), Algorithm::Es256, KeyUse::JwtSvid), unknown("a"), "another use");
    let lone = parse(&json!([bare])).unwrap();
    assert_eq!(select(&lone, Some("b"), Algorithm::Es256, KeyUse::Signature), Ok(()), "kid is a hint");
    let two = parse(&json!([named, bare])).unwrap();
    assert_eq!(
        select(&two, None, Algorithm::Es256, KeyUse::Signature),
        Err(TokenError::UnknownKey(None)),
        "no trial of all keys"
    );
    assert_eq!(select(&two, Some("b"), Algorithm::Es256, KeyUse::Signature), unknown("b"));
    for kid in ["", "A", "a ", "../a", "a' OR '1'='1", "/dev/null", "a\0", "https://evil.example/jwks"] {
        assert_eq!(
            select(&one, Some(kid), Algorithm::Es256, KeyUse::Signature),
            unknown(kid),
            "kid is compared, never used"
        );
    }
    assert_eq!(
        select(&KeySet::empty(), None, Algorithm::Es256, KeyUse::Signature),
        Err(TokenError::UnknownKey(None))
    );
}

#[test]
fn the_key_decides_the_algorithm() {
    let n = RSA;
    let set = parse(&json!([
        jwk(&json!({"kid": "ec", "alg": null})),
        {"kty": "RSA", "kid": "rs", "alg": "RS256", "n": n, "e": "AQAB"},
        {"kty": "RSA", "kid": "any", "n": n, "e": "AQAB"},
    ]))
    .unwrap();
    for algorithm in Algorithm::ALL {
        let fits = |kid| select(&set, Some(kid), *algorithm, KeyUse::Signature).is_ok();
        assert_eq!(fits("ec"), *algorithm == Algorithm::Es256, "{algorithm}");
        assert_eq!(fits("rs"), *algorithm == Algorithm::Rs256, "{algorithm}: PS and PKCS are not swapped");
        assert_eq!(
            fits("any"),
            algorithm.name().contains('S') && !algorithm.name().starts_with('E'),
            "{algorithm}"
        );
    }
}

#[test]
fn the_fingerprint_follows_all_that_matters_and_nothing_else() {
    let base = jwk(&json!({"kid": "a"}));
    let change = |changes: &Value| {
        let mut jwk = base.clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        jwk
    };
    let print = |keys: Value| *parse(&keys).unwrap().fingerprint();
    let other = jwk(&json!({"kid": "b"}));
    assert_eq!(print(json!([base, other])), print(json!([other, base])), "order");
    assert_eq!(print(json!([base])), print(json!([change(&json!({"x5t": "z"}))])));
    assert_ne!(print(json!([base])), print(json!([base, other])));
    assert_ne!(print(json!([base])), print(json!([change(&json!({"kid": "b"}))])));
    assert_ne!(print(json!([base])), print(json!([change(&json!({"use": "jwt-svid"}))])));
    assert_ne!(
        print(json!([base])),
        print(json!([jwk(&json!({"kid": "a"}))])),
        "another key under the same kid"
    );
}

proptest::proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = KeySet::from_json(&bytes);
    }

    #[test]
    fn never_panics_on_any_key_material(x in "[A-Za-z0-9_-]{0,90}", y in "[A-Za-z0-9_-]{0,90}", crv in "P-(256|384|521)") {
        let _ = parse(&json!([{"kty": "EC", "crv": crv, "x": x, "y": y}, {"kty": "RSA", "n": x, "e": y}]));
    }
}
