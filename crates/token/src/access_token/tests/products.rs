//! The access tokens that identity providers issue by default, and what is not one of a person
//! (`vectors/product-tokens.json`).

use std::collections::BTreeMap;

use mandate_core::registry::{SubjectScope, TokenProfile, TrustedIssuer};
use serde_json::{Map, Value};

use crate::access_token::{AccessToken, Decoded};
use crate::error::TokenError;

use super::{KEY, at};

pub(super) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../../vectors/product-tokens.json")).unwrap()
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

pub(super) fn issuer(product: &Value) -> TrustedIssuer {
    TrustedIssuer {
        url: product["issuer"].as_str().unwrap().parse().unwrap(),
        audience: "https://mandate.example.com".to_owned(),
        subject_scope: SubjectScope::Token,
        other_audiences: Vec::new(),
        ca: None,
        proxy: None,
        profile: serde_json::from_value(product["profile"].clone()).unwrap(),
        required_claims: serde_json::from_value(product.get("required").cloned().unwrap_or_default())
            .unwrap_or_default(),
        login: None,
        events_audience: None,
        groups_claim: None,
        tenant_claim: None,
        tenant: None,
        id_tokens: Vec::new(),
        introspection: None,
        oldest_actor_first: false,
    }
}

/// The product's token with this change, signed.
pub(super) fn token(product: &Value, change: &Value) -> String {
    let mut header = changed(&product["header"], &change["header"]);
    header.insert("alg".to_owned(), "ES256".into());
    header.insert("kid".to_owned(), KEY.kid().into());
    let claims = changed(&product["claims"], &change["claims"]);
    KEY.sign_raw(&Value::from(header).to_string(), &Value::from(claims).to_string())
}

/// Signs the product's token with this change, and verifies it.
fn verified(
    product: &Value,
    change: &Value,
    issuer: &TrustedIssuer,
    now: u64,
) -> Result<AccessToken, TokenError> {
    let token = token(product, change);
    let decoded = Decoded::of(&token)?;
    decoded.read()?.verify(issuer, &KEY.key_set(), at(now), None)
}

fn said(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn the_default_tokens_of_each_product_name_the_person_the_client_and_the_scopes() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    for product in vectors["products"].as_array().unwrap() {
        let name = &product["profile"];
        let none = serde_json::json!({"what": "as it is"});
        let changes = product["accepted"].as_array().unwrap();
        for change in std::iter::once(&none).chain(changes) {
            let what = format!("{name}: {}", change["what"]);
            let token = verified(product, change, &issuer(product), now);
            let token = token.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(said) = change.get("said") {
                assert_eq!(serde_json::to_value(&token.said_actors).unwrap(), *said, "{what}");
            }
            let terms = token.terms;
            assert_eq!(terms.subject.unwrap().sub, product["person"].as_str().unwrap(), "{what}");
            assert_eq!(terms.client.as_str(), product["client"].as_str().unwrap(), "{what}");
            assert_eq!(terms.scopes.to_string(), product["scopes"].as_str().unwrap(), "{what}");
            let mut audience: Vec<String> = terms.audience.iter().map(str::to_owned).collect();
            audience.sort();
            assert_eq!(audience, said(change.get("audience").unwrap_or(&product["audience"])), "{what}");
            let actors: Vec<String> = terms.chain.iter().map(|actor| actor.sub.clone()).collect();
            assert_eq!(actors, change.get("actors").map(said).unwrap_or_default(), "{what}");
        }
    }
}

#[test]
fn what_is_no_access_token_or_not_of_a_person_is_refused_with_the_claim() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    for product in vectors["products"].as_array().unwrap() {
        for change in product["refused"].as_array().unwrap() {
            let what = format!("{}: {}", product["profile"], change["what"]);
            let refused = verified(product, change, &issuer(product), now).map(|token| token.terms);
            let error = refused.expect_err(&what);
            assert_eq!(error.public_text(), change["error"].as_str().unwrap(), "{what}");
        }
    }
}

#[test]
fn a_token_of_one_product_is_none_of_another() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    let products = vectors["products"].as_array().unwrap();
    for product in products {
        for profile in TokenProfile::ALL {
            let mut other = issuer(product);
            if *profile == other.profile {
                continue;
            }
            // Only what the product itself says counts here.
            (other.profile, other.required_claims) = (*profile, BTreeMap::new());
            let what = format!("{} as {}", product["profile"], profile.as_str());
            assert!(verified(product, &Value::Null, &other, now).is_err(), "{what}");
        }
    }
}

#[test]
fn every_product_has_vectors() {
    let vectors = vectors();
    let products = vectors["products"].as_array().unwrap();
    let named: Vec<&str> = products.iter().map(|product| product["profile"].as_str().unwrap()).collect();
    let with_tokens = TokenProfile::ALL.iter().filter(|profile| profile.has_jwt_access_tokens());
    let all: Vec<&str> = with_tokens.map(|profile| profile.as_str()).collect();
    assert_eq!(named, all.split_first().unwrap().1, "all but the profile of RFC 9068 itself");
    for product in products {
        assert!(product["refused"].as_array().unwrap().len() >= 4, "{}", product["profile"]);
    }
}

/// Which order `act` has, no token says: it is in the entry.
#[test]
fn a_chain_that_nests_the_other_way_round_is_turned_and_what_was_said_is_kept() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    let products = vectors["products"].as_array().unwrap();
    let read = |profile: &str, act: Value| {
        let product = products.iter().find(|product| product["profile"] == profile).unwrap();
        let reversed = TrustedIssuer { oldest_actor_first: true, ..issuer(product) };
        verified(product, &serde_json::json!({"claims": {"act": act}}), &reversed, now).unwrap()
    };
    let iss = "https://sso.example.com/realms/staff";
    let token =
        read("keycloak", serde_json::json!({"sub": "a", "iss": iss, "act": {"sub": "b", "iss": iss}}));
    let subs: Vec<&str> = token.terms.chain.iter().map(|actor| actor.sub.as_str()).collect();
    assert_eq!(subs, ["b", "a"], "the newest is outermost");
    let said = token.said_actors.unwrap();
    assert_eq!((said.form.as_str(), said.chain), ("oldest_first", token.terms.chain));
    let token = read("auth0", serde_json::json!({"sub": "a", "act": {"sub": "b"}}));
    assert_eq!(token.said_actors.unwrap().form.as_str(), "oldest_first_without_issuer");
    assert_eq!(token.terms.chain.outermost().unwrap().sub, "b");
}

/// Without `jti`, what is signed is the id: the same for the same token, and another for any other.
#[test]
fn a_token_without_an_id_has_one_of_its_own() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    let products = vectors["products"].as_array().unwrap();
    let auth0 = products.iter().find(|product| product["profile"] == "auth0").unwrap();
    let id = |change: Value| verified(auth0, &change, &issuer(auth0), now).unwrap().terms.jti;
    let later = serde_json::json!({"claims": {"exp": now + 86_401}});
    assert_eq!(id(Value::Null), id(Value::Null));
    assert_ne!(id(Value::Null), id(later));
}
