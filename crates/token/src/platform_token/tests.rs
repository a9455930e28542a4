//! The tokens that platforms issue by default, and what proves no workload (`vectors/platform-tokens.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use mandate_core::Timestamp;
use mandate_core::registry::{Need, Platform, PlatformProof};
use serde_json::{Map, Value, json};

use super::{Expect, PlatformToken, Unverified};
use crate::error::TokenError;
use crate::memo::SignatureMemo;
use crate::test_keys::Es256;
use crate::{KeyUse, client_assertion, jwt_svid};

static KEY: LazyLock<Es256> = LazyLock::new(|| Es256::new(KeyUse::Signature));
static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../vectors/platform-tokens.json")).unwrap());

fn platforms() -> &'static [Value] {
    VECTORS["platforms"].as_array().unwrap()
}

fn changed(object: &Value, change: &Value) -> Map<String, Value> {
    let mut object = object.as_object().unwrap().clone();
    for (name, value) in change.as_object().into_iter().flatten() {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
    object
}

fn kind(vector: &Value) -> Platform {
    serde_json::from_value(vector["platform"].clone()).unwrap()
}

fn signed(vector: &Value, change: &Value) -> String {
    let mut header = changed(&vector["header"], &change["header"]);
    header.insert("alg".to_owned(), "ES256".into());
    if !change["no_kid"].is_boolean() {
        header.insert("kid".to_owned(), KEY.kid().into());
    }
    let claims = changed(&vector["claims"], &change["claims"]);
    KEY.sign_raw(&Value::from(header).to_string(), &Value::from(claims).to_string())
}

fn verified_as(vector: &Value, token: &str, platform: Platform) -> Result<PlatformToken, TokenError> {
    let issuer = vector["issuer"].as_str().unwrap().parse().unwrap();
    let keys = KEY.key_set();
    Unverified::of(token)?.verify(&Expect {
        platform,
        issuer: &issuer,
        keys: &keys,
        audience: VECTORS["audience"].as_str().unwrap(),
        now: Timestamp::from_secs(VECTORS["now"].as_u64().unwrap()),
        memo: None,
    })
}

fn verified(vector: &Value, change: &Value) -> Result<PlatformToken, TokenError> {
    verified_as(vector, &signed(vector, change), kind(vector))
}

/// The proof of an agent's entry that names the workload of the vector.
fn proof(vector: &Value) -> PlatformProof {
    let values = |value: &Value| -> BTreeSet<String> {
        match value {
            Value::Array(list) => list.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
            one => [one.as_str().unwrap().to_owned()].into(),
        }
    };
    let says: BTreeMap<_, _> = vector["proof"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), values(value)))
        .collect();
    PlatformProof::new(kind(vector), vector["issuer"].as_str().unwrap().parse().unwrap(), says)
}

#[test]
fn the_default_tokens_of_each_platform_say_which_workload_it_is() {
    for vector in platforms() {
        let usual = json!({"what": "as it is"});
        for change in std::iter::once(&usual).chain(vector["accepted"].as_array().unwrap()) {
            let what = format!("{}: {}", vector["platform"], change["what"]);
            let token = verified(vector, change).unwrap_or_else(|error| panic!("{what}: {error}"));
            for (name, value) in changed(&vector["says"], &Value::Null) {
                let expected = change["says"].get(&name).unwrap_or(&value);
                let said = token.claims.get(name.as_str()).map(String::as_str);
                assert_eq!(said, expected.as_str(), "{what}: {name}");
            }
            assert_eq!(proof(vector).missing_in(&token.claims), None, "{what}");
        }
    }
}

#[test]
fn a_name_that_is_used_again_or_the_run_of_a_stranger_proves_no_agent() {
    for vector in platforms() {
        for change in vector["unproven"].as_array().unwrap() {
            let what = format!("{}: {}", vector["platform"], change["what"]);
            let token = verified(vector, change).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(proof(vector).missing_in(&token.claims), change["member"].as_str(), "{what}");
        }
    }
}

#[test]
fn what_is_not_the_token_of_a_workload_for_us_is_refused_with_the_claim() {
    for vector in platforms() {
        for change in vector["refused"].as_array().unwrap() {
            let what = format!("{}: {}", vector["platform"], change["what"]);
            let error = verified(vector, change).expect_err(&what);
            let expected = change["error"].as_str().unwrap();
            let no_type = change["what"] == "no type" && error.public_code() == "typ";
            assert!(error.public_text() == expected || no_type, "{what}: {}", error.public_text());
        }
    }
}

