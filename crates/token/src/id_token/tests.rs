use std::collections::BTreeMap;
use std::sync::LazyLock;

use mandate_core::{Issuer, Timestamp};
use serde_json::{Value, json};

use super::{Expect, IdToken, verify};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{KeySet, KeyUse, MappedClaims, Mapping};

const PROVIDER: &str = "https://login.example";
const CLIENT: &str = "mandate-at-login";
const NONCE: &str = "n-of-this-login";
const NOW: u64 = 1_700_000_000;
/// The access token and its `at_hash` by SHA-256, computed with another program.
const ACCESS_TOKEN: &str = "an access token";
const AT_HASH: &str = "FPlcM-1UXiivOYozpUrp7Q";

static KEY: LazyLock<Es256> = LazyLock::new(|| Es256::new(KeyUse::Signature));

fn with(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": PROVIDER, "sub": "user-7", "aud": CLIENT, "nonce": NONCE, "iat": NOW, "exp": NOW + 300,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn checked(token: &str, change: impl FnOnce(&mut Expect<'_>)) -> Result<IdToken, TokenError> {
    let (issuer, keys, required): (Issuer, KeySet, _) =
        (PROVIDER.parse().unwrap(), KEY.key_set(), BTreeMap::new());
    let mut expect = Expect {
        issuer: &issuer,
        keys: &keys,
        client_id: CLIENT,
        nonce: Some(NONCE),
        since: Timestamp::from_secs(NOW - 120),
        access_token: ACCESS_TOKEN,
        subject: "sub",
        required: &required,
        mapping: Mapping::default(),
        now: Timestamp::from_secs(NOW),
    };
    change(&mut expect);
    verify(token, &expect)
}

fn signed(changes: &Value) -> String {
    KEY.sign_claims("JWT", &with(changes))
}

fn code(changes: &Value) -> &'static str {
    checked(&signed(changes), |_| ()).map_or_else(|error| error.public_code(), |_| "ok")
}

#[test]
fn a_proper_id_token_says_who_and_how() {
    let token = signed(&json!({
        "auth_time": NOW - 60, "acr": "urn:mfa", "amr": ["pwd", "otp"], "sid": "s1", "at_hash": AT_HASH, "azp": CLIENT,
    }));
    assert_eq!(
        checked(&token, |_| ()),
        Ok(IdToken {
            subject: "user-7".into(),
            auth_time: Some(Timestamp::from_secs(NOW - 60)),
            acr: Some("urn:mfa".into()),
            amr: vec!["pwd".into(), "otp".into()],
            session: Some("s1".into()),
            mapped: MappedClaims::default(),
        })
    );
    for harmless in [json!({}), json!({"aud": [CLIENT]}), json!({"amr": []}), json!({"c_hash": "x"})] {
        assert_eq!(code(&harmless), "ok", "{harmless}");
    }
    let untyped = json!({"alg": "ES256", "kid": KEY.kid()}).to_string();
    assert!(checked(&KEY.sign_raw(&untyped, &with(&json!({})).to_string()), |_| ()).is_ok());
}

#[test]
fn an_id_token_for_another_login_client_provider_or_time_is_refused() {
    for (changes, why) in [
        (json!({"iss": "https://login.example/"}), "issuer"),
        (json!({"iss": "https://other.example"}), "issuer"),
        (json!({"iss": null}), "claim_missing"),
        (json!({"iss": [PROVIDER]}), "claim_invalid"),
        (json!({"aud": "another-client"}), "audience"),
        (json!({"aud": [CLIENT, "another-client"]}), "audience"),
        (json!({"aud": [CLIENT, "another-client"], "azp": CLIENT}), "audience"),
        (json!({"aud": []}), "claim_invalid"),
        (json!({"aud": null}), "claim_missing"),
        (json!({"azp": "another-client"}), "claim_invalid"),
        (json!({"azp": 7}), "claim_invalid"),
        (json!({"nonce": "n-of-another-login"}), "claim_invalid"),
        (json!({"nonce": null}), "claim_missing"),
        (json!({"nonce": ""}), "claim_invalid"),
        (json!({"nonce": [NONCE]}), "claim_invalid"),
        (json!({"sub": null}), "claim_missing"),
        (json!({"sub": ""}), "claim_invalid"),
        (json!({"sub": 7}), "claim_invalid"),
        (json!({"exp": null}), "claim_missing"),
        (json!({"exp": "soon"}), "claim_invalid"),
        (json!({"iat": null}), "claim_missing"),
        (json!({"iat": NOW - 1_000, "exp": NOW - 60}), "expired"),
        (json!({"iat": NOW + 61, "exp": NOW + 300}), "not_yet_valid"),
        (json!({"nbf": NOW + 61}), "not_yet_valid"),
        (json!({"iat": NOW - 181}), "age"),
        (json!({"auth_time": NOW + 61}), "not_yet_valid"),
        (json!({"auth_time": "yesterday"}), "claim_invalid"),
        (json!({"acr": 2}), "claim_invalid"),
        (json!({"amr": "pwd"}), "claim_invalid"),
        (json!({"at_hash": "FPlcM-1UXiivOYozpUrpAQ"}), "claim_invalid"),
        (json!({"at_hash": 1}), "claim_invalid"),
    ] {
        assert_eq!(code(&changes), why, "{changes}");
    }
    assert_eq!(code(&json!({"iat": NOW - 180})), "ok", "the provider's clock may be a minute behind");
}

