//! The vectors of access tokens (`vectors/access-tokens.json`), through the whole verifier.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::{fs, path};

use mandate_core::Timestamp;
use mandate_testkit::clock::SteppedClock;
use mandate_verifier::{Route, VerifiedCaller, Verifier};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::{code, verify};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    issuer: String,
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
    at: Option<u64>,
    claims: Option<Value>,
    refusal: Option<String>,
}

fn verifier(vectors: &Vectors, dir: &path::Path, clock: &Arc<SteppedClock>) -> Verifier {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    let file = dir.join("cache.json");
    let fetched = Timestamp::from_secs(vectors.now);
    let content = json!({ "version": 1, "issuer": vectors.issuer, "fetched": fetched, "jwks": vectors.keys, "contact": null, "cuts": [] });
    fs::write(&file, content.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    Verifier::builder(vectors.issuer.parse().unwrap(), vectors.audience.parse().unwrap())
        .cache_file(&file)
        .clock(clock.clone())
        // The issuer of the vectors does not exist: nothing listens there.
        .proxy("http://127.0.0.1:1")
        .build()
        .unwrap()
}

#[tokio::test]
async fn own_tokens_have_the_outcome_that_their_vector_says() {
    let text = include_str!("../../../../vectors/access-tokens.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(SteppedClock::default()));
    clock.set(Timestamp::from_secs(vectors.now));
    let verifier = verifier(&vectors, dir.path(), &clock);
    let route = Route::any_scope().dangerous_accept_stale();
    let (mut accepted, mut alone, mut refused) = (0, 0, 0);
    for vector in vectors.tokens.iter().filter(|vector| vector.profile == "own") {
        clock.set(Timestamp::from_secs(vector.at.unwrap_or(vectors.now)));
        let outcome = verify(&verifier, &vector.token, &route).await;
        match (&vector.claims, vector.refusal.as_deref()) {
            (Some(claims), None) if claims.get("sub_profile").is_some() => {
                assert_eq!(code(&outcome), "no_person", "{}", vector.name);
                let bearer = format!("Bearer {}", vector.token);
                let caller = verifier.verify_caller(Some(bearer.as_str()), &route).await.unwrap();
                let VerifiedCaller::OwnBehalf(agent) = caller else { panic!("{}", vector.name) };
                assert_eq!(agent.agent().sub, claims["sub"].as_str().unwrap(), "{}", vector.name);
                alone += 1;
            }
            (Some(claims), None) => {
                let token = outcome.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", vector.name));
                assert_eq!(token.subject().sub, claims["sub"].as_str().unwrap(), "{}", vector.name);
                assert_eq!(token.jti().as_str(), claims["jti"].as_str().unwrap(), "{}", vector.name);
                assert_eq!(
                    token.scopes().to_string(),
                    claims["scope"].as_str().unwrap_or_default(),
                    "{}",
                    vector.name
                );
                assert_eq!(
                    token.actor().map(|actor| actor.sub.as_str()),
                    claims["act"]["sub"].as_str(),
                    "{}",
                    vector.name
                );
                accepted += 1;
            }
            (None, Some(refusal)) => {
                let expected = match (refusal, vector.token.as_str()) {
                    // What is no credential at all is refused before it is read as a token (RFC 6750 §2.1).
                    (_, token) if token.is_empty() || token.contains(' ') => "malformed_request",
                    // The issuer, which cannot be asked, may have published the key meanwhile.
                    ("unknown_key", _) if vector.name == "an unknown key" => "issuer_key_unknown",
                    (refusal, _) => refusal,
                };
                assert_eq!(code(&outcome), expected, "{}", vector.name);
                refused += 1;
            }
            _ => panic!("{}: either claims or a refusal", vector.name),
        }
    }
    assert_eq!(alone, 1, "an agent's own");
    assert!(accepted >= 5 && refused >= 30, "{accepted} accepted, {refused} refused");
}
