use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use mandate_core::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Compact, EcdsaForm, MAX_TOKEN_LEN, OtherMembers, SignatureCheck};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{Algorithm, KeySet, KeyUse, strict_json};

fn refused(token: &str, others: OtherMembers) -> TokenError {
    Compact::parse(token, others).err().expect("must be refused")
}

fn signed_by(token: &str, keys: &KeySet, form: EcdsaForm) -> Result<(), TokenError> {
    let check = SignatureCheck {
        keys,
        key_use: KeyUse::Signature,
        allowed: Algorithm::ALL,
        form,
        memo: None,
        now: Timestamp::from_secs(0),
    };
    Compact::parse(token, OtherMembers::Ignore)?.verify(&check).map(|_| ())
}

fn token_with(header: &str) -> String {
    format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header))
}

#[test]
fn verifies_the_published_examples() {
    // RFC 7515 Appendix A.3.
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]});
    let keys = KeySet::from_json(keys.to_string().as_bytes()).unwrap();
    let token = concat!(
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    assert_eq!(signed_by(token, &keys, EcdsaForm::Either), Ok(()));
    // RFC 7515 Appendix A.2: RS256.
    let n = concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEw",
        "OWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw",
        "Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
    );
    let rsa =
        KeySet::from_json(json!({"keys": [{"kty": "RSA", "n": n, "e": "AQAB"}]}).to_string().as_bytes())
            .unwrap();
    let token = concat!(
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4",
        "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv",
        "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    assert_eq!(signed_by(token, &rsa, EcdsaForm::Either), Ok(()));
    assert!(signed_by(token, &keys, EcdsaForm::Either).is_err());
}

#[test]
fn only_three_parts_of_unpadded_base64url() {
    let key = Es256::new(KeyUse::Signature);
    let good = key.sign_claims("JWT", &json!({"a": 1}));
    let parts: Vec<&str> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let json_form = json!({"protected": h, "payload": p, "signature": s}).to_string();
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        h.into(),
        format!("{h}.{p}"),
        format!("{h}.{p}.{s}.{s}"),
        format!("{h}.{p}.{s}."),
        format!(".{h}.{p}.{s}"),
        format!("{h}..{s}.{p}.{s}"),
        format!(" {good}"),
        format!("\u{feff}{good}"),
        format!("{h}=.{p}.{s}"),
        format!("Bearer {good}"),
        json_form,
    ] {
        assert!(matches!(refused(&token, OtherMembers::Ignore), TokenError::Malformed(_)), "{token:?}");
    }
    for signature in [
        format!("{s}="),
        format!("{s} "),
        format!("{s}\n"),
        STANDARD_NO_PAD.encode([0xfb; 64]),
        URL_SAFE.encode([1; 64]),
    ] {
        let refused = signed_by(&format!("{h}.{p}.{signature}"), &key.key_set(), EcdsaForm::Either);
        assert!(matches!(refused, Err(TokenError::Malformed(_))), "{signature:?}");
    }
    assert_eq!(refused(&"a".repeat(MAX_TOKEN_LEN + 1), OtherMembers::Ignore), TokenError::TooLarge);
}

#[test]
fn alg_none_and_every_unknown_name_are_refused() {
    let names = [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "EdDSA", "Ed25519", "ES256K", "es256",
        "RS1", "RSA-OAEP", "dir", "ES256 ",
    ];
    for name in names {
        let header = json!({"alg": name, "typ": "at+jwt"}).to_string();
        assert_eq!(refused(&token_with(&header), OtherMembers::Ignore), TokenError::Algorithm(name.into()));
        let unsigned = format!("{}.e30.", URL_SAFE_NO_PAD.encode(&header));
        assert_eq!(refused(&unsigned, OtherMembers::Ignore), TokenError::Algorithm(name.into()));
    }
    assert_eq!(refused(&token_with("{}"), OtherMembers::Ignore), TokenError::Algorithm(String::new()));
    for alg in [json!(null), json!(["ES256"]), json!({"ES256": 1}), json!(true), json!(256)] {
        let header = json!({ "alg": alg }).to_string();
        assert_eq!(refused(&token_with(&header), OtherMembers::Ignore), TokenError::Header("alg".into()));
    }
}

