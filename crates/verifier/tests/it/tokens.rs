//! What a token must be.

use std::time::Duration;

use mandate_core::Clock as _;
use mandate_testkit::hostile_issuer::{TestKey, chain};
use mandate_token::Signer as _;
use mandate_verifier::{Presented, Reason, Route, Verifier};
use serde_json::{Value, json};

use crate::world::{RESOURCE, World, code, soon, verify};

impl World {
    /// The claims of a proper token as JSON, to be changed by tests.
    fn payload(&self) -> Value {
        let now = self.clock.now().secs();
        json!({
            "iss": self.issuer.issuer(), "sub": "riley", "aud": RESOURCE, "client_id": "support-app", "jti": "raw-1",
            "iat": now, "exp": now + 300, "scope": "read:cases",
            "act": { "sub": "spiffe://acme.example/agent/support-agent", "iss": self.issuer.issuer() },
        })
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.issuer.key().key_id() })
    }

    fn raw(&self, header: &Value, payload: &Value) -> String {
        self.issuer.key().sign_raw(&header.to_string(), &payload.to_string())
    }
}

#[tokio::test]
async fn a_proper_token_says_who_and_for_whom() {
    let world = World::new().await;
    let token = world.token("read:cases write:case_comments");
    let verified = world.verify(&token, "read:cases").await.unwrap();
    assert_eq!(verified.subject().sub, "riley");
    assert_eq!(verified.subject().iss, world.issuer.issuer());
    assert_eq!(verified.actor().unwrap().sub, "spiffe://acme.example/agent/support-agent");
    assert_eq!(verified.chain().depth(), 1);
    assert_eq!(verified.resource().as_str(), RESOURCE);
    assert_eq!(verified.scopes().to_string(), "read:cases write:case_comments");
    assert_eq!(verified.jti().as_str(), "token-1");
    assert_eq!(verified.lineage().grants.len(), 1);
    assert_eq!(verified.expires(), world.clock.now().plus(Duration::from_mins(5)));
    // From memory of its signature, the answer is the same.
    assert_eq!(world.verify(&token, "read:cases").await.unwrap(), verified);
}

#[tokio::test]
async fn a_remembered_signature_saves_no_other_check() {
    let world = World::new().await;
    let token = world.token("read:cases");
    assert_eq!(world.outcome(&token).await, "ok");
    assert_eq!(code(&world.verify(&token, "write:opportunities").await), "insufficient_scope");
    world.clock.advance(Duration::from_mins(5));
    world.issuer.beat();
    assert_eq!(world.outcome(&token).await, "expired");
}

#[tokio::test]
async fn no_other_kind_of_token_passes_as_an_access_token() {
    let world = World::new().await;
    for typ in [
        "JWT",
        "jwt",
        "id_token+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "oauth-id-jag+jwt",
        "client-authentication+jwt",
        "wpt+jwt",
    ] {
        let mut header = world.header();
        header["typ"] = json!(typ);
        assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, "typ", "{typ}");
    }
    let mut header = world.header();
    header.as_object_mut().unwrap().remove("typ");
    assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, "typ");
    for text in ["opaque", "a.b.c", "..", "e30.e30.", "a.b.c.d.e"] {
        let outcome = world.verify(text, "read:cases").await.unwrap_err();
        assert_eq!(outcome.status(), 401, "{text}");
    }
}

