//! ID tokens as subject tokens (`vectors/product-id-tokens.json`), and that no token is taken as both types.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mandate_core::Timestamp;
use mandate_core::registry::{IdTokenUse, SubjectScope, TokenProfile, TrustedIssuer};
use serde_json::{Map, Value, json};

use super::identify;
use crate::access_token::{AccessToken, Against, Decoded, Verdict, explain_id_token};
use crate::error::TokenError;
use crate::id_token::IdentifiedPerson;
use crate::test_keys::Es256;
use crate::{KeyUse, SignatureMemo};

static KEY: LazyLock<Es256> = LazyLock::new(|| Es256::new(KeyUse::Signature));
static ID_TOKENS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../../vectors/product-id-tokens.json")).unwrap()
});
static ACCESS_TOKENS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../../vectors/product-tokens.json")).unwrap()
});

fn products(vectors: &Value) -> &Vec<Value> {
    vectors["products"].as_array().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(ID_TOKENS["now"].as_u64().unwrap())
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

/// The product's token with this change, signed.
fn token(product: &Value, change: &Value) -> String {
    let mut header = changed(&product["header"], &change["header"]);
    header.insert("alg".to_owned(), "ES256".into());
    header.insert("kid".to_owned(), KEY.kid().into());
    let claims = changed(&product["claims"], &change["claims"]);
    KEY.sign_raw(&Value::from(header).to_string(), &Value::from(claims).to_string())
}

fn issuer(product: &Value) -> TrustedIssuer {
    let text = |name: &str| product[name].as_str().unwrap();
    let other_audiences = product.get("other_audiences").cloned().unwrap_or_else(|| json!([]));
    TrustedIssuer {
        url: text("issuer").parse().unwrap(),
        audience: String::new(),
        subject_scope: SubjectScope::Token,
        other_audiences: serde_json::from_value(other_audiences).unwrap(),
        ca: None,
        proxy: None,
        profile: serde_json::from_value(product["profile"].clone()).unwrap(),
        required_claims: BTreeMap::new(),
        login: None,
        events_audience: None,
        introspection: None,
        oldest_actor_first: false,
        groups_claim: None,
        tenant_claim: None,
        tenant: None,
        id_tokens: vec![IdTokenUse {
            audience: text("client").to_owned(),
            client: "desk-of-ours".parse().unwrap(),
        }],
    }
}

fn identified(text: &str, issuer: &TrustedIssuer) -> Result<IdentifiedPerson, TokenError> {
    let decoded = Decoded::of(text)?;
    identify(&decoded.read()?, issuer, &KEY.key_set(), now(), None)
}

fn as_access_token(text: &str, issuer: &TrustedIssuer) -> Result<AccessToken, TokenError> {
    let decoded = Decoded::of(text)?;
    decoded.read()?.verify(issuer, &KEY.key_set(), now(), None)
}

fn explained(text: &str, issuer: &TrustedIssuer) -> crate::access_token::Explanation {
    let keys = KEY.key_set();
    explain_id_token(text, &Against { issuer, checks_audience: true, keys: &keys, now: now() }).unwrap()
}

/// The token as it is, and each change with which it is accepted.
fn accepted(product: &Value) -> impl Iterator<Item = Value> {
    let changes = product["accepted"].as_array().unwrap().clone();
    std::iter::once(json!({"what": "as it is"})).chain(changes)
}

#[test]
fn the_id_tokens_of_each_product_name_the_person_and_no_scope() {
    for product in products(&ID_TOKENS) {
        for change in accepted(product) {
            let what = format!("{}: {}", product["profile"], change["what"]);
            let issuer = issuer(product);
            let terms = identified(&token(product, &change), &issuer).expect(&what).terms;
            let person = change.get("person").unwrap_or(&product["person"]);
            assert_eq!(terms.subject.as_ref().unwrap().sub, person.as_str().unwrap(), "{what}");
            assert_eq!(terms.subject.unwrap().iss, issuer.url, "{what}");
            assert_eq!(terms.client.as_str(), product["client"].as_str().unwrap(), "{what}");
            assert!(terms.scopes.is_empty() && terms.chain.iter().next().is_none(), "{what}");
            assert!(terms.lineage.is_empty() && terms.jti.as_str().starts_with("f."), "{what}");
            assert!(issuer.takes_id_token(&terms.audience, terms.client.as_str(), "desk-of-ours"), "{what}");
            let explanation = explained(&token(product, &change), &issuer);
            assert!(explanation.is_taken(), "{what}: {explanation:?}");
        }
    }
}

#[test]
fn what_is_no_id_token_or_not_of_a_person_is_refused_with_the_claim() {
    for product in products(&ID_TOKENS) {
        for change in product["refused"].as_array().unwrap() {
            let what = format!("{}: {}", product["profile"], change["what"]);
            let (text, issuer) = (token(product, change), issuer(product));
            let error = identified(&text, &issuer).map(|person| person.terms).expect_err(&what);
            assert_eq!(error.public_text(), change["error"].as_str().unwrap(), "{what}");
            let explanation = explained(&text, &issuer);
            let codes: Vec<&str> = explanation
                .refusals()
                .map(|finding| match &finding.verdict {
                    Verdict::Refused { code, .. } => *code,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(!explanation.is_taken() && codes.contains(&error.public_code()), "{what}: {codes:?}");
        }
    }
}

#[test]
fn no_token_is_taken_as_both_types() {
    for product in products(&ID_TOKENS) {
        for change in accepted(product) {
            let what = format!("{}: {}", product["profile"], change["what"]);
            assert!(as_access_token(&token(product, &change), &issuer(product)).is_err(), "{what}");
        }
    }
    for product in products(&ACCESS_TOKENS) {
        for change in accepted(product) {
            let what = format!("{}: {}", product["profile"], change["what"]);
            let text = token(product, &change);
            assert!(as_access_token(&text, &issuer(product)).is_ok(), "{what}");
            let error = identified(&text, &issuer(product)).map(|person| person.terms).expect_err(&what);
            assert!(matches!(error, TokenError::NotIdToken(_) | TokenError::Type(_)), "{what}: {error}");
        }
    }
}

/// Whatever is taken away from an access token, or added to an ID token, it never becomes one that is taken as
/// both.
#[test]
fn no_claim_more_or_less_makes_a_token_of_both_types() {
    let more =
        ["scope", "scp", "client_id", "azp", "nonce", "at_hash", "auth_time", "amr", "jti", "sid", "nbf"];
    for vectors in [&ID_TOKENS, &ACCESS_TOKENS] {
        for product in products(vectors) {
            let issuer = issuer(product);
            let client = &product["client"];
            let mut changes = Vec::new();
            for name in product["claims"].as_object().unwrap().keys() {
                changes.push(json!({"claims": {name.clone(): null}}));
            }
            for name in more {
                for value in [json!("openid"), client.clone(), json!(1_699_999_990), json!(["pwd"])] {
                    changes.push(json!({"claims": {name: value}}));
                }
            }
            for change in changes {
                let text = token(product, &change);
                let both = identified(&text, &issuer).is_ok() && as_access_token(&text, &issuer).is_ok();
                assert!(!both, "{}: {change}", product["profile"]);
            }
        }
    }
}

#[test]
fn every_product_has_vectors() {
    let named: Vec<&str> =
        products(&ID_TOKENS).iter().map(|product| product["profile"].as_str().unwrap()).collect();
    let all: Vec<&str> = TokenProfile::ALL.iter().map(|profile| profile.as_str()).collect();
    assert_eq!(named, all);
}

#[test]
fn it_counts_for_an_hour_and_no_longer_than_it_says() {
    let product = &products(&ID_TOKENS)[0];
    let at = ID_TOKENS["now"].as_u64().unwrap();
    for (iat, exp, until) in [(at, at + 300, at + 300), (at - 600, at + 86_400, at + 3_000)] {
        let text = token(product, &json!({"claims": {"iat": iat, "exp": exp}}));
        let terms = identified(&text, &issuer(product)).unwrap().terms;
        assert_eq!((terms.issued.secs(), terms.expires.secs()), (iat, until));
    }
    let old = token(product, &json!({"claims": {"iat": at - 3_600, "exp": at + 86_400}}));
    assert!(!explained(&old, &issuer(product)).is_taken(), "an exchange takes none that is older");
}

#[test]
fn a_claim_that_the_entry_requires_is_asked_for() {
    let product = products(&ID_TOKENS).iter().find(|product| product["profile"] == "google").unwrap();
    let of = |domain: &str| {
        let required_claims = [("hd".to_owned(), domain.to_owned())].into();
        TrustedIssuer { required_claims, ..issuer(product) }
    };
    assert!(identified(&token(product, &json!({})), &of("example.com")).is_ok());
    let another = identified(&token(product, &json!({})), &of("evil.example"));
    assert_eq!(another.map(|person| person.terms), Err(TokenError::RequiredClaim("hd".to_owned())));
    let none = identified(&token(product, &json!({"claims": {"hd": null}})), &of("example.com"));
    assert_eq!(none.map(|person| person.terms), Err(TokenError::RequiredClaim("hd".to_owned())));
}

#[test]
fn groups_and_tenant_are_read_where_the_entry_says_and_the_explanation_agrees() {
    let product = products(&ID_TOKENS).iter().find(|product| product["profile"] == "google").unwrap();
    let mapping = TrustedIssuer {
        groups_claim: Some("groups".parse().unwrap()),
        tenant_claim: Some("hd".parse().unwrap()),
        ..issuer(product)
    };
    let read = |change: Value| {
        let text = token(product, &json!({ "claims": change }));
        let said = identified(&text, &mapping).map(|person| (person.mapped.groups, person.mapped.tenant));
        (said, explained(&text, &mapping))
    };
    let domain = || Some("example.com".to_owned());
    let (said, explanation) = read(json!({"groups": ["a", "b"]}));
    assert_eq!(said, Ok((vec!["a".to_owned(), "b".to_owned()], domain())));
    assert!(explanation.is_taken(), "{explanation:?}");
    for name in ["groups", "hd"] {
        let finding = explanation.findings.iter().find(|finding| finding.name == name).unwrap();
        assert_eq!(finding.verdict.as_str(), "accepted", "{name}");
    }
    assert_eq!(read(json!({})).0, Ok((Vec::new(), domain())));
    for bad in [json!({"groups": "a"}), json!({"groups": [7]}), json!({"hd": ["example.com"]})] {
        let (said, explanation) = read(bad.clone());
        assert!(matches!(said, Err(TokenError::MappedClaim { .. })), "{bad}: {said:?}");
        assert!(!explanation.is_taken(), "{bad}");
    }
    let (said, explanation) = read(json!({"hd": null}));
    assert_eq!(said, Ok((Vec::new(), None)));
    assert!(!explanation.is_taken(), "the decision refuses what lacks the tenant");
}

#[test]
fn another_signature_is_refused_also_if_one_is_remembered() {
    let product = &products(&ID_TOKENS)[0];
    let (issuer, memo) = (issuer(product), SignatureMemo::new(16));
    let verified = |text: &str| {
        let decoded = Decoded::of(text).unwrap();
        let unverified = decoded.read().unwrap();
        identify(&unverified, &issuer, &KEY.key_set(), now(), Some(&memo)).map(|person| person.terms.jti)
    };
    let good = token(product, &json!({}));
    assert_eq!(verified(&good), verified(&good));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let other = token(product, &json!({"claims": {"sub": "user-8"}}));
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(verified(&format!("{signed}.{signature}")), Err(TokenError::Signature));
    assert_ne!(verified(&good), verified(&other), "each has an id of its own");
}
