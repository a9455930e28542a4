//! Exchanges from the default tokens of a product, whose profile the issuer's entry names.

use std::collections::BTreeMap;

use mandate_core::registry::{Entry, SubjectScope, TokenProfile, TrustedIssuer};
use mandate_testkit::story;
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::Abroad;

/// A world whose identity provider uses this product.
async fn using(profile: TokenProfile, required_claims: BTreeMap<String, String>) -> Abroad {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let issuer = story::trusted_issuer(abroad.idp.issuer(), SubjectScope::Token);
    abroad.world.apply(Entry::Issuer(TrustedIssuer { profile, required_claims, ..issuer })).await;
    abroad
}

impl Abroad {
    /// A default token of Keycloak for the person, with this change of its claims; null removes one.
    fn keycloak(&self, typ: &str, change: &Value) -> String {
        let mut claims = json!({
            "client_id": null, "azp": "portal", "typ": "Bearer", "sid": "SLtb9IyLmK4YH8dW8COM_eCK", "acr": "1",
            "preferred_username": "dana", "scope": "read:cases profile email",
            "realm_access": {"roles": ["default-roles-staff"]},
        });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let token = self.raw(|usual| {
            for (name, value) in claims.as_object().unwrap() {
                match value {
                    Value::Null => usual.as_object_mut().unwrap().remove(name),
                    value => usual.as_object_mut().unwrap().insert(name.clone(), value.clone()),
                };
            }
        });
        let (claims, key) = (mandate_testkit::world::payload(&token), self.idp.key());
        key.sign_raw(
            &json!({"alg": "ES256", "typ": typ, "kid": key.key_id()}).to_string(),
            &claims.to_string(),
        )
    }
}

const REFUSED: &str = "400 invalid_request subject_token_refused";

#[tokio::test]
async fn a_default_token_of_keycloak_is_exchanged_where_the_profile_is_named() {
    let abroad = using(TokenProfile::Keycloak, BTreeMap::new()).await;
    assert_eq!(abroad.ask(&abroad.keycloak("JWT", &json!({}))).await, "ok");
    let without = Abroad::new(SubjectScope::Token).await;
    assert_eq!(without.ask(&without.keycloak("JWT", &json!({}))).await, REFUSED, "the header says JWT");
    assert_eq!(without.ask(&without.keycloak("at+jwt", &json!({}))).await, REFUSED, "no client_id");
}

#[tokio::test]
async fn neither_an_id_token_nor_a_machine_is_a_subject() {
    let abroad = using(TokenProfile::Keycloak, BTreeMap::new()).await;
    for change in [
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
        json!({"nonce": "n"}),
        json!({"client_id": "portal"}),
        json!({"sid": null}),
        json!({"preferred_username": "service-account-portal"}),
    ] {
        let error = abroad.error(&abroad.keycloak("JWT", &change)).await;
        assert_eq!(crate::shown(&error), REFUSED, "{change}");
    }
}

#[tokio::test]
async fn a_claim_that_the_entry_requires_is_asked_for_at_each_exchange() {
    let abroad = using(TokenProfile::Keycloak, [("acr".to_owned(), "2".to_owned())].into()).await;
    assert_eq!(abroad.ask(&abroad.keycloak("JWT", &json!({"acr": "2"}))).await, "ok");
    for acr in [json!("1"), json!(2), json!(["2"]), Value::Null] {
        assert_eq!(abroad.ask(&abroad.keycloak("JWT", &json!({ "acr": acr }))).await, REFUSED, "{acr}");
    }
}

#[tokio::test]
async fn a_profile_that_is_changed_counts_for_the_next_token() {
    let abroad = using(TokenProfile::Keycloak, BTreeMap::new()).await;
    let token = abroad.keycloak("JWT", &json!({}));
    assert_eq!(abroad.ask(&token).await, "ok");
    let issuer = story::trusted_issuer(abroad.idp.issuer(), SubjectScope::Token);
    abroad.world.apply(Entry::Issuer(issuer)).await;
    assert_eq!(abroad.ask(&token).await, REFUSED, "its signature is remembered, and its form is not enough");
}

#[tokio::test]
async fn what_a_foreign_token_says_of_its_actors_is_in_the_record_and_permits_nothing() {
    let abroad = using(TokenProfile::Keycloak, BTreeMap::new()).await;
    let iss = abroad.idp.issuer();
    let act = json!({"sub": "b", "iss": iss, "act": {"sub": "a", "iss": iss}});
    assert_eq!(abroad.ask(&abroad.keycloak("JWT", &json!({ "act": act.clone() }))).await, "ok");
    let said = abroad.world.last_record().said_actors.unwrap();
    assert_eq!(serde_json::to_value(&*said).unwrap(), json!({"form": "rfc8693", "act": act}));
    assert_eq!(abroad.ask(&abroad.keycloak("JWT", &json!({}))).await, "ok");
    assert_eq!(abroad.world.last_record().said_actors, None);
    // Refused by the decision: the record still has it.
    let ours = json!({"sub": "b", "iss": mandate_testkit::story::ISSUER});
    let refused = abroad.ask(&abroad.keycloak("JWT", &json!({ "act": ours.clone() }))).await;
    assert_eq!(refused, "400 invalid_request chain_not_theirs");
    let said = abroad.world.last_record().said_actors.unwrap();
    assert_eq!(serde_json::to_value(&*said).unwrap(), json!({"form": "rfc8693", "act": ours}));
}