#[test]
fn other_kinds_of_tokens_are_no_id_token() {
    let logout = json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    assert_eq!(code(&logout), "claim_invalid");
    assert_eq!(code(&json!({"act": {"sub": "x"}})), "claim_invalid");
    for typ in ["at+jwt", "logout+jwt", "application/at+jwt", "secevent+jwt"] {
        let token = KEY.sign_claims(typ, &with(&json!({})));
        assert_eq!(checked(&token, |_| ()).unwrap_err().public_code(), "typ", "{typ}");
    }
}

#[test]
fn only_an_asymmetric_signature_of_the_providers_own_key_counts() {
    let claims = with(&json!({})).to_string();
    for alg in ["none", "HS256", "hs256", "EdDSA", ""] {
        let header = json!({"alg": alg, "kid": KEY.kid(), "typ": "JWT"}).to_string();
        assert_eq!(
            checked(&KEY.sign_raw(&header, &claims), |_| ()).unwrap_err().public_code(),
            "alg",
            "{alg}"
        );
    }
    let stranger = Es256::new(KeyUse::Signature);
    let unknown = stranger.sign_claims("JWT", &with(&json!({})));
    assert_eq!(checked(&unknown, |_| ()).unwrap_err().public_code(), "unknown_key");
    let header = json!({"alg": "ES256", "kid": KEY.kid(), "typ": "JWT"}).to_string();
    let forged = stranger.sign_raw(&header, &claims);
    assert_eq!(checked(&forged, |_| ()).unwrap_err().public_code(), "signature");
    for dangerous in ["jku", "jwk", "x5u", "crit", "zip"] {
        let header = json!({"alg": "ES256", "kid": KEY.kid(), "typ": "JWT", dangerous: "NONE"}).to_string();
        let error = checked(&KEY.sign_raw(&header, &claims), |_| ()).unwrap_err();
        assert_eq!(error.public_code(), "header", "{dangerous}");
    }
}

#[test]
fn a_token_that_two_readers_would_read_differently_is_refused() {
    let doubled = with(&json!({})).to_string().replacen('{', "{\"nonce\":\"another\",", 1);
    let header = json!({"alg": "ES256", "kid": KEY.kid(), "typ": "JWT"}).to_string();
    assert_eq!(checked(&KEY.sign_raw(&header, &doubled), |_| ()), Err(TokenError::DuplicateMember));
}

#[test]
fn the_entry_says_which_claim_is_the_person_and_which_claims_are_required() {
    static REQUIRED: LazyLock<BTreeMap<String, String>> =
        LazyLock::new(|| [("tid".to_owned(), "t1".to_owned())].into());
    let check = |changes: &Value| {
        checked(&signed(changes), |expect| {
            expect.subject = "oid";
            expect.required = &REQUIRED;
        })
        .map(|token| token.subject)
    };
    assert_eq!(check(&json!({"oid": "o1", "tid": "t1"})), Ok("o1".to_owned()));
    assert_eq!(check(&json!({"tid": "t1"})), Err(TokenError::MissingClaim("oid")));
    for other in
        [json!({"oid": "o1"}), json!({"oid": "o1", "tid": "t2"}), json!({"oid": "o1", "tid": ["t1"]})]
    {
        assert_eq!(check(&other), Err(TokenError::RequiredClaim("tid".into())), "{other}");
    }
}