#[tokio::test]
async fn only_this_resource_alone_may_be_the_audience() {
    let world = World::new().await;
    for (aud, expected) in [
        (json!(RESOURCE), "ok"),
        (json!([RESOURCE]), "ok"),
        (json!("http://127.0.0.1:9101"), "audience"),
        (json!("http://127.0.0.1:9100//"), "audience"),
        (json!("http://127.0.0.1:9100/api"), "audience"),
        (json!("http://127.0.0.1:910"), "audience"),
        (json!("HTTP://127.0.0.1:9100"), "audience"),
        (json!([RESOURCE, "https://attacker.example"]), "audience"),
        (json!([RESOURCE, format!("{RESOURCE}/")]), "audience"),
        (json!(["https://attacker.example", RESOURCE]), "audience"),
        (json!(world.issuer.issuer()), "audience"),
    ] {
        let mut payload = world.payload();
        payload["aud"] = aud.clone();
        assert_eq!(world.outcome(&world.raw(&world.header(), &payload)).await, expected, "{aud}");
    }
    for aud in [json!([]), json!(null), json!(1), json!({ "a": RESOURCE })] {
        let mut payload = world.payload();
        payload["aud"] = aud.clone();
        assert_ne!(world.outcome(&world.raw(&world.header(), &payload)).await, "ok", "{aud}");
    }
}

#[tokio::test]
async fn an_origin_is_one_resource_with_and_without_a_slash_and_a_path_is_not() {
    let world = World::new().await;
    let of = |resource: &str| {
        let builder = Verifier::builder(world.issuer.issuer(), resource.parse().unwrap());
        builder.clock(world.clock.clone()).build().unwrap()
    };
    let outcome = async |resource: &str, audience: &str| {
        let verifier = of(resource);
        soon(verifier.ready()).await;
        let token = world.issuer.token(audience, "read:cases", world.clock.now());
        code(&verify(&verifier, &token, &Route::requires("read:cases").unwrap()).await)
    };
    for resource in ["https://api.example", "https://api.example/"] {
        for audience in ["https://api.example", "https://api.example/"] {
            assert_eq!(outcome(resource, audience).await, "ok", "{resource} {audience}");
        }
    }
    for (resource, audience) in [
        ("https://api.example/v1", "https://api.example/v1/"),
        ("https://api.example/v1/", "https://api.example/v1"),
        ("https://api.example/", "https://api.example//"),
        ("https://api.example/", "http://api.example"),
    ] {
        assert_eq!(outcome(resource, audience).await, "audience", "{resource} {audience}");
    }
}

#[tokio::test]
async fn no_algorithm_but_ours() {
    let world = World::new().await;
    for alg in ["none", "None", "HS256", "RS256", "PS256", "ES384", "EdDSA", "es256", ""] {
        let mut header = world.header();
        header["alg"] = json!(alg);
        assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, "alg", "{alg}");
    }
    let good = world.raw(&world.header(), &world.payload());
    let (signed, _) = good.rsplit_once('.').unwrap();
    for signature in ["", "AAAA", &"A".repeat(86)] {
        assert_ne!(world.outcome(&format!("{signed}.{signature}")).await, "ok", "{signature}");
    }
    for member in ["crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "cty", "enc"] {
        let mut header = world.header();
        header[member] = match member {
            "crit" => json!(["exp"]),
            "b64" => json!(false),
            _ => json!("https://attacker.example/keys"),
        };
        assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, "header", "{member}");
    }
}

#[tokio::test]
async fn keys_come_from_the_issuer_and_never_from_the_token() {
    let world = World::new().await;
    let stranger = TestKey::generate();
    let token = stranger.sign_raw(&world.header().to_string(), &world.payload().to_string());
    assert_eq!(world.outcome(&token).await, "signature", "our kid, their key");
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": stranger.key_id() });
    world.clock.advance(Duration::from_secs(6));
    let token = stranger.sign_raw(&header.to_string(), &world.payload().to_string());
    assert_eq!(world.outcome(&token).await, "unknown_key");
    for kid in ["../../etc/passwd", "' OR 1=1 --", ""] {
        // Else the keys are too recent to be fetched again.
        world.clock.advance(Duration::from_secs(6));
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
        assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, "unknown_key", "{kid}");
    }
}

