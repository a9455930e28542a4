//! What is signed: claims that the verifier accepts and says back, by signers that answer well.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::scope::MAX_SCOPES;
use mandate_core::{Actor, ActorChain, Audience, Confirmation, Details, ScopeSet, Subject, Terms, Timestamp};

use crate::access_token::{Decoded, Expect, Profile, build, encode, verify_with_claims};
use crate::{Algorithm, MAX_TOKEN_LEN, SignError, Signer};

use super::{CRM, KEY, NOW, at, check, full_terms, only, ours, plain_terms};

#[test]
fn what_is_built_verifies_and_says_the_same() {
    let token = build(&full_terms(), &*KEY).unwrap();
    let read = check(&token, &KEY.key_set(), Profile::Own).unwrap();
    assert_eq!(read, only(full_terms()));
    assert_eq!(read.require_audience(CRM), Ok(()));
    assert_eq!(Decoded::of(&token).unwrap().read().unwrap().issuer(), Ok(ours().as_str()));
    let token = build(&plain_terms(), &*KEY).unwrap();
    let expect =
        Expect { issuer: &ours(), keys: &KEY.key_set(), now: at(NOW), profile: Profile::Own, memo: None };
    let (read, claims) = verify_with_claims(&token, &expect).unwrap();
    let mut members: Vec<&str> = claims.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["aud", "client_id", "exp", "iat", "iss", "jti", "sub"], "what is empty is left out");
    assert_eq!(read.terms, plain_terms());
}

#[test]
fn the_payload_of_a_token_without_details_and_key_is_what_it_always_was() {
    let terms =
        Terms { details: Details::default(), cnf: None, groups: Vec::new(), tenant: None, ..full_terms() };
    let token = build(&terms, &*KEY).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(payload).unwrap(),
        concat!(
            r#"{"iss":"https://m.example","sub":"https://login.acme.example#riley%40acme","#,
            r#""sub_id":{"format":"iss_sub","iss":"https://login.acme.example","sub":"riley@acme"},"aud":"https://crm.example","#,
            r#""client_id":"spiffe://acme.example/agent/b","jti":"t2","iat":1700000000,"exp":1700000300,"scope":"read:cases","#,
            r#""act":{"sub":"spiffe://acme.example/agent/b","iss":"https://m.example","sub_profile":"ai_agent","#,
            r#""act":{"sub":"spiffe://acme.example/agent/a","iss":"https://m.example","sub_profile":"ai_agent"}},"#,
            r#""lineage":{"parents":["t1"],"grants":["g1"],"clients":["support-app"]},"#,
            r#""auth_time":1699999940,"acr":"urn:x:2","amr":["pwd","otp"]}"#
        )
    );
}

#[test]
fn claims_that_the_verifier_would_refuse_are_not_signed() {
    let refused = |change: fn(&mut Terms)| {
        let mut terms = full_terms();
        change(&mut terms);
        build(&terms, &*KEY).unwrap_err()
    };
    let bad = |why| SignError::Claims(why);
    assert_eq!(refused(|t| t.expires = at(NOW)), bad("exp is not after iat"));
    assert_eq!(
        refused(|t| t.expires = Timestamp::from_millis(NOW * 1000 + 999)),
        bad("exp is not after iat")
    );
    assert_eq!(refused(|t| t.audience = Audience::one(String::new())), bad("aud is empty"));
    let two = |t: &mut Terms| t.audience = Audience::several(CRM.into(), vec!["https://mail.example".into()]);
    assert_eq!(refused(two), bad("aud is not exactly one"));
    for sub in ["", "a\nb", &"x".repeat(2049)] {
        let terms = Terms { subject: Some(Subject { iss: ours(), sub: sub.into() }), ..full_terms() };
        assert_eq!(build(&terms, &*KEY), Err(bad("sub is empty, oversized or has a control character")));
    }
    let why = bad(
        "a text in aud, act, acr or amr is empty, oversized or has a control character, or amr is too long",
    );
    assert_eq!(refused(|t| t.audience = Audience::one("a\nb".into())), why);
    assert_eq!(refused(|t| t.acr = Some(String::new())), why);
    assert_eq!(refused(|t| t.amr = vec!["x".repeat(2049)]), why);
    assert_eq!(refused(|t| t.amr = vec!["x".into(); 17]), why);
    let forging = |t: &mut Terms| {
        let actor = Actor { sub: "a\nb".into(), iss: ours(), sub_profile: None };
        t.chain = ActorChain::new(vec![actor]).unwrap();
    };
    assert_eq!(refused(forging), why);
    assert_eq!(refused(|t| t.cnf = Some(Confirmation::Unknown)), bad("cnf names no key"));
    assert_eq!(refused(|t| t.amr = vec!["x".repeat(2048); 8]), SignError::TooLarge);
}

#[test]
fn what_is_encoded_is_signed_and_what_is_not_signed_for_its_size_is_not_encoded() {
    let sized = |length: usize| {
        let amr = (0..16).map(|n| "x".repeat(length / 16 + usize::from(n < length % 16))).collect();
        let terms = Terms { amr, ..full_terms() };
        (encode(&terms).is_ok(), build(&terms, &*KEY))
    };
    // Base64 makes three quarters of it readable.
    let near = MAX_TOKEN_LEN * 3 / 4;
    assert!(sized(near - 2_000).0 && !sized(near).0);
    for length in near - 2_000..near {
        let (fits, built) = sized(length);
        assert_eq!(fits, built.is_ok(), "{length}");
    }
    let many: ScopeSet = (0..=MAX_SCOPES).map(|n| format!("s{n}").parse().unwrap()).collect();
    let terms = Terms { scopes: many, ..full_terms() };
    assert_eq!(encode(&terms), Err(SignError::Claims("there are too many scopes")));
    assert_eq!(build(&terms, &*KEY), Err(SignError::Claims("there are too many scopes")));
}

struct Broken(Vec<u8>);

impl Signer for Broken {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }
    fn key_id(&self) -> &'static str {
        "k"
    }
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_signer_that_answers_nonsense_yields_no_token() {
    for len in [0, 63, 65, 72] {
        assert_eq!(build(&full_terms(), &Broken(vec![1; len])), Err(SignError::Length(len)));
    }
}
