//! The vectors of access tokens (`vectors/access-tokens.json`): signed by another implementation.

use mandate_core::{Issuer, Timestamp};
use mandate_token::KeySet;
use mandate_token::access_token::{Expect, Profile, verify_with_claims};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    issuer: Issuer,
    audience: String,
    now: u64,
    keys: Value,
    tokens: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    profile: String,
    token: String,
    /// When it is checked, if not at `now`.
    at: Option<u64>,
    claims: Option<Map<String, Value>>,
    refusal: Option<String>,
}

#[test]
fn every_token_has_the_outcome_that_its_vector_says() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../../vectors/access-tokens.json")).unwrap();
    let keys = KeySet::from_json(vectors.keys.to_string().as_bytes()).unwrap();
    let (mut codes, mut wrong) = (Vec::new(), Vec::new());
    for vector in &vectors.tokens {
        let profile = match vector.profile.as_str() {
            "own" => Profile::Own,
            "foreign" => Profile::Foreign(mandate_core::registry::TokenProfile::Rfc9068),
            other => panic!("{}: {other} is no profile", vector.name),
        };
        let now = Timestamp::from_secs(vector.at.unwrap_or(vectors.now));
        let outcome = verify_with_claims(
            &vector.token,
            &Expect { issuer: &vectors.issuer, keys: &keys, now, profile, memo: None },
        );
        match (&vector.claims, &vector.refusal) {
            (Some(claims), None) => {
                let (token, said) = outcome.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
                assert_eq!(&said, claims, "{}", vector.name);
                assert_eq!(token.require_audience(&vectors.audience), Ok(()), "{}", vector.name);
            }
            (None, Some(refusal)) => {
                let code = outcome.err().map(|error| error.public_code());
                if code != Some(refusal.as_str()) {
                    wrong.push(format!("{}: {code:?} instead of {refusal}", vector.name));
                }
                codes.push(refusal.as_str());
            }
            _ => panic!("{}: either claims or a refusal", vector.name),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    codes.sort_unstable();
    codes.dedup();
    assert!(codes.len() >= 12, "the vectors reach most reasons for a refusal: {codes:?}");
}