#[tokio::test]
async fn another_issuer_and_other_times_are_refused() {
    let world = World::new().await;
    let now = world.clock.now().secs();
    for (claim, value, expected) in [
        ("iss", json!(format!("{}/", world.issuer.issuer())), "issuer"),
        ("iss", json!("https://login.attacker.example"), "issuer"),
        ("exp", json!(now), "expired"),
        ("nbf", json!(now + 120), "not_yet_valid"),
        ("iat", json!(now + 120), "not_yet_valid"),
    ] {
        let mut payload = world.payload();
        payload[claim] = value.clone();
        if claim == "exp" {
            payload["iat"] = json!(now - 100);
        }
        assert_eq!(world.outcome(&world.raw(&world.header(), &payload)).await, expected, "{claim} {value}");
    }
    for claim in ["iss", "sub", "aud", "client_id", "jti", "iat", "exp"] {
        let mut payload = world.payload();
        payload.as_object_mut().unwrap().remove(claim);
        assert_ne!(world.outcome(&world.raw(&world.header(), &payload)).await, "ok", "without {claim}");
    }
}

#[tokio::test]
async fn a_token_bound_to_a_key_is_no_bearer_token() {
    let world = World::new().await;
    for cnf in [
        json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        json!({ "x5t#S256": "a" }),
        json!({}),
    ] {
        let mut payload = world.payload();
        payload["cnf"] = cnf;
        let refusal = world.verify(&world.raw(&world.header(), &payload), "read:cases").await.unwrap_err();
        assert_eq!((refusal.status(), refusal.reason()), (401, &Reason::SenderConstrained));
    }
}

#[tokio::test]
async fn only_the_outermost_actor_decides() {
    let world = World::new().await;
    let route = Route::requires("read:cases").unwrap().only_actors(["spiffe://acme.example/agent/trusted"]);
    for (agents, expected) in [
        (&["trusted", "rogue"][..], "ok"),
        (&["rogue", "trusted"][..], "actor_unauthorized"),
        (&[][..], "actor_unauthorized"),
    ] {
        let mut terms = world.issuer.terms(RESOURCE, "read:cases", world.clock.now());
        terms.chain = chain(&world.issuer.issuer(), agents);
        let outcome = verify(&world.verifier, &world.issuer.sign(&terms), &route).await;
        assert_eq!(code(&outcome), expected, "{agents:?}");
        if let Err(refusal) = outcome {
            let challenge = refusal.www_authenticate().unwrap();
            assert_eq!(refusal.status(), 403);
            assert!(!challenge.contains(", scope="), "no step-up can help: {challenge}");
        }
    }
}

