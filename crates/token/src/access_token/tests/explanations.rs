//! What an explanation says of the tokens of `vectors/product-tokens.json`, and that it never says something
//! else than verification.

use mandate_core::registry::{SubjectScope, TrustedIssuer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::access_token::{Against, Explanation, Part, Verdict, explain};
use crate::error::TokenError;
use crate::test_keys::Es256;
use crate::{KeySet, KeyUse};

use super::products::{issuer, token, vectors};
use super::{KEY, at};

/// The issuer, whose entry names everything to which the token of `product` with this change is addressed.
fn addressed(product: &Value, change: &Value) -> TrustedIssuer {
    let audience = change.get("audience").unwrap_or(&product["audience"]);
    let mut all: Vec<String> = serde_json::from_value(audience.clone()).unwrap();
    let first = all.remove(0);
    TrustedIssuer { audience: first, other_audiences: all, ..issuer(product) }
}

fn explained(text: &str, issuer: &TrustedIssuer, now: u64) -> Explanation {
    explain(text, &Against { issuer, checks_audience: true, keys: &KEY.key_set(), now: at(now) }).unwrap()
}

fn product(name: &str) -> Value {
    let products = vectors()["products"].as_array().unwrap().clone();
    products.into_iter().find(|product| product["profile"] == name).unwrap()
}

fn verdict(explanation: &Explanation, part: Part, name: &str) -> Verdict {
    let found = explanation.findings.iter().find(|finding| finding.part == part && finding.name == name);
    found.unwrap_or_else(|| panic!("nothing about {name}: {explanation:?}")).verdict.clone()
}

fn refused(explanation: &Explanation) -> Vec<(String, &'static str)> {
    let refusals = explanation.refusals().map(|finding| match &finding.verdict {
        Verdict::Refused { code, .. } => (finding.name.clone(), *code),
        other => panic!("{other:?}"),
    });
    refusals.collect()
}

#[test]
fn a_token_that_is_taken_has_no_refusal_and_each_claim_has_a_verdict() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    for product in vectors["products"].as_array().unwrap() {
        let none = json!({"what": "as it is"});
        for change in std::iter::once(&none).chain(product["accepted"].as_array().unwrap()) {
            let what = format!("{}: {}", product["profile"], change["what"]);
            let mut issuer = addressed(product, change);
            if product["scopes"] == "" {
                issuer.subject_scope = SubjectScope::IdentityOnly;
            }
            let explanation = explained(&token(product, change), &issuer, now);
            assert!(explanation.is_taken(), "{what}: {explanation:?}");
            assert_eq!(verdict(&explanation, Part::Signature, "signature").as_str(), "accepted", "{what}");
            for name in product["claims"].as_object().unwrap().keys() {
                if change["claims"].get(name).is_none_or(|value| !value.is_null()) {
                    verdict(&explanation, Part::Claim, name);
                }
            }
        }
    }
}

#[test]
fn a_token_that_is_refused_has_the_refusal_of_verification_among_its_rows() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    for product in vectors["products"].as_array().unwrap() {
        for change in product["refused"].as_array().unwrap() {
            let what = format!("{}: {}", product["profile"], change["what"]);
            let explanation = explained(&token(product, change), &issuer(product), now);
            assert!(!explanation.is_taken(), "{what}");
            let error = change["error"].as_str().unwrap();
            let code = error.split(':').next().unwrap();
            assert!(
                refused(&explanation).iter().any(|(_, c)| *c == code),
                "{what}: {error}: {explanation:?}"
            );
            if let Some((_, claim)) = error.split_once(": ").filter(|_| code != "typ" && code != "header") {
                let claim = claim.split(',').next().unwrap();
                assert!(refused(&explanation).contains(&(claim.to_owned(), code)), "{what}: {explanation:?}");
            }
        }
    }
}

#[test]
fn each_rule_says_what_was_expected() {
    let keycloak = product("keycloak");
    let now = vectors()["now"].as_u64().unwrap();
    let change = json!({"claims": {"typ": "ID", "nonce": "n", "sid": null, "client_id": "desk"}});
    let explanation = explained(&token(&keycloak, &change), &addressed(&keycloak, &change), now);
    for (claim, part) in [
        ("typ", "must be `Bearer` or `bearer`"),
        ("nonce", "must be absent"),
        ("sid", "if a person is the subject, `sid` must be there"),
        ("client_id", "must be absent"),
    ] {
        let Verdict::Refused { why, .. } = verdict(&explanation, Part::Claim, claim) else {
            panic!("{claim}");
        };
        assert!(why.contains(part), "{claim}: {why}");
    }
    assert_eq!(verdict(&explanation, Part::Claim, "name"), Verdict::Ignored);
    assert_eq!(verdict(&explanation, Part::Claim, "azp"), Verdict::Accepted("the client"));
    assert_eq!(
        explanation.findings.iter().find(|finding| finding.name == "sid").unwrap().value,
        None,
        "the token lacks it"
    );
}

