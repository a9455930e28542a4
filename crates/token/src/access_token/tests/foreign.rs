//! What another issuer's token can say of us, and how its people and tokens are named.

use mandate_core::{Issuer, Subject, Terms};
use serde_json::json;

use crate::SignError;
use crate::access_token::{build, foreign_token_id};
use crate::error::TokenError;

use super::{KEY, foreign, full_terms, ours, own};

#[test]
fn foreign_tokens_cannot_speak_our_private_claims() {
    let sub_id = json!({"format": "iss_sub", "iss": "https://other.example", "sub": "riley"});
    let token =
        foreign(&json!({"sub_id": sub_id, "sub_iss": "x", "lineage": {"parents": ["t1"], "grants": ["g1"]}}))
            .unwrap();
    assert_eq!(
        token.terms.subject,
        Some(Subject { iss: ours(), sub: "riley".into() }),
        "the person is the issuer's own"
    );
    assert!(token.terms.lineage.is_empty());
    let nonsense = foreign(&json!({"sub_id": 7, "lineage": "x"})).unwrap();
    assert!(nonsense.terms.lineage.is_empty());
    for bad in [json!({"lineage": "x"}), json!({"lineage": {"parents": ["a b"]}})] {
        assert!(matches!(own(&bad).unwrap_err(), TokenError::Claim { .. }), "{bad}");
    }
    let long: Vec<String> = (0..65).map(|n| format!("t{n}")).collect();
    for bad in [
        json!({"lineage": {"parents": long}}),
        json!({"lineage": {"grants": long}}),
        json!({"lineage": {"x": []}}),
    ] {
        assert!(matches!(own(&bad).unwrap_err(), TokenError::Claim { claim: "lineage", .. }));
    }
}

#[test]
fn a_person_of_another_issuer_is_named_by_sub_and_sub_id_together() {
    let other = Subject { iss: "https://other.example".parse().unwrap(), sub: "riley".into() };
    let id = |iss: &str, sub: &str| json!({"format": "iss_sub", "iss": iss, "sub": sub});
    let qualified = "https://other.example#riley";
    let named = own(&json!({"sub": qualified, "sub_id": id("https://other.example", "riley")})).unwrap();
    assert_eq!(named.terms.subject.unwrap(), other);
    assert_ne!(own(&json!({})).unwrap().terms.subject.unwrap(), other, "riley of our own directory");
    for bad in [
        json!({"sub": qualified}),
        json!({"sub_id": id("https://other.example", "riley")}),
        json!({"sub": qualified, "sub_id": id("https://other.example", "sam")}),
        json!({"sub": qualified, "sub_id": id("https://third.example", "riley")}),
        json!({"sub": "https://m.example#riley", "sub_id": id("https://m.example", "riley")}),
        json!({"sub": qualified, "sub_id": {"iss": "https://other.example", "sub": "riley"}}),
        json!({"sub": qualified, "sub_id": {"format": "opaque", "iss": "https://other.example", "sub": "riley"}}),
        json!({"sub": qualified, "sub_id": {"format": "iss_sub", "iss": "https://other.example", "sub": "riley", "x": "y"}}),
        json!({"sub": qualified, "sub_id": {"format": "iss_sub", "iss": "other", "sub": "riley"}}),
        json!({"sub": qualified, "sub_id": {"format": "iss_sub", "iss": "https://other.example", "sub": 7}}),
        json!({"sub": qualified, "sub_id": qualified}),
        // The earlier form would now name riley of our own directory.
        json!({"sub_iss": "https://other.example"}),
        json!({"sub_iss": 7}),
    ] {
        assert!(matches!(own(&bad).unwrap_err(), TokenError::Claim { .. }), "{bad}");
    }
    let wrong = Subject { iss: ours(), sub: qualified.into() };
    let terms = Terms { subject: Some(wrong), ..full_terms() };
    assert!(matches!(build(&terms, &*KEY), Err(SignError::Claims(_))), "no person of ours is ever named so");
}

#[test]
fn a_foreign_token_id_names_issuer_and_jti_together() {
    let other: Issuer = "https://other.example".parse().unwrap();
    let id = foreign(&json!({"jti": "trrtna:1f 2"})).unwrap().terms.jti;
    assert_eq!(id, foreign_token_id(&ours(), "trrtna:1f 2").unwrap());
    assert_ne!(id, foreign_token_id(&other, "trrtna:1f 2").unwrap());
    assert!(id.as_str().starts_with("f.") && id.as_str().len() == 45);
    assert_ne!(
        foreign(&json!({"jti": "t1"})).unwrap().terms.jti.as_str(),
        "t1",
        "it cannot take the id of a token of ours"
    );
    assert!(matches!(own(&json!({"jti": "a b"})).unwrap_err(), TokenError::Claim { claim: "jti", .. }));
}