#[test]
fn a_token_of_one_platform_is_none_of_another() {
    for vector in platforms() {
        for platform in Platform::ALL.iter().filter(|platform| **platform != kind(vector)) {
            let token = signed(vector, &Value::Null);
            assert!(
                verified_as(vector, &token, *platform).is_err(),
                "{} as {platform:?}",
                vector["platform"]
            );
        }
    }
}

#[test]
fn every_platform_has_vectors_and_a_proof_of_its_members() {
    let named: Vec<Platform> = platforms().iter().map(kind).collect();
    assert_eq!(named, Platform::ALL);
    for vector in platforms() {
        assert!(vector["refused"].as_array().unwrap().len() >= 20, "{}", vector["platform"]);
        let proof = proof(vector);
        assert!(proof.says.keys().all(|name| proof.platform.member(name).is_some()));
        assert!(proof.workload().is_some());
    }
}

/// Otherwise a member of an entry could match no token.
#[test]
fn every_member_of_a_proof_is_something_that_tokens_say() {
    for platform in Platform::ALL {
        let facts = super::rules_of(*platform).facts;
        for member in platform.members() {
            let fact = facts.iter().find(|fact| fact.name == member.name);
            let fact = fact.unwrap_or_else(|| panic!("{platform:?}: {}", member.name));
            if member.need != Need::Optional {
                assert!(fact.presence == super::rules::Presence::Required, "{platform:?}: {}", member.name);
            }
        }
    }
}

#[test]
fn the_key_is_named_and_belongs_to_the_issuer() {
    for vector in platforms() {
        let unnamed = verified(vector, &json!({"no_kid": true}));
        assert_eq!(unnamed, Err(TokenError::UnknownKey(None)));
        let token = signed(vector, &Value::Null);
        let (head, signature) = token.rsplit_once('.').unwrap();
        let claims = changed(&vector["claims"], &json!({"jti": "another"}));
        let other = KEY.sign_raw("{}", &Value::from(claims).to_string());
        let payload = other.split('.').nth(1).unwrap();
        let forged = format!("{}.{payload}.{signature}", head.split_once('.').unwrap().0);
        assert_eq!(verified_as(vector, &forged, kind(vector)), Err(TokenError::Signature));
        for member in ["jku", "jwk", "x5u", "crit", "b64", "zip"] {
            let refused = verified(vector, &json!({"header": {member: "x"}}));
            assert_eq!(refused, Err(TokenError::Header(member.to_owned())));
        }
    }
}

#[test]
fn a_token_of_a_platform_is_neither_an_svid_nor_the_assertion_of_a_client() {
    let keys = KEY.key_set();
    let now = Timestamp::from_secs(VECTORS["now"].as_u64().unwrap());
    let audience = VECTORS["audience"].as_str().unwrap();
    for vector in platforms() {
        let token = signed(vector, &Value::Null);
        assert!(client_assertion::verify(&token, &keys, audience, now).is_err());
        let domain = "acme.example".parse().unwrap();
        assert!(jwt_svid::verify(&token, &keys, &domain, audience, now, None).is_err());
    }
}

#[test]
fn a_remembered_signature_changes_no_check() {
    let memo = SignatureMemo::new(8);
    let vector = &platforms()[0];
    let token = signed(vector, &Value::Null);
    let (issuer, keys) = (vector["issuer"].as_str().unwrap().parse().unwrap(), KEY.key_set());
    let start = VECTORS["now"].as_u64().unwrap();
    let verify = |now, audience| {
        let now = Timestamp::from_secs(now);
        let platform = kind(vector);
        let expect = Expect { platform, issuer: &issuer, keys: &keys, audience, now, memo: Some(&memo) };
        Unverified::of(&token).unwrap().verify(&expect)
    };
    let audience = VECTORS["audience"].as_str().unwrap();
    assert!(verify(start, audience).is_ok() && memo.len() == 1);
    assert!(verify(start + 299, audience).is_ok());
    assert_eq!(verify(start + 300, audience), Err(TokenError::Expired));
    assert_eq!(verify(start, "https://other.example"), Err(TokenError::Audience));
}