/// What `decide` and the life of a token ask beyond verification.
#[test]
fn what_an_exchange_asks_of_a_verified_token_is_asked_here_too() {
    let keycloak = product("keycloak");
    let now = vectors()["now"].as_u64().unwrap();
    let third = json!({"sub": "agent", "iss": "https://third.example"});
    for (claims, later, claim, code) in [
        (json!({"aud": "desk"}), 0, "aud", "subject_not_for_presenter"),
        (json!({"aud": ["account", "desk"]}), 0, "aud", "subject_not_for_presenter"),
        (json!({"cnf": {"jkt": "x"}}), 0, "cnf", "subject_key_not_proven"),
        (json!({"act": third}), 0, "act", "chain_not_theirs"),
        (json!({"scope": ""}), 0, "scope", "nothing_in_common"),
        (json!({"scope": null}), 0, "scope", "nothing_in_common"),
        (json!({}), 300, "exp", "expired"),
        (json!({}), 330, "exp", "expired"),
        (json!({"exp": now + 86_400}), 3_600, "iat", "subject_expired"),
    ] {
        let change = json!({ "claims": claims });
        let issuer = addressed(&keycloak, &Value::Null);
        let explanation = explained(&token(&keycloak, &change), &issuer, now + later);
        assert!(explanation.verified.is_ok(), "{claims}: {:?}", explanation.verified);
        assert!(!explanation.is_taken(), "{claims}");
        assert_eq!(refused(&explanation), [(claim.to_owned(), code)], "{claims}");
    }
    let long = json!({"claims": {"exp": now + 86_400}});
    let issuer = addressed(&keycloak, &Value::Null);
    assert!(explained(&token(&keycloak, &long), &issuer, now + 3_599).is_taken());
}

#[test]
fn an_audience_that_is_not_known_is_not_checked() {
    let keycloak = product("keycloak");
    let now = vectors()["now"].as_u64().unwrap();
    let (text, issuer) = (token(&keycloak, &Value::Null), issuer(&keycloak));
    let against = Against { issuer: &issuer, checks_audience: false, keys: &KEY.key_set(), now: at(now) };
    let explanation = explain(&text, &against).unwrap();
    assert!(explanation.is_taken());
    assert_eq!(verdict(&explanation, Part::Claim, "aud").as_str(), "not_checked");
}

#[test]
fn a_key_that_is_not_the_issuers_is_a_refusal_of_the_signature_alone() {
    let keycloak = product("keycloak");
    let now = vectors()["now"].as_u64().unwrap();
    let issuer = addressed(&keycloak, &Value::Null);
    let text = token(&keycloak, &Value::Null);
    for (keys, code) in
        [(Es256::new(KeyUse::Signature).key_set(), "unknown_key"), (KeySet::empty(), "unknown_key")]
    {
        let explanation =
            explain(&text, &Against { issuer: &issuer, checks_audience: true, keys: &keys, now: at(now) })
                .unwrap();
        assert_eq!(refused(&explanation), [("signature".to_owned(), code)]);
    }
    let forged = format!("{}.AAAA", text.rsplit_once('.').unwrap().0);
    assert_eq!(refused(&explained(&forged, &issuer, now)), [("signature".to_owned(), "signature")]);
}

#[test]
fn a_header_that_ends_everything_is_the_only_row_and_no_token_is_an_error() {
    let keycloak = product("keycloak");
    let now = vectors()["now"].as_u64().unwrap();
    let issuer = addressed(&keycloak, &Value::Null);
    for (header, name, code) in [
        (json!({"alg": "HS256", "typ": "JWT"}), "alg", "alg"),
        (json!({"alg": "none"}), "alg", "alg"),
        (json!({"alg": "ES256", "typ": "JWT", "jwk": {}}), "jwk", "header"),
    ] {
        let text = KEY.sign_raw(&header.to_string(), &keycloak["claims"].to_string());
        assert_eq!(refused(&explained(&text, &issuer, now)), [(name.to_owned(), code)]);
    }
    let keys = KEY.key_set();
    let against = Against { issuer: &issuer, checks_audience: true, keys: &keys, now: at(now) };
    let large = "a".repeat(crate::MAX_TOKEN_LEN + 1);
    for (text, error) in [
        ("", TokenError::Malformed("not three parts")),
        ("a.b.c.d.e", TokenError::Malformed("not three parts")),
        ("!.e30.x", TokenError::Malformed("not base64url without padding")),
        (large.as_str(), TokenError::TooLarge),
    ] {
        assert_eq!(explain(text, &against).unwrap_err(), error);
    }
}