#[test]
fn headers_that_choose_key_or_meaning_are_refused() {
    for member in super::DANGEROUS {
        for value in
            [json!("https://evil.example/jwks"), json!(["exp"]), json!(false), json!(null), json!({})]
        {
            let header = json!({"alg": "ES256", "kid": "a", *member: value}).to_string();
            assert_eq!(
                refused(&token_with(&header), OtherMembers::Ignore),
                TokenError::Header((*member).into())
            );
            assert_eq!(
                refused(&token_with(&header), OtherMembers::Refuse),
                TokenError::Header((*member).into())
            );
        }
    }
    let harmless = token_with(r#"{"alg":"ES256","x5t":"a","nonce":"b"}"#);
    assert!(Compact::parse(&harmless, OtherMembers::Ignore).is_ok());
    assert_eq!(refused(&harmless, OtherMembers::Refuse), TokenError::Header("x5t".into()));
}

#[test]
fn malformed_and_duplicate_headers_are_refused() {
    for (header, why) in [
        (r#"{"alg":"ES256","alg":"none"}"#, "duplicate_member"),
        (r#"{"alg":"ES256","\u0061lg":"ES256"}"#, "duplicate_member"),
        (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, "duplicate_member"),
        (r#"["ES256"]"#, "malformed"),
        ("ES256", "malformed"),
        ("", "malformed"),
        (r#"{"alg":"ES256"} "#, "signature"),
        (r#"{"alg":"ES256"}{}"#, "malformed"),
        (r#"{"alg":"ES256","kid":1}"#, "header"),
        (r#"{"alg":"ES256","kid":null}"#, "header"),
        (r#"{"alg":"ES256","typ":["at+jwt"]}"#, "header"),
    ] {
        let keys = Es256::new(KeyUse::Signature).key_set();
        assert_eq!(
            signed_by(&token_with(header), &keys, EcdsaForm::Either).unwrap_err().public_code(),
            why,
            "{header}"
        );
    }
}

#[test]
fn hmac_with_the_public_key_as_secret_is_refused() {
    let key = Es256::new(KeyUse::Signature);
    let jwk = serde_json::to_string(&key.jwk).unwrap();
    let point = aws_lc_rs::signature::KeyPair::public_key(&key.pair).as_ref();
    for secret in [jwk.as_bytes(), point, &[]] {
        for algorithm in
            [jsonwebtoken::Algorithm::HS256, jsonwebtoken::Algorithm::HS384, jsonwebtoken::Algorithm::HS512]
        {
            let header =
                jsonwebtoken::Header { kid: Some(key.kid().into()), ..jsonwebtoken::Header::new(algorithm) };
            let token = jsonwebtoken::encode(
                &header,
                &json!({"a": 1}),
                &jsonwebtoken::EncodingKey::from_secret(secret),
            )
            .unwrap();
            assert!(matches!(
                signed_by(&token, &key.key_set(), EcdsaForm::Either),
                Err(TokenError::Algorithm(_))
            ));
        }
    }
}

#[test]
fn degenerate_and_respelled_es256_signatures_are_refused() {
    let key = Es256::new(KeyUse::Signature);
    let good = key.sign_claims("JWT", &json!({"a": 1}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = signature.split_at(32);
    let order = URL_SAFE_NO_PAD.decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").unwrap();
    let one = [&[0; 31][..], &[1]].concat();
    let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.pkcs8).unwrap();
    let der = der.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec();
    let twin: Vec<u8> = {
        let mut borrow = false;
        let mut digits: Vec<u8> = order
            .iter()
            .zip(s)
            .rev()
            .map(|(n, s)| {
                let (a, first) = n.overflowing_sub(*s);
                let (b, second) = a.overflowing_sub(u8::from(borrow));
                borrow = first || second;
                b
            })
            .collect();
        digits.reverse();
        [r, &digits].concat()
    };
    let spelled = |bytes: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(signed_by(&good, &key.key_set(), EcdsaForm::LowOnly), Ok(()));
    for bytes in [
        vec![],
        vec![0; 64],
        [&[0; 32], s].concat(),
        [r, &[0; 32]].concat(),
        [order.as_slice(), order.as_slice()].concat(),
        [one.as_slice(), &[0; 32]].concat(),
        [one.as_slice(), one.as_slice()].concat(),
        [s, r].concat(),
        signature[..63].to_vec(),
        [&[0], signature.as_slice()].concat(),
        [signature.as_slice(), &[0]].concat(),
        vec![0xff; 64],
        der,
    ] {
        for form in [EcdsaForm::LowOnly, EcdsaForm::Either] {
            assert_eq!(
                signed_by(&spelled(&bytes), &key.key_set(), form),
                Err(TokenError::Signature),
                "{bytes:?}"
            );
        }
    }
    // (r, n − s) is a mathematically valid signature that anybody can make of ours: accepted of foreign
    // signers alone.
    assert_eq!(signed_by(&spelled(&twin), &key.key_set(), EcdsaForm::Either), Ok(()));
    assert_eq!(signed_by(&spelled(&twin), &key.key_set(), EcdsaForm::LowOnly), Err(TokenError::Signature));
}

#[test]
fn the_signature_binds_the_algorithm_name() {
    let key = Es256::new(KeyUse::Signature);
    let signature = key.sign_claims("JWT", &json!({"a": 1})).rsplit_once('.').unwrap().1.to_owned();
    for algorithm in Algorithm::ALL {
        let header = json!({"alg": algorithm.name(), "kid": key.kid(), "typ": "JWT"}).to_string();
        let token = format!(
            "{}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(r#"{"a":2}"#)
        );
        assert!(signed_by(&token, &key.key_set(), EcdsaForm::Either).is_err(), "{algorithm}");
    }
}

#[test]
fn every_single_changed_character_is_refused() {
    let key = Es256::new(KeyUse::Signature);
    let keys = key.key_set();
    let good = key.sign_claims("JWT", &json!({"sub": "riley", "aud": "https://crm.example", "exp": 1}));
    for at in 0..good.len() {
        for replacement in [b'A', b'B', b'_', b'.', b'=', good.as_bytes()[at] ^ 0x20, good.as_bytes()[at] ^ 1]
        {
            let mut bytes = good.clone().into_bytes();
            if bytes[at] == replacement {
                continue;
            }
            bytes[at] = replacement;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(signed_by(&changed, &keys, EcdsaForm::Either).is_err(), "{at}: {changed}");
        }
        let shortened = format!("{}{}", &good[..at], &good[at + 1..]);
        assert!(signed_by(&shortened, &keys, EcdsaForm::Either).is_err(), "{at} removed");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[A-Za-z0-9_=.\\-]{0,300}") {
        let _ = Compact::parse(&text, OtherMembers::Ignore);
    }

    #[test]
    fn a_header_of_any_json_never_panics(header in any_json(), payload in any_json()) {
        let token = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
        if let Ok(compact) = Compact::parse(&token, OtherMembers::Refuse) {
            let payload = compact.payload().unwrap();
            let _ = strict_json::object(&payload);
        }
    }
}