#[tokio::test]
async fn a_route_of_one_tenant_refuses_tokens_of_others_and_of_none() {
    let world = World::new().await;
    let route = Route::requires("read:cases").unwrap().only_tenant("acme".parse().unwrap());
    for (tenant, expected) in
        [(Some("acme"), "ok"), (Some("umbrella"), "tenant_unauthorized"), (None, "tenant_unauthorized")]
    {
        let mut terms = world.issuer.terms(RESOURCE, "read:cases", world.clock.now());
        terms.tenant = tenant.map(|name| name.parse().unwrap());
        terms.groups = vec!["support".parse().unwrap()];
        let outcome = verify(&world.verifier, &world.issuer.sign(&terms), &route).await;
        assert_eq!(code(&outcome), expected, "{tenant:?}");
        match outcome {
            Ok(verified) => {
                assert_eq!(verified.tenant().unwrap().as_str(), "acme");
                assert_eq!(verified.groups(), terms.groups);
            }
            Err(refusal) => {
                let challenge = refusal.www_authenticate().unwrap();
                assert_eq!(refusal.status(), 403);
                assert!(!challenge.contains("umbrella") && !challenge.contains("acme"), "{challenge}");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_scope_is_403_with_all_scopes_and_names_who_tried() {
    let world = World::new().await;
    let route = Route::requires("read:cases write:opportunities").unwrap();
    let refusal = verify(&world.verifier, &world.token("read:cases"), &route).await.unwrap_err();
    assert_eq!(refusal.status(), 403);
    let challenge = refusal.www_authenticate().unwrap();
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"read:cases write:opportunities\""), "{challenge}");
    let attempt = refusal.attempt().unwrap();
    let person = attempt.subject.as_ref().unwrap();
    assert_eq!((person.sub.as_str(), attempt.jti.as_str()), ("riley", "token-1"));
    // A scope that merely begins alike is another one.
    for scope in ["read:case", "read:cases2", "READ:CASES"] {
        assert_eq!(world.outcome(&world.token(scope)).await, "insufficient_scope", "{scope}");
    }
    assert_eq!(world.outcome(&world.token("")).await, "insufficient_scope");
}

#[tokio::test]
async fn no_credentials_and_two_credentials_are_told_apart() {
    let world = World::new().await;
    let route = Route::requires("read:cases").unwrap();
    let refusal = world.verifier.verify(None, &route).await.unwrap_err();
    let expected = format!(
        "Bearer resource_metadata=\"{RESOURCE}/.well-known/oauth-protected-resource\", scope=\"read:cases\""
    );
    assert_eq!((refusal.status(), refusal.www_authenticate()), (401, Some(expected.as_str())));
    assert_eq!(
        world.verifier.verify(Some("Basic cmlsZXk6eA=="), &route).await.unwrap_err().reason(),
        &Reason::NoCredentials
    );
    let good = format!("Bearer {}", world.token("read:cases"));
    let twice = Presented::collect([good.as_bytes(), good.as_bytes()], None);
    let refusal = world.verifier.verify(twice, &route).await.unwrap_err();
    assert_eq!(refusal.status(), 400);
    assert!(refusal.www_authenticate().unwrap().contains("error=\"invalid_request\""));
    let query = Presented::collect([good.as_bytes()], Some("access_token=x"));
    assert_eq!(world.verifier.verify(query, &route).await.unwrap_err().status(), 400);
}

#[tokio::test]
async fn rotation_is_followed_by_one_fetch_however_many_ask() {
    let world = World::new().await;
    world.clock.advance(Duration::from_secs(6));
    world.issuer.beat();
    let before = world.issuer.jwks_served();
    let old = world.token("read:cases");
    world.issuer.rotate();
    let new = world.token("read:cases");
    let all = (0..20).map(|_| {
        let (verifier, new) = (world.verifier.clone(), new.clone());
        tokio::spawn(
            async move { code(&verify(&verifier, &new, &Route::requires("read:cases").unwrap()).await) },
        )
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(soon(one).await.unwrap(), "ok");
    }
    assert_eq!(world.issuer.jwks_served(), before + 1, "single flight");
    assert_eq!(world.outcome(&old).await, "issuer_key_unknown", "a rotated-out key is no longer trusted");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.outcome(&old).await, "unknown_key", "fetched for this very token, and not there");
}

#[tokio::test]
async fn a_key_that_may_have_been_published_since_the_last_fetch_is_no_reason_to_log_in_again() {
    let world = World::new().await;
    let before = world.issuer.jwks_served();
    world.issuer.rotate();
    let new = world.token("read:cases");
    let refusal = world.verify(&new, "read:cases").await.unwrap_err();
    assert_eq!(
        (refusal.status(), refusal.reason(), refusal.www_authenticate()),
        (503, &Reason::KeyUnknown, None)
    );
    assert!(refusal.retry_after().is_some());
    assert_eq!(world.issuer.jwks_served(), before, "the keys are too recent to be fetched again");
    world.clock.advance(Duration::from_secs(5));
    world.issuer.beat();
    assert_eq!(world.outcome(&new).await, "ok");
}

#[tokio::test]
async fn a_key_that_is_published_while_the_issuer_answers_may_be_newer_than_its_answer() {
    let world = World::new().await;
    let before = world.issuer.key().jwks();
    world.issuer.serve_jwks(Some(&before));
    world.clock.advance(Duration::from_secs(6));
    let stranger =
        TestKey::generate().sign_terms(&world.issuer.terms(RESOURCE, "read:cases", world.clock.now()));
    let (verifier, asked) = (world.verifier.clone(), world.issuer.jwks_served() + 1);
    world.issuer.hold();
    let asks = tokio::spawn(async move {
        code(&verify(&verifier, &stranger, &Route::requires("read:cases").unwrap()).await)
    });
    soon(world.issuer.asked_for_keys(asked)).await;
    world.clock.advance(Duration::from_secs(50));
    world.issuer.rotate();
    let new = world.token("read:cases");
    world.clock.advance(Duration::from_secs(70));
    world.issuer.let_go();
    assert_eq!(soon(asks).await.unwrap(), "unknown_key", "fetched for this very token, and not there");
    assert_eq!(
        world.outcome(&new).await,
        "issuer_key_unknown",
        "it is newer than the question, though older than the answer"
    );
    assert_eq!(world.issuer.jwks_served(), asked, "the keys are too recent to be fetched again");
}

#[tokio::test]
async fn a_token_from_before_the_last_fetch_whose_key_is_gone_is_refused_for_good() {
    let world = World::new().await;
    let (old, recent) = (world.token("read:cases"), world.clock.now().plus(Duration::from_secs(61)));
    world.issuer.rotate();
    world.clock.advance(Duration::from_secs(61));
    world.issuer.beat();
    assert_eq!(world.outcome(&world.token("read:cases")).await, "ok", "fetched now");
    let served = world.issuer.jwks_served();
    assert_eq!(world.outcome(&old).await, "unknown_key");
    let refusal = world.verify(&old, "read:cases").await.unwrap_err();
    assert_eq!((refusal.status(), refusal.retry_after()), (401, None), "its holder must get a new one");
    assert_eq!(world.issuer.jwks_served(), served, "and that is known without a fetch");
    // What nobody signed says nothing about when it was issued to anybody but itself.
    let stranger = TestKey::generate();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": stranger.key_id() }).to_string();
    for (claim, value, expected) in [
        ("iat", json!(recent.secs()), "issuer_key_unknown"),
        ("iat", json!(recent.secs() - 60), "issuer_key_unknown"),
        ("iat", json!(recent.secs() - 61), "unknown_key"),
        ("iat", json!(recent.secs() + 60), "issuer_key_unknown"),
        ("iat", json!(recent.secs() + 62), "unknown_key"),
        ("iat", json!("now"), "unknown_key"),
        ("iss", json!("https://login.attacker.example"), "unknown_key"),
    ] {
        let mut payload = world.payload();
        payload[claim] = value.clone();
        assert_eq!(
            world.outcome(&stranger.sign_raw(&header, &payload.to_string())).await,
            expected,
            "{claim} {value}"
        );
    }
    let header = json!({ "alg": "ES256", "typ": "at+jwt" }).to_string();
    let without_kid = stranger.sign_raw(&header, &world.payload().to_string());
    assert_eq!(world.outcome(&without_kid).await, "unknown_key", "our tokens have one");
    assert_eq!(world.issuer.jwks_served(), served);
}

#[tokio::test]
async fn unknown_keys_cannot_be_used_to_flood_the_issuer() {
    let world = World::new().await;
    world.clock.advance(Duration::from_secs(6));
    world.issuer.beat();
    let before = world.issuer.jwks_served();
    for n in 0..20 {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("unknown-{n}") });
        let expected = if n == 0 { "unknown_key" } else { "issuer_key_unknown" };
        assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, expected);
    }
    assert_eq!(world.issuer.jwks_served(), before + 1);
    world.clock.advance(Duration::from_secs(5));
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "unknown" });
    assert_eq!(world.outcome(&world.raw(&header, &world.payload())).await, "unknown_key");
    assert_eq!(world.issuer.jwks_served(), before + 2);
}