#[test]
fn neither_token_nor_signature_is_in_an_explanation() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    for product in vectors["products"].as_array().unwrap() {
        for change in product["refused"].as_array().unwrap() {
            let text = token(product, change);
            let said = format!("{:?}", explained(&text, &issuer(product), now).findings);
            for part in text.split('.').filter(|part| !part.is_empty()) {
                assert!(!said.contains(part), "{}: {said}", change["what"]);
            }
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["a", "b"])),
        Just(json!("desk")),
        Just(json!("user ai_agent")),
        Just(json!(1_700_000_000_u64)),
        Just(json!(1_800_000_000_u64)),
        Just(json!({"sub": "a", "iss": "https://third.example"})),
        "[ -~]{0,12}".prop_map(Value::from),
    ]
}

proptest! {
    /// Whatever verification refuses has a row that says so.
    #[test]
    fn an_explanation_refuses_whatever_verification_refuses(
        product in prop::sample::select(vectors()["products"].as_array().unwrap().clone()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), value()), 0..4),
        more in prop::collection::vec((prop::sample::select(vec![
            "nonce", "at_hash", "sub_profile", "act", "cnf", "may_act", "acr", "amr", "auth_time", "client_id", "xms_act_fct",
        ]), value()), 0..2),
    ) {
        let now = vectors()["now"].as_u64().unwrap();
        let names: Vec<&String> = product["claims"].as_object().unwrap().keys().collect();
        let mut change = serde_json::Map::new();
        for (index, value) in changes {
            change.insert((*index.get(&names)).clone(), value);
        }
        for (name, value) in more {
            change.insert(name.to_owned(), value);
        }
        let change = json!({ "claims": change });
        let text = token(&product, &change);
        let mut issuer = addressed(&product, &Value::Null);
        issuer.subject_scope = SubjectScope::Token;
        let explanation = explained(&text, &issuer, now);
        if let Err(error) = &explanation.verified {
            let found = refused(&explanation);
            prop_assert!(
                found.iter().any(|(_, code)| *code == error.public_code()),
                "{error} {change}: {found:?}"
            );
        }
    }
}

#[test]
fn what_becomes_of_the_groups_and_of_the_tenant_is_said_also_if_the_groups_were_left_out() {
    let (entra, now) = (product("entra-v2"), vectors()["now"].as_u64().unwrap());
    let explained_with = |change: Value| {
        let change = json!({ "claims": change });
        let issuer = TrustedIssuer {
            groups_claim: Some("groups".parse().unwrap()),
            tenant_claim: Some("tid".parse().unwrap()),
            ..addressed(&entra, &change)
        };
        explained(&token(&entra, &change), &issuer, now)
    };
    let explanation = explained_with(json!({"groups": ["4f1b", "9c2d"]}));
    assert!(explanation.is_taken(), "{explanation:?}");
    assert_eq!(verdict(&explanation, Part::Claim, "groups").as_str(), "accepted");
    assert_eq!(verdict(&explanation, Part::Claim, "tid").as_str(), "accepted");
    let shown = explanation.findings.iter().find(|finding| finding.name == "groups").unwrap();
    assert_eq!(shown.value, Some(json!(["4f1b", "9c2d"])));

    let explanation = explained_with(json!({"_claim_names": {"groups": "src1"}}));
    assert!(explanation.is_taken(), "{explanation:?}");
    let Verdict::NotChecked(why) = verdict(&explanation, Part::Claim, "_claim_names") else { panic!() };
    assert!(why.contains("proves no group"), "{why}");
    assert_eq!(verdict(&explanation, Part::Claim, "groups").as_str(), "not_checked");

    let explanation = explained_with(json!({"groups": "4f1b"}));
    assert_eq!(refused(&explanation), [("groups".to_owned(), "claim_invalid")]);
}
